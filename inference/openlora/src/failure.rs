//! Errors in a few words.

use agora_inference_api::EngineError;
use agora_types::Code;

/// Most bytes of a file's own text that an error repeats.
const QUOTED_MAX: usize = 80;

/// The file is malformed or damaged.
pub(crate) fn bad_model(what: impl Into<String>) -> EngineError {
    EngineError::new(Code::EngineBadModel, what)
}

/// The file is sound, but nothing here can run it.
pub(crate) fn unsupported(what: impl Into<String>) -> EngineError {
    EngineError::new(Code::EngineUnsupported, what)
}

/// The adapter's files are malformed or do not fit.
pub(crate) fn bad_adapter(what: impl Into<String>) -> EngineError {
    EngineError::new(Code::EngineBadAdapter, what)
}

/// Text of a hostile file, short and without control characters.
pub(crate) fn quoted(text: &str) -> String {
    text.chars().take(QUOTED_MAX).map(|sign| if sign.is_control() { '?' } else { sign }).collect()
}
