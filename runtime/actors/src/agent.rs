//! Agents: programs that handle one event at a time, with a budget, under supervision.
//!
//! An event is written down before it is accepted, and handled once: what its host calls were answered is kept
//! (the table stands in `agent/desk.rs`), so that after a crash the event goes the same way and pays nothing twice. An
//! event that fails is not tried again; an agent that fails [`FAILURES_MAX`] times in a row is suspended, since each try
//! may spend. An agent has an account of its own, whose balance is all that it can ever lose; keys never enter the
//! sandbox.

mod actor;
mod book;
mod desk;
mod fetch;
mod handle;
mod memo;
mod queue;
pub mod record;
pub mod request;
mod sale;
mod shop;
pub mod step;
mod supervisor;

use std::sync::Arc;

use agora_types::key::StatementSigner;

use agora_economy::ports::state::Blobs;
use agora_sandbox_api::Sandbox;

pub use handle::{AgentView, AgentsHandle, Line, Stopped, agents, count, lines};
pub use sale::{REQUESTS_WAITING_MAX, ServeAnswer, ServeOffer};
pub use step::{Feed, Progress, Step};
pub use supervisor::AgentSupervisor;

use crate::fetch::PaidFetch;
use crate::purchase::{Buyer, Payer, Pending};

/// Failures in a row after which an agent is suspended.
pub const FAILURES_MAX: u32 = 5;
/// Events of one agent that may wait.
pub const WAITING_MAX: usize = 64;
/// Largest payload of an event.
pub const PAYLOAD_MAX: usize = 64 * 1024;

/// Holds the keys of agents: an account and a session key for each.
pub trait KeyRing: Send + Sync {
    /// The keys of an agent, made at the first call and durable before the answer. Callable from many tasks.
    fn payer<'a>(&'a self, agent: &'a str) -> Pending<'a, Payer>;

    /// The key that signs an agent's service receipts, made at the first call and durable before the answer.
    fn receipt_key<'a>(&'a self, agent: &'a str) -> Pending<'a, Arc<StatementSigner>>;
}

/// What agents are given.
#[derive(Clone)]
pub struct AgentPorts {
    /// How they buy: ledger, journal, bus, directory, clock and randomness.
    pub buyer: Arc<Buyer>,
    /// Where components are kept.
    pub blobs: Arc<dyn Blobs>,
    /// What runs them.
    pub sandbox: Arc<dyn Sandbox>,
    /// Their keys.
    pub keys: Arc<dyn KeyRing>,
    /// What asks and pays over HTTP for them; `None`: `fetch` is denied to every agent.
    pub fetch: Option<Arc<dyn PaidFetch>>,
    /// Who follows them.
    pub feed: Feed,
}
