//! The CDDL beside this crate describes what is kept for ever, and the bytes of a record never change.

use std::fs;

use agora_economy::testkit::{HOST, Kit, key};
use agora_economy::{CallRecord, Finished};
use agora_types::command::Command;
use agora_types::{Canonical as _, Hash};

fn schema() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap();
    [read("cddl/call-record.cddl"), read("../types/cddl/common.cddl")].join("\n")
}

fn record(finished: Option<Finished>) -> CallRecord {
    CallRecord { index: 7, leaf: Hash::new([1; 32]), content: Hash::new([2; 32]), settled_seq: 300, finished }
}

#[test]
fn the_bytes_of_a_call_record_are_golden_and_described_by_their_schema() {
    let ended = Finished { seq: 301, index: Some(9), leaf: Some(Hash::new([3; 32])) };
    let lapsed = Finished { seq: 301, index: None, leaf: None };
    let (one, two, three) = ("01".repeat(32), "02".repeat(32), "03".repeat(32));
    let head = format!("0007015820{one}025820{two}0319012c");
    for (record, golden) in [
        (record(None), format!("a4{head}")),
        (record(Some(ended)), format!("a5{head}04a30019012d0109025820{three}")),
        (record(Some(lapsed)), format!("a5{head}04a10019012d")),
    ] {
        let bytes = record.to_bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        assert_eq!(CallRecord::from_bytes(&bytes).unwrap(), record);
        cddl::validate_cbor_from_slice(&schema(), &bytes, None).unwrap();
    }
    assert!(cddl::validate_cbor_from_slice(&schema(), &[0xa1, 0x00, 0x07], None).is_err(), "a record has four fields");
}

#[test]
fn the_records_of_a_real_call_are_described_by_their_schema() {
    let mut kit = Kit::ready();
    let receipt = kit.settle(1, 50, 1_000);
    let last = kit.final_receipt(&receipt);
    let finalize = kit.finalize_command(&last);
    assert!(matches!(finalize, Command::FinalizeCall(_)));
    kit.submit(HOST, finalize).unwrap();
    let calls: Vec<&agora_economy::ports::log::Record> = kit
        .log
        .iter()
        .flat_map(|(_, records)| records)
        .filter(|record| record.index == agora_economy::ports::log::Index::Call)
        .collect();
    assert_eq!(calls.len(), 2, "settled, then finished");
    for record in calls {
        assert_eq!(record.key.len(), 36);
        assert!(record.key.starts_with(receipt.payer.as_bytes()) && receipt.host == key(HOST).address());
        cddl::validate_cbor_from_slice(&schema(), &record.value, None).unwrap();
    }
}
