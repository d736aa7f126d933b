//! Keys, listings and datanets on the ledger: who may act, and whom a call pays.

use std::collections::BTreeSet;

use agora_ledger::SystemAccount;
use agora_types::command::{
    COMMITTED_MAX, CommitData, DECLARED_WEIGHTS, DatanetShare, HOSTS_MAX, KeyKind, MEMBERS_MAX, METHOD_SIZE_MAX,
    Measure, Member, NAME_SIZE_MAX, PublicKey, RegisterDatanet, RegisterKey, RegisterListing, RevokeKey,
};
use agora_types::key::StatementKey;
use agora_types::{Address, Code, DatanetId, Hash, Timestamp};
use minicbor::{Decode, Encode};

use crate::state::State;

/// Most keys of one owner.
const KEYS_MAX: u32 = 64;

/// A registered key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeyRecord {
    /// For whom it acts.
    #[n(0)]
    pub owner: Address,
    /// In which work.
    #[n(1)]
    pub kind: KeyKind,
    /// Until when.
    #[n(2)]
    pub valid_until: Timestamp,
    /// True once it was revoked.
    #[n(3)]
    pub revoked: bool,
}

/// A listing's money terms.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ListingRecord {
    /// Who registered it.
    #[n(0)]
    pub owner: Address,
    /// Unique per owner.
    #[n(1)]
    pub name: String,
    /// Receives the model owner's part.
    #[n(2)]
    pub model_owner: Address,
    /// Accounts that may settle calls.
    #[n(3)]
    pub hosts: Vec<Address>,
    /// Whose data taught the model.
    #[n(4)]
    pub datanets: Vec<DatanetShare>,
    /// The base model.
    #[n(5)]
    pub base_hash: Hash,
    /// The adapter.
    #[n(6)]
    pub adapter_hash: Option<Hash>,
    /// The signed listing in the catalog.
    #[n(7)]
    pub terms: Hash,
    /// How answers are attributed; absent: by declared weights.
    #[n(8)]
    pub measure: Option<Measure>,
}

/// A contributor's commitment to contributions that nobody has seen yet; it stands for ever. Who copies another's root can
/// open nothing with it: contents are hashed with the contributor's account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CommitRecord {
    /// The commitment's place among all: who committed earlier owns what is alike.
    #[n(0)]
    pub number: u64,
    /// How many contributions.
    #[n(1)]
    pub count: u32,
    /// SHA-256 of the licence id.
    #[n(2)]
    pub licence: Hash,
    /// When, by the ledger's time.
    #[n(3)]
    pub time: Timestamp,
}

/// A datanet's newest version.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DatanetRecord {
    /// Who registered it.
    #[n(0)]
    pub owner: Address,
    /// Unique per owner.
    #[n(1)]
    pub name: String,
    /// Counts from 1.
    #[n(2)]
    pub version: u32,
    /// Over the version's contributions.
    #[n(3)]
    pub root: Hash,
    /// Number of contributions.
    #[n(4)]
    pub tree_size: u64,
    /// Who is paid.
    #[n(5)]
    pub members: Vec<Member>,
    /// SHA-256 of the version as its owner signed it.
    #[n(6)]
    pub statement: Hash,
}

impl State {
    /// True for accounts that no one has a key for: a party to a call or transfer may not be one.
    pub(crate) fn is_keyless(&self, account: &Address) -> bool {
        SystemAccount::is_one(account) || self.listing_accounts.get(account).is_some()
    }

    pub(crate) fn register_key(&mut self, command: &RegisterKey, now: Timestamp) -> Result<(), Code> {
        let owner = command.head.signer;
        if self.keys.get(&command.key).is_some() {
            return Err(Code::KeyRegistered);
        }
        if command.valid_until <= now {
            return Err(Code::KeyExpired);
        }
        let count = self.key_counts.get(&owner).copied().unwrap_or(0);
        if count >= KEYS_MAX {
            return Err(Code::KeyTooMany);
        }
        let record = KeyRecord { owner, kind: command.kind, valid_until: command.valid_until, revoked: false };
        self.keys.put(command.key, record);
        self.key_counts.put(owner, count + 1);
        Ok(())
    }

    pub(crate) fn revoke_key(&mut self, command: &RevokeKey) -> Result<(), Code> {
        let owner = command.head.signer;
        let record = self.keys.get(&command.key).copied();
        let record = record.filter(|record| record.owner == owner && record.kind == command.kind);
        let record = record.ok_or(Code::KeyNotRegistered)?;
        if record.revoked {
            return Err(Code::KeyRevoked);
        }
        let count = self.key_counts.get(&owner).copied().unwrap_or(0);
        self.keys.put(command.key, KeyRecord { revoked: true, ..record });
        self.key_counts.put(owner, count.saturating_sub(1));
        Ok(())
    }

    /// Succeeds when `key` signs receipts for `host` at `now`.
    pub(crate) fn receipt_key(&self, key: &StatementKey, host: &Address, now: Timestamp) -> Result<(), Code> {
        let record = self.keys.get(&PublicKey::Statement(*key)).ok_or(Code::HostKeyUnknown)?;
        if record.owner != *host || record.kind != KeyKind::Receipt {
            return Err(Code::HostKeyUnknown);
        }
        if record.revoked {
            return Err(Code::KeyRevoked);
        }
        if record.valid_until <= now { Err(Code::KeyExpired) } else { Ok(()) }
    }

    pub(crate) fn register_datanet(&mut self, command: &RegisterDatanet) -> Result<(), Code> {
        let members = &command.members;
        let good = is_name(&command.name)
            && members.len() <= MEMBERS_MAX
            && members.iter().all(|member| member.weight > 0 && !self.is_keyless(&member.account))
            && members.windows(2).all(|pair| pair[0].account < pair[1].account);
        if !good {
            return Err(Code::DatanetTerms);
        }
        let id = command.datanet();
        let before = self.datanets.get(&id).map_or(0, |record| record.version);
        if before.checked_add(1) != Some(command.version) {
            return Err(Code::DatanetVersion);
        }
        let record = DatanetRecord {
            owner: command.head.signer,
            name: command.name.clone(),
            version: command.version,
            root: command.root,
            tree_size: command.tree_size,
            members: members.clone(),
            statement: command.statement,
        };
        self.datanets.put(id, record);
        Ok(())
    }

    pub(crate) fn commit_data(&mut self, command: &CommitData, now: Timestamp) -> Result<(), Code> {
        let contributor = command.head.signer;
        if !(1..=COMMITTED_MAX).contains(&command.count) || self.is_keyless(&contributor) {
            return Err(Code::CommitmentInvalid);
        }
        let key = (command.datanet, contributor, command.root);
        if self.commitments.get(&key).is_some() {
            return Err(Code::DatanetCommitted);
        }
        let CommitData { count, licence, .. } = *command;
        let number = self.commitments.len() as u64;
        self.commitments.put(key, CommitRecord { number, count, licence, time: now });
        Ok(())
    }

    pub(crate) fn register_listing(&mut self, command: &RegisterListing) -> Result<(), Code> {
        let hosts: BTreeSet<&Address> = command.hosts.iter().collect();
        let datanets: BTreeSet<&DatanetId> = command.datanets.iter().map(|share| &share.datanet).collect();
        let good = is_name(&command.name)
            && (1..=HOSTS_MAX).contains(&command.hosts.len())
            && hosts.len() == command.hosts.len()
            && command.hosts.iter().all(|host| !self.is_keyless(host))
            && !self.is_keyless(&command.model_owner)
            && command.datanets.len() <= HOSTS_MAX
            && datanets.len() == command.datanets.len()
            && command.datanets.iter().all(|share| share.weight > 0)
            && command.measure.as_ref().is_none_or(|measure| is_method(&measure.method) && !datanets.is_empty());
        if !good {
            return Err(Code::ListingTerms);
        }
        if command.datanets.iter().any(|share| self.datanets.get(&share.datanet).is_none()) {
            return Err(Code::DatanetNotFound);
        }
        let record = ListingRecord {
            owner: command.head.signer,
            name: command.name.clone(),
            model_owner: command.model_owner,
            hosts: command.hosts.clone(),
            datanets: command.datanets.clone(),
            base_hash: command.base_hash,
            adapter_hash: command.adapter_hash,
            terms: command.terms,
            measure: command.measure.clone(),
        };
        if record.measure.is_none() && self.members_of(&record)?.iter().any(|(_, known)| known.members.is_empty()) {
            return Err(Code::ListingTerms);
        }
        let id = command.listing();
        self.listings.put(id, record);
        self.listing_accounts.put(Address::listing(&id), id);
        Ok(())
    }

    /// The datanets of a listing with their shares, as they stand now.
    ///
    /// # Errors
    /// `listing.bad_terms` when they have more than twelve different members together: a datanet has grown since the
    /// listing was registered, and the owner must register it anew, measured or with fewer.
    pub(crate) fn members_of(&self, listing: &ListingRecord) -> Result<Vec<(DatanetShare, &DatanetRecord)>, Code> {
        let mut found = Vec::new();
        let mut accounts = BTreeSet::new();
        for share in &listing.datanets {
            let record = self.datanets.get(&share.datanet).ok_or(Code::DatanetNotFound)?;
            accounts.extend(record.members.iter().map(|member| member.account));
            found.push((*share, record));
        }
        if accounts.len() > MEMBERS_MAX { Err(Code::ListingTerms) } else { Ok(found) }
    }
}

/// A measured method has a name of its own, in letters, digits and hyphens.
fn is_method(method: &str) -> bool {
    (1..=METHOD_SIZE_MAX).contains(&method.len())
        && method != DECLARED_WEIGHTS
        && method.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_name(name: &str) -> bool {
    (1..=NAME_SIZE_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}
