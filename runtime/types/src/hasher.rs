//! SHA-256 over bytes that arrive piece by piece, such as a file too large to hold.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::Hash;

/// An unfinished SHA-256: `update` with each piece, then `finish`.
///
/// ```
/// let mut hasher = agora_types::Hasher::new();
/// hasher.update(b"two ");
/// hasher.update(b"pieces");
/// assert_eq!(hasher.finish(), agora_types::Hash::sha256(b"two pieces"));
/// ```
#[derive(Clone, Default)]
pub struct Hasher(Sha256);

impl Hasher {
    /// Over no bytes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of all pieces in their order.
    pub fn finish(self) -> Hash {
        Hash::new(self.0.finalize().into())
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}
