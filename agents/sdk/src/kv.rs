//! Bytes that outlive the event. Grant: `[grants.key_value]`.
//!
//! What an event writes becomes durable together with its end, or not at all.

use crate::Error;
use crate::bindings::agora::agent::key_value;

/// A kept value.
///
/// # Errors
/// The key is over 256 bytes.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    key_value::get(key)
}

/// Keeps a value.
///
/// # Errors
/// The key is over 256 bytes, the value over 256 KiB, or all together over the grant.
pub fn set(key: &str, value: &[u8]) -> Result<(), Error> {
    key_value::set(key, value)
}

/// Forgets a value.
///
/// # Errors
/// The key is over 256 bytes.
pub fn delete(key: &str) -> Result<(), Error> {
    key_value::delete(key)
}

/// Kept keys that begin with `prefix`, in order, at most `limit`.
///
/// # Errors
/// The prefix is over 256 bytes.
pub fn keys(prefix: &str, limit: u32) -> Result<Vec<String>, Error> {
    key_value::keys(prefix, limit)
}
