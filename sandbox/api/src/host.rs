//! The node's side of every host call of a guest.

use std::future::Future;
use std::pin::Pin;

use agora_types::{Address, Amount, Code, Hash, ListingId, Prices, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{HttpRequest, HttpResponse};

/// An answer that is still on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, AgentError>> + Send + 'a>>;

/// Why a host call was refused, or an agent failed. The guest sees code and words; it may go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("{code}: {what}; {}", .code.meaning())]
pub struct AgentError {
    /// The stable code.
    pub code: Code,
    /// Which grant, bound or value.
    pub what: String,
}

impl AgentError {
    /// An error with its code and what it is about.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into() }
    }
}

/// What can be bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The listing.
    pub listing: ListingId,
    /// Its name.
    pub name: String,
    /// One line.
    pub title: String,
    /// A paragraph.
    pub description: String,
    /// Who offers it.
    pub owner: Address,
    /// Atoms per token.
    pub prices: Prices,
    /// Most tokens of prompt and answer together.
    pub context_max: u64,
    /// Most tokens of an answer.
    pub output_max: u64,
}

/// Who speaks in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Turn {
    /// Sets the scene.
    System,
    /// Asks.
    User,
    /// Answers.
    Assistant,
}

/// A request as a guest makes it; the node checks it as every buyer's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The conversation.
    pub messages: Vec<(Turn, String)>,
    /// Thousandths; 0 is greedy.
    pub temperature_milli: u32,
    /// 0: all tokens.
    pub top_k: u32,
    /// Thousandths; 1,000: all tokens.
    pub top_p_milli: u32,
    /// The sampler's seed.
    pub seed: u64,
    /// Most tokens of the answer.
    pub output_max: u64,
    /// The answer ends before the first of these.
    pub stops: Vec<String>,
}

/// A quote that the agent holds, numbered within one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct QuoteHandle(pub u32);

/// A token stream that the agent reads, numbered within one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct StreamHandle(pub u32);

/// What a call would cost at most.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteTerms {
    /// To open it with.
    pub handle: QuoteHandle,
    /// Tokens of the prompt, counted by the host.
    pub input_tokens: u64,
    /// Most tokens of the answer.
    pub output_max: u64,
    /// Atoms per token.
    pub prices: Prices,
    /// The most it can cost.
    pub charge_max: Amount,
    /// Last moment to open it.
    pub expires_at: Timestamp,
}

/// What the agent may still spend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    /// Granted in all.
    pub granted: Amount,
    /// Spent or set aside.
    pub used: Amount,
    /// Most of one call.
    pub per_call: Amount,
}

/// A receipt in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptView {
    /// Its leaf hash.
    pub leaf: Hash,
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// What it cost.
    pub charge: Amount,
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The receipt, when the call was settled.
    pub receipt: Option<ReceiptView>,
    /// Why it ended early, when it did.
    pub interrupted: Option<String>,
}

/// What has arrived since the last batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Whole UTF-8.
    pub text: String,
    /// Tokens in it.
    pub tokens: u32,
    /// Present in the last batch of a stream.
    pub ended: Option<Ended>,
}

/// How important a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For its developer.
    Debug,
    /// For whoever runs it.
    Info,
    /// Something is odd.
    Warn,
    /// Something failed.
    Error,
}

/// What a guest may call during one event. One value serves one event; calls come one after another.
///
/// The sandbox has checked the grant and clamped sizes before it calls. Implementations check again what concerns money,
/// number the calls, and write results of calls with side effects down, so that an event that is handled again after a
/// crash gets the recorded results and pays nothing twice. Dropping a future abandons the call.
pub trait AgentHost: Send + Sync {
    /// Listings that fit the words, best first.
    fn find<'a>(&'a self, query: &'a str, limit: u32) -> Pending<'a, Vec<Offer>>;

    /// Asks the listing's host for a signed quote.
    fn quote<'a>(&'a self, listing: &'a ListingId, ask: &'a Ask) -> Pending<'a, QuoteTerms>;

    /// What may still be spent.
    fn budget(&self) -> Pending<'_, Budget>;

    /// Opens a paid token stream. `agent.over_budget` when budget or per-call limit do not cover the quote.
    fn open(&self, quote: QuoteHandle) -> Pending<'_, StreamHandle>;

    /// Waits for more of the answer, at most `max` tokens. After the batch with `ended`, an error.
    fn next_batch(&self, stream: StreamHandle, max: u32) -> Pending<'_, Batch>;

    /// Stops a stream: what was delivered is paid, the rest stays with the agent.
    fn close(&self, stream: StreamHandle) -> Pending<'_, ()>;

    /// Sends a request, and pays for the answer up to its `max_spend`. Redirects are answers like others, never followed.
    /// `agent.denied` when the host is not granted or the node pays nobody over HTTP, `agent.over_budget` as for `open`.
    fn fetch<'a>(&'a self, request: &'a HttpRequest) -> Pending<'a, HttpResponse>;

    /// A kept value.
    fn get<'a>(&'a self, key: &'a str) -> Pending<'a, Option<Vec<u8>>>;

    /// Keeps a value; durable together with the end of the event.
    fn set<'a>(&'a self, key: &'a str, value: &'a [u8]) -> Pending<'a, ()>;

    /// Forgets a value.
    fn delete<'a>(&'a self, key: &'a str) -> Pending<'a, ()>;

    /// Kept keys that begin with `prefix`, in order, at most `limit`.
    fn keys<'a>(&'a self, prefix: &'a str, limit: u32) -> Pending<'a, Vec<String>>;

    /// Writes a log line.
    fn log<'a>(&'a self, level: Level, text: &'a str) -> Pending<'a, ()>;

    /// Now; the same again when the event is handled again.
    fn now(&self) -> Pending<'_, Timestamp>;
}
