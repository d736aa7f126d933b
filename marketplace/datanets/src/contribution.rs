//! One contribution: what was given, by whom, under which licence. The data itself stays where it is.

use agora_types::{Address, Canonical, Code, DatanetId, Hash, Timestamp};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Highest declared weight of one contribution.
pub const DECLARED_WEIGHT_MAX: u32 = 10_000;
/// Longest title in bytes.
pub(crate) const TITLE_SIZE_MAX: usize = 120;
/// Longest licence id in bytes.
const LICENCE_SIZE_MAX: usize = 64;

/// How a contribution helps. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum ContributionKind {
    /// Data of its own.
    #[n(0)]
    Source,
    /// Something that was wrong, made right.
    #[n(1)]
    Correction,
    /// Labels, judgements, explanations.
    #[n(2)]
    Annotation,
    /// Choosing, ordering, cleaning.
    #[n(3)]
    Curation,
    /// The same in another language.
    #[n(4)]
    Translation,
}

/// A contribution, signed by the contributor's statement key.
///
/// Whoever signs names the account that is paid. Nothing ties the key to that account: naming another's account pays the
/// other. What a key offered, only that key, for that account, withdraws.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Contribution {
    /// The network's chain id.
    #[n(0)]
    pub network: u64,
    /// The datanet it is meant for: it cannot be carried into another.
    #[n(1)]
    pub datanet: DatanetId,
    /// The account that is paid.
    #[n(2)]
    pub contributor: Address,
    /// How it helps.
    #[n(3)]
    pub kind: ContributionKind,
    /// Declared by the contributor, 1 to 10,000; the datanet's owner takes the contribution with it, or not at all.
    #[n(4)]
    pub weight: u32,
    /// SHA-256 over a 128-bit salt, which the contributor keeps, and the data: see [`commit`].
    #[n(5)]
    pub content_hash: Hash,
    /// Size of the data.
    #[n(6)]
    pub size_bytes: u64,
    /// One SPDX licence id, such as `CC-BY-4.0` or `LicenseRef-own`.
    #[n(7)]
    pub licence: String,
    /// When it was offered, by the contributor's clock; it decides nothing.
    #[n(8)]
    pub time: Timestamp,
    /// One line for people.
    #[n(9)]
    pub title: String,
    /// True: takes back what the same key offered under the same content hash, from the next version on.
    #[n(10)]
    pub withdrawn: bool,
}

impl Canonical for Contribution {
    const TAG: &'static str = "agora/contribution/v1";
    const SIZE_MAX: usize = 1_024;
}

impl Contribution {
    /// Checks every bound.
    ///
    /// # Errors
    /// `datanet.bad_contribution`.
    pub fn check(&self) -> Result<(), Code> {
        let good = (1..=DECLARED_WEIGHT_MAX).contains(&self.weight)
            && self.size_bytes > 0
            && is_licence(&self.licence)
            && is_line(&self.title, TITLE_SIZE_MAX);
        if good { Ok(()) } else { Err(Code::ContributionInvalid) }
    }
}

/// The commitment to data that reveals nothing of it: SHA-256 over the salt and the data.
pub fn commit(salt: &[u8; 16], data: &[u8]) -> Hash {
    Hash::sha256_of(&[salt, data])
}

/// Letters, digits, `.`, `-` and `+`: the form of an SPDX id. Whether SPDX lists it is not asked.
pub(crate) fn is_licence(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+');
    (1..=LICENCE_SIZE_MAX).contains(&text.len()) && text.bytes().all(plain)
}

/// Not empty, not too long, no control characters.
pub(crate) fn is_line(text: &str, limit: usize) -> bool {
    (1..=limit).contains(&text.len()) && !text.chars().any(char::is_control)
}
