//! The ledger's log: hash-chained batches, the records that go with them, and snapshots.

use agora_types::batch::{BATCH_BODY_MAX, BATCH_ENTRIES_MAX, Batch};
use agora_types::{Address, CallId, Code, Hash};

/// Most records that go with one batch.
pub const RECORDS_MAX: usize = 4 * BATCH_ENTRIES_MAX;
/// Longest key of a record, bytes.
pub const RECORD_KEY_MAX: usize = 64;
/// Longest value of a record, bytes.
pub const RECORD_VALUE_MAX: usize = 8 * 1024;
/// Largest snapshot, bytes.
pub const SNAPSHOT_MAX: usize = 1 << 30;
/// Most bytes that one read of batches gathers before it stops early (one batch always comes).
pub const READ_BYTES_MAX: usize = 32 << 20;
/// Most rows that one read of an index returns.
pub const READ_ROWS_MAX: usize = 65_536;

/// Which permanent index a [`Record`] belongs to. The numbers are table numbers on disk; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Index {
    /// Key: payer ‖ call id (36 bytes). Value: the canonical call record.
    Call = 0,
    /// Key: receipt index (8 bytes, big-endian). Value: the receipt leaf.
    Receipt = 1,
    /// Key: payer ‖ nonce (52 bytes). Value: the canonical payment record of a single payment that was posted.
    Payment = 2,
}

impl Index {
    /// Every index.
    pub const ALL: [Self; 3] = [Self::Call, Self::Receipt, Self::Payment];
}

/// A value that a batch adds to a permanent index, in the same durable step as the batch. Opaque to the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The index.
    pub index: Index,
    /// At most 64 bytes.
    pub key: Vec<u8>,
    /// At most 8 KiB.
    pub value: Vec<u8>,
}

/// The key of a call in [`Index::Call`].
pub fn call_key(payer: &Address, call: &CallId) -> Vec<u8> {
    [payer.as_bytes().as_slice(), call.as_bytes()].concat()
}

/// The key of a single payment in [`Index::Payment`]; `nonce` is [`Authorization::key`].
///
/// [`Authorization::key`]: agora_types::authorization::Authorization::key
pub fn payment_key(payer: &Address, nonce: &Hash) -> Vec<u8> {
    [payer.as_bytes().as_slice(), nonce.as_bytes()].concat()
}

/// A key and its value.
pub type Row = (Vec<u8>, Vec<u8>);

/// The newest durable batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Its position, from 0.
    pub seq: u64,
    /// The hash of its header.
    pub hash: Hash,
}

/// State at a position, written now and then so that a start need not replay everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Number of batches it covers: the next batch to replay.
    pub next_seq: u64,
    /// SHA-256 over `bytes`; the store checks it.
    pub hash: Hash,
    /// The state, canonical; the store cuts it into chunks.
    pub bytes: Vec<u8>,
}

/// Why a store could not do its work.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogFault {
    /// Somebody else appended: read the head and stop writing.
    #[error("the log is at {found}, not at {expected}: another writer appended")]
    Fenced {
        /// What the caller believed.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// What is on disk is not what was written.
    #[error("the store is damaged: {what}")]
    Damaged {
        /// Which part, and what to do.
        what: String,
    },
    /// The disk or the operating system failed; after a failed append nobody knows whether it happened: stop and open
    /// again.
    #[error("the store failed while it {doing}: {reason}")]
    Failed {
        /// What it was doing.
        doing: &'static str,
        /// The system's words.
        reason: String,
    },
    /// Another process holds the data folder.
    #[error("the data folder is in use by another process")]
    Locked,
    /// Over a bound of this port.
    #[error("{what} is over its limit of {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
}

impl LogFault {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Fenced { .. } => Code::StoreFenced,
            Self::Damaged { .. } => Code::StoreDamaged,
            Self::Failed { .. } => Code::StoreFailed,
            Self::Locked => Code::StoreLocked,
            Self::TooLarge { .. } => Code::StoreTooLarge,
        }
    }
}

/// Whether `batch` and `records` may follow `head`: place, chain, body and bounds. The same rule for every store.
///
/// # Errors
/// `Fenced` when the log is at another place or has another head than the batch chains to, `TooLarge` over a bound,
/// `Damaged` for a body that is not the one that its header names.
pub fn check_append(
    genesis: &Hash,
    head: Option<&Head>,
    expected_seq: u64,
    batch: &Batch,
    records: &[Record],
) -> Result<(), LogFault> {
    let found = head.map_or(0, |head| head.seq + 1);
    if expected_seq != found {
        return Err(LogFault::Fenced { expected: expected_seq, found });
    }
    let too_large = |what, limit| Err(LogFault::TooLarge { what, limit });
    if batch.body.len() > BATCH_BODY_MAX {
        return too_large("a batch body", BATCH_BODY_MAX);
    }
    if records.len() > RECORDS_MAX {
        return too_large("the number of records of a batch", RECORDS_MAX);
    }
    if records.iter().any(|record| record.key.len() > RECORD_KEY_MAX) {
        return too_large("a record's key", RECORD_KEY_MAX);
    }
    if records.iter().any(|record| record.value.len() > RECORD_VALUE_MAX) {
        return too_large("a record's value", RECORD_VALUE_MAX);
    }
    let header = &batch.header;
    if header.seq != expected_seq || header.prev != head.map_or(*genesis, |head| head.hash) {
        return Err(LogFault::Fenced { expected: expected_seq, found });
    }
    if header.body_size as usize != batch.body.len() || header.body_hash != Hash::sha256(&batch.body) {
        let what = format!("the body of batch {expected_seq} is not the one its header names: stop and replay the log");
        return Err(LogFault::Damaged { what });
    }
    Ok(())
}

/// The durable log. Owned by one thread; every call blocks until it is done.
///
/// Durable when `append` returns `Ok`. On `Err` other than `Fenced` and `TooLarge` the append may or may not have
/// happened: the caller stops, opens the store again and reads its head. Nobody retries inside.
pub trait LogStore: Send {
    /// Appends `batch`, which must have position `expected_seq` and chain to the head, with its records, in one step.
    fn append(&mut self, expected_seq: u64, batch: &Batch, records: &[Record]) -> Result<(), LogFault>;

    /// The newest durable batch; `None` in an empty log.
    fn head(&self) -> Result<Option<Head>, LogFault>;

    /// At most `limit` batches from position `seq` on, in order, with their checksums checked; fewer once they have
    /// [`READ_BYTES_MAX`] bytes, none only past the head.
    fn read_from(&self, seq: u64, limit: usize) -> Result<Vec<Batch>, LogFault>;

    /// A value of a permanent index.
    fn record(&self, index: Index, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault>;

    /// Keys and values of an index from `from` (inclusive) on, in order of keys, at most `limit` and at
    /// most [`READ_ROWS_MAX`].
    fn records_from(&self, index: Index, from: &[u8], limit: usize) -> Result<Vec<Row>, LogFault>;

    /// Keeps a snapshot durably; the two newest are kept.
    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), LogFault>;

    /// The newest snapshot that is whole; a damaged one is skipped.
    fn newest_snapshot(&self) -> Result<Option<Snapshot>, LogFault>;
}
