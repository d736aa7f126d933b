//! Bytes by their SHA-256 as plain files, `blobs/ab/cd/abcd…`: two levels of folders keep each of them small.

use std::path::{Path, PathBuf};

use agora_economy::ports::log::LogFault;
use agora_economy::ports::state::{BLOB_SIZE_MAX, Blobs};
use agora_types::Hash;

use crate::files::Files;
use crate::frame::damage;

/// The folder `blobs/` of a network, written by one process.
#[derive(Debug)]
pub struct FolderBlobs(Files);

impl FolderBlobs {
    /// Opens or creates the folder at `path`, and removes what a crash left half written.
    ///
    /// # Errors
    /// `Failed`.
    pub fn open(path: &Path) -> Result<Self, LogFault> {
        Files::open(path).map(Self)
    }
}

fn place(hash: &Hash) -> PathBuf {
    let text = hash.to_string();
    let digits = text.trim_start_matches("0x");
    [&digits[..2], &digits[2..4], digits].iter().collect()
}

impl Blobs for FolderBlobs {
    fn put(&self, bytes: &[u8]) -> Result<Hash, LogFault> {
        if bytes.len() > BLOB_SIZE_MAX {
            return Err(LogFault::TooLarge { what: "a blob", limit: BLOB_SIZE_MAX });
        }
        let hash = Hash::sha256(bytes);
        match self.get(&hash) {
            // Whole, but maybe by a process that died before its folders were synced.
            Ok(Some(_)) => self.0.sync(&place(&hash))?,
            // Who brings the bytes of a damaged blob heals it.
            Ok(None) | Err(LogFault::Damaged { .. }) => self.0.put(&place(&hash), bytes)?,
            Err(fault) => return Err(fault),
        }
        Ok(hash)
    }

    fn get(&self, hash: &Hash) -> Result<Option<Vec<u8>>, LogFault> {
        let bytes = self.0.get(&place(hash), BLOB_SIZE_MAX)?;
        if bytes.as_ref().is_some_and(|bytes| Hash::sha256(bytes) != *hash) {
            return Err(damage(&format!("blob {hash} is not what its name says")));
        }
        Ok(bytes)
    }
}
