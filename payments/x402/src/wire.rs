//! The documents of x402 version 2: what is in a header, in a body, and in the maps that schemes fill.
//!
//! Unknown fields are kept where the protocol echoes them (`extra`, `extensions`, the scheme's `payload`) and ignored
//! elsewhere. Every document is read through [`read`], which bounds its size and refuses ambiguous JSON.

mod bazaar_page;
mod extra;
mod facilitator;
mod network;
mod number;
mod payment;
mod required;

pub use bazaar_page::{DiscoveryItem, DiscoveryPage, PAGE_MAX, Pagination};
pub use extra::{BatchExtra, ChannelState, ExactExtra, PaymentFlow, UptoExtra, VoucherState};
pub use facilitator::{Kind, PartialChannelState, SettleResponse, SettleResponseExtra, Supported, VerifyResponse};
pub use network::{CHAIN_ID_MAX, NetworkError, NetworkId};
pub use number::{Nonce, NumberError, Seconds, SettledAmount};
pub use payment::{PaymentPayload, SettleRequest, VerifyRequest};
pub use required::{ACCEPTS_MAX, Accept, PaymentRequired, PaymentRequirements, Resource, Scheme, SchemeError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::strict::{self, JsonError};

/// A JSON object that is carried and not understood; the document around it bounds its size and depth.
pub type Object = serde_json::Map<String, Value>;

/// The one version of the protocol that is spoken here.
pub const X402_VERSION: u64 = 2;

/// Why bytes are not a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// No header of this name.
    #[error("there is no such header")]
    Missing,
    /// Several headers of one name: which one counts is nobody's guess.
    #[error("the header appears more than once")]
    Repeated,
    /// Over the document's bound.
    #[error("{size} bytes are over the bound of {bound}")]
    TooLarge {
        /// Of the bytes given.
        size: usize,
        /// The most.
        bound: usize,
    },
    /// URL-safe, unpadded, or otherwise not standard base64.
    #[error("not standard base64 with padding")]
    Base64,
    /// Not JSON, or JSON that readers read differently.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// `x402Version` is not 2.
    #[error("this is not x402 version 2")]
    Version,
    /// A field is missing, of the wrong type, or out of its bounds.
    #[error("not a {what}: {why}")]
    Shape {
        /// The document.
        what: &'static str,
        /// As the reader says it.
        why: String,
    },
}

/// A whole document: it knows its name and its bound.
pub trait Document: Serialize + DeserializeOwned {
    /// In messages and as the name of its schema file.
    const NAME: &'static str;
    /// Most bytes of its JSON.
    const SIZE_MAX: usize = 16 * 1024;
    /// True when `x402Version` must be 2.
    const VERSIONED: bool = true;
}

/// Reads a document.
///
/// # Errors
/// [`WireError`]; never panics, whatever the bytes.
pub fn read<T: Document>(bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > T::SIZE_MAX {
        return Err(WireError::TooLarge { size: bytes.len(), bound: T::SIZE_MAX });
    }
    let value = strict::value(bytes)?;
    if T::VERSIONED && value.get("x402Version").is_some_and(|version| version.as_u64() != Some(X402_VERSION)) {
        return Err(WireError::Version);
    }
    view(T::NAME, value)
}

/// Writes a document.
///
/// # Errors
/// [`WireError::TooLarge`] when the other side would refuse it.
pub fn write<T: Document>(document: &T) -> Result<Vec<u8>, WireError> {
    let bytes =
        serde_json::to_vec(document).map_err(|error| WireError::Shape { what: T::NAME, why: error.to_string() })?;
    if bytes.len() > T::SIZE_MAX {
        return Err(WireError::TooLarge { size: bytes.len(), bound: T::SIZE_MAX });
    }
    Ok(bytes)
}

/// Reads one value that was read strictly before as something typed.
pub(crate) fn view<T: DeserializeOwned>(what: &'static str, value: Value) -> Result<T, WireError> {
    // A struct's fields have names here: serde would also take them in order, from an array.
    if !value.is_object() {
        return Err(WireError::Shape { what, why: "it is no object".to_owned() });
    }
    serde_json::from_value(value).map_err(|error| WireError::Shape { what, why: error.to_string() })
}

/// What is written into a map: a value of ours, which is always an object.
pub(crate) fn object<T: Serialize>(value: &T) -> Object {
    match serde_json::to_value(value) {
        Ok(Value::Object(object)) => object,
        Ok(_) | Err(_) => Object::new(),
    }
}

impl Version {
    /// As a number.
    pub const NUMBER: u64 = X402_VERSION;
}

/// `x402Version`: always 2.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Version;

impl Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(X402_VERSION)
    }
}

impl<'de> serde::Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u64::deserialize(deserializer)? {
            X402_VERSION => Ok(Self),
            other => Err(serde::de::Error::custom(format!("x402Version is 2, not {other}"))),
        }
    }
}

impl schemars::JsonSchema for Version {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "X402Version".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "integer", "const": X402_VERSION})
    }
}

/// Reads `null` like an absent field: stock clients write both.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: serde::Deserialize<'de> + Default,
{
    Ok(<Option<T> as serde::Deserialize>::deserialize(deserializer)?.unwrap_or_default())
}
