//! An exported receipt is verified offline, and nothing that was changed passes.

mod samples;

use agora_receipts::envelope::{ENVELOPE_SIZE_MAX, Enclosed, Envelope, Opening};
use agora_receipts::*;
use agora_types::genesis::Split;
use agora_types::key::StatementSigner;
use agora_types::{Amount, Code, Hash};
use samples::*;

#[track_caller]
fn refused(envelope: &Envelope, name: &str, code: Code) {
    let verdict = verify(envelope, &trust());
    let check = verdict.checks.iter().find(|check| check.name == name);
    let check = check.unwrap_or_else(|| panic!("no check {name} in\n{verdict}"));
    assert_eq!((check.ok, check.code), (false, Some(code)), "{verdict}");
    assert_eq!(verdict.code, Some(code), "{verdict}");
    assert_eq!(verdict.exit_code, 8);
}

#[test]
fn a_receipt_verifies_offline_against_pinned_keys() {
    let envelope = envelope();
    let json = envelope.to_json().unwrap();
    golden_text("call.receipt.json", &json);
    assert_eq!(Envelope::from_json(&json), Ok(envelope.clone()));
    let verdict = verify_json(&json, &trust());
    assert!(verdict.is_ok(), "{verdict}");
    golden_text("verdict.txt", &(verdict.to_string() + "\n"));
    let view = serde_json::to_value(&verdict).unwrap();
    assert_eq!((&view["exitCode"], &view["network"]), (&0.into(), &"demo".into()));
    let provisional_only = export(&settled(), None, &operator());
    assert!(verify(&provisional_only, &trust()).is_ok());
    let plain = Envelope { disclosure: None, ..envelope };
    assert!(verify(&plain, &trust()).is_ok());
}

#[test]
fn a_key_that_only_the_file_names_is_not_trusted() {
    let stranger = StatementSigner::from_bytes(&[9; 32]);
    let forged = export(&settled(), Some(&finished()), &stranger);
    refused(&forged, "provisional.checkpoint", Code::ReceiptUntrusted);
    let verdict = verify(&envelope(), &Trust::default());
    assert_eq!((verdict.code, verdict.exit_code), (Some(Code::ReceiptUntrusted), 8), "{verdict}");
    assert_eq!(verdict.network, None);
}

#[test]
fn a_pinned_host_is_the_only_one_believed() {
    let mut network = trust().networks()[0].clone();
    network.host_keys = vec![host_signer().public()];
    assert!(verify(&envelope(), &Trust::new(vec![network.clone()]).unwrap()).is_ok());
    network.host_keys = vec![operator().public()];
    let verdict = verify(&envelope(), &Trust::new(vec![network]).unwrap());
    assert_eq!(verdict.code, Some(Code::ReceiptUntrusted), "{verdict}");
}

#[test]
fn each_lie_fails_its_own_check() {
    let of = |first: &Receipt, second: &Receipt| export(first, Some(second), &operator());
    let relinked = |first: &Receipt, change: fn(&mut Receipt)| {
        let leaf = export(first, None, &operator()).provisional.leaf_hash().unwrap();
        let mut second = Receipt { state: State::Final { index: PROVISIONAL, leaf }, ..finished() };
        change(&mut second);
        of(first, &second)
    };
    let wrong = Receipt { charge: Amount::from_atoms(1), ..settled() };
    refused(&export(&wrong, None, &operator()), "provisional.arithmetic", Code::ReceiptMismatch);
    let other = Receipt { network: 1, ..settled() };
    refused(&export(&other, None, &operator()), "provisional.network", Code::ReceiptMismatch);
    refused(&export(&finished(), None, &operator()), "provisional.state", Code::ReceiptInvalid);
    refused(&of(&settled(), &last()), "final.refers", Code::ReceiptMismatch);
    refused(&relinked(&settled(), |r| r.call_id = agora_types::CallId::ZERO), "final.repeats", Code::ReceiptMismatch);
    refused(
        &relinked(&settled(), |r| r.attribution.method = "measured".into()),
        "final.repeats",
        Code::ReceiptMismatch,
    );
    refused(&relinked(&settled(), |r| r.legs.truncate(1)), "final.pays", Code::SplitMismatch);
    refused(
        &relinked(&settled(), |r| r.attribution.totals[0].account = address(30)),
        "final.pays",
        Code::SplitMismatch,
    );
    let commons = |r: &mut Receipt| {
        r.attribution.totals.clear();
        r.legs = vec![leg(Role::Commons, 1, 215_000_000_000)];
    };
    refused(&relinked(&settled(), commons), "final.pays", Code::SplitMismatch);
    let mut stolen = settled();
    stolen.legs[0].amount = Amount::from_atoms(115_000_000_000);
    stolen.legs[2].amount = Amount::from_atoms(186_000_000_000);
    refused(&export(&stolen, None, &operator()), "provisional.split", Code::SplitMismatch);
    let mut diverted = settled();
    diverted.legs[4].account = address(9);
    refused(&export(&diverted, None, &operator()), "provisional.split", Code::SplitMismatch);
}

#[test]
fn a_receipt_of_another_place_or_network_is_refused() {
    let mut moved = envelope();
    moved.provisional.index = 6;
    refused(&moved, "provisional.inclusion", Code::ReceiptProof);
    let mut swapped = envelope();
    swapped.provisional.proof = swapped.last.as_ref().unwrap().proof.clone();
    refused(&swapped, "provisional.inclusion", Code::ReceiptProof);
    let mut extra = envelope();
    extra.provisional.proof = extra.provisional.proof.replace("index 5", "extra AA==\nindex 5");
    refused(&extra, "provisional.inclusion", Code::ReceiptProof);
    let mut renamed = envelope();
    renamed.network.name = "main".into();
    refused(&renamed, "network", Code::ReceiptUntrusted);
    let mut fork = envelope();
    fork.network.genesis_hash = Hash::ZERO;
    refused(&fork, "network", Code::ReceiptUntrusted);
    let mut text = envelope();
    text.provisional.leaf = "@".into();
    refused(&text, "provisional.leaf", Code::ReceiptInvalid);
}

#[test]
fn two_roots_of_one_size_are_shown_as_a_fork() {
    let mut forked = envelope();
    // The same final receipt in a log of the same size whose other entry differs.
    let other = Receipt { host_seq: 42, ..settled() };
    forked.last = export(&other, Some(&finished()), &operator()).last;
    refused(&forked, "log", Code::ReceiptProof);
}

#[test]
fn a_disclosure_opens_its_commitments_or_is_refused() {
    let change = |opening: Opening| {
        let mut envelope = envelope();
        envelope.disclosure.as_mut().unwrap().response = Some(opening);
        envelope
    };
    let good = Opening::new(&[1; 16], b"an answer");
    refused(&change(Opening::new(&[2; 16], b"an answer")), "disclosed.response", Code::ReceiptMismatch);
    refused(&change(Opening::new(&[1; 16], b"another answer")), "disclosed.response", Code::ReceiptMismatch);
    refused(&change(Opening { salt: "0x01".into(), ..good.clone() }), "disclosed.response", Code::ReceiptMismatch);
    refused(
        &change(Opening { base64: Some(String::new()), ..good.clone() }),
        "disclosed.response",
        Code::ReceiptMismatch,
    );
    refused(&change(Opening { text: None, ..good }), "disclosed.response", Code::ReceiptMismatch);
    let bytes = Opening::new(&[1; 16], &[0xff, 0]);
    assert_eq!((bytes.text.as_deref(), bytes.base64.as_deref()), (None, Some("/wA=")));
    assert_eq!(bytes.commitment(), Some(agora_receipts::receipt::commit(&[1; 16], &[0xff, 0])));
}

#[test]
fn an_enclosed_attribution_spec_is_the_one_that_the_receipt_names_or_is_refused() {
    let enclosed = Enclosed::new(b"a spec", b"its evidence");
    let spec_hash = enclosed.spec_hash();
    let first = Receipt { spec_hash, ..settled() };
    let leaf = export(&first, None, &operator()).provisional.leaf_hash().unwrap();
    let second = Receipt { spec_hash, state: State::Final { index: PROVISIONAL, leaf }, ..finished() };
    let with = |attribution| Envelope { attribution, ..export(&first, Some(&second), &operator()) };
    let good = with(Some(enclosed.clone()));
    let json = good.to_json().unwrap();
    assert_eq!(Envelope::from_json(&json), Ok(good.clone()));
    let verdict = verify_json(&json, &trust());
    assert!(verdict.is_ok() && verdict.checks.iter().any(|check| check.name == "attribution.spec"), "{verdict}");
    let changed = Enclosed::new(b"another spec", b"its evidence");
    let broken = Enclosed { spec: "@".into(), ..enclosed.clone() };
    for enclosed in [changed, broken, Enclosed::new(&vec![0; (16 << 10) + 1], b"")] {
        refused(&with(Some(enclosed)), "attribution.spec", Code::ReceiptMismatch);
    }
    // A receipt that names no spec cannot have one.
    let unnamed = Receipt { spec_hash: None, ..settled() };
    let unnamed = Envelope { attribution: Some(enclosed), ..export(&unnamed, None, &operator()) };
    refused(&unnamed, "attribution.spec", Code::ReceiptMismatch);
    assert_eq!(Enclosed::new(b"", &vec![0; (512 << 10) + 1]).evidence_bytes(), None);
}

#[test]
fn what_is_not_an_envelope_is_named_so() {
    let json = envelope().to_json().unwrap();
    for wrong in [
        String::new(),
        "[]".into(),
        json.replacen('{', "{\"unknown\": 1,", 1),
        json.replacen("\"index\": 5", "\"index\": 5, \"index\": 5", 1),
        json.replace("envelope/v1", "envelope/v2"),
        json.replace("\"index\": 5", "\"index\": -5"),
        json.clone() + "{}",
        " ".repeat(ENVELOPE_SIZE_MAX + 1),
        "[".repeat(100_000),
    ] {
        let verdict = verify_json(&wrong, &trust());
        assert_eq!(verdict.code, Some(Code::ReceiptEnvelope), "{wrong:.60}");
    }
    let mut large = envelope();
    large.disclosure.as_mut().unwrap().response = Some(Opening::new(&[1; 16], &vec![b'x'; ENVELOPE_SIZE_MAX]));
    assert!(large.to_json().is_err());
}

#[test]
fn no_single_changed_byte_of_leaf_proof_or_checkpoint_passes() {
    let good = envelope();
    let (trust, leaf) = (trust(), good.provisional.leaf_bytes().unwrap());
    let mut count = 0;
    for at in 0..leaf.len() {
        for bit in 0..8 {
            let mut changed = leaf.clone();
            changed[at] ^= 1 << bit;
            let mut envelope = good.clone();
            let proof = envelope.provisional.log_proof().unwrap();
            envelope.provisional = agora_receipts::envelope::LoggedReceipt::new(&changed, &proof);
            assert!(!verify(&envelope, &trust).is_ok(), "byte {at} of the leaf, bit {bit}");
            count += 1;
        }
    }
    for text in [&good.provisional.proof, &good.last.as_ref().unwrap().proof] {
        for at in 0..text.len() {
            for byte in [b'A', b'\n', b' ', b'=', b'0', b'9', text.as_bytes()[at] ^ 1] {
                let mut changed = text.clone().into_bytes();
                changed[at] = byte;
                let Ok(changed) = String::from_utf8(changed) else { continue };
                if changed == *text {
                    continue;
                }
                let mut envelope = good.clone();
                let place = if std::ptr::eq(text, &raw const good.provisional.proof) {
                    &mut envelope.provisional.proof
                } else {
                    &mut envelope.last.as_mut().unwrap().proof
                };
                *place = changed;
                let verdict = verify(&envelope, &trust);
                assert!(!verdict.is_ok(), "byte {at} of the proof became {byte}");
                count += 1;
            }
        }
    }
    assert!(count > 1_000, "{count}");
}

/// SplitMix64.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn a_mutated_file_is_refused_or_means_the_same() {
    let good = envelope();
    let json = good.to_json().unwrap().into_bytes();
    let trust = trust();
    let (mut refusals, mut same) = (0, 0);
    for seed in 0..3_000u64 {
        let mut state = seed;
        let mut random = |limit: usize| usize::try_from(next(&mut state) % limit as u64).unwrap();
        let mut bytes = json.clone();
        for _ in 0..=random(3) {
            let at = random(bytes.len());
            match random(4) {
                0 => bytes[at] = u8::try_from(random(128)).unwrap(),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, b"{}[]\",:0 \nAz="[random(13)]),
                _ => {
                    let end = (at + random(40)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        if verify_json(&text, &trust).is_ok() {
            assert_eq!(Envelope::from_json(&text).as_ref(), Ok(&good), "seed {seed}");
            same += 1;
        } else {
            refusals += 1;
        }
    }
    assert!(refusals > 2_000, "{refusals} refused, {same} the same");
}

#[test]
fn a_trust_file_reads_back_and_says_what_is_wrong() {
    let text = trust().to_toml();
    golden_text("trust.toml", &text);
    assert_eq!(Trust::from_toml(&text), Ok(trust()));
    assert_eq!(Trust::from_toml(""), Ok(Trust::default()));
    let says = |text: &str| Trust::from_toml(text).unwrap_err().to_string();
    assert!(says(&text.replace("host = 2000", "host = 2001")).contains("10,000"));
    assert!(says(&text.replace("4020711\n", "4020712\n")).contains("receipts"));
    assert!(says(&text.replace("name", "nam")).contains("nam"));
    assert!(says(&format!("{text}\n{text}")).contains("twice"));
    assert!(says(&" ".repeat(70_000)).contains("bytes"));
    let start = text.find('[').unwrap();
    let keys = text.find("checkpoint_keys").unwrap();
    let end = keys + text[keys..].find('\n').unwrap();
    let none = format!("{}checkpoint_keys = []{}", &text[start..keys], &text[end..]);
    assert!(says(&none).contains("checkpoint keys"));
}

#[test]
fn a_split_is_recounted_without_losing_an_atom() {
    let parts =
        |atoms: u128, split: &Split| governed_parts(Amount::from_atoms(atoms), split).unwrap().map(Amount::atoms);
    let split = Split::default();
    assert_eq!(
        parts(430_000_000_000, &split),
        [215_000_000_000, 86_000_000_000, 86_000_000_000, 21_500_000_000, 21_500_000_000]
    );
    // Remainders in basis points 5000, 2000, 2000, 500, 500: one atom is the largest's, two leave one to the first tie.
    assert_eq!(parts(1, &split), [1, 0, 0, 0, 0]);
    assert_eq!(parts(2, &split), [1, 1, 0, 0, 0]);
    assert_eq!(parts(u128::MAX, &split).iter().sum::<u128>(), u128::MAX);
    let mut state = 1;
    for _ in 0..2_000 {
        let atoms = u128::from(next(&mut state)) << (next(&mut state) % 64);
        assert_eq!(parts(atoms, &split).iter().sum::<u128>(), atoms);
    }
    let broken = Split { host: 0, ..split };
    assert_eq!(governed_parts(Amount::from_atoms(5), &broken), None);
}
