//! OpenLoRA: one base model, many adapters, one batch.
//!
//! [`OpenLora`] serves a model of the Llama, Qwen 2 and 3 or Gemma 3 family behind the engine port, from a GGUF file or a
//! Hugging Face folder of safetensors. One thread runs continuous batching: rows join and leave at every step, each with
//! its own sequence, sampling and adapter; adapters are added while the model computes and never merged. A row's answer is
//! the same bits alone or in company, on any number of threads, with or without vector instructions, and on a CUDA device.
//!
//! Model files and adapters are untrusted: every number they state is checked before it is used.

use std::time::Duration;

mod adapter;
mod constrain;
mod engine;
mod failure;
mod folder;
mod gguf;
mod model;
pub mod probe;
mod safetensors;
mod sampling;
mod text;
pub mod weights;

pub use engine::OpenLora;

/// How far loading has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loading {
    /// Bytes read.
    pub done_bytes: u64,
    /// Bytes of all files.
    pub total_bytes: u64,
}

/// Where the numbers are computed; they are the same bits everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Device {
    /// The processor, with the best vector instructions that it has.
    #[default]
    Cpu,
    /// A device with CUDA, by its number.
    Cuda(usize),
}

/// The engine's bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where weights, keys and values, and the adapters that are used lie and are computed with.
    pub device: Device,
    /// Threads of the processor that compute, at most 64.
    pub threads: usize,
    /// Most rows of a batch. Twice as many may have joined and take turns; one payer alone gets half of those places.
    pub rows_max: usize,
    /// Most answers that wait to join; then `engine.busy`. One payer alone gets half of these places.
    pub queue_max: usize,
    /// Longest wait to join, as far as it can be told beforehand; then `engine.busy`.
    pub wait_max: Duration,
    /// Most bytes for keys and values, of running rows and of prompts that may come again. One payer alone gets half of
    /// it for its rows; one row of the whole context fits always.
    pub cache_size_max: usize,
    /// Most tokens of prompt and answer together, if the model has not fewer.
    pub context_max: usize,
    /// Most prompt tokens of one step: more is faster for prompts, less keeps other rows' answers flowing.
    pub prompt_step: usize,
    /// Most adapters that are known at once.
    pub adapters_max: usize,
    /// Most bytes of resident adapters; others are read again when they are needed. Their copies on a device may take as
    /// many there.
    pub adapters_size_max: usize,
    /// Use no vector instructions: the same answers, slower.
    pub portable: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            device: Device::Cpu,
            threads: std::thread::available_parallelism().map_or(1, usize::from).min(8),
            rows_max: 16,
            queue_max: 64,
            wait_max: Duration::from_secs(30),
            cache_size_max: 2 << 30,
            context_max: 4_096,
            prompt_step: 64,
            adapters_max: 4_096,
            adapters_size_max: 512 << 20,
            portable: false,
        }
    }
}
