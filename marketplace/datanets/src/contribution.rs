//! One row of a datanet's list: which item of which submission, and what its data hashes to.

use agora_types::merkle::{leaf_hash, root};
use agora_types::{Canonical, Hash};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose commitment came first: the ledger's number of the commitment, then the item's place in it. The lower owns.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Position {
    /// The number that the ledger gave to the commitment, unique over all commitments.
    #[n(0)]
    pub seq: u64,
    /// The item's place in the submission, from 0.
    #[n(1)]
    pub index: u32,
}

/// A revealed item. Who gave it, as what and under which licence stands in the submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Contribution {
    /// When it was committed to.
    #[n(0)]
    pub position: Position,
    /// SHA-256 of the signed submission.
    #[n(1)]
    pub submission: Hash,
    /// The commitment to the data: see [`crate::commit`].
    #[n(2)]
    pub content_hash: Hash,
    /// Size of the data.
    #[n(3)]
    pub size_bytes: u32,
}

impl Canonical for Contribution {
    const TAG: &'static str = "agora/contribution/v1";
    const SIZE_MAX: usize = 128;
}

/// The root over contributions in the order of the list.
pub fn contributions_root(contributions: &[Contribution]) -> Hash {
    let leaves: Vec<Hash> = contributions.iter().map(|one| leaf_hash(&one.to_bytes())).collect();
    root(&leaves)
}
