//! The sequencer: stamps time, applies, and builds the batch that the log keeps; and replays such batches strictly.

use std::collections::BTreeMap;

use agora_types::batch::{BATCH_ENTRIES_MAX, BATCH_VERSION, Batch, BatchHeader, Body, Entry};
use agora_types::eip712::Network;
use agora_types::genesis::Genesis;
use agora_types::{Address, Amount, Canonical, Code, Hash, Timestamp, cbor};
use minicbor::{Decode, Encode};

use crate::apply::Applied;
use crate::calls::PriorCalls;
use crate::ports::log::Snapshot;
use crate::root::StateRoot;
use crate::state::{Economy, Rules, State};
use crate::verified::Verified;

/// Why replay stops: the log and the rules disagree, and nobody may go on from here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("batch {seq}: {what}; this log was not written by these rules, or it is damaged")]
pub struct Halt {
    /// The batch.
    pub seq: u64,
    /// What disagrees.
    pub what: String,
}

/// A batch to make durable: its records in the same step, then the answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposed {
    /// The batch.
    pub batch: Batch,
    /// What it did.
    pub applied: Applied,
}

/// The economy with its place in the log.
#[derive(Debug, Clone)]
pub struct Sequencer {
    economy: Economy,
    root: StateRoot,
    next_seq: u64,
    epoch: u64,
    time: Timestamp,
    prev: Hash,
    state_root: Hash,
    state_root_seq: u64,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Image {
    #[n(0)]
    genesis: Hash,
    #[n(1)]
    next_seq: u64,
    #[n(2)]
    time: Timestamp,
    #[n(3)]
    prev: Hash,
    #[n(4)]
    state_root: Hash,
    #[n(5)]
    state_root_seq: u64,
    #[n(6)]
    state: State,
    #[n(7)]
    epoch: u64,
    /// Over every row: kept from batch to batch, and computed anew from the rows that were read.
    #[n(8)]
    root: Hash,
}

/// Most bytes of a snapshot: 16 GiB.
const SNAPSHOT_SIZE_MAX: usize = 1 << 34;

impl Sequencer {
    /// Before the first batch.
    ///
    /// # Errors
    /// `ledger.genesis_invalid`.
    pub fn new(genesis: &Genesis) -> Result<Self, Code> {
        Ok(Self {
            economy: Economy::new(genesis)?,
            root: StateRoot::default(),
            next_seq: 0,
            epoch: 0,
            time: genesis.time,
            prev: genesis.hash(),
            state_root: Hash::ZERO,
            state_root_seq: 0,
        })
    }

    /// The economy as of the newest batch.
    pub fn economy(&self) -> &Economy {
        &self.economy
    }

    /// The position that the next batch gets.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The time of the newest batch.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Hash of the newest header, of the genesis file before the first.
    pub fn prev(&self) -> Hash {
        self.prev
    }

    /// Splits off what cannot pay its gas and so never enters the log: `(paid, unpaid)`, both in order.
    ///
    /// A linked chain stays whole: it is paid as a whole or dropped as a whole. One balance pays for as many entries as
    /// it covers, in order, so that a submitter with gas for one cannot fill the log with refusals.
    pub fn drop_unpaid(&self, entries: Vec<Verified>) -> (Vec<Verified>, Vec<Verified>) {
        let (mut paid, mut unpaid) = (Vec::with_capacity(entries.len()), Vec::new());
        let mut left: BTreeMap<Address, Amount> = BTreeMap::new();
        let mut chain = Vec::new();
        let mut entries = entries.into_iter().peekable();
        while let Some(entry) = entries.next() {
            let linked = entry.entry().linked;
            chain.push(entry);
            if linked && entries.peek().is_some() {
                continue;
            }
            match self.left_after(&chain, &left) {
                Some(after) => {
                    left.extend(after);
                    paid.append(&mut chain);
                }
                None => unpaid.append(&mut chain),
            }
        }
        (paid, unpaid)
    }

    /// What the payers of a chain's gas have left after it; `None` when one of them cannot pay.
    fn left_after(&self, chain: &[Verified], before: &BTreeMap<Address, Amount>) -> Option<BTreeMap<Address, Amount>> {
        let mut after = BTreeMap::new();
        for entry in chain {
            let (account, gas) = self.economy.gas(entry)?;
            if gas.is_zero() {
                continue;
            }
            let known = after.get(&account).or_else(|| before.get(&account)).copied();
            let has = known.unwrap_or_else(|| self.economy.available(&account));
            after.insert(account, has.checked_sub(gas)?);
        }
        Some(after)
    }

    /// Applies `entries` at `now` (or just after the batch before, if the clock fell back) and builds the batch.
    ///
    /// The state is ahead of the log from here on: when the batch cannot be made durable, drop this sequencer and
    /// replay the log.
    ///
    /// # Panics
    /// With more than [`BATCH_ENTRIES_MAX`] entries or more than [`agora_types::batch::BATCH_BODY_MAX`] bytes: the
    /// caller counts.
    pub fn propose(&mut self, now: Timestamp, entries: Vec<Verified>, prior: &PriorCalls) -> Proposed {
        assert!(entries.len() <= BATCH_ENTRIES_MAX, "the caller bounds a batch");
        let time = now.max(self.time.plus_nanos(1));
        let applied = self.economy.apply(self.next_seq, time, &entries, prior);
        let entries: Vec<Entry> = entries.into_iter().map(Verified::into_entry).collect();
        let body = Body { entries, outcomes: applied.outcomes.clone() }.to_bytes();
        assert!(body.len() <= agora_types::batch::BATCH_BODY_MAX, "the caller bounds a batch");
        let header = self.header(time, &body, applied.outcomes.len());
        self.advance(&header);
        Proposed { batch: Batch { header, body }, applied }
    }

    /// The header of a batch that was just applied. The state root in it is that of earlier batches.
    fn header(&self, time: Timestamp, body: &[u8], count: usize) -> BatchHeader {
        let number = |size: usize| u32::try_from(size).expect("a batch is bounded");
        let receipts = &self.economy.state.receipts;
        BatchHeader {
            version: BATCH_VERSION,
            kind: 0,
            seq: self.next_seq,
            epoch: self.epoch,
            time,
            prev: self.prev,
            body_hash: Hash::sha256(body),
            count: number(count),
            body_size: number(body.len()),
            state_root: self.state_root,
            state_root_seq: self.state_root_seq,
            receipts_size: receipts.size(),
            receipts_root: receipts.root(),
        }
    }

    fn advance(&mut self, header: &BatchHeader) {
        self.next_seq += 1;
        self.time = header.time;
        self.prev = header.hash();
        if self.next_seq.is_multiple_of(u64::from(self.economy.rules.parameters.state_root_interval)) {
            self.state_root = self.root_now();
            self.state_root_seq = self.next_seq;
        }
    }

    /// Replays the next batch of a log: signatures, chain, outcomes and roots must all be what is written.
    ///
    /// # Errors
    /// [`Halt`]; the state is then unknown and this sequencer must be dropped.
    pub fn replay(&mut self, batch: &Batch, prior: &PriorCalls) -> Result<Applied, Halt> {
        self.replay_with(Verified::check, batch, prior)
    }

    /// The same for a node's own log at start: everything but the wallet signatures, which it checked before it wrote
    /// them. The hash chain still shows every changed byte to whoever knows the head's hash.
    ///
    /// # Errors
    /// As [`Sequencer::replay`].
    pub fn replay_own(&mut self, batch: &Batch, prior: &PriorCalls) -> Result<Applied, Halt> {
        self.replay_with(Verified::from_own_log, batch, prior)
    }

    fn replay_with(
        &mut self,
        read: fn(&Network, Entry) -> Result<Verified, Code>,
        batch: &Batch,
        prior: &PriorCalls,
    ) -> Result<Applied, Halt> {
        let header = &batch.header;
        let seq = self.next_seq;
        let halt = |what: &str| Halt { seq, what: what.to_owned() };
        let body = batch.open().map_err(|error| halt(&error.to_string()))?;
        if header.seq != seq || header.prev != self.prev {
            return Err(halt("it does not follow the batch before"));
        }
        if header.time <= self.time {
            return Err(halt("its time does not rise"));
        }
        if header.epoch < self.epoch {
            return Err(halt("an older writer wrote it"));
        }
        let network = self.economy.rules.network;
        let mut entries = Vec::with_capacity(body.entries.len());
        for entry in body.entries {
            entries.push(read(&network, entry).map_err(|code| halt(&format!("an entry fails: {code}")))?);
        }
        self.epoch = header.epoch;
        let applied = self.economy.apply(seq, header.time, &entries, prior);
        if applied.outcomes != body.outcomes {
            return Err(halt("outcomes differ"));
        }
        if self.header(header.time, &batch.body, entries.len()) != *header {
            return Err(halt("the header states other roots"));
        }
        self.advance(header);
        Ok(applied)
    }

    /// The whole state as bytes. Brings the state root up to date, which changes no header.
    pub fn snapshot(&mut self, genesis: &Genesis) -> Snapshot {
        let image = Image {
            genesis: genesis.hash(),
            next_seq: self.next_seq,
            epoch: self.epoch,
            time: self.time,
            prev: self.prev,
            state_root: self.state_root,
            state_root_seq: self.state_root_seq,
            root: self.root_now(),
            state: std::mem::take(&mut self.economy.state),
        };
        let bytes = cbor::encode(&image);
        self.economy.state = image.state;
        Snapshot { next_seq: self.next_seq, hash: Hash::sha256(&bytes), bytes }
    }

    /// The state root as of the newest batch; headers carry it every `state_root_interval` batches.
    pub fn root_now(&mut self) -> Hash {
        self.economy.state.update_root(&mut self.root);
        self.root.root()
    }

    /// From a snapshot of the same network. Never panics, whatever the bytes are.
    ///
    /// # Errors
    /// [`Halt`] for bytes that are no snapshot, of another network, break an invariant or have another root.
    pub fn from_snapshot(genesis: &Genesis, snapshot: &Snapshot) -> Result<Self, Halt> {
        let halt = |what: String| Halt { seq: snapshot.next_seq, what };
        if snapshot.hash != Hash::sha256(&snapshot.bytes) {
            return Err(halt("the snapshot is damaged".to_owned()));
        }
        let image: Image = cbor::decode("agora/snapshot/v1", SNAPSHOT_SIZE_MAX, &snapshot.bytes)
            .map_err(|error| halt(format!("no snapshot: {error}")))?;
        if image.genesis != genesis.hash() || image.next_seq != snapshot.next_seq {
            return Err(halt("the snapshot is of another network or place".to_owned()));
        }
        let economy = Economy { rules: Rules::of(genesis), state: image.state };
        if let Some(rule) = economy.broken_invariant() {
            return Err(halt(format!("the snapshot breaks a rule: {rule}")));
        }
        let mut sequencer = Self {
            economy,
            root: StateRoot::default(),
            next_seq: image.next_seq,
            epoch: image.epoch,
            time: image.time,
            prev: image.prev,
            state_root: image.state_root,
            state_root_seq: image.state_root_seq,
        };
        if sequencer.root_now() != image.root {
            return Err(halt("the snapshot's rows do not lead to its root".to_owned()));
        }
        Ok(sequencer)
    }
}
