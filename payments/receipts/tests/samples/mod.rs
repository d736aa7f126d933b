//! Receipts, a log, and a file handed on: what the tests of this crate look at.
#![allow(dead_code)]

use agora_receipts::envelope::{Disclosure, EnvelopeNetwork, EnvelopeType, LoggedReceipt, Opening};
use agora_receipts::receipt::{DatanetRef, Decoding, commit};
use agora_receipts::trust::TrustedNetwork;
use agora_receipts::*;
use agora_types::genesis::Split;
use agora_types::key::StatementSigner;
use agora_types::merkle::{Tree, leaf_hash};
use agora_types::{Address, Amount, CallId, ChannelId, DatanetId, Hash, ListingId, Signed, Timestamp};

pub(crate) fn address(n: u8) -> Address {
    Address::new([n; 20])
}

pub(crate) fn hash(n: u8) -> Hash {
    Hash::new([n; 32])
}

pub(crate) fn atoms(n: u128) -> Amount {
    Amount::from_atoms(n)
}

pub(crate) fn leg(role: Role, n: u8, amount: u128) -> Leg {
    Leg { role, account: address(n), amount: atoms(amount) }
}

pub(crate) fn provisional() -> Receipt {
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
        decoding: Some(Decoding {
            temperature_milli: 0,
            top_k: 0,
            top_p_milli: 1_000,
            seed: 0,
            output_max: 128,
            min_p_milli: 0,
            repetition_milli: 1_000,
            hidden_max: 0,
        }),
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
            sampled: None,
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

pub(crate) fn last() -> Receipt {
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
pub(crate) fn service() -> Receipt {
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
pub(crate) fn golden(name: &str, bytes: &[u8]) {
    let path = format!("tests/data/{name}.hex");
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        let text = hex::encode(bytes);
        let lines: Vec<&str> = text.as_bytes().chunks(120).map(|line| std::str::from_utf8(line).unwrap()).collect();
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
    let text: String = std::fs::read_to_string(&path).unwrap().split_whitespace().collect();
    assert_eq!(hex::encode(bytes), text, "the bytes of `{name}` have changed");
}

pub(crate) const CHAIN_ID: u64 = 4_020_711;
/// Indices of the sample's receipts among the 11 leaves of its log.
pub(crate) const PROVISIONAL: u64 = 5;
pub(crate) const FINAL: u64 = 9;

pub(crate) fn host_signer() -> StatementSigner {
    StatementSigner::from_bytes(&[7; 32])
}

pub(crate) fn operator() -> StatementSigner {
    StatementSigner::from_bytes(&[8; 32])
}

/// The provisional receipt as the ledger admits it: parts to the system's accounts.
pub(crate) fn settled() -> Receipt {
    let mut receipt = provisional();
    let to = [Some("suspense"), None, None, Some("validators"), Some("platform")];
    for (leg, system) in receipt.legs.iter_mut().zip(to) {
        leg.account = system.map_or(leg.account, Address::system);
    }
    receipt
}

/// Its final receipt.
pub(crate) fn finished() -> Receipt {
    let leaf = leaf_hash(&Signed::sign(settled(), &host_signer()).to_bytes());
    Receipt { state: State::Final { index: PROVISIONAL, leaf }, ..last() }
}

pub(crate) fn network() -> EnvelopeNetwork {
    EnvelopeNetwork { chain_id: CHAIN_ID, genesis_hash: hash(60), name: "demo".into() }
}

pub(crate) fn trust() -> Trust {
    Trust::new(vec![TrustedNetwork {
        name: "demo".into(),
        chain_id: CHAIN_ID,
        genesis_hash: hash(60),
        checkpoint_keys: vec![checkpoint::verifier_key(CHAIN_ID, operator().public())],
        host_keys: vec![],
        split: Some(Split::default()),
    }])
    .unwrap()
}

/// The file for two receipts that stand in a log whose checkpoint `signer` signs.
pub(crate) fn export(first: &Receipt, second: Option<&Receipt>, signer: &StatementSigner) -> Envelope {
    let leaf = |receipt: &Receipt| Signed::sign(receipt.clone(), &host_signer()).to_bytes();
    let mut entries: Vec<Vec<u8>> = (0u8..11).map(|n| vec![n; 40]).collect();
    let at = |index: u64| usize::try_from(index).unwrap();
    entries[at(PROVISIONAL)] = leaf(first);
    if let Some(second) = second {
        entries[at(FINAL)] = leaf(second);
    }
    let tree = Tree::from_leaves(entries.iter().map(|entry| leaf_hash(entry)));
    let checkpoint = Checkpoint { origin: checkpoint::origin(CHAIN_ID), size: tree.size(), root: tree.root() };
    let note = checkpoint.sign(signer).unwrap();
    let logged = |index: u64| {
        let path = tree.inclusion_proof(index, tree.size()).unwrap();
        let proof = LogProof { extra: None, index, path, checkpoint: note.clone() };
        LoggedReceipt::new(&entries[at(index)], &proof)
    };
    let disclosure = Disclosure {
        request: Some(Opening::new(&[1; 16], b"a question")),
        response: Some(Opening::new(&[1; 16], b"an answer")),
    };
    Envelope {
        kind: EnvelopeType::V1,
        network: network(),
        provisional: logged(PROVISIONAL),
        last: second.map(|_| logged(FINAL)),
        disclosure: Some(disclosure),
        attribution: None,
    }
}

/// The good file.
pub(crate) fn envelope() -> Envelope {
    export(&settled(), Some(&finished()), &operator())
}

/// Compares with a text under `tests/data`.
#[track_caller]
pub(crate) fn golden_text(name: &str, text: &str) {
    let path = format!("tests/data/{name}");
    if std::env::var("AGORA_GOLDEN").is_ok_and(|word| word == "write") {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "`{name}` has changed");
}
