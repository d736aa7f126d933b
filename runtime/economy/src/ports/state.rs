//! Small durable state beside the ledger: the seller's journal, agents' keys and outboxes, as ordered tables of bytes.

use std::future::Future;
use std::pin::Pin;

use agora_types::Hash;

use super::log::{LogFault, Row};

/// Longest key, bytes.
pub const KEY_MAX: usize = 512;
/// Longest value, bytes.
pub const VALUE_MAX: usize = 1 << 20;
/// Most writes of one commit.
pub const WRITES_MAX: usize = 4_096;
/// Most bytes of keys and values in one commit.
pub const COMMIT_BYTES_MAX: usize = 16 << 20;

/// The tables. The numbers are table numbers on disk; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The seller's journal: a head row for each sale, and its chunks.
    Seller = 0,
    /// The buyer's journal: open calls, vouchers signed, by payer ‖ call id.
    Buyer = 1,
    /// Agents' key-value state, by agent name ‖ 0 ‖ key.
    AgentState = 2,
    /// Memoised host calls of agents, by agent name ‖ 0 ‖ event id ‖ call number.
    AgentCalls = 3,
    /// Agents' events: waiting and done, by agent name ‖ 0 ‖ event id.
    AgentEvents = 4,
    /// Deployed agents, by name.
    Agents = 5,
    /// Signed listings of this node, by `l` ‖ id.
    Catalog = 6,
    /// Agents' log lines, by agent name ‖ 0 ‖ number.
    AgentLogs = 7,
    /// What opens the commitments of a buyer's receipts, by payer ‖ call id. Kept until somebody removes it.
    Openings = 8,
    /// Sellers that a facilitator knows, by the SHA-256 of their tokens.
    Sellers = 9,
    /// What a till remembers: channels by `c` ‖ id, answered payments by `p` ‖ payer ‖ key, fees that are on their way by
    /// `f` ‖ API key ‖ datanet ‖ root.
    Till = 10,
    /// API keys of the gateway, by the SHA-256 of the key.
    ApiKeys = 11,
    /// What was signed for answers over HTTP: purchases by `p` ‖ payer ‖ id, channels by `c` ‖ payer ‖ channel.
    Spent = 12,
    /// What a host measures: jobs by `q` ‖ payer ‖ call (those of earlier releases by `j`), their places in line by `w` ‖ spec
    /// ‖ index of the provisional receipt, evidence by `e` ‖ payer ‖ call, which other call's evidence pays for one by `m` ‖
    /// payer ‖ call, earnings by `t` ‖ account, the published ones by `p` ‖ epoch ‖ number, how far it is by `n`, and the
    /// call at hand by `h`.
    Attribution = 13,
    /// What a keeper has of datanets, by a letter for the kind of row ‖ the datanet's id ‖ the row's own key.
    Datanets = 14,
}

/// One change of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The table.
    pub table: Table,
    /// At most 512 bytes.
    pub key: Vec<u8>,
    /// At most 1 MiB; `None` removes the key.
    pub value: Option<Vec<u8>>,
}

/// Whether `writes` are within the bounds of this port. The same rule for every store.
///
/// # Errors
/// `TooLarge`.
pub fn check_commit(writes: &[Write]) -> Result<(), LogFault> {
    let too_large = |what, limit| Err(LogFault::TooLarge { what, limit });
    if writes.len() > WRITES_MAX {
        return too_large("the number of writes of a commit", WRITES_MAX);
    }
    let mut bytes = 0;
    for write in writes {
        let size = write.value.as_ref().map_or(0, Vec::len);
        if write.key.len() > KEY_MAX {
            return too_large("a key", KEY_MAX);
        }
        if size > VALUE_MAX {
            return too_large("a value", VALUE_MAX);
        }
        bytes += write.key.len() + size;
    }
    if bytes > COMMIT_BYTES_MAX {
        return too_large("the bytes of a commit", COMMIT_BYTES_MAX);
    }
    Ok(())
}

/// Told once, from any thread, whether writes became durable; dropped untold where nobody knows.
pub type Done = Box<dyn FnOnce(Result<(), LogFault>) + Send>;

/// Durable tables. Writes of one call become durable together, before the call returns; callable from many threads.
pub trait StateStore: Send + Sync {
    /// Makes all `writes` durable in one step.
    fn commit(&self, writes: &[Write]) -> Result<(), LogFault>;

    /// The same for callers that must not block: `done` is told what `commit` would say.
    ///
    /// # Errors
    /// Both are given back, and nothing was begun, where this would have to wait: then a thread that may block commits.
    fn begin(&self, writes: Vec<Write>, done: Done) -> Result<(), (Vec<Write>, Done)> {
        Err((writes, done))
    }

    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault>;

    /// Keys that begin with `prefix`, with their values, in order, at most `limit`.
    fn list(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Row>, LogFault>;
}

/// An answer that is still on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, LogFault>> + Send + 'a>>;

/// [`StateStore`] for callers that must not block: a node moves the work to another thread, a simulation does it here.
pub trait Journal: Send + Sync {
    /// Makes all `writes` durable in one step, before it answers.
    fn commit(&self, writes: Vec<Write>) -> Pending<'_, ()>;

    /// The value of a key.
    fn get(&self, table: Table, key: Vec<u8>) -> Pending<'_, Option<Vec<u8>>>;

    /// Keys that begin with `prefix`, with their values, in order, at most `limit`.
    fn list(&self, table: Table, prefix: Vec<u8>, limit: usize) -> Pending<'_, Vec<Row>>;
}

/// Does the work where it is called.
impl<S: StateStore> Journal for S {
    fn commit(&self, writes: Vec<Write>) -> Pending<'_, ()> {
        Box::pin(async move { StateStore::commit(self, &writes) })
    }

    fn get(&self, table: Table, key: Vec<u8>) -> Pending<'_, Option<Vec<u8>>> {
        Box::pin(async move { StateStore::get(self, table, &key) })
    }

    fn list(&self, table: Table, prefix: Vec<u8>, limit: usize) -> Pending<'_, Vec<Row>> {
        Box::pin(async move { StateStore::list(self, table, &prefix, limit) })
    }
}

/// Bytes by their SHA-256: components, requests, documents. Durable when `put` returns; callable from many threads.
pub trait Blobs: Send + Sync {
    /// Keeps bytes, at most [`BLOB_SIZE_MAX`]; keeping them again changes nothing.
    fn put(&self, bytes: &[u8]) -> Result<Hash, LogFault>;

    /// The bytes of a hash, checked against it.
    fn get(&self, hash: &Hash) -> Result<Option<Vec<u8>>, LogFault>;
}

/// Largest blob, bytes.
pub const BLOB_SIZE_MAX: usize = 64 << 20;
