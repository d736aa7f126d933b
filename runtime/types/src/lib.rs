//! The words every part of Agora shares: amounts, addresses, ids, time, hashes, signatures, commands and their bytes.
//!
//! Nothing here has a clock, a disk, a socket or a source of randomness; every type is checked where it is made, and
//! every stored or signed form is deterministic CBOR (RFC 8949 section 4.2) or an EIP-712 digest. The CDDL of each
//! kind stands in `cddl/`, its golden bytes in `tests/golden.rs`.

mod amount;
pub mod authorization;
pub mod batch;
mod bytes;
pub mod cbor;
pub mod channel;
pub mod code;
pub mod command;
mod earnings;
pub mod eip712;
pub mod genesis;
mod hasher;
pub mod key;
mod kind;
pub mod merkle;
mod sample;
mod signed;
pub mod table;
mod time;
mod usage;

pub use amount::{Amount, AmountError, CAP, DECIMALS};
pub use bytes::{Address, CallId, ChannelId, CommandId, DatanetId, Hash, HashStream, HexError, ListingId, QuoteId};
pub use cbor::Canonical;
pub use code::{Code, Rejection};
pub use earnings::Earned;
pub use hasher::Hasher;
pub use kind::ContributionKind;
pub use sample::{SAMPLE_MAX, SampledOf};
pub use signed::{Signed, SignedError};
pub use time::Timestamp;
pub use usage::{Prices, Usage};
