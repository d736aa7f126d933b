//! The supervisor of all agents: one child for each that runs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agora_economy::ports::state::Table;
use agora_types::{Canonical as _, Code};
use kameo::actor::{Actor, ActorRef, Spawn as _, WeakActorRef};
use kameo::error::ActorStopReason;
use kameo::message::{Context, Message};
use kameo::supervision::RestartPolicy;

use super::AgentPorts;
use super::actor::{AgentActor, AgentSettings, Halt};
use super::book::{known_record, read_record, record_row};
use super::record::{AgentRecord, Status};
use crate::ask::ask;
use crate::error::CallError;

/// Agents of one node.
pub(super) const AGENTS_MAX: usize = 4_096;
/// How often an agent may be started from disk within [`RESTART_WINDOW`] before it stays down.
const RESTARTS_MAX: u32 = 5;
const RESTART_WINDOW: Duration = Duration::from_secs(60);
/// How long stopping an agent may take.
const HALT: Duration = Duration::from_secs(10);

/// Starts and stops agents.
pub struct AgentSupervisor {
    ports: Arc<AgentPorts>,
    children: BTreeMap<String, ActorRef<AgentActor>>,
    /// Not a weak one: after a restart nobody else holds the actor, and a weak one finds nobody.
    myself: ActorRef<Self>,
}

/// The child of a running agent.
pub(crate) struct Child(pub(crate) String);

/// Runs this version of an agent.
pub(crate) struct Run {
    pub(crate) name: String,
    pub(crate) record: AgentRecord,
}

/// Stops an agent; its events are not handled any more.
pub(crate) struct Stop(pub(crate) String);

impl Actor for AgentSupervisor {
    type Args = Arc<AgentPorts>;
    type Error = CallError;

    async fn on_start(ports: Arc<AgentPorts>, myself: ActorRef<Self>) -> Result<Self, CallError> {
        let mut supervisor = Self { ports, children: BTreeMap::new(), myself };
        let rows = supervisor.ports.buyer.journal.list(Table::Agents, Vec::new(), AGENTS_MAX).await?;
        for (name, bytes) in rows {
            let name = String::from_utf8_lossy(&name).into_owned();
            match AgentRecord::from_bytes(&bytes) {
                Ok(record) if record.status == Status::Running => supervisor.spawn(&name).await,
                Ok(_) => {}
                Err(error) => tracing::error!(%name, %error, "the record of an agent is damaged; it stays down"),
            }
        }
        Ok(supervisor)
    }

    async fn on_link_died(
        &mut self,
        _: WeakActorRef<Self>,
        id: kameo::actor::ActorId,
        reason: ActorStopReason,
    ) -> Result<std::ops::ControlFlow<ActorStopReason>, CallError> {
        // One agent that stays down takes no other with it.
        let gone: Vec<String> =
            self.children.iter().filter(|(_, child)| child.id() == id).map(|(name, _)| name.clone()).collect();
        for name in gone {
            self.children.remove(&name);
            if !matches!(reason, ActorStopReason::Normal) {
                tracing::error!(%name, %reason, "an agent stays down");
                self.suspend(&name, &reason.to_string()).await;
            }
        }
        Ok(std::ops::ControlFlow::Continue(()))
    }
}

impl AgentSupervisor {
    async fn spawn(&mut self, name: &str) {
        let settings = AgentSettings { ports: Arc::clone(&self.ports), name: name.into() };
        let child = AgentActor::supervise(&self.myself, settings)
            .restart_policy(RestartPolicy::Transient)
            .restart_limit(RESTARTS_MAX, RESTART_WINDOW)
            .spawn()
            .await;
        self.children.insert(name.to_owned(), child);
    }

    /// Writes down that an agent stays down, and why; a later `agent deploy` starts it again.
    async fn suspend(&self, name: &str, why: &str) {
        let written = async {
            let Some(mut record) = read_record(&self.ports, name).await? else { return Ok(()) };
            if record.status == Status::Running {
                record.status = Status::Suspended;
                record.failure = Some(why.chars().take(2_000).collect());
                self.ports.buyer.journal.commit(vec![record_row(name, &record)]).await?;
            }
            Ok::<(), CallError>(())
        };
        if let Err(error) = written.await {
            tracing::error!(%name, %error, "could not write down that an agent stays down");
        }
    }

    async fn halt(&mut self, name: &str) -> Result<(), CallError> {
        if let Some(child) = self.children.remove(name) {
            match ask(&child, Halt, HALT, "the agent").await {
                // It ends by itself from here on. Waiting for that would wait for this very handler: a supervised actor
                // ends once its supervisor has heard of it.
                Ok(()) => {}
                // One that does not answer is killed; its record says what counts.
                Err(error) => {
                    tracing::warn!(%name, %error, "an agent is killed");
                    child.kill();
                }
            }
        }
        Ok(())
    }
}

impl Message<Child> for AgentSupervisor {
    type Reply = Result<ActorRef<AgentActor>, CallError>;

    async fn handle(&mut self, Child(name): Child, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        if let Some(child) = self.children.get(&name) {
            return Ok(child.clone());
        }
        let record = read_record(&self.ports, &name).await?;
        Err(match record.map(|record| record.status) {
            None => CallError::new(Code::AgentNotFound, name),
            Some(Status::Stopped) => CallError::new(Code::AgentStopped, name),
            Some(Status::Suspended | Status::Running) => CallError::new(Code::AgentSuspended, name),
        })
    }
}

impl Message<Run> for AgentSupervisor {
    type Reply = Result<AgentRecord, CallError>;

    async fn handle(&mut self, Run { name, record }: Run, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let before = read_record(&self.ports, &name).await?;
        let lives = before.as_ref().is_some_and(|before| before.status != Status::Stopped);
        match before {
            // A name keeps its account and what the agent remembers, also while it is stopped: they stay its owner's.
            Some(before) if before.owner != record.owner => {
                return Err(CallError::new(Code::AgentExists, format!("{name} belongs to {}", before.owner)));
            }
            // The same again, and it runs: a repeat.
            Some(before)
                if before.status == Status::Running
                    && (&before.manifest, before.component) == (&record.manifest, record.component)
                    && self.children.contains_key(&name) =>
            {
                return Ok(before);
            }
            Some(_) | None => {}
        }
        if self.children.len() >= AGENTS_MAX {
            return Err(CallError::new(Code::NodeBusy, format!("{AGENTS_MAX} agents run on this node")));
        }
        self.halt(&name).await?;
        // Read once it stands still: until then the old version may have paid and handled more.
        let record = match read_record(&self.ports, &name).await? {
            // What it spent since it was first deployed still counts.
            Some(before) => AgentRecord {
                spent: if lives { before.spent } else { record.spent },
                handled: before.handled,
                payees: before.payees,
                next_line: before.next_line,
                fetches: before.fetches,
                ..record
            },
            None => record,
        };
        self.ports.buyer.journal.commit(vec![record_row(&name, &record)]).await?;
        self.spawn(&name).await;
        Ok(record)
    }
}

impl Message<Stop> for AgentSupervisor {
    type Reply = Result<AgentRecord, CallError>;

    async fn handle(&mut self, Stop(name): Stop, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        self.halt(&name).await?;
        let mut record = known_record(&self.ports, &name).await?;
        if record.status != Status::Stopped {
            record.status = Status::Stopped;
            self.ports.buyer.journal.commit(vec![record_row(&name, &record)]).await?;
        }
        Ok(record)
    }
}
