//! Byte-level byte-pair encoding, as GPT-2 does it.

use std::collections::HashMap;

use agora_inference_api::EngineError;

use super::kind;
use super::merge::merge;
use super::pieces::Pieces;
use super::words::Words;
use crate::failure::{bad_model, quoted};

/// A vocabulary and its merges.
#[derive(Debug)]
pub(crate) struct Bpe {
    words: Words,
    /// What each token shows; nothing for special ones.
    pieces: Pieces,
    /// The token of each single byte, if there is one.
    bytes: [Option<u32>; 256],
    /// What two neighbours become, and how early.
    merges: HashMap<(u32, u32), (u32, u32)>,
    /// Words that are tokens, if the model takes such words as they are.
    whole: HashMap<Box<[u8]>, u32>,
}

impl Bpe {
    /// From the lists of the file.
    pub(crate) fn new(tokens: &[String], kinds: &[i64], merges: &[String], words: Words) -> Result<Self, EngineError> {
        let mut signs = HashMap::new();
        let mut extra = 256_u32;
        for byte in 0..=255_u8 {
            // Visible signs stand for themselves, others are moved behind the first 256.
            let sign = match byte {
                b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF => char::from(byte),
                _ => {
                    extra += 1;
                    char::from_u32(extra - 1).unwrap_or_default()
                }
            };
            signs.insert(sign, byte);
        }
        let mut by_text = HashMap::new();
        let mut bytes = [None; 256];
        let (mut pieces, mut whole) = (Pieces::default(), HashMap::new());
        for ((id, token), kind) in (0..).zip(tokens).zip(kinds) {
            if *kind != kind::NORMAL {
                let shown = if *kind == kind::USER { token.as_bytes() } else { &[] };
                pieces.push(shown);
                continue;
            }
            let piece: Option<Vec<u8>> = token.chars().map(|sign| signs.get(&sign).copied()).collect();
            let piece = piece.filter(|piece| !piece.is_empty());
            let piece = piece.ok_or_else(|| bad_model(format!("the token {} is not of bytes", quoted(token))))?;
            if let [byte] = *piece.as_slice() {
                bytes[usize::from(byte)] = Some(id);
            }
            if by_text.insert(token.as_str(), id).is_some() {
                return Err(bad_model(format!("the token {} stands twice", quoted(token))));
            }
            if words.whole {
                whole.insert(piece.as_slice().into(), id);
            }
            pieces.push(&piece);
        }
        let mut table = HashMap::new();
        for (rank, merge) in (0..).zip(merges) {
            let parts = merge.split_once(' ').and_then(|(left, right)| {
                let whole = format!("{left}{right}");
                Some((*by_text.get(left)?, *by_text.get(right)?, *by_text.get(whole.as_str())?))
            });
            let (left, right, whole) = parts.ok_or_else(|| bad_model(format!("the merge {}", quoted(merge))))?;
            table.entry((left, right)).or_insert((rank, whole));
        }
        pieces.shrink();
        Ok(Self { words, pieces, bytes, merges: table, whole })
    }

    /// Tokens of the vocabulary.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// What a token shows.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        self.pieces.get(token)
    }

    /// Adds the tokens of `text`.
    pub(crate) fn encode(&self, text: &str, tokens: &mut Vec<u32>) {
        self.words.cut(text, |word| {
            if let Some(token) = self.whole.get(word.as_bytes()) {
                tokens.push(*token);
                return;
            }
            // A byte without a token is left out, as other implementations do.
            let bytes = word.bytes().filter_map(|byte| self.bytes[usize::from(byte)]).collect();
            tokens.extend(merge(bytes, |left, right| self.merges.get(&(left, right)).copied()));
        });
    }
}
