//! `payment-identifier`: a buyer's own id of a payment, so that a repeat gets the first answer.

use agora_types::Hash;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::reason::{Reason, Refusal};
use crate::wire::{Object, PaymentPayload, WireError, object};

/// Its key in `extensions`.
pub const NAME: &str = "payment-identifier";
/// Characters of an id.
pub const ID_LENGTH: std::ops::RangeInclusive<usize> = 16..=128;

/// `info` of the extension: sellers say whether it is required, buyers add the id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentIdentifier {
    /// The seller refuses payments without an id.
    pub required: bool,
    /// 16 to 128 of A-Z a-z 0-9 _ -.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 16, max = 128))]
    pub id: Option<String>,
}

impl PaymentIdentifier {
    /// Out of the extensions of an offer or a payment.
    ///
    /// # Errors
    /// [`WireError::Shape`].
    pub fn read(extensions: &Object) -> Result<Option<Self>, WireError> {
        super::info(NAME, extensions)
    }

    /// Into the extensions of an offer or a payment; the rest of the extension, such as its schema, stays.
    pub fn write(&self, extensions: &mut Object) {
        let schema = extensions.get(NAME).and_then(|extension| extension.get("schema")).cloned();
        extensions.insert(NAME.to_owned(), super::extension(object(self), schema));
    }
}

/// True for an id that may be used.
pub fn is_id(id: &str) -> bool {
    ID_LENGTH.contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// What to do with a payment and its id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identified {
    /// No id, and none is needed: the payment's own key is all there is.
    Anonymous,
    /// A new id: keep it with the payload's digest, in one step with this decision.
    New(String),
    /// The answer that was given before.
    Cached(String),
    /// 409: the id was used with another payload.
    Conflict(Refusal),
    /// 400: required and absent, or no id at all.
    Malformed(Refusal),
}

/// The table. `known` is the digest that was kept with this id.
pub fn decide(required: bool, payment: &PaymentPayload, known: impl FnOnce(&str) -> Option<Hash>) -> Identified {
    let malformed = |message: &str| Identified::Malformed(Refusal::new(Reason::InvalidPayload, message));
    let Ok(info) = PaymentIdentifier::read(&payment.extensions) else {
        return malformed("the extension payment-identifier is malformed");
    };
    // Buyers echo the offer's extension, so `required` in a payment says nothing.
    match info.and_then(|info| info.id) {
        None if required => {
            malformed("a payment identifier is required: send extensions[\"payment-identifier\"].info.id")
        }
        None => Identified::Anonymous,
        Some(id) if !is_id(&id) => malformed("a payment identifier has 16 to 128 of A-Z a-z 0-9 _ -"),
        Some(id) => match known(&id) {
            None => Identified::New(id),
            Some(digest) if digest == payload_digest(payment) => Identified::Cached(id),
            Some(_) => Identified::Conflict(Refusal::new(
                Reason::NonceAlreadyUsed,
                "this payment identifier was used with another payment",
            )),
        },
    }
}

/// SHA-256 over what the payment says and signs, keys in order: the same for every way to write the same JSON.
pub fn payload_digest(payment: &PaymentPayload) -> Hash {
    let mut text = String::from("agora/x402-payload/v1");
    let resource = payment.resource.as_ref().map(object).unwrap_or_default();
    for part in [&resource, &object(&payment.accepted), &payment.payload] {
        canonical(&Value::Object(part.clone()), &mut text);
    }
    Hash::sha256(text)
}

/// Sorted keys, no blanks. Documents are at most 32 deep, so the recursion ends.
fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => text.push_str(&value.to_string()),
        Value::Array(items) => {
            text.push('[');
            for item in items {
                canonical(item, text);
                text.push(',');
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort();
            text.push('{');
            for key in keys {
                text.push_str(&Value::String(key.clone()).to_string());
                text.push(':');
                canonical(&fields[key], text);
                text.push(',');
            }
            text.push('}');
        }
    }
}
