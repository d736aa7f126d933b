//! What a buyer asks a model: the bytes that quote and receipt commit to.

use agora_types::{Canonical, Code};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::EngineError;

/// Most bytes of an encoded request.
pub const REQUEST_SIZE_MAX: usize = 32 * 1024;
/// Most messages.
pub const MESSAGES_MAX: usize = 64;
/// Most stop strings, and the longest in bytes.
pub const STOPS_MAX: usize = 8;
/// Longest stop string in bytes.
const STOP_SIZE_MAX: usize = 64;
/// Highest temperature, in thousandths.
const TEMPERATURE_MILLI_MAX: u32 = 10_000;

/// Who speaks. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sets the scene.
    #[n(0)]
    System,
    /// Asks.
    #[n(1)]
    User,
    /// Answers.
    #[n(2)]
    Assistant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Message {
    /// Who speaks.
    #[n(0)]
    pub role: Role,
    /// What is said.
    #[n(1)]
    pub text: String,
}

/// How tokens are chosen. Temperature 0 is greedy; then the rest does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Sampling {
    /// Thousandths, at most 10,000; 0 is greedy.
    #[n(0)]
    pub temperature_milli: u32,
    /// 0: all tokens.
    #[n(1)]
    pub top_k: u32,
    /// Thousandths, 1 to 1,000; 1,000: all tokens.
    #[n(2)]
    pub top_p_milli: u32,
    /// The same seed, request and model give the same answer.
    #[n(3)]
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature_milli: 0, top_k: 0, top_p_milli: 1_000, seed: 0 }
    }
}

/// A request, rendered by the model's own chat template.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Request {
    /// 1 to 64 turns; the last one is not the assistant's.
    #[n(0)]
    pub messages: Vec<Message>,
    /// How tokens are chosen.
    #[n(1)]
    pub sampling: Sampling,
    /// Most tokens of the answer, above zero.
    #[n(2)]
    pub output_max: u64,
    /// The answer ends before the first of these, at most 8 of 1 to 64 bytes.
    #[n(3)]
    pub stops: Vec<String>,
}

impl Canonical for Request {
    const TAG: &'static str = "agora/inference-request/v1";
    const SIZE_MAX: usize = REQUEST_SIZE_MAX;
}

impl Request {
    /// One question, answered greedily.
    pub fn ask(text: impl Into<String>, output_max: u64) -> Self {
        let messages = vec![Message { role: Role::User, text: text.into() }];
        Self { messages, sampling: Sampling::default(), output_max, stops: Vec::new() }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// `engine.bad_request`, saying which bound.
    pub fn check(&self) -> Result<(), EngineError> {
        let bad = |what: &str| Err(EngineError::new(Code::EngineBadRequest, what));
        if !(1..=MESSAGES_MAX).contains(&self.messages.len()) {
            return bad("a request has 1 to 64 messages");
        }
        if self.messages.last().is_some_and(|message| message.role == Role::Assistant) {
            return bad("the last message is the assistant's; nothing is asked");
        }
        if self.sampling.temperature_milli > TEMPERATURE_MILLI_MAX {
            return bad("the temperature is at most 10");
        }
        if !(1..=1_000).contains(&self.sampling.top_p_milli) {
            return bad("top-p is above 0 and at most 1");
        }
        if self.output_max == 0 {
            return bad("ask for at least one token");
        }
        if self.stops.len() > STOPS_MAX || self.stops.iter().any(|stop| !(1..=STOP_SIZE_MAX).contains(&stop.len())) {
            return bad("at most 8 stop strings of 1 to 64 bytes");
        }
        if self.to_bytes().len() > REQUEST_SIZE_MAX {
            return bad("a request has at most 32768 bytes");
        }
        Ok(())
    }
}
