//! An agent's record in work: one owner in memory, every change durable before it counts.

use std::sync::Arc;

use agora_economy::ports::log::READ_ROWS_MAX;
use agora_economy::ports::state::{Table, Write};
use agora_sandbox_api::Paid;
use agora_types::{Amount, CallId, Canonical as _, Code};
use tokio::sync::Mutex;

use super::AgentPorts;
use super::memo::Memos;
use super::record::{AgentRecord, EventRow, EventState, LineRow, Reserved, Status, key};
use super::step::{Progress, Step};
use super::supervisor::AGENTS_MAX;
use crate::error::CallError;
use crate::purchase::{Buyer, Payer, Purchase};

/// Log lines that are kept.
pub(crate) const LINES_MAX: u64 = 1_000;

pub(crate) struct Book {
    pub(crate) name: Arc<str>,
    pub(crate) ports: Arc<AgentPorts>,
    record: Mutex<AgentRecord>,
}

fn damaged(what: &str) -> CallError {
    CallError::new(Code::StoreDamaged, what)
}

/// The record on disk.
pub(crate) async fn read_record(ports: &AgentPorts, name: &str) -> Result<Option<AgentRecord>, CallError> {
    let bytes = ports.buyer.journal.get(Table::Agents, name.as_bytes().to_vec()).await?;
    let record = bytes.map(|bytes| AgentRecord::from_bytes(&bytes)).transpose();
    record.map_err(|error| damaged(&format!("the record of agent {name}: {error}")))
}

/// The record on disk of an agent that must be there.
pub(crate) async fn known_record(ports: &AgentPorts, name: &str) -> Result<AgentRecord, CallError> {
    let record = read_record(ports, name).await?;
    record.ok_or_else(|| CallError::new(Code::AgentNotFound, name))
}

pub(crate) fn record_row(name: &str, record: &AgentRecord) -> Write {
    Write { table: Table::Agents, key: name.as_bytes().to_vec(), value: Some(record.to_bytes()) }
}

pub(crate) fn event_row(name: &str, event: &str, row: &EventRow) -> Write {
    Write { table: Table::AgentEvents, key: key(name, event.as_bytes()), value: Some(row.to_bytes()) }
}

/// Every agent's record, by name.
pub(crate) async fn records(ports: &AgentPorts) -> Result<Vec<(String, AgentRecord)>, CallError> {
    let rows = ports.buyer.journal.list(Table::Agents, Vec::new(), AGENTS_MAX).await?;
    let read = |(name, bytes): (Vec<u8>, Vec<u8>)| {
        let name = String::from_utf8_lossy(&name).into_owned();
        let record = AgentRecord::from_bytes(&bytes).map_err(|error| damaged(&format!("agent {name}: {error}")))?;
        Ok((name, record))
    };
    rows.into_iter().map(read).collect()
}

/// An event, if it is known.
pub(crate) async fn event(ports: &AgentPorts, name: &str, event: &str) -> Result<Option<EventRow>, CallError> {
    let row = ports.buyer.journal.get(Table::AgentEvents, key(name, event.as_bytes())).await?;
    let row = row.map(|bytes| EventRow::from_bytes(&bytes)).transpose();
    row.map_err(|error| damaged(&format!("an event: {error}")))
}

/// An agent's events, oldest first.
pub(crate) async fn events(ports: &AgentPorts, name: &str) -> Result<Vec<(String, EventRow)>, CallError> {
    let prefix = key(name, &[]);
    let rows = ports.buyer.journal.list(Table::AgentEvents, prefix.clone(), READ_ROWS_MAX).await?;
    let read = |(key, bytes): (Vec<u8>, Vec<u8>)| {
        let event = String::from_utf8(key[prefix.len()..].to_vec()).map_err(|_| damaged("an event's key"))?;
        let row = EventRow::from_bytes(&bytes).map_err(|error| damaged(&format!("an event: {error}")))?;
        Ok((event, row))
    };
    let mut rows = rows.into_iter().map(read).collect::<Result<Vec<_>, CallError>>()?;
    // Keys of requests follow from their ids and not from time.
    rows.sort_by(|(a, one), (b, other)| (one.received_at, a).cmp(&(other.received_at, b)));
    Ok(rows)
}

/// What an agent has spent or set aside: what it paid, and the most that its unfinished calls and requests can cost.
pub(crate) async fn used(buyer: &Buyer, record: &AgentRecord) -> Result<Amount, CallError> {
    let open = buyer.all_unfinished(record.account).await?;
    let most = open.iter().filter_map(|(_, call)| call.quote.charge_max());
    let most = most.chain(record.fetches.iter().map(|fetch| fetch.max));
    Ok(Amount::checked_sum(most.chain([record.spent])).unwrap_or(Amount::from_atoms(u128::MAX)))
}

impl Book {
    pub(crate) async fn open(ports: Arc<AgentPorts>, name: &str) -> Result<Self, CallError> {
        let record = known_record(&ports, name).await?;
        Ok(Self { name: name.into(), ports, record: Mutex::new(record) })
    }

    pub(crate) async fn record(&self) -> AgentRecord {
        self.record.lock().await.clone()
    }

    /// Succeeds while the agent runs.
    pub(crate) async fn running(&self) -> Result<(), CallError> {
        match self.record().await.status {
            Status::Running => Ok(()),
            Status::Suspended => Err(CallError::new(Code::AgentSuspended, self.name.as_ref())),
            Status::Stopped => Err(CallError::new(Code::AgentStopped, self.name.as_ref())),
        }
    }

    pub(crate) async fn used(&self) -> Result<Amount, CallError> {
        used(&self.ports.buyer, &self.record().await).await
    }

    /// Changes the record, in one durable step with `writes`.
    pub(crate) async fn change(
        &self,
        change: impl FnOnce(&mut AgentRecord),
        writes: Vec<Write>,
    ) -> Result<(), CallError> {
        let journal = Arc::clone(&self.ports.buyer.journal);
        self.change_by(change, writes, async move |writes| Ok(journal.commit(writes).await?)).await
    }

    /// The same, where `commit` makes the writes durable together with its own.
    pub(crate) async fn change_by(
        &self,
        change: impl FnOnce(&mut AgentRecord),
        mut writes: Vec<Write>,
        commit: impl AsyncFnOnce(Vec<Write>) -> Result<(), CallError>,
    ) -> Result<(), CallError> {
        let mut record = self.record.lock().await;
        let mut next = record.clone();
        change(&mut next);
        writes.push(record_row(&self.name, &next));
        commit(writes).await?;
        *record = next;
        Ok(())
    }

    /// Ends a purchase after its receipt and charges the budget, in one durable step with `writes`.
    pub(crate) async fn pay(&self, purchase: Purchase, charge: Amount, writes: Vec<Write>) -> Result<(), CallError> {
        let change = |record: &mut AgentRecord| {
            record.spent = record.spent.checked_add(charge).unwrap_or(Amount::from_atoms(u128::MAX));
        };
        self.change_by(change, writes, async move |writes| purchase.finish(writes).await).await
    }

    /// Ends a request and charges the budget, in one durable step with `writes`. Again: nothing is charged twice.
    pub(crate) async fn end_fetch(
        &self,
        call: CallId,
        paid: Option<&Paid>,
        writes: Vec<Write>,
    ) -> Result<(), CallError> {
        let amount = paid.map_or(Amount::ZERO, |paid| paid.amount);
        let change = |record: &mut AgentRecord| {
            let at = record.fetches.iter().position(|fetch| fetch.call == call);
            if at.map(|at| record.fetches.remove(at)).is_some() {
                record.spent = record.spent.checked_add(amount).unwrap_or(Amount::from_atoms(u128::MAX));
            }
        };
        self.change(change, writes).await
    }

    /// Ends every unfinished call and request: what was charged is paid, nothing more is begun. What cannot be ended now
    /// stays written down.
    pub(crate) async fn settle_unfinished(&self, payer: &Payer) -> Result<(), CallError> {
        let buyer = &self.ports.buyer;
        if let Some(client) = &self.ports.fetch {
            for Reserved { call, .. } in self.record().await.fetches {
                match client.give_up(payer, call).await {
                    Ok(paid) => self.end_fetch(call, paid.as_ref(), Vec::new()).await?,
                    Err(error) => tracing::warn!(agent = %self.name, %call, %error, "a request's cost is not known"),
                }
            }
        }
        for (call, _) in buyer.all_unfinished(payer.account.address()).await? {
            let ended = async {
                let Some(mut purchase) = Purchase::settle(buyer, payer.clone(), call).await? else { return Ok(()) };
                let receipt = purchase.drain().await?;
                self.pay(purchase, receipt.payload().charge, Vec::new()).await
            };
            match ended.await {
                Ok(()) => tracing::info!(agent = %self.name, %call, "an unfinished call is settled"),
                Err(error) => tracing::warn!(agent = %self.name, %call, %error, "an unfinished call stays"),
            }
        }
        Ok(())
    }

    /// Gives up every waiting event, because the agent is stopped.
    pub(crate) async fn give_up_events(&self) -> Result<(), CallError> {
        for (event, row) in events(&self.ports, &self.name).await? {
            if row.state == EventState::Waiting {
                let mut writes = Memos::load(&self.ports, &self.name, &event).await?.forget();
                let state = EventState::failed(Code::AgentStopped, "the agent was stopped before it was done");
                let row = EventRow { state, ..row };
                writes.push(event_row(&self.name, &event, &row));
                self.ports.buyer.journal.commit(writes).await?;
                let (agent, event) = (Arc::clone(&self.name), event.into());
                self.ports.feed.tell(Progress { agent, event, step: Step::Ended(Box::new(row)) });
            }
        }
        Ok(())
    }

    /// Rows for log lines, numbered from `first`; each drives the one a ring's length older out.
    pub(crate) fn line_rows(&self, first: u64, lines: &[LineRow]) -> Vec<Write> {
        let numbered = (first..).zip(lines);
        let at = |number: u64| key(&self.name, &number.to_be_bytes());
        let rows = numbered.flat_map(|(number, line)| {
            let written = Write { table: Table::AgentLogs, key: at(number), value: Some(line.to_bytes()) };
            let old = number.checked_sub(LINES_MAX);
            let gone = old.map(|number| Write { table: Table::AgentLogs, key: at(number), value: None });
            [Some(written), gone]
        });
        rows.flatten().collect()
    }
}
