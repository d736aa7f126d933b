//! Double-entry accounts and transfers: the rules by which OPEN moves.
//!
//! TigerBeetle's data model: every movement debits one account and credits another; a pending transfer reserves, and is
//! later posted, voided or expires; ids are chosen by the signer and a repeat gives the first answer. Everything is
//! checked before anything changes.

mod account;
mod ids;
mod pending;
mod split;
mod vesting;

use agora_types::table::Table;
use agora_types::{Address, Amount, CommandId, Timestamp};
use minicbor::{Decode, Encode};

pub use account::{Account, Posting, SystemAccount};
pub use ids::{Remembered, Repeat};
pub use pending::{Authorized, PendingState, PendingTransfer};
pub use split::split;
pub use vesting::Grant;

/// Accounts, ids, pending transfers and vesting grants.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Ledger {
    /// Every account that was ever credited.
    #[n(0)]
    pub accounts: Table<Address, Account>,
    /// Ids of commands by signer, until they expire.
    #[n(1)]
    pub ids: Table<(Address, CommandId), Remembered>,
    /// The same ids in the order in which they are forgotten.
    #[n(2)]
    pub ids_due: Table<(Timestamp, Address, CommandId), bool>,
    /// Pending transfers by signer and id.
    #[n(3)]
    pub pendings: Table<(Address, CommandId), PendingTransfer>,
    /// The same transfers in the order in which they expire or are forgotten.
    #[n(4)]
    pub pendings_due: Table<(Timestamp, Address, CommandId), bool>,
    /// Vesting allocations by their index in the genesis file.
    #[n(5)]
    pub grants: Table<u32, Grant>,
}

impl Ledger {
    /// What an account may still spend: posted credits less posted and pending debits.
    pub fn available(&self, account: &Address) -> Amount {
        self.accounts.get(account).map_or(Amount::ZERO, Account::available)
    }

    /// What was issued: everything that ever left the issuance account.
    pub fn supply(&self) -> Amount {
        self.accounts.get(&SystemAccount::Issuance.address()).map_or(Amount::ZERO, |account| account.debits_posted)
    }
}
