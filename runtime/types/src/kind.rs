//! How a contribution helps: a word of datanets, attribution and those who give.

use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a contribution helps. Numbers are never reused.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize, JsonSchema,
)]
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

impl ContributionKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Source, Self::Correction, Self::Annotation, Self::Curation, Self::Translation];

    /// Its word in JSON, queries and commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Correction => "correction",
            Self::Annotation => "annotation",
            Self::Curation => "curation",
            Self::Translation => "translation",
        }
    }

    /// What it means, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Source => "Data of its own",
            Self::Correction => "Something wrong made right",
            Self::Annotation => "Labels, judgements, explanations",
            Self::Curation => "Choosing, ordering, cleaning",
            Self::Translation => "The same in another language",
        }
    }

    /// The kind of a word.
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_in_the_list_under_its_number_and_its_word_is_that_of_json() {
        for (number, kind) in (0u8..).zip(ContributionKind::ALL) {
            assert_eq!(crate::cbor::encode(&kind), [number]);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
            assert_eq!(ContributionKind::named(kind.name()), Some(kind));
        }
        assert_eq!(ContributionKind::named("poem"), None);
    }
}
