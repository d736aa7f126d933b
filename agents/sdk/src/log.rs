//! Lines for whoever runs the agent. Grant: `[grants.log]`.
//!
//! A line that is refused (over 8 KiB, or the event's log is full) is lost, and the agent goes on.

use crate::bindings::agora::agent::log::{self, Level};

/// For the agent's developer.
pub fn debug(text: &str) {
    let _ = log::log(Level::Debug, text);
}

/// For whoever runs it.
pub fn info(text: &str) {
    let _ = log::log(Level::Info, text);
}

/// Something is odd.
pub fn warn(text: &str) {
    let _ = log::log(Level::Warn, text);
}

/// Something failed.
pub fn error(text: &str) {
    let _ = log::log(Level::Error, text);
}
