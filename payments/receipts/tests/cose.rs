//! The COSE form of a receipt keeps its bytes, and no other bytes verify.

mod samples;

use agora_receipts::cose::{sign1, unsigned_structure, verify1};
use agora_types::{Canonical as _, Code};
use samples::*;

#[test]
fn the_export_keeps_its_bytes_and_is_described_by_its_schema() {
    let export = sign1(&provisional(), &host_signer());
    golden("cose", &export);
    let schema = include_str!("../cddl/receipt-cose.cddl");
    cddl::validate_cbor_from_slice(schema, &export, None).unwrap();
    assert_eq!(verify1(&export), Ok((provisional(), host_signer().public())));
}

#[test]
fn the_signed_structure_is_the_one_of_rfc_9052() {
    let key = host_signer().public();
    let payload = provisional().tagged();
    // 84: four items; 6a: a text of ten bytes; 58 26: 38 bytes of protected header {1: -8, 4: key}; 40: no external data.
    let head = [&b"\x84\x6aSignature1\x58\x26\xa2\x01\x27\x04\x58\x20"[..], key.as_bytes(), b"\x40"].concat();
    let length = u16::try_from(payload.len()).unwrap().to_be_bytes();
    assert_eq!(unsigned_structure(&provisional(), &key), [&head[..], b"\x59", &length, &payload].concat());
}

#[test]
fn a_changed_export_is_refused_wherever_it_was_changed() {
    let export = sign1(&provisional(), &host_signer());
    for at in 0..export.len() {
        for bit in [1, 64] {
            let mut changed = export.clone();
            changed[at] ^= bit;
            assert!(verify1(&changed).is_err(), "byte {at}");
        }
        assert!(verify1(&export[..at]).is_err(), "cut at {at}");
    }
    assert_eq!(verify1(&[export.as_slice(), &[0]].concat()), Err(Code::WireNotCanonical));
    assert_eq!(verify1(&vec![0; 5_000]), Err(Code::WireTooLarge));
}

#[test]
fn the_leafs_own_signature_is_no_cose_signature() {
    let export = sign1(&provisional(), &host_signer());
    let leaf = host_signer().sign(&provisional().tagged());
    let swapped = [&export[..export.len() - 64], leaf.as_bytes()].concat();
    assert_eq!(verify1(&swapped), Err(Code::KeyBadSignature));
}
