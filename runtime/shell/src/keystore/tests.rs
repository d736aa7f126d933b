//! Keys survive their files, other libraries read them, and hostile files cost nothing.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::*;

const PASS: &str = "testpassword";
const INDEPENDENT: &str = include_str!("../../tests/data/independent.json");
const SCRYPT: &str = include_str!("../../tests/data/web3-scrypt.json");
const PBKDF2: &str = include_str!("../../tests/data/web3-pbkdf2.json");
const SEALED: &str = include_str!("../../tests/data/sealed.json");

struct World {
    _folder: tempfile::TempDir,
    store: KeyStore,
}

fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let store = KeyStore::at(folder.path().join("keys"));
    World { _folder: folder, store }
}

impl World {
    /// A store with one foreign file of the name `it`.
    fn put(&self, text: &str) {
        files::create_private_folder(&self.store.folder).unwrap();
        files::write_private(&self.store.file("it").unwrap(), text.as_bytes(), Existing::Replace).unwrap();
    }

    #[track_caller]
    fn opens(&self, text: &str, passphrase: &str) -> Outcome<Key> {
        self.put(text);
        self.store.open("it", passphrase)
    }
}

#[test]
fn the_public_vectors_open() {
    let world = world();
    for text in [PBKDF2, SCRYPT] {
        let key = world.opens(text, PASS).unwrap();
        assert_eq!(*key.export_hex(), "0x7a28b5ba57c53603b0b07b56bba752f7784bf506fa95edc395f5cf6c7514fe9d");
        assert_eq!(world.store.info("it").unwrap().address, None, "the vectors name no address");
    }
}

/// Made by `tests/data/keyfile.py`.
#[test]
fn a_file_of_an_independent_library_opens() {
    let world = world();
    let key = world.opens(INDEPENDENT, "schlüssel 1").unwrap();
    assert_eq!(*key.export_hex(), format!("0x{}", "01".repeat(32)));
    let info = world.store.info("it").unwrap();
    assert_eq!(info.public_text(), "0x1a642f0e3c3af545e7acbd38b07251b3990914f1");
}

/// `tests/data/keyfile.py check sealed.json` opens these very bytes with the independent library.
#[test]
fn the_bytes_of_a_file_are_fixed_by_its_random_numbers() {
    let random = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let key = Key::from_hex(KeyKind::Secp256k1, &"01".repeat(32)).unwrap();
    let sealed = Container::seal(&key.to_secret(), &key.claim(), "schlüssel 1", Cost::Light, &random);
    assert_eq!(String::from_utf8(sealed.to_bytes()).unwrap(), SEALED);
}

#[test]
fn a_key_of_either_kind_comes_back_and_a_wrong_passphrase_gives_nothing() {
    let world = world();
    for (name, kind) in [("alice", KeyKind::Secp256k1), ("host", KeyKind::Ed25519)] {
        let made = world.store.create(name, kind, PASS, Cost::Light).unwrap();
        assert_eq!(world.store.info(name).unwrap(), made);
        let key = world.store.open(name, PASS).unwrap();
        assert_eq!(KeyInfo::new(name, &key.claim()), made);
        for wrong in ["testpasswore", "", "testpassword "] {
            let failure = world.store.open(name, wrong).unwrap_err();
            assert_eq!((failure.code, failure.exit_code()), (Code::KeystorePassphrase, 4));
        }
    }
    assert!(world.store.open_wallet("alice", PASS).is_ok() && world.store.open_statement("host", PASS).is_ok());
    assert_eq!(world.store.open_wallet("host", PASS).unwrap_err().code, Code::KeystoreMalformed);
    assert_eq!(world.store.open_statement("alice", PASS).unwrap_err().code, Code::KeystoreMalformed);
    assert_eq!(world.store.open("bob", PASS).unwrap_err().code, Code::KeystoreMissing);
}

#[test]
fn the_standard_cost_is_the_usual_one_of_wallets() {
    let world = world();
    world.store.create("it", KeyKind::Secp256k1, PASS, Cost::Standard).unwrap();
    let file: Value = serde_json::from_slice(&fs::read(world.store.file("it").unwrap()).unwrap()).unwrap();
    let parameters = &file["crypto"]["kdfparams"];
    assert_eq!((&parameters["n"], &parameters["r"], &parameters["p"]), (&json!(262_144), &json!(8), &json!(1)));
    world.store.open("it", PASS).unwrap();
}

#[test]
fn a_key_is_never_overwritten_and_no_two_files_are_alike() {
    let world = world();
    let key = Key::generate(KeyKind::Secp256k1).unwrap();
    world.store.store("a", &key, PASS, Cost::Light).unwrap();
    let before = fs::read(world.store.file("a").unwrap()).unwrap();
    let failure = world.store.create("a", KeyKind::Ed25519, PASS, Cost::Light).unwrap_err();
    assert_eq!((failure.code, failure.exit_code()), (Code::KeystoreExists, 7));
    assert_eq!(fs::read(world.store.file("a").unwrap()).unwrap(), before);
    world.store.store("b", &key, PASS, Cost::Light).unwrap();
    let read = |name| serde_json::from_slice::<Value>(&fs::read(world.store.file(name).unwrap()).unwrap()).unwrap();
    let (a, b) = (read("a"), read("b"));
    for pointer in ["/id", "/crypto/cipherparams/iv", "/crypto/kdfparams/salt", "/crypto/ciphertext", "/crypto/mac"] {
        assert_ne!(a.pointer(pointer), b.pointer(pointer), "{pointer}");
    }
    assert_eq!(a["address"], b["address"]);
}

#[test]
#[cfg(unix)]
fn files_are_private_and_others_are_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = world();
    world.store.create("it", KeyKind::Ed25519, PASS, Cost::Light).unwrap();
    let path = world.store.file("it").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(&world.store.folder)), (0o600, 0o700));
    for open in [0o640, 0o604, 0o660, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
        for failure in [world.store.open("it", PASS).unwrap_err(), world.store.info("it").unwrap_err()] {
            assert_eq!((failure.code, failure.exit_code()), (Code::KeystorePermissions, 4), "{open:o}");
            assert!(failure.hint().contains("chmod 600"), "{failure}");
        }
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    world.store.open("it", PASS).unwrap();
}

#[test]
fn names_cannot_leave_the_folder() {
    let world = world();
    for name in ["", "../x", "a/b", "A", "a.b", "a b", "-x", "é", &"x".repeat(65)] {
        assert_eq!(world.store.create(name, KeyKind::Ed25519, PASS, Cost::Light).unwrap_err().exit_code(), 2, "{name}");
    }
    assert!(!world.store.folder.exists());
}

#[test]
fn a_secret_comes_in_as_hex_and_a_wrong_one_is_not_repeated() {
    let digits = "01".repeat(32);
    for text in [digits.clone(), format!("0x{digits}"), format!(" 0x{digits}\n")] {
        assert_eq!(*Key::from_hex(KeyKind::Secp256k1, &text).unwrap().export_hex(), format!("0x{digits}"));
    }
    let zero = "00".repeat(32);
    assert!(Key::from_hex(KeyKind::Ed25519, &zero).is_ok());
    for text in [zero.as_str(), "hunter2", "", &digits[1..], &"ff".repeat(32)] {
        let failure = Key::from_hex(KeyKind::Secp256k1, text).unwrap_err();
        assert_eq!(failure.code, Code::KeystoreMalformed);
        assert!(text.is_empty() || !failure.to_string().contains(text), "{failure}");
    }
}

#[test]
fn a_list_needs_no_passphrase_and_one_broken_file_does_not_hide_the_rest() {
    let world = world();
    assert!(world.store.list().unwrap().keys.is_empty());
    world.store.create("b", KeyKind::Ed25519, PASS, Cost::Light).unwrap();
    world.store.create("a", KeyKind::Secp256k1, PASS, Cost::Light).unwrap();
    world.put("{");
    fs::write(world.store.folder.join("notes.txt"), "x").unwrap();
    let list = world.store.list().unwrap();
    assert_eq!(list.keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(list.broken.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["it"]);
    let mut text = Vec::new();
    list.text(&mut text, &Style::default()).unwrap();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains(&list.keys[0].public_text()) && text.contains("unusable: "), "{text}");
}

/// A vector with some members replaced.
fn changed(base: &str, changes: &[(&str, Value)]) -> String {
    let mut file: Value = serde_json::from_str(base).unwrap();
    for (pointer, value) in changes {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        file.pointer_mut(parent).unwrap()[name] = value.clone();
    }
    file.to_string()
}

#[test]
fn a_hostile_file_is_refused_before_it_costs_anything() {
    let world = world();
    let kdf = |name: &str| format!("/crypto/kdfparams/{name}");
    let mut files = vec![
        ("no JSON".to_owned(), "x".to_owned()),
        ("empty".to_owned(), String::new()),
        ("deep".to_owned(), "[".repeat(60_000)),
        ("long".to_owned(), format!("{SCRYPT}{}", " ".repeat(FILE_MAX))),
        ("twice".to_owned(), SCRYPT.replacen("\"version\" : 3", "\"version\" : 3, \"version\" : 3", 1)),
    ];
    let scrypt = [
        ("n", json!(1u64 << 30)),
        ("n", json!(u64::MAX)),
        ("n", json!(262_143)),
        ("n", json!(0)),
        ("n", json!(1)),
        ("n", json!(-4)),
        ("n", json!(2.5)),
        ("n", json!(1u64 << 24)),
        ("r", json!(0)),
        ("r", json!(1u64 << 40)),
        ("r", json!(64)),
        ("p", json!(0)),
        ("p", json!(u64::MAX)),
        ("p", json!(1_000)),
        ("dklen", json!(64)),
        ("dklen", json!(0)),
        ("salt", json!("")),
        ("salt", json!("zz")),
        ("salt", json!("00".repeat(129))),
        ("salt", json!(null)),
    ];
    for (name, value) in scrypt {
        files.push((format!("scrypt {name} {value}"), changed(SCRYPT, &[(&kdf(name), value)])));
    }
    for (name, value) in [("c", json!(0)), ("c", json!(u64::MAX)), ("c", json!(10_000_001)), ("prf", json!("hmac-md5"))]
    {
        files.push((format!("pbkdf2 {name} {value}"), changed(PBKDF2, &[(&kdf(name), value)])));
    }
    for (pointer, value) in [
        ("/version", json!(1)),
        ("/version", json!("3")),
        ("/crypto/cipher", json!("aes-256-gcm")),
        ("/crypto/kdf", json!("argon2id")),
        ("/crypto/kdf", json!("pbkdf2")),
        ("/crypto/cipherparams/iv", json!("00")),
        ("/crypto/ciphertext", json!("")),
        ("/crypto/ciphertext", json!("00".repeat(33))),
        ("/crypto/mac", json!("00")),
        ("/crypto", json!({})),
        ("/address", json!("00")),
        ("/address", json!(7)),
        ("/agora", json!({"kind": "bls", "public": format!("0x{}", "00".repeat(32))})),
        ("/agora", json!({"kind": "ed25519", "public": "0x00"})),
    ] {
        files.push((format!("{pointer} {value}"), changed(SCRYPT, &[(pointer, value)])));
    }
    let begun = Instant::now();
    for (name, text) in files {
        let failure = world.opens(&text, PASS).expect_err(&name);
        assert_eq!((failure.code, failure.exit_code()), (Code::KeystoreMalformed, 8), "{name}: {failure}");
        assert!(failure.what.len() < 400, "{name}: {failure}");
    }
    // One derivation at any of these costs would take longer.
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[test]
fn a_file_that_names_another_key_than_it_holds_is_refused() {
    let world = world();
    world.store.create("a", KeyKind::Secp256k1, PASS, Cost::Light).unwrap();
    world.store.create("b", KeyKind::Ed25519, PASS, Cost::Light).unwrap();
    let read = |name| fs::read_to_string(world.store.file(name).unwrap()).unwrap();
    let other = json!("11".repeat(20));
    let failure = world.opens(&changed(&read("a"), &[("/address", other)]), PASS).unwrap_err();
    assert!(failure.code == Code::KeystoreMalformed && failure.what.contains("another key"), "{failure}");
    let other = json!({"kind": "ed25519", "public": format!("0x{}", "11".repeat(32))});
    let failure = world.opens(&changed(&read("b"), &[("/agora", other.clone())]), PASS).unwrap_err();
    assert!(failure.what.contains("another key"), "{failure}");
    let failure = world.opens(&changed(&read("a"), &[("/agora", other)]), PASS).unwrap_err();
    assert!(failure.what.contains("two kinds"), "{failure}");
}

#[test]
fn other_writers_spellings_are_read() {
    let world = world();
    let upper = INDEPENDENT.replace("\"crypto\"", "\"Crypto\"").replace("\"1a642f", "\"0x1a642f");
    let more = changed(&upper, &[("/name", json!("from a wallet")), ("/x-ethers", json!({"client": "x"}))]);
    world.opens(&more, "schlüssel 1").unwrap();
}

#[test]
fn a_secret_is_in_no_debug_text() {
    for kind in [KeyKind::Secp256k1, KeyKind::Ed25519] {
        let key = Key::generate(kind).unwrap();
        assert!(!format!("{key:?}").contains(&key.export_hex()[2..]));
    }
}
