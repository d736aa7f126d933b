//! One agent at work: takes its waiting events one after the other.
//!
//! The actor holds nothing of value: record, events and kept answers are on disk. When an event's end could not be
//! written it stops with a fault, and its supervisor starts it from disk.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use agora_sandbox_api::{Event, Manifest, Program};
use agora_types::{Code, CommandId};
use futures::FutureExt as _;
use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::message::{Context, Message};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::book::Book;
use super::desk::Desk;
use super::queue::Queue;
use super::record::{EventRow, Status};
use super::request::SERVE;
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
    pub(super) work: Arc<Work>,
    running: Option<JoinHandle<()>>,
    /// Who waits for the end of a request, by event.
    pub(super) callers: BTreeMap<String, Vec<oneshot::Sender<EventRow>>>,
    /// The events in order; absent until they are read.
    pub(super) queue: Option<Queue>,
    /// True once the calls of an earlier life have been seen to.
    settled: bool,
    /// Not a weak one: after a restart nobody else holds the actor, and a weak one finds nobody.
    myself: ActorRef<Self>,
}

/// What an event is handled with.
pub(super) struct Work {
    pub(super) book: Arc<Book>,
    pub(super) program: Arc<dyn Program>,
    pub(super) manifest: Manifest,
    payer: Payer,
}

/// Writes an event down; the answer is its id.
pub(crate) struct Accept {
    pub(crate) kind: String,
    pub(crate) payload: Vec<u8>,
}

/// Stops the event that runs and answers once it is stopped; the actor ends.
pub(crate) struct Halt;

/// An event has ended, or could not be ended; without an event, the calls of an earlier life were seen to.
struct Ended {
    event: Option<String>,
    fault: Option<CallError>,
}

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
        let mut actor = Self { work, running: None, callers: BTreeMap::new(), queue: None, settled: false, myself };
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
    pub(super) async fn next(&mut self) -> Result<(), CallError> {
        if self.running.is_some() {
            return Ok(());
        }
        let (work, myself) = (Arc::clone(&self.work), self.myself.clone());
        let next = match work.book.record().await.status {
            Status::Running => self.oldest_waiting().await?,
            Status::Suspended | Status::Stopped => None,
        };
        if next.is_none() && self.settled {
            return Ok(());
        }
        // Events come one at a time, so calls that an earlier life left are those of the first waiting event; without one
        // nobody will take them up again.
        self.settled = true;
        self.running = Some(tokio::spawn(async move {
            let event = next.as_ref().map(|(event, _)| event.clone());
            let work = async {
                match next {
                    Some((event, row)) => work.handle(&event, row).await.err(),
                    None => work.settle_rest().await.err(),
                }
            };
            // A bug below must be heard of, or the agent would wait for its own event for ever.
            let fault = AssertUnwindSafe(work).catch_unwind().await;
            let fault = fault.unwrap_or_else(|_| Some(CallError::new(Code::AgentTrapped, "a panic in an event")));
            let _ = myself.tell(Ended { event, fault }).await;
        }));
        Ok(())
    }
}

impl Work {
    async fn handle(&self, event: &str, row: EventRow) -> Result<(), CallError> {
        let desk = Desk::open(Arc::clone(&self.book), event, self.manifest.clone(), self.payer.clone()).await?;
        let (begun, desk) = (desk.begun().await, Arc::new(desk));
        let answer = if row.kind == SERVE {
            self.serve(&row, begun, desk.clone()).await
        } else {
            let told = Event { id: event.to_owned(), kind: row.kind.clone(), payload: row.payload.clone() };
            self.program.handle(told, desk.clone()).await
        };
        desk.end(row, answer, FAILURES_MAX).await?;
        self.settle_rest().await
    }

    /// Ends calls that no event will take up again.
    async fn settle_rest(&self) -> Result<(), CallError> {
        self.book.settle_unfinished(&self.payer).await
    }
}

impl Message<Accept> for AgentActor {
    type Reply = Result<String, CallError>;

    async fn handle(&mut self, Accept { kind, payload }: Accept, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        self.work.book.running().await?;
        if kind == SERVE {
            return Err(CallError::new(Code::AgentBadRequest, "events of the kind `serve` are requests to a seller"));
        }
        if payload.len() > PAYLOAD_MAX || kind.len() > KIND_SIZE_MAX {
            let what = format!("an event's payload has at most {PAYLOAD_MAX} bytes");
            return Err(CallError::new(Code::AgentTooLarge, what));
        }
        if self.queue().await?.waiting(false) >= WAITING_MAX {
            let what = format!("{WAITING_MAX} events of {} wait", self.work.book.name);
            return Err(CallError::new(Code::NodeBusy, what));
        }
        let row = self.arrived(&kind, payload).await?;
        let random = random(self.work.book.ports.buyer.random.as_ref());
        let id = CommandId::ordered(row.received_at, random).to_string();
        let event = id.trim_start_matches("0x").to_owned();
        self.write_down(&event, &row).await?;
        self.next().await?;
        Ok(event)
    }
}

impl Message<Ended> for AgentActor {
    type Reply = ();

    async fn handle(&mut self, Ended { event, fault }: Ended, _: &mut Context<Self, Self::Reply>) {
        self.running = None;
        let told = match (fault, event) {
            (Some(fault), _) => Err(fault),
            (None, Some(event)) => match self.over(&event).await {
                Ok(()) => self.tell_callers(&event).await,
                Err(fault) => Err(fault),
            },
            (None, None) => Ok(()),
        };
        if self.work.book.running().await.is_err() {
            // Nobody is answered any more; whoever waits hears so when it asks again.
            self.callers.clear();
        }
        let failed = match told {
            Err(fault) => Some(fault),
            Ok(()) => self.next().await.err(),
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
