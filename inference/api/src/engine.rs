//! The port itself.

use std::future::Future;
use std::pin::Pin;

use agora_types::{Address, Code, Hash, Usage};
use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::{LOGPROBS_MAX, Request};

/// Most bytes of a token that a likelihood names; longer ones are cut.
pub const LIKELIHOOD_TOKEN_MAX: usize = 128;

/// An answer that is still on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, EngineError>> + Send + 'a>>;

/// Why an engine refuses or fails, with a stable code of the area `engine`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {what}; {}", .code.meaning())]
pub struct EngineError {
    /// The stable code.
    pub code: Code,
    /// Which file, tensor, bound.
    pub what: String,
    /// When trying again may help, in milliseconds from now.
    pub retry_ms: Option<u64>,
}

impl EngineError {
    /// An error with its code and what it is about.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), retry_ms: None }
    }

    /// The same with a hint when to come back.
    #[must_use]
    pub fn retry_after(self, milliseconds: u64) -> Self {
        Self { retry_ms: Some(milliseconds), ..self }
    }
}

/// The base model that an engine serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BaseInfo {
    /// For people.
    pub name: String,
    /// SHA-256 of the model's file.
    pub hash: Hash,
    /// Hash of the tokenizer: vocabulary, merges and chat template.
    pub tokenizer_hash: Hash,
    /// Most tokens of prompt and answer together.
    pub context_max: u64,
}

/// An adapter that can answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdapterInfo {
    /// For people.
    pub name: String,
    /// SHA-256 over its configuration and weights.
    pub hash: Hash,
    /// Rank of its matrices (the largest).
    pub rank: u32,
    /// Bytes in memory, when it is resident.
    pub size: u64,
    /// Whether it can answer at once, or must be loaded first.
    pub resident: bool,
}

/// How soon an answer can begin, in milliseconds; estimates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether the adapter is resident.
    pub hot: bool,
    /// For a resident adapter: the wait of the queue.
    pub hot_ms: u64,
    /// If the adapter must be loaded first.
    pub cold_ms: u64,
}

/// One row of the batch: a request, and which adapter answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// The request.
    pub request: Request,
    /// The adapter's hash; `None`: the base model answers.
    pub adapter: Option<Hash>,
    /// Most pieces that wait for a slow reader, at least 1; then the row pauses.
    pub ahead_max: usize,
    /// Who pays: turns and places are shared fairly between payers, and a prompt is found again by its payer only.
    pub payer: Option<Address>,
}

impl Job {
    /// A job of nobody in particular, answered by the base model.
    pub fn new(request: Request, ahead_max: usize) -> Self {
        Self { request, adapter: None, ahead_max, payer: None }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The model said so.
    Stop,
    /// A stop string was reached.
    StopString,
    /// `output_max` was reached, or the context is full.
    Length,
}

/// How likely the model held one token to be, before penalty, schema, temperature and cuts.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Likelihood {
    /// The token's bytes, at most [`LIKELIHOOD_TOKEN_MAX`], which may be a part of a character; the name of one that shows
    /// nothing.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub token: Vec<u8>,
    /// Minus the natural logarithm of its probability, in millionths. At the most there can be it counts as impossible.
    #[n(1)]
    pub nats_micro: u32,
}

/// What the model held likely at the place of one token.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Likelihoods {
    /// The token that was chosen.
    #[n(0)]
    pub chosen: Likelihood,
    /// The likeliest tokens, the likeliest first, at most [`LOGPROBS_MAX`]; the chosen one may be among them.
    #[n(1)]
    pub top: Vec<Likelihood>,
}

impl Likelihood {
    /// Of a token, cut to its bound.
    pub fn new(token: &[u8], nats_micro: u32) -> Self {
        Self { token: token[..token.len().min(LIKELIHOOD_TOKEN_MAX)].to_vec(), nats_micro }
    }
}

impl Likelihoods {
    /// Whether every bound is kept.
    pub fn is_bounded(&self) -> bool {
        let short = |likelihood: &Likelihood| likelihood.token.len() <= LIKELIHOOD_TOKEN_MAX;
        self.top.len() <= LOGPROBS_MAX as usize && short(&self.chosen) && self.top.iter().all(short)
    }
}

/// One step of an answer. Usage is that since the answer began; the engine's own count, which is billed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Exactly one more token. Its text is whole UTF-8 and may be empty: bytes wait for the rest of their character, text
    /// waits while it may become a stop string, and a hidden token shows nothing.
    Token {
        /// What can be shown now.
        text: String,
        /// Tokens so far, this one included.
        usage: Usage,
        /// Where the request asks for them, and the token is not hidden.
        likelihoods: Option<Box<Likelihoods>>,
    },
    /// The answer is whole.
    End {
        /// Text that had waited.
        text: String,
        /// Why it ended.
        ending: Ending,
        /// Tokens in all.
        usage: Usage,
    },
}

/// The reading end of one answer. Dropping it cancels the row within one step.
pub trait TokenStream: Send {
    /// Waits for the next piece; `None` after [`Piece::End`] or an error. Dropping the future loses nothing.
    fn next(&mut self) -> Pending<'_, Option<Piece>>;
}

/// Generates tokens. Callable from many threads at once; rows with different adapters share one batch.
///
/// Nothing is durable. A row's answer depends on request, adapter and base only, never on its company in the batch.
/// Nobody retries inside: a failed row has failed.
pub trait Engine: Send + Sync {
    /// The base model.
    fn base(&self) -> &BaseInfo;

    /// The adapters that are loaded, by hash.
    fn adapters(&self) -> Vec<AdapterInfo>;

    /// One of them. The base model itself has none.
    fn adapter(&self, hash: &Hash) -> Option<AdapterInfo> {
        self.adapters().into_iter().find(|known| known.hash == *hash)
    }

    /// How soon an answer can begin, and a hint that one may be wanted: a cold adapter is loaded if there is room.
    fn prepare(&self, adapter: Option<&Hash>) -> Readiness {
        let _ = adapter;
        Readiness { hot: true, hot_ms: 0, cold_ms: 0 }
    }

    /// Tokens of the rendered prompt. Quick; checks every bound of the request, and that its schema can be served.
    ///
    /// # Errors
    /// `engine.bad_request`, `engine.context_exceeded`.
    fn count(&self, request: &Request) -> Result<u64, EngineError>;

    /// Joins the batch at the next step; does not wait for it.
    ///
    /// # Errors
    /// As [`Engine::count`]; `engine.unknown_adapter`, `engine.busy`, `engine.stopped`.
    fn start(&self, job: Job) -> Result<Box<dyn TokenStream>, EngineError>;
}
