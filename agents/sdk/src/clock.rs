//! The time. Grant: `[grants.clock]`.

use crate::Error;
use crate::bindings::agora::agent::clock;

/// Milliseconds since 1970; the same again when the event is handled again.
///
/// # Errors
/// The event ran out of host calls.
pub fn now_ms() -> Result<u64, Error> {
    clock::now_ms()
}
