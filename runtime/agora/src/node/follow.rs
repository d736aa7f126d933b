//! Follows an agent's event from its acceptance to its end.

use std::time::Duration;

use agora_actors::agent::record::{EventRow, EventState, Status};
use agora_actors::agent::{AgentsHandle, Progress, Step};
use agora_shell::{Failure, Outcome};
use agora_types::Code;
use futures::stream;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::network::refused;
use super::view;
use crate::control::{AgentAnswer, AgentStep, Steps};

/// How often the event's row is looked at when no step comes: the end may have been told before, or by an earlier life.
const LOOK: Duration = Duration::from_secs(2);

struct Following {
    agents: AgentsHandle,
    name: String,
    event: String,
    steps: Receiver<Progress>,
    accepted: bool,
    over: bool,
}

/// The steps of one event, the last being its answer or the failure that ended it.
pub(super) fn follow(agents: AgentsHandle, name: String, event: String, steps: Receiver<Progress>) -> Steps {
    let following = Following { agents, name, event, steps, accepted: false, over: false };
    Box::pin(stream::unfold(following, |mut following| async move {
        let step = following.next().await?;
        Some((step, following))
    }))
}

impl Following {
    async fn next(&mut self) -> Option<Outcome<AgentStep>> {
        if self.over {
            return None;
        }
        if !self.accepted {
            self.accepted = true;
            return Some(Ok(AgentStep::Accepted { event: self.event.clone() }));
        }
        loop {
            match tokio::time::timeout(LOOK, self.steps.recv()).await {
                Ok(Ok(progress)) if *progress.event == self.event && *progress.agent == self.name => {
                    if let Step::Ended(row) = progress.step {
                        return Some(self.end(*row));
                    }
                    if let Some(step) = view::step(progress.step) {
                        return Some(Ok(step));
                    }
                }
                Ok(Ok(_)) => {}
                // Steps were lost, or none comes: the row says whether the event has ended.
                Ok(Err(RecvError::Lagged(_))) | Err(_) => match self.agents.event(&self.name, &self.event).await {
                    Ok(Some(row)) if row.state != EventState::Waiting => return Some(self.end(row)),
                    Ok(Some(_)) => {
                        if let Some(failure) = self.is_down().await {
                            self.over = true;
                            return Some(Err(failure));
                        }
                    }
                    Ok(None) => return self.fail(Failure::new(Code::AgentStopped, format!("agent {}", self.name))),
                    Err(error) => return self.fail(refused(error)),
                },
                Ok(Err(RecvError::Closed)) => {
                    return self.fail(Failure::new(Code::NodeBusy, "the node is stopping; the message is kept"));
                }
            }
        }
    }

    /// An agent that is stopped or suspended handles nothing any more.
    async fn is_down(&self) -> Option<Failure> {
        let status = self.agents.status(&self.name).await.ok()?;
        match status {
            Status::Running => None,
            Status::Suspended => Some(Failure::new(Code::AgentSuspended, &*self.name)),
            Status::Stopped => Some(Failure::new(Code::AgentStopped, &*self.name)),
        }
    }

    fn fail(&mut self, failure: Failure) -> Option<Outcome<AgentStep>> {
        self.over = true;
        Some(Err(failure))
    }

    fn end(&mut self, row: EventRow) -> Outcome<AgentStep> {
        self.over = true;
        let text = match row.state {
            EventState::Done(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            EventState::Failed { code, what } => {
                let code = Code::from_number(code).unwrap_or(Code::AgentFailed);
                return Err(Failure::new(code, format!("agent {}: {what}", self.name)));
            }
            EventState::Waiting => return Err(Failure::new(Code::NodeBusy, "the message still waits")),
        };
        let answer = AgentAnswer { event: self.event.clone(), text, calls: row.calls, spent: row.spent };
        Ok(AgentStep::Answered { answer })
    }
}
