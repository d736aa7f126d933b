//! Datanets: contributions signed by who made them, and the version record that says who is paid for them.
//!
//! A datanet is an append-only list of signed contributions. A version is a prefix of it: its Merkle root and size, and
//! the members, computed from the contributions by a pure rule that anyone can repeat.

mod contribution;
mod members;
mod version;

pub use contribution::{Contribution, ContributionKind, DECLARED_WEIGHT_MAX, commit};
pub use members::{KIND_WEIGHT_MAX, KindWeights, members};
pub use version::{CONTRIBUTIONS_MAX, DatanetVersion, Terms, contributions_root};
