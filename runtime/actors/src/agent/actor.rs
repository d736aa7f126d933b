//! One agent at work: takes its waiting events one after the other.
//!
//! The actor holds nothing of value: record, events and kept answers are on disk. When an event's end could not be
//! written it stops with a fault, and its supervisor starts it from disk.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use agora_economy::ports::state::{Table, Write};
use agora_sandbox_api::{Event, Manifest, Program};
use agora_types::{Code, CommandId};
use futures::FutureExt as _;
use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::message::{Context, Message};
use tokio::task::JoinHandle;

use super::book::{Book, EVENTS_MAX, event_row, events};
use super::desk::Desk;
use super::record::{EventRow, EventState, Status, key};
use super::{AgentPorts, FAILURES_MAX, PAYLOAD_MAX, WAITING_MAX};
use crate::clock::random;
use crate::error::CallError;
use crate::purchase::Payer;

/// Longest kind of an event, bytes.
const KIND_SIZE_MAX: usize = 32;

/// What the actor starts from, also after a crash.
#[derive(Clone)]
pub(crate) struct AgentSettings {
    pub(crate) ports: Arc<AgentPorts>,
    pub(crate) name: Arc<str>,
}

pub(crate) struct AgentActor {
    work: Arc<Work>,
    running: Option<JoinHandle<()>>,
    /// True once the calls of an earlier life have been seen to.
    settled: bool,
    /// Not a weak one: after a restart nobody else holds the actor, and a weak one finds nobody.
    myself: ActorRef<Self>,
}

/// What an event is handled with.
struct Work {
    book: Arc<Book>,
    program: Arc<dyn Program>,
    manifest: Manifest,
    payer: Payer,
}

/// Writes an event down; the answer is its id.
pub(crate) struct Accept {
    pub(crate) kind: String,
    pub(crate) payload: Vec<u8>,
}

/// Stops the event that runs and answers once it is stopped; the actor ends.
pub(crate) struct Halt;

/// An event has ended, or could not be ended.
struct Ended(Option<CallError>);

impl Actor for AgentActor {
    type Args = AgentSettings;
    type Error = CallError;

    async fn on_start(settings: AgentSettings, myself: ActorRef<Self>) -> Result<Self, CallError> {
        let ports = settings.ports;
        let book = Arc::new(Book::open(Arc::clone(&ports), &settings.name).await?);
        let record = book.record().await;
        let manifest = Manifest::parse(&record.manifest)?;
        let (blobs, sandbox, own) = (Arc::clone(&ports.blobs), Arc::clone(&ports.sandbox), manifest.clone());
        let load = move || {
            let component = blobs.get(&record.component)?;
            let gone = || CallError::new(Code::StoreDamaged, format!("component {} is gone", record.component));
            Ok::<_, CallError>(sandbox.load(&component.ok_or_else(gone)?, &own)?)
        };
        let program = tokio::task::spawn_blocking(load).await;
        let program = program.map_err(|error| CallError::new(Code::AgentBadComponent, error.to_string()))??;
        let payer = ports.keys.payer(&settings.name).await?;
        let work = Arc::new(Work { book, program, manifest, payer });
        let mut actor = Self { work, running: None, settled: false, myself };
        actor.next().await?;
        Ok(actor)
    }
}

impl Drop for AgentActor {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

impl AgentActor {
    /// Begins the next waiting event, unless one runs.
    async fn next(&mut self) -> Result<(), CallError> {
        if self.running.is_some() {
            return Ok(());
        }
        let (work, myself) = (Arc::clone(&self.work), self.myself.clone());
        let waiting = match work.book.record().await.status {
            Status::Running => events(&work.book.ports, &work.book.name).await?,
            Status::Suspended | Status::Stopped => Vec::new(),
        };
        let next = waiting.into_iter().find(|(_, row)| row.state == EventState::Waiting);
        if next.is_none() && self.settled {
            return Ok(());
        }
        // Events come one at a time, so calls that an earlier life left are those of the first waiting event; without one
        // nobody will take them up again.
        self.settled = true;
        self.running = Some(tokio::spawn(async move {
            let work = async {
                match next {
                    Some((event, row)) => work.handle(&event, row).await.err(),
                    None => work.settle_rest().await.err(),
                }
            };
            // A bug below must be heard of, or the agent would wait for its own event for ever.
            let ended = AssertUnwindSafe(work).catch_unwind().await;
            let ended = ended.unwrap_or_else(|_| Some(CallError::new(Code::AgentTrapped, "a panic in an event")));
            let _ = myself.tell(Ended(ended)).await;
        }));
        Ok(())
    }
}

impl Work {
    async fn handle(&self, event: &str, row: EventRow) -> Result<(), CallError> {
        let desk = Desk::open(Arc::clone(&self.book), event, self.manifest.clone(), self.payer.clone()).await?;
        let desk = Arc::new(desk);
        let told = Event { id: event.to_owned(), kind: row.kind.clone(), payload: row.payload.clone() };
        let answer = self.program.handle(told, desk.clone()).await;
        desk.end(row, answer, FAILURES_MAX).await?;
        self.settle_rest().await?;
        self.prune().await
    }

    /// Ends calls that no event will take up again.
    async fn settle_rest(&self) -> Result<(), CallError> {
        self.book.settle_unfinished(&self.payer).await
    }

    /// Forgets the oldest ended events beyond the bound.
    async fn prune(&self) -> Result<(), CallError> {
        let all = events(&self.book.ports, &self.book.name).await?;
        let over = all.len().saturating_sub(EVENTS_MAX);
        let ended = all.into_iter().filter(|(_, row)| row.state != EventState::Waiting);
        let gone = |(event, _): (String, EventRow)| {
            let key = key(&self.book.name, event.as_bytes());
            Write { table: Table::AgentEvents, key, value: None }
        };
        let writes: Vec<Write> = ended.take(over).map(gone).collect();
        match writes.is_empty() {
            true => Ok(()),
            false => Ok(self.book.ports.buyer.journal.commit(writes).await?),
        }
    }
}

impl Message<Accept> for AgentActor {
    type Reply = Result<String, CallError>;

    async fn handle(&mut self, Accept { kind, payload }: Accept, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let book = &self.work.book;
        match book.record().await.status {
            Status::Running => {}
            Status::Suspended => return Err(CallError::new(Code::AgentSuspended, book.name.as_ref())),
            Status::Stopped => return Err(CallError::new(Code::AgentStopped, book.name.as_ref())),
        }
        if payload.len() > PAYLOAD_MAX || kind.len() > KIND_SIZE_MAX {
            let what = format!("an event's payload has at most {PAYLOAD_MAX} bytes");
            return Err(CallError::new(Code::AgentTooLarge, what));
        }
        let all = events(&book.ports, &book.name).await?;
        if all.iter().filter(|(_, row)| row.state == EventState::Waiting).count() >= WAITING_MAX {
            return Err(CallError::new(Code::NodeBusy, format!("{WAITING_MAX} events of {} wait", book.name)));
        }
        let buyer = &book.ports.buyer;
        let now = buyer.clock.now();
        // Time-ordered, so that rows are in the order of arrival: also within a millisecond, and by a clock that fell back.
        let after = all.last().map(|(_, row)| row.received_at.plus_nanos(1_000_000));
        let now = after.map_or(now, |after| now.max(after));
        let id = CommandId::ordered(now, random(buyer.random.as_ref())).to_string();
        let event = id.trim_start_matches("0x").to_owned();
        let state = EventState::Waiting;
        let (calls, spent) = (Vec::new(), agora_types::Amount::ZERO);
        let row = EventRow { kind, payload, received_at: now, state, calls, spent };
        buyer.journal.commit(vec![event_row(&book.name, &event, &row)]).await?;
        self.next().await?;
        Ok(event)
    }
}

impl Message<Ended> for AgentActor {
    type Reply = ();

    async fn handle(&mut self, Ended(fault): Ended, _: &mut Context<Self, Self::Reply>) {
        self.running = None;
        let failed = match fault {
            Some(fault) => Some(fault),
            None => self.next().await.err(),
        };
        if let Some(fault) = failed {
            // Not a bug: the way in which an actor hands a fault to its supervisor.
            std::panic::resume_unwind(Box::new(format!("agent {} starts from disk: {fault}", self.work.book.name)));
        }
    }
}

impl Message<Halt> for AgentActor {
    type Reply = Result<(), CallError>;

    async fn handle(&mut self, _: Halt, context: &mut Context<Self, Self::Reply>) -> Self::Reply {
        if let Some(running) = self.running.take() {
            running.abort();
            tokio::time::timeout(Duration::from_secs(5), running)
                .await
                .map_err(|_| CallError::new(Code::NodeBusy, "the agent does not stop"))?
                .ok();
        }
        self.work.book.change(|record| record.status = Status::Stopped, Vec::new()).await?;
        context.stop();
        Ok(())
    }
}
