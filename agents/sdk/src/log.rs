//! Lines for whoever runs the agent. Grant: `[grants.log]`.
//!
//! A line that is refused (over 8 KiB, or the event's log is full) is lost, and the agent goes on.

use std::panic;

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

/// From now on a panic leaves its words in the log before it ends the event; without, the node only knows that the agent
/// trapped. Call it first thing in [`Agent::handle`](crate::Agent::handle).
pub fn panics() {
    panic::set_hook(Box::new(|panic| error(&panic.to_string())));
}
