//! What fuzzers and the mutation test call: the reader of schemas, without a model behind it.
//!
//! A probe returns true when the bytes were read. It panics when something is wrong with what came of them: that is a bug,
//! and the reason why nothing but tests calls this module.

use std::sync::OnceLock;

use agora_types::{Code, Hash};
use serde_json::Value;

use crate::constrain::Constrainer;
use crate::sampling::Mask;

/// A probe and its name, which is also the name of its fuzz target and of its corpus.
pub type Probe = (&'static str, fn(&[u8]) -> bool);

/// Every probe.
pub const PROBES: &[Probe] = &[("schema", schema)];

/// Tokens of the answer that is tried for a schema.
const TOKENS_MAX: u8 = 48;

/// A JSON schema: an answer by it, of tokens that a hash chooses, is always the beginning of a JSON document.
pub fn schema(bytes: &[u8]) -> bool {
    static CONSTRAINER: OnceLock<Constrainer> = OnceLock::new();
    // One token per byte, some longer ones, one that ends.
    const WORDS: [&[u8]; 7] = [b"\": ", b"\",\"", b"true", b"null", b"00", b"ab", "\u{e9}\"".as_bytes()];
    const END: u32 = 256 + 7;
    static SINGLE: [u8; 256] = {
        let mut all = [0; 256];
        let mut at = 0;
        while at < 256 {
            #[allow(clippy::cast_possible_truncation, reason = "below 256")]
            let byte = at as u8;
            all[at] = byte;
            at += 1;
        }
        all
    };
    let show = |token: u32| -> &'static [u8] {
        let at = token as usize;
        SINGLE.get(at..=at).or_else(|| WORDS.get(at.wrapping_sub(256)).copied()).unwrap_or_default()
    };
    let make = || Constrainer::new(END as usize + 1, show, std::iter::once(END)).expect("a small vocabulary");
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut constraint = match CONSTRAINER.get_or_init(make).constraint(text) {
        Ok(constraint) => constraint,
        Err(error) => {
            assert_eq!(error.code, Code::EngineBadRequest, "{error}");
            return false;
        }
    };
    let mut answer = Vec::new();
    for step in 0..TOKENS_MAX {
        let allowed: Vec<u32> = match constraint.mask() {
            Ok(Mask(words)) => (0..=END).filter(|token| words[*token as usize / 32] >> (token % 32) & 1 == 1).collect(),
            // Too complex to go on.
            Err(error) => {
                assert_eq!(error.code, Code::EngineBadRequest, "{error}");
                return true;
            }
        };
        assert!(!allowed.is_empty(), "nothing may follow {:?}", String::from_utf8_lossy(&answer));
        let chance = usize::from(Hash::sha256_of(&[bytes, &[step]]).as_bytes()[0]);
        let token = allowed[chance % allowed.len()];
        if token == END {
            return whole(&answer);
        }
        answer.extend_from_slice(show(token));
        match constraint.take(token) {
            Ok(false) => {}
            Ok(true) => return whole(&answer),
            Err(error) => {
                assert_eq!(error.code, Code::EngineBadRequest, "{error}");
                return true;
            }
        }
    }
    let cut = std::str::from_utf8(&answer).is_err_and(|error| error.error_len().is_some());
    assert!(!cut, "no text: {:?}", String::from_utf8_lossy(&answer));
    true
}

/// A whole answer is a JSON document; numbers may be beyond what the reader holds.
fn whole(answer: &[u8]) -> bool {
    let read = serde_json::from_slice::<Value>(answer);
    let out_of_range = |error: &serde_json::Error| error.to_string().starts_with("number out of range");
    assert!(read.as_ref().err().is_none_or(out_of_range), "{read:?}: {:?}", String::from_utf8_lossy(answer));
    true
}
