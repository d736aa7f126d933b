//! Selling: requests to an agent, each answered once, and what the agent offers.
//!
//! A request is an event whose id follows from the request's, so that it is written down before it is worked on, waits its
//! turn among the agent's other events, and survives a crash as they do (the table stands in `agent/desk.rs`). Whoever
//! asks again with the same id gets the first answer, also when that was a refusal, for as long as the newest 512
//! requests of the agent are remembered.
//!
//! A request that is not answered with success costs its buyer nothing, so strangers could make an agent work for
//! nothing by asking more than it can answer. Hence one whose turn comes after `serve.timeout_s` is not begun, and a
//! failed one counts against the agent only if it spent.

use std::sync::Arc;
use std::time::Duration;

use agora_sandbox_api::{AgentError, AgentHost, Manifest, ServeRequest, ServeResponse, ServeTerms};
use agora_types::{Address, Amount, CallId, Canonical as _, Code};
use kameo::message::{Context, Message};
use tokio::sync::oneshot;

use super::actor::{AgentActor, Work};
use super::book::{event, known_record, records};
use super::handle::{ANSWER, AgentsHandle};
use super::record::{AgentRecord, EventRow, EventState, Status};
use super::request::{RequestRow, ResponseRow, SERVE, event_of};
use super::supervisor::Child;
use crate::ask::ask;
use crate::error::CallError;

/// Requests of one agent that may wait.
pub const REQUESTS_WAITING_MAX: usize = 32;
/// Callers that may wait for the same request.
const CALLERS_MAX: usize = 8;
/// Pause before an agent that is starting anew is asked again.
const PAUSE: Duration = Duration::from_millis(50);
/// What a caller waits beyond its turn and the work: the end of an event is written down too.
const SLACK: Duration = Duration::from_secs(5);

/// What an agent sells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeOffer {
    /// The agent.
    pub name: String,
    /// Its account, which is paid.
    pub account: Address,
    /// Price, description and the rest.
    pub terms: ServeTerms,
}

/// A request that was answered. Whether that was a success the response's status says: from 400 on its buyer owes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeAnswer {
    /// The answer.
    pub response: ServeResponse,
    /// What the agent bought for it, in order: the parents of its receipt. A request that it paid over HTTP stands here by
    /// its fetch's id, which the ledger knows only if the client made it the call's.
    pub calls: Vec<CallId>,
    /// What that cost the agent.
    pub spent: Amount,
}

/// Asks the agent; the answer is there, or will come.
pub(crate) struct Asked(pub(crate) ServeRequest);

/// How far a request is.
pub(crate) enum Turn {
    Over(Box<EventRow>),
    /// Told when it is over; closed without a word when the actor fell.
    Waits(oneshot::Receiver<EventRow>),
}

impl AgentsHandle {
    /// What an agent sells.
    ///
    /// # Errors
    /// `agent.not_found`, `agent.sells_nothing`, `agent.stopped`, `agent.suspended`, and faults.
    pub async fn offer(&self, name: &str) -> Result<ServeOffer, CallError> {
        let record = known_record(&self.ports, name).await?;
        match record.status {
            Status::Running => offer_of(name, &record)?,
            Status::Suspended => return Err(CallError::new(Code::AgentSuspended, name)),
            Status::Stopped => return Err(CallError::new(Code::AgentStopped, name)),
        }
        .ok_or_else(|| CallError::new(Code::AgentSellsNothing, name))
    }

    /// The same whatever the agent's status: what it sold once is settled in any case.
    ///
    /// # Errors
    /// `agent.not_found`, `agent.sells_nothing`, and faults.
    pub async fn offer_of_any(&self, name: &str) -> Result<ServeOffer, CallError> {
        let record = known_record(&self.ports, name).await?;
        offer_of(name, &record)?.ok_or_else(|| CallError::new(Code::AgentSellsNothing, name))
    }

    /// What every running agent sells, by name.
    ///
    /// # Errors
    /// Faults.
    pub async fn offers(&self) -> Result<Vec<ServeOffer>, CallError> {
        let mut offers = Vec::new();
        for (name, record) in records(&self.ports).await? {
            if record.status == Status::Running {
                offers.extend(offer_of(&name, &record)?);
            }
        }
        Ok(offers)
    }

    /// Has an agent answer a request, once: the same request again gets the same answer, also after a crash. Answers
    /// within twice `serve.timeout_s` and a few seconds. Whoever is answered with an error charges nothing.
    ///
    /// # Errors
    /// As [`AgentsHandle::offer`]; `agent.bad_request`, `agent.too_large`, `agent.busy` when too many wait,
    /// `agent.served_otherwise` for another request under this id, `call.in_progress` when it takes longer (ask again with
    /// the same id); whatever the agent failed with.
    pub async fn serve(&self, name: &str, request: ServeRequest) -> Result<ServeAnswer, CallError> {
        request.check()?;
        let terms = self.offer(name).await?.terms;
        if request.body.len() > terms.input_bytes_max() {
            let what = format!("a body of {} bytes; serve.input_kib is {}", request.body.len(), terms.input_kib);
            return Err(CallError::new(Code::AgentTooLarge, what));
        }
        let limit = Duration::from_secs(u64::from(terms.timeout_s) * 2) + SLACK;
        match tokio::time::timeout(limit, self.answered(name, &request)).await {
            Ok(row) => answer(row?),
            Err(_) => Err(CallError::new(Code::CallInProgress, format!("request {} to {name}", request.id))),
        }
    }

    async fn answered(&self, name: &str, request: &ServeRequest) -> Result<EventRow, CallError> {
        loop {
            let turn = async {
                let child = ask(&self.actor, Child(name.to_owned()), ANSWER, "the supervisor").await?;
                ask(&child, Asked(request.clone()), ANSWER, "the agent").await
            };
            match turn.await {
                Ok(Turn::Over(row)) => return Ok(*row),
                Ok(Turn::Waits(told)) => {
                    if let Ok(row) = told.await {
                        return Ok(row);
                    }
                }
                Err(error) if error.code == Code::NodeBusy => {}
                Err(error) => return Err(error),
            }
            // The actor is started from disk, where the request stands.
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn offer_of(name: &str, record: &AgentRecord) -> Result<Option<ServeOffer>, CallError> {
    let terms = Manifest::parse(&record.manifest)?.serve;
    Ok(terms.map(|terms| ServeOffer { name: name.to_owned(), account: record.account, terms }))
}

fn answer(row: EventRow) -> Result<ServeAnswer, CallError> {
    match row.state {
        EventState::Done(bytes) => {
            let response = ResponseRow::from_bytes(&bytes);
            let response =
                response.map_err(|error| CallError::new(Code::StoreDamaged, format!("an answer: {error}")))?;
            Ok(ServeAnswer { response: response.into(), calls: row.calls, spent: row.spent })
        }
        EventState::Failed { code, what } => {
            Err(CallError::new(Code::from_number(code).unwrap_or(Code::AgentFailed), what))
        }
        EventState::Waiting => Err(CallError::new(Code::StoreDamaged, "an event that is over, and waits")),
    }
}

impl Message<Asked> for AgentActor {
    type Reply = Result<Turn, CallError>;

    async fn handle(&mut self, Asked(request): Asked, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let book = Arc::clone(&self.work.book);
        let id = event_of(&request.id);
        let payload = RequestRow::from(request).to_bytes();
        let known = event(&book.ports, &book.name, &id).await?;
        match known {
            Some(row) if row.payload != payload => {
                return Err(CallError::new(Code::AgentServedOther, book.name.as_ref()));
            }
            Some(row) if row.state != EventState::Waiting => return Ok(Turn::Over(Box::new(row))),
            Some(_) | None => {}
        }
        book.running().await?;
        if known.is_none() {
            if self.work.manifest.serve.is_none() {
                return Err(CallError::new(Code::AgentSellsNothing, book.name.as_ref()));
            }
            if self.queue().await?.waiting(true) >= REQUESTS_WAITING_MAX {
                let what = format!("{REQUESTS_WAITING_MAX} requests to {} wait", book.name);
                return Err(CallError::new(Code::AgentBusy, what));
            }
            let row = self.arrived(SERVE, payload).await?;
            self.write_down(&id, &row).await?;
        }
        let callers = self.callers.entry(id).or_default();
        callers.retain(|caller| !caller.is_closed());
        if callers.len() >= CALLERS_MAX {
            return Err(CallError::new(Code::AgentBusy, format!("{CALLERS_MAX} wait for this request")));
        }
        let (tell, told) = oneshot::channel();
        callers.push(tell);
        self.next().await?;
        Ok(Turn::Waits(told))
    }
}

impl AgentActor {
    /// Tells whoever waits for an event that it is over.
    pub(super) async fn tell_callers(&mut self, id: &str) -> Result<(), CallError> {
        let Some(callers) = self.callers.remove(id) else { return Ok(()) };
        let book = &self.work.book;
        if let Some(row) = event(&book.ports, &book.name, id).await? {
            for caller in callers {
                // One that has gone asks again, if it wants to know.
                let _ = caller.send(row.clone());
            }
        }
        Ok(())
    }
}

impl Work {
    /// Answers a request; `begun` when something was done for it before a crash.
    pub(super) async fn serve(
        &self,
        row: &EventRow,
        begun: bool,
        desk: Arc<dyn AgentHost>,
    ) -> Result<Vec<u8>, AgentError> {
        let request = RequestRow::from_bytes(&row.payload);
        let request = request.map_err(|error| AgentError::new(Code::StoreDamaged, format!("a request: {error}")))?;
        let terms = self.manifest.serve.as_ref();
        let terms = terms.ok_or_else(|| AgentError::new(Code::AgentSellsNothing, self.book.name.as_ref()))?;
        let latest = row.received_at.plus_secs(terms.timeout_s.into());
        if !begun && self.book.ports.buyer.clock.now() > latest {
            let what = format!("the request waited longer than serve.timeout_s, {} s", terms.timeout_s);
            return Err(AgentError::new(Code::AgentBusy, what));
        }
        let response = self.program.serve(request.into(), desk).await?;
        response.check()?;
        Ok(ResponseRow::from(response).to_bytes())
    }
}
