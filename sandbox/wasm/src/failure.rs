//! What a guest is told, and what its failure is called.

use std::fmt;

use agora_sandbox_api::AgentError;
use agora_types::Code;
use wasmtime::Trap;

use crate::limits;

/// How a host call ends that does not succeed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The guest sees it and may go on.
    Told(AgentError),
    /// The event ends.
    Ends(wasmtime::Error),
}

impl From<AgentError> for Refusal {
    fn from(error: AgentError) -> Self {
        Self::Told(error)
    }
}

impl From<wasmtime::Error> for Refusal {
    fn from(error: wasmtime::Error) -> Self {
        Self::Ends(error)
    }
}

/// Ends the event with this code; travels through the guest's stack as a trap.
#[derive(Debug)]
pub(crate) struct Ended(pub(crate) AgentError);

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl std::error::Error for Ended {}

/// An error that ends the event with this code.
pub(crate) fn ending(code: Code, what: impl Into<String>) -> wasmtime::Error {
    wasmtime::Error::new(Ended(AgentError::new(code, what)))
}

/// `agent.bad_component` in a bounded number of words.
pub(crate) fn bad_component(what: &str) -> AgentError {
    AgentError::new(Code::AgentBadComponent, bounded(what))
}

/// Refuses what is over its bound.
pub(crate) fn within(what: &str, size: usize, max: usize) -> Result<(), AgentError> {
    if size <= max {
        return Ok(());
    }
    Err(AgentError::new(Code::AgentTooLarge, format!("{what}: {size}; at most {max}")))
}

/// The error that an event ended with, as a stable code.
pub(crate) fn of_event(error: &wasmtime::Error) -> AgentError {
    if let Some(Ended(known)) = error.downcast_ref::<Ended>() {
        return known.clone();
    }
    // The innermost cause: what stands before it is the guest's backtrace.
    let text = bounded(&error.root_cause().to_string());
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => AgentError::new(Code::AgentOutOfTime, "it was interrupted"),
        Some(Trap::StackOverflow) => {
            AgentError::new(Code::AgentTrapped, format!("its stack is full ({} KiB)", limits::STACK_MAX >> 10))
        }
        Some(trap) => AgentError::new(Code::AgentTrapped, trap.to_string()),
        // wasmtime keeps the type of this one to itself.
        None if text.contains("fuel allocated for hostcalls has been exhausted") => {
            AgentError::new(Code::AgentTooLarge, format!("one call carries at most {} bytes", limits::CALL_BYTES_MAX))
        }
        None if text.contains("handle index") => AgentError::new(Code::AgentBadHandle, text),
        None => AgentError::new(Code::AgentTrapped, text),
    }
}

/// A guest's words, or words about it, cut at a character.
pub(crate) fn bounded(text: &str) -> String {
    if text.len() <= limits::WORDS_MAX {
        return text.to_owned();
    }
    let end = (0..=limits::WORDS_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &text[..end])
}
