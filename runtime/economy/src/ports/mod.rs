//! The ports: what the economy asks of the world, as traits in our own types. Backends hang behind them;
//! [`memory`] keeps log and state in memory, for simulation and tests.

pub mod attribution;
pub mod bus;
pub mod datanets;
pub mod http;
pub mod ledger;
pub mod log;
pub mod memory;
pub mod pay;
pub mod state;
pub mod tiles;
