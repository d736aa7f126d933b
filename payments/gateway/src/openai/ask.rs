//! A request in OpenAI's words, and the engine's request that it stands for.
//!
//! Unknown fields are ignored, as OpenAI's own additions must not break us; fields whose meaning would be lost are
//! refused.

use agora_economy::ports::pay::ModelCard;
use agora_inference_api::{LOGPROBS_MAX, Message, Request, Role, Sampling};
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
    schema: Option<String>,
    logprobs: Option<u32>,
    /// Longest wait for the answer to begin, in milliseconds.
    wait_max_ms: Option<u64>,
    hidden_max: u64,
}

impl Ask {
    /// From a body.
    pub(super) fn read(kind: Kind, body: &[u8]) -> Result<Self, Failure> {
        let given = Given::read(body)?;
        refuse_unsupported(kind, &given)?;
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
        let min_p_milli = given.milli("min_p")?.unwrap_or(0);
        if min_p_milli > 1_000 {
            return Err(wrong("min_p", "at most 1"));
        }
        let repetition_milli = given.milli("repetition_penalty")?.unwrap_or(1_000);
        if !(1_000..=2_000).contains(&repetition_milli) {
            return Err(wrong("repetition_penalty", "1 to 2"));
        }
        Ok(Self {
            model: model.to_owned(),
            stream: given.truth("stream")?,
            usage,
            messages,
            sampling: Sampling {
                temperature_milli: given.milli("temperature")?.unwrap_or(0),
                top_k: top_k(&given)?,
                top_p_milli: top_p_milli.max(1),
                min_p_milli,
                repetition_milli,
                ..Sampling::default()
            },
            seed: seed(&given)?,
            output_max: match given.count("max_completion_tokens")? {
                Some(max) => Some(max),
                None => given.count("max_tokens")?,
            },
            stops: stops(&given)?,
            schema: schema(&given)?,
            logprobs: logprobs(&given)?,
            wait_max_ms: given.count("wait_max_ms")?,
            hidden_max: hidden_max(&given)?,
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
        let request = Request {
            messages: self.messages.clone(),
            sampling,
            output_max,
            stops: self.stops.clone(),
            schema: self.schema.clone(),
            logprobs: self.logprobs,
            wait_max_ms: self.wait_max_ms,
            hidden_max: self.hidden_max,
        };
        request.check().map_err(|error| Failure::new(Code::EngineBadRequest, error.to_string()))?;
        Ok(request)
    }
}

/// Fields whose meaning would be lost.
fn refuse_unsupported(kind: Kind, given: &Given) -> Result<(), Failure> {
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
    for name in ["logprobs", "top_logprobs"] {
        if kind == Kind::Text && given.get(name).is_some_and(|value| !empty(value)) {
            return Err(unsupported(name, "ask /v1/chat/completions for it"));
        }
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

/// The schema that the answer is to follow, as text. That of a `json_schema` is always followed, strict or not.
fn schema(given: &Given) -> Result<Option<String>, Failure> {
    const NAME: &str = "response_format";
    let Some(format) = given.get(NAME) else { return Ok(None) };
    match format.get("type").and_then(Value::as_str) {
        Some("text") => Ok(None),
        Some("json_object") => Ok(Some(r#"{"type":"object"}"#.to_owned())),
        Some("json_schema") => match format.get("json_schema").and_then(|named| named.get("schema")) {
            Some(Value::Object(schema)) => Ok(Some(Value::Object(schema.clone()).to_string())),
            Some(_) | None => Err(wrong(NAME, "an object whose `json_schema` has a `schema`")),
        },
        Some(_) => Err(unsupported(NAME, "its type is text, json_object or json_schema")),
        None => Err(wrong(NAME, "an object with a type")),
    }
}

/// Alternatives whose probabilities are asked for, if any are.
fn logprobs(given: &Given) -> Result<Option<u32>, Failure> {
    let asked = given.truth("logprobs")?;
    match given.count("top_logprobs")? {
        Some(1..) if !asked => Err(wrong("top_logprobs", "asked for together with `logprobs`")),
        Some(count) if count > u64::from(LOGPROBS_MAX) => Err(wrong("top_logprobs", "at most 20")),
        count => Ok(asked.then(|| count.and_then(|count| u32::try_from(count).ok()).unwrap_or(0))),
    }
}

/// Tokens that the model may think with, as OpenRouter names it: `"reasoning": {"max_tokens": 512}`.
fn hidden_max(given: &Given) -> Result<u64, Failure> {
    let bad = || wrong("reasoning", "an object with `max_tokens`, a whole number");
    match given.get("reasoning") {
        None => Ok(0),
        Some(Value::Object(fields)) => fields.get("max_tokens").and_then(Value::as_u64).ok_or_else(bad),
        Some(_) => Err(bad()),
    }
}

/// As vLLM names it: nothing, 0 and -1 stand for all tokens.
fn top_k(given: &Given) -> Result<u32, Failure> {
    let Some(value) = given.get("top_k") else { return Ok(0) };
    let count = if value.as_i64() == Some(-1) { Some(0) } else { value.as_u64().and_then(|k| u32::try_from(k).ok()) };
    count.ok_or_else(|| wrong("top_k", "a whole number"))
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
            "min_p":0.05,"repetition_penalty":1.1,"top_k":40,"logprobs":false,"response_format":{"type":"text"},"presence_penalty":0,
            "wait_max_ms":2000,"reasoning":{"max_tokens":64},"unheard_of":{"x":[1]}}"#;
        let request = request(Kind::Chat, body).unwrap();
        let texts: Vec<_> = request.messages.iter().map(|message| (message.role, message.text.as_str())).collect();
        assert_eq!(texts, [(Role::System, "a"), (Role::User, "bc")]);
        let sampling = Sampling {
            temperature_milli: 700,
            top_k: 40,
            top_p_milli: 123,
            seed: u64::MAX,
            min_p_milli: 50,
            repetition_milli: 1_100,
        };
        assert_eq!((request.sampling, request.output_max), (sampling, 8));
        assert_eq!(request.stops, ["x"]);
        assert_eq!((request.schema, request.logprobs), (None, None));
        assert_eq!((request.wait_max_ms, request.hidden_max), (Some(2_000), 64));
    }

    #[test]
    fn a_schema_keeps_its_order_and_likelihoods_their_number() {
        let of = |more: &str| {
            let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"q"}}],{more}}}"#);
            request(Kind::Chat, &body).map(|request| (request.schema, request.logprobs))
        };
        let schema =
            r#"{"type":"object","properties":{"z":{"type":"string"},"a":{"type":"integer"}},"required":["z"]}"#;
        let format = format!(
            r#""response_format":{{"type":"json_schema","json_schema":{{"name":"n","strict":true,"schema":{schema}}}}}"#
        );
        assert_eq!(of(&format), Ok((Some(schema.to_owned()), None)));
        let object = of(r#""response_format":{"type":"json_object"},"logprobs":true"#);
        assert_eq!(object, Ok((Some(r#"{"type":"object"}"#.to_owned()), Some(0))));
        assert_eq!(of(r#""logprobs":true,"top_logprobs":20,"top_k":-1"#), Ok((None, Some(20))));
        assert_eq!(of(r#""logprobs":false,"top_logprobs":0"#), Ok((None, None)));
        let long = format!(
            r#""response_format":{{"type":"json_schema","json_schema":{{"schema":{{"title":"{}"}}}}}}"#,
            "x".repeat(9_000)
        );
        assert_eq!(of(&long).unwrap_err().code, Code::EngineBadRequest);
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
            (r#""logprobs":1"#, "logprobs"),
            (r#""logprobs":true,"top_logprobs":21"#, "top_logprobs"),
            (r#""top_logprobs":2"#, "top_logprobs"),
            (r#""min_p":1.01"#, "min_p"),
            (r#""repetition_penalty":0.9"#, "repetition_penalty"),
            (r#""repetition_penalty":2.1"#, "repetition_penalty"),
            (r#""top_k":-2"#, "top_k"),
            (r#""n":2"#, "n"),
            (r#""response_format":{"type":"grammar"}"#, "response_format"),
            (r#""response_format":{"type":"json_schema"}"#, "response_format"),
            (r#""response_format":{"type":"json_schema","json_schema":{"schema":true}}"#, "response_format"),
            (r#""response_format":"json""#, "response_format"),
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
        assert!(request(Kind::Text, r#"{"model":"m","prompt":"a","logprobs":2}"#).is_err());
        assert!(request(Kind::Text, r#"{"model":"m","prompt":["a","b"]}"#).is_err());
        assert!(request(Kind::Text, r#"{"model":"m","prompt":[1,2]}"#).is_err());
    }
}
