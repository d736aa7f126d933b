//! What an owner says of a datanet, and the small texts of all records.

use agora_types::command::NAME_SIZE_MAX;
use agora_types::{Address, DatanetId, Hash};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::members::KindWeights;

/// Longest title in bytes.
pub(crate) const TITLE_SIZE_MAX: usize = 120;
/// Longest licence id in bytes.
const LICENCE_SIZE_MAX: usize = 64;
/// Longest description in bytes.
const DESCRIPTION_SIZE_MAX: usize = 2_000;

/// What an owner says of a datanet; the rest of a version follows from its lists.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// The network's chain id.
    #[n(0)]
    pub network: u64,
    /// Who keeps the lists.
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

impl Terms {
    /// The datanet's id.
    pub fn id(&self) -> DatanetId {
        DatanetId::derive(&self.owner, &self.name)
    }

    /// True when every text and weight is within its bounds.
    pub fn are_bounded(&self) -> bool {
        is_line(&self.name, NAME_SIZE_MAX)
            && is_line(&self.title, TITLE_SIZE_MAX)
            && self.description.len() <= DESCRIPTION_SIZE_MAX
            && !self.description.chars().any(|c| c.is_control() && c != '\n')
            && is_licence(&self.licence)
            && self.kind_weights.are_bounded()
    }
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
