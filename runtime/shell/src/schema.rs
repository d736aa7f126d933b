//! The document types that a program writes, with their JSON Schemas: `agora output-schema --type X`.

use std::collections::BTreeMap;

use agora_types::Code;
use serde_json::{Value, json};

use crate::failure::{ErrorDocument, Failure, Outcome};
use crate::output::Document;

/// Every document type of a program. Start from [`Registry::of_shell`] and add one's own with [`Registry::with`].
#[derive(Debug, Clone, Default)]
pub struct Registry {
    makers: BTreeMap<&'static str, fn() -> Value>,
}

impl Registry {
    /// The types that this crate writes.
    pub fn of_shell() -> Self {
        Self::default()
            .with::<ErrorDocument>()
            .with::<crate::keystore::KeyInfo>()
            .with::<crate::keystore::KeyList>()
            .with::<crate::settings::SettingsDocument>()
            .with::<crate::fetch::Fetched>()
            .with::<crate::doctor::Report>()
    }

    /// Adds a type.
    ///
    /// # Panics
    /// When two types have one name: scripts could not tell them apart.
    #[must_use]
    pub fn with<T: Document>(mut self) -> Self {
        let earlier = self.makers.insert(T::TYPE, schema_of::<T>);
        assert!(earlier.is_none(), "a document type has one name: {}", T::TYPE);
        self
    }

    /// Every type's name, sorted.
    pub fn types(&self) -> Vec<&'static str> {
        self.makers.keys().copied().collect()
    }

    /// The JSON Schema of a type.
    ///
    /// # Errors
    /// `node.bad_config` for a name that is not registered.
    pub fn schema(&self, name: &str) -> Outcome<Value> {
        let maker = self.makers.get(name).ok_or_else(|| {
            let what = format!("there is no document type `{name}`");
            Failure::new(Code::NodeConfig, what).advise(format!("write one of {}", self.types().join(", ")))
        })?;
        Ok(maker())
    }
}

/// The schema of a document as it is written: with its `$type`.
fn schema_of<T: Document>() -> Value {
    let mut schema = schemars::schema_for!(T).to_value();
    let object = schema.as_object_mut().expect("a document's schema is an object");
    object.insert("$id".to_owned(), json!(format!("{}.schema.json", T::TYPE)));
    let properties = object.entry("properties").or_insert_with(|| json!({}));
    let properties = properties.as_object_mut().expect("properties are an object");
    let earlier = properties.insert("$type".to_owned(), json!({"const": T::TYPE}));
    assert!(earlier.is_none(), "a document has no field of the name $type: {}", T::TYPE);
    let required = object.entry("required").or_insert_with(|| json!([]));
    required.as_array_mut().expect("required is a list").push(json!("$type"));
    schema
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_a_schema_that_demands_its_type() {
        let registry = Registry::of_shell();
        assert!(registry.types().contains(&"agora/error/v1"));
        for name in registry.types() {
            assert!(name.starts_with("agora/") && name.rsplit_once("/v").is_some(), "{name}");
            let schema = registry.schema(name).unwrap();
            assert_eq!(schema["properties"]["$type"]["const"], name);
            assert!(schema["required"].as_array().unwrap().contains(&json!("$type")), "{name}");
            assert_eq!(schema["type"], "object", "{name}");
        }
    }

    #[test]
    fn an_unknown_type_is_answered_with_the_known_ones() {
        let failure = Registry::of_shell().schema("agora/nothing/v1").unwrap_err();
        assert_eq!(failure.exit_code(), 2);
        assert!(failure.hint().contains("agora/error/v1"));
    }

    #[test]
    #[should_panic(expected = "one name")]
    fn two_types_cannot_share_a_name() {
        let _ = Registry::of_shell().with::<ErrorDocument>();
    }
}
