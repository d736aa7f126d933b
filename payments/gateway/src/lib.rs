//! The public HTTP port of a node: an x402 facilitator, a paywall for any route, models behind OpenAI's API, agents that
//! sell their work, and datanets that take contributions.
//!
//! It knows HTTP and nothing of money: what is paid, reserved and settled stands behind the traits of
//! `agora_economy::ports::pay`, what is done with data behind those of `agora_economy::ports::datanets`. Start at [`PublicPort::open`] (`door.rs`); [`Paywall`] (`paywall.rs`) wraps routes of
//! any actix-web application. Every reader here is a stranger, so everything has a bound ([`Bounds`]).
//!
//! What touches money (admissions, settlements, openings) runs on the runtime that opened the port and is never dropped
//! half way, whatever becomes of the connection that asked for it.

mod admission;
mod agents;
mod body;
mod bounds;
mod clients;
mod datanets;
mod door;
mod errors;
mod facilitator;
mod openai;
mod origin;
mod paywall;
#[doc(hidden)]
pub mod probe;
mod runtime;

pub use bounds::Bounds;
pub use door::{OpenError, PublicPort, Routes, Services, Tls};
pub use origin::{Origin, OriginError};
pub use paywall::{Meter, Paywall, PaywallOptions, PaywallService};
