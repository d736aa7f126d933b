//! The supervised actors of a node. They know ports only; programs join them to backends.

pub mod agent;
mod ask;
pub mod call;
pub mod clock;
pub mod datanets;
pub mod directory;
mod error;
pub mod fetch;
pub mod host;
pub mod journal;
pub mod ledger;
pub mod log;
pub mod node;
pub mod pay;
pub mod purchase;

pub use error::CallError;
