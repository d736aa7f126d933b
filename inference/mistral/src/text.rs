//! Between text and tokens: the tokenizer that mistralrs made of the file, and the bytes of each token.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use agora_inference_api::{EngineError, Request};
use agora_types::{Code, Hash};
use candle_core::quantized::gguf_file::Value;
use tokenizers::Tokenizer;

use crate::template::Template;

/// What a file says about its tokens, beside what mistralrs keeps of it.
#[derive(Debug)]
pub(crate) struct Words {
    tokens: Vec<String>,
    /// Tokens that are no text: a message must not contain them, an answer does not show them.
    control: BTreeSet<u32>,
    /// Tokens with a meaning of their own: a message must not contain them, an answer shows them.
    marks: BTreeSet<u32>,
    /// `▁` is a space, and the first one of an answer is dropped.
    sentence: bool,
    /// A prompt begins with this token.
    begin: Option<u32>,
}

/// Kinds of tokens in a GGUF file.
const KIND_CONTROL: i32 = 3;
const KIND_USER_DEFINED: i32 = 4;
/// Marks that an earlier answer may contain, so that a conversation can go on.
const THOUGHTS: [&str; 2] = ["<think>", "</think>"];

impl Words {
    /// Reads a file's metadata.
    ///
    /// # Errors
    /// `engine.bad_model`.
    pub(crate) fn read(metadata: &HashMap<String, Value>) -> Result<Self, EngineError> {
        let bad = |what: String| EngineError::new(Code::EngineBadModel, what);
        let find = |name: &str| metadata.get(&format!("tokenizer.ggml.{name}"));
        let list = find("tokens").and_then(|tokens| tokens.to_vec().ok()).ok_or_else(|| bad("no tokens".to_owned()))?;
        let tokens: Vec<String> = list.iter().filter_map(|token| token.to_string().ok().cloned()).collect();
        if tokens.len() != list.len() || tokens.is_empty() {
            return Err(bad("tokens that are no text".to_owned()));
        }
        let kinds = find("token_type").and_then(|kinds| kinds.to_vec().ok()).map_or(&[][..], Vec::as_slice);
        let (mut control, mut marks) = (BTreeSet::new(), BTreeSet::new());
        for ((id, token), kind) in (0..).zip(&tokens).zip(kinds) {
            let is_blank = token.trim_matches(['▁', 'Ġ', 'Ċ', 'ĉ']).trim().is_empty();
            match kind.to_i32() {
                Ok(KIND_CONTROL) => drop(control.insert(id)),
                Ok(KIND_USER_DEFINED) if !is_blank && !THOUGHTS.contains(&token.as_str()) => drop(marks.insert(id)),
                _ => {}
            }
        }
        let sentence = find("model").and_then(|model| model.to_string().ok()).is_none_or(|model| model != "gpt2");
        let adds = find("add_bos_token").and_then(|adds| adds.to_bool().ok()).unwrap_or(sentence);
        let begin = find("bos_token_id").and_then(|id| id.to_u32().ok()).filter(|_| adds);
        Ok(Self { tokens, control, marks, sentence, begin })
    }

    fn bytes(&self) -> Vec<Box<[u8]>> {
        let levels = byte_levels();
        let bytes = |(id, token): (u32, &String)| -> Box<[u8]> {
            if self.control.contains(&id) {
                return Box::default();
            }
            if self.sentence {
                let hex = token.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
                if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                    return [byte].into();
                }
                return token.replace('▁', " ").into_bytes().into();
            }
            let plain: Option<Vec<u8>> = token.chars().map(|sign| levels.get(&sign).copied()).collect();
            plain.unwrap_or_else(|| token.clone().into_bytes()).into()
        };
        (0..).zip(&self.tokens).map(bytes).collect()
    }
}

/// The signs that byte-level tokenizers write for bytes (GPT-2's table).
fn byte_levels() -> BTreeMap<char, u8> {
    let shown = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let hidden = (0..=u8::MAX).filter(|byte| !shown(byte));
    let moved = ('\u{100}'..).zip(hidden);
    moved.chain((0..=u8::MAX).filter(shown).map(|byte| (char::from(byte), byte))).collect()
}

/// Tokenizer and template of one model.
#[derive(Debug)]
pub(crate) struct Text {
    tokenizer: Arc<Tokenizer>,
    template: Template,
    words: Words,
    bytes: Vec<Box<[u8]>>,
    /// Tokens that end an answer; at least one.
    ends: Vec<u32>,
    hash: Hash,
}

impl Text {
    /// Everything that turns messages into tokens and tokens into text.
    ///
    /// # Errors
    /// `engine.bad_model`.
    pub(crate) fn new(
        words: Words,
        tokenizer: Arc<Tokenizer>,
        template: Template,
        ends: Vec<u32>,
    ) -> Result<Self, EngineError> {
        let bad = |what: &str| EngineError::new(Code::EngineBadModel, what);
        let known = |id: &u32| (*id as usize) < words.tokens.len();
        if ends.is_empty() || !ends.iter().chain(&words.begin).all(known) {
            return Err(bad("no token of the vocabulary ends an answer, or another begins a prompt"));
        }
        let rules = tokenizer.to_string(false).map_err(|_| bad("a tokenizer that cannot be written down"))?;
        let mut hash = Hash::stream();
        hash.piece("agora-mistral/tokenizer/v1");
        hash.piece(rules);
        hash.piece(&template.source);
        for id in words.begin.iter().chain(&ends) {
            hash.piece(id.to_be_bytes());
        }
        Ok(Self { bytes: words.bytes(), hash: hash.finish(), tokenizer, template, words, ends })
    }

    /// SHA-256 over the tokenizer as mistralrs made it of the file, the chat template, and the tokens that begin a prompt
    /// and end an answer.
    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }

    /// Tokens that have a text; logits behind them are of no token.
    pub(crate) fn vocabulary(&self) -> usize {
        self.bytes.len()
    }

    /// Whether this token ends an answer.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// A token at which mistralrs ends a row.
    pub(crate) fn end(&self) -> u32 {
        self.ends[0]
    }

    /// The bytes of an answer's token.
    pub(crate) fn bytes(&self, token: u32, is_first: bool) -> &[u8] {
        let bytes = self.bytes.get(token as usize).map_or(&[][..], |bytes| bytes);
        if is_first && self.words.sentence { bytes.strip_prefix(b" ").unwrap_or(bytes) } else { bytes }
    }

    /// Tokens of a request as the model's template renders it.
    ///
    /// # Errors
    /// `engine.bad_request`: a bound, something that is not served here, a refusal of the template, or a message that
    /// contains one of the model's own marks, with which it could speak in another's name.
    pub(crate) fn prompt(&self, request: &Request) -> Result<Vec<u32>, EngineError> {
        request.check()?;
        let sampling = &request.sampling;
        if request.schema.is_some() || request.logprobs.is_some() {
            return Err(EngineError::new(
                Code::EngineBadRequest,
                "this engine serves no schema and tells no probabilities",
            ));
        }
        if sampling.min_p_milli != 0 || sampling.repetition_milli != 1_000 {
            return Err(EngineError::new(
                Code::EngineBadRequest,
                "this engine knows no min-p and no repetition penalty",
            ));
        }
        for message in &request.messages {
            let marked = self.encode(&message.text)?;
            let words = &self.words;
            if let Some(id) = marked.iter().find(|id| words.control.contains(id) || words.marks.contains(id)) {
                let mark = words.tokens.get(*id as usize).map_or("", String::as_str);
                let what = format!("a message contains `{mark}`, which is the model's own");
                return Err(EngineError::new(Code::EngineBadRequest, what));
            }
        }
        let mut tokens = self.encode(&self.template.render(&request.messages)?)?;
        if let Some(begin) = self.words.begin
            && tokens.first() != Some(&begin)
        {
            tokens.insert(0, begin);
        }
        Ok(tokens)
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        let refused =
            |error: tokenizers::Error| EngineError::new(Code::EngineBadRequest, format!("tokenizer: {error}"));
        Ok(self.tokenizer.encode_fast(text, true).map_err(refused)?.get_ids().to_vec())
    }
}

#[cfg(test)]
impl Text {
    /// Of two tokens: 0 ends an answer, 1 is `a`.
    pub(crate) fn tiny() -> Self {
        let tokens = ["<e>", "a"].map(|token| Value::String(token.to_owned())).to_vec();
        let metadata = HashMap::from([("tokenizer.ggml.tokens".to_owned(), Value::Array(tokens))]);
        let tokenizer = Arc::new(Tokenizer::new(tokenizers::models::bpe::BPE::default()));
        let template = Template::new("{{ messages[0].content }}".to_owned(), None, None).unwrap();
        Self::new(Words::read(&metadata).unwrap(), tokenizer, template, vec![0]).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_byte_has_one_sign_and_a_space_is_a_g_with_a_dot() {
        let levels = byte_levels();
        assert_eq!(levels.values().copied().collect::<BTreeSet<u8>>().len(), 256);
        assert_eq!((levels.len(), levels[&'Ġ'], levels[&'a'], levels[&'Ċ']), (256, b' ', b'a', b'\n'));
    }
}
