//! The ports: what the economy asks of the world, as traits in our own types. Backends hang behind them.

pub mod bus;
pub mod log;
pub mod state;
