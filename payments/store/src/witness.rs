//! A small file beside the log that remembers how far it went, so that a log that lost its end does not pass for whole.
//!
//! In a file that a crash left, one flipped bit of redb's header names the commit before the newest, and an older copy of
//! the whole file is valid too: neither can be seen from inside. The witness is written after a batch is durable and is
//! never ahead of it, so it needs no sync of its own; after a power failure it may be older than the log, never newer.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use agora_economy::ports::log::{Head, LogFault};
use agora_types::Hash;

use crate::frame::{open, seal};

const PLACE: &str = "head";

/// The open file.
#[derive(Debug)]
pub(crate) struct Witness(File);

impl Witness {
    /// Opens or creates the file; what it remembers, unless it is empty or torn.
    pub(crate) fn open(path: &Path) -> Result<(Self, Option<Head>), LogFault> {
        let failed = |error: std::io::Error| LogFault::Failed {
            doing: "opened the log's witness",
            reason: format!("{}: {error}", path.display()),
        };
        let file = File::options().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
        let mut bytes = [0; 2 * Hash::SIZE + 8];
        match (&file).read_exact(&mut bytes) {
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => return Err(failed(error)),
            _ => {}
        }
        let head = open(PLACE, &[], &bytes).ok().and_then(|value| {
            let (seq, hash) = value.split_first_chunk::<8>()?;
            Some(Head { seq: u64::from_be_bytes(*seq), hash: Hash::from_slice(hash)? })
        });
        Ok((Self(file), head))
    }

    /// Remembers a durable head. A failure leaves an older one, which is still true.
    pub(crate) fn remember(&mut self, head: &Head) {
        let value = [head.seq.to_be_bytes().as_slice(), head.hash.as_bytes()].concat();
        let _ = self.0.seek(SeekFrom::Start(0)).and_then(|_| self.0.write_all(&seal(PLACE, &[], &value)));
    }
}
