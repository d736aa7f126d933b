//! From conversations to tokens and back: the tokenizer and chat template that lie in the model's file.

mod answer;
mod bpe;
mod template;

use std::collections::BTreeSet;

use agora_inference_api::{EngineError, Request};
use agora_types::{Code, Hash};

use crate::failure::{bad_model, quoted, unsupported};
use crate::gguf::Header;

pub(crate) use answer::Answer;
use bpe::Bpe;
use template::{Piece, Template};

/// Names of tokens that end an answer wherever they occur.
const ENDS: [&str; 6] = ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "</s>"];
/// Longest special token in bytes.
const SPECIAL_SIZE_MAX: usize = 128;

/// The tokenizer and chat template of a model.
#[derive(Debug)]
pub(crate) struct Text {
    bpe: Bpe,
    template: Template,
    /// Control tokens with their text, the longest first.
    specials: Vec<(String, u32)>,
    ends: BTreeSet<u32>,
    /// Stands before every prompt, if the model wants it.
    begin: Option<u32>,
    hash: Hash,
}

impl Text {
    /// From the metadata.
    pub(crate) fn read(header: &mut Header) -> Result<Self, EngineError> {
        let model = header.text("tokenizer.ggml.model")?.unwrap_or_default().to_owned();
        let kind = header.text("tokenizer.ggml.pre")?.unwrap_or_default().to_owned();
        if model != "gpt2" || !["smollm", "gpt-2"].contains(&kind.as_str()) {
            return Err(unsupported(format!("the tokenizer {} / {}", quoted(&model), quoted(&kind))));
        }
        let source = header.text("tokenizer.chat_template")?.map(str::to_owned);
        let source = source.ok_or_else(|| unsupported("a model without a chat template"))?;
        let begin = header.unsigned("tokenizer.ggml.bos_token_id")?;
        let wants_begin = header.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(false);
        let end = header.unsigned("tokenizer.ggml.eos_token_id")?;
        let turn_end = header.unsigned("tokenizer.ggml.eot_token_id")?;
        let tokens = header.take_texts("tokenizer.ggml.tokens")?;
        let kinds = header.take_integers("tokenizer.ggml.token_type")?;
        let merges = header.take_texts("tokenizer.ggml.merges")?;
        if kinds.len() != tokens.len() {
            return Err(bad_model("tokens and their types differ in number"));
        }
        let known = |id: Option<u64>| match id {
            None => Ok(None),
            Some(id) => u32::try_from(id)
                .ok()
                .filter(|id| (*id as usize) < tokens.len())
                .map(Some)
                .ok_or_else(|| bad_model("a special token is outside the vocabulary")),
        };
        let (begin, end, turn_end) = (known(begin)?, known(end)?, known(turn_end)?);
        let name = |id: Option<u32>| id.map_or("", |id| tokens[id as usize].as_str());
        let template = Template::new(&source, name(begin), name(end))?;
        // Everything above that changes a token, each behind its length.
        let mut hash = Hash::stream();
        for piece in ["agora/tokenizer/v1", &model, &kind, &source, name(begin), name(end), name(turn_end)] {
            hash.piece(piece);
        }
        hash.piece([u8::from(wants_begin)]);
        hash.piece((tokens.len() as u64).to_be_bytes());
        for (token, kind) in tokens.iter().zip(&kinds) {
            hash.piece(token);
            hash.piece(kind.to_be_bytes());
        }
        merges.iter().for_each(|merge| hash.piece(merge));
        let bpe = Bpe::new(&tokens, &kinds, &merges, kind == "smollm")?;
        let mut specials = Vec::new();
        for (id, token) in (0..).zip(&tokens) {
            if bpe.is_special(id) && (1..=SPECIAL_SIZE_MAX).contains(&token.len()) {
                specials.push((token.clone(), id));
            }
        }
        specials.sort_by(|a, b| (b.0.len(), &a.0).cmp(&(a.0.len(), &b.0)));
        let named = specials.iter().filter(|(token, _)| ENDS.contains(&token.as_str())).map(|(_, id)| *id);
        let ends = named.chain(end).chain(turn_end).collect();
        Ok(Self { bpe, template, specials, ends, begin: begin.filter(|_| wants_begin), hash: hash.finish() })
    }

    /// Hash of everything that decides which tokens a conversation becomes.
    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }

    /// Tokens of the vocabulary.
    pub(crate) fn vocabulary(&self) -> usize {
        self.bpe.len()
    }

    /// Whether the token ends an answer.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The tokens that end an answer.
    pub(crate) fn ends(&self) -> impl Iterator<Item = u32> {
        self.ends.iter().copied()
    }

    /// What stands for a token where tokens are named: its bytes, or the name of a special one.
    pub(crate) fn name(&self, token: u32) -> &[u8] {
        let special =
            || self.specials.iter().find(|special| special.1 == token).map_or(&[][..], |special| special.0.as_bytes());
        Some(self.bytes(token)).filter(|bytes| !bytes.is_empty()).unwrap_or_else(special)
    }

    /// The bytes that a token shows: none for special ones.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        self.bpe.bytes(token)
    }

    /// Tokens of plain text. Nothing in it is special.
    pub(crate) fn encode(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        self.bpe.encode(text, &mut tokens);
        tokens
    }

    /// Tokens of the rendered conversation. Special tokens come from the template alone, never from a message.
    pub(crate) fn prompt(&self, request: &Request) -> Result<Vec<u32>, EngineError> {
        let mut tokens = Vec::from_iter(self.begin);
        let mut plain = String::new();
        for piece in self.template.render(&request.messages)? {
            match piece {
                Piece::Message(text) => plain.push_str(&text),
                Piece::Template(text) => self.mixed(&text, &mut plain, &mut tokens),
            }
        }
        self.bpe.encode(&plain, &mut tokens);
        // A template may begin with it too.
        if let [first, second, ..] = tokens.as_slice()
            && Some(*first) == self.begin
            && first == second
        {
            tokens.remove(0);
        }
        if tokens.is_empty() {
            return Err(EngineError::new(Code::EngineBadRequest, "the rendered prompt is empty"));
        }
        Ok(tokens)
    }

    /// The template's own text: special tokens stand for themselves. What is not special collects in `plain`, so that it
    /// is cut into words together with the message beside it.
    fn mixed(&self, text: &str, plain: &mut String, tokens: &mut Vec<u32>) {
        let mut rest = text;
        while let Some(sign) = rest.chars().next() {
            if let Some((name, id)) = self.specials.iter().find(|(name, _)| rest.starts_with(name.as_str())) {
                self.bpe.encode(plain, tokens);
                plain.clear();
                tokens.push(*id);
                rest = &rest[name.len()..];
            } else {
                plain.push(sign);
                rest = &rest[sign.len_utf8()..];
            }
        }
    }
}
