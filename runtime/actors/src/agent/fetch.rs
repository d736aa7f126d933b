//! An agent's requests over HTTP: what may be spent is set aside before a request leaves, and counted exactly after.
//!
//! | it ends | on disk | the budget | handled again |
//! |---|---|---|---|
//! | before the intent | the waiting event | untouched | as if for the first time |
//! | after the intent | the fetch's id and most | the most is set aside | the same fetch with the same id: paid once |
//! | after the answer | the whole answer | what was paid | the answer from disk; nothing is sent |
//! | with the guest fallen | the id and most | the most, until the client has given the fetch up | what was paid |

use agora_sandbox_api::{
    AgentError, HTTP_HEADER_BYTES_MAX, HTTP_HEADERS_MAX, HttpGrant, HttpRequest, HttpResponse, Paid,
};
use agora_types::{Amount, CallId, Code, Hash};
use serde::{Deserialize, Serialize};

use super::desk::{Desk, State, args};
use super::memo::{Bytes, Kept};
use super::record::{MemoKind, Reserved};
use super::step::Step;
use crate::error::CallError;
use crate::fetch::{HttpAnswer, PaidFetch, Reply, SpendLimits};

/// Requests of one event.
const FETCHES_MAX: usize = 256;
/// Requests of one agent whose cost is not known: with more, the agent waits until the client knows.
const RESERVED_MAX: usize = 64;
/// Longest words of a payee's side about a payment, characters.
const PAID_WORD_MAX: usize = 512;

/// A fetch as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fetched {
    call: CallId,
    max: Amount,
    /// What the guest was told, once it was.
    reply: Option<Kept<KeptReply>>,
    /// What it cost, once that is known.
    cost: Option<Cost>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Cost {
    paid: Option<Paid>,
}

/// A reply, with its body as hex: half of what JSON makes of bytes at least, so that the largest fits a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct KeptReply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

/// A fetch of this event whose cost is not known.
struct Sent {
    memo: u32,
    args: Hash,
    call: CallId,
    max: Amount,
    reply: Option<Kept<KeptReply>>,
}

/// What an event has fetched.
#[derive(Default)]
pub(crate) struct Fetches {
    count: usize,
    sent: Vec<Sent>,
}

impl Desk {
    fn http(&self) -> Result<(&HttpGrant, &dyn PaidFetch), AgentError> {
        let denied = |what: &str| AgentError::new(Code::AgentDenied, what);
        let grant = self.manifest.grants.http.as_ref().ok_or_else(|| denied("http"))?;
        let client = self.book.ports.fetch.as_deref();
        Ok((grant, client.ok_or_else(|| denied("http: this node has no client for it"))?))
    }

    /// Sends a request, or answers what it was answered before a crash.
    pub(crate) async fn send(&self, state: &mut State, request: &HttpRequest) -> Result<HttpResponse, AgentError> {
        state.fetches.count += 1;
        if state.fetches.count > FETCHES_MAX {
            return Err(AgentError::new(Code::AgentTooManyCalls, format!("{FETCHES_MAX} requests in one event")));
        }
        let args = args(request);
        let kept = state.memos.replay::<Kept<Fetched>>(MemoKind::Fetch, &args)?;
        let sent = match kept {
            Some((memo, answer)) => {
                let Fetched { call, max, reply, cost } = answer?;
                match (reply, cost) {
                    (Some(reply), Some(cost)) => {
                        state.count_paid(call, cost.paid.as_ref());
                        return response(reply, cost.paid);
                    }
                    (reply, _) => Sent { memo, args, call, max, reply },
                }
            }
            None => self.intend(state, args, request).await?,
        };
        // From here on the event's end sees to its cost, whatever becomes of the guest.
        let (call, told) = (sent.call, sent.reply.clone());
        let limits = self.limits(request, sent.max);
        state.fetches.sent.push(sent);
        if let Some(told) = told {
            return response(told, None);
        }
        let limits = limits?;
        let answer = self.http()?.1.fetch(&self.payer, call, request, &limits).await;
        let (reply, paid) = match answer {
            Ok(HttpAnswer { paid, reply }) => (kept_reply(reply, &limits), paid.map(bounded)),
            Err(error) if error.is_fault() => {
                let refused = AgentError::from(error);
                state.tell_fetch(call, &refused);
                return Err(refused);
            }
            Err(error) => (Err(AgentError::from(error).into()), None),
        };
        self.tell(Step::Fetched {
            host: limits.target.host(),
            status: reply.as_ref().ok().map(|reply| reply.status),
            paid: paid.as_ref().map_or(Amount::ZERO, |paid| paid.amount),
        });
        self.end_fetch(state, call, reply.clone(), paid.clone()).await?;
        response(reply, paid)
    }

    fn limits(&self, request: &HttpRequest, max: Amount) -> Result<SpendLimits, AgentError> {
        let (grant, _) = self.http()?;
        let (payees, body_bytes_max) = (grant.payees.clone(), grant.response_bytes_max());
        Ok(SpendLimits { max, payees, body_bytes_max, target: grant.target(request)? })
    }

    /// Grants, budget and the limits of one request.
    async fn may_send(&self, request: &HttpRequest) -> Result<(), AgentError> {
        let max = request.max_spend;
        self.limits(request, max)?;
        if self.book.record().await.fetches.len() >= RESERVED_MAX {
            let what = format!("what {RESERVED_MAX} earlier requests cost is not known yet");
            return Err(AgentError::new(Code::AgentTooManyCalls, what));
        }
        if max.is_zero() {
            return Ok(());
        }
        let most = self.http()?.0.max_per_call;
        if let Some(most) = most.filter(|most| max > *most) {
            let what = format!("{max} OPEN for one request; grants.http.max_per_call is {most}");
            return Err(AgentError::new(Code::AgentOverBudget, what));
        }
        self.within_wallet(max).await
    }

    /// The intent is durable before anything is sent: after a crash this fetch is repeated, and no other is begun.
    async fn intend(&self, state: &mut State, args: Hash, request: &HttpRequest) -> Result<Sent, AgentError> {
        if let Err(refused) = self.may_send(request).await {
            state.memos.keep(MemoKind::Fetch, args, &Kept::<Fetched>::Err(refused.clone().into()))?;
            return Err(refused);
        }
        let (call, max) = (self.book.ports.buyer.call_id(), request.max_spend);
        let fetched = Fetched { call, max, reply: None, cost: None };
        let memo = state.memos.keep(MemoKind::Fetch, args, &Kept::Ok(fetched))?;
        let writes = state.memos.take_writes();
        self.book.change(move |record| record.fetches.push(Reserved { call, max }), writes).await?;
        Ok(Sent { memo, args, call, max, reply: None })
    }

    /// One durable step: what was set aside is free again, what was paid is spent, the answer is kept whole.
    async fn end_fetch(
        &self,
        state: &mut State,
        call: CallId,
        reply: Kept<KeptReply>,
        paid: Option<Paid>,
    ) -> Result<(), CallError> {
        let at = state.fetches.sent.iter().position(|sent| sent.call == call);
        let at = at.expect("a fetch ends once, and was sent before");
        let Sent { memo, args, max, .. } = &state.fetches.sent[at];
        let fetched = Fetched { call, max: *max, reply: Some(reply), cost: Some(Cost { paid: paid.clone() }) };
        let row = state.memos.row(*memo, MemoKind::Fetch, *args, &Kept::Ok(fetched));
        self.book.end_fetch(call, paid.as_ref(), vec![row]).await?;
        state.fetches.sent.swap_remove(at);
        state.count_paid(call, paid.as_ref());
        Ok(())
    }

    /// Gives up what the event sent and whose cost is not known, because the guest fell or the client failed. What the
    /// client does not know now stays set aside, and is asked again later.
    pub(crate) async fn give_up_fetches(&self, state: &mut State) -> Result<(), CallError> {
        let Some(client) = self.book.ports.fetch.clone() else { return Ok(()) };
        let sent: Vec<_> = state.fetches.sent.iter().map(|sent| (sent.call, sent.reply.clone())).collect();
        for (call, reply) in sent {
            match client.give_up(&self.payer, call).await {
                Ok(paid) => {
                    let given_up = || AgentError::new(Code::AgentOutOfTime, "the request was given up").into();
                    let reply = reply.unwrap_or_else(|| Err(given_up()));
                    self.end_fetch(state, call, reply, paid.map(bounded)).await?;
                }
                Err(error) => tracing::warn!(agent = %self.book.name, %call, %error, "a request's cost is not known"),
            }
        }
        Ok(())
    }
}

impl State {
    /// The guest was told that the request failed; what it cost is found out at the event's end.
    fn tell_fetch(&mut self, call: CallId, refused: &AgentError) {
        let Some(sent) = self.fetches.sent.iter_mut().find(|sent| sent.call == call) else { return };
        sent.reply = Some(Err(refused.clone().into()));
        let fetched = Fetched { call, max: sent.max, reply: sent.reply.clone(), cost: None };
        self.memos.replace(sent.memo, MemoKind::Fetch, sent.args, &Kept::Ok(fetched));
    }

    fn count_paid(&mut self, call: CallId, paid: Option<&Paid>) {
        if let Some(paid) = paid {
            self.calls.push(call);
            self.spent = self.spent.checked_add(paid.amount).unwrap_or(self.spent);
        }
    }
}

/// What the guest is told.
fn response(reply: Kept<KeptReply>, paid: Option<Paid>) -> Result<HttpResponse, AgentError> {
    let KeptReply { status, headers, body } = reply?;
    Ok(HttpResponse { status, headers, body: body.read()?, paid })
}

/// Keeps the client to what was asked of it.
fn kept_reply(reply: Result<Reply, CallError>, limits: &SpendLimits) -> Kept<KeptReply> {
    let Reply { status, headers, body } = reply.map_err(AgentError::from)?;
    if body.len() > limits.body_bytes_max {
        let what = format!("a body of {} bytes; {} are granted", body.len(), limits.body_bytes_max);
        return Err(AgentError::new(Code::AgentTooLarge, what).into());
    }
    let mut left = HTTP_HEADER_BYTES_MAX;
    let fits = |(name, value): &(String, String)| {
        left = left.checked_sub(name.len() + value.len())?;
        Some(())
    };
    let count = headers.iter().take(HTTP_HEADERS_MAX).map_while(fits).count();
    let headers = headers.into_iter().take(count).collect();
    Ok(KeptReply { status, headers, body: Bytes::new(&body) })
}

/// Words of a payee's side, cut to what a row may hold.
fn bounded(paid: Paid) -> Paid {
    let cut = |text: String| text.chars().take(PAID_WORD_MAX).collect();
    Paid { network: paid.network.map(cut), transaction: cut(paid.transaction), receipt: paid.receipt.map(cut), ..paid }
}
