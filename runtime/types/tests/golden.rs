//! Golden bytes: what is stored, hashed or signed keeps its bytes for ever.
//!
//! A failure here means that old logs no longer open. `AGORA_GOLDEN=write cargo test -p agora-types --test golden`
//! writes the files anew; do that only with a new format version.

mod samples;

use agora_types::batch::{BATCH_VERSION, Batch, BatchHeader, Body, Entry, Outcome, Submitter};
use agora_types::{Amount, Canonical, Code, Hash, Signed, Timestamp, cbor, eip712, merkle};
use samples::*;

/// Compares with `tests/data/golden/<name>.hex`, and reads back.
#[track_caller]
fn golden<T>(name: &str, value: &T)
where
    T: minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()> + PartialEq + std::fmt::Debug,
{
    let bytes = cbor::encode(value);
    bytes_match(name, &bytes);
    assert_eq!(&cbor::decode::<T>("sample", 1 << 20, &bytes).unwrap(), value, "{name} does not read back");
}

#[track_caller]
fn bytes_match(name: &str, bytes: &[u8]) {
    let path = format!("tests/data/golden/{name}.hex");
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        let lines: Vec<String> =
            hex::encode(bytes).as_bytes().chunks(120).map(|l| String::from_utf8_lossy(l).into()).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let expected = hex::decode(text.split_whitespace().collect::<String>()).unwrap();
    assert_eq!(hex::encode(bytes), hex::encode(expected), "the bytes of `{name}` have changed");
}

fn batch() -> Batch {
    let entries: Vec<Entry> =
        commands().into_iter().map(|(command, key)| Entry::sign(&network(), command, &key)).collect();
    let mut outcomes = vec![Outcome::OK; entries.len()];
    outcomes[1] = Outcome::refused(Code::PendingNotFound);
    let body = Body { entries, outcomes }.to_bytes();
    let header = BatchHeader {
        version: BATCH_VERSION,
        kind: 0,
        seq: 0,
        epoch: 1,
        time: Timestamp::from_nanos(1_700_000_001_000_000_000),
        prev: genesis().hash(),
        body_hash: Hash::sha256(&body),
        count: 21,
        body_size: u32::try_from(body.len()).unwrap(),
        state_root: Hash::ZERO,
        state_root_seq: 0,
        receipts_size: 0,
        receipts_root: merkle::empty_root(),
    };
    Batch { header, body }
}

#[test]
fn every_command_keeps_its_bytes() {
    for (command, _) in commands() {
        golden(&format!("command-{:02}-{}", command.kind(), command.kind_name()), &command);
    }
}

#[test]
fn entries_batches_and_their_headers_keep_their_bytes() {
    let (command, key) = commands().swap_remove(0);
    let digest = eip712::command_digest(&network(), &command);
    let gas_max = Amount::from_atoms(9);
    let account = seller().address();
    let signature = seller().sign(&eip712::submission_digest(&network(), &account, &digest, gas_max));
    let entry = Entry {
        submitter: Some(Submitter { account, gas_max, signature }),
        ..Entry::sign(&network(), command, &key).linked()
    };
    golden("entry", &entry);
    let batch = batch();
    golden("batch-header", &batch.header);
    golden("batch", &batch);
    let body = batch.open().expect("the sample is whole");
    golden("batch-body", &body);
    assert_eq!(body.outcomes[1].code(), Some(Code::PendingNotFound));
}

#[test]
fn a_batch_that_does_not_fit_its_header_is_refused() {
    let whole = batch();
    let mut changed = whole.clone();
    changed.body[40] ^= 1;
    assert!(changed.open().is_err());
    for change in [
        |h: &mut BatchHeader| h.count += 1,
        |h: &mut BatchHeader| h.body_size += 1,
        |h: &mut BatchHeader| h.version += 1,
        |h: &mut BatchHeader| h.kind += 1,
        |h: &mut BatchHeader| h.body_hash = Hash::ZERO,
    ] {
        let mut changed = whole.clone();
        change(&mut changed.header);
        assert!(changed.open().is_err());
    }
}

#[test]
fn genesis_and_its_network_keep_their_bytes() {
    golden("genesis", &genesis());
    assert_eq!(genesis().check(), Ok(()));
    bytes_match("genesis-hash", genesis().hash().as_bytes());
    bytes_match("genesis-asset", genesis().network().asset.as_bytes());
}

#[test]
fn channels_and_vouchers_keep_their_bytes() {
    golden("channel-config", &config());
    golden("voucher", &voucher());
    golden("network", &network());
}

#[test]
fn statements_keep_their_bytes_and_read_back_verified() {
    golden("key-statement", &key_statement());
    let signed = Signed::sign(key_statement(), &statement_signer());
    let bytes = signed.to_bytes();
    bytes_match("statement", &bytes);
    assert_eq!(Signed::from_bytes(&bytes), Ok(signed));
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(Signed::<agora_types::command::KeyStatement>::from_bytes(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn derived_ids_and_system_accounts_keep_their_bytes() {
    bytes_match("listing-id", listing().as_bytes());
    bytes_match("listing-account", agora_types::Address::listing(&listing()).as_bytes());
    bytes_match("system-commons", agora_types::Address::system("commons").as_bytes());
    bytes_match("channel-id", channel().as_bytes());
}

#[test]
fn amounts_and_trees_keep_their_bytes() {
    for (name, atoms) in [
        ("amount-zero", 0),
        ("amount-small", 1_000_000),
        ("amount-u64-max", u128::from(u64::MAX)),
        ("amount-u64-above", u128::from(u64::MAX) + 1),
        ("amount-cap", agora_types::CAP.atoms()),
        ("amount-u128-max", u128::MAX),
    ] {
        golden(name, &Amount::from_atoms(atoms));
    }
    let mut tree = merkle::Frontier::default();
    for leaf in 0..11u8 {
        tree.push(merkle::leaf_hash(&[leaf]));
    }
    golden("frontier", &tree);
}
