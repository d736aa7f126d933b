//! Keys in a folder, one encrypted file each, which ordinary Ethereum wallets can read.
//!
//! secp256k1 keys are plain Web3 Secret Storage files. Ed25519 keys use the same container with a member `agora`
//! instead of an address. A file is mode 0600 from its creation on, appears whole or not at all, is never overwritten,
//! and is refused when group or others may read it.

mod container;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use agora_types::key::{StatementKey, StatementSigner, WalletKey};
use agora_types::{Address, Code};
use schemars::JsonSchema;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::failure::{Failure, Outcome};
use crate::files::{self, Existing};
use crate::output::{Document, Style};
use crate::text;

use container::{Claim, Container, Refused};
pub use container::{Cost, FILE_MAX};

/// The curve of a key, and with it what the key may sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// Where money moves: owners, agents' accounts, session keys.
    Secp256k1,
    /// Where statements are made: receipts, quotes, listings, checkpoints.
    Ed25519,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Secp256k1 => "secp256k1",
            Self::Ed25519 => "ed25519",
        })
    }
}

/// An opened key; wiped from memory when dropped.
#[derive(Debug)]
pub enum Key {
    /// secp256k1.
    Wallet(WalletKey),
    /// Ed25519.
    Statement(StatementSigner),
}

impl Key {
    /// A new random key.
    ///
    /// # Errors
    /// `node.io` when the system has no randomness.
    pub fn generate(kind: KeyKind) -> Outcome<Self> {
        let mut secret = Zeroizing::new([0; 32]);
        loop {
            random(&mut *secret)?;
            // One in 2^128 secrets is no secp256k1 key.
            if let Ok(key) = Self::from_secret(kind, &secret) {
                return Ok(key);
            }
        }
    }

    /// From 64 hex digits, with or without 0x, as an export gives them.
    ///
    /// # Errors
    /// `keystore.malformed`, which does not repeat the text.
    pub fn from_hex(kind: KeyKind, text: &str) -> Outcome<Self> {
        let text = text.trim();
        let mut secret = Zeroizing::new([0; 32]);
        let read = hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut *secret);
        let key = read.ok().and_then(|()| Self::from_secret(kind, &secret).ok());
        let what = format!("that is no {kind} private key");
        key.ok_or_else(|| Failure::new(Code::KeystoreMalformed, what).advise("give 64 hexadecimal digits"))
    }

    fn from_secret(kind: KeyKind, secret: &[u8; 32]) -> Result<Self, agora_types::key::KeyError> {
        match kind {
            KeyKind::Secp256k1 => WalletKey::from_bytes(secret).map(Self::Wallet),
            KeyKind::Ed25519 => Ok(Self::Statement(StatementSigner::from_bytes(secret))),
        }
    }

    fn to_secret(&self) -> Zeroizing<[u8; 32]> {
        match self {
            Self::Wallet(key) => key.to_bytes(),
            Self::Statement(key) => key.to_bytes(),
        }
    }

    /// The secret as 0x-hex. A command shows it only under `--show-secrets`.
    pub fn export_hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new("0x".to_owned());
        text.push_str(&Zeroizing::new(hex::encode(*self.to_secret())));
        text
    }

    fn claim(&self) -> Claim {
        match self {
            Self::Wallet(key) => Claim::Wallet(Some(key.address())),
            Self::Statement(key) => Claim::Statement(key.public()),
        }
    }
}

/// What a key's file says without its passphrase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeyInfo {
    /// The key's name, which is its file's.
    pub name: String,
    /// Its curve.
    pub kind: KeyKind,
    /// The address of a secp256k1 key, if the file has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Address>,
    /// The public half of an Ed25519 key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public: Option<StatementKey>,
}

impl KeyInfo {
    fn new(name: &str, claim: &Claim) -> Self {
        let name = name.to_owned();
        match *claim {
            Claim::Wallet(address) => Self { name, kind: KeyKind::Secp256k1, address, public: None },
            Claim::Statement(public) => Self { name, kind: KeyKind::Ed25519, address: None, public: Some(public) },
        }
    }

    /// Address or public key, whichever it has.
    pub fn public_text(&self) -> String {
        match (&self.address, &self.public) {
            (Some(address), _) => address.to_string(),
            (None, Some(public)) => public.to_string(),
            (None, None) => "not said by the file".to_owned(),
        }
    }
}

impl Document for KeyInfo {
    const TYPE: &'static str = "agora/key/v1";

    fn text(&self, out: &mut dyn io::Write, _: &Style) -> io::Result<()> {
        writeln!(out, "{}  {}  {}", self.name, self.kind, self.public_text())
    }
}

/// A file in the folder that is no usable key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct BrokenKey {
    /// The key's name.
    pub name: String,
    /// What is wrong.
    pub message: String,
}

/// The keys of a folder, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KeyList {
    /// The usable ones.
    pub keys: Vec<KeyInfo>,
    /// The others; one of them does not hide the rest.
    pub broken: Vec<BrokenKey>,
}

impl Document for KeyList {
    const TYPE: &'static str = "agora/key-list/v1";

    fn text(&self, out: &mut dyn io::Write, style: &Style) -> io::Result<()> {
        let rows: Vec<[String; 3]> =
            self.keys.iter().map(|key| [key.name.clone(), key.kind.to_string(), key.public_text()]).collect();
        text::table(out, style, ["KEY", "KIND", "ADDRESS OR PUBLIC KEY"], &rows)?;
        self.broken.iter().try_for_each(|key| writeln!(out, "{} {}", style.bad("unusable:"), key.message))
    }
}

/// The key files of one folder.
#[derive(Debug, Clone)]
pub struct KeyStore {
    folder: PathBuf,
}

impl KeyStore {
    /// Over a folder, which is created with the first key.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The file of a key.
    ///
    /// # Errors
    /// `node.bad_config` for a name that is not 1 to 64 of a-z, 0-9, `-` and `_`.
    pub fn file(&self, name: &str) -> Outcome<PathBuf> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
        if !(1..=64).contains(&name.len()) || !name.bytes().all(plain) || name.starts_with('-') {
            let name: String = name.chars().take(40).collect();
            let advice = "use 1 to 64 of a-z, 0-9, - and _, beginning with a letter or digit";
            return Err(Failure::usage(format!("`{name}` cannot name a key")).advise(advice));
        }
        Ok(self.folder.join(format!("{name}.json")))
    }

    /// True when there is a key of this name.
    ///
    /// # Errors
    /// As [`Self::file`].
    pub fn contains(&self, name: &str) -> Outcome<bool> {
        Ok(self.file(name)?.exists())
    }

    /// Makes a random key and stores it.
    ///
    /// # Errors
    /// As [`Self::store`].
    pub fn create(&self, name: &str, kind: KeyKind, passphrase: &str, cost: Cost) -> Outcome<KeyInfo> {
        self.store(name, &Key::generate(kind)?, passphrase, cost)
    }

    /// Stores a key under a new name; durable when this returns.
    ///
    /// # Errors
    /// `keystore.exists`, `node.bad_config` for the name, `node.io`.
    pub fn store(&self, name: &str, key: &Key, passphrase: &str, cost: Cost) -> Outcome<KeyInfo> {
        let path = self.file(name)?;
        let exists = || Failure::new(Code::KeystoreExists, path.display().to_string());
        // Asked first, so that a name in use does not cost a derivation.
        if path.exists() {
            return Err(exists());
        }
        files::create_private_folder(&self.folder)?;
        let mut bytes = [0; 64];
        random(&mut bytes)?;
        let claim = key.claim();
        let container = Container::seal(&key.to_secret(), &claim, passphrase, cost, &bytes);
        if !files::write_private(&path, &container.to_bytes(), Existing::Refuse)? {
            return Err(exists());
        }
        Ok(KeyInfo::new(name, &claim))
    }

    /// Opens a key.
    ///
    /// # Errors
    /// `keystore.not_found`, `keystore.permissions`, `keystore.bad_passphrase`, `keystore.malformed` (also for a file
    /// that names another key than it holds), `node.io`.
    pub fn open(&self, name: &str, passphrase: &str) -> Outcome<Key> {
        let path = self.file(name)?;
        let container = read(&path)?;
        let refused = |refused| failure(&path, refused);
        let claim = container.claim().map_err(refused)?;
        let secret = container.open(passphrase).map_err(refused)?;
        let kind = KeyInfo::new(name, &claim).kind;
        let malformed = |what: &str| failure(&path, Refused::Malformed(what.to_owned()));
        let key = Key::from_secret(kind, &secret).map_err(|_| malformed("what it holds is no private key"))?;
        if claim != Claim::Wallet(None) && key.claim() != claim {
            return Err(malformed("it names another key than it holds"));
        }
        Ok(key)
    }

    /// Opens a secp256k1 key.
    ///
    /// # Errors
    /// As [`Self::open`]; `keystore.malformed` for one of the other kind.
    pub fn open_wallet(&self, name: &str, passphrase: &str) -> Outcome<WalletKey> {
        match self.open(name, passphrase)? {
            Key::Wallet(key) => Ok(key),
            Key::Statement(_) => Err(other_kind(name, KeyKind::Secp256k1)),
        }
    }

    /// Opens an Ed25519 key.
    ///
    /// # Errors
    /// As [`Self::open`]; `keystore.malformed` for one of the other kind.
    pub fn open_statement(&self, name: &str, passphrase: &str) -> Outcome<StatementSigner> {
        match self.open(name, passphrase)? {
            Key::Statement(key) => Ok(key),
            Key::Wallet(_) => Err(other_kind(name, KeyKind::Ed25519)),
        }
    }

    /// Opens a secp256k1 key, which is made when there is none.
    ///
    /// # Errors
    /// As [`Self::create`] and [`Self::open_wallet`].
    pub fn wallet_or_new(&self, name: &str, passphrase: &str, cost: Cost) -> Outcome<WalletKey> {
        self.make_missing(name, KeyKind::Secp256k1, passphrase, cost)?;
        self.open_wallet(name, passphrase)
    }

    /// Opens an Ed25519 key, which is made when there is none.
    ///
    /// # Errors
    /// As [`Self::create`] and [`Self::open_statement`].
    pub fn statement_or_new(&self, name: &str, passphrase: &str, cost: Cost) -> Outcome<StatementSigner> {
        self.make_missing(name, KeyKind::Ed25519, passphrase, cost)?;
        self.open_statement(name, passphrase)
    }

    fn make_missing(&self, name: &str, kind: KeyKind, passphrase: &str, cost: Cost) -> Outcome<()> {
        if self.contains(name)? { Ok(()) } else { self.create(name, kind, passphrase, cost).map(drop) }
    }

    /// What a key's file says, without its passphrase.
    ///
    /// # Errors
    /// `keystore.not_found`, `keystore.permissions`, `keystore.malformed`, `node.io`.
    pub fn info(&self, name: &str) -> Outcome<KeyInfo> {
        let path = self.file(name)?;
        let claim = read(&path)?.claim().map_err(|refused| failure(&path, refused))?;
        Ok(KeyInfo::new(name, &claim))
    }

    /// Every key of the folder; none when there is no folder.
    ///
    /// # Errors
    /// `node.io`.
    pub fn list(&self) -> Outcome<KeyList> {
        let mut list = KeyList { keys: Vec::new(), broken: Vec::new() };
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(list),
            entries => entries.map_err(Failure::io(&self.folder))?,
        };
        for entry in entries {
            let file = entry.map_err(Failure::io(&self.folder))?.file_name();
            let Some(name) = file.to_str().and_then(|file| file.strip_suffix(".json")) else { continue };
            match self.info(name) {
                Ok(key) => list.keys.push(key),
                Err(failure) => {
                    list.broken.push(BrokenKey { name: name.to_owned(), message: failure.to_string() });
                }
            }
        }
        list.keys.sort_by(|a, b| a.name.cmp(&b.name));
        list.broken.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(list)
    }
}

fn read(path: &Path) -> Outcome<Container> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(Failure::new(Code::KeystoreMissing, path.display().to_string()));
        }
        file => file.map_err(Failure::io(path))?,
    };
    files::require_private(&file, path)?;
    let bytes = files::read_bounded(file, path, FILE_MAX)?;
    let read = bytes.ok_or(Refused::Malformed(format!("it has more than {FILE_MAX} bytes")));
    read.and_then(|bytes| Container::read(&bytes)).map_err(|refused| failure(path, refused))
}

fn failure(path: &Path, refused: Refused) -> Failure {
    match refused {
        Refused::Malformed(what) => Failure::new(Code::KeystoreMalformed, format!("{}: {what}", path.display())),
        Refused::Passphrase => Failure::new(Code::KeystorePassphrase, path.display().to_string()),
    }
}

fn other_kind(name: &str, wanted: KeyKind) -> Failure {
    let what = format!("key `{name}` is not of kind {wanted}");
    Failure::new(Code::KeystoreMalformed, what).advise("name a key of that kind; `agora wallet list` shows them")
}

fn random(bytes: &mut [u8]) -> Outcome<()> {
    let what = |error| Failure::new(Code::NodeIo, format!("the system gives no random bytes: {error}"));
    getrandom::fill(bytes).map_err(what)
}

#[cfg(test)]
mod tests;
