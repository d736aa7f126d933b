//! Answers as stock OpenAI clients parse them.

use agora_economy::ports::pay::{Completion, Ended, Piece};
use agora_inference_api::{Likelihood, Likelihoods};
use agora_types::{CallId, Code};
use serde_json::{Value, json};

use crate::agents::salt_text;
use crate::errors::Failure;

/// Most bytes of an answer in one piece; a model's longest one is far below.
const TEXT_MAX: usize = 4 * 1024 * 1024;
/// Most likelihoods of an answer in one piece.
const LIKELIHOODS_MAX: usize = 100_000;
/// OpenAI's sign for what is as good as impossible.
const LOGPROB_MIN: f64 = -9_999.0;

/// Of which of the two routes an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
}

/// What all pieces of an answer share.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) kind: Kind,
    pub(super) call: CallId,
    pub(super) created_s: u64,
    pub(super) model: String,
    /// End a stream with the token counts.
    pub(super) usage: bool,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) text: String,
    /// Of each token, where the request asks for them.
    pub(super) likelihoods: Vec<Likelihoods>,
    pub(super) ended: Ended,
}

/// Waits for the whole answer.
pub(super) async fn collect(completion: &mut dyn Completion) -> Result<Whole, Failure> {
    let (mut text, mut likelihoods, mut count) = (String::new(), Vec::new(), 0);
    loop {
        match completion.next().await? {
            Piece::Text { text: more, likelihoods: one } => {
                count += one.as_ref().map_or(0, |one| 1 + one.top.len());
                if text.len() + more.len() > TEXT_MAX || count > LIKELIHOODS_MAX {
                    let what = "the answer is too long for one piece; stream it";
                    return Err(Failure::with(500, Code::WireTooLarge, what));
                }
                text.push_str(&more);
                likelihoods.extend(one.map(|one| *one));
            }
            Piece::End(ended) => return Ok(Whole { text, likelihoods, ended: *ended }),
        }
    }
}

impl Shape {
    fn id(&self) -> String {
        let prefix = match self.kind {
            Kind::Chat => "chatcmpl-",
            Kind::Text => "cmpl-",
        };
        format!("{prefix}{}", self.call)
    }

    /// The answer in one piece.
    pub(super) fn whole(&self, whole: &Whole) -> Value {
        let Whole { text, likelihoods, ended } = whole;
        let reason = reason(ended);
        let logprobs = logprobs(likelihoods);
        let (object, choice) = match self.kind {
            Kind::Chat => {
                let message = json!({"role": "assistant", "content": text, "refusal": null});
                (
                    "chat.completion",
                    json!({"index": 0, "message": message, "logprobs": logprobs, "finish_reason": reason}),
                )
            }
            Kind::Text => {
                ("text_completion", json!({"index": 0, "text": text, "logprobs": null, "finish_reason": reason}))
            }
        };
        let mut document = self.document(object, vec![choice]);
        document["usage"] = usage(ended);
        document["agora"] = receipt(ended);
        document
    }

    /// A stream's first chunk: who speaks. `None` where the API has none.
    pub(super) fn first(&self) -> Option<Value> {
        match self.kind {
            Kind::Chat => Some(self.chunk(json!({"role": "assistant", "content": ""}), "", Value::Null, None)),
            Kind::Text => None,
        }
    }

    /// More text.
    pub(super) fn more(&self, text: &str, likelihoods: Option<&Likelihoods>) -> Value {
        self.chunk(json!({"content": text}), text, logprobs(likelihoods), None)
    }

    /// A stream's last chunks. The last one carries the field `agora`: the chunk with the token counts where the client
    /// asked for it, else the one with the reason of the end. A chunk without choices that nobody asked for would break
    /// every program that reads `choices[0]`.
    pub(super) fn last(&self, ended: &Ended) -> Vec<Value> {
        let mut chunks = vec![self.chunk(json!({}), "", Value::Null, Some(reason(ended)))];
        if self.usage {
            let mut counts = self.document(self.chunk_object(), Vec::new());
            counts["usage"] = usage(ended);
            chunks.push(counts);
        }
        if let Some(last) = chunks.last_mut() {
            last["agora"] = receipt(ended);
        }
        chunks
    }

    fn chunk_object(&self) -> &'static str {
        match self.kind {
            Kind::Chat => "chat.completion.chunk",
            Kind::Text => "text_completion",
        }
    }

    fn chunk(&self, delta: Value, text: &str, logprobs: Value, reason: Option<&str>) -> Value {
        let choice = match self.kind {
            Kind::Chat => json!({"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}),
            Kind::Text => json!({"index": 0, "text": text, "logprobs": null, "finish_reason": reason}),
        };
        let mut document = self.document(self.chunk_object(), vec![choice]);
        if self.usage {
            document["usage"] = Value::Null;
        }
        document
    }

    fn document(&self, object: &str, choices: Vec<Value>) -> Value {
        json!({"id": self.id(), "object": object, "created": self.created_s, "model": self.model, "choices": choices})
    }
}

/// Likelihoods of tokens as a choice has them; nothing where there are none.
fn logprobs<'a>(tokens: impl IntoIterator<Item = &'a Likelihoods>) -> Value {
    let content: Vec<Value> = tokens
        .into_iter()
        .map(|token| {
            let mut document = logprob(&token.chosen);
            document["top_logprobs"] = token.top.iter().map(logprob).collect();
            document
        })
        .collect();
    if content.is_empty() { Value::Null } else { json!({"content": content, "refusal": null}) }
}

/// One token: its text as far as it is some, its natural logarithm, its bytes.
fn logprob(likelihood: &Likelihood) -> Value {
    let logprob = match likelihood.nats_micro {
        u32::MAX => LOGPROB_MIN,
        nats_micro => 0.0 - f64::from(nats_micro) / 1e6,
    };
    json!({"token": String::from_utf8_lossy(&likelihood.token), "logprob": logprob, "bytes": likelihood.token})
}

fn reason(ended: &Ended) -> &'static str {
    if ended.is_cut { "length" } else { "stop" }
}

fn usage(ended: &Ended) -> Value {
    let prompt = ended.usage.input.saturating_add(ended.usage.cached);
    let completion = ended.usage.output.saturating_add(ended.usage.hidden);
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt.saturating_add(completion),
        "prompt_tokens_details": {"cached_tokens": ended.usage.cached},
        "completion_tokens_details": {"reasoning_tokens": ended.usage.hidden},
    })
}

fn receipt(ended: &Ended) -> Value {
    let receipt = &ended.receipt;
    let mut document = json!({
        "receipt": receipt.leaf,
        "call": receipt.call,
        "payer": receipt.payer,
        "charge": receipt.charge,
        "salt": salt_text(&receipt.salt),
    });
    if let Some(response) = &ended.response {
        document["paymentResponse"] = json!(response);
    }
    document
}
