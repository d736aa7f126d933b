//! `tokenizer.json` and `tokenizer_config.json`: the tokenizer and chat template, as a GGUF's entries say them.

use std::collections::BTreeMap;
use std::fmt;

use agora_inference_api::EngineError;
use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

use super::config::Config;
use crate::failure::{bad_model, quoted, unsupported};
use crate::gguf::{Header, Value};
use crate::text::{ENDS, kind};

/// How Llama 3 cuts words.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// How Qwen 2 and 3 do.
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// Most merges: four for each token of the largest vocabulary.
const MERGES_MAX: usize = 1 << 22;

/// First of all, which model there is.
#[derive(Deserialize)]
struct Kind {
    model: KindModel,
}

#[derive(Deserialize)]
struct KindModel {
    r#type: Option<String>,
}

/// What we read of `tokenizer.json`. What cuts and joins prompts beside it is the template's matter.
#[derive(Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
    #[serde(default)]
    normalizer: Json,
    #[serde(default)]
    pre_tokenizer: Json,
    #[serde(default)]
    post_processor: Json,
}

#[derive(Deserialize)]
struct Model {
    vocab: BTreeMap<String, u64>,
    merges: Vec<Merge>,
    dropout: Option<f64>,
    unk_token: Option<String>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
}

#[derive(Deserialize)]
struct Added {
    id: u64,
    content: String,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
    #[serde(default)]
    special: bool,
}

/// Two tokens and a space between them, in the file so or as a pair.
struct Merge(String);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two tokens")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Merge, E> {
                Ok(Merge(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Merge, A::Error> {
                let (left, right) = (list.next_element::<String>()?, list.next_element::<String>()?);
                match (left, right, list.next_element::<String>()?) {
                    (Some(left), Some(right), None) if !left.contains(' ') && !right.contains(' ') => {
                        Ok(Merge(format!("{left} {right}")))
                    }
                    _ => Err(A::Error::custom("a merge is not of two tokens without spaces")),
                }
            }
        }
        from.deserialize_any(Either)
    }
}

/// What we read of `tokenizer_config.json`.
#[derive(Default, Deserialize)]
struct Extra {
    bos_token: Option<Named>,
    eos_token: Option<Named>,
    add_bos_token: Option<bool>,
    chat_template: Option<Templates>,
}

/// A token's name, alone or with how it is cut.
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Name(String),
    Token { content: String },
}

impl Named {
    fn name(&self) -> &str {
        match self {
            Self::Name(name) | Self::Token { content: name } => name,
        }
    }
}

/// One template, or several with names.
#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Several(Vec<Template>),
}

#[derive(Deserialize)]
struct Template {
    name: String,
    template: String,
}

/// Sets the header's entries. `extra` is `tokenizer_config.json`; `template` goes before its own.
pub(super) fn read(
    bytes: &[u8],
    extra: Option<&[u8]>,
    template: Option<&[u8]>,
    config: &Config,
    header: &mut Header,
) -> Result<(), EngineError> {
    let bad = |error: serde_json::Error| bad_model(format!("tokenizer.json: {error}"));
    let model = serde_json::from_slice::<Kind>(bytes).map_err(bad)?.model.r#type;
    if let Some(other) = model.filter(|model| model != "BPE") {
        return Err(unsupported(format!("tokenizer.json: the model {}", quoted(&other))));
    }
    let file: File = serde_json::from_slice(bytes).map_err(bad)?;
    let (model, pre) = file.kind()?;
    let (tokens, kinds) = file.tokens(config.vocabulary, model == "llama")?;
    let named = |named: &Named| {
        let id = (0..).zip(&tokens).find(|(_, token)| *token == named.name());
        id.map(|(id, _)| id)
            .ok_or_else(|| bad_model(format!("tokenizer_config.json: the token {}", quoted(named.name()))))
    };
    let known = extra.is_some();
    let extra: Extra = match extra {
        Some(bytes) => {
            serde_json::from_slice(bytes).map_err(|error| bad_model(format!("tokenizer_config.json: {error}")))?
        }
        None => Extra::default(),
    };
    // The template sees the names of tokenizer_config.json.
    let begin = if known { extra.bos_token.as_ref().map(named).transpose()? } else { config.begin };
    let end = extra.eos_token.as_ref().map(named).transpose()?.or(config.ends.first().copied());
    let name = |id: &u64| usize::try_from(*id).ok().and_then(|id| tokens.get(id));
    let is_new = |id: &u64| Some(*id) != end && name(id).is_none_or(|name| !ENDS.contains(&name.as_str()));
    let mut others = config.ends.iter().copied().filter(is_new);
    let other = others.next();
    if others.next().is_some() {
        return Err(unsupported("config.json: many eos_token_id of unknown names"));
    }
    for (entry, id) in [("bos_token_id", begin), ("eos_token_id", end), ("eot_token_id", other)] {
        if let Some(id) = id {
            header.set(&format!("tokenizer.ggml.{entry}"), Value::Unsigned(id));
        }
    }
    let begins = begin.and_then(|id| begins(&file.post_processor, name(&id)?));
    if let Some(wanted) = extra.add_bos_token.or(begins) {
        header.set("tokenizer.ggml.add_bos_token", Value::Bool(wanted));
    }
    let template = match (template, extra.chat_template) {
        (Some(bytes), _) => {
            let text = std::str::from_utf8(bytes).map_err(|_| bad_model("chat_template.jinja is not UTF-8"))?;
            Some(text.to_owned())
        }
        (None, Some(Templates::One(template))) => Some(template),
        (None, Some(Templates::Several(all))) => {
            let default = all.into_iter().find(|template| template.name == "default");
            Some(default.ok_or_else(|| unsupported("templates of which none is the default"))?.template)
        }
        (None, None) => None,
    };
    if let Some(template) = template {
        header.set("tokenizer.chat_template", Value::Text(template));
    }
    header.set("tokenizer.ggml.model", Value::Text(model.to_owned()));
    header.set("tokenizer.ggml.pre", Value::Text(pre.to_owned()));
    header.set("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    header.set("tokenizer.ggml.tokens", Value::Texts(tokens));
    header.set("tokenizer.ggml.token_type", Value::Integers(kinds));
    header.set("tokenizer.ggml.merges", Value::Texts(file.model.merges.into_iter().map(|merge| merge.0).collect()));
    Ok(())
}

impl File {
    /// The vocabulary's kind and how words are cut, as a GGUF names them.
    fn kind(&self) -> Result<(&'static str, &'static str), EngineError> {
        let model = &self.model;
        let affix = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        if model.dropout.is_some_and(|dropout| dropout != 0.0)
            || affix(&model.continuing_subword_prefix)
            || affix(&model.end_of_word_suffix)
        {
            return Err(unsupported("tokenizer.json: dropout, prefixes or suffixes"));
        }
        if model.merges.len() > MERGES_MAX {
            return Err(bad_model(format!("tokenizer.json: {} merges", model.merges.len())));
        }
        if self.added_tokens.iter().any(|token| token.single_word || token.lstrip || token.rstrip) {
            return Err(unsupported("tokenizer.json: added tokens that take white space or whole words"));
        }
        let spaces = serde_json::json!({ "type": "Replace", "pattern": { "String": " " }, "content": "\u{2581}" });
        // After the spaces are gone this cuts nothing.
        let nothing = |part: &Json| part["type"] == "Split" && part["pattern"]["String"] == " ";
        if model.byte_fallback && !model.ignore_merges && self.normalizer == spaces {
            if self.pre_tokenizer.is_null() || nothing(&self.pre_tokenizer) {
                return Ok(("llama", "default"));
            }
        } else if !model.byte_fallback && model.unk_token.is_none() {
            let composed = self.normalizer["type"] == "NFC";
            let plain = self.normalizer.is_null();
            match words(&self.pre_tokenizer) {
                Some("qwen2") if composed && !model.ignore_merges => return Ok(("gpt2", "qwen2")),
                Some("llama-bpe") if plain && model.ignore_merges => return Ok(("gpt2", "llama-bpe")),
                Some(words @ ("gpt-2" | "smollm")) if plain && !model.ignore_merges => return Ok(("gpt2", words)),
                Some(_) | None => {}
            }
        }
        Err(unsupported("tokenizer.json: none of the known kinds: GPT-2's, SmolLM's, Llama 3's, Qwen 2's, Gemma's"))
    }

    /// Every token of the vocabulary and its type. Rows of the embedding without a token are named as converters do.
    fn tokens(&self, vocabulary: usize, bytes: bool) -> Result<(Vec<String>, Vec<i64>), EngineError> {
        let mut tokens: Vec<Option<(String, i64)>> = vec![None; vocabulary];
        let bad = |token: &str| bad_model(format!("tokenizer.json: the token {} has a wrong number", quoted(token)));
        for (token, id) in &self.model.vocab {
            let place = usize::try_from(*id).ok().and_then(|id| tokens.get_mut(id)).ok_or_else(|| bad(token))?;
            let kind = if bytes && token.starts_with("<0x") && token.len() == 6 { kind::BYTE } else { kind::NORMAL };
            if place.replace((token.clone(), kind)).is_some() {
                return Err(bad(token));
            }
        }
        for added in &self.added_tokens {
            // Such a token has no row in the embedding: Gemma's image.
            let Some(place) = usize::try_from(added.id).ok().and_then(|id| tokens.get_mut(id)) else { continue };
            let kind = if added.special { kind::CONTROL } else { kind::USER };
            let old = place.replace((added.content.clone(), kind));
            if old.is_some_and(|(token, _)| token != added.content) {
                return Err(bad(&added.content));
            }
        }
        let named = |(id, token): (usize, Option<_>)| token.unwrap_or_else(|| (format!("[PAD{id}]"), kind::UNUSED));
        Ok(tokens.into_iter().enumerate().map(named).unzip())
    }
}

/// How words are cut, as a GGUF names it.
fn words(pre: &Json) -> Option<&'static str> {
    let sequence = pre["type"] == "Sequence";
    let parts = if sequence { pre["pretokenizers"].as_array()?.as_slice() } else { std::slice::from_ref(pre) };
    let bytes = |part: &Json, cuts: bool| {
        let expression = part["use_regex"].as_bool().unwrap_or(true);
        part["type"] == "ByteLevel" && part["add_prefix_space"] == false && expression == cuts
    };
    match parts {
        [last] if bytes(last, true) => Some("gpt-2"),
        [digits, last] if digits["type"] == "Digits" && digits["individual_digits"] == true && bytes(last, true) => {
            Some("smollm")
        }
        [split, last] if split["type"] == "Split" && bytes(last, false) => {
            if split["behavior"] != "Isolated" || split["invert"] != false {
                return None;
            }
            match split["pattern"]["Regex"].as_str()? {
                LLAMA3 => Some("llama-bpe"),
                QWEN2 => Some("qwen2"),
                _ => None,
            }
        }
        _ => None,
    }
}

/// Whether the begin stands before every text; `None` if nothing is said.
fn begins(processor: &Json, begin: &str) -> Option<bool> {
    if processor["type"] == "Sequence" {
        return processor["processors"].as_array()?.iter().find_map(|part| begins(part, begin));
    }
    let single = processor["single"].as_array().filter(|_| processor["type"] == "TemplateProcessing")?;
    Some(single.first()?["SpecialToken"]["id"] == begin)
}
