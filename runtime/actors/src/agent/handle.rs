//! Agents, for callers in the same process.

use std::sync::Arc;
use std::time::Duration;

use agora_economy::ports::log::READ_ROWS_MAX;
use agora_economy::ports::state::{Journal, Table};
use agora_sandbox_api::Manifest;
use agora_types::batch::Entry;
use agora_types::command::{Command, Transfer};
use agora_types::{Address, Amount, Canonical as _, Code, Hash, Timestamp};
use kameo::actor::ActorRef;

use super::actor::Accept;
use super::book::{Book, LINES_MAX, known_record, used};
use super::record::{AgentRecord, EventRow, EventState, LineRow, Status, key};
use super::step::level_name;
use super::supervisor::{AGENTS_MAX, AgentSupervisor, Child, Run, Stop};
use super::{AgentPorts, Feed};
use crate::ask::ask;
use crate::clock::fresh_head;
use crate::error::CallError;
use crate::fetch::{PaidFetch, Withdrawn};
use crate::purchase::{Buyer, Payer};

/// How long an answer may take; compiling and stopping included.
pub(super) const ANSWER: Duration = Duration::from_secs(60);
/// A refund is asked for again while the host ends the last call.
const REFUND_TRIES: u32 = 40;
const REFUND_WAIT: Duration = Duration::from_millis(100);

/// An agent as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentView {
    /// Its name.
    pub name: String,
    /// Its record.
    pub record: AgentRecord,
    /// What its manifest allows it to spend in all; zero without a wallet.
    pub budget: Amount,
    /// Spent or set aside of it.
    pub used: Amount,
    /// What its account can spend now.
    pub balance: Amount,
    /// Events that wait.
    pub waiting: u64,
}

/// A line of an agent's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its number.
    pub number: u64,
    /// When.
    pub time: Timestamp,
    /// `debug`, `info`, `warn` or `error`.
    pub level: &'static str,
    /// What.
    pub text: String,
}

/// What came back when an agent was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// Out of channels, onto its account.
    pub refunded: Amount,
    /// From its account to its owner.
    pub returned: Amount,
    /// Still in channels with sellers over HTTP; [`AgentsHandle::collect`] brings it, or stopping again.
    pub waiting: Amount,
    /// When all of that can be had.
    pub until: Option<Timestamp>,
}

/// The agents of a node.
#[derive(Clone)]
pub struct AgentsHandle {
    pub(super) actor: ActorRef<AgentSupervisor>,
    pub(super) ports: Arc<AgentPorts>,
}

impl AgentsHandle {
    /// Speaks to this actor, which keeps its place over restarts.
    pub fn new(actor: ActorRef<AgentSupervisor>, ports: Arc<AgentPorts>) -> Self {
        Self { actor, ports }
    }

    /// Where the agents' steps are told.
    pub fn feed(&self) -> &Feed {
        &self.ports.feed
    }

    /// Checks manifest and component and runs the agent; again with the same: nothing changes; with others: the next
    /// version of the agent, whose spending counts on.
    ///
    /// # Errors
    /// `agent.bad_manifest`, `agent.bad_component`, `agent.import_not_granted`, `agent.too_large`, `agent.exists` for
    /// another owner's agent, and faults.
    pub async fn deploy(&self, manifest: String, component: Vec<u8>, owner: Address) -> Result<AgentView, CallError> {
        let parsed = Manifest::parse(&manifest)?;
        let (ports, own) = (Arc::clone(&self.ports), parsed.clone());
        let check = move || {
            let program = ports.sandbox.load(&component, &own)?;
            ports.blobs.put(&component)?;
            Ok::<Hash, CallError>(program.hash())
        };
        let checked = tokio::task::spawn_blocking(check).await;
        let component = checked.map_err(|error| CallError::new(Code::AgentBadComponent, error.to_string()))??;
        let payer = self.ports.keys.payer(&parsed.name).await?;
        let record = AgentRecord {
            manifest,
            component,
            owner,
            account: payer.account.address(),
            status: Status::Running,
            spent: Amount::ZERO,
            handled: 0,
            failures: 0,
            failure: None,
            deployed_at: self.ports.buyer.clock.now(),
            payees: Vec::new(),
            next_line: 0,
            fetches: Vec::new(),
        };
        let record = ask(&self.actor, Run { name: parsed.name.clone(), record }, ANSWER, "the supervisor").await?;
        view(&self.ports.buyer, parsed.name, record).await
    }

    /// Gives an agent an event; durable when it answers with the event's id.
    ///
    /// # Errors
    /// `agent.not_found`, `agent.stopped`, `agent.suspended`, `agent.too_large`, `node.busy` when too many wait,
    /// `agent.bad_request` for the kind `serve`, which is [`AgentsHandle::serve`]'s.
    pub async fn tell(&self, name: &str, kind: &str, payload: Vec<u8>) -> Result<String, CallError> {
        let child = ask(&self.actor, Child(name.to_owned()), ANSWER, "the supervisor").await?;
        ask(&child, Accept { kind: kind.to_owned(), payload }, ANSWER, "the agent").await
    }

    /// What lies unclaimed in an agent's channels: deposits that it can still spend, or get back.
    ///
    /// # Errors
    /// `agent.not_found`, and faults.
    pub async fn in_channels(&self, name: &str) -> Result<Amount, CallError> {
        let record = known_record(&self.ports, name).await?;
        let payer = self.ports.keys.payer(name).await?;
        let mut sum = Amount::ZERO;
        for payee in record.payees {
            let unclaimed = self.ports.buyer.unclaimed(&payer, payee.listing, payee.host).await?;
            sum = sum.checked_add(unclaimed).unwrap_or(sum);
        }
        Ok(sum)
    }

    /// How an agent stands.
    ///
    /// # Errors
    /// `agent.not_found`, and faults.
    pub async fn status(&self, name: &str) -> Result<Status, CallError> {
        Ok(known_record(&self.ports, name).await?.status)
    }

    /// An event as it stands.
    ///
    /// # Errors
    /// Faults.
    pub async fn event(&self, name: &str, event: &str) -> Result<Option<EventRow>, CallError> {
        super::book::event(&self.ports, name, event).await
    }

    /// Stops an agent, ends its calls, takes unspent deposits back, and returns its balance to its owner. May be repeated
    /// until everything is back.
    ///
    /// # Errors
    /// `agent.not_found`, the first host's refusal to refund, after everything else is back, and faults.
    pub async fn stop(&self, name: &str) -> Result<(AgentView, Stopped), CallError> {
        let record = ask(&self.actor, Stop(name.to_owned()), ANSWER, "the supervisor").await?;
        let (buyer, payer) = (&self.ports.buyer, self.ports.keys.payer(name).await?);
        let book = Book::open(Arc::clone(&self.ports), name).await?;
        book.settle_unfinished(&payer).await?;
        book.give_up_events().await?;
        let (mut refunded, mut refused) = (Amount::ZERO, None);
        for payee in &record.payees {
            let mut tries = REFUND_TRIES;
            loop {
                tries -= 1;
                match buyer.refund(&payer, payee.listing, payee.host).await {
                    Ok(amount) => break refunded = refunded.checked_add(amount).unwrap_or(refunded),
                    Err(error) if error.code == Code::RefundNoBalance => break,
                    // The host still writes the last call's final receipt.
                    Err(error) if error.code == Code::ChannelBusy && tries > 0 => tokio::time::sleep(REFUND_WAIT).await,
                    // One host that is away does not keep what others hold.
                    Err(error) => break refused = refused.or(Some(error)),
                }
            }
        }
        let in_http = match &self.ports.fetch {
            Some(client) => client.withdraw(&payer).await.unwrap_or_else(|error| {
                refused = refused.take().or(Some(error));
                Withdrawn::default()
            }),
            None => Withdrawn::default(),
        };
        refunded = refunded.checked_add(in_http.back).unwrap_or(refunded);
        let returned = self.give_back(&record, &payer, None).await?;
        if let Some(refused) = refused {
            return Err(refused);
        }
        let record = book.record().await;
        Ok((
            view(buyer, name.to_owned(), record).await?,
            Stopped { refunded, returned, waiting: in_http.waiting, until: in_http.until },
        ))
    }

    /// Brings stopped agents' money out of channels with sellers over HTTP and gives it to the agents' owners; answers with
    /// how much came. To be called now and then.
    ///
    /// # Errors
    /// The first fault, after every other agent had its turn. What a fault leaves on an agent's account goes back when the
    /// agent is stopped again.
    pub async fn collect(&self) -> Result<Amount, CallError> {
        let Some(client) = &self.ports.fetch else { return Ok(Amount::ZERO) };
        let (mut sum, mut failed) = (Amount::ZERO, None);
        for (name, bytes) in self.ports.buyer.journal.list(Table::Agents, Vec::new(), AGENTS_MAX).await? {
            let stopped = AgentRecord::from_bytes(&bytes).ok().filter(|record| record.status == Status::Stopped);
            let Some(record) = stopped else { continue };
            match self.collect_one(client.as_ref(), &String::from_utf8_lossy(&name), &record).await {
                Ok(returned) => sum = sum.checked_add(returned).unwrap_or(sum),
                // One agent's trouble does not keep what others are owed.
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(sum), Err)
    }

    async fn collect_one(&self, client: &dyn PaidFetch, name: &str, record: &AgentRecord) -> Result<Amount, CallError> {
        let payer = self.ports.keys.payer(name).await?;
        let came = client.withdraw(&payer).await?.back;
        // No more than came: what else is there may be the budget of an agent that is being deployed again.
        self.give_back(record, &payer, Some(came)).await
    }

    async fn give_back(&self, record: &AgentRecord, payer: &Payer, most: Option<Amount>) -> Result<Amount, CallError> {
        let buyer = &self.ports.buyer;
        let available = buyer.ledger.available(record.account).await?;
        let amount = most.map_or(available, |most| most.min(available));
        if amount.is_zero() || record.account == record.owner {
            return Ok(Amount::ZERO);
        }
        let head = fresh_head(buyer.clock.as_ref(), buyer.random.as_ref(), record.account);
        let transfer = Transfer { head, credit: record.owner, amount, pending: None, reference: 0, receipt: None };
        let entry = Entry::sign(&buyer.ledger.network(), Command::Transfer(transfer), &payer.account);
        // A repeat of the whole step finds what is left: nothing is returned twice.
        buyer.ledger.commit_one(entry).await?;
        Ok(amount)
    }
}

async fn view(buyer: &Buyer, name: String, record: AgentRecord) -> Result<AgentView, CallError> {
    let wallet = Manifest::parse(&record.manifest).ok().and_then(|manifest| manifest.grants.wallet);
    let events = buyer.journal.list(Table::AgentEvents, key(&name, &[]), READ_ROWS_MAX).await?;
    let waits = |bytes: &Vec<u8>| EventRow::from_bytes(bytes).is_ok_and(|row| row.state == EventState::Waiting);
    Ok(AgentView {
        budget: wallet.map_or(Amount::ZERO, |wallet| wallet.budget),
        used: used(buyer, &record).await?,
        balance: buyer.ledger.available(record.account).await?,
        waiting: events.iter().filter(|(_, bytes)| waits(bytes)).count() as u64,
        name,
        record,
    })
}

/// How many agents a node has; needs no running agents.
///
/// # Errors
/// Faults.
pub async fn count(journal: &dyn Journal) -> Result<usize, CallError> {
    Ok(journal.list(Table::Agents, Vec::new(), AGENTS_MAX).await?.len())
}

/// Every agent of a node, by name; needs no running agents.
///
/// # Errors
/// Faults.
pub async fn agents(buyer: &Buyer) -> Result<Vec<AgentView>, CallError> {
    let mut all = Vec::new();
    for (name, bytes) in buyer.journal.list(Table::Agents, Vec::new(), AGENTS_MAX).await? {
        let name = String::from_utf8_lossy(&name).into_owned();
        let record = AgentRecord::from_bytes(&bytes);
        let record = record.map_err(|error| CallError::new(Code::StoreDamaged, format!("agent {name}: {error}")))?;
        all.push(view(buyer, name, record).await?);
    }
    Ok(all)
}

/// Lines of an agent's log: those after a number, or the newest, at most `limit`; needs no running agents.
///
/// # Errors
/// `agent.not_found`, and faults.
pub async fn lines(
    journal: &dyn Journal,
    name: &str,
    after: Option<u64>,
    limit: usize,
) -> Result<Vec<Line>, CallError> {
    if journal.get(Table::Agents, name.as_bytes().to_vec()).await?.is_none() {
        return Err(CallError::new(Code::AgentNotFound, name));
    }
    let prefix = key(name, &[]);
    let kept = usize::try_from(LINES_MAX).unwrap_or(usize::MAX);
    let rows = journal.list(Table::AgentLogs, prefix.clone(), kept.saturating_mul(2)).await?;
    let read = |(key, bytes): (Vec<u8>, Vec<u8>)| {
        let number = key.get(prefix.len()..).and_then(|rest| <[u8; 8]>::try_from(rest).ok()).map(u64::from_be_bytes);
        let line = LineRow::from_bytes(&bytes).ok();
        let (number, line) = number.zip(line).ok_or_else(|| CallError::new(Code::StoreDamaged, "a log line"))?;
        Ok(Line { number, time: line.time, level: level_name(line.level), text: line.text })
    };
    let mut lines = rows.into_iter().map(read).collect::<Result<Vec<_>, CallError>>()?;
    match after {
        Some(after) => {
            lines.retain(|line| line.number > after);
            lines.truncate(limit);
        }
        None => {
            let over = lines.len().saturating_sub(limit);
            lines.drain(..over);
        }
    }
    Ok(lines)
}
