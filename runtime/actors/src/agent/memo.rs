//! What an event's host calls were answered, so that an event that is handled again after a crash goes the same way.
//!
//! Answers become durable together with the next `open` or `fetch` at the latest, because nothing before it has an effect: a
//! crash earlier repeats the rest of the event as if for the first time. Reading a stream is not kept: the host of the call
//! sends everything that it charged for once more, and a stream that has ended is kept whole.

use std::collections::VecDeque;

use agora_economy::ports::state::{Table, Write};
use agora_sandbox_api::AgentError;
use agora_types::{Canonical as _, Code, Hash};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::AgentPorts;
use super::record::{MemoKind, MemoRow, key};
use crate::error::CallError;

/// Most kept answers of one event.
const MEMOS_MAX: usize = 3_000;

/// A refusal, as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    code: u16,
    what: String,
}

/// Bytes as hex in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Bytes(String);

impl Bytes {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self(hex::encode(bytes))
    }

    pub(crate) fn read(&self) -> Result<Vec<u8>, AgentError> {
        hex::decode(&self.0).map_err(|_| AgentError::new(Code::StoreDamaged, "kept bytes"))
    }
}

/// A kept answer.
pub(crate) type Kept<T> = Result<T, Refused>;

impl From<AgentError> for Refused {
    fn from(error: AgentError) -> Self {
        Self { code: error.code.number(), what: error.what }
    }
}

impl From<Refused> for AgentError {
    fn from(refused: Refused) -> Self {
        Self::new(Code::from_number(refused.code).unwrap_or(Code::AgentFailed), refused.what)
    }
}

/// The kept answers of one event.
pub(crate) struct Memos {
    prefix: Vec<u8>,
    recorded: VecDeque<MemoRow>,
    next: u32,
    unwritten: Vec<Write>,
}

impl Memos {
    /// What was kept before a crash.
    pub(crate) async fn load(ports: &AgentPorts, name: &str, event: &str) -> Result<Self, CallError> {
        let prefix = key(name, event.as_bytes());
        let rows = ports.buyer.journal.list(Table::AgentCalls, prefix.clone(), MEMOS_MAX).await?;
        let read = |(_, bytes): (Vec<u8>, Vec<u8>)| MemoRow::from_bytes(&bytes);
        let recorded = rows.into_iter().map(read).collect::<Result<_, _>>();
        let recorded = recorded.map_err(|error| CallError::new(Code::StoreDamaged, format!("a host call: {error}")))?;
        Ok(Self { prefix, recorded, next: 0, unwritten: Vec::new() })
    }

    /// Are there kept answers that were not asked for yet?
    pub(crate) fn recorded(&self) -> bool {
        !self.recorded.is_empty()
    }

    /// The kept answer to the next call, if there is one, and its number.
    ///
    /// # Errors
    /// `agent.failed` when the guest calls something else than it did the first time.
    pub(crate) fn replay<T: DeserializeOwned>(
        &mut self,
        kind: MemoKind,
        args: &Hash,
    ) -> Result<Option<(u32, T)>, AgentError> {
        // Taken only when it fits: one that does not still counts among the event's rows, and stays in the way.
        let Some(row) = self.recorded.front() else { return Ok(None) };
        if row.kind != kind || row.args != *args {
            let what = "handled again after a crash, the agent did something else than the first time";
            return Err(AgentError::new(Code::AgentFailed, what));
        }
        let answer = serde_json::from_slice(&row.answer)
            .map_err(|error| AgentError::new(Code::StoreDamaged, format!("a kept host call: {error}")))?;
        self.recorded.pop_front();
        let number = self.next;
        self.next += 1;
        Ok(Some((number, answer)))
    }

    /// Keeps an answer; durable with the next [`Memos::take_writes`]. Answers with its number.
    ///
    /// # Errors
    /// `agent.too_many_calls` beyond the bound.
    pub(crate) fn keep<T: Serialize>(&mut self, kind: MemoKind, args: Hash, answer: &T) -> Result<u32, AgentError> {
        if self.next as usize >= MEMOS_MAX {
            return Err(AgentError::new(Code::AgentTooManyCalls, format!("{MEMOS_MAX} kept host calls")));
        }
        let number = self.next;
        self.next += 1;
        let row = self.row(number, kind, args, answer);
        self.unwritten.push(row);
        Ok(number)
    }

    /// The row of an answer, to be written at once.
    pub(crate) fn row<T: Serialize>(&self, number: u32, kind: MemoKind, args: Hash, answer: &T) -> Write {
        let answer = serde_json::to_vec(answer).expect("answers are plain JSON");
        let row = MemoRow { kind, args, answer };
        let key = [self.prefix.as_slice(), &number.to_be_bytes()].concat();
        Write { table: Table::AgentCalls, key, value: Some(row.to_bytes()) }
    }

    /// Keeps another answer to a call that was answered already; durable as in [`Memos::keep`].
    pub(crate) fn replace<T: Serialize>(&mut self, number: u32, kind: MemoKind, args: Hash, answer: &T) {
        let row = self.row(number, kind, args, answer);
        self.unwritten.push(row);
    }

    /// What is not durable yet.
    pub(crate) fn take_writes(&mut self) -> Vec<Write> {
        std::mem::take(&mut self.unwritten)
    }

    /// Removes every row of the event.
    pub(crate) fn forget(&self) -> Vec<Write> {
        let known = self.next as usize + self.recorded.len();
        let numbers = (0..known).filter_map(|number| u32::try_from(number).ok());
        let key = |number: u32| [self.prefix.as_slice(), &number.to_be_bytes()].concat();
        numbers.map(|number| Write { table: Table::AgentCalls, key: key(number), value: None }).collect()
    }
}
