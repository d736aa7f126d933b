//! The whole economy as one pure state machine: every command, one `apply`, and the ports to the outside world.
//!
//! A command enters as an [`Entry`](agora_types::batch::Entry), is verified once ([`Verified`]), sequenced into a batch
//! ([`Sequencer`]) and applied ([`Economy::apply`]). Nothing here has a clock, a disk or randomness.

mod apply;
mod calls;
mod channels;
mod earnings;
mod hold;
pub mod ports;
mod registry;
mod root;
mod sequencer;
mod settle;
mod state;
#[cfg(feature = "testkit")]
#[doc(hidden)]
pub mod testkit;
mod verified;

pub use agora_ledger::PendingState;
pub use apply::{Applied, Event};
pub use calls::{
    CallRecord, Finished, OpenCall, PriorCalls, declared_attribution, final_legs, measured_legs,
    provisional_attribution, settle_legs,
};
pub use earnings::Distributor;
pub use hold::{HeldPayment, PaymentRecord};
pub use registry::{CommitRecord, DatanetRecord, KeyRecord, ListingRecord};
pub use root::StateRoot;
pub use sequencer::{Halt, Proposed, Sequencer};
pub use settle::service_legs;
pub use state::{Economy, Rules, State};
pub use verified::Verified;
