//! Byte-level byte-pair encoding, as GPT-2 does it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use agora_inference_api::EngineError;
use regex::Regex;

use crate::failure::{bad_model, quoted};

/// Words, marks and white space. Digits stand alone where the model wants it and are cut out before.
const WORDS: &str = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
/// The type of plain tokens.
const NORMAL: i64 = 1;

/// A vocabulary and its merges.
#[derive(Debug)]
pub(crate) struct Bpe {
    words: Regex,
    /// Digits one by one.
    digits: bool,
    /// What each token shows; nothing for special ones.
    pieces: Vec<Box<[u8]>>,
    special: Vec<bool>,
    /// The token of each single byte, if there is one.
    bytes: [Option<u32>; 256],
    /// What two neighbours become, and how early.
    merges: HashMap<(u32, u32), (u32, u32)>,
}

impl Bpe {
    /// From the lists of the file.
    pub(crate) fn new(tokens: &[String], kinds: &[i64], merges: &[String], digits: bool) -> Result<Self, EngineError> {
        let words = Regex::new(WORDS).map_err(|error| bad_model(error.to_string()))?;
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
        let (mut pieces, mut special) = (Vec::new(), Vec::new());
        for ((id, token), kind) in (0..).zip(tokens).zip(kinds) {
            special.push(*kind != NORMAL);
            if *kind != NORMAL {
                pieces.push(Box::default());
                continue;
            }
            let piece: Option<Box<[u8]>> = token.chars().map(|sign| signs.get(&sign).copied()).collect();
            let piece = piece.filter(|piece| !piece.is_empty());
            let piece = piece.ok_or_else(|| bad_model(format!("the token {} is not of bytes", quoted(token))))?;
            if let [byte] = *piece {
                bytes[usize::from(byte)] = Some(id);
            }
            if by_text.insert(token.as_str(), id).is_some() {
                return Err(bad_model(format!("the token {} stands twice", quoted(token))));
            }
            pieces.push(piece);
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
        Ok(Self { words, digits, pieces, special, bytes, merges: table })
    }

    /// Tokens of the vocabulary.
    pub(crate) fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether the token is one that text never becomes.
    pub(crate) fn is_special(&self, token: u32) -> bool {
        self.special.get(token as usize).is_some_and(|special| *special)
    }

    /// What a token shows.
    pub(crate) fn bytes(&self, token: u32) -> &[u8] {
        self.pieces.get(token as usize).map_or(&[], |piece| piece)
    }

    /// Adds the tokens of `text`.
    pub(crate) fn encode(&self, text: &str, tokens: &mut Vec<u32>) {
        let mut rest = text;
        while !rest.is_empty() {
            let digit = rest.find(char::is_numeric).filter(|_| self.digits).unwrap_or(rest.len());
            self.split(&rest[..digit], tokens);
            rest = &rest[digit..];
            if let Some(sign) = rest.chars().next() {
                let (digit, after) = rest.split_at(sign.len_utf8());
                self.word(digit.as_bytes(), tokens);
                rest = after;
            }
        }
    }

    /// Cuts text into words.
    fn split(&self, text: &str, tokens: &mut Vec<u32>) {
        let mut at = 0;
        while let Some(found) = self.words.find_at(text, at) {
            let mut word = found.as_str();
            let last = word.chars().next_back().map_or(0, char::len_utf8);
            // White space before a word leaves its last sign to it; GPT-2's expression says so by looking ahead.
            if found.end() < text.len() && last < word.len() && word.chars().all(char::is_whitespace) {
                word = &word[..word.len() - last];
            }
            self.word(word.as_bytes(), tokens);
            at = found.start() + word.len();
        }
    }

    /// Merges the bytes of a word, the earliest merges first, the leftmost of equal ones.
    fn word(&self, word: &[u8], tokens: &mut Vec<u32>) {
        // A byte without a token is left out, as other implementations do.
        let mut ids: Vec<u32> = word.iter().filter_map(|byte| self.bytes[usize::from(*byte)]).collect();
        let count = ids.len();
        let mut after: Vec<usize> = (1..=count).collect();
        let mut before: Vec<usize> = (0..count).map(|at| at.wrapping_sub(1)).collect();
        let mut live = vec![true; count];
        let mut heap = BinaryHeap::new();
        let offer = |heap: &mut BinaryHeap<_>, ids: &[u32], left: usize, right: usize| {
            if let Some((rank, whole)) = self.merges.get(&(ids[left], ids[right])) {
                heap.push(Reverse((*rank, left, right, ids[left], ids[right], *whole)));
            }
        };
        for right in 1..count {
            offer(&mut heap, &ids, right - 1, right);
        }
        while let Some(Reverse((_, left, right, left_id, right_id, whole))) = heap.pop() {
            let stale = !live[left] || !live[right] || after[left] != right;
            if stale || ids[left] != left_id || ids[right] != right_id {
                continue;
            }
            (ids[left], live[right], after[left]) = (whole, false, after[right]);
            if let Some(back) = before.get_mut(after[left]) {
                *back = left;
                offer(&mut heap, &ids, left, after[left]);
            }
            if before[left] < count {
                offer(&mut heap, &ids, before[left], left);
            }
        }
        tokens.extend(ids.iter().zip(live).filter_map(|(id, live)| live.then_some(*id)));
    }
}
