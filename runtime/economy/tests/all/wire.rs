//! What goes over the bus is described by the CDDL beside this crate, and questions and answers keep their bytes.
//!
//! `AGORA_GOLDEN=write cargo test -p agora-economy --test all wire::` writes the golden files anew; do that only with a new
//! version of the format.

use std::fs;

use agora_economy::ports::bus::ask::{Ask, CountAsk, Counted, QuoteAsk, RefundAsk, Reply};
use agora_economy::ports::bus::frame::{DATA_BYTES_MAX, DETAIL_BYTES_MAX};
use agora_economy::testkit::{Kit, PAYER, atoms, key};
use agora_types::{Canonical, Code};

/// A schema with the words that it builds on.
fn schema(kind: &str, words: &[&str]) -> String {
    let own = fs::read_to_string(format!("cddl/{kind}.cddl")).unwrap();
    let words = words.iter().map(|name| fs::read_to_string(format!("../types/cddl/{name}.cddl")).unwrap());
    [own].into_iter().chain(words).collect::<Vec<_>>().join("\n")
}

fn ask_schema() -> String {
    schema("ask", &["channel-config", "voucher", "common"])
}

fn reply_schema() -> String {
    schema("reply", &["common"])
}

fn valid(schema: &str, bytes: &[u8]) -> Result<(), String> {
    cddl::validate_cbor_from_slice(schema, bytes, None).map_err(|error| error.to_string())
}

fn quote_ask(request: Vec<u8>) -> Ask {
    let (payer, listing) = (key(PAYER).address(), Kit::listing());
    Ask::Quote(Box::new(QuoteAsk { payer, listing, salt: [0x41; 16], request }))
}

fn asks() -> Vec<(&'static str, Ask)> {
    let kit = Kit::default();
    let refund = RefundAsk { config: kit.config(), voucher: kit.voucher(&kit.config(), atoms(900)) };
    let count = CountAsk { listing: Kit::listing(), request: b"What is salvage?".to_vec() };
    vec![
        ("ask-quote", quote_ask(b"What is salvage?".to_vec())),
        ("ask-refund", Ask::Refund(Box::new(refund))),
        ("ask-count", Ask::Count(Box::new(count))),
    ]
}

fn replies() -> Vec<(&'static str, Reply)> {
    vec![
        ("reply-quote", Reply::Quote(b"a signed quote".to_vec())),
        ("reply-refunded", Reply::Refunded(atoms(u128::from(u64::MAX) + 1))),
        ("reply-counted", Reply::Counted(Counted { input: 30, output: 128, hidden: 0 })),
        ("reply-failed", Reply::failed(Code::QuoteTooMany, "three are open")),
    ]
}

fn check<T: Canonical + PartialEq + std::fmt::Debug>(name: &str, value: &T, schema: &str) {
    let bytes = value.to_bytes();
    let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = format!("tests/data/bus/{name}.hex");
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        let lines: Vec<&[u8]> = text.as_bytes().chunks(120).collect();
        fs::write(&path, lines.join(&b'\n')).unwrap();
    }
    let golden: String = fs::read_to_string(&path).unwrap().split_whitespace().collect();
    assert_eq!(text, golden, "the bytes of `{name}` have changed");
    assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value));
    valid(schema, &bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[test]
fn questions_and_answers_keep_their_bytes_and_are_described_by_their_schemas() {
    for (name, ask) in asks() {
        check(name, &ask, &ask_schema());
    }
    for (name, reply) in replies() {
        check(name, &reply, &reply_schema());
    }
}

#[test]
fn the_smallest_answer_is_what_the_text_of_the_format_says() {
    // [1, [900]]
    assert_eq!(Reply::Refunded(atoms(900)).to_bytes(), [0x82, 0x01, 0x81, 0x19, 0x03, 0x84]);
}

#[test]
fn neither_schema_describes_the_other_kind() {
    // The crate behind `valid` takes any map for a number that may have a tag, so the refund proves nothing here.
    let (name, ask) = &asks()[0];
    assert!(valid(&reply_schema(), &ask.to_bytes()).is_err(), "{name}");
    for (name, reply) in replies() {
        assert!(valid(&ask_schema(), &reply.to_bytes()).is_err(), "{name}");
    }
}

#[test]
fn every_golden_frame_is_described_by_the_schema_of_frames() {
    let schema = schema("frame", &["entry", "command", "voucher", "common"]);
    let mut frames = 0;
    for file in fs::read_dir("tests/data/frames").unwrap() {
        let path = file.unwrap().path();
        let text: String = fs::read_to_string(&path).unwrap().split_whitespace().collect();
        let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
        let bytes: Vec<u8> = (0..text.len()).step_by(2).map(digit).collect();
        valid(&schema, &bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(valid(&ask_schema(), &bytes).is_err(), "{}", path.display());
        frames += 1;
    }
    assert_eq!(frames, 10);
}

#[test]
fn cut_bent_and_lengthened_bytes_are_refused_and_never_panic() {
    fn hostile<T: PartialEq, E>(name: &str, value: &T, bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, E>) {
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "{name} cut to {end} bytes was read");
        }
        for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut bent = bytes.to_vec();
            bent[at] ^= 1 << bit;
            assert!(read(&bent).map_or(true, |other| other != *value), "{name}: two byte forms of one value");
        }
        let longer = [bytes, &[0]].concat();
        assert!(read(&longer).is_err(), "{name}: a byte too many");
    }
    for (name, ask) in asks() {
        hostile(name, &ask, &ask.to_bytes(), Ask::from_wire);
    }
    for (name, reply) in replies() {
        hostile(name, &reply, &reply.to_bytes(), Reply::from_wire);
    }
    // [1, [900]] with 900 in four bytes instead of two.
    let long = Reply::from_wire(&[0x82, 0x01, 0x81, 0x1a, 0, 0, 0x03, 0x84]).unwrap_err();
    assert_eq!(long.code, Code::WireNotCanonical);
    assert_eq!(Reply::from_wire(&[0x82, 0x09, 0x80]).unwrap_err().code, Code::WireMalformed, "an unknown kind");
}

#[test]
fn each_limit_has_its_code() {
    assert!(Ask::from_wire(&quote_ask(vec![0; DATA_BYTES_MAX]).to_bytes()).is_ok());
    let large = quote_ask(vec![0; DATA_BYTES_MAX + 1]).to_bytes();
    assert_eq!(Ask::from_wire(&large).unwrap_err().code, Code::WireTooLarge);
    assert!(valid(&ask_schema(), &large).is_err(), "the schema knows the limit too");
    let large = Reply::Quote(vec![0; 8 * 1024]).to_bytes();
    assert_eq!(Reply::from_wire(&large).unwrap_err().code, Code::WireTooLarge);
    let cut = Reply::failed(Code::BusTimeout, &"é".repeat(DETAIL_BYTES_MAX));
    assert!(Reply::from_wire(&cut.to_bytes()).is_ok(), "an own detail is cut at a character");
}
