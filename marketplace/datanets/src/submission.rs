//! A submission: what a contributor says once of a whole batch, over the root that the ledger recorded before.

use agora_types::merkle::{leaf_hash, root, root_from_inclusion};
use agora_types::{Address, Canonical, Code, ContributionKind, DatanetId, Hash, Timestamp};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::item::Reveal;
use crate::terms::{TITLE_SIZE_MAX, is_licence, is_line};

/// Highest declared weight of one contribution.
pub const DECLARED_WEIGHT_MAX: u32 = 10_000;
/// Most items of a submission.
pub const ITEMS_MAX: u32 = 65_536;

/// What is said of all items of a batch, signed by the contributor's statement key.
///
/// One signature covers every item, since each is proven to be under `root`. The account is the one whose command had
/// the ledger record the root: a submission that names another opens nothing, for each item's commitment names it too.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Submission {
    /// The network's chain id.
    #[n(0)]
    pub network: u64,
    /// The datanet it is meant for: it cannot be carried into another.
    #[n(1)]
    pub datanet: DatanetId,
    /// The account that is paid.
    #[n(2)]
    pub contributor: Address,
    /// How the items help.
    #[n(3)]
    pub kind: ContributionKind,
    /// Of each item, declared by the contributor, 1 to 10,000; the datanet takes the items with it, or not at all.
    #[n(4)]
    pub weight: u32,
    /// One SPDX licence id, such as `CC-BY-4.0` or `LicenseRef-own`.
    #[n(5)]
    pub licence: String,
    /// One line for people.
    #[n(6)]
    pub title: String,
    /// Merkle root over the items' content hashes.
    #[n(7)]
    pub root: Hash,
    /// Number of items, 1 to 65,536.
    #[n(8)]
    pub count: u32,
    /// When it was offered, by the contributor's clock; it decides nothing.
    #[n(9)]
    pub time: Timestamp,
}

impl Canonical for Submission {
    const TAG: &'static str = "agora/submission/v1";
    const SIZE_MAX: usize = 512;
}

/// What the ledger records of a submission, with its time and number, before anything is revealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// The datanet.
    pub datanet: DatanetId,
    /// Merkle root over the items' content hashes.
    pub root: Hash,
    /// Number of items.
    pub count: u32,
    /// See [`licence_hash`].
    pub licence_hash: Hash,
}

/// SHA-256 of the licence id's text: the licence is fixed with the data, and named when the data is shown.
pub fn licence_hash(licence: &str) -> Hash {
    Hash::sha256(licence)
}

/// The root over content hashes in their order (RFC 6962).
pub fn submission_root(contents: &[Hash]) -> Hash {
    let leaves: Vec<Hash> = contents.iter().map(|content| leaf_hash(content.as_bytes())).collect();
    root(&leaves)
}

impl Submission {
    /// Checks every bound.
    ///
    /// # Errors
    /// `datanet.bad_submission`.
    pub fn check(&self) -> Result<(), Code> {
        let good = (1..=DECLARED_WEIGHT_MAX).contains(&self.weight)
            && (1..=ITEMS_MAX).contains(&self.count)
            && is_licence(&self.licence)
            && is_line(&self.title, TITLE_SIZE_MAX);
        if good { Ok(()) } else { Err(Code::SubmissionInvalid) }
    }

    /// What the ledger must have recorded, by the contributor's own command.
    pub fn commitment(&self) -> Commitment {
        Commitment {
            datanet: self.datanet,
            root: self.root,
            count: self.count,
            licence_hash: licence_hash(&self.licence),
        }
    }

    /// Succeeds when the content hash is the one committed to at `index`.
    ///
    /// # Errors
    /// `datanet.not_committed`.
    pub fn check_content(&self, index: u32, content: &Hash, path: &[Hash]) -> Result<(), Code> {
        let leaf = leaf_hash(content.as_bytes());
        let found = root_from_inclusion(&leaf, u64::from(index), u64::from(self.count), path);
        if found == Some(self.root) { Ok(()) } else { Err(Code::NotCommitted) }
    }

    /// Succeeds when `contents` are all that was committed to, in its order: cheaper than a proof for each.
    ///
    /// # Errors
    /// `datanet.not_committed`.
    pub fn check_contents(&self, contents: &[Hash]) -> Result<(), Code> {
        let whole = contents.len() as u64 == u64::from(self.count) && submission_root(contents) == self.root;
        if whole { Ok(()) } else { Err(Code::NotCommitted) }
    }

    /// Succeeds when salt and item are what this contributor committed to at `index`; gives content hash and size.
    ///
    /// # Errors
    /// `datanet.not_committed`; `datanet.bad_item`.
    pub fn check_reveal(&self, index: u32, reveal: &Reveal, path: &[Hash]) -> Result<(Hash, u32), Code> {
        let (content, size) = reveal.content(&self.contributor)?;
        self.check_content(index, &content, path)?;
        Ok((content, size))
    }
}
