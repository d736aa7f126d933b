//! Sequencer and log store as one: open, replay, commit. No executor, no clock: the actor around it brings both.

use agora_economy::ports::log::{Index, LogFault, LogStore, call_key};
use agora_economy::{CallRecord, Economy, Halt, PriorCalls, Sequencer, Verified};
use agora_types::batch::{BATCH_BODY_MAX, BATCH_ENTRIES_MAX};
use agora_types::genesis::Genesis;
use agora_types::{Canonical as _, Code, Timestamp};

/// Batches read at once during replay.
const REPLAY_STEP: usize = 256;
/// Bytes of a batch body that entries may fill; outcomes and framing take the rest.
const BODY_ROOM: usize = BATCH_BODY_MAX - 64 * 1024;

/// The world failed, or the log and the rules disagree. The node must be opened again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LedgerFault {
    /// The store.
    #[error(transparent)]
    Store(#[from] LogFault),
    /// The log is not one of these rules.
    #[error(transparent)]
    Halt(#[from] Halt),
    /// The genesis file or a stored record is not one.
    #[error("{0}")]
    Broken(String),
}

impl LedgerFault {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Store(fault) => fault.code(),
            Self::Halt(_) | Self::Broken(_) => Code::LogForeign,
        }
    }
}

/// State and log of one network.
pub struct LedgerNode {
    genesis: Genesis,
    sequencer: Sequencer,
    store: Box<dyn LogStore>,
    snapshot_every: u64,
}

impl std::fmt::Debug for LedgerNode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerNode").field("next_seq", &self.sequencer.next_seq()).finish_non_exhaustive()
    }
}

impl LedgerNode {
    /// Opens the newest snapshot, if it is whole, and replays the log behind it. A snapshot is written every
    /// `snapshot_every` batches.
    ///
    /// # Errors
    /// The store's faults, and a log that these rules did not write.
    pub fn open(genesis: &Genesis, store: Box<dyn LogStore>, snapshot_every: u64) -> Result<Self, LedgerFault> {
        let from_snapshot = store.newest_snapshot()?.and_then(|s| Sequencer::from_snapshot(genesis, &s).ok());
        let sequencer = match from_snapshot {
            Some(sequencer) => sequencer,
            None => Sequencer::new(genesis).map_err(|code| LedgerFault::Broken(code.to_string()))?,
        };
        let mut node = Self { genesis: genesis.clone(), sequencer, store, snapshot_every: snapshot_every.max(1) };
        loop {
            let batches = node.store.read_from(node.sequencer.next_seq(), REPLAY_STEP)?;
            if batches.is_empty() {
                break;
            }
            for batch in batches {
                let body = batch.open().map_err(|error| LedgerFault::Broken(error.to_string()))?;
                let network = node.sequencer.economy().rules().network;
                let calls = body
                    .entries
                    .into_iter()
                    .filter_map(|entry| Verified::check(&network, entry).ok().as_ref().and_then(Verified::call));
                let prior = node.prior(calls)?;
                node.sequencer.replay_own(&batch, &prior)?;
            }
        }
        Ok(node)
    }

    /// The economy as of the newest durable batch.
    pub fn economy(&self) -> &Economy {
        self.sequencer.economy()
    }

    /// The log, to read from.
    pub fn store(&self) -> &dyn LogStore {
        self.store.as_ref()
    }

    /// Number of durable batches.
    pub fn next_seq(&self) -> u64 {
        self.sequencer.next_seq()
    }

    /// The time of the newest batch.
    pub fn time(&self) -> Timestamp {
        self.sequencer.time()
    }

    /// Commits groups of entries, each linked as its caller wants it, and gives each group's answers in order.
    ///
    /// Durable when it returns `Ok`. On `Err` nobody knows what is on disk: drop this node and open it again.
    ///
    /// # Errors
    /// The store's faults.
    pub fn commit(&mut self, now: Timestamp, groups: Vec<Vec<Verified>>) -> Result<Vec<Answers>, LedgerFault> {
        let mut answers: Vec<Answers> = vec![Vec::new(); groups.len()];
        let (mut batch, mut owners, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (owner, group) in groups.into_iter().enumerate() {
            let size: usize = group.iter().map(|entry| entry.entry().to_bytes().len() + 8).sum();
            if group.len() > BATCH_ENTRIES_MAX || size > BODY_ROOM {
                answers[owner] = vec![Err(Code::WireTooLarge); group.len()];
                continue;
            }
            if batch.len() + group.len() > BATCH_ENTRIES_MAX || bytes + size > BODY_ROOM {
                self.write(now, std::mem::take(&mut batch), std::mem::take(&mut owners), &mut answers)?;
                bytes = 0;
            }
            bytes += size;
            owners.extend(std::iter::repeat_n(owner, group.len()));
            batch.extend(group);
        }
        if !batch.is_empty() {
            self.write(now, batch, owners, &mut answers)?;
        }
        Ok(answers)
    }

    fn write(
        &mut self,
        now: Timestamp,
        batch: Vec<Verified>,
        owners: Vec<usize>,
        answers: &mut [Answers],
    ) -> Result<(), LedgerFault> {
        let digests: Vec<_> = batch.iter().map(|entry| *entry.digest()).collect();
        // What cannot pay its gas never enters the log; all of a batch is weighed together.
        let (paid, _) = self.sequencer.drop_unpaid(batch);
        let mut entered = paid.iter().map(|entry| *entry.digest()).collect::<Vec<_>>().into_iter().peekable();
        let mut outcomes = Vec::new().into_iter();
        let seq = self.sequencer.next_seq();
        let writes = !paid.is_empty();
        if writes {
            let prior = self.prior(paid.iter().filter_map(Verified::call))?;
            let proposed = self.sequencer.propose(now, paid, &prior);
            self.store.append(seq, &proposed.batch, &proposed.applied.records)?;
            outcomes = proposed.applied.outcomes.into_iter();
        }
        // Durable: from here on, the answers are true.
        for (owner, digest) in owners.into_iter().zip(digests) {
            let answer = match entered.next_if_eq(&digest) {
                Some(_) => outcomes.next().and_then(|outcome| outcome.code()).map_or(Ok(()), Err),
                None => Err(Code::GasUnpaid),
            };
            answers[owner].push(answer);
        }
        if writes && (seq + 1).is_multiple_of(self.snapshot_every) {
            let snapshot = self.sequencer.snapshot(&self.genesis);
            self.store.save_snapshot(&snapshot)?;
        }
        Ok(())
    }

    /// The permanent records of calls, from disk.
    fn prior(
        &self,
        calls: impl IntoIterator<Item = (agora_types::Address, agora_types::CallId)>,
    ) -> Result<PriorCalls, LedgerFault> {
        let mut prior = PriorCalls::new();
        for (payer, call) in calls {
            if let Some(bytes) = self.store.record(Index::Call, &call_key(&payer, &call))? {
                let record = CallRecord::from_bytes(&bytes).map_err(|error| LedgerFault::Broken(error.to_string()))?;
                prior.insert((payer, call), record);
            }
        }
        Ok(prior)
    }
}

/// One answer for each entry of a group.
pub type Answers = Vec<Result<(), Code>>;
