//! The actor on its own thread: requests gather while a commit runs, and are answered after the next one.

use std::sync::Arc;

use agora_economy::Verified;
use agora_economy::ports::log::{LogFault, LogStore};
use agora_types::Code;
use agora_types::genesis::Genesis;
use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::message::{Context, Message};
use kameo::reply::{DelegatedReply, ReplySender};

use super::node::{Answers, LedgerFault, LedgerNode};
use crate::clock::Clock;

/// Most entries that wait for one commit; more are turned away.
const WAITING_MAX: usize = 16_384;

/// What the actor starts from, also after a crash: no state of value is in here.
#[derive(Clone)]
pub struct LedgerSettings {
    /// The network.
    pub genesis: Arc<Genesis>,
    /// Opens the log; called at every start.
    pub open: Arc<dyn Fn() -> Result<Box<dyn LogStore>, LogFault> + Send + Sync>,
    /// Stamps batches.
    pub clock: Arc<dyn Clock>,
    /// Batches between snapshots.
    pub snapshot_every: u64,
}

/// Why a request got no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerError {
    /// Too many wait: nothing was done; try again later.
    #[error("the ledger is busy: {waiting} commands wait; try again in a moment")]
    Busy {
        /// How many entries wait.
        waiting: usize,
    },
    /// The commit failed and nobody knows whether it happened: repeat with the same id and the answer will be the first.
    #[error("the commit failed, it may or may not have happened: repeat with the same id ({0})")]
    Uncertain(LedgerFault),
}

/// Commits a group of entries; a linked chain is one group. The answer comes after the commit, one for each entry.
#[derive(Debug)]
pub struct Submit(pub Vec<Verified>);

type Looking<R> = dyn FnOnce(&LedgerNode) -> Result<R, LogFault> + Send;

/// Looks at what is durable: the state as of the newest batch, and the log.
pub struct Look<R>(Box<Looking<R>>);

impl<R> Look<R> {
    /// What to look for. It runs between two commits, so it reads little.
    pub fn new(look: impl FnOnce(&LedgerNode) -> Result<R, LogFault> + Send + 'static) -> Self {
        Self(Box::new(look))
    }
}

impl<R> std::fmt::Debug for Look<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Look")
    }
}

struct Flush;

type Reply = Result<Answers, LedgerError>;

/// The sole owner of state and log. Spawn it on a thread of its own (`spawn_in_thread`): commits block.
pub struct LedgerActor {
    /// `None` once a commit has failed: the log is closed before the next start opens it.
    node: Option<LedgerNode>,
    clock: Arc<dyn Clock>,
    /// Not a weak one: after a restart nobody else holds the actor, and a weak one finds nobody.
    myself: ActorRef<Self>,
    waiting: Vec<(Vec<Verified>, Option<ReplySender<Reply>>)>,
    entries: usize,
}

impl Actor for LedgerActor {
    type Args = LedgerSettings;
    type Error = LedgerFault;

    async fn on_start(settings: LedgerSettings, myself: ActorRef<Self>) -> Result<Self, LedgerFault> {
        let store = (settings.open)()?;
        let node = LedgerNode::open(&settings.genesis, store, settings.snapshot_every)?;
        Ok(Self { node: Some(node), clock: settings.clock, myself, waiting: Vec::new(), entries: 0 })
    }
}

impl Message<Submit> for LedgerActor {
    type Reply = DelegatedReply<Reply>;

    async fn handle(&mut self, Submit(group): Submit, context: &mut Context<Self, Self::Reply>) -> Self::Reply {
        if self.entries + group.len() > WAITING_MAX {
            return context.reply(Err(LedgerError::Busy { waiting: self.entries }));
        }
        let first = self.waiting.is_empty();
        let (delegated, sender) = context.reply_sender();
        self.entries += group.len();
        self.waiting.push((group, sender));
        // The flush queues up behind everything that has arrived by now: idle, it commits at once; busy, a whole group.
        let queued = || self.myself.tell(Flush).try_send().is_ok();
        if first && !queued() {
            self.flush();
        }
        delegated
    }
}

impl Message<Flush> for LedgerActor {
    type Reply = ();

    async fn handle(&mut self, _: Flush, _: &mut Context<Self, Self::Reply>) {
        self.flush();
    }
}

impl<R: Send + 'static> Message<Look<R>> for LedgerActor {
    type Reply = Result<R, LedgerError>;

    async fn handle(&mut self, Look(look): Look<R>, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let node = self.node.as_ref().expect("an actor whose commit failed takes no message");
        look(node).map_err(|fault| LedgerError::Uncertain(fault.into()))
    }
}

impl LedgerActor {
    /// Commits what waits, then answers. When the commit fails, everyone learns that it is uncertain and the actor ends:
    /// its supervisor opens the log again.
    fn flush(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        self.entries = 0;
        let (groups, senders): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let node = self.node.as_mut().expect("an actor whose commit failed takes no message");
        match node.commit(self.clock.now(), groups) {
            Ok(answers) => {
                for (sender, answers) in senders.into_iter().zip(answers) {
                    if let Some(sender) = sender {
                        sender.send(Ok(answers));
                    }
                }
            }
            Err(fault) => {
                tracing::error!(%fault, "the ledger's commit failed; opening the log again");
                for sender in senders.into_iter().flatten() {
                    sender.send(Err(LedgerError::Uncertain(fault.clone())));
                }
                // This actor's remains may outlive the start of the next one, which must not find the file locked.
                self.node = None;
                // Not a bug: the way in which an actor hands a fault to its supervisor.
                std::panic::resume_unwind(Box::new(format!("the ledger stops after a failed commit: {fault}")));
            }
        }
    }
}

impl LedgerError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Busy { .. } => Code::LedgerBusy,
            Self::Uncertain(fault) => fault.code(),
        }
    }
}
