//! Who is paid for a datanet, and in which proportion: a pure rule over its contributions.

use std::collections::BTreeMap;

use agora_types::command::{MEMBERS_MAX, Member};
use agora_types::key::StatementKey;
use agora_types::{Address, Code, Hash, Signed};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::contribution::{Contribution, ContributionKind};

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

/// Who first committed to a content, and what it earns while it is not withdrawn.
struct Owned {
    contributor: Address,
    key: StatementKey,
    earns: Option<u64>,
}

/// The members of the version that ends with the last of `contributions`, which stand in the order of the datanet's
/// list: weight of the kind times declared weight, summed by account, in rising order of account.
///
/// - A content hash counts once: whoever stands first in the list owns it, whatever times are stated. A copy of a public
///   commitment so earns nothing; copies under a salt of their own look different here and are found by attribution.
/// - A withdrawal by the owning key and account takes the content out; the same key may offer it again. The content
///   stays theirs: nobody else's copy moves up.
/// - Order among different contents does not matter. Sums are exact as long as the largest is below 2^32; beyond, all
///   are halved together until it is, and nobody falls below 1.
///
/// # Errors
/// `datanet.bad_contribution` for one out of bounds; `datanet.bad_terms` for weights out of bounds, no member, more than
/// [`MEMBERS_MAX`], or a sum above 2^64.
pub fn members(contributions: &[Signed<Contribution>], weights: &KindWeights) -> Result<Vec<Member>, Code> {
    if !weights.are_bounded() {
        return Err(Code::DatanetTerms);
    }
    let mut contents: BTreeMap<Hash, Owned> = BTreeMap::new();
    for signed in contributions {
        let offer = signed.payload();
        offer.check()?;
        let earns = u64::from(weights.of(offer.kind)) * u64::from(offer.weight);
        match (contents.get_mut(&offer.content_hash), offer.withdrawn) {
            (None, false) => {
                let owned = Owned { contributor: offer.contributor, key: *signed.key(), earns: Some(earns) };
                contents.insert(offer.content_hash, owned);
            }
            (Some(owned), withdrawn) if owned.contributor == offer.contributor && owned.key == *signed.key() => {
                owned.earns = if withdrawn { None } else { owned.earns.or(Some(earns)) };
            }
            // A copy, or a withdrawal of what is not one's own: it changes nothing.
            (Some(_), true | false) | (None, true) => {}
        }
    }
    let mut sums: BTreeMap<Address, u64> = BTreeMap::new();
    for owned in contents.values() {
        let sum = sums.entry(owned.contributor).or_default();
        *sum = sum.checked_add(owned.earns.unwrap_or(0)).ok_or(Code::DatanetTerms)?;
    }
    sums.retain(|_, sum| *sum > 0);
    if !(1..=MEMBERS_MAX).contains(&sums.len()) {
        return Err(Code::DatanetTerms);
    }
    let largest = sums.values().copied().max().unwrap_or(0);
    let halvings = (u64::BITS - largest.leading_zeros()).saturating_sub(u32::BITS);
    let scaled = |sum: u64| u32::try_from((sum >> halvings).max(1)).map_err(|_| Code::DatanetTerms);
    sums.into_iter().map(|(account, sum)| Ok(Member { account, weight: scaled(sum)? })).collect()
}
