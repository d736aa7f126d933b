//! Receipts: the signed statement of a call, its place in the public log, and its offline verification.
//!
//! Read in this order: [`receipt`] is what is signed; [`note`], [`checkpoint`] and [`proof`] are the log's public forms
//! (C2SP); [`envelope`] is the file handed on; [`trust`] is what a reader pins; [`mod@verify`] judges the one by the other.

mod base64;
mod check;
pub mod checkpoint;
pub mod cose;
pub mod envelope;
mod money;
pub mod note;
pub mod proof;
pub mod receipt;
mod text;
pub mod trust;
pub mod verify;

pub use agora_types::{Prices, Usage};
pub use checkpoint::Checkpoint;
pub use envelope::Envelope;
pub use money::governed_parts;
pub use note::{Note, VerifierKey};
pub use proof::LogProof;
pub use receipt::{Attribution, Decoding, Kind, Leg, Receipt, Role, SampledOf, ShareTotal, State};
pub use text::CallText;
pub use trust::{Trust, TrustedNetwork};
pub use verify::{Verdict, verify, verify_json};
