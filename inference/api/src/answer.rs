//! The text of an answer as it can be shown: whole characters, nothing that may still become a stop string.

/// Makes text of an answer's tokens: what waits to become a whole character, or may still become a stop string.
#[derive(Debug, Default)]
pub struct Answer {
    /// The beginning of a character.
    bytes: Vec<u8>,
    /// Text that may become a stop string.
    held: String,
    stops: Vec<String>,
}

impl Answer {
    /// Ends before the first of `stops`.
    pub fn new(stops: Vec<String>) -> Self {
        Self { stops, ..Self::default() }
    }

    /// Takes the bytes of one more token: what can be shown, and whether a stop string was reached.
    pub fn push(&mut self, bytes: &[u8]) -> (String, bool) {
        self.bytes.extend_from_slice(bytes);
        self.decode(false);
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = first {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let ready = self.held.len() - self.waiting();
        let rest = self.held.split_off(ready);
        (std::mem::replace(&mut self.held, rest), false)
    }

    /// What had waited, when the answer is over.
    pub fn finish(&mut self) -> String {
        self.decode(true);
        std::mem::take(&mut self.held)
    }

    /// Moves whole characters from bytes to text. What is not UTF-8 becomes U+FFFD.
    fn decode(&mut self, all: bool) {
        let mut whole = 0;
        for chunk in self.bytes.utf8_chunks() {
            let is_last = whole + chunk.valid().len() + chunk.invalid().len() == self.bytes.len();
            self.held.push_str(chunk.valid());
            whole += chunk.valid().len();
            if chunk.invalid().is_empty() {
                continue;
            }
            // Only at the very end can bytes still become a character.
            let begun = std::str::from_utf8(chunk.invalid()).is_err_and(|error| error.error_len().is_none());
            if is_last && begun && !all {
                break;
            }
            self.held.push(char::REPLACEMENT_CHARACTER);
            whole += chunk.invalid().len();
        }
        self.bytes.drain(..whole);
    }

    /// Length of the longest end of the text with which a stop string begins.
    fn waiting(&self) -> usize {
        let begins = |stop: &String| {
            let most = stop.len().min(self.held.len());
            (1..=most).rev().find(|size| self.held.as_bytes().ends_with(&stop.as_bytes()[..*size])).unwrap_or(0)
        };
        self.stops.iter().map(begins).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;

    fn shown(answer: &mut Answer, tokens: &[&[u8]]) -> Vec<String> {
        tokens.iter().map(|token| answer.push(token).0).collect()
    }

    #[test]
    fn a_character_split_over_tokens_is_shown_whole() {
        let mut answer = Answer::new(Vec::new());
        let crab = "🦀".as_bytes();
        assert_eq!(shown(&mut answer, &[b"a", &crab[..1], &crab[1..3], &crab[3..], b"b"]), ["a", "", "", "🦀", "b"]);
        assert_eq!(answer.finish(), "");
    }

    #[test]
    fn bytes_that_are_no_character_are_replaced() {
        let mut answer = Answer::new(Vec::new());
        assert_eq!(shown(&mut answer, &[b"\xFFa", b"\xE2\x82", b"b", b"\xF0\x9F"]), ["\u{FFFD}a", "", "\u{FFFD}b", ""]);
        assert_eq!(answer.finish(), "\u{FFFD}");
    }

    #[test]
    fn text_waits_while_it_may_become_a_stop_string() {
        let mut answer = Answer::new(vec!["END".to_owned(), "NDX".to_owned()]);
        assert_eq!(shown(&mut answer, &[b"an E", b"N", b"d", b" E", b"ND"]), ["an ", "", "ENd", " ", ""]);
        let mut answer = Answer::new(vec!["\n\n".to_owned()]);
        assert_eq!(answer.push(b"one\n"), ("one".to_owned(), false));
        assert_eq!(answer.push(b"\ntwo"), (String::new(), true));
    }

    #[test]
    fn what_waited_is_shown_at_the_end() {
        let mut answer = Answer::new(vec!["stop".to_owned()]);
        assert_eq!(answer.push(b"don't st"), ("don't ".to_owned(), false));
        assert_eq!(answer.finish(), "st");
    }
}
