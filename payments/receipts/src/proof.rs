//! An offline proof that an entry stands in a log, in the text form of `c2sp.org/tlog-proof@v1`.

use std::fmt;

use agora_types::merkle::root_from_inclusion;
use agora_types::{Code, Hash};

use crate::base64;
use crate::checkpoint::Checkpoint;
use crate::note::{NOTE_SIZE_MAX, Note, NoteError};

/// The first line.
const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Most hashes of a path: a tree has fewer than 2^64 leaves.
const PATH_MAX: usize = 64;
/// Most bytes of the extra data.
const EXTRA_SIZE_MAX: usize = 4 * 1024;

/// An index, the hashes beside the way to the root, and the checkpoint that commits to the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProof {
    /// Data of the application; nothing vouches for it. Receipts carry none.
    pub extra: Option<Vec<u8>>,
    /// The entry's index.
    pub index: u64,
    /// Hashes beside the path, leaf first.
    pub path: Vec<Hash>,
    /// The checkpoint with its signatures, verbatim.
    pub checkpoint: Note,
}

impl LogProof {
    /// Reads a proof; what was read is written again as the very same text.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let bad = NoteError::Malformed;
        if text.len() > 2 * NOTE_SIZE_MAX {
            return Err(bad("a proof has at most 131,072 bytes"));
        }
        let (head, checkpoint) = text.split_once("\n\n").ok_or(bad("no blank line before the checkpoint"))?;
        let mut lines = head.split('\n').peekable();
        if lines.next() != Some(HEADER) {
            return Err(bad("a proof starts with c2sp.org/tlog-proof@v1"));
        }
        let mut extra = None;
        if let Some(data) = lines.peek().and_then(|line| line.strip_prefix("extra ")) {
            let bytes = base64::decode(data).filter(|bytes| bytes.len() <= EXTRA_SIZE_MAX);
            extra = Some(bytes.ok_or(bad("the extra data is no base64 of at most 4,096 bytes"))?);
            lines.next();
        }
        let index = lines.next().and_then(|line| base64::decimal(line.strip_prefix("index ")?));
        let index = index.ok_or(bad("no line `index <number>`"))?;
        let mut path = Vec::new();
        for line in lines {
            if path.len() == PATH_MAX {
                return Err(bad("a path has at most 64 hashes"));
            }
            path.push(base64::decode_hash(line).ok_or(bad("a line of the path is not the base64 of a hash"))?);
        }
        Ok(Self { extra, index, path, checkpoint: Note::parse(checkpoint)? })
    }

    /// Succeeds when the path leads from `leaf` to the root of the checkpoint, which is returned. Whether the checkpoint
    /// is believed is another question: see [`Checkpoint::verify`].
    ///
    /// # Errors
    /// `receipt.bad_proof`.
    pub fn verify(&self, leaf: &Hash) -> Result<Checkpoint, Code> {
        let checkpoint = Checkpoint::parse(self.checkpoint.text()).map_err(|_| Code::ReceiptProof)?;
        let root = root_from_inclusion(leaf, self.index, checkpoint.size, &self.path);
        if root == Some(checkpoint.root) { Ok(checkpoint) } else { Err(Code::ReceiptProof) }
    }
}

/// The text form.
impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", base64::encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", base64::encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}
