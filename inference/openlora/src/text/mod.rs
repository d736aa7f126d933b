//! From conversations to tokens and back: the tokenizer and chat template that come with the model.

mod bpe;
mod merge;
mod names;
mod pieces;
mod python;
mod sentence;
mod template;
mod words;

use std::collections::BTreeSet;

use agora_inference_api::{EngineError, Request};
use agora_types::{Code, Hash};

use crate::failure::{bad_model, quoted, unsupported};
use crate::gguf::Header;

use bpe::Bpe;
use names::Names;
use sentence::{Order, Sentence};
use template::{BORDERS, Piece, Template};
use words::Words;

/// Names of special tokens that end an answer wherever they occur.
pub(crate) const ENDS: [&str; 8] =
    ["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end_of_text|>", "<|eom_id|>", "<end_of_turn>", "<eos>", "</s>"];
/// What a model without a chat template goes on with: the messages, one after another.
const PLAIN: &str =
    "{% for message in messages %}{{ message['content'] }}{% if not loop.last %}{{ '\n\n' }}{% endif %}{% endfor %}";

/// The types of tokens that matter here; the others are never text.
pub(crate) mod kind {
    pub(crate) const NORMAL: i64 = 1;
    pub(crate) const CONTROL: i64 = 3;
    /// Defined by the model's maker: text, but cut out before anything merges.
    pub(crate) const USER: i64 = 4;
    pub(crate) const UNUSED: i64 = 5;
    pub(crate) const BYTE: i64 = 6;
}

/// A vocabulary of one of two kinds.
#[derive(Debug)]
enum Vocabulary {
    Bytes(Box<Bpe>),
    Sentences(Box<Sentence>),
}

/// The tokens between which a model thinks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Borders {
    pub(crate) begin: u32,
    pub(crate) end: u32,
}

/// The tokenizer and chat template of a model.
#[derive(Debug)]
pub(crate) struct Text {
    vocabulary: Vocabulary,
    template: Template,
    /// Tokens that come from the template alone.
    specials: Names,
    ends: BTreeSet<u32>,
    borders: Option<Borders>,
    /// Stands before every prompt, if the model wants it.
    begin: Option<u32>,
    hash: Hash,
}

impl Text {
    /// From the metadata.
    pub(crate) fn read(header: &mut Header) -> Result<Self, EngineError> {
        let model = header.text("tokenizer.ggml.model")?.unwrap_or_default().to_owned();
        let kind = header.text("tokenizer.ggml.pre")?.unwrap_or_default().to_owned();
        let words = if model == "gpt2" { Words::named(&kind)? } else { None };
        let sentences = model == "llama" && ["", "default"].contains(&kind.as_str());
        if words.is_none() && !sentences {
            return Err(unsupported(format!("the tokenizer {} / {}", quoted(&model), quoted(&kind))));
        }
        if header.bool("tokenizer.ggml.remove_extra_whitespaces")?.unwrap_or(false)
            || header.has("tokenizer.ggml.precompiled_charsmap")
        {
            return Err(unsupported("a tokenizer that changes the text first"));
        }
        let source = header.text("tokenizer.chat_template")?.unwrap_or(PLAIN).to_owned();
        let begin = header.unsigned("tokenizer.ggml.bos_token_id")?;
        let wants_begin = header.bool("tokenizer.ggml.add_bos_token")?.unwrap_or(sentences || kind == "llama-bpe");
        let wants_space = header.bool("tokenizer.ggml.add_space_prefix")?.unwrap_or(true);
        let end = header.unsigned("tokenizer.ggml.eos_token_id")?;
        let turn_end = header.unsigned("tokenizer.ggml.eot_token_id")?;
        let tokens = header.take_texts("tokenizer.ggml.tokens")?;
        let kinds = header.take_integers("tokenizer.ggml.token_type")?;
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
        let place = |name: &str| tokens.iter().position(|token| token == name).and_then(|id| u32::try_from(id).ok());
        let borders = place(BORDERS[0]).zip(place(BORDERS[1])).map(|(begin, end)| Borders { begin, end });
        let special = special(&tokens, &kinds, &source, sentences);
        let is_special = |id: u32| special.binary_search(&id).is_ok();
        let vocabulary = match words {
            Some(words) => {
                let merges = header.take_texts("tokenizer.ggml.merges")?;
                merges.iter().for_each(|merge| hash.piece(merge));
                Vocabulary::Bytes(Box::new(Bpe::new(&tokens, &kinds, &merges, words)?))
            }
            None => {
                hash.piece([u8::from(wants_space)]);
                let order = if header.has("tokenizer.ggml.scores") {
                    let scores = header.take_floats("tokenizer.ggml.scores")?;
                    scores.iter().for_each(|score| hash.piece(score.to_be_bytes()));
                    Order::Scores(scores)
                } else {
                    let merges = header.take_texts("tokenizer.ggml.merges")?;
                    hash.piece("merges");
                    merges.iter().for_each(|merge| hash.piece(merge));
                    Order::Merges(merges)
                };
                Vocabulary::Sentences(Box::new(Sentence::new(&tokens, &kinds, &order, is_special, wants_space)?))
            }
        };
        let named = special.iter().filter(|id| ENDS.contains(&tokens[**id as usize].as_str()));
        let ends = named.copied().chain(end).chain(turn_end).collect();
        let specials = Names::new(special.iter().map(|id| (tokens[*id as usize].as_str(), *id)));
        let (begin, hash) = (begin.filter(|_| wants_begin), hash.finish());
        Ok(Self { vocabulary, template, specials, ends, borders, begin, hash })
    }

    /// Hash of everything that decides which tokens a conversation becomes.
    pub(crate) fn hash(&self) -> Hash {
        self.hash
    }

    /// Tokens of the vocabulary.
    pub(crate) fn vocabulary(&self) -> usize {
        match &self.vocabulary {
            Vocabulary::Bytes(bpe) => bpe.len(),
            Vocabulary::Sentences(sentence) => sentence.len(),
        }
    }

    /// Whether the token ends an answer.
    pub(crate) fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// The tokens between which the model thinks, if it can.
    pub(crate) fn borders(&self) -> Option<Borders> {
        self.borders
    }

    /// The tokens that end an answer.
    pub(crate) fn ends(&self) -> impl Iterator<Item = u32> {
        self.ends.iter().copied()
    }

    /// What stands for a token where tokens are named: its bytes, or the name of a special one.
    pub(crate) fn name(&self, token: u32) -> &[u8] {
        let bytes = self.bytes(token);
        if bytes.is_empty() { self.specials.name(token).unwrap_or_default().as_bytes() } else { bytes }
    }

    /// The bytes that a token shows: none for control tokens.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        match &self.vocabulary {
            Vocabulary::Bytes(bpe) => bpe.bytes(token),
            Vocabulary::Sentences(sentence) => sentence.bytes(token),
        }
    }

    /// Tokens of plain text. Nothing in it is special.
    pub(crate) fn encode(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        self.text(text, &mut tokens);
        tokens
    }

    fn text(&self, text: &str, tokens: &mut Vec<u32>) {
        match &self.vocabulary {
            Vocabulary::Bytes(bpe) => bpe.encode(text, tokens),
            Vocabulary::Sentences(sentence) => sentence.encode(text, tokens),
        }
    }

    /// Tokens of the rendered conversation. Special tokens come from the template alone, never from a message.
    pub(crate) fn prompt(&self, request: &Request) -> Result<Vec<u32>, EngineError> {
        let mut tokens = Vec::from_iter(self.begin);
        let mut plain = String::new();
        for piece in self.template.render(&request.messages, request.thinks())? {
            match piece {
                Piece::Message(text) => plain.push_str(&text),
                Piece::Template(text) => self.mixed(&text, &mut plain, &mut tokens),
            }
        }
        self.text(&plain, &mut tokens);
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

    /// The token with which the template ends the last turn, which has an answer; none if it has no such token.
    pub(crate) fn end_of_turn(&self, answered: &Request) -> Result<Option<u32>, EngineError> {
        let pieces = self.template.render(&answered.messages, answered.thinks())?;
        let behind = pieces.iter().rev().map_while(|piece| match piece {
            Piece::Template(text) => Some(text),
            Piece::Message(_) => None,
        });
        let mut end = None;
        for text in Vec::from_iter(behind).into_iter().rev() {
            self.specials.cut(text, |_, token| end = end.or(token.filter(|token| self.is_end(*token))));
        }
        Ok(end.or_else(|| self.ends.first().copied()))
    }

    /// The template's own text: special tokens stand for themselves. What is not special collects in `plain`, so that it
    /// is cut into words together with the message beside it.
    fn mixed(&self, text: &str, plain: &mut String, tokens: &mut Vec<u32>) {
        self.specials.cut(text, |before, token| {
            plain.push_str(before);
            if let Some(token) = token {
                self.text(plain, tokens);
                plain.clear();
                tokens.push(token);
            }
        });
    }
}

/// Tokens that come from the template alone, ascending: those of no text, and those of the model's maker that mean
/// something. In sentences his other ones are text, as indents and line ends are; he means those that his template writes.
fn special(tokens: &[String], kinds: &[i64], template: &str, sentences: bool) -> Vec<u32> {
    let of = |wanted: fn(i64) -> bool| {
        (0_u32..).zip(tokens).zip(kinds).filter(move |(_, kind)| wanted(**kind)).map(|((id, token), _)| (token, id))
    };
    let user = Names::new(of(|kind| kind == kind::USER).map(|(token, id)| (token.as_str(), id)));
    let written =
        template.char_indices().flat_map(|(at, _)| user.at(&template[at..]).map(move |(size, id)| (at, size, id)));
    let written = written.filter(|(at, size, _)| !template[*at..*at + size].trim().is_empty()).map(|(_, _, id)| id);
    let mut special: Vec<u32> = match sentences {
        true => of(|kind| ![kind::NORMAL, kind::USER, kind::BYTE].contains(&kind))
            .map(|(_, id)| id)
            .chain(written)
            .collect(),
        false => of(|kind| kind != kind::NORMAL).map(|(_, id)| id).collect(),
    };
    special.sort_unstable();
    special.dedup();
    special
}
