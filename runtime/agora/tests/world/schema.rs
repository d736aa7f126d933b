//! A small JSON Schema validator, as far as the schemas here go: objects, required fields, constants, choices.

use serde_json::{Value, json};

/// Checks a document against its registered schema as far as objects, required fields and constants go.
#[track_caller]
pub fn validate(document: &Value) {
    let name = document["$type"].as_str().unwrap_or_else(|| panic!("no $type in {document}"));
    let schema = agora::cli::registry().schema(name).unwrap();
    if let Err(what) = fits(document, &schema, &schema) {
        panic!("{name}: {what}\n{document:#}");
    }
}

fn fits(value: &Value, schema: &Value, root: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = root.pointer(reference.trim_start_matches('#')).ok_or(format!("no {reference}"))?;
        fits(value, target, root)?;
    }
    for key in ["anyOf", "oneOf"] {
        if let Some(choices) = schema[key].as_array() {
            let tried: Vec<_> = choices.iter().map(|choice| fits(value, choice, root)).collect();
            if !tried.iter().any(Result::is_ok) {
                return Err(format!("no choice fits {value}: {tried:?}"));
            }
        }
    }
    if let Some(wanted) = schema.get("const")
        && wanted != value
    {
        return Err(format!("{value} is not {wanted}"));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let number = kind == "integer" && kinds.contains(&"number");
    if !kinds.is_empty() && !kinds.contains(&kind) && !number {
        return Err(format!("{value} is {kind}, not {kinds:?}"));
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if value.get(name).is_none() {
            return Err(format!("{name} is missing in {value}"));
        }
    }
    let empty = json!({});
    let properties = schema.get("properties").unwrap_or(&empty);
    for (name, inner) in value.as_object().into_iter().flatten() {
        match properties.get(name) {
            Some(property) => fits(inner, property, root).map_err(|what| format!("{name}: {what}"))?,
            None if schema["additionalProperties"].is_object() => {
                fits(inner, &schema["additionalProperties"], root)?;
            }
            // A choice's own fields are checked by the choice.
            None if schema.get("oneOf").is_some() || schema.get("$ref").is_some() || kinds.is_empty() => {}
            None if name == "$type" || schema.get("properties").is_none() => {}
            None => return Err(format!("{name} is not in the schema")),
        }
    }
    for inner in value.as_array().into_iter().flatten() {
        fits(inner, &schema["items"], root)?;
    }
    Ok(())
}
