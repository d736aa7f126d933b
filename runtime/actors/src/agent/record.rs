//! What an agent leaves on disk: its record, its events, what its host calls were answered, its log.

use agora_types::{Address, Amount, CallId, Canonical, Code, Hash, ListingId, Timestamp};
use minicbor::{Decode, Encode};

/// How an agent stands. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Status {
    /// It handles events.
    #[n(0)]
    Running,
    /// It failed too often and waits to be deployed again.
    #[n(1)]
    Suspended,
    /// It was stopped; its money goes back to its owner.
    #[n(2)]
    Stopped,
}

/// A listing that the agent paid, and the host there: where unspent deposits may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Payee {
    /// The listing.
    #[n(0)]
    pub listing: ListingId,
    /// The host's account.
    #[n(1)]
    pub host: Address,
}

/// A request over HTTP whose cost is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reserved {
    /// The fetch's id.
    #[n(0)]
    pub call: CallId,
    /// The most that it can cost; the budget counts it as used.
    #[n(1)]
    pub max: Amount,
}

/// An agent, `agora/agent/v1`, by name.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AgentRecord {
    /// The text of `agent.toml`.
    #[n(0)]
    pub manifest: String,
    /// SHA-256 of the component, which is a blob.
    #[n(1)]
    pub component: Hash,
    /// Gets back what is left.
    #[n(2)]
    pub owner: Address,
    /// Its balance is what the agent can spend.
    #[n(3)]
    pub account: Address,
    /// How it stands.
    #[n(4)]
    pub status: Status,
    /// Paid since it was deployed: by receipts, and over HTTP.
    #[n(5)]
    pub spent: Amount,
    /// Events handled, well or not.
    #[n(6)]
    pub handled: u64,
    /// Failures in a row.
    #[n(7)]
    pub failures: u32,
    /// Why it failed last.
    #[n(8)]
    pub failure: Option<String>,
    /// When this version was deployed.
    #[n(9)]
    pub deployed_at: Timestamp,
    /// Whom it paid.
    #[n(10)]
    pub payees: Vec<Payee>,
    /// The number of its next log line.
    #[n(11)]
    pub next_line: u64,
    /// Its requests over HTTP whose cost is not known yet.
    #[cbor(n(12), default, skip_if = "Vec::is_empty")]
    pub fetches: Vec<Reserved>,
}

/// An event, `agora/agent-event/v1`, by name ‖ 0 ‖ event id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EventRow {
    /// What kind: `deployed`, `message`, `timer`; `serve` for a request that is sold.
    #[n(0)]
    pub kind: String,
    /// The content.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub payload: Vec<u8>,
    /// When it was accepted.
    #[n(2)]
    pub received_at: Timestamp,
    /// How far it is.
    #[n(3)]
    pub state: EventState,
    /// Calls and requests that were paid for it.
    #[n(4)]
    pub calls: Vec<CallId>,
    /// What they cost.
    #[n(5)]
    pub spent: Amount,
}

/// How far an event is. Numbers are never reused.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum EventState {
    /// It waits, or is being handled.
    #[n(0)]
    Waiting,
    /// The guest's answer.
    #[n(1)]
    Done(#[cbor(n(0), with = "minicbor::bytes")] Vec<u8>),
    /// Why there is none.
    #[n(2)]
    Failed {
        /// The code's number.
        #[n(0)]
        code: u16,
        /// The words.
        #[n(1)]
        what: String,
    },
}

/// A kind of host call whose answer is kept. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum MemoKind {
    /// `find`
    #[n(0)]
    Find,
    /// `quote`
    #[n(1)]
    Quote,
    /// `budget`
    #[n(2)]
    Budget,
    /// `open`
    #[n(3)]
    Open,
    /// `now`
    #[n(4)]
    Now,
    /// `fetch`
    #[n(5)]
    Fetch,
}

/// What a host call was answered, `agora/agent-call/v1`, by name ‖ 0 ‖ event id ‖ number (4 bytes, big-endian).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct MemoRow {
    /// Which call.
    #[n(0)]
    pub kind: MemoKind,
    /// Hash of its arguments.
    #[n(1)]
    pub args: Hash,
    /// The answer as JSON.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub answer: Vec<u8>,
}

/// A line of an agent's log, `agora/agent-line/v1`, by name ‖ 0 ‖ number (8 bytes, big-endian).
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LineRow {
    /// When.
    #[n(0)]
    pub time: Timestamp,
    /// 0 debug, 1 info, 2 warn, 3 error.
    #[n(1)]
    pub level: u8,
    /// What.
    #[n(2)]
    pub text: String,
}

impl Canonical for AgentRecord {
    const TAG: &'static str = "agora/agent/v1";
    const SIZE_MAX: usize = 128 * 1024;
}

impl Canonical for EventRow {
    const TAG: &'static str = "agora/agent-event/v1";
    const SIZE_MAX: usize = 160 * 1024;
}

impl Canonical for MemoRow {
    const TAG: &'static str = "agora/agent-call/v1";
    const SIZE_MAX: usize = 1 << 20;
}

impl Canonical for LineRow {
    const TAG: &'static str = "agora/agent-line/v1";
    const SIZE_MAX: usize = 80 * 1024;
}

impl EventState {
    /// A failure with its code and words, cut to what a row may hold.
    pub(crate) fn failed(code: Code, what: &str) -> Self {
        Self::Failed { code: code.number(), what: what.chars().take(2_000).collect() }
    }
}

/// Name ‖ 0 ‖ rest: an agent's rows stand together, and no name is the beginning of another's.
pub(crate) fn key(name: &str, rest: &[u8]) -> Vec<u8> {
    [name.as_bytes(), &[0], rest].concat()
}
