//! Find models and ask what a call would cost. Grant: `[grants.market]`.

use crate::Error;
use crate::bindings::agora::agent::market;

pub use market::{Offer, Quote, Role, Terms};

/// Listings that fit the words, best first; at most 64.
///
/// # Errors
/// The query is over 4 KiB.
pub fn find(query: &str, limit: u32) -> Result<Vec<Offer>, Error> {
    market::find(query, limit)
}

/// Asks the listing's host for a quote: its promise for one call, good for 30 seconds at most.
///
/// # Errors
/// The listing is unknown or its host refuses; the conversation is over 32 KiB.
pub fn quote(listing: &str, question: &Question) -> Result<Quote, Error> {
    market::ask_quote(listing, &question.0)
}

/// A conversation and how it is to be answered. Greedy and at most 256 tokens, if nothing else is said.
#[derive(Debug, Clone)]
pub struct Question(market::Ask);

impl Question {
    /// Asks as a user.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let messages = vec![market::Message { role: Role::User, text: text.to_owned() }];
        let sampling = market::Sampling { temperature_milli: 0, top_k: 0, top_p_milli: 1_000, seed: 0 };
        Self(market::Ask { messages, sampling, output_max: 256, stops: Vec::new() })
    }

    /// Sets the scene, before everything else.
    #[must_use]
    pub fn system(mut self, text: &str) -> Self {
        self.0.messages.insert(0, market::Message { role: Role::System, text: text.to_owned() });
        self
    }

    /// Adds a message at the end.
    #[must_use]
    pub fn then(mut self, role: Role, text: &str) -> Self {
        self.0.messages.push(market::Message { role, text: text.to_owned() });
        self
    }

    /// Most tokens of the answer.
    #[must_use]
    pub fn output_max(mut self, tokens: u64) -> Self {
        self.0.output_max = tokens;
        self
    }

    /// Samples, with a temperature in thousandths and a seed.
    #[must_use]
    pub fn sampled(mut self, temperature_milli: u32, seed: u64) -> Self {
        self.0.sampling.temperature_milli = temperature_milli;
        self.0.sampling.seed = seed;
        self
    }

    /// Ends the answer before this text.
    #[must_use]
    pub fn stop(mut self, text: &str) -> Self {
        self.0.stops.push(text.to_owned());
        self
    }
}
