//! The receipt log for callers in the same process.

use std::time::Duration;

use agora_receipts::Envelope;
use agora_types::Code;
use kameo::actor::ActorRef;
use kameo::error::SendError;

use super::actor::{Export, LogActor, Newest, Publish};
use super::publisher::Published;
use crate::error::CallError;

/// How long an answer may take. The first publication of a long log takes longer: callers are told to come again.
const ANSWER: Duration = Duration::from_secs(60);

/// The receipt log of a node.
#[derive(Clone)]
pub struct LogHandle {
    actor: ActorRef<LogActor>,
}

impl LogHandle {
    /// Speaks to this actor, which keeps its place over restarts.
    pub fn new(actor: ActorRef<LogActor>) -> Self {
        Self { actor }
    }

    /// The actor.
    pub fn actor(&self) -> &ActorRef<LogActor> {
        &self.actor
    }

    /// The receipts of the call that leaf `index` belongs to, with proofs up to a published checkpoint.
    ///
    /// # Errors
    /// `receipt.not_found`; the ledger's and the disk's failures; `store.damaged` and `store.foreign_log` when nothing can
    /// be signed.
    pub async fn export(&self, index: u64) -> Result<Envelope, CallError> {
        self.actor.ask(Export { index }).reply_timeout(ANSWER).await.map_err(failure)
    }

    /// Publishes now what the ledger has.
    ///
    /// # Errors
    /// As [`LogHandle::export`].
    pub async fn publish(&self) -> Result<Published, CallError> {
        self.actor.ask(Publish).reply_timeout(ANSWER).await.map_err(failure)
    }

    /// The newest published checkpoint.
    ///
    /// # Errors
    /// As [`LogHandle::export`].
    pub async fn checkpoint(&self) -> Result<Published, CallError> {
        self.actor.ask(Newest).reply_timeout(ANSWER).await.map_err(failure)
    }
}

fn failure<M>(error: SendError<M, CallError>) -> CallError {
    let what = match error {
        SendError::HandlerError(error) => return error,
        SendError::MailboxFull(_) => "too many ask the receipt log",
        SendError::ActorNotRunning(_) | SendError::ActorStopped | SendError::ActorRestarting(_) => {
            "the receipt log does not run"
        }
        SendError::Timeout(_) => "the receipt log did not answer in time",
    };
    CallError::new(Code::NodeBusy, what)
}
