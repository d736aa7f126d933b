//! Notes, checkpoints and proofs have the bytes of C2SP, and nothing else is read as one.

mod samples;

use agora_receipts::note::{Note, NoteError, SIGNATURES_MAX, VerifierKey};
use agora_receipts::{Checkpoint, LogProof, checkpoint};
use agora_types::key::StatementSigner;
use agora_types::merkle::{Tree, leaf_hash};
use agora_types::{Code, Hash};
use samples::{CHAIN_ID, golden_text, operator};

const VKEY: &str = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
const NOTE: &str = "This is an example message.\n\n\u{2014} example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n";

fn key(text: &str) -> VerifierKey {
    text.parse().unwrap()
}

#[test]
fn the_example_of_the_specification_verifies() {
    let note = Note::parse(NOTE).unwrap();
    assert_eq!(note.text(), "This is an example message.\n");
    assert_eq!(note.to_string(), NOTE);
    let keys = [key(VKEY)];
    assert_eq!(keys[0].to_string(), VKEY);
    assert_eq!(note.verify(&keys).unwrap(), [&keys[0]]);
}

#[test]
fn a_vkey_that_was_mistyped_is_refused() {
    let wrong = [
        "",
        "example.com/foo",
        "example.com/foo+530d903a",
        "example.com/foo+530d903b+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/fop+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530D903A+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+BOkyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3Q==",
        "exam ple+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
    ];
    for text in wrong {
        assert!(matches!(text.parse::<VerifierKey>(), Err(NoteError::Key(_))), "{text}");
    }
}

#[test]
fn other_signatures_are_ignored_and_a_known_key_that_fails_is_not() {
    let (ours, theirs) = (StatementSigner::from_bytes(&[1; 32]), StatementSigner::from_bytes(&[2; 32]));
    let known = [VerifierKey::new("a", ours.public()).unwrap()];
    let mut note = Note::sign("text\n", "a", &ours).unwrap();
    for n in 0..20 {
        note.countersign(&format!("witness{n}"), &theirs).unwrap();
    }
    assert_eq!(note.verify(&known).unwrap(), [&known[0]]);
    assert_eq!(note.names().count(), 21);
    let stranger = [VerifierKey::new("b", ours.public()).unwrap()];
    assert_eq!(note.verify(&stranger), Err(NoteError::NoKnownKey));
    assert_eq!(note.verify(&[]), Err(NoteError::NoKnownKey));
    // The right name and key id over another text, beside a signature that fits.
    let other = Note::sign("other\n", "w", &theirs).unwrap().to_string();
    let mixed =
        Note::parse(&format!("{}{}", Note::sign("text\n", "a", &ours).unwrap(), other.split_once("\n\n").unwrap().1));
    let both = [known[0].clone(), VerifierKey::new("w", theirs.public()).unwrap()];
    assert_eq!(mixed.as_ref().unwrap().verify(&both), Err(NoteError::BadSignature("w".into())));
    assert!(mixed.unwrap().verify(&known).is_ok());
}

#[test]
fn a_signature_of_another_length_under_a_known_key_is_refused() {
    use base64::Engine as _;
    let long = base64::engine::general_purpose::STANDARD.encode([&key(VKEY).id()[..], &[1; 65]].concat());
    let note = Note::parse(&format!("text\n\n\u{2014} example.com/foo {long}\n")).unwrap();
    assert_eq!(note.verify(&[key(VKEY)]), Err(NoteError::BadSignature("example.com/foo".into())));
}

#[test]
fn what_is_not_a_note_is_refused() {
    let line = NOTE.split_once("\n\n").unwrap().1;
    let wrong = [
        String::new(),
        "text\n".into(),
        "text\n\n".into(),
        format!("text\n{line}"),
        format!("text\n\n{}", line.trim_end()),
        format!("text\n\n{line}\n"),
        format!("text\r\n\n{line}"),
        format!("te\u{1b}xt\n\n{line}"),
        format!("text\n\n{}", line.replace('\u{2014}', "-")),
        format!("text\n\n{}", line.replace("foo ", "foo  ")),
        format!("text\n\n{}", line.replace("foo", "f+o")),
        format!("text\n\n{}", line.replace("aQM=", "aQM")),
        format!("text\n\n{}", line.replace("aQM=", "aQN=")),
        "text\n\n\u{2014} a AAAAAA==\n".into(),
        format!("text\n\n{}", line.repeat(SIGNATURES_MAX + 1)),
        format!("{}\n\n{line}", "x".repeat(65_536)),
    ];
    for text in wrong {
        assert!(Note::parse(&text).is_err(), "{text:.80}");
    }
    assert!(Note::parse(&format!("text\n\n{}", line.repeat(SIGNATURES_MAX))).is_ok());
    let signer = operator();
    assert!(Note::sign("no line break", "a", &signer).is_err());
    assert!(Note::sign("a\n\nb", "a", &signer).is_err());
    assert!(Note::sign("blank\n\nlines\n", "a", &signer).is_ok());
}

#[test]
fn a_checkpoint_has_three_lines_and_one_form() {
    let checkpoint = Checkpoint { origin: checkpoint::origin(CHAIN_ID), size: 11, root: Hash::sha256("root") };
    let text = checkpoint.to_string();
    assert_eq!(text, "agora.4020711/receipts\n11\nSBNJTRN+FjG7owHVrKtue7eqdM4RhdRWVl71HXN2d7I=\n");
    assert_eq!(Checkpoint::parse(&text).unwrap(), checkpoint);
    let note = checkpoint.sign(&operator()).unwrap();
    let keys = [checkpoint::verifier_key(CHAIN_ID, operator().public())];
    assert_eq!(Checkpoint::verify(&note, &keys).unwrap(), checkpoint);
    for wrong in [
        text.replace("11", "011"),
        text.replace("11", "+11"),
        text.replace("11", "-1"),
        text.replace("11", "18446744073709551616"),
        text.clone() + "extension\n",
        text.trim_end().to_owned(),
        text.replace("agora.4020711/receipts", ""),
        text.replace('=', ""),
        text.replace('\n', "\r\n"),
    ] {
        assert!(Checkpoint::parse(&wrong).is_err(), "{wrong}");
    }
    let strange = Checkpoint { origin: "two\nlines".into(), ..checkpoint };
    assert!(strange.sign(&operator()).is_err());
}

fn proof() -> (LogProof, Hash) {
    let entries: Vec<Hash> = (0..11u8).map(|n| leaf_hash(&[n])).collect();
    let tree = Tree::from_leaves(entries.iter().copied());
    let checkpoint = Checkpoint { origin: checkpoint::origin(CHAIN_ID), size: 11, root: tree.root() };
    let path = tree.inclusion_proof(6, 11).unwrap();
    (LogProof { extra: None, index: 6, path, checkpoint: checkpoint.sign(&operator()).unwrap() }, entries[6])
}

#[test]
fn a_proof_keeps_its_text_and_proves_its_leaf() {
    let (proof, leaf) = proof();
    golden_text("sample.tlog-proof", &proof.to_string());
    assert_eq!(LogProof::parse(&proof.to_string()), Ok(proof.clone()));
    assert_eq!(proof.verify(&leaf).unwrap().size, 11);
    assert_eq!(proof.verify(&Hash::ZERO), Err(Code::ReceiptProof));
    let with = LogProof { extra: Some(b"data".to_vec()), ..proof };
    assert!(with.to_string().contains("\nextra ZGF0YQ==\nindex 6\n"));
    assert_eq!(LogProof::parse(&with.to_string()), Ok(with));
}

#[test]
fn a_proof_of_another_form_is_refused() {
    let text = proof().0.to_string();
    let long = format!("index 6\n{}", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n".repeat(65));
    for wrong in [
        text.replace("@v1", "@v2"),
        text.replace("index 6", "index 06"),
        text.replace("index 6\n", ""),
        text.replace("index 6", "index 6\nindex 6"),
        text.replace("index 6", "extra =\nindex 6"),
        text.replace("index 6\n", &long),
        text.replacen('=', "", 1),
        text.replace("\n\n", "\n"),
        text.clone() + "\n",
        text.replace('\n', "\r\n"),
    ] {
        assert!(LogProof::parse(&wrong).is_err(), "{wrong}");
    }
}
