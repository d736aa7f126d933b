//! The curation policy: who judges contributions, when they are in, what near-duplicates and checks mean, what it
//! costs.

use agora_types::key::StatementKey;
use agora_types::{Address, Amount, Canonical, Code};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::item::ITEM_SIZE_MAX;
use crate::terms::is_licence;

/// Most curators.
pub const CURATORS_MAX: usize = 32;
/// Most licences beside the datanet's own.
pub const LICENCES_MAX: usize = 16;

/// An account that may judge, and a key that speaks for it here. Both stand in the policy, so that anyone can repeat
/// the rule without asking who held which key when. A new key stands beside the old one, whose verdicts so go on
/// counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Curator {
    /// The account.
    #[n(0)]
    pub account: Address,
    /// Its statement key.
    #[n(1)]
    pub key: StatementKey,
}

/// When a contribution is in that nobody rejects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(flat)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Admission {
    /// At once.
    #[n(0)]
    Open,
    /// When so many curators accept it; at least 1.
    #[n(1)]
    Accepts(#[n(0)] u8),
}

/// What a finding of the checks means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Nothing.
    #[n(0)]
    Ignore,
    /// A curator is to look at it.
    #[n(1)]
    Flag,
    /// The item is not taken.
    #[n(2)]
    Refuse,
}

/// What the findings of each area mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    /// Email addresses, phone and account numbers, payment cards, network addresses.
    #[n(0)]
    pub personal: Action,
    /// Passwords, API keys, private keys.
    #[n(1)]
    pub secrets: Action,
    /// Too short, too repetitive, not text.
    #[n(2)]
    pub junk: Action,
}

impl Default for Checks {
    /// A secret does harm at once and helps no model; the rest is for a person to judge.
    fn default() -> Self {
        Self { personal: Action::Flag, secrets: Action::Refuse, junk: Action::Flag }
    }
}

/// The policy of a datanet. A version names it by its hash.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// In rising order of account and key, at most 32. An account has one voice, whatever the number of its keys. The
    /// owner judges only where it stands here.
    #[n(0)]
    pub curators: Vec<Curator>,
    /// When a contribution is in.
    #[n(1)]
    pub admission: Admission,
    /// So many curators who reject take a contribution out; at least 1.
    #[n(2)]
    pub rejects: u8,
    /// From which Jaccard similarity on two items are the same, in thousandths, 500 to 1,000. Absent: only identical
    /// data.
    #[n(3)]
    pub near: Option<u16>,
    /// What a contributor pays to the owner for each item, with its commitment.
    #[n(4)]
    pub fee: Amount,
    /// Smallest item, in bytes of its canonical form.
    #[n(5)]
    pub size_min: u32,
    /// Largest item; at most 512 KiB.
    #[n(6)]
    pub size_max: u32,
    /// SPDX ids that are taken beside the datanet's own, in rising order, at most 16.
    #[n(7)]
    pub licences: Vec<String>,
    /// What findings mean.
    #[n(8)]
    pub checks: Checks,
}

impl Canonical for Policy {
    const TAG: &'static str = "agora/datanet-policy/v1";
    const SIZE_MAX: usize = 4 * 1024;
}

impl Default for Policy {
    /// Open to everybody, free, near-duplicates from 0.8 on, nobody who judges.
    fn default() -> Self {
        Self {
            curators: Vec::new(),
            admission: Admission::Open,
            rejects: 1,
            near: Some(800),
            fee: Amount::ZERO,
            size_min: 1,
            size_max: 64 * 1024,
            licences: Vec::new(),
            checks: Checks::default(),
        }
    }
}

impl Policy {
    /// Checks every bound; a rule that can never be met is refused too.
    ///
    /// # Errors
    /// `datanet.bad_policy`.
    pub fn check(&self) -> Result<(), Code> {
        let voices = 1 + self.curators.windows(2).filter(|pair| pair[0].account != pair[1].account).count();
        let voices = if self.curators.is_empty() { 0 } else { voices };
        let reachable = |n: u8| n >= 1 && usize::from(n) <= voices;
        let good = self.curators.len() <= CURATORS_MAX
            && self.curators.windows(2).all(|pair| (pair[0].account, pair[0].key) < (pair[1].account, pair[1].key))
            && match self.admission {
                Admission::Open => true,
                Admission::Accepts(n) => reachable(n),
            }
            && (reachable(self.rejects) || (self.curators.is_empty() && self.rejects == 1))
            && self.near.is_none_or(|parts| (500..=1_000).contains(&parts))
            && self.size_min >= 1
            && self.size_min <= self.size_max
            && self.size_max as usize <= ITEM_SIZE_MAX
            && self.licences.len() <= LICENCES_MAX
            && self.licences.iter().all(|one| is_licence(one))
            && self.licences.windows(2).all(|pair| pair[0] < pair[1]);
        if good { Ok(()) } else { Err(Code::PolicyInvalid) }
    }

    /// The curator's voice: the place of its first key. `None` for an account or key that the policy does not name.
    pub(crate) fn voice(&self, account: &Address, key: &StatementKey) -> Option<usize> {
        let named = |one: &Curator| one.account == *account && one.key == *key;
        self.curators.iter().any(named).then(|| self.curators.partition_point(|one| one.account < *account))
    }

    /// True for the datanet's own licence and those of the policy.
    pub fn takes_licence(&self, own: &str, licence: &str) -> bool {
        licence == own || self.licences.iter().any(|one| one == licence)
    }

    /// What a submission of `count` items costs; `None` when the sum does not fit.
    pub fn fee_of(&self, count: u32) -> Option<Amount> {
        self.fee.atoms().checked_mul(u128::from(count)).map(Amount::from_atoms)
    }
}
