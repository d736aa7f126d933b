//! What rides along with a payment: an id for repeats, signed statements, and the description for catalogues.

pub mod bazaar;
pub mod identifier;
pub mod statement;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::wire::{Object, WireError, view};

/// The `info` of an extension; `None` when the extension is absent.
fn info<T: DeserializeOwned>(name: &'static str, extensions: &Object) -> Result<Option<T>, WireError> {
    let Some(extension) = extensions.get(name) else { return Ok(None) };
    let info = extension.get("info").cloned().unwrap_or(Value::Null);
    view(name, info).map(Some)
}

/// An extension's value: its `info`, and the schema that stock clients check it with.
fn extension(info: Object, schema: Option<Value>) -> Value {
    let mut extension = Object::new();
    extension.insert("info".to_owned(), Value::Object(info));
    if let Some(schema) = schema {
        extension.insert("schema".to_owned(), schema);
    }
    Value::Object(extension)
}
