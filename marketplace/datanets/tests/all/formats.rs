//! Golden bytes and CDDL of every record, and the JSON Schemas in `schemas/`.
//!
//! `AGORA_GOLDEN=write cargo test -p agora-datanets` writes them anew; say in the commit what changes for the other
//! side.

use agora_datanets::*;
use agora_types::{Amount, Canonical, Hash, Signed, Timestamp, cbor};
use proptest::prelude::*;
use schemars::{JsonSchema, schema_for};

use crate::kit::*;

fn writes() -> bool {
    std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write")
}

#[track_caller]
fn golden(name: &str, schema: &str, bytes: &[u8]) {
    let path = format!("tests/data/{name}.hex");
    if writes() {
        let text = hex::encode(bytes);
        let lines: Vec<&str> = text.as_bytes().chunks(120).map(|line| std::str::from_utf8(line).unwrap()).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
    assert_eq!(hex::encode(bytes), text, "the bytes of `{name}` have changed");
    cddl::validate_cbor_from_slice(schema, bytes, None).unwrap_or_else(|error| panic!("{name}: {error}"));
}

#[track_caller]
fn record<T: Canonical + PartialEq + std::fmt::Debug>(name: &str, schema: &str, value: &T) {
    golden(name, schema, &value.to_bytes());
    same_bytes(value);
}

fn conversation() -> Item {
    let message = |role, content: &str| Message { role, content: content.to_owned() };
    Item::Messages(vec![
        message(Role::System, "Answer briefly."),
        message(Role::User, "Who owns a wreck?"),
        message(Role::Assistant, "Its owner keeps it; a salvor is owed a reward."),
    ])
}

#[test]
fn records_keep_their_bytes_and_are_described_by_their_schemas() {
    record("item", include_str!("../../cddl/item.cddl"), &conversation());
    let pair = Item::Pair { prompt: "Who owns a wreck?".into(), response: "Its owner.".into() };
    let reveal = Reveal { salt: [7; 16], item: pair };
    record("reveal", include_str!("../../cddl/reveal.cddl"), &reveal);
    let mut batch = Batch::new(address(2), [9; 32]);
    batch.add(text("A lighthouse marks a coast.")).unwrap();
    batch.add(conversation()).unwrap();
    let said = submission(2, &batch);
    record("submission", include_str!("../../cddl/submission.cddl"), &said);
    let signed = signed(said);
    assert_eq!(Signed::from_bytes(&signed.to_bytes()).as_ref(), Ok(&signed));
    let contribution = Contribution {
        position: Position { seq: 300, index: 1 },
        submission: signed.hash(),
        content_hash: batch.contents()[1],
        size_bytes: 116,
    };
    record("contribution", include_str!("../../cddl/contribution.cddl"), &contribution);
    let policy = Policy {
        fee: Amount::from_open(40),
        licences: vec!["CC0-1.0".into(), "LicenseRef-own".into()],
        ..curated(Admission::Accepts(2), 2)
    };
    record("policy", include_str!("../../cddl/policy.cddl"), &policy);
    record("policy-open", include_str!("../../cddl/policy.cddl"), &Policy { near: None, ..Policy::default() });
    let charter = Charter { terms: terms(), policy, time: Timestamp::from_nanos(1_790_000_000_000_000_000) };
    record("charter", include_str!("../../cddl/charter.cddl"), &charter);
    let act = include_str!("../../cddl/act.cddl");
    let judged = verdict(40, Subject::Contribution(batch.contents()[0]), Ruling::Reject, Reason::Other);
    record("verdict", act, &judged);
    record("withdrawal", act, &withdrawal(2, Subject::Submission(300)));
}

#[test]
fn standings_keep_their_bytes() {
    let all = [
        Standing::In,
        Standing::Withdrawn,
        Standing::Repeats { of: 5 },
        Standing::NearDuplicate { of: 70_000 },
        Standing::Rejected { reason: Reason::NotOwned },
        Standing::Flagged { reason: Reason::Personal },
        Standing::Waiting { accepts: 1 },
        Standing::Licence,
        Standing::Size,
    ];
    let bytes = all.map(|standing| hex::encode(cbor::encode(&standing)));
    assert_eq!(bytes, ["8100", "8101", "820205", "82031a00011170", "820405", "820507", "820601", "8107", "8108"]);
    for standing in all {
        cddl::validate_cbor_from_slice(include_str!("../../cddl/standing.cddl"), &cbor::encode(&standing), None)
            .unwrap();
    }
}

#[test]
fn versions_keep_their_bytes() {
    let mut net = Net::new(curated(Admission::Open, 1));
    net.give(2, 7, "A lighthouse marks a coast, a reef or a harbour for ships at night and in fog.");
    let other = net.give(3, 8, "Moon and sun pull at the sea; where both pull in one line the tides are highest.");
    net.judge(40, net.content(other), Ruling::Flag, Reason::Wrong);
    net.accept(41, other);
    let (version, membership) = net.version(1);
    record("datanet", include_str!("../../cddl/datanet.cddl"), &version);
    assert_eq!(version.root, contributions_root(&net.contributions));
    assert_eq!(version.standings_root, membership.root());
    assert_eq!(version.policy_hash, net.draft.policy().hash());
    assert_eq!((version.tree_size, version.acts_size, version.included), (2, 2, 2));
    assert_eq!(version.check_draft(&net.draft, &net.clusters()), Ok(membership));
}

#[test]
fn what_is_hashed_is_written_down() {
    // Anyone can make these without our code: SHA-256 over the pieces, one after another.
    let content = commit(&address(2), &[7; 16], b"data");
    let pieces: [&[u8]; 4] = [b"agora/content/v1", &[2; 20], &[7; 16], b"data"];
    assert_eq!(content, Hash::sha256(pieces.concat()));
    let pieces: [&[u8]; 3] = [b"agora/salt/v1", &[9; 32], &[0, 0, 1, 0]];
    assert_eq!(salt(&[9; 32], 256), Hash::sha256(pieces.concat()).as_bytes()[..16]);
    let hasher = similar::MinHasher::default();
    let signature = hasher.signature(&similar::Shingles::of("A lighthouse marks a coast, a reef or a harbour."));
    golden(
        "signature",
        "signature = bytes",
        &cbor::encode(&minicbor::bytes::ByteVec::from(signature.to_bytes().to_vec())),
    );
    assert_eq!(similar::Signature::from_bytes(&signature.to_bytes()), signature);
}

#[track_caller]
fn schema<T: JsonSchema>(name: &str) {
    let text = serde_json::to_string_pretty(&schema_for!(T)).unwrap() + "\n";
    let path = format!("schemas/{name}.json");
    if writes() {
        std::fs::create_dir_all("schemas").unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(&text), value(&kept), "the schema of `{name}` has changed");
}

#[test]
fn views_keep_their_schemas() {
    schema::<Item>("Item");
    schema::<Submission>("Submission");
    schema::<Commitment>("Commitment");
    schema::<Contribution>("Contribution");
    schema::<Terms>("Terms");
    schema::<Policy>("Policy");
    schema::<Verdict>("Verdict");
    schema::<Withdrawal>("Withdrawal");
    schema::<Standing>("Standing");
    schema::<Counts>("Counts");
    schema::<checks::Report>("Report");
}

#[test]
fn an_item_reads_in_json_as_people_write_it() {
    let json = |item: &Item| serde_json::to_string(item).unwrap();
    assert_eq!(json(&text("Salvage")), r#"{"text":"Salvage"}"#);
    let pair = Item::Pair { prompt: "Q".into(), response: "A".into() };
    assert_eq!(json(&pair), r#"{"pair":{"prompt":"Q","response":"A"}}"#);
    let talk = Item::Messages(vec![Message { role: Role::User, content: "Q".into() }]);
    assert_eq!(json(&talk), r#"{"messages":[{"role":"user","content":"Q"}]}"#);
    assert_eq!(serde_json::from_str::<Item>(&json(&pair)).unwrap(), pair);
}

#[test]
fn items_out_of_bounds_have_no_data() {
    let huge = "x".repeat(ITEM_SIZE_MAX);
    let message = Message { role: Role::User, content: "Q".into() };
    let wrong = [
        text(""),
        text(" \n\t"),
        text(&huge),
        Item::Pair { prompt: "Q".into(), response: " ".into() },
        Item::Messages(Vec::new()),
        Item::Messages(vec![message; MESSAGES_MAX + 1]),
    ];
    for item in wrong {
        assert_eq!(item.data(), Err(agora_types::Code::ItemInvalid));
    }
    assert!(text(&huge[..ITEM_SIZE_MAX - 16]).data().is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_make_a_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Item::from_bytes(&bytes);
        let _ = Reveal::from_bytes(&bytes);
        let _ = Signed::<Submission>::from_bytes(&bytes);
        let _ = Contribution::from_bytes(&bytes);
        let _ = Policy::from_bytes(&bytes);
        let _ = Act::from_bytes(&bytes);
        let _ = DatanetVersion::from_bytes(&bytes);
    }
}
