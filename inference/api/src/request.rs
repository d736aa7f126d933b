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
/// The repetition penalty that changes nothing, in thousandths.
const REPETITION_MILLI_NONE: u32 = 1_000;
/// Highest repetition penalty, in thousandths.
const REPETITION_MILLI_MAX: u32 = 2_000;
/// Most bytes of a schema.
pub const SCHEMA_SIZE_MAX: usize = 8 * 1024;
/// Fewest hidden tokens that can hold a thought: one, and its end.
pub const HIDDEN_LEAST: u64 = 2;
/// Most alternatives whose probabilities are told beside each token.
pub const LOGPROBS_MAX: u32 = 20;

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

/// How tokens are chosen. Temperature 0 is greedy; then only the repetition penalty matters.
///
/// What came later is left out of the bytes where it changes nothing: an older request keeps its bytes and its hash, and
/// no request has two forms.
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
    /// Thousandths, at most 1,000, of the likeliest token's probability: less likely ones are left out. 0: all tokens.
    #[cbor(n(4), skip_if = "is_zero")]
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_p_milli: u32,
    /// Thousandths, 1,000 to 2,000: how much less likely a token becomes that stands among the last 256 of prompt and
    /// answer. A positive logit is divided by it, a negative one multiplied. 1,000: not at all.
    #[cbor(n(5), with = "penalty", has_nil)]
    #[serde(default = "penalty::none", skip_serializing_if = "penalty::is_nil")]
    pub repetition_milli: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde and minicbor call it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// A repetition penalty, left out where it is none.
mod penalty {
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    use super::REPETITION_MILLI_NONE;

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "as minicbor calls it")]
    pub(super) fn encode<C, W: Write>(
        milli: &u32,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        encoder.u32(*milli).map(drop)
    }

    pub(super) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<u32, DecodeError> {
        decoder.u32()
    }

    #[allow(clippy::unnecessary_wraps, reason = "as minicbor calls it")]
    pub(super) fn nil() -> Option<u32> {
        Some(none())
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "as minicbor and serde call it")]
    pub(super) fn is_nil(milli: &u32) -> bool {
        *milli == none()
    }

    pub(super) fn none() -> u32 {
        REPETITION_MILLI_NONE
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature_milli: 0,
            top_k: 0,
            top_p_milli: 1_000,
            seed: 0,
            min_p_milli: 0,
            repetition_milli: REPETITION_MILLI_NONE,
        }
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
    /// A JSON schema of at most 8,192 bytes, an object: the answer is one JSON document of it, unless `output_max` or a stop
    /// string cuts it. The engine says which schemas it can serve.
    #[n(4)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<String>,
    /// Tell the probability of each token, and of this many of the likeliest at its place, at most 20.
    #[n(5)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<u32>,
    /// Longest wait for the answer to begin, in milliseconds; then `engine.busy`, and nothing is owed. `None`: as long as
    /// the engine allows.
    #[n(6)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_max_ms: Option<u64>,
    /// Most tokens that the model may think with before it answers; they are billed as hidden and not shown. A model
    /// that can think is asked to from two on, and made to answer when they are used up. 0: what it thinks, if its
    /// template lets it, is a part of the answer.
    #[cbor(n(7), skip_if = "is_none")]
    #[serde(default, skip_serializing_if = "is_none")]
    pub hidden_max: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde and minicbor call it")]
fn is_none(tokens: &u64) -> bool {
    *tokens == 0
}

impl Canonical for Request {
    const TAG: &'static str = "agora/inference-request/v1";
    const SIZE_MAX: usize = REQUEST_SIZE_MAX;
}

impl Request {
    /// One question, answered greedily.
    pub fn ask(text: impl Into<String>, output_max: u64) -> Self {
        let messages = vec![Message { role: Role::User, text: text.into() }];
        Self {
            messages,
            sampling: Sampling::default(),
            output_max,
            stops: Vec::new(),
            schema: None,
            logprobs: None,
            wait_max_ms: None,
            hidden_max: 0,
        }
    }

    /// Whether the model is asked to think first. A schema is followed from the first token on.
    pub fn thinks(&self) -> bool {
        self.hidden_max >= HIDDEN_LEAST && self.schema.is_none()
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
        if self.sampling.min_p_milli > 1_000 {
            return bad("min-p is at most 1");
        }
        if !(REPETITION_MILLI_NONE..=REPETITION_MILLI_MAX).contains(&self.sampling.repetition_milli) {
            return bad("the repetition penalty is 1 to 2");
        }
        if self.output_max == 0 {
            return bad("ask for at least one token");
        }
        if self.stops.len() > STOPS_MAX || self.stops.iter().any(|stop| !(1..=STOP_SIZE_MAX).contains(&stop.len())) {
            return bad("at most 8 stop strings of 1 to 64 bytes");
        }
        if self.schema.as_ref().is_some_and(|schema| !(1..=SCHEMA_SIZE_MAX).contains(&schema.len())) {
            return bad("a schema has 1 to 8192 bytes");
        }
        if self.logprobs.is_some_and(|alternatives| alternatives > LOGPROBS_MAX) {
            return bad("probabilities are told of at most 20 alternatives");
        }
        if self.to_bytes().len() > REQUEST_SIZE_MAX {
            return bad("a request has at most 32768 bytes");
        }
        Ok(())
    }
}
