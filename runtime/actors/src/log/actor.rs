//! The actor: publishes at an interval and when asked, and stops where publishing would contradict what was published.

use std::sync::Arc;
use std::time::Duration;

use agora_economy::ports::tiles::TileStore;
use agora_receipts::Envelope;
use agora_types::genesis::Genesis;
use agora_types::key::StatementSigner;
use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::message::{Context, Message};
use kameo::reply::DelegatedReply;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::publisher::{Published, Publisher, Trouble};
use crate::error::CallError;
use crate::ledger::LedgerHandle;

/// A day: whoever wants to publish only when asked.
const EVERY_MS_MAX: u64 = 86_400_000;

/// What the actor starts from, also after a crash: no state of value is in here.
#[derive(Clone)]
pub struct LogSettings {
    /// The network.
    pub genesis: Arc<Genesis>,
    /// Where the leaves come from.
    pub ledger: LedgerHandle,
    /// The network's checkpoint key.
    pub signer: Arc<StatementSigner>,
    /// Where tiles and checkpoints go. Nobody else writes there.
    pub tiles: Arc<dyn TileStore>,
    /// Milliseconds between publications, 1 to a day's; the first comes at once.
    pub every_ms: u64,
}

/// Publishes now; answers with the newest checkpoint, which covers every receipt that was durable before the question.
#[derive(Debug)]
pub struct Publish;

/// The newest checkpoint as of the last publication; publishes when there was none since the start.
#[derive(Debug)]
pub struct Newest;

/// The receipts of the call that a leaf belongs to.
#[derive(Debug)]
pub struct Export {
    /// Index of the provisional or the final receipt in the log.
    pub index: u64,
}

struct Tick;

type Answer<T> = DelegatedReply<Result<T, CallError>>;

/// Publishes the receipt log. Its work on files is done on threads that may block.
pub struct LogActor {
    publisher: Publisher,
    ticks: JoinHandle<()>,
}

impl Actor for LogActor {
    type Args = LogSettings;
    type Error = CallError;

    async fn on_start(settings: LogSettings, myself: ActorRef<Self>) -> Result<Self, CallError> {
        let every = Duration::from_millis(settings.every_ms.clamp(1, EVERY_MS_MAX));
        let publisher = Publisher::new(settings)?;
        // The first publication reads the whole log: not here, where a ledger that starts anew would fail the start. In
        // a full mailbox there is no place for it: then the first tick publishes.
        let _ = myself.tell(Tick).try_send();
        Ok(Self { publisher, ticks: tokio::spawn(tick(myself, every)) })
    }
}

impl Drop for LogActor {
    fn drop(&mut self) {
        self.ticks.abort();
    }
}

/// Asks and waits, so that slow publications never queue up behind one another. It holds the actor itself: after a restart
/// nobody else does. It ends with the actor.
async fn tick(actor: ActorRef<LogActor>, every: Duration) {
    let mut interval = tokio::time::interval_at(Instant::now() + every, every);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        // Whatever went wrong was logged where it happened.
        let _ = actor.ask(Tick).await;
    }
}

impl Message<Publish> for LogActor {
    type Reply = Answer<Published>;

    async fn handle(&mut self, _: Publish, context: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let outcome = self.publisher.publish().await;
        answer(context, outcome)
    }
}

impl Message<Newest> for LogActor {
    type Reply = Answer<Published>;

    async fn handle(&mut self, _: Newest, context: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let outcome = match &self.publisher.newest {
            Some(newest) => Ok(newest.clone()),
            None => self.publisher.publish().await,
        };
        answer(context, outcome)
    }
}

impl Message<Export> for LogActor {
    type Reply = Answer<Envelope>;

    async fn handle(&mut self, Export { index }: Export, context: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let outcome = self.publisher.export(index).await;
        answer(context, outcome)
    }
}

impl Message<Tick> for LogActor {
    type Reply = ();

    async fn handle(&mut self, _: Tick, _: &mut Context<Self, Self::Reply>) {
        match self.publisher.publish().await {
            Ok(_) => {}
            Err(Trouble::World(error)) => {
                tracing::warn!(%error, "the receipt log was not published; the next publication tries again");
            }
            Err(Trouble::Contradiction(error)) => stop(&error),
        }
    }
}

/// Answers, and stops after an answer that says that nothing may be signed.
fn answer<T: Send + 'static>(context: &mut Context<LogActor, Answer<T>>, outcome: Result<T, Trouble>) -> Answer<T> {
    match outcome {
        Ok(value) => context.reply(Ok(value)),
        Err(Trouble::World(error)) => context.reply(Err(error)),
        Err(Trouble::Contradiction(error)) => {
            let _ = context.reply(Err(error.clone()));
            stop(&error)
        }
    }
}

fn stop(error: &CallError) -> ! {
    tracing::error!(%error, "the receipt log contradicts itself; nothing is signed");
    // Not a bug: the way in which an actor hands a fault to its supervisor.
    std::panic::resume_unwind(Box::new(format!("the receipt log stops: {error}")))
}
