//! What computes, and what it computes with: a base model, an adapter, questions with their answers.

use agora_gradient::{Layout, Machine, Sequence};
use agora_inference_api::EngineError;
use agora_kernels::{Pool, Simd};
use agora_openlora::weights::Weights;
use agora_types::{Code, Hash};
use std::path::Path;

use crate::InfluenceError;
use crate::blocks::Blocks;

/// A base model with threads. Indexes of all its adapters may share one.
#[derive(Debug)]
pub struct Workbench {
    machine: Machine,
    pub(crate) pool: Pool,
    pub(crate) simd: Simd,
    pub(crate) threads: usize,
    /// A gradient by all of the adapter's numbers.
    gradient: Vec<f32>,
}

/// An adapter in plain numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// Where the numbers lie.
    pub layout: Layout,
    /// The numbers.
    pub numbers: Vec<f32>,
    /// The hash by which receipts know it.
    pub hash: Hash,
}

/// A question and its answer in tokens; both have at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// What was given.
    pub prompt: Vec<u32>,
    /// What followed.
    pub response: Vec<u32>,
}

/// What an adapter was taught, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// Prompt and response as they were learnt.
    pub asked: Asked,
    /// Its text in tokens, for copied spans and BM25; may be empty.
    pub text: Vec<u32>,
    /// Who stands behind it.
    pub about: agora_attribution::Example,
}

impl Adapter {
    /// From a folder in PEFT's form.
    ///
    /// # Errors
    /// `engine.bad_adapter`, `engine.too_large`.
    pub fn read(weights: &Weights, folder: &Path) -> Result<Self, EngineError> {
        let (layout, numbers) = Layout::read(weights.shape(), &weights.read_adapter(folder)?)?;
        Ok(Self { layout, numbers, hash: weights.adapter_hash(folder)? })
    }
}

impl Adapter {
    /// The same with its product at so many thousandths; the name stays that of the whole.
    #[must_use]
    pub(crate) fn at_strength(mut self, milli: u32) -> Self {
        #[allow(clippy::cast_possible_truncation, reason = "the root of at most one, rounded once")]
        let factor = (f64::from(milli) / 1_000.0).sqrt() as f32;
        if milli != 1_000 {
            self.numbers.iter_mut().for_each(|number| *number *= factor);
        }
        self
    }
}

impl Workbench {
    /// With so many threads, at most 64.
    ///
    /// # Errors
    /// `engine.stopped` if the system gives no threads.
    pub fn new(weights: Weights, threads: usize) -> Result<Self, EngineError> {
        let threads = threads.clamp(1, 64);
        let failed = |error: std::io::Error| EngineError::new(Code::EngineStopped, format!("no thread: {error}"));
        let settings = agora_gradient::Settings { threads, ..agora_gradient::Settings::default() };
        Ok(Self {
            machine: Machine::new(weights, &settings)?,
            pool: Pool::new(threads).map_err(failed)?,
            simd: Simd::best(),
            threads,
            gradient: Vec::new(),
        })
    }

    /// The base model.
    pub fn weights(&self) -> &Weights {
        self.machine.weights()
    }

    /// The gradient of the response's surprise, summed and divided by the root of its length, by the numbers of `blocks`;
    /// of the tokens alone that are not passed over, where `passed` says something of each.
    pub(crate) fn gradient(
        &mut self,
        adapter: &Adapter,
        blocks: &Blocks,
        asked: &Asked,
        passed: &[bool],
    ) -> Result<&[f32], InfluenceError> {
        let tokens = asked.joined();
        let judged = asked.response.len() - passed.iter().filter(|passed| **passed).count();
        #[allow(clippy::cast_possible_truncation, reason = "a weight is f32")]
        let weight = (judged as f64).sqrt().recip() as f32;
        let sequences = [Sequence { tokens: &tokens, first: asked.prompt.len(), weight, passed }];
        self.gradient.clear();
        self.gradient.resize(adapter.layout.size(), 0.0);
        let first = blocks.all()[0].layer;
        self.machine.gradient_from((&adapter.layout, &adapter.numbers), first, &sequences, &mut self.gradient)?;
        let gradient = &self.gradient[blocks.offset()..];
        match gradient.iter().all(|number| number.is_finite()) {
            true => Ok(gradient),
            false => Err(EngineError::new(Code::EngineNotFinite, "a gradient").into()),
        }
    }

    /// The mean of the last states.
    pub(crate) fn embedding(&mut self, adapter: &Adapter, asked: &Asked) -> Result<Vec<f32>, InfluenceError> {
        let tokens = asked.joined();
        let sequences = [Sequence { tokens: &tokens, first: asked.prompt.len(), weight: 1.0, passed: &[] }];
        let mut means = self.machine.embeddings(Some((&adapter.layout, &adapter.numbers)), &sequences)?;
        Ok(means.swap_remove(0))
    }

    /// The base model's probability of each token of the response, parts of 2^32.
    pub(crate) fn base_probability(&mut self, asked: &Asked) -> Result<Vec<u64>, InfluenceError> {
        let tokens = asked.joined();
        let sequences = [Sequence { tokens: &tokens, first: asked.prompt.len(), weight: 1.0, passed: &[] }];
        let surprises = self.machine.surprises(None, &sequences)?;
        let whole = agora_attribution::WHOLE;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 2^32")]
        let parts = |surprise: f64| ((-surprise).exp() * whole as f64).clamp(0.0, whole as f64) as u64;
        Ok(surprises.into_iter().map(parts).collect())
    }
}

impl Asked {
    fn joined(&self) -> Vec<u32> {
        [self.prompt.as_slice(), &self.response].concat()
    }
}
