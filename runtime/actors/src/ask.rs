//! Asking an actor, with a limit on the wait and one kind of error.

use std::time::Duration;

use agora_types::Code;
use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::error::SendError;
use kameo::message::Message;

use crate::error::CallError;

/// Asks and waits at most `limit`. After `node.busy` nobody knows whether the actor acted: the question must be one that
/// may be repeated.
pub(crate) async fn ask<A, M, T>(actor: &ActorRef<A>, message: M, limit: Duration, who: &str) -> Result<T, CallError>
where
    A: Actor + Message<M, Reply = Result<T, CallError>>,
    M: Send + 'static,
    T: Send + 'static,
{
    let failed = |error| match error {
        SendError::HandlerError(error) => error,
        SendError::MailboxFull(_) | SendError::Timeout(_) => CallError::new(Code::NodeBusy, format!("{who} is busy")),
        SendError::ActorNotRunning(_) | SendError::ActorStopped | SendError::ActorRestarting(_) => {
            CallError::new(Code::NodeBusy, format!("{who} is starting anew"))
        }
    };
    actor.ask(message).reply_timeout(limit).await.map_err(failed)
}
