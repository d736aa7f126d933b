//! Who stands behind each row of the matrix: the table that the spec commits to.

use std::collections::BTreeSet;

use agora_types::merkle::{leaf_hash, root};
use agora_types::{Address, Canonical, Code, ContributionKind, Hash, cbor};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most rows of a matrix, and of its table.
pub const ROWS_MAX: usize = 1 << 21;
/// Highest governed weight of a contribution's kind, as in the datanets' terms.
pub const WEIGHT_MAX: u32 = 10_000;

/// Where a training example was committed to on the ledger; earlier is less. It is unique, and it is the example's id.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize, JsonSchema,
)]
#[cbor(map)]
pub struct Position {
    /// Sequence number of the command that committed to the contribution.
    #[n(0)]
    pub seq: u64,
    /// The contribution's place in that command.
    #[n(1)]
    pub index: u32,
    /// The example's place in the contribution.
    #[n(2)]
    pub item: u32,
}

/// One training example: a row of the matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Example {
    /// Leaf hash of the contribution in its datanet.
    #[n(0)]
    pub contribution: Hash,
    /// Who is paid.
    #[n(1)]
    pub account: Address,
    /// Where it was committed to.
    #[n(2)]
    pub position: Position,
    /// How it helps.
    #[n(3)]
    pub kind: ContributionKind,
    /// What its kind counts in the terms of its datanet, 0 to [`WEIGHT_MAX`]; 0 explains but earns nothing.
    #[n(4)]
    pub weight: u32,
}

impl Example {
    /// Its leaf under the spec's `examples_root`: the hash of its canonical CBOR.
    pub fn leaf(&self) -> Hash {
        leaf_hash(&cbor::encode(self))
    }
}

/// Every row's example and cluster, in the order of the matrix; published beside it.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct RowTable {
    /// One for each row.
    #[n(0)]
    pub examples: Vec<Example>,
    /// For each row the row that owns its cluster; its own number where it owns one. See [`crate::owners`].
    #[n(1)]
    pub owners: Vec<u32>,
}

impl Canonical for RowTable {
    const TAG: &'static str = "agora/attribution-rows/v1";
    const SIZE_MAX: usize = 256 << 20;
}

impl RowTable {
    /// Checks every bound, that no two examples have one position, and that each owner was the earliest of its cluster.
    ///
    /// # Errors
    /// `attribution.bad_matrix`.
    pub fn check(&self) -> Result<(), Code> {
        let count = self.examples.len();
        let position = |row: usize| self.examples.get(row).map(|example| example.position);
        let owned = |(row, owner): (usize, &u32)| {
            let owner = *owner as usize;
            self.owners.get(owner).is_some_and(|itself| *itself as usize == owner) && position(owner) <= position(row)
        };
        let positions: BTreeSet<Position> = self.examples.iter().map(|example| example.position).collect();
        let good = (1..=ROWS_MAX).contains(&count)
            && self.owners.len() == count
            && self.examples.iter().all(|example| example.weight <= WEIGHT_MAX)
            && positions.len() == count
            && self.owners.iter().enumerate().all(owned);
        if good { Ok(()) } else { Err(Code::AttributionMatrix) }
    }

    /// True for a row that owns its cluster: the only rows that can earn.
    pub fn is_owner(&self, row: u32) -> bool {
        self.owners.get(row as usize) == Some(&row)
    }

    /// The row that owns the cluster of `row`.
    pub fn owner(&self, row: u32) -> Option<u32> {
        self.owners.get(row as usize).copied()
    }

    /// The example behind a row.
    pub fn example(&self, row: u32) -> Option<&Example> {
        self.examples.get(row as usize)
    }

    /// RFC 6962 root over the examples in the order of the rows.
    pub fn examples_root(&self) -> Hash {
        let leaves: Vec<Hash> = self.examples.iter().map(Example::leaf).collect();
        root(&leaves)
    }

    /// RFC 6962 root over the owners in the order of the rows; a leaf is the owner's number in four bytes, big-endian.
    pub fn clusters_root(&self) -> Hash {
        let leaves: Vec<Hash> = self.owners.iter().map(|owner| leaf_hash(&owner.to_be_bytes())).collect();
        root(&leaves)
    }
}
