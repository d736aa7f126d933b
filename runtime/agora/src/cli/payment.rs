//! Money moved by the user's key: one entry, signed once, and sent again unchanged while nobody knows what became of it.

use std::time::Duration;

use agora_actors::clock::Clock as _;
use agora_shell::{Failure, Outcome};
use agora_types::batch::Entry;
use agora_types::command::{Command, Head, Transfer};
use agora_types::genesis::Genesis;
use agora_types::key::WalletKey;
use agora_types::{Address, Amount, Canonical as _, Code, CommandId, Timestamp};

use crate::control::{Committed, Request, Service};
use crate::node::System;

/// A transfer may enter the log for so long.
const VALID_S: u64 = 120;
/// How often an entry is sent, and the pause between.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(500);

/// A transfer that is ready to be sent.
#[derive(Debug, Clone)]
pub struct Payment {
    /// Its id, unique for its signer.
    pub id: CommandId,
    /// After this it cannot enter the log.
    pub expires_at: Timestamp,
    /// The entry's canonical bytes, in hex.
    entry: String,
}

impl Payment {
    /// Signs a transfer of `amount` from the key's account.
    ///
    /// # Errors
    /// `ledger.amount_must_not_be_zero`, `ledger.accounts_must_be_different`; `node.io` without randomness.
    pub fn sign(genesis: &Genesis, key: &WalletKey, credit: Address, amount: Amount) -> Outcome<Self> {
        let signer = key.address();
        // The rules would refuse both; here nothing is signed for them.
        if amount.is_zero() {
            return Err(Failure::new(Code::AmountZero, "0 OPEN cannot be sent"));
        }
        if signer == credit {
            return Err(Failure::new(Code::SameAccounts, format!("{credit} is the paying account itself")));
        }
        let mut random = [0; 10];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::new(Code::NodeIo, format!("the system gives no random bytes: {error}")))?;
        let at = System.now();
        let (id, expires_at) = (CommandId::ordered(at, random), at.plus_secs(VALID_S));
        let head = Head { signer, id, expires_at };
        let transfer = Transfer { head, credit, amount, pending: None, reference: 0, receipt: None };
        let entry = Entry::sign(&genesis.network(), Command::Transfer(transfer), key);
        Ok(Self { id, expires_at, entry: hex::encode(entry.to_bytes()) })
    }

    /// Sends it until its fate is known: a repeat of the same id and content moves nothing twice.
    ///
    /// # Errors
    /// The code it was refused with, and nothing has moved; or the last failure to learn its fate, with the id to look for.
    pub async fn commit(&self, service: &dyn Service) -> Outcome<()> {
        let mut tried = 1;
        loop {
            let request = Request::Commit { entries: vec![self.entry.clone()] };
            match service.call::<Committed>(request).await {
                Ok(committed) => return self.fate(&committed),
                Err(failure) if !is_uncertain(failure.code) => return Err(failure),
                Err(_) if tried < TRIES && System.now() < self.expires_at => {
                    tried += 1;
                    tokio::time::sleep(PAUSE).await;
                }
                Err(failure) => {
                    let what = format!("nobody said whether transfer {} was committed: {}", self.id, failure.what);
                    return Err(Failure::new(failure.code, what).advise(
                        "look at the balance before you send again: it may have been committed; after two minutes it \
                         cannot be any more",
                    ));
                }
            }
        }
    }

    fn fate(&self, committed: &Committed) -> Outcome<()> {
        match committed.refused[..] {
            [None] => Ok(()),
            [Some(number)] => {
                let code = Code::from_number(number).unwrap_or(Code::WireUnsupported);
                Err(Failure::new(code, format!("the ledger refused transfer {} (code {number})", self.id)))
            }
            _ => Err(Failure::new(Code::WireMalformed, "the node's answer is about another number of entries")),
        }
    }
}

/// After these the entry may stand in the log, or may still come to stand there.
fn is_uncertain(code: Code) -> bool {
    matches!(
        code,
        Code::BusTimeout
            | Code::BusClosed
            | Code::NodeNotRunning
            | Code::NodeBusy
            | Code::LedgerBusy
            | Code::StoreFailed
    )
}
