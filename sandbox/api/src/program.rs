//! Programs and what loads them.

use std::sync::Arc;

use agora_types::Hash;

use crate::{AgentError, AgentHost, Manifest, Pending, ServeRequest, ServeResponse};

/// What an agent is told to handle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Unique per agent; an event may be handled again after a crash, with the same id.
    pub id: String,
    /// What kind: `deployed`, `message`, `timer`. Requests to sell are no events of the guest: they go to `serve`.
    pub kind: String,
    /// The content, at most 64 KiB.
    pub payload: Vec<u8>,
}

/// A checked and compiled component with its limits. Holds no state: every event gets a fresh instance.
pub trait Program: Send + Sync {
    /// SHA-256 of the component's bytes.
    fn hash(&self) -> Hash;

    /// True when it exports `serve`.
    fn sells(&self) -> bool;

    /// Handles one event; answers with what the guest returned, at most 64 KiB.
    ///
    /// # Errors
    /// `agent.failed` with the guest's words, `agent.trapped`, `agent.out_of_time`, `agent.out_of_memory`,
    /// `agent.too_many_calls`, `agent.too_large`. After an error nothing of the instance is left.
    fn handle(&self, event: Event, host: Arc<dyn AgentHost>) -> Pending<'_, Vec<u8>>;

    /// Answers one request, in a fresh instance, within `serve.timeout_s` of the manifest.
    ///
    /// # Errors
    /// As [`Program::handle`]; `agent.sells_nothing` without `[serve]` in the manifest.
    fn serve(&self, request: ServeRequest, host: Arc<dyn AgentHost>) -> Pending<'_, ServeResponse>;
}

/// Loads programs. Callable from many threads at once.
pub trait Sandbox: Send + Sync {
    /// Checks and compiles a component: it may import only what the manifest grants. May take seconds.
    ///
    /// # Errors
    /// `agent.bad_component`, also for a manifest with `[serve]` and a component without `serve`;
    /// `agent.import_not_granted`, `agent.too_large`.
    fn load(&self, component: &[u8], manifest: &Manifest) -> Result<Arc<dyn Program>, AgentError>;
}
