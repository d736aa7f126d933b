//! Signed notes: a text, and lines that say who signed it (C2SP signed-note).
//!
//! A key is named in a *vkey*, `name+keyid+base64(type || public key)`. Only Ed25519 (type 0x01) is checked; signatures
//! by other keys and of other kinds, such as witnesses', are kept and ignored.

use std::fmt;
use std::str::FromStr;

use agora_types::Hash;
use agora_types::key::{StatementKey, StatementSignature, StatementSigner};

use crate::base64;

/// Most bytes of a note, signatures included.
pub const NOTE_SIZE_MAX: usize = 64 * 1024;
/// Most signature lines; the specification asks for at least 16.
pub const SIGNATURES_MAX: usize = 100;
/// Longest name of a key in bytes.
pub const KEY_NAME_SIZE_MAX: usize = 256;
/// The signature type of plain Ed25519.
const ED25519: u8 = 0x01;
/// What a signature line starts with: an em dash and a blank.
const SIGNATURE_PREFIX: &str = "\u{2014} ";

/// Why a text is no note, or a note is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// The form is wrong.
    #[error("not a signed note: {0}")]
    Malformed(&'static str),
    /// A vkey is wrong, or of a kind that is not checked here.
    #[error("not a verifier key: {0}")]
    Key(&'static str),
    /// A known key's signature does not fit the text.
    #[error("the signature by {0} does not fit the note")]
    BadSignature(String),
    /// None of the known keys signed.
    #[error("none of the known keys signed this note")]
    NoKnownKey,
}

/// A public key that may sign notes, with the name it signs under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VerifierKey {
    name: String,
    key: StatementKey,
}

impl VerifierKey {
    /// A key under a name without blanks and plus signs, at most 256 bytes.
    pub fn new(name: &str, key: StatementKey) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::Key(
                "a key's name is 1 to 256 bytes without blanks, control characters and plus signs",
            ));
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// The name it signs under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    pub fn key(&self) -> &StatementKey {
        &self.key
    }

    /// The first four bytes of SHA-256(name || 0x0A || 0x01 || key): a hint, not an identity.
    pub fn id(&self) -> [u8; 4] {
        let hash = Hash::sha256_of(&[self.name.as_bytes(), b"\n", &[ED25519], self.key.as_bytes()]);
        let [a, b, c, d, ..] = *hash.as_bytes();
        [a, b, c, d]
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[ED25519], self.key.as_bytes().as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), base64::encode(&typed))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let form = NoteError::Key("write name+keyid+base64, as the operator gives it");
        // The base64 may hold plus signs, a name never does.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(typed)) = (parts.next(), parts.next(), parts.next()) else { return Err(form) };
        let typed = base64::decode(typed).ok_or(form)?;
        let [ED25519, key @ ..] = typed.as_slice() else {
            return Err(NoteError::Key("only Ed25519 keys (type 1) are checked here"));
        };
        let key = key.try_into().map_err(|_| NoteError::Key("an Ed25519 key has 32 bytes"))?;
        let key = Self::new(name, StatementKey::new(key))?;
        if hex::encode(key.id()) != id {
            return Err(NoteError::Key("its key id does not fit its name and key; it was mistyped"));
        }
        Ok(key)
    }
}

impl serde::Serialize for VerifierKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for VerifierKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    name: String,
    id: [u8; 4],
    signature: Vec<u8>,
}

/// A text with its signature lines. Reading one does not verify it: see [`Note::verify`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    lines: Vec<Line>,
}

impl Note {
    /// A note over `text`, which ends with a line break, signed under `name`.
    pub fn sign(text: &str, name: &str, signer: &StatementSigner) -> Result<Self, NoteError> {
        let key = VerifierKey::new(name, signer.public())?;
        let signature = signer.sign(text.as_bytes()).as_bytes().to_vec();
        let note =
            Self { text: text.to_owned(), lines: vec![Line { name: key.name.clone(), id: key.id(), signature }] };
        note.read_back()
    }

    /// Adds another signature line over the same text, such as an operator's second key.
    pub fn countersign(&mut self, name: &str, signer: &StatementSigner) -> Result<(), NoteError> {
        let other = Self::sign(&self.text, name, signer)?;
        let mut all = self.clone();
        all.lines.extend(other.lines);
        *self = all.read_back()?;
        Ok(())
    }

    /// Refuses what would be read as another note: a text without a last line break, or too many lines.
    fn read_back(self) -> Result<Self, NoteError> {
        let same = Self::parse(&self.to_string())? == self;
        if same { Ok(self) } else { Err(NoteError::Malformed("its text must end with a line break")) }
    }

    /// Reads a note; what was read is written again as the very same text.
    ///
    /// # Errors
    /// [`NoteError::Malformed`], also for more than [`NOTE_SIZE_MAX`] bytes or [`SIGNATURES_MAX`] lines.
    pub fn parse(note: &str) -> Result<Self, NoteError> {
        if note.len() > NOTE_SIZE_MAX {
            return Err(NoteError::Malformed("it has more than 65,536 bytes"));
        }
        if note.bytes().any(|byte| byte < 0x20 && byte != b'\n') {
            return Err(NoteError::Malformed("it has control characters"));
        }
        // The signatures follow the last blank line: the text may have blank lines of its own.
        let at = note.rfind("\n\n").ok_or(NoteError::Malformed("no blank line before the signatures"))?;
        let (text, signatures) = (&note[..=at], &note[at + 2..]);
        let signatures =
            signatures.strip_suffix('\n').ok_or(NoteError::Malformed("no signatures, or no last line break"))?;
        if signatures.split('\n').count() > SIGNATURES_MAX {
            return Err(NoteError::Malformed("it has more than 100 signatures"));
        }
        let lines = signatures.split('\n').map(read_line).collect::<Option<Vec<_>>>();
        let lines = lines.ok_or(NoteError::Malformed("a signature line is not `\u{2014} name base64`"))?;
        Ok(Self { text: text.to_owned(), lines })
    }

    /// The signed text, with its last line break.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names on the signature lines, verified or not.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(|line| line.name.as_str())
    }

    /// Checks every signature by one of `keys` and gives the keys that signed.
    ///
    /// # Errors
    /// [`NoteError::BadSignature`] as soon as a known key's signature is wrong, whoever else signed;
    /// [`NoteError::NoKnownKey`] when none of them signed.
    pub fn verify<'a>(&self, keys: &'a [VerifierKey]) -> Result<Vec<&'a VerifierKey>, NoteError> {
        let mut signed: Vec<&VerifierKey> = Vec::new();
        for line in &self.lines {
            // Two known keys may share name and id, by chance or by design: the line must fit one of them.
            let mut known = keys.iter().filter(|key| key.name == line.name && key.id() == line.id).peekable();
            if known.peek().is_none() {
                continue;
            }
            let bad = || NoteError::BadSignature(line.name.clone());
            let signature = StatementSignature::new(line.signature.as_slice().try_into().map_err(|_| bad())?);
            let fits = |key: &&VerifierKey| key.key.verify(self.text.as_bytes(), &signature).is_ok();
            let key = known.find(fits).ok_or_else(bad)?;
            if !signed.contains(&key) {
                signed.push(key);
            }
        }
        if signed.is_empty() { Err(NoteError::NoKnownKey) } else { Ok(signed) }
    }
}

/// The note as it is stored and sent.
impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        for line in &self.lines {
            let bytes = [line.id.as_slice(), &line.signature].concat();
            writeln!(f, "{SIGNATURE_PREFIX}{} {}", line.name, base64::encode(&bytes))?;
        }
        Ok(())
    }
}

fn read_line(line: &str) -> Option<Line> {
    let (name, bytes) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
    let bytes = base64::decode(bytes)?;
    let (id, signature) = bytes.split_first_chunk::<4>()?;
    (is_key_name(name) && !signature.is_empty()).then(|| Line {
        name: name.to_owned(),
        id: *id,
        signature: signature.to_vec(),
    })
}

fn is_key_name(name: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    (1..=KEY_NAME_SIZE_MAX).contains(&name.len()) && name.chars().all(plain)
}
