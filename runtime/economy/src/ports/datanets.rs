//! Datanets as a web server sees them: what there is, and what contributors with an API key send.
//!
//! The server knows HTTP and nothing of data: it hands a file's bytes over, and passes on what the program says of them.

use agora_types::{ContributionKind, Hash};

use super::pay::Pending;

/// A document of the program: JSON with its `$type`, passed on as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document(pub String);

/// How a file holds its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object a line.
    Jsonl,
    /// A header and records.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// Paragraphs.
    Text,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Jsonl, Self::Csv, Self::Parquet, Self::Text];

    /// Its word.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
            Self::Text => "text",
        }
    }

    /// What it means, for people.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Jsonl => "A JSON object a line",
            Self::Csv => "A header and records",
            Self::Parquet => "Apache Parquet",
            Self::Text => "Paragraphs",
        }
    }
}

/// Which fields or columns make an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Columns {
    /// Those with the usual names.
    Usual,
    /// A text's.
    Text(String),
    /// A question's, and its answer's.
    Pair(String, String),
    /// A conversation's.
    Messages(String),
}

/// A file for a datanet, and what its contributor says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// The datanet's name or id.
    pub datanet: String,
    /// How the file holds its items.
    pub format: Format,
    /// Which fields make an item.
    pub columns: Columns,
    /// A text is one item, not a paragraph each.
    pub whole: bool,
    /// SPDX id; the datanet's if absent.
    pub licence: Option<String>,
    /// One line for people.
    pub title: Option<String>,
    /// How the items help.
    pub kind: ContributionKind,
    /// What each counts where nothing is measured, 1 to 10,000.
    pub weight: u32,
    /// What cannot be given is left out; else it keeps the whole file from being given.
    pub skip_bad: bool,
    /// The file is read and checked, and nothing is given.
    pub dry_run: bool,
    /// The file.
    pub body: Vec<u8>,
}

/// The datanets of a node. Callable from many tasks; everything may be repeated, and none of it blocks its caller.
pub trait Datanets: Send + Sync {
    /// Some of them, by id: so many are passed over, at most so many are told.
    fn list(&self, skip: u32, limit: u32) -> Pending<'_, Document>;

    /// One, by its name or id.
    fn show<'a>(&'a self, datanet: &'a str) -> Pending<'a, Document>;

    /// Succeeds for an API key that may contribute: asked before anything of a file is read.
    fn admit<'a>(&'a self, key: &'a str) -> Pending<'a, ()>;

    /// Gives a file in the name of an API key, whose budget pays the fee. Once begun it must come to its end; where it did
    /// not, the same file again goes on, and pays nothing a second time.
    fn contribute<'a>(&'a self, key: &'a str, contribution: Contribution) -> Pending<'a, Document>;

    /// Takes back what the same key gave, from the next version on.
    fn withdraw<'a>(&'a self, key: &'a str, datanet: &'a str, content: Hash) -> Pending<'a, Document>;
}
