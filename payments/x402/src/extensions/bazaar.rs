//! `bazaar`: how a resource is called and what it answers, for catalogues.
//!
//! Clients echo it and nobody signs it, so it describes and proves nothing: a catalogue believes listings that their
//! sellers signed, and shows this as a view of them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::wire::{Object, WireError, or_default, view};

/// Its key in `extensions`.
pub const NAME: &str = "bazaar";

/// The extension.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Bazaar {
    /// The description.
    pub info: BazaarInfo,
    /// A JSON Schema (2020-12) of `info`: carried, never run.
    #[serde(default, skip_serializing_if = "Object::is_empty", deserialize_with = "or_default")]
    pub schema: Object,
}

/// The description.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BazaarInfo {
    /// How it is called.
    pub input: BazaarInput,
    /// What it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<BazaarOutput>,
}

/// How a resource is called.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum BazaarInput {
    /// Over HTTP.
    Http {
        /// `GET`, `POST`, …
        #[serde(default, skip_serializing_if = "Option::is_none")]
        method: Option<String>,
        /// `json`, `form-data` or `text`.
        #[serde(default, skip_serializing_if = "Option::is_none", rename = "bodyType")]
        body_type: Option<String>,
        /// An example, or descriptions of the fields.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        body: Option<Value>,
        /// Examples of parameters in the URL's query.
        #[serde(
            default,
            skip_serializing_if = "Object::is_empty",
            deserialize_with = "or_default",
            rename = "queryParams"
        )]
        query_params: Object,
        /// Examples of parameters in the URL's path.
        #[serde(
            default,
            skip_serializing_if = "Object::is_empty",
            deserialize_with = "or_default",
            rename = "pathParams"
        )]
        path_params: Object,
        /// Examples of headers.
        #[serde(default, skip_serializing_if = "Object::is_empty", deserialize_with = "or_default")]
        headers: Object,
    },
    /// As a tool of the Model Context Protocol.
    Mcp {
        /// The tool.
        #[serde(rename = "toolName")]
        tool_name: String,
        /// For people and models.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        description: Option<String>,
        /// `streamable-http` or `sse`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        transport: Option<String>,
        /// A JSON Schema of its arguments.
        #[serde(
            default,
            skip_serializing_if = "Object::is_empty",
            deserialize_with = "or_default",
            rename = "inputSchema"
        )]
        input_schema: Object,
        /// An example.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        example: Option<Value>,
    },
}

/// What a resource answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BazaarOutput {
    /// `json`, `text`, …
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    pub kind: Option<String>,
    /// Within the type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// An example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub example: Option<Value>,
}

impl Bazaar {
    /// Out of the extensions of an offer, a payment or a catalogue's item; `None` when there is none.
    ///
    /// # Errors
    /// [`WireError::Shape`].
    pub fn read(extensions: &Object) -> Result<Option<Self>, WireError> {
        extensions.get(NAME).map(|extension| view(NAME, extension.clone())).transpose()
    }

    /// Into the extensions of an offer.
    pub fn write(&self, extensions: &mut Object) {
        extensions.insert(NAME.to_owned(), Value::Object(crate::wire::object(self)));
    }
}
