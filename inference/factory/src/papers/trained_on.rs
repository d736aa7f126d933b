//! What papers say of a datanet version, and how it is counted while training reads its contributions.

use std::collections::{BTreeMap, BTreeSet};

use agora_datanets::{ContributionKind, DatanetVersion, Policy, Terms};
use agora_receipts::receipt::DatanetRef;
use agora_types::{Address, Hash, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A datanet version that an adapter was trained on. Numbers are of the contributions that are in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrainedOn {
    /// What its owner says.
    pub terms: Terms,
    /// The version.
    pub version: u32,
    /// Merkle root over its contributions.
    pub root: Hash,
    /// Number of contributions, in or out.
    pub tree_size: u64,
    /// When the version was made.
    pub time: Timestamp,
    /// How contributions are checked and judged.
    pub policy: Policy,
    /// Contributions that are in.
    pub included: u64,
    /// Accounts that gave them.
    pub contributors: u64,
    /// How many were given under each licence.
    pub licences: BTreeMap<String, u64>,
    /// How many help in each way.
    pub kinds: BTreeMap<ContributionKind, u64>,
    /// Size of their canonical form.
    pub size_bytes: u64,
    /// First and last commitment by the ledger's time, where known.
    #[serde(default)]
    pub collected: Option<(Timestamp, Timestamp)>,
    /// Where anybody can read the contributions on the web; none where they are not published.
    #[serde(default)]
    pub page: Option<String>,
}

impl TrainedOn {
    /// As manifests and receipts name it.
    pub fn datanet(&self) -> DatanetRef {
        DatanetRef { id: self.terms.id(), root: self.root, tree_size: self.tree_size }
    }
}

/// Counts the contributions of a version one by one.
#[derive(Debug, Clone)]
pub struct Tally {
    counted: TrainedOn,
    contributors: BTreeSet<Address>,
}

impl Tally {
    /// Nothing is counted yet.
    pub fn new(version: &DatanetVersion, policy: &Policy) -> Self {
        let counted = TrainedOn {
            terms: version.terms.clone(),
            version: version.version,
            root: version.root,
            tree_size: version.tree_size,
            time: version.time,
            policy: policy.clone(),
            included: 0,
            contributors: 0,
            licences: BTreeMap::new(),
            kinds: BTreeMap::new(),
            size_bytes: 0,
            collected: None,
            page: None,
        };
        Self { counted, contributors: BTreeSet::new() }
    }

    /// Counts the next contribution.
    pub fn add(&mut self, example: &agora_datanets::Example) {
        let counted = &mut self.counted;
        counted.included += 1;
        *counted.licences.entry(example.licence.clone()).or_default() += 1;
        *counted.kinds.entry(example.kind).or_default() += 1;
        // One that has no canonical form was not committed to either, and is no example.
        counted.size_bytes += example.item.data().map_or(0, |data| data.len() as u64);
        self.contributors.insert(example.contributor);
    }

    /// All that was counted.
    pub fn finish(self) -> TrainedOn {
        TrainedOn { contributors: self.contributors.len() as u64, ..self.counted }
    }
}
