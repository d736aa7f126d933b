//! x402 version 2 without I/O: what facilitator, seller and buyer say to each other, and every rule that needs no world.
//!
//! Read in this order: [`wire`] holds the documents, [`header`] their form in HTTP, [`scheme`] what a payer signs,
//! [`check`] what a facilitator asks before it touches the ledger, [`seller`] and [`buyer`] the rules of both ends,
//! [`extensions`] what rides along. Time, randomness and keys come in as arguments. Digests and signatures are those of
//! `agora-types`; nothing here computes its own.

pub mod buyer;
pub mod check;
pub mod extensions;
pub mod header;
pub mod probe;
mod reason;
pub mod scheme;
pub mod seller;
pub mod signature;
pub mod strict;
pub mod wire;

pub use reason::{Reason, Refusal, UnknownReason};
