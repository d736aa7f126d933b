//! A receipt keeps its bytes for ever, is described by its schema, and is refused when it does not add up.

mod samples;

use agora_receipts::*;
use agora_types::key::StatementSigner;
use agora_types::{Amount, Canonical as _, Code, Hash, Signed};
use samples::*;

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
fn json_is_a_view_with_amounts_as_strings_of_atoms() {
    let json = serde_json::to_value(provisional()).unwrap();
    assert_eq!(json["charge"], "430000000000");
    assert_eq!(json["kind"], "inference");
    assert_eq!(serde_json::from_value::<Receipt>(json).unwrap(), provisional());
}
