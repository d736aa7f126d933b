//! Cutting text into words, inside which bytes are merged.

use std::borrow::Cow;

use agora_inference_api::EngineError;
use icu_normalizer::ComposingNormalizerBorrowed;
use regex::Regex;

use crate::failure::bad_model;

/// GPT-2's words, marks and white space. It says by looking ahead that white space before a word leaves its last sign to
/// it; [`Words::cut`] does so by hand.
const GPT2: &str = r"'(?:s|t|re|ve|m|ll|d)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+";
/// Llama 3's: up to three digits, any one sign before a word, marks with the line's end.
const LLAMA3: &str = r"'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";
/// Qwen 2's: Llama 3's with digits one by one.
const QWEN2: &str = r"'(?:[sSſ]|[tT]|[rR][eE]|[vV][eE]|[mM]|[lL][lL]|[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+";

/// How a model cuts.
#[derive(Debug)]
pub(crate) struct Words {
    expression: Regex,
    /// Digits are cut out one by one before.
    digits: bool,
    /// White space with a line's end leaves nothing to the word behind it.
    lines: bool,
    /// Signs and their accents are composed first (NFC), as the model's own tokenizer does; llama.cpp leaves them.
    composed: bool,
    /// A word that is a token is not merged.
    pub(crate) whole: bool,
}

impl Words {
    /// By the name in the file; `None` if unknown.
    pub(crate) fn named(name: &str) -> Result<Option<Self>, EngineError> {
        let [digits, lines, composed, whole] = match name {
            "gpt-2" => [false, false, false, false],
            "smollm" => [true, false, false, false],
            "llama-bpe" => [false, true, false, true],
            "qwen2" => [false, true, true, false],
            _ => return Ok(None),
        };
        let expression = match name {
            "llama-bpe" => LLAMA3,
            "qwen2" => QWEN2,
            _ => GPT2,
        };
        let expression = Regex::new(expression).map_err(|error| bad_model(error.to_string()))?;
        Ok(Some(Self { expression, digits, lines, composed, whole }))
    }

    /// Cuts text into words.
    pub(crate) fn cut(&self, text: &str, mut word: impl FnMut(&str)) {
        let text = match self.composed {
            true => ComposingNormalizerBorrowed::new_nfc().normalize(text),
            false => Cow::Borrowed(text),
        };
        let mut rest = &*text;
        while !rest.is_empty() {
            let digit = rest.find(char::is_numeric).filter(|_| self.digits).unwrap_or(rest.len());
            self.split(&rest[..digit], &mut word);
            rest = &rest[digit..];
            if let Some(sign) = rest.chars().next() {
                let (digit, after) = rest.split_at(sign.len_utf8());
                word(digit);
                rest = after;
            }
        }
    }

    fn split(&self, text: &str, word: &mut impl FnMut(&str)) {
        let mut at = 0;
        while let Some(found) = self.expression.find_at(text, at) {
            let mut cut = found.as_str();
            let last = cut.chars().next_back().map_or(0, char::len_utf8);
            let leaves = found.end() < text.len() && last < cut.len() && cut.chars().all(char::is_whitespace);
            if leaves && !(self.lines && cut.ends_with(['\r', '\n'])) {
                cut = &cut[..cut.len() - last];
            }
            word(cut);
            at = found.start() + cut.len();
        }
    }
}
