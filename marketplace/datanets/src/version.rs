//! A version of a datanet: what it is, under which terms and policy, over which lists, and whom the ledger pays for it.

use agora_types::command::{Head, MEMBERS_MAX, Member, RegisterDatanet};
use agora_types::merkle::verify_consistency;
use agora_types::{Canonical, Code, Hash, Timestamp};
use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::draft::{ACTS_MAX, CONTRIBUTIONS_MAX, Draft};
use crate::members::payees_root;
use crate::membership::Membership;
use crate::similar::Clusters;
use crate::terms::Terms;

/// A version, signed by a statement key of the owner, never changed. The ledger's `RegisterDatanet` repeats root, size
/// and members, and names the whole signed version by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
#[cbor(map)]
pub struct DatanetVersion {
    /// What the owner says.
    #[n(0)]
    pub terms: Terms,
    /// 1 at first, then one more each time.
    #[n(1)]
    pub version: u32,
    /// RFC 6962 root over the contributions, in the order of the list.
    #[n(2)]
    pub root: Hash,
    /// Number of contributions, in or out: the list only grows.
    #[n(3)]
    pub tree_size: u64,
    /// RFC 6962 root over the acts, in the order of their list.
    #[n(4)]
    pub acts_root: Hash,
    /// Number of acts: this list only grows too.
    #[n(5)]
    pub acts_size: u64,
    /// Hash of the policy.
    #[n(6)]
    pub policy_hash: Hash,
    /// RFC 6962 root over how each contribution stands, in the order of the list: see [`crate::Standing`].
    #[n(7)]
    pub standings_root: Hash,
    /// Number of contributions that are in.
    #[n(8)]
    pub included: u64,
    /// RFC 6962 root over everybody who is paid by declared weights: see [`payees_root`].
    #[n(9)]
    pub payees_root: Hash,
    /// The payees where they are at most 12, in rising order of account; none where they are more: then only listings
    /// that measure can name the datanet.
    #[n(10)]
    pub members: Vec<Member>,
    /// When it was made, by the owner's clock.
    #[n(11)]
    pub time: Timestamp,
}

impl Canonical for DatanetVersion {
    const TAG: &'static str = "agora/datanet/v1";
    const SIZE_MAX: usize = 4 * 1024;
}

impl Draft {
    /// The version over everything that was put in so far, and how each contribution stands in it.
    ///
    /// # Errors
    /// `datanet.empty_version` when nothing is in; `datanet.bad_terms` for version 0 or a sum of weights above 2^64.
    pub fn version(
        &self,
        version: u32,
        clusters: &Clusters,
        time: Timestamp,
    ) -> Result<(DatanetVersion, Membership), Code> {
        let membership = self.membership(clusters);
        let included = membership.included().count() as u64;
        if included == 0 {
            return Err(Code::DatanetEmpty);
        }
        let payees = self.payees(&membership)?;
        let ((root, tree_size), (acts_root, acts_size)) = (self.contributions(), self.acts());
        let made = DatanetVersion {
            terms: self.terms().clone(),
            version,
            root,
            tree_size,
            acts_root,
            acts_size,
            policy_hash: self.policy().hash(),
            standings_root: membership.root(),
            included,
            payees_root: payees_root(&payees),
            members: if payees.len() <= MEMBERS_MAX { payees } else { Vec::new() },
            time,
        };
        made.check()?;
        Ok((made, membership))
    }
}

impl DatanetVersion {
    /// Checks every bound that the record alone can show.
    ///
    /// # Errors
    /// `datanet.bad_terms`.
    pub fn check(&self) -> Result<(), Code> {
        let members = &self.members;
        let good = self.terms.are_bounded()
            && self.version > 0
            && (1..=CONTRIBUTIONS_MAX as u64).contains(&self.tree_size)
            && (1..=self.tree_size).contains(&self.included)
            && self.acts_size <= ACTS_MAX as u64
            && members.len() <= MEMBERS_MAX
            && members.iter().all(|member| member.weight > 0)
            && members.windows(2).all(|pair| pair[0].account < pair[1].account)
            && (members.is_empty() || payees_root(members) == self.payees_root);
        if good { Ok(()) } else { Err(Code::DatanetTerms) }
    }

    /// Recomputes everything: succeeds when the record says exactly what terms, policy, lists and clusters of `draft`
    /// give.
    ///
    /// # Errors
    /// `datanet.record_mismatch`, or what [`Draft::version`] says.
    pub fn check_draft(&self, draft: &Draft, clusters: &Clusters) -> Result<Membership, Code> {
        let (again, membership) = draft.version(self.version, clusters, self.time)?;
        if again == *self { Ok(membership) } else { Err(Code::DatanetRecord) }
    }

    /// Succeeds when this version follows `before` of the same datanet, and the paths prove that both lists only grew.
    ///
    /// # Errors
    /// `datanet.version_not_next`; `datanet.record_mismatch` when a list was rewritten.
    pub fn check_follows(&self, before: &Self, contributions: &[Hash], acts: &[Hash]) -> Result<(), Code> {
        let same = self.terms.id() == before.terms.id() && self.terms.network == before.terms.network;
        if !same || before.version.checked_add(1) != Some(self.version) {
            return Err(Code::DatanetVersion);
        }
        let listed = verify_consistency(before.tree_size, &before.root, self.tree_size, &self.root, contributions);
        // Every list grows from the empty one, of which there is nothing to prove.
        let acted = match before.acts_size {
            0 => acts.is_empty(),
            size => verify_consistency(size, &before.acts_root, self.acts_size, &self.acts_root, acts),
        };
        if listed && acted { Ok(()) } else { Err(Code::DatanetRecord) }
    }

    /// The command that puts this version on the ledger; its signer must be the owner. `statement` is the hash of the
    /// signed version.
    pub fn registration(&self, head: Head, statement: Hash) -> RegisterDatanet {
        RegisterDatanet {
            head,
            name: self.terms.name.clone(),
            version: self.version,
            root: self.root,
            tree_size: self.tree_size,
            members: self.members.clone(),
            statement,
        }
    }
}
