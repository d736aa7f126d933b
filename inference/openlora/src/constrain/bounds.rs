//! What a hostile schema may cost before anything of it is compiled.
//!
//! The compiler has limits of its own, but none on intersections: `allOf` of choices multiplies them, and that of two
//! recursive schemas doubles at every turn.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Deepest nesting, through references too.
const DEPTH_MAX: usize = 32;
/// Most combinations of the choices that one place of a schema intersects.
const COMBINATIONS_MAX: u64 = 4_096;
/// Most patterns of property names: each is compared with each.
const NAME_PATTERNS_MAX: usize = 16;
/// Highest bound of lengths and counts.
const COUNT_MAX: u64 = 4_096;

/// Most that the digits of a `multipleOf` say, whatever zeros stand around them, and most places between them and the point:
/// the library's automaton has a state for each remainder and place.
const STEP_MAX: u64 = 1_000;
const STEP_PLACES_MAX: i64 = 20;

/// Keywords whose value is a schema, a list of them, or an object of them.
const ONE: [&str; 3] = ["items", "additionalItems", "additionalProperties"];
const LISTS: [&str; 3] = ["prefixItems", "anyOf", "oneOf"];
const NAMED: [&str; 2] = ["properties", "patternProperties"];
/// Keywords that bound a length or a count.
const COUNTS: [&str; 6] = ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"];

/// What a schema is made of, as far as intersections go.
#[derive(Debug, Clone, Copy)]
struct Size {
    /// Choices in it, those of its parts too, at least 1.
    choices: u64,
    /// It contains itself.
    recursive: bool,
}

/// Checks a schema before it is compiled.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    let mut check = Check { root: schema, known: BTreeMap::new(), name_patterns: 0 };
    check.object(schema, "the schema")?;
    check.size(schema, 0).map(drop)
}

struct Check<'a> {
    root: &'a Value,
    /// The targets of references; `None` while one is measured.
    known: BTreeMap<&'a str, Option<Size>>,
    name_patterns: usize,
}

impl<'a> Check<'a> {
    fn object(&self, value: &'a Value, what: &str) -> Result<&'a Map<String, Value>, String> {
        value.as_object().ok_or_else(|| format!("{what} is an object"))
    }

    fn size(&mut self, schema: &'a Value, depth: usize) -> Result<Size, String> {
        if depth > DEPTH_MAX {
            return Err(format!("at most {DEPTH_MAX} levels, through references too"));
        }
        let Value::Object(keys) = schema else { return Ok(Size { choices: 1, recursive: false }) };
        for name in COUNTS {
            if keys.get(name).is_some_and(|count| count.as_u64().is_none_or(|count| count > COUNT_MAX)) {
                return Err(format!("`{name}` is a whole number of at most {COUNT_MAX}"));
            }
        }
        if keys.get("multipleOf").is_some_and(|step| !is_plain_step(step)) {
            return Err(format!("the digits of `multipleOf` are at most {STEP_MAX}, within {STEP_PLACES_MAX} places"));
        }
        // What the compiler intersects: each choice, each reference, and the plain keywords together.
        let mut operands = Vec::new();
        let mut plain = Size { choices: 1, recursive: false };
        let mut is_plain = false;
        for (name, value) in keys {
            match (name.as_str(), value) {
                ("$ref", _) => operands.push(self.reference(value, depth)?),
                ("$dynamicRef" | "$recursiveRef", _) => return Err(format!("`{name}` is not supported; use `$ref`")),
                ("allOf", Value::Array(all)) => {
                    for schema in all {
                        operands.push(self.size(schema, depth + 1)?);
                    }
                }
                ("enum", Value::Array(values)) => {
                    operands.push(Size { choices: values.len().max(1) as u64, recursive: false });
                }
                ("anyOf" | "oneOf", Value::Array(options)) => operands.push(self.sum(options.iter(), depth)?),
                _ => {
                    let part = match value {
                        Value::Object(named) if NAMED.contains(&name.as_str()) => {
                            self.name_patterns += if name == "patternProperties" { named.len() } else { 0 };
                            self.sum(named.values(), depth)?
                        }
                        Value::Array(list) if LISTS.contains(&name.as_str()) => self.sum(list.iter(), depth)?,
                        _ if ONE.contains(&name.as_str()) => self.sum(std::iter::once(value), depth)?,
                        _ => continue,
                    };
                    is_plain = true;
                    plain.choices = plain.choices.saturating_add(part.choices);
                    plain.recursive |= part.recursive;
                }
            }
        }
        if self.name_patterns > NAME_PATTERNS_MAX {
            return Err(format!("at most {NAME_PATTERNS_MAX} patterns of property names"));
        }
        operands.extend(is_plain.then_some(plain));
        let recursive = operands.iter().any(|operand| operand.recursive);
        let choices = operands.iter().fold(1_u64, |product, operand| product.saturating_mul(operand.choices));
        if operands.len() > 1 && recursive {
            return Err(
                "a schema that contains itself stands beside nothing else: no `allOf`, no other keywords".to_owned()
            );
        }
        if operands.len() > 1 && choices > COMBINATIONS_MAX {
            return Err(format!("choices that are combined give at most {COMBINATIONS_MAX} combinations"));
        }
        Ok(Size { choices, recursive })
    }

    fn sum(&mut self, schemas: impl Iterator<Item = &'a Value>, depth: usize) -> Result<Size, String> {
        let mut sum = Size { choices: 1, recursive: false };
        for schema in schemas {
            let Size { choices, recursive } = self.size(schema, depth + 1)?;
            sum = Size { choices: sum.choices.saturating_add(choices), recursive: sum.recursive || recursive };
        }
        Ok(sum)
    }

    fn reference(&mut self, value: &'a Value, depth: usize) -> Result<Size, String> {
        let name = value.as_str().ok_or("a `$ref` is a string")?;
        match self.known.get(name) {
            Some(Some(size)) => return Ok(*size),
            Some(None) => return Ok(Size { choices: 1, recursive: true }),
            None => {}
        }
        let path = name.strip_prefix('#').ok_or("a `$ref` stays inside its schema: it begins with #")?;
        let path = path.strip_prefix('/').unwrap_or(path);
        let mut target = self.root;
        for step in path.split('/').filter(|step| !step.is_empty()) {
            let next = match target {
                Value::Array(list) => step.parse().ok().and_then(|at: usize| list.get(at)),
                _ => target.get(step),
            };
            target = next.ok_or("a `$ref` leads to nothing in its schema")?;
        }
        self.known.insert(name, None);
        let size = self.size(target, depth + 1)?;
        self.known.insert(name, Some(size));
        Ok(size)
    }
}

/// Whether a number has few digits besides zeros, and not too many of those.
fn is_plain_step(step: &Value) -> bool {
    let Value::Number(step) = step else { return false };
    let text = step.to_string();
    let (number, exponent) = text.split_once(['e', 'E']).unwrap_or((&text, "0"));
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{fraction}");
    let kept = digits.trim_end_matches('0');
    let places = exponent.parse::<i64>().ok().and_then(|exponent| {
        let dropped = i64::try_from(digits.len() - kept.len()).ok()?;
        exponent.checked_add(dropped)?.checked_sub(i64::try_from(fraction.len()).ok()?)
    });
    kept.parse::<u64>().is_ok_and(|digits| digits <= STEP_MAX)
        && places.is_some_and(|places| places.abs() <= STEP_PLACES_MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::check;

    #[test]
    fn what_multiplies_is_refused_and_what_adds_up_is_not() {
        let choice = |from: usize| -> Vec<_> { (from..from + 10).map(|at| json!({"minLength": at})).collect() };
        let any: Vec<_> = (0..20).map(|at| json!({"anyOf": choice(at)})).collect();
        assert_eq!(check(&json!({"anyOf": any})), Ok(()));
        assert_eq!(check(&json!({"properties": {"a": any[0], "b": any[1], "c": any[2], "d": any[3]}})), Ok(()));
        assert!(check(&json!({"allOf": any})).unwrap_err().contains("combinations"));
        let hidden = json!({"$defs": {"a": {"properties": {"x": any[0]}}, "b": {"properties": {"x": any[1], "y": any[2]}}},
            "allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}, {"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]});
        assert!(check(&hidden).unwrap_err().contains("combinations"));
    }

    #[test]
    fn a_recursive_schema_stands_alone() {
        let node =
            json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}});
        assert_eq!(check(&json!({"$defs": {"node": node}, "$ref": "#/$defs/node"})), Ok(()));
        assert_eq!(check(&json!({"$defs": {"node": node}, "$ref": "#/$defs/node", "title": "a list"})), Ok(()));
        let twice = json!({"$defs": {"node": node}, "allOf": [{"$ref": "#/$defs/node"}, {"$ref": "#/$defs/node"}]});
        assert!(check(&twice).unwrap_err().contains("contains itself"));
        assert_eq!(check(&json!({"properties": {"again": {"$ref": "#"}}})), Ok(()));
    }

    #[test]
    fn steps_have_few_digits() {
        let step = |text: &str| check(&serde_json::from_str(&format!(r#"{{"multipleOf":{text}}}"#)).unwrap()).is_ok();
        for good in ["1", "0.01", "0.5", "25", "3600", "1000000", "1e-9", "0.001", "100.0", "7.25"] {
            assert!(step(good), "{good}");
        }
        for bad in ["4097097.5", "999999937", "1.2345678e-9", "1e-300", "1e300", "0", "-2", "\"1\"", "null"] {
            assert!(!step(bad), "{bad}");
        }
    }

    #[test]
    fn names_of_properties_are_no_keywords() {
        let named = json!({"properties": {"allOf": {"type": "string"}, "$ref": {"type": "string"}, "maxItems": {}}});
        assert_eq!(check(&named), Ok(()));
        assert_eq!(check(&json!({"enum": [{"$ref": "http://a"}, {"maxItems": -1}]})), Ok(()));
    }
}
