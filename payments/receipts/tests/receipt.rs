//! A receipt keeps its bytes for ever, is described by its schema, and is refused when it does not add up.

use agora_receipts::receipt::{DatanetRef, Decoding, commit};
use agora_receipts::*;
use agora_types::key::StatementSigner;
use agora_types::{
    Address, Amount, CallId, Canonical as _, ChannelId, Code, DatanetId, Hash, ListingId, Signed, Timestamp,
};

fn address(n: u8) -> Address {
    Address::new([n; 20])
}

fn hash(n: u8) -> Hash {
    Hash::new([n; 32])
}

fn atoms(n: u128) -> Amount {
    Amount::from_atoms(n)
}

fn leg(role: Role, n: u8, amount: u128) -> Leg {
    Leg { role, account: address(n), amount: atoms(amount) }
}

fn provisional() -> Receipt {
    Receipt {
        version: 1,
        kind: Kind::Inference,
        network: 4_020_711,
        call_id: CallId::new([0x31; 16]),
        host: address(3),
        host_seq: 41,
        time: Timestamp::from_nanos(1_800_000_000_123_456_789),
        payer: address(4),
        payee: address(5),
        listing: Some(ListingId::new([6; 32])),
        parents: vec![],
        base_hash: Some(hash(7)),
        adapter_hash: Some(hash(8)),
        tokenizer_hash: Some(hash(9)),
        spec_hash: None,
        datanets: vec![DatanetRef { id: DatanetId::new([10; 32]), root: hash(11), tree_size: 9 }],
        request_commit: commit(&[1; 16], b"a question"),
        response_commit: commit(&[1; 16], b"an answer"),
        decoding: Some(Decoding { temperature_milli: 0, top_k: 0, top_p_milli: 1_000, seed: 0, output_max: 128 }),
        usage: Usage { input: 30, cached: 0, output: 100, hidden: 0 },
        prices: Prices { input: atoms(1_000_000_000), output: atoms(4_000_000_000), ..Prices::default() },
        charge: atoms(430_000_000_000),
        channel: Some(ChannelId::new([12; 32])),
        cumulative: atoms(1_000_000_000_000),
        attribution: Attribution {
            method: "declared-weights".into(),
            verbatim_root: None,
            influence_root: None,
            explained: 0,
            residual: 0,
            totals: vec![],
        },
        legs: vec![
            leg(Role::Contributors, 20, 215_000_000_000),
            leg(Role::ModelOwner, 21, 86_000_000_000),
            leg(Role::Host, 3, 86_000_000_000),
            leg(Role::Validators, 22, 21_500_000_000),
            leg(Role::Platform, 23, 21_500_000_000),
        ],
        state: State::Provisional,
    }
}

fn last() -> Receipt {
    let totals = vec![
        ShareTotal { account: address(31), amount: atoms(107_500_000_000) },
        ShareTotal { account: address(32), amount: atoms(107_500_000_000) },
    ];
    Receipt {
        attribution: Attribution { explained: 1 << 32, totals, ..provisional().attribution },
        legs: vec![leg(Role::Contributor, 31, 107_500_000_000), leg(Role::Contributor, 32, 107_500_000_000)],
        state: State::Final { index: 5, leaf: hash(40) },
        ..provisional()
    }
}

/// A service of an agent that rests on two other receipts, with an amount above 2^64.
fn service() -> Receipt {
    Receipt {
        kind: Kind::Service,
        listing: None,
        parents: vec![hash(50), hash(51)],
        base_hash: None,
        adapter_hash: None,
        tokenizer_hash: None,
        datanets: vec![],
        decoding: None,
        usage: Usage { output: 1, ..Usage::default() },
        prices: Prices { output: atoms(1 << 70), ..Prices::default() },
        charge: atoms(1 << 70),
        cumulative: atoms(1 << 71),
        legs: vec![leg(Role::Host, 3, 1 << 70)],
        ..provisional()
    }
}

#[track_caller]
fn golden(name: &str, bytes: &[u8]) {
    let path = format!("tests/data/{name}.hex");
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        let text = hex::encode(bytes);
        let lines: Vec<&str> = text.as_bytes().chunks(120).map(|line| std::str::from_utf8(line).unwrap()).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
    assert_eq!(hex::encode(bytes), text, "the bytes of `{name}` have changed");
}

#[test]
fn receipts_keep_their_bytes_and_are_described_by_their_schema() {
    let schema = include_str!("../cddl/receipt.cddl");
    for (name, receipt) in [("provisional", provisional()), ("final", last()), ("service", service())] {
        let bytes = receipt.to_bytes();
        golden(name, &bytes);
        assert_eq!(Receipt::from_bytes(&bytes), Ok(receipt.clone()), "{name}");
        cddl::validate_cbor_from_slice(schema, &bytes, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(receipt.check(), Ok(()), "{name}");
    }
    let signed = Signed::sign(provisional(), &StatementSigner::from_bytes(&[7; 32]));
    golden("leaf", &signed.to_bytes());
}

#[test]
fn a_leaf_has_few_hundred_bytes() {
    let signer = StatementSigner::from_bytes(&[7; 32]);
    for receipt in [provisional(), last(), service()] {
        let size = Signed::sign(receipt, &signer).to_bytes().len();
        assert!((300..=1_024).contains(&size), "{size} bytes");
    }
}

#[test]
fn a_changed_leaf_is_refused_wherever_it_was_changed() {
    let signer = StatementSigner::from_bytes(&[7; 32]);
    let bytes = Signed::sign(last(), &signer).to_bytes();
    for at in 0..bytes.len() {
        for bit in [1, 64] {
            let mut changed = bytes.clone();
            changed[at] ^= bit;
            assert!(Signed::<Receipt>::from_bytes(&changed).is_err(), "byte {at}");
        }
    }
    for end in 0..bytes.len() {
        assert!(Signed::<Receipt>::from_bytes(&bytes[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn a_receipt_that_does_not_add_up_is_refused_by_name() {
    type Change = fn(&mut Receipt);
    let wrong: &[(&str, Change, Code)] = &[
        ("version", |r| r.version = 2, Code::WireUnsupported),
        ("parents", |r| r.parents = vec![Hash::ZERO; 17], Code::ReceiptInvalid),
        ("legs", |r| r.legs = vec![r.legs[0]; 17], Code::ReceiptInvalid),
        ("a leg twice", |r| r.legs[1] = r.legs[0], Code::ReceiptInvalid),
        ("a leg of nothing", |r| r.legs[0].amount = Amount::ZERO, Code::ReceiptInvalid),
        ("method", |r| r.attribution.method.clear(), Code::ReceiptInvalid),
        ("long method", |r| r.attribution.method = "x".repeat(33), Code::ReceiptInvalid),
        ("shares too early", |r| r.attribution.explained = 1, Code::ReceiptInvalid),
        ("charge", |r| r.charge = atoms(1), Code::ReceiptMismatch),
        ("usage", |r| r.usage.output += 1, Code::ReceiptMismatch),
        ("cumulative", |r| r.cumulative = atoms(1), Code::ReceiptMismatch),
        ("a leg's amount", |r| r.legs[0].amount = atoms(1), Code::SplitMismatch),
        ("a role of the other receipt", |r| r.legs[4].role = Role::Commons, Code::SplitMismatch),
    ];
    for (what, change, code) in wrong {
        let mut receipt = provisional();
        change(&mut receipt);
        assert_eq!(receipt.check(), Err(*code), "{what}");
    }
    let mut receipt = last();
    receipt.attribution.residual = 1;
    assert_eq!(receipt.check(), Err(Code::ReceiptInvalid));
    let mut receipt = last();
    receipt.legs[0].amount = atoms(1 << 60);
    assert_eq!(receipt.check(), Err(Code::SplitMismatch));
}

#[test]
fn the_text_says_that_declared_weights_are_not_measured() {
    let text = last().to_string();
    for part in
        ["declared, not measured", "asked by", "base model", "adapter", "0.00000043 OPEN", "contributor  0.0000001075"]
    {
        assert!(text.contains(part), "no `{part}` in\n{text}");
    }
}

#[test]
fn json_is_a_view_with_amounts_as_strings_of_atoms() {
    let json = serde_json::to_value(provisional()).unwrap();
    assert_eq!(json["charge"], "430000000000");
    assert_eq!(json["kind"], "inference");
    assert_eq!(serde_json::from_value::<Receipt>(json).unwrap(), provisional());
}
