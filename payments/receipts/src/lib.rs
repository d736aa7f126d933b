//! Receipts: the signed statement of a call, its place in the public log, and its offline verification.

mod check;
pub mod receipt;
mod text;

pub use agora_types::{Prices, Usage};
pub use receipt::{Attribution, Decoding, Kind, Leg, Receipt, Role, ShareTotal, State};
