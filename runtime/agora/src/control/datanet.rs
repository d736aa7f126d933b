//! What is asked of a datanet's keeper, and what it answers.

use agora_datanets::{Admission, Counts, Item, Standing};
use agora_types::{Address, Amount, DatanetId, Hash, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A question to the keeper. Records are the hex of their canonical bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "kebab-case", deny_unknown_fields)]
pub enum DatanetAsk {
    /// Founds a datanet, or changes its rules from the next version on: [`DatanetView`].
    Found {
        /// A signed `agora/datanet-charter/v1`.
        charter: String,
    },
    /// All: [`Datanets`].
    List,
    /// One: [`DatanetView`].
    Show {
        /// Which.
        id: DatanetId,
    },
    /// Its policy, and the signed charter: [`CharterView`].
    Charter {
        /// Which.
        id: DatanetId,
    },
    /// The policy of a hash, under which a version was made: [`PolicyView`].
    Policy {
        /// Which datanet.
        id: DatanetId,
        /// As the version names it.
        hash: Hash,
    },
    /// Reveals items of a submission whose commitment is on the ledger: [`Contributed`].
    Contribute {
        /// A signed `agora/submission/v1`.
        submission: String,
        /// 1 to 256.
        items: Vec<RevealedItem>,
    },
    /// A verdict or withdrawal: [`ActTaken`].
    Act {
        /// A signed `agora/verdict/v1` or `agora/withdrawal/v1`.
        act: String,
    },
    /// The next version, to be signed: [`VersionDraft`].
    Draft {
        /// Which datanet.
        id: DatanetId,
    },
    /// Registers a version by its owner's command, and keeps it: [`DatanetView`].
    Publish {
        /// A signed `agora/datanet/v1`.
        version: String,
        /// The signed `agora/entry/v1` with its `RegisterDatanet`.
        entry: String,
    },
    /// What contributions are called, by their places among all commitments, without their data: [`Names`].
    Names {
        /// Which datanet.
        id: DatanetId,
        /// Number of the commitment and place in it; at most 4,096.
        positions: Vec<(u64, u32)>,
    },
    /// Contributions with their data: [`ItemPage`].
    Items {
        /// Which datanet.
        id: DatanetId,
        /// 0: as the lists stand now.
        version: u32,
        /// Only what is in; `from` then counts these.
        included: bool,
        /// How many are passed over.
        from: u32,
        /// At most 256; a page also ends at 8 MiB.
        limit: u32,
    },
}

/// An item that its contributor reveals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevealedItem {
    /// Its place in the submission.
    pub index: u32,
    /// An `agora/reveal/v1`.
    pub reveal: String,
    /// RFC 6962 inclusion proof under the submission's root.
    pub path: Vec<Hash>,
}

/// A datanet as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DatanetView {
    /// Its id.
    pub id: DatanetId,
    /// Unique for its owner.
    pub name: String,
    /// One line.
    pub title: String,
    /// A paragraph.
    pub description: String,
    /// Who founded it.
    pub owner: Address,
    /// SPDX id.
    pub licence: String,
    /// When a contribution is in that nobody rejects.
    pub admission: Admission,
    /// Accounts that judge.
    pub curators: Vec<Address>,
    /// For each item, to the owner.
    pub fee: Amount,
    /// The newest version; 0 before the first.
    pub version: u32,
    /// SHA-256 of the newest version as it is signed, which the ledger names too.
    pub statement: Option<Hash>,
    /// Contributions, whatever became of them.
    pub contributions: u32,
    /// Verdicts and withdrawals.
    pub acts: u32,
    /// Batches that contributions came in.
    pub submissions: u32,
}

/// All datanets of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Datanets {
    /// By id.
    pub datanets: Vec<DatanetView>,
}

/// A datanet's rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CharterView {
    /// The signed charter.
    pub charter: String,
}

/// The rules that a version was made under.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyView {
    /// An `agora/datanet-policy/v1`.
    pub policy: String,
}

/// What became of a page of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contributed {
    /// The number of the commitment on the ledger.
    pub seq: u64,
    /// Items that are new in the list.
    pub new: u32,
    /// Length of the list.
    pub contributions: u32,
}

/// Where an act stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActTaken {
    /// Its number in the list of acts.
    pub number: u32,
}

/// A version before it is signed, or the newest where nothing has come since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionDraft {
    /// An `agora/datanet/v1`; the signed one where it is kept.
    pub version: String,
    /// True where the newest version is over everything already: there is nothing to sign.
    pub kept: bool,
    /// How contributions stand in it.
    pub counts: Counts,
}

/// A contribution with its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemRow {
    /// Its place in the list.
    pub place: u32,
    /// An `agora/contribution/v1`.
    pub contribution: String,
    /// The signed submission that it came with.
    pub submission: String,
    /// When it was committed to, by the ledger's time.
    pub committed: Option<Timestamp>,
    /// How it stands.
    pub standing: Standing,
    /// An `agora/reveal/v1`.
    pub reveal: String,
}

/// What a contribution is called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemName {
    /// Leaf hash: what receipts name.
    pub contribution: Hash,
    /// Its place in the list.
    pub place: u32,
    /// The title of the batch that it came with.
    pub title: String,
}

/// What contributions are called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// In the order of the question, without those that are not there.
    pub items: Vec<ItemName>,
}

/// Some of a datanet's contributions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemPage {
    /// The signed version, where one was asked for.
    pub signed: Option<String>,
    /// How many there are to read in all.
    pub total: u32,
    /// How all contributions stand.
    pub counts: Counts,
    /// This page.
    pub items: Vec<ItemRow>,
}

/// A contribution for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ItemView {
    /// Its place in the list.
    pub place: u32,
    /// The number of its commitment.
    pub seq: u64,
    /// Leaf hash: what receipts name.
    pub contribution: Hash,
    /// What the ledger recorded.
    pub content_hash: Hash,
    /// Who is paid.
    pub contributor: Address,
    /// SPDX id.
    pub licence: String,
    /// When it was committed to, by the ledger's time.
    pub committed: Option<Timestamp>,
    /// How it stands.
    pub standing: Standing,
    /// The data.
    pub item: Item,
}
