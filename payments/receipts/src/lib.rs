//! Receipts: the signed statement of a call, its place in the public log, and its offline verification.

pub mod receipt;

pub use receipt::{Attribution, Decoding, Kind, Leg, Prices, Receipt, Role, ShareTotal, State, Usage};
