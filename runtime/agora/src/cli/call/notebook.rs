//! What `agora call` signed, as one private file for each call under the network's folder.
//!
//! The node holds its own state's file, so a command keeps its few rows beside it: written whole or not at all, and made
//! new only where there is none, so that two commands do not sign under one id.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use agora_economy::ports::log::{LogFault, Row};
use agora_economy::ports::state::{StateStore, Table, VALUE_MAX, Write, check_commit};
use agora_shell::Failure;
use agora_shell::files::{self, Existing};

/// A folder of rows.
pub(super) struct Notebook {
    folder: PathBuf,
    /// Rows that this command read or wrote: those it may exchange.
    own: Mutex<BTreeSet<Vec<u8>>>,
}

fn fault(doing: &'static str) -> impl Fn(Failure) -> LogFault {
    move |failure| LogFault::Failed { doing, reason: failure.what }
}

impl Notebook {
    /// In this folder, which is made where it is missing.
    pub(super) fn at(folder: PathBuf) -> Result<Self, Failure> {
        files::create_private_folder(&folder)?;
        Ok(Self { folder, own: Mutex::default() })
    }

    fn path(&self, key: &[u8]) -> PathBuf {
        self.folder.join(format!("{}.cbor", hex::encode(key)))
    }
}

impl StateStore for Notebook {
    fn commit(&self, writes: &[Write]) -> Result<(), LogFault> {
        check_commit(writes)?;
        let [Write { key, value: Some(value), .. }] = writes else {
            // One file is one durable step; more are not needed here.
            return Err(LogFault::TooLarge { what: "the number of writes of a commit", limit: 1 });
        };
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        let existing = if own.contains(key) { Existing::Replace } else { Existing::Refuse };
        if !files::write_private(&self.path(key), value, existing).map_err(fault("wrote a call"))? {
            let reason = "another command pays under this id; wait until it has ended".to_owned();
            return Err(LogFault::Failed { doing: "wrote a call", reason });
        }
        own.insert(key.clone());
        Ok(())
    }

    fn get(&self, _: Table, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault> {
        let path = self.path(key);
        let file = match fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Failure::io(&path)).map_err(fault("read a call"))?,
        };
        let bytes = files::read_bounded(file, &path, VALUE_MAX).map_err(fault("read a call"))?;
        let bytes = bytes.ok_or(LogFault::TooLarge { what: "a value", limit: VALUE_MAX })?;
        self.own.lock().unwrap_or_else(PoisonError::into_inner).insert(key.to_vec());
        Ok(Some(bytes))
    }

    fn list(&self, _: Table, _: &[u8], _: usize) -> Result<Vec<Row>, LogFault> {
        Err(LogFault::Failed { doing: "listed calls", reason: "a command reads single rows only".to_owned() })
    }
}
