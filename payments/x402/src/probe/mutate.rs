//! Inputs changed at random and repeatably: what an ordinary test has instead of a fuzzer.

use agora_types::Hash;

/// Pieces that readers stumble over.
const PIECES: &[&str] = &[
    "\"",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "null",
    "0",
    "-1",
    "1e9",
    "0.1",
    "\\u0000",
    "\\ud800",
    "\"a\":1,\"a\":2",
    "18446744073709551616",
    "340282366920938463463374607431768211456",
    "0x",
    "\"type\":\"refund\"",
    "\u{0}",
    "\n",
    "=",
    "/",
    "?",
    "%2f",
    "@",
    "eip155:",
];

/// Repeatable draws: each is the hash of seed and count.
#[derive(Debug)]
pub struct Dice {
    seed: u64,
    count: u64,
}

impl Dice {
    /// The same seed draws the same.
    pub const fn new(seed: u64) -> Self {
        Self { seed, count: 0 }
    }

    /// A number below `below`, or zero.
    pub fn roll(&mut self, below: usize) -> usize {
        self.count += 1;
        let hash = Hash::sha256([self.seed.to_be_bytes(), self.count.to_be_bytes()].concat());
        let word = hash.as_bytes().iter().take(8).fold(0, |word, byte| (word << 8) | u64::from(*byte));
        // What is below a `usize` fits one.
        usize::try_from(word % below.max(1) as u64).unwrap_or(0)
    }
}

/// Changes an input in one to three places.
pub fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(bytes.len() + 1);
        match dice.roll(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.roll(8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.truncate(at),
            3 => {
                let piece = PIECES[dice.roll(PIECES.len())].as_bytes();
                bytes.splice(at..at, piece.iter().copied());
            }
            4 if at < bytes.len() => {
                let end = at + dice.roll(bytes.len() - at).min(200);
                let copy = bytes[at..end].to_vec();
                bytes.splice(end..end, copy);
            }
            _ => {
                let digit = b"0123456789"[dice.roll(10)];
                if let Some(found) = bytes.iter().skip(at).position(u8::is_ascii_digit) {
                    bytes[at + found] = digit;
                }
            }
        }
    }
}
