//! The engine port: requests, and their answers as bounded streams of tokens that end when they are dropped.
//!
//! Everything here is a word of the port; engines hang behind [`Engine`]. Nothing that is counted in money is a float:
//! sampling settings are thousandths, as the receipt states them.

mod answer;
mod draws;
mod engine;
#[cfg(feature = "fake")]
mod fake;
mod request;

pub use answer::Answer;
pub use draws::{Draws, SplitMix64};
pub use engine::{
    AdapterInfo, BaseInfo, Ending, Engine, EngineError, Job, LIKELIHOOD_TOKEN_MAX, Likelihood, Likelihoods, Pending,
    Piece, Readiness, TokenStream,
};
#[cfg(feature = "fake")]
pub use fake::FakeEngine;
pub use request::{
    HIDDEN_LEAST, LOGPROBS_MAX, MESSAGES_MAX, Message, REQUEST_SIZE_MAX, Request, Role, SCHEMA_SIZE_MAX, STOPS_MAX,
    Sampling,
};
