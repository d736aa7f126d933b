//! Others' numbers: what independent libraries and published specifications say, our words must say too.

mod samples;

use agora_types::eip712::{self, Network};
use agora_types::key::{KeyError, WalletSignature};
use agora_types::{Amount, Hash, merkle};
use samples::*;

fn hash(text: &str) -> Hash {
    text.parse().unwrap()
}

#[test]
fn x402_digests_equal_the_published_golden_vectors() {
    let network = network();
    assert_eq!(payer().address().to_string(), "0x70997970c51812dc3a010c7d01b50e0d17dc79c8");
    assert_eq!(seller().address().to_string(), "0x3c44cdddb6a900fa2b585dd299e03d12fa4293bc");
    assert_eq!(facilitator().address().to_string(), "0x90f79bf6eb2c4f870365e785982e1f101e93b906");
    let channel = config().id(&network);
    assert_eq!(channel.to_string(), "0x105bee45b4b1a9209db98b602822dd6a4e27c8ef6760685aa7451dfd0e1ecbe0");
    assert_eq!(
        eip712::voucher_digest(&network, &channel, Amount::from_atoms(5_000)),
        hash("0x1128575520737c11875adf5dc7b8e4a6edbfd0b1ffac68a7a0df9128d589826e")
    );
    let nonce = Hash::new([0x11; 32]);
    let (from, to) = (payer().address(), seller().address());
    assert_eq!(
        eip712::exact_digest(&network, &from, &to, Amount::from_atoms(1_000), 0..1_900_000_000, &nonce),
        hash("0x28f578c3393df144478463e0329070e708bf0cedc4631a2f42c15f5eda9e9b5d")
    );
    assert_eq!(upto().digest(&network), hash("0x91f83102c418b48349d140368b3c5e52e1cd97d47f21c4c82d03fb99cefebce4"));
    let mut salt = [0; 32];
    salt[31] = 0x22;
    assert_eq!(
        eip712::deposit_nonce(&channel, &Hash::new(salt)),
        hash("0xbd10f907365960f1e53c2c6bc3c62b8541974a29216eee7179b3b64b3bd5a4eb")
    );
}

#[test]
fn every_command_has_the_digest_and_the_signature_that_viem_makes() {
    let text = include_str!("data/eip712.json");
    let file: serde_json::Value = serde_json::from_str(text).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let find = |name: &str| {
        let vector = vectors.iter().find(|v| v["name"] == name).unwrap_or_else(|| panic!("no vector for {name}"));
        let digest = hash(vector["digest"].as_str().unwrap());
        let signature: WalletSignature = vector["signature"].as_str().unwrap().parse().unwrap();
        (digest, signature)
    };
    let commands = commands();
    assert_eq!(commands.len(), agora_types::command::KINDS);
    for (number, (command, key)) in commands.iter().enumerate() {
        let name = command.kind_name();
        assert_eq!(usize::from(command.kind()), number, "{name}");
        let (digest, signature) = find(name);
        assert_eq!(eip712::command_digest(&network(), command), digest, "{name}");
        assert_eq!(key.sign(&digest), signature, "{name}");
        assert_eq!(command.signer(), Some(key.address()), "{name}");
        assert_eq!(signature.verify(&digest, &key.address()), Ok(()), "{name}");
    }
    assert_eq!(voucher().signature, find("voucher").1);
    let first = eip712::command_digest(&network(), &commands[0].0);
    let submission = eip712::submission_digest(&network(), &seller().address(), &first, Amount::from_atoms(9));
    assert_eq!(submission, find("submission").0);
}

#[test]
fn a_signature_for_one_network_means_nothing_on_another() {
    let other = Network { chain_id: network().chain_id + 1, ..network() };
    let asset = Network { asset: payer().address(), ..network() };
    for (command, _) in commands() {
        let digest = eip712::command_digest(&network(), &command);
        assert_ne!(digest, eip712::command_digest(&other, &command), "{}", command.kind_name());
        if !matches!(command.kind_name(), "claim" | "refund") {
            assert_ne!(digest, eip712::command_digest(&asset, &command), "{}", command.kind_name());
        }
    }
    assert!(voucher().verify(&other, &payer().address()).is_err());
}

#[test]
fn malleable_and_malformed_wallet_signatures_are_refused() {
    // The order of secp256k1's group.
    const ORDER: &str = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
    let digest = Hash::sha256("a message");
    let good = payer().sign(&digest);
    assert_eq!(good.recover(&digest), Ok(payer().address()));
    let with = |change: &dyn Fn(&mut [u8; 65])| {
        let mut bytes = *good.as_bytes();
        change(&mut bytes);
        WalletSignature::new(bytes).verify(&digest, &payer().address())
    };
    let order: [u8; 32] = hex::decode(ORDER).unwrap().try_into().unwrap();
    let negated = |bytes: &mut [u8; 65]| {
        let mut borrow = 0i16;
        for at in (0..32).rev() {
            let digit = i16::from(order[at]) - i16::from(bytes[32 + at]) - borrow;
            borrow = i16::from(digit < 0);
            bytes[32 + at] = u8::try_from(digit.rem_euclid(256)).unwrap();
        }
        bytes[64] = 55 - bytes[64];
    };
    assert_eq!(with(&negated), Err(KeyError::BadSignature), "high s");
    for v in [0, 1, 26, 29, 255] {
        assert_eq!(with(&|bytes: &mut [u8; 65]| bytes[64] = v), Err(KeyError::BadSignature), "v {v}");
    }
    assert_eq!(with(&|bytes: &mut [u8; 65]| bytes[..32].fill(0)), Err(KeyError::BadSignature), "zero r");
    assert_eq!(with(&|bytes: &mut [u8; 65]| bytes[32..64].fill(0)), Err(KeyError::BadSignature), "zero s");
    assert_eq!(with(&|bytes: &mut [u8; 65]| bytes[..32].fill(255)), Err(KeyError::BadSignature), "overlarge r");
    assert_eq!(with(&|bytes: &mut [u8; 65]| bytes[5] ^= 1), Err(KeyError::BadSignature), "another r");
    assert!(good.verify(&Hash::sha256("another"), &payer().address()).is_err());
    assert!(good.verify(&digest, &seller().address()).is_err());
}

#[test]
fn statements_by_small_order_keys_are_refused() {
    // A key of small order verifies many messages under the lax rule.
    let mut key = [0; 32];
    key[0] = 1;
    let mut signature = [0; 64];
    signature[0] = 1;
    let key = agora_types::key::StatementKey::new(key);
    let signature = agora_types::key::StatementSignature::new(signature);
    assert!(key.verify(b"anything", &signature).is_err());
}

#[test]
fn the_receipt_tree_has_the_roots_of_rfc_6962() {
    assert_eq!(merkle::leaf_hash(b""), hash("0x6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"));
    let leaves: Vec<Hash> =
        ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
            .iter()
            .map(|text| merkle::leaf_hash(&hex::decode(text).unwrap()))
            .collect();
    assert_eq!(merkle::root(&[]), Hash::sha256(""));
    assert_eq!(merkle::root(&leaves[..7]), hash("0xddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"));
    assert_eq!(merkle::root(&leaves), hash("0x5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"));
}
