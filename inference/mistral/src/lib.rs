//! mistralrs behind Agora's engine port: one base model from a GGUF file, and no adapters.
//!
//! mistralrs computes logits; everything that is counted or promised happens here. Its one hook, a processor of logits
//! (`row.rs`), chooses each token, counts it, delivers it, and tells mistralrs when to end. A desk (`desk.rs`) bounds what
//! is in the engine, and stops everything when mistralrs' thread is gone. See README.md for when to use it.

mod desk;
mod engine;
mod load;
mod row;
mod sampling;
#[cfg(test)]
#[path = "../tests/support/mod.rs"]
mod support;
mod template;
mod text;

use std::time::Duration;

pub use engine::Mistral;

/// What an engine may use.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Most answers that wait, pause or are computed, of which one at a time is; then `engine.busy`. One payer alone gets
    /// half of these places.
    pub answers_max: usize,
    /// Longest wait to join; then `engine.busy`.
    pub wait_max: Duration,
    /// Most tokens of prompt and answer together, if the model has not fewer.
    pub context_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { answers_max: 64, wait_max: Duration::from_secs(30), context_max: 4_096 }
    }
}
