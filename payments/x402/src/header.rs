//! The three headers: standard base64 of a document's JSON, one of each name.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::wire::{self, Document, PaymentPayload, PaymentRequired, SettleResponse, WireError};

/// In an answer 402: [`PaymentRequired`].
pub const PAYMENT_REQUIRED: &str = "PAYMENT-REQUIRED";
/// In a request: [`PaymentPayload`].
pub const PAYMENT_SIGNATURE: &str = "PAYMENT-SIGNATURE";
/// In an answer to a payment, good or bad: [`SettleResponse`].
pub const PAYMENT_RESPONSE: &str = "PAYMENT-RESPONSE";
/// Most bytes of a header: servers refuse longer ones long before the document's bound.
pub const HEADER_MAX: usize = 16 * 1024;

/// A document that travels in a header.
pub trait HeaderDocument: Document {
    /// The header's name.
    const HEADER: &'static str;
}

impl HeaderDocument for PaymentRequired {
    const HEADER: &'static str = PAYMENT_REQUIRED;
}
impl HeaderDocument for PaymentPayload {
    const HEADER: &'static str = PAYMENT_SIGNATURE;
}
impl HeaderDocument for SettleResponse {
    const HEADER: &'static str = PAYMENT_RESPONSE;
}

/// The header's value.
///
/// # Errors
/// [`WireError::TooLarge`] when it would not fit; nobody would read it.
pub fn encode<T: HeaderDocument>(document: &T) -> Result<String, WireError> {
    let text = STANDARD.encode(wire::write(document)?);
    if text.len() > HEADER_MAX {
        return Err(WireError::TooLarge { size: text.len(), bound: HEADER_MAX });
    }
    Ok(text)
}

/// Reads the values of all headers of [`HeaderDocument::HEADER`]'s name: there must be exactly one.
///
/// # Errors
/// [`WireError`]; never panics, whatever the bytes.
pub fn decode<T: HeaderDocument>(values: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<T, WireError> {
    let mut values = values.into_iter();
    let value = values.next().ok_or(WireError::Missing)?;
    if values.next().is_some() {
        return Err(WireError::Repeated);
    }
    let value = value.as_ref();
    if value.len() > HEADER_MAX {
        return Err(WireError::TooLarge { size: value.len(), bound: HEADER_MAX });
    }
    wire::read(&STANDARD.decode(value).map_err(|_| WireError::Base64)?)
}
