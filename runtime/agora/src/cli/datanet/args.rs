//! `agora datanet` as types.

use std::path::PathBuf;

use agora_economy::ports::datanets::Format;
use agora_types::ContributionKind;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum, ValueHint};

use crate::cli::args::Paying;

/// `agora datanet`.
#[derive(Debug, Subcommand)]
pub enum DatanetCommand {
    /// Found a datanet, or change its rules from the next version on
    Create(Create),
    /// List the datanets of this node
    List,
    /// Show a datanet: its rules, and how far it is
    Show {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        datanet: String,
    },
    /// Give the items of a file: commit to them on the ledger, then reveal them
    Add(Add),
    /// List contributions, and how each stands
    Items {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        datanet: String,
        /// As of this version; the lists as they are now if absent
        #[arg(long)]
        version: Option<u32>,
        /// So many are passed over
        #[arg(long, default_value_t = 0)]
        skip: u32,
        /// At most so many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=256))]
        limit: u32,
    },
    /// Say as a curator that a contribution belongs in or not, with a reason
    Judge(Judge),
    /// Take back what you gave, from the next version on
    Withdraw {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        datanet: String,
        /// A place in the list, `batch:NUMBER` for all of a batch, or a content hash
        subject: String,
        /// Who gave it
        #[arg(long, value_name = "NAME", default_value = "main")]
        from: String,
    },
    /// Make the next version of what is in, and register it on the ledger
    Version {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        datanet: String,
        /// Its owner
        #[arg(long, value_name = "NAME", default_value = "main")]
        from: String,
    },
    /// Write a version's items and its Croissant description into a new folder
    Export {
        /// Its name or id
        #[arg(value_name = "NAME|ID")]
        datanet: String,
        /// The new folder
        #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
        out: PathBuf,
        /// Which version; the newest if absent
        #[arg(long)]
        version: Option<u32>,
        /// Languages of the items, such as `en`
        #[arg(long = "language", value_name = "TAG")]
        languages: Vec<String>,
    },
}

/// `agora datanet create`.
#[derive(Debug, Args)]
pub struct Create {
    /// Its name, unique for its owner
    pub name: String,
    /// One line for people
    #[arg(long)]
    pub title: Option<String>,
    /// A paragraph for people
    #[arg(long, default_value = "")]
    pub description: String,
    /// One SPDX licence id, such as CC-BY-4.0
    #[arg(long, value_name = "SPDX")]
    pub licence: String,
    /// Other licences that contributions may have
    #[arg(long = "also", value_name = "SPDX")]
    pub also: Vec<String>,
    /// The full text of the terms; its hash stands in every version
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub terms: Option<PathBuf>,
    /// Who judges: a wallet of this machine, or ADDRESS=KEY, the key being the account's statement key
    #[arg(long = "curator", value_name = "NAME|ADDRESS=KEY")]
    pub curators: Vec<String>,
    /// A contribution is in when so many curators accept it; 0: at once
    #[arg(long, default_value_t = 0)]
    pub accepts: u8,
    /// So many curators who reject take a contribution out
    #[arg(long, default_value_t = 1)]
    pub rejects: u8,
    /// From which similarity two items are the same, 0.5 to 1, or `off` for identical ones only
    #[arg(long, default_value = "0.8")]
    pub near: String,
    /// OPEN that a contributor pays to the owner for each item
    #[arg(long, value_name = "OPEN", default_value = "0", allow_negative_numbers = true)]
    pub fee: String,
    /// Largest item in bytes
    #[arg(long, default_value_t = 65_536)]
    pub size_max: u32,
    /// What personal data in an item means
    #[arg(long, value_enum, default_value_t = Finding::Flag)]
    pub personal: Finding,
    /// What passwords and keys in an item mean
    #[arg(long, value_enum, default_value_t = Finding::Refuse)]
    pub secrets: Finding,
    /// What an item that is no text, too short or repeats itself means
    #[arg(long, value_enum, default_value_t = Finding::Flag)]
    pub junk: Finding,
    /// Its owner
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub from: String,
}

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Finding {
    /// Nothing
    Ignore,
    /// It is said, and the item taken
    Flag,
    /// The item is not taken
    Refuse,
}

/// `agora datanet add`.
#[derive(Debug, Args)]
pub struct Add {
    /// Its name or id
    #[arg(value_name = "NAME|ID")]
    pub datanet: String,
    /// JSONL, CSV, Parquet or text
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// What the file is [default: by its ending]
    #[arg(long, value_parser = formats())]
    pub format: Option<Format>,
    /// The column or field of a text
    #[arg(long, value_name = "FIELD", conflicts_with_all = ["prompt", "response", "messages"])]
    pub text: Option<String>,
    /// The field of a question
    #[arg(long, value_name = "FIELD", requires = "response", conflicts_with = "messages")]
    pub prompt: Option<String>,
    /// The field of its answer
    #[arg(long, value_name = "FIELD", requires = "prompt")]
    pub response: Option<String>,
    /// The field of a conversation
    #[arg(long, value_name = "FIELD")]
    pub messages: Option<String>,
    /// Take a text file as one item, not a paragraph each
    #[arg(long)]
    pub whole: bool,
    /// SPDX licence id of the items [default: the datanet's]
    #[arg(long, value_name = "SPDX")]
    pub licence: Option<String>,
    /// One line about the batch [default: the file's name]
    #[arg(long)]
    pub title: Option<String>,
    /// How the items help
    #[arg(long, default_value = ContributionKind::Source.name(), value_parser = kinds())]
    pub kind: ContributionKind,
    /// What each counts where nothing is measured, 1 to 10000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub weight: u32,
    /// Leave out items that cannot be read or that the datanet refuses
    #[arg(long)]
    pub skip_bad: bool,
    /// Read and check the file, and give nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Who gives it, is paid for it, and pays the fee
    #[command(flatten)]
    pub paying: Paying,
}

/// One of the words of an enum that stands elsewhere.
fn words<T: Copy + Send + Sync + 'static>(
    all: &'static [T],
    name: fn(T) -> &'static str,
    meaning: fn(T) -> &'static str,
) -> impl TypedValueParser<Value = T> {
    let shown = all.iter().map(move |one| PossibleValue::new(name(*one)).help(meaning(*one)));
    let find = move |word: String| *all.iter().find(|one| name(**one) == word).expect("one of these words");
    PossibleValuesParser::new(shown).map(find)
}

fn formats() -> impl TypedValueParser<Value = Format> {
    words(&Format::ALL, Format::name, Format::meaning)
}

fn kinds() -> impl TypedValueParser<Value = ContributionKind> {
    words(&ContributionKind::ALL, ContributionKind::name, ContributionKind::meaning)
}

/// `agora datanet judge`.
#[derive(Debug, Args)]
pub struct Judge {
    /// Its name or id
    #[arg(value_name = "NAME|ID")]
    pub datanet: String,
    /// A place in the list, `batch:NUMBER` for all of a batch, or a content hash
    pub subject: String,
    /// The judgement
    #[arg(value_enum)]
    pub ruling: RulingWord,
    /// Why: good, off-topic, low-quality, wrong, duplicate, not-owned, licence, personal, secret, harmful, unreadable,
    /// other [default for accept: good]
    #[arg(long)]
    pub reason: Option<String>,
    /// One line for people
    #[arg(long, default_value = "")]
    pub note: String,
    /// Who judges
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub from: String,
}

/// What a curator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum RulingWord {
    /// It belongs in
    Accept,
    /// It stays out
    Reject,
    /// It stays out until as many accept it
    Flag,
}
