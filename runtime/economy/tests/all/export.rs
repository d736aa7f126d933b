//! What the ledger admits is what a stranger can verify offline: rules and verifier are written apart and must agree.

use agora_economy::testkit::*;
use agora_receipts::envelope::{EnvelopeNetwork, EnvelopeType, LoggedReceipt};
use agora_receipts::{Checkpoint, Envelope, LogProof, Receipt, Trust, TrustedNetwork, checkpoint, verify};
use agora_types::key::StatementSigner;
use agora_types::merkle::{Tree, leaf_hash};
use agora_types::{Canonical as _, Code, Hash};

/// The file for a provisional receipt and the final one behind it, under a checkpoint over the whole log.
fn export(kit: &Kit, provisional: u64, last: u64) -> Envelope {
    let tree = Tree::from_leaves(kit.receipts.iter().map(|leaf| leaf_hash(leaf)));
    let header = &kit.log.last().unwrap().0.header;
    assert_eq!((tree.root(), tree.size()), (header.receipts_root, header.receipts_size), "one log in both");
    let origin = checkpoint::origin(kit.genesis.chain_id);
    let note = Checkpoint { origin, size: tree.size(), root: tree.root() };
    let note = note.sign(&StatementSigner::from_bytes(&[9; 32])).unwrap();
    let logged = |index: u64| {
        let path = tree.inclusion_proof(index, tree.size()).unwrap();
        let proof = LogProof { extra: None, index, path, checkpoint: note.clone() };
        LoggedReceipt::new(&kit.receipts[usize::try_from(index).unwrap()], &proof)
    };
    Envelope {
        kind: EnvelopeType::V1,
        network: EnvelopeNetwork {
            chain_id: kit.genesis.chain_id,
            genesis_hash: kit.genesis.hash(),
            name: kit.genesis.name.clone(),
        },
        provisional: logged(provisional),
        last: Some(logged(last)),
        disclosure: None,
        attribution: None,
    }
}

#[test]
fn every_call_that_the_ledger_settled_verifies_offline_from_the_genesis_file_alone() {
    let mut kit = Kit::ready();
    // Charges that do not divide evenly, so that both ways of splitting must give the odd atoms to the same parts.
    let calls: Vec<Receipt> = (1u8..=20).map(|call| kit.settle(call, u64::from(call) * 7, 1_003)).collect();
    for receipt in &calls {
        let last = kit.final_receipt(receipt);
        let command = kit.finalize_command(&last);
        kit.submit(HOST, command).unwrap();
    }
    let trust = Trust::new(vec![TrustedNetwork::from_genesis(&kit.genesis)]).unwrap();
    let trust = Trust::from_toml(&trust.to_toml()).unwrap();
    for index in 0..20 {
        let verdict = verify(&export(&kit, index, 20 + index), &trust);
        assert!(verdict.is_ok(), "call {index}:\n{verdict}");
        assert!(verdict.checks.iter().any(|check| check.name == "provisional.split"));
    }
    let crossed = verify(&export(&kit, 3, 24), &trust);
    assert_eq!(crossed.code, Some(Code::ReceiptMismatch), "{crossed}");
    let mut elsewhere = export(&kit, 3, 23);
    elsewhere.network.genesis_hash = Hash::ZERO;
    assert_eq!(verify(&elsewhere, &trust).code, Some(Code::ReceiptUntrusted));
}
