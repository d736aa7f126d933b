//! An adapter's papers: what those who use it, and those who look after them, ask of where it comes from.
//!
//! [`Papers`] writes two files from a [`Manifest`] and from what is known beside it ([`About`]): an SPDX 3.0.1 document for
//! programs, and for people the summary of training content that the European Commission's template asks for. Neither says
//! more than is known: "not known" is written where it is so. The same words give the same bytes.

mod check;
mod graph;
mod spdx;
mod summary;
mod trained_on;
mod words;

use agora_receipts::receipt::DatanetRef;
use agora_types::{Address, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use check::PapersError;
pub use trained_on::{Tally, TrainedOn};

use crate::Manifest;

/// Who makes an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Maker {
    /// One line for people.
    pub name: String,
    /// The account that offers it.
    pub account: Address,
    /// How people reach the maker.
    #[serde(default)]
    pub contact: Option<String>,
    /// Who represents a maker from outside the European Union there, and how to reach them.
    #[serde(default)]
    pub representative: Option<String>,
}

/// What is known of a base model beside its name and hashes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BaseNotes {
    /// Its SPDX licence id.
    pub licence: Option<String>,
    /// Who made it.
    pub maker: Option<String>,
    /// When it was published.
    pub released: Option<Timestamp>,
    /// Where it is found on the web.
    pub page: Option<String>,
    /// Where its own summary of training content is found on the web.
    pub summary: Option<String>,
}

/// What a maker answers to a question that no training can.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// Yes or no.
    pub yes: bool,
    /// What the maker adds.
    #[serde(default)]
    pub note: String,
}

/// The questions of the Commission's template that only the maker can answer; without an answer the summary says "not known".
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Answers {
    /// Did the maker conclude commercial licensing agreements with rightsholders?
    pub licensed: Option<Answer>,
    /// Did the maker use crawlers?
    pub crawled: Option<Answer>,
    /// Is there data from users of the model?
    pub users: Option<Answer>,
    /// Is there data from users of the maker's other services?
    pub services: Option<Answer>,
    /// Is there data that the maker had a model write?
    pub synthetic: Option<Answer>,
    /// Has the maker signed the Code of Practice for general-purpose AI models?
    pub signatory: Option<Answer>,
}

/// What papers say beside the manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The adapter's name.
    pub name: String,
    /// Its version, as its maker counts.
    pub version: String,
    /// A paragraph for people.
    #[serde(default)]
    pub description: String,
    /// One SPDX licence id: under which the adapter is given.
    pub licence: String,
    /// Who makes it.
    pub maker: Maker,
    /// When it was made.
    pub time: Timestamp,
    /// Where it is found on the web.
    #[serde(default)]
    pub page: Option<String>,
    /// When it was placed on the market of the European Union.
    #[serde(default)]
    pub placed: Option<Timestamp>,
    /// The base model.
    #[serde(default)]
    pub base: BaseNotes,
    /// What the maker answers.
    #[serde(default)]
    pub answers: Answers,
    /// The datanet versions that it was trained on. One that the manifest does not name is left out; one that only the
    /// manifest names stands in the papers with its roots.
    pub datanets: Vec<TrainedOn>,
}

impl About {
    /// What is known of a datanet version that the manifest names.
    fn known(&self, named: &DatanetRef) -> Option<&TrainedOn> {
        self.datanets.iter().find(|on| on.datanet() == *named)
    }
}

/// Writes papers.
#[derive(Debug, Clone)]
pub struct Papers(About);

impl Papers {
    /// Names of the files.
    pub const FILES: [&str; 2] = ["training-content.md", "spdx.json"];

    /// Checks what will be said, so that nothing fails once an adapter is trained.
    ///
    /// # Errors
    /// [`PapersError`].
    pub fn new(about: About) -> Result<Self, PapersError> {
        check::check(&about)?;
        Ok(Self(about))
    }

    /// Both files, with their names: what [`crate::Trained::write`] asks for. The document has the summary's hash.
    pub fn files(&self, manifest: &Manifest) -> Vec<(&'static str, String)> {
        let [summary_name, spdx_name] = Self::FILES;
        let summary = self.summary(manifest);
        let spdx = spdx::document(&self.0, manifest, (summary_name, &summary));
        vec![(summary_name, summary), (spdx_name, spdx)]
    }

    /// The SPDX 3.0.1 document, as JSON-LD.
    pub fn spdx(&self, manifest: &Manifest) -> String {
        spdx::document(&self.0, manifest, (Self::FILES[0], &self.summary(manifest)))
    }

    /// The public summary of training content of Article 53(1)(d) of the AI Act, as Markdown, section by section.
    pub fn summary(&self, manifest: &Manifest) -> String {
        summary::summary(&self.0, manifest)
    }
}
