//! What is to be summarised, and how short.

use serde::Deserialize;

/// Words of a summary, if the order does not say.
const WORDS: u64 = 40;
/// Most words of a summary.
const WORDS_MAX: u64 = 200;
/// Longest text, bytes: with the instructions it stays below what one question may hold.
const TEXT_MAX: usize = 24 * 1_024;

/// A checked order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) text: String,
    pub(crate) words: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    text: String,
    words: Option<u64>,
}

impl Order {
    /// Reads plain text, or JSON with a text and a number of words.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, String> {
        let text = core::str::from_utf8(bytes).map_err(|_| "the text is not UTF-8")?.trim();
        let written = match text.starts_with('{') {
            true => serde_json::from_str(text).map_err(|error| error.to_string())?,
            false => Written { text: text.to_owned(), words: None },
        };
        let words = written.words.unwrap_or(WORDS);
        if !(1..=WORDS_MAX).contains(&words) {
            return Err(format!("a summary has 1 to {WORDS_MAX} words"));
        }
        match written.text.trim() {
            "" => Err("there is no text".to_owned()),
            text if text.len() > TEXT_MAX => Err(format!("a text has at most {TEXT_MAX} bytes")),
            text => Ok(Self { text: text.to_owned(), words }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_plain_text_or_json_and_nothing_else() {
        let read = |text: &str| Order::read(text.as_bytes()).map(|order| (order.text, order.words));
        assert_eq!(read(" A long story. "), Ok(("A long story.".to_owned(), WORDS)));
        assert_eq!(read(r#"{"text": "A long story.", "words": 9}"#), Ok(("A long story.".to_owned(), 9)));
        for refused in
            ["", "  ", r#"{"text": " "}"#, r#"{"text": "a", "words": 0}"#, r#"{"text": "a", "word": 1}"#, "{"]
        {
            assert!(read(refused).is_err(), "{refused}");
        }
        assert!(read(&"a".repeat(TEXT_MAX)).is_ok() && read(&"a".repeat(TEXT_MAX + 1)).is_err());
        assert!(Order::read(&[0xff]).is_err());
    }
}
