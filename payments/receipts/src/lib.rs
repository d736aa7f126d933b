//! Receipts: the signed statement of a call, its place in the public log, and its offline verification.

mod check;
pub mod receipt;
mod text;

pub use receipt::{Attribution, Decoding, Kind, Leg, Prices, Receipt, Role, ShareTotal, State, Usage};
