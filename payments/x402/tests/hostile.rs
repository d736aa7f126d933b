//! Whatever arrives, no reader panics, and what is read is written the same: the fuzz targets in small form.
//!
//! Inputs are `fuzz/corpus`, changed at random. `AGORA_SEED` repeats a run, `AGORA_ROUNDS` makes it longer.

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Once;

use agora_types::Hash;
use agora_x402::header;
use agora_x402::probe::PROBES;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::*;
use proptest::prelude::*;

/// Repeatable bytes: each draw is the hash of seed and count.
struct Dice {
    seed: u64,
    count: u64,
}

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.count += 1;
        let hash = Hash::sha256([self.seed.to_be_bytes(), self.count.to_be_bytes()].concat());
        let word = u64::from_be_bytes(hash.as_bytes()[..8].try_into().unwrap());
        usize::try_from(word % u64::try_from(below.max(1)).unwrap()).unwrap()
    }
}

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

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
    "=",
    "eip155:",
];

fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
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
            0 | 1 | 4 | 5 => {
                let digit = b'0' + u8::try_from(dice.roll(10)).unwrap();
                if let Some(found) = bytes.iter().skip(at).position(u8::is_ascii_digit) {
                    bytes[at + found] = digit;
                }
            }
            _ => {}
        }
    }
}

fn corpus() -> BTreeMap<String, Vec<Vec<u8>>> {
    // Tests run side by side: one of them writes, the others wait.
    static WRITE: Once = Once::new();
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        WRITE.call_once(write_corpus);
    }
    let mut inputs = BTreeMap::new();
    for (name, _) in PROBES {
        let folder = Path::new("fuzz/corpus").join(name);
        let mut found: Vec<_> = std::fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.unwrap().path())
            .collect();
        found.sort();
        inputs.insert((*name).to_owned(), found.iter().map(|path| std::fs::read(path).unwrap()).collect());
    }
    inputs
}

#[test]
fn every_input_of_the_corpus_is_read() {
    for (name, probe) in PROBES {
        let inputs = &corpus()[*name];
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for (at, input) in inputs.iter().enumerate() {
            assert!(probe(input), "{name}: input {at} is not read");
        }
    }
}

#[test]
fn no_mutation_of_the_corpus_makes_a_reader_panic() {
    let seed = from_environment("AGORA_SEED", std::process::id().into());
    let rounds = from_environment("AGORA_ROUNDS", 2_000);
    println!("AGORA_SEED={seed}");
    let mut dice = Dice { seed, count: 0 };
    let corpus = corpus();
    for (name, probe) in PROBES {
        let inputs = &corpus[*name];
        let is_header = name.starts_with("header_");
        let mut read = 0;
        for _ in 0..rounds {
            let mut bytes = inputs[dice.roll(inputs.len())].clone();
            // Headers are mostly changed under their base64, which else hides everything.
            if is_header && dice.roll(4) != 0 {
                bytes = STANDARD.decode(&bytes).unwrap();
                mutate(&mut bytes, &mut dice);
                bytes = STANDARD.encode(&bytes).into_bytes();
            } else {
                mutate(&mut bytes, &mut dice);
            }
            read += u64::from(probe(&bytes));
        }
        println!("{name}: {read} of {rounds} read");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (_, probe) in PROBES {
            probe(&bytes);
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in "[\\[\\]{}:,\"0-9a-e.\\\\ -]{0,80}") {
        for (_, probe) in PROBES {
            probe(text.as_bytes());
        }
    }

    #[test]
    fn only_one_writing_of_an_amount_is_read(number in any::<u128>(), noise in "[ +0xe._-]{1,2}") {
        let own = number.to_string();
        prop_assert_eq!(agora_types::Amount::from_atoms_text(&own).map(|amount| amount.atoms()), Ok(number));
        let other = noise + &own;
        prop_assert!(agora_types::Amount::from_atoms_text(&other).is_err());
    }

    #[test]
    fn a_uint256_survives_its_text(bytes in any::<[u8; 32]>()) {
        let nonce = agora_x402::wire::Nonce(Hash::new(bytes));
        prop_assert_eq!(nonce.to_string().parse(), Ok(nonce));
    }
}

/// The corpus is made of the stock SDK's documents and of ours.
fn write_corpus() {
    let put = |probe: &str, name: &str, bytes: &[u8]| {
        let folder = Path::new("fuzz/corpus").join(probe);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join(name), bytes).unwrap();
    };
    for kind in ["exact", "upto", "batch-settlement", "voucher"] {
        let text = stock()["payloads"][kind].as_str().unwrap().to_owned();
        put("header_payment", kind, text.as_bytes());
        put("body_payment", kind, &STANDARD.decode(&text).unwrap());
        put("body_request", kind, &json(&stock_request(kind)));
    }
    for kind in ["exact", "upto", "batch-settlement"] {
        let text = stock()["required"][kind].as_str().unwrap().to_owned();
        put("header_required", kind, text.as_bytes());
        put("body_required", kind, &STANDARD.decode(&text).unwrap());
    }
    put("header_required", "ours", header::encode(&offers().required(None)).unwrap().as_bytes());
    let response = stock()["response"].as_str().unwrap().to_owned();
    put("header_response", "stock", response.as_bytes());
    put("body_settled", "stock", &STANDARD.decode(&response).unwrap());
    let state = serde_json::to_value(view(1_000, 37).state(config().id(&network()))).unwrap();
    let verified = serde_json::json!({"isValid": true, "payer": payer().address(), "extra": state});
    put("body_verified", "good", &json(&verified));
    let refused =
        serde_json::json!({"isValid": false, "invalidReason": "insufficient_funds", "invalidMessage": "fund it"});
    put("body_verified", "refused", &json(&refused));
    let kind = serde_json::json!({"x402Version": 2, "scheme": "upto", "network": "eip155:4020711",
        "extra": {"facilitatorAddress": facilitator().address()}});
    let supported = serde_json::json!({"kinds": [kind], "extensions": ["payment-identifier"],
        "signers": {"eip155:*": [facilitator().address()]}});
    put("body_supported", "ours", &json(&supported));
    let bazaar = serde_json::json!({"info": {"input": {"type": "http", "method": "POST", "bodyType": "json",
        "body": {"temperature": 0.7}}, "output": {"type": "json", "example": {"text": "…"}}},
        "schema": {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object"}});
    let page = serde_json::json!({"x402Version": 2, "items": [{"resource": URL, "type": "http", "x402Version": 2,
        "accepts": offers().accepts, "lastUpdated": "2026-01-01T00:00:00Z", "extensions": {"bazaar": bazaar}}],
        "pagination": {"limit": 20, "offset": 0, "total": 1}});
    put("body_discovery", "one", &json(&page));
    let signature = stock_payment("exact").payload["signature"].as_str().unwrap().to_owned();
    put("text_signature", "exact", signature.as_bytes());
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}
