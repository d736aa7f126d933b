//! Ids of commands: a repeat gives the first answer, other content under the same id is refused.

use agora_types::{Address, Code, CommandId, Hash, Timestamp};
use minicbor::{Decode, Encode};

use crate::Ledger;

/// What became of a command, remembered until it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Remembered {
    /// The digest that was signed.
    #[n(0)]
    pub digest: Hash,
    /// True when it was refused.
    #[n(1)]
    pub refused: bool,
}

/// What an id says about a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// Never seen: go on.
    New,
    /// Done before: answer the same, change nothing.
    Done,
}

impl Ledger {
    /// What `(signer, id)` says about a command with this digest.
    ///
    /// # Errors
    /// `exists_with_different_fields` for other content, `id_already_failed` when it was refused before.
    pub fn repeat(&self, signer: Address, id: CommandId, digest: &Hash) -> Result<Repeat, Code> {
        match self.ids.get(&(signer, id)) {
            None => Ok(Repeat::New),
            Some(known) if known.digest != *digest => Err(Code::ExistsDifferent),
            Some(known) if known.refused => Err(Code::IdFailed),
            Some(_) => Ok(Repeat::Done),
        }
    }

    /// Remembers a command until `expires_at`.
    pub fn remember(&mut self, signer: Address, id: CommandId, expires_at: Timestamp, command: Remembered) {
        self.ids.put((signer, id), command);
        self.ids_due.put((expires_at, signer, id), true);
    }

    /// Forgets the ids that expired at or before `now`.
    pub fn forget_ids(&mut self, now: Timestamp) {
        while let Some((key, _)) = self.ids_due.first()
            && key.0 <= now
        {
            let key = *key;
            self.ids_due.remove(&key);
            self.ids.remove(&(key.1, key.2));
        }
    }
}
