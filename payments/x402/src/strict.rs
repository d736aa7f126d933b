//! JSON as a machine that handles money must read it: no key twice, bounded depth, numbers that every reader agrees on.
//!
//! RFC 8259 leaves duplicate keys and large numbers to the reader, so that two honest programs can see two payments in
//! one text. Here such a text is refused as a whole.

use std::collections::BTreeSet;

use serde_json::Value;

/// Most objects and arrays inside one another.
pub const DEPTH_MAX: usize = 32;
/// Most digits of a number with a fraction: up to here its text survives reading and writing unchanged.
const FRACTION_DIGITS_MAX: usize = 15;

/// Why a text is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// Not one JSON value in UTF-8, or something behind it.
    #[error("not one JSON value: {0}")]
    Syntax(String),
    /// A key appears twice in one object.
    #[error("the key `{0}` appears twice")]
    DuplicateKey(String),
    /// Deeper than [`DEPTH_MAX`].
    #[error("more than {DEPTH_MAX} objects and arrays inside one another")]
    Depth,
    /// An exponent, more than 64 bits, or a fraction that readers round differently.
    #[error("the number `{0}` is not one that every reader reads alike; write it as a decimal string")]
    Number(String),
}

/// Reads one value; the caller has bounded the length of `bytes`.
///
/// # Errors
/// [`JsonError`] for anything that two readers could read differently.
pub fn value(bytes: &[u8]) -> Result<Value, JsonError> {
    // serde_json refuses bad syntax, trailing bytes, lone surrogates, and recursion beyond 128 levels.
    let value = serde_json::from_slice(bytes).map_err(|error| JsonError::Syntax(error.to_string()))?;
    scan(bytes)?;
    Ok(value)
}

/// Walks over a text that is known to be valid JSON and looks at what the parser lets pass.
fn scan(bytes: &[u8]) -> Result<(), JsonError> {
    let mut open: Vec<BTreeSet<String>> = Vec::new();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at);
                if is_key(bytes, end) {
                    let key: String = serde_json::from_slice(&bytes[at..end])
                        .map_err(|error| JsonError::Syntax(error.to_string()))?;
                    if let Some(keys) = open.last_mut()
                        && !keys.insert(key.clone())
                    {
                        return Err(JsonError::DuplicateKey(key.chars().take(60).collect()));
                    }
                }
                at = end;
            }
            b'{' | b'[' if open.len() == DEPTH_MAX => return Err(JsonError::Depth),
            b'{' | b'[' => {
                open.push(BTreeSet::new());
                at += 1;
            }
            b'}' | b']' => {
                open.pop();
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let rest = &bytes[at..];
                let length = rest.iter().take_while(|b| b"+-.eE0123456789".contains(b)).count();
                number(&rest[..length])?;
                at += length;
            }
            _ => at += 1,
        }
    }
    Ok(())
}

/// One past the closing quote of the string that begins at `at`.
fn string_end(bytes: &[u8], at: usize) -> usize {
    let mut end = at + 1;
    while let Some(byte) = bytes.get(end) {
        match byte {
            b'"' => return end + 1,
            b'\\' => end += 2,
            _ => end += 1,
        }
    }
    bytes.len()
}

/// True when the string that ends at `end` is followed by a colon: in valid JSON only keys are.
fn is_key(bytes: &[u8], end: usize) -> bool {
    bytes.get(end..).is_some_and(|rest| rest.iter().find(|b| !b" \t\r\n".contains(b)) == Some(&b':'))
}

fn number(token: &[u8]) -> Result<(), JsonError> {
    let text = String::from_utf8_lossy(token);
    let good = match text.split_once('.') {
        _ if text.contains(['e', 'E']) => false,
        None => text.parse::<u64>().is_ok() || text.parse::<i64>().is_ok(),
        Some((whole, fraction)) => {
            let digits = whole.trim_start_matches('-').len() + fraction.len();
            // Below 0.00001 writers change to an exponent.
            let tiny = whole.trim_start_matches('-') == "0" && fraction.starts_with("00000");
            digits <= FRACTION_DIGITS_MAX && (!tiny || fraction.bytes().all(|b| b == b'0'))
        }
    };
    if good { Ok(()) } else { Err(JsonError::Number(text.chars().take(60).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for (text, refused) in [
            (r#"{"a":1,"b":{"a":2}}"#, false),
            (r#"[{"a":1},{"a":1}]"#, false),
            (r#"{"a":"\"a\":","b":"x"}"#, false),
            (r#"{"a":0.7,"b":-12.5,"c":0.0,"d":18446744073709551615,"e":-0}"#, false),
            (r#"{"a":1,"a":1}"#, true),
            (r#"{"a":1,"\u0061":1}"#, true),
            (r#"{"x":{"a":1,"b":[],"a" : 2}}"#, true),
            (r#"{"a":1} "#, false),
            (r#"{"a":1}{}"#, true),
            (r#"{"a":1e3}"#, true),
            (r#"{"a":18446744073709551616}"#, true),
            (r#"{"a":0.1234567890123456}"#, true),
            (r#"{"a":0.000001}"#, true),
            (r#"{"a":01}"#, true),
            (r#"{"a":"\ud800"}"#, true),
            ("", true),
        ] {
            assert_eq!(value(text.as_bytes()).is_err(), refused, "{text}");
        }
        assert!(value(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn depth_ends_at_the_bound() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(value(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(value(nested(DEPTH_MAX + 1).as_bytes()), Err(JsonError::Depth));
        assert!(value("[".repeat(100_000).as_bytes()).is_err());
    }
}
