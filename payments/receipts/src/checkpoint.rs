//! Checkpoints: an operator's signed word for the size and root of a log (C2SP tlog-checkpoint).

use std::fmt;

use agora_types::Hash;
use agora_types::key::{StatementKey, StatementSigner};

use crate::base64;
use crate::note::{Note, NoteError, VerifierKey};

/// The name of a network's receipt log, and of the key that signs its checkpoints: `agora.<chain id>/receipts`.
///
/// A chain id is random below 2^53, so that two networks meet by design only; which network is meant by it is settled by
/// the genesis hash that a reader pins beside the key.
pub fn origin(chain_id: u64) -> String {
    format!("agora.{chain_id}/receipts")
}

/// The vkey under which `key` signs the receipt log of a network; operators publish it, readers pin it.
pub fn verifier_key(chain_id: u64, key: StatementKey) -> VerifierKey {
    VerifierKey::new(&origin(chain_id), key).expect("an origin is a key name")
}

/// Size and root of a log at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Number of entries.
    pub size: u64,
    /// RFC 6962 root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// Reads the three lines `origin`, `size`, `base64(root)`; extension lines are refused.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let read = || {
            let mut lines = text.strip_suffix('\n')?.split('\n');
            let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
            let (size, root) = (base64::decimal(size)?, base64::decode_hash(root)?);
            let whole = lines.next().is_none() && !origin.is_empty();
            whole.then(|| Self { origin: origin.to_owned(), size, root })
        };
        read().ok_or(NoteError::Malformed("a checkpoint has three lines: origin, size and base64 root"))
    }

    /// The signed form, under the origin as the key's name.
    pub fn sign(&self, signer: &StatementSigner) -> Result<Note, NoteError> {
        let text = self.to_string();
        Self::parse(&text)?;
        Note::sign(&text, &self.origin, signer)
    }

    /// Reads a note's checkpoint after verifying that one of the pinned `keys` signed it.
    pub fn verify(note: &Note, keys: &[VerifierKey]) -> Result<Self, NoteError> {
        note.verify(keys)?;
        Self::parse(note.text())
    }
}

/// The text that is signed.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, base64::encode(self.root.as_bytes()))
    }
}
