//! A request in OpenAI's words, and the engine's request that it stands for.
//!
//! Unknown fields are ignored, as OpenAI's own additions must not break us; fields whose meaning would be lost are
//! refused.

use agora_economy::ports::pay::ModelCard;
use agora_inference_api::{Message, Request, Role, Sampling};
use agora_types::Code;
use serde_json::Value;

use super::answer::Kind;
use super::given::{Given, unsupported, wrong};
use crate::errors::Failure;

/// Tokens of an answer where the client names no number.
const OUTPUT_DEFAULT: u64 = 256;
/// Longest name of a model.
const MODEL_MAX: usize = 128;

/// What was asked.
#[derive(Debug)]
pub(super) struct Ask {
    /// The model's name.
    pub(super) model: String,
    /// Answer with a stream.
    pub(super) stream: bool,
    /// End the stream with the token counts.
    pub(super) usage: bool,
    messages: Vec<Message>,
    sampling: Sampling,
    seed: Option<u64>,
    output_max: Option<u64>,
    stops: Vec<String>,
}

impl Ask {
    /// From a body.
    pub(super) fn read(kind: Kind, body: &[u8]) -> Result<Self, Failure> {
        let given = Given::read(body)?;
        refuse_unsupported(&given)?;
        let model = given.text("model")?.ok_or_else(|| wrong("model", "the name of a model"))?;
        if model.len() > MODEL_MAX {
            return Err(wrong("model", "a name of at most 128 bytes"));
        }
        let messages = match kind {
            Kind::Chat => messages(&given)?,
            Kind::Text => vec![prompt(&given)?],
        };
        let usage = match given.get("stream_options") {
            None => false,
            Some(Value::Object(options)) => options.get("include_usage") == Some(&Value::Bool(true)),
            Some(_) => return Err(wrong("stream_options", "an object")),
        };
        let top_p_milli = given.milli("top_p")?.unwrap_or(1_000);
        if top_p_milli > 1_000 {
            return Err(wrong("top_p", "at most 1"));
        }
        Ok(Self {
            model: model.to_owned(),
            stream: given.truth("stream")?,
            usage,
            messages,
            sampling: Sampling {
                temperature_milli: given.milli("temperature")?.unwrap_or(0),
                top_p_milli: top_p_milli.max(1),
                ..Sampling::default()
            },
            seed: seed(&given)?,
            output_max: match given.count("max_completion_tokens")? {
                Some(max) => Some(max),
                None => given.count("max_tokens")?,
            },
            stops: stops(&given)?,
        })
    }

    /// For a model. `seed` counts where none was chosen.
    pub(super) fn request(&self, card: &ModelCard, seed: &[u8; 8]) -> Result<Request, Failure> {
        let mut sampling = self.sampling;
        sampling.seed = self.seed.unwrap_or(match sampling.temperature_milli {
            // Without chance there is nothing to seed: the same question is the same request.
            0 => 0,
            1.. => u64::from_be_bytes(*seed),
        });
        let output_max = self.output_max.unwrap_or(OUTPUT_DEFAULT).min(card.output_max);
        let request = Request { messages: self.messages.clone(), sampling, output_max, stops: self.stops.clone() };
        request.check().map_err(|error| Failure::new(Code::EngineBadRequest, error.to_string()))?;
        Ok(request)
    }
}

/// Fields whose meaning would be lost.
fn refuse_unsupported(given: &Given) -> Result<(), Failure> {
    let empty = |value: &Value| match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(given) => !given,
        Value::String(text) => text.is_empty() || text == "none" || text == "auto",
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Null => true,
    };
    let absent = [
        "tools",
        "tool_choice",
        "functions",
        "function_call",
        "logprobs",
        "top_logprobs",
        "logit_bias",
        "audio",
        "presence_penalty",
        "frequency_penalty",
        "echo",
        "suffix",
        "prediction",
        "web_search_options",
    ];
    for name in absent {
        if given.get(name).is_some_and(|value| !empty(value)) {
            return Err(unsupported(name, "not supported here; leave it away"));
        }
    }
    for name in ["n", "best_of"] {
        if given.count(name)?.is_some_and(|count| count != 1) {
            return Err(unsupported(name, "one answer a request; ask several times"));
        }
    }
    if given.get("response_format").is_some_and(|format| format.get("type") != Some(&Value::from("text"))) {
        return Err(unsupported("response_format", "answers are text"));
    }
    let text_only = |value: &Value| value.as_array().is_some_and(|kinds| kinds.iter().all(|kind| kind == "text"));
    if given.get("modalities").is_some_and(|value| !text_only(value)) {
        return Err(unsupported("modalities", "answers are text"));
    }
    Ok(())
}

fn messages(given: &Given) -> Result<Vec<Message>, Failure> {
    let list = given.get("messages").and_then(Value::as_array).ok_or_else(|| wrong("messages", "an array"))?;
    list.iter().map(message).collect()
}

fn message(value: &Value) -> Result<Message, Failure> {
    let role = match value.get("role").and_then(Value::as_str) {
        Some("system" | "developer") => Role::System,
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        Some("tool" | "function") => return Err(unsupported("messages", "tools are not supported here")),
        Some(_) | None => return Err(wrong("messages", "turns of system, user and assistant")),
    };
    if value.get("tool_calls").is_some_and(|calls| !calls.is_null() && calls != &Value::Array(Vec::new())) {
        return Err(unsupported("messages", "tools are not supported here"));
    }
    let text = match value.get("content") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().map(part).collect::<Result<_, _>>()?,
        None | Some(Value::Null) if role == Role::Assistant => String::new(),
        Some(_) | None => return Err(wrong("messages", "turns with text as content")),
    };
    Ok(Message { role, text })
}

fn part(value: &Value) -> Result<&str, Failure> {
    let text = value.get("text").and_then(Value::as_str);
    match (value.get("type").and_then(Value::as_str), text) {
        (Some("text"), Some(text)) => Ok(text),
        (Some("text") | None, _) => Err(wrong("messages", "content parts of type text, with a text")),
        (Some(_), _) => Err(unsupported("messages", "content is text; images, sound and files are not read here")),
    }
}

fn prompt(given: &Given) -> Result<Message, Failure> {
    let text = match given.get("prompt") {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) => match list.as_slice() {
            [Value::String(text)] => text.clone(),
            _ => return Err(unsupported("prompt", "one text a request")),
        },
        Some(_) | None => return Err(wrong("prompt", "a string")),
    };
    Ok(Message { role: Role::User, text })
}

fn stops(given: &Given) -> Result<Vec<String>, Failure> {
    let bad = || wrong("stop", "a string or an array of strings");
    match given.get("stop") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![text.clone()]),
        Some(Value::Array(list)) => list.iter().map(|stop| stop.as_str().map(str::to_owned).ok_or_else(bad)).collect(),
        Some(_) => Err(bad()),
    }
}

/// OpenAI's seeds may be negative.
fn seed(given: &Given) -> Result<Option<u64>, Failure> {
    let Some(value) = given.get("seed") else { return Ok(None) };
    let seed = value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned));
    seed.map(Some).ok_or_else(|| wrong("seed", "a whole number"))
}

#[cfg(test)]
mod tests {
    use agora_types::Amount;

    use super::*;

    fn card() -> ModelCard {
        ModelCard {
            id: "m".to_owned(),
            created_s: 0,
            owned_by: String::new(),
            title: String::new(),
            input: Amount::ZERO,
            output: Amount::ZERO,
            context_max: 100,
            output_max: 300,
        }
    }

    fn request(kind: Kind, body: &str) -> Result<Request, Failure> {
        Ask::read(kind, body.as_bytes())?.request(&card(), &[1; 8])
    }

    #[test]
    fn a_chat_request_becomes_the_engines_request() {
        let body = r#"{"model":"m","messages":[{"role":"developer","content":"a"},{"role":"user","content":
            [{"type":"text","text":"b"},{"type":"text","text":"c"}]}],"temperature":0.7,"top_p":0.123,"seed":-1,
            "max_tokens":9,"max_completion_tokens":8,"stop":"x","n":1,"user":"u","metadata":{"a":"b"},"tools":[],
            "logprobs":false,"response_format":{"type":"text"},"presence_penalty":0,"unheard_of":{"x":[1]}}"#;
        let request = request(Kind::Chat, body).unwrap();
        let texts: Vec<_> = request.messages.iter().map(|message| (message.role, message.text.as_str())).collect();
        assert_eq!(texts, [(Role::System, "a"), (Role::User, "bc")]);
        let sampling = Sampling { temperature_milli: 700, top_k: 0, top_p_milli: 123, seed: u64::MAX };
        assert_eq!((request.sampling, request.output_max), (sampling, 8));
        assert_eq!(request.stops, ["x"]);
    }

    #[test]
    fn the_answer_is_bounded_by_the_model_and_by_default() {
        let of = |more: &str| {
            request(Kind::Text, &format!(r#"{{"model":"m","prompt":["q"]{more}}}"#)).map(|request| request.output_max)
        };
        assert_eq!(of(""), Ok(256));
        assert_eq!(of(r#","max_tokens":100000"#), Ok(300));
        assert_eq!(of(r#","max_tokens":0"#).unwrap_err().code, Code::EngineBadRequest);
        let seed =
            |more: &str| request(Kind::Text, &format!(r#"{{"model":"m","prompt":"q"{more}}}"#)).unwrap().sampling.seed;
        assert_eq!(
            (seed(""), seed(r#","temperature":1e-05"#), seed(r#","temperature":1"#)),
            (0, 0, 0x0101_0101_0101_0101)
        );
    }

    #[test]
    fn what_would_lose_its_meaning_is_refused_with_the_field_s_name() {
        for (more, param) in [
            (r#""tools":[{"type":"function"}]"#, "tools"),
            (r#""logprobs":true"#, "logprobs"),
            (r#""n":2"#, "n"),
            (r#""response_format":{"type":"json_object"}"#, "response_format"),
            (r#""frequency_penalty":0.5"#, "frequency_penalty"),
            (r#""modalities":["text","audio"]"#, "modalities"),
            (r#""temperature":-1"#, "temperature"),
            (r#""temperature":11"#, "temperature"),
            (r#""top_p":1.5"#, "top_p"),
            (r#""stop":5"#, "stop"),
            (r#""stream":"yes""#, "stream"),
            (r#""seed":1.5"#, "seed"),
            (r#""max_tokens":-5"#, "max_tokens"),
            (r#""messages":"hi""#, "messages"),
            (r#""messages":[{"role":"user"}]"#, "messages"),
            (r#""messages":[{"role":"tool","content":"x"}]"#, "messages"),
            (r#""messages":[{"role":"user","content":[{"type":"image_url","image_url":{}}]}]"#, "messages"),
            (r#""model":5"#, "model"),
        ] {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"q"}}],{more}}}"#);
            let failure = request(Kind::Chat, &body).expect_err(more);
            assert_eq!((failure.status, failure.param), (400, Some(param)), "{more}");
        }
        for body in ["", "[]", "5", "{", "{}", r#"{"model":"m","messages":[]}"#] {
            assert_eq!(request(Kind::Chat, body).expect_err(body).status, 400);
        }
        assert!(request(Kind::Text, r#"{"model":"m","prompt":["a","b"]}"#).is_err());
        assert!(request(Kind::Text, r#"{"model":"m","prompt":[1,2]}"#).is_err());
    }
}
