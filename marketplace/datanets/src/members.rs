//! Who is paid for a datanet where nothing is measured, and in which proportion: a pure rule over what is in.

use std::collections::BTreeMap;

use agora_types::command::Member;
use agora_types::merkle::{leaf_hash, root};
use agora_types::{Address, Code, ContributionKind, Hash, cbor};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::draft::Draft;
use crate::membership::Membership;

/// Highest weight of a kind.
pub const KIND_WEIGHT_MAX: u32 = 10_000;

/// The governed weight of each kind; 0: this kind earns nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct KindWeights {
    /// Of data of its own.
    #[n(0)]
    pub source: u32,
    /// Of corrections.
    #[n(1)]
    pub correction: u32,
    /// Of annotations.
    #[n(2)]
    pub annotation: u32,
    /// Of curation.
    #[n(3)]
    pub curation: u32,
    /// Of translations.
    #[n(4)]
    pub translation: u32,
}

impl Default for KindWeights {
    /// Until a network governs otherwise: data of its own counts whole, work on others' data half, choosing a quarter.
    fn default() -> Self {
        Self { source: 100, correction: 100, annotation: 50, curation: 25, translation: 50 }
    }
}

impl KindWeights {
    /// The weight of one kind.
    pub fn of(&self, kind: ContributionKind) -> u32 {
        match kind {
            ContributionKind::Source => self.source,
            ContributionKind::Correction => self.correction,
            ContributionKind::Annotation => self.annotation,
            ContributionKind::Curation => self.curation,
            ContributionKind::Translation => self.translation,
        }
    }

    /// True when each is at most [`KIND_WEIGHT_MAX`] and one is above zero.
    pub fn are_bounded(&self) -> bool {
        let all = [self.source, self.correction, self.annotation, self.curation, self.translation];
        all.iter().all(|weight| *weight <= KIND_WEIGHT_MAX) && all.iter().any(|weight| *weight > 0)
    }
}

/// The Merkle root over payees: one leaf each, the CBOR array [account, weight], in rising order of account.
pub fn payees_root(payees: &[Member]) -> Hash {
    let leaves: Vec<Hash> = payees.iter().map(|one| leaf_hash(&cbor::encode(&(one.account, one.weight)))).collect();
    root(&leaves)
}

impl Draft {
    /// Everybody who is paid by declared weights: of each contribution that is in, the weight of its kind times the
    /// declared weight, summed by account, in rising order of account.
    ///
    /// Sums are exact as long as the largest is below 2^32; beyond, all are halved together until it is, and nobody
    /// falls below 1.
    ///
    /// # Errors
    /// `datanet.bad_terms` for a sum above 2^64.
    pub fn payees(&self, membership: &Membership) -> Result<Vec<Member>, Code> {
        let mut sums: BTreeMap<Address, u64> = BTreeMap::new();
        for at in membership.included() {
            let offer = self.offer_of(at);
            let earns = u64::from(self.terms().kind_weights.of(offer.kind)) * u64::from(offer.weight);
            let sum = sums.entry(offer.contributor).or_default();
            *sum = sum.checked_add(earns).ok_or(Code::DatanetTerms)?;
        }
        sums.retain(|_, sum| *sum > 0);
        let largest = sums.values().copied().max().unwrap_or(0);
        let halvings = (u64::BITS - largest.leading_zeros()).saturating_sub(u32::BITS);
        let scaled = |sum: u64| u32::try_from((sum >> halvings).max(1)).map_err(|_| Code::DatanetTerms);
        sums.into_iter().map(|(account, sum)| Ok(Member { account, weight: scaled(sum)? })).collect()
    }
}
