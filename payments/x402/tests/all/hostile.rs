//! Whatever arrives, no reader panics, and what is read is written the same: the fuzz targets in small form.
//!
//! Inputs are `fuzz/corpus`, changed at random. `AGORA_SEED` repeats a run, `AGORA_ROUNDS` makes it longer.

use crate::common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Once;

use agora_types::Hash;
use agora_x402::header;
use agora_x402::probe::PROBES;
use agora_x402::probe::mutate::{Dice, mutate};
use agora_x402::wire::{PaymentRequired, Scheme};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use common::*;
use proptest::prelude::*;
use serde_json::Value;

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
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
fn every_probe_has_its_fuzz_target() {
    let manifest = std::fs::read_to_string("fuzz/Cargo.toml").unwrap();
    for (name, _) in PROBES {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is not in fuzz/Cargo.toml");
        assert!(manifest.contains(&format!("\n{name} = ")), "{name} has no longest input in fuzz/Cargo.toml");
        let target = std::fs::read_to_string(format!("fuzz/fuzz_targets/{name}.rs")).unwrap();
        assert!(
            target.contains(&format!("agora_x402::probe::{name}(bytes)")),
            "{name}: the target calls another probe"
        );
    }
    assert_eq!(manifest.matches("[[bin]]").count(), PROBES.len());
}

#[test]
fn no_mutation_of_the_corpus_makes_a_reader_panic() {
    let seed = from_environment("AGORA_SEED", std::process::id().into());
    let rounds = from_environment("AGORA_ROUNDS", 2_000);
    println!("AGORA_SEED={seed}");
    let mut dice = Dice::new(seed);
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

/// The correction with no offer but the one that it is about.
fn correction_alone() -> PaymentRequired {
    let mut required = correction();
    required.accepts.retain(|accept| accept.known().is_some_and(|offer| offer.scheme == Scheme::BatchSettlement));
    required
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
        put("seller_payment", kind, &STANDARD.decode(&text).unwrap());
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
    for (name, word) in [
        ("network", "eip155:4020711"),
        ("amount", "340282366920938463463374607431768211455"),
        ("nonce", "7"),
        ("address", &payer().address().to_string()),
        ("reason", "insufficient_funds"),
    ] {
        put("text_words", name, word.as_bytes());
    }
    for (name, url) in
        [("name", URL), ("address", "HTTP://[::1]:8402?a@b"), ("backslash", "https://a.example\\b.example/")]
    {
        put("buyer_host", name, url.as_bytes());
    }
    for kind in 0..3 {
        let mut required = offers().required(None);
        required.accepts = vec![required.accepts[kind].clone()];
        put("buyer_offer", ["exact", "upto", "batch-settlement"][kind], &json(&required));
    }
    let answer = |amount: &str, extra: Value| {
        json(&serde_json::json!({"success": true, "transaction": "0x01", "network": "eip155:4020711", "amount": amount,
            "payer": payer().address(), "extra": extra}))
    };
    put(
        "buyer_answer",
        "charged",
        &answer(
            "",
            serde_json::json!({"chargedAmount": "60",
        "channelState": {"chargedCumulativeAmount": "160"}}),
        ),
    );
    put("buyer_answer", "refunded", &answer("900", serde_json::json!({})));
    put(
        "buyer_answer",
        "refused",
        &json(&serde_json::json!({"success": false, "errorReason": "insufficient_funds",
        "transaction": "", "network": "eip155:4020711"})),
    );
    put("buyer_corrected", "behind", &json(&correction_alone()));
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}
