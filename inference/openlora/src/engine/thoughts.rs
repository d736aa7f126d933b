//! What a model thinks before it answers: counted apart, not shown, and bounded.

use agora_inference_api::{HIDDEN_LEAST, Request};

use crate::text::{Borders, Text};

/// The thoughts of one answer. Without borders, or without tokens for them, nothing is hidden.
#[derive(Debug, Default)]
pub(super) struct Thoughts {
    borders: Option<Borders>,
    open: bool,
    /// Hidden tokens that may still come.
    left: u64,
}

impl Thoughts {
    /// Of an answer to this prompt. A prompt may end inside a thought that its template has opened.
    pub(super) fn new(text: &Text, request: &Request, prompt: &[u32], context: usize) -> Self {
        let room = (context.saturating_sub(prompt.len()) as u64).saturating_sub(request.output_max);
        let left = request.hidden_max.min(room);
        let Some(borders) = text.borders().filter(|_| left >= HIDDEN_LEAST) else { return Self::default() };
        let last = prompt.iter().rev().find(|token| [borders.begin, borders.end].contains(token));
        Self { borders: Some(borders), open: last == Some(&borders.begin), left }
    }

    /// Whether the next token belongs to a thought.
    pub(super) fn is_open(&self) -> bool {
        self.open
    }

    /// Hidden tokens that may still come.
    pub(super) fn left(&self) -> u64 {
        self.left
    }

    /// The next token, where there is no choice: a thought ends with the last token that may be hidden.
    pub(super) fn forced(&self) -> Option<u32> {
        self.borders.filter(|_| self.open && self.left <= 1).map(|borders| borders.end)
    }

    /// Takes the next token; true if it is hidden.
    pub(super) fn take(&mut self, token: u32) -> bool {
        let Some(borders) = self.borders else { return false };
        let begins = !self.open && token == borders.begin && self.left >= HIDDEN_LEAST;
        let hidden = self.open || begins;
        if hidden {
            self.left = self.left.saturating_sub(1);
            self.open = token != borders.end;
        }
        hidden
    }
}

#[cfg(test)]
mod tests {
    use super::{Borders, Thoughts};

    #[test]
    fn a_thought_that_the_model_opens_ends_with_the_last_token_there_is_for_it() {
        let mut thoughts = Thoughts { borders: Some(Borders { begin: 8, end: 9 }), open: false, left: 5 };
        assert_eq!((thoughts.take(1), thoughts.take(9), thoughts.is_open()), (false, false, false));
        assert_eq!((thoughts.take(8), thoughts.take(1), thoughts.take(9)), (true, true, true));
        assert_eq!((thoughts.take(1), thoughts.left(), thoughts.forced()), (false, 2, None));
        assert_eq!((thoughts.take(8), thoughts.forced()), (true, Some(9)));
        assert_eq!((thoughts.take(9), thoughts.is_open(), thoughts.left()), (true, false, 0));
        // Nothing is left: what it thinks now is a part of the answer.
        assert_eq!((thoughts.take(8), thoughts.take(1), thoughts.is_open()), (false, false, false));
    }
}
