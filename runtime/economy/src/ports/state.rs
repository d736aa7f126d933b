//! Small durable state beside the ledger: the seller's journal, agents' keys and outboxes, as ordered tables of bytes.

use super::log::{LogFault, Row};

/// The tables. The numbers are table numbers on disk; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// The seller's journal: accepted and spent amounts by payer ‖ call id.
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
    /// Signed listings and datanet records, by id.
    Catalog = 6,
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

/// Durable tables. Writes of one call become durable together, before the call returns; callable from many threads.
pub trait StateStore: Send + Sync {
    /// Makes all `writes` durable in one step.
    fn commit(&self, writes: &[Write]) -> Result<(), LogFault>;

    /// The value of a key.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault>;

    /// Keys that begin with `prefix`, with their values, in order, at most `limit`.
    fn list(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Row>, LogFault>;
}
