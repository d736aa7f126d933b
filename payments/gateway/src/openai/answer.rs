//! Answers as stock OpenAI clients parse them.

use agora_economy::ports::pay::{Completion, Ended, Piece};
use agora_types::{CallId, Code};
use serde_json::{Value, json};

use crate::agents::salt_text;
use crate::errors::Failure;

/// Most bytes of an answer in one piece; a model's longest one is far below.
const TEXT_MAX: usize = 4 * 1024 * 1024;

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

/// Waits for the whole answer.
pub(super) async fn collect(completion: &mut dyn Completion) -> Result<(String, Ended), Failure> {
    let mut text = String::new();
    loop {
        match completion.next().await? {
            Piece::Text(more) if text.len() + more.len() > TEXT_MAX => {
                return Err(Failure::with(500, Code::WireTooLarge, "the answer is too long for one piece; stream it"));
            }
            Piece::Text(more) => text.push_str(&more),
            Piece::End(ended) => return Ok((text, *ended)),
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
    pub(super) fn whole(&self, text: &str, ended: &Ended) -> Value {
        let reason = reason(ended);
        let (object, choice) = match self.kind {
            Kind::Chat => {
                let message = json!({"role": "assistant", "content": text, "refusal": null});
                ("chat.completion", json!({"index": 0, "message": message, "logprobs": null, "finish_reason": reason}))
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
            Kind::Chat => Some(self.chunk(json!({"role": "assistant", "content": ""}), "", None)),
            Kind::Text => None,
        }
    }

    /// More text.
    pub(super) fn more(&self, text: &str) -> Value {
        self.chunk(json!({"content": text}), text, None)
    }

    /// A stream's last chunks. The last one carries the field `agora`: the chunk with the token counts where the client
    /// asked for it, else the one with the reason of the end. A chunk without choices that nobody asked for would break
    /// every program that reads `choices[0]`.
    pub(super) fn last(&self, ended: &Ended) -> Vec<Value> {
        let mut chunks = vec![self.chunk(json!({}), "", Some(reason(ended)))];
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

    fn chunk(&self, delta: Value, text: &str, reason: Option<&str>) -> Value {
        let choice = match self.kind {
            Kind::Chat => json!({"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}),
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
