//! Standard base64 with padding, in its one canonical form.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// With padding.
pub(crate) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Refuses missing padding, line breaks, and bits behind the end: every byte sequence has one text.
pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// A hash's 32 bytes.
pub(crate) fn decode_hash(text: &str) -> Option<agora_types::Hash> {
    agora_types::Hash::from_slice(&decode(text)?)
}

/// A decimal number without sign and leading zeros.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
