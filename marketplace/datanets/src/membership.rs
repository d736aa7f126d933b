//! Which contributions a version has, and why each other one is out: a pure rule that anyone can repeat.
//!
//! The rule, in the order in which it is asked:
//!
//! 1. What its contributor withdrew is out, for good.
//! 2. A content hash counts once: the earliest position keeps it.
//! 3. What the policy does not take (licence, size) is out.
//! 4. Curators: out where as many reject as the policy says; else in when accepts reach what the policy asks for, and
//!    the number of flags. Nobody's accept of what it gave itself counts, except the owner's.
//! 5. Of near-duplicates one is in. They belong to the account whose commitment came first, passing over what was
//!    rejected as not owned; of that account's the earliest one that rules 1 to 4 leave in. So a copy is out even after
//!    the original was withdrawn, and whoever corrects own data is not stopped by the first try.
//!
//! Nothing that comes later takes out what came earlier, but an act. Order within the list does not matter.

use agora_types::merkle::{leaf_hash, root};
use agora_types::{Address, Hash, cbor};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::act::{Reason, Ruling, Subject};
use crate::draft::{Draft, Offer};
use crate::policy::Admission;
use crate::similar::Clusters;

/// How a contribution stands in a version. `of` is the place in the list of the contribution that is meant instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(flat)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Standing {
    /// It is in.
    #[n(0)]
    In,
    /// Its contributor took it back.
    #[n(1)]
    Withdrawn,
    /// The same commitment stands in the list from an earlier position.
    #[n(2)]
    Repeats {
        /// That one.
        #[n(0)]
        of: u32,
    },
    /// It says what an earlier commitment said.
    #[n(3)]
    NearDuplicate {
        /// The one that is in for all of them; where none is, the one that came first.
        #[n(0)]
        of: u32,
    },
    /// Curators reject it.
    #[n(4)]
    Rejected {
        /// Why.
        #[n(0)]
        reason: Reason,
    },
    /// More curators flag it than accept it.
    #[n(5)]
    Flagged {
        /// Why.
        #[n(0)]
        reason: Reason,
    },
    /// Not yet enough curators accept it.
    #[n(6)]
    Waiting {
        /// So many do.
        #[n(0)]
        accepts: u8,
    },
    /// The policy does not take its licence.
    #[n(7)]
    Licence,
    /// It is smaller or larger than the policy allows.
    #[n(8)]
    Size,
}

/// How many stand how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// In.
    pub included: u32,
    /// Withdrawn.
    pub withdrawn: u32,
    /// Repeats and near-duplicates.
    pub duplicates: u32,
    /// Rejected.
    pub rejected: u32,
    /// Flagged, or waiting for curators.
    pub open: u32,
    /// Of a licence or size that the policy does not take.
    pub unfit: u32,
}

/// How each contribution of a list stands, in the order of the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership(Vec<Standing>);

impl Membership {
    /// In the order of the list.
    pub fn standings(&self) -> &[Standing] {
        &self.0
    }

    /// Places in the list of those that are in, rising: the canonical order of training, gradient rows and export.
    pub fn included(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.0).filter(|(_, standing)| **standing == Standing::In).map(|(at, _)| at)
    }

    /// How many stand how.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for standing in &self.0 {
            *match standing {
                Standing::In => &mut counts.included,
                Standing::Withdrawn => &mut counts.withdrawn,
                Standing::Repeats { .. } | Standing::NearDuplicate { .. } => &mut counts.duplicates,
                Standing::Rejected { .. } => &mut counts.rejected,
                Standing::Flagged { .. } | Standing::Waiting { .. } => &mut counts.open,
                Standing::Licence | Standing::Size => &mut counts.unfit,
            } += 1;
        }
        counts
    }

    /// The Merkle root over the standings in the order of the list.
    pub fn root(&self) -> Hash {
        let leaves: Vec<Hash> = self.0.iter().map(|standing| leaf_hash(&cbor::encode(standing))).collect();
        root(&leaves)
    }
}

/// What curators say of one contribution.
#[derive(Default)]
struct Tally {
    accepts: u8,
    flags: u8,
    rejects: u8,
    flagged: Option<Reason>,
    rejected: Option<Reason>,
}

impl Draft {
    /// Applies the rule to everything that was put in so far.
    ///
    /// # Panics
    /// When `clusters` is over another number of contributions.
    pub fn membership(&self, clusters: &Clusters) -> Membership {
        let count = self.facts().len();
        assert_eq!(clusters.len(), count, "clusters are over the contributions of this draft");
        let mut standings: Vec<Standing> = (0..count).map(|at| self.alone(at)).collect();
        self.mark_repeats(&mut standings);
        self.mark_near_duplicates(&mut standings, clusters);
        Membership(standings)
    }

    /// Rules 1, 3 and 4: what concerns one contribution only.
    fn alone(&self, at: usize) -> Standing {
        let fact = &self.facts()[at];
        let offer = &self.offers()[fact.offer as usize];
        let subjects = [Subject::Contribution(fact.content), Subject::Submission(fact.position.seq)];
        if subjects.iter().any(|subject| self.is_withdrawn(subject, offer)) {
            return Standing::Withdrawn;
        }
        if !self.policy().takes_licence(&self.terms().licence, self.licence(offer)) {
            return Standing::Licence;
        }
        if !(self.policy().size_min..=self.policy().size_max).contains(&fact.size_bytes) {
            return Standing::Size;
        }
        let tally = self.tally(&subjects, &offer.contributor);
        if let Some(reason) = tally.rejected.filter(|_| tally.rejects >= self.policy().rejects) {
            return Standing::Rejected { reason };
        }
        if let Some(reason) = tally.flagged.filter(|_| tally.flags > tally.accepts) {
            return Standing::Flagged { reason };
        }
        match self.policy().admission {
            Admission::Accepts(needed) if tally.accepts < needed => Standing::Waiting { accepts: tally.accepts },
            Admission::Accepts(_) | Admission::Open => Standing::In,
        }
    }

    fn tally(&self, subjects: &[Subject; 2], contributor: &Address) -> Tally {
        let mut tally = Tally::default();
        let [own, whole] = subjects.map(|subject| self.verdicts(&subject));
        if own.is_none() && whole.is_none() {
            return tally;
        }
        for (voice, curator) in self.policy().curators.iter().enumerate() {
            let said = own.and_then(|map| map.get(&voice)).or_else(|| whole.and_then(|map| map.get(&voice)));
            let Some((ruling, reason)) = said else { continue };
            match ruling {
                Ruling::Accept => {
                    let of_own = curator.account == *contributor && curator.account != self.terms().owner;
                    tally.accepts += u8::from(!of_own);
                }
                Ruling::Flag => {
                    tally.flags += 1;
                    tally.flagged = tally.flagged.or(Some(*reason));
                }
                Ruling::Reject => {
                    tally.rejects += 1;
                    // One curator who says that it is not the contributor's decides whose the duplicates are.
                    let heavier = *reason == Reason::NotOwned;
                    tally.rejected = if heavier { Some(*reason) } else { tally.rejected.or(Some(*reason)) };
                }
            }
        }
        tally
    }

    /// Rule 2.
    fn mark_repeats(&self, standings: &mut [Standing]) {
        let facts = self.facts();
        let mut order: Vec<u32> = (0u32..).take(facts.len()).collect();
        order.sort_unstable_by_key(|at| (facts[*at as usize].content, facts[*at as usize].position));
        for run in order.chunk_by(|a, b| facts[*a as usize].content == facts[*b as usize].content) {
            for at in &run[1..] {
                let standing = &mut standings[*at as usize];
                if *standing != Standing::Withdrawn {
                    *standing = Standing::Repeats { of: run[0] };
                }
            }
        }
    }

    /// Rule 5.
    fn mark_near_duplicates(&self, standings: &mut [Standing], clusters: &Clusters) {
        let facts = self.facts();
        let mut order: Vec<u32> = (0u32..).take(facts.len()).collect();
        order.sort_unstable_by_key(|at| (clusters.owner(*at), facts[*at as usize].position));
        for run in order.chunk_by(|a, b| clusters.owner(*a) == clusters.owner(*b)).filter(|run| run.len() > 1) {
            let account = |at: u32| self.offers()[facts[at as usize].offer as usize].contributor;
            let stolen = Standing::Rejected { reason: Reason::NotOwned };
            let Some(first) = run.iter().copied().find(|at| standings[*at as usize] != stolen) else { continue };
            let owner = account(first);
            let kept = run.iter().copied().find(|at| account(*at) == owner && standings[*at as usize] == Standing::In);
            for at in run {
                let standing = &mut standings[*at as usize];
                if *standing == Standing::In && Some(*at) != kept {
                    *standing = Standing::NearDuplicate { of: kept.unwrap_or(first) };
                }
            }
        }
    }

    fn is_withdrawn(&self, subject: &Subject, offer: &Offer) -> bool {
        self.withdrawals(subject).is_some_and(|by| by.contains(&(offer.contributor, offer.key)))
    }
}
