//! The supervised actors of a node. They know ports only; programs join them to backends.

pub mod call;
pub mod clock;
mod error;
pub mod journal;
pub mod ledger;
pub mod log;
pub mod purchase;

pub use error::CallError;
