//! A version of a datanet: what it is, under which terms, over which contributions, and whom the ledger pays for it.

use agora_types::command::{Head, MEMBERS_MAX, Member, NAME_SIZE_MAX, RegisterDatanet};
use agora_types::merkle::{leaf_hash, root, verify_consistency};
use agora_types::{Address, Canonical, Code, DatanetId, Hash, Signed, Timestamp};
use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::contribution::{Contribution, TITLE_SIZE_MAX, is_licence, is_line};
use crate::members::{KindWeights, members};

/// Longest description in bytes.
const DESCRIPTION_SIZE_MAX: usize = 2_000;
/// Most contributions of a datanet, withdrawals included.
pub const CONTRIBUTIONS_MAX: usize = 1 << 20;

/// What an owner says of a datanet; the rest of a version follows from its contributions.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct Terms {
    /// The network's chain id.
    #[n(0)]
    pub network: u64,
    /// Who keeps the list.
    #[n(1)]
    pub owner: Address,
    /// Unique per owner: the id is derived from both and survives every version.
    #[n(2)]
    pub name: String,
    /// One line for people.
    #[n(3)]
    pub title: String,
    /// A paragraph for people.
    #[n(4)]
    pub description: String,
    /// One SPDX licence id: under which the whole is used.
    #[n(5)]
    pub licence: String,
    /// SHA-256 of the full text of the terms, if there is one.
    #[n(6)]
    pub terms_hash: Option<Hash>,
    /// What each kind of contribution counts.
    #[n(7)]
    pub kind_weights: KindWeights,
}

/// A version, signed by a statement key of the owner. The ledger's `RegisterDatanet` repeats root, size and members.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct DatanetVersion {
    /// What the owner says.
    #[n(0)]
    pub terms: Terms,
    /// 1 at first, then one more each time.
    #[n(1)]
    pub version: u32,
    /// RFC 6962 root over the contributions' signed bytes, in the order of the list.
    #[n(2)]
    pub root: Hash,
    /// Number of contributions, withdrawals included: the list only grows.
    #[n(3)]
    pub tree_size: u64,
    /// 1 to 12, in rising order of account, each once: what [`members`] gives.
    #[n(4)]
    pub members: Vec<Member>,
    /// When it was made, by the owner's clock.
    #[n(5)]
    pub time: Timestamp,
}

impl Canonical for DatanetVersion {
    const TAG: &'static str = "agora/datanet/v1";
    const SIZE_MAX: usize = 4 * 1024;
}

/// The root over contributions in the order of the list.
pub fn contributions_root(contributions: &[Signed<Contribution>]) -> Hash {
    let leaves: Vec<Hash> = contributions.iter().map(|one| leaf_hash(&one.to_bytes())).collect();
    root(&leaves)
}

impl Terms {
    /// The datanet's id.
    pub fn id(&self) -> DatanetId {
        DatanetId::derive(&self.owner, &self.name)
    }

    fn are_bounded(&self) -> bool {
        is_line(&self.name, NAME_SIZE_MAX)
            && is_line(&self.title, TITLE_SIZE_MAX)
            && self.description.len() <= DESCRIPTION_SIZE_MAX
            && !self.description.chars().any(|c| c.is_control() && c != '\n')
            && is_licence(&self.licence)
            && self.kind_weights.are_bounded()
    }
}

impl DatanetVersion {
    /// The version over all contributions so far, in the order of the list.
    ///
    /// # Errors
    /// `datanet.bad_terms` for bounds; `datanet.bad_contribution` for one out of bounds, or meant for another datanet or
    /// network.
    pub fn new(
        terms: Terms,
        version: u32,
        contributions: &[Signed<Contribution>],
        time: Timestamp,
    ) -> Result<Self, Code> {
        if contributions.len() > CONTRIBUTIONS_MAX {
            return Err(Code::DatanetTerms);
        }
        let id = terms.id();
        let here = |one: &Signed<Contribution>| one.payload().datanet == id && one.payload().network == terms.network;
        if !contributions.iter().all(here) {
            return Err(Code::ContributionInvalid);
        }
        let members = members(contributions, &terms.kind_weights)?;
        let (root, tree_size) = (contributions_root(contributions), contributions.len() as u64);
        let made = Self { terms, version, root, tree_size, members, time };
        made.check()?;
        Ok(made)
    }

    /// Checks every bound that the record alone can show.
    ///
    /// # Errors
    /// `datanet.bad_terms`.
    pub fn check(&self) -> Result<(), Code> {
        let members = &self.members;
        let good = self.terms.are_bounded()
            && self.version > 0
            && (1..=CONTRIBUTIONS_MAX as u64).contains(&self.tree_size)
            && (1..=MEMBERS_MAX).contains(&members.len())
            && members.iter().all(|member| member.weight > 0)
            && members.windows(2).all(|pair| pair[0].account < pair[1].account);
        if good { Ok(()) } else { Err(Code::DatanetTerms) }
    }

    /// Recomputes root, size and members: succeeds when the record says exactly what its contributions do.
    ///
    /// # Errors
    /// `datanet.record_mismatch`, or what [`DatanetVersion::new`] says.
    pub fn check_contributions(&self, contributions: &[Signed<Contribution>]) -> Result<(), Code> {
        let again = Self::new(self.terms.clone(), self.version, contributions, self.time)?;
        if again == *self { Ok(()) } else { Err(Code::DatanetRecord) }
    }

    /// Succeeds when this version follows `before` of the same datanet and `path` proves that the list only grew.
    ///
    /// # Errors
    /// `datanet.version_not_next`; `datanet.record_mismatch` when the list was rewritten.
    pub fn check_follows(&self, before: &Self, path: &[Hash]) -> Result<(), Code> {
        let same = self.terms.id() == before.terms.id() && self.terms.network == before.terms.network;
        if !same || before.version.checked_add(1) != Some(self.version) {
            return Err(Code::DatanetVersion);
        }
        let grew = verify_consistency(before.tree_size, &before.root, self.tree_size, &self.root, path);
        if grew { Ok(()) } else { Err(Code::DatanetRecord) }
    }

    /// The command that puts this version on the ledger; its signer must be the owner.
    pub fn registration(&self, head: Head) -> RegisterDatanet {
        RegisterDatanet {
            head,
            name: self.terms.name.clone(),
            version: self.version,
            root: self.root,
            tree_size: self.tree_size,
            members: self.members.clone(),
        }
    }
}
