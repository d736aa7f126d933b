//! The supervised actors of a node. They know ports only; programs join them to backends.

pub mod clock;
pub mod ledger;
