//! `agent.toml`: what an agent is called, what it may use, and how much of it. Nothing is granted by default.

use agora_types::{Address, Amount, Code, ListingId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{AgentError, HttpGrant, ServeTerms};

/// Largest manifest, bytes.
const MANIFEST_SIZE_MAX: usize = 64 * 1024;
/// Longest name in bytes; names are `a-z 0-9 -` and begin with a letter.
const NAME_SIZE_MAX: usize = 32;
/// Most payees of a wallet grant.
const PAYEES_MAX: usize = 64;

/// An agent's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1 to 32 of `a-z 0-9 -`, beginning with a letter; unique on a node.
    pub name: String,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// The component's file, relative to the manifest.
    pub component: String,
    /// Bounds of one event.
    #[serde(default)]
    pub limits: Limits,
    /// What the agent may import; a missing table is a denial.
    #[serde(default)]
    pub grants: Grants,
    /// What the agent sells; absent: nothing. The component exports `serve` then.
    #[serde(default)]
    pub serve: Option<ServeTerms>,
}

/// Bounds of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Linear memory, 1 to 1,024 MiB.
    pub memory_mib: u32,
    /// Time on the processor between two host calls, 1 to 60,000 ms.
    pub compute_ms: u32,
    /// Time of one event with everything it waits for, 1 to 3,600 s.
    pub event_s: u32,
    /// Host calls, 1 to 1,000,000.
    pub host_calls: u32,
    /// Bytes of log, 0 to 1,024 KiB.
    pub log_kib: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_mib: 64, compute_ms: 1_000, event_s: 300, host_calls: 10_000, log_kib: 64 }
    }
}

/// What an agent may import. Absent: denied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grants {
    /// Find listings and ask for quotes.
    pub market: Option<Unlimited>,
    /// Spend, within limits.
    pub wallet: Option<WalletGrant>,
    /// Open token streams; needs `wallet` to pay.
    pub inference: Option<Unlimited>,
    /// Ask over HTTP; needs `wallet` to pay.
    pub http: Option<HttpGrant>,
    /// Keep bytes between events.
    pub key_value: Option<KeyValueGrant>,
    /// Write log lines.
    pub log: Option<Unlimited>,
    /// Read the time.
    pub clock: Option<Unlimited>,
}

/// A grant without further limits: an empty table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unlimited {}

/// How much an agent may spend, on what, and until when. The agent never holds a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WalletGrant {
    /// Most OPEN in all, since the agent was deployed (`"5"`, `"0.25"`).
    #[serde(with = "open")]
    #[schemars(with = "String")]
    pub budget: Amount,
    /// Most OPEN of one call.
    #[serde(with = "open")]
    #[schemars(with = "String")]
    pub per_call: Amount,
    /// Listings or owners that may be paid; empty: any.
    #[serde(default)]
    pub listings: Vec<ListingId>,
    /// Owners whose listings may be paid; empty: any.
    #[serde(default)]
    pub owners: Vec<Address>,
    /// Unix seconds after which nothing may be spent.
    #[serde(default)]
    pub expires_at_s: Option<u64>,
}

/// How much an agent may keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyValueGrant {
    /// Most KiB of keys and values together, 1 to 16,384.
    pub max_kib: u32,
}

pub(crate) mod open {
    use agora_types::Amount;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(amount: &Amount, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(amount)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Amount, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse::<Amount>().map_err(serde::de::Error::custom)
    }

    pub(crate) mod option {
        use agora_types::Amount;
        use serde::{Deserialize as _, Deserializer, Serializer};

        pub(crate) fn serialize<S: Serializer>(amount: &Option<Amount>, serializer: S) -> Result<S::Ok, S::Error> {
            match amount {
                Some(amount) => serializer.collect_str(amount),
                None => serializer.serialize_none(),
            }
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Amount>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            text.map(|text| text.parse::<Amount>().map_err(serde::de::Error::custom)).transpose()
        }
    }
}

impl Manifest {
    /// Reads and checks `agent.toml`.
    ///
    /// # Errors
    /// `agent.bad_manifest`, with line and reason.
    pub fn parse(text: &str) -> Result<Self, AgentError> {
        let bad = |what: String| AgentError::new(Code::AgentBadManifest, what);
        if text.len() > MANIFEST_SIZE_MAX {
            return Err(bad(format!("{} bytes; at most {MANIFEST_SIZE_MAX}", text.len())));
        }
        let manifest: Self = toml::from_str(text).map_err(|error| bad(error.to_string()))?;
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// `agent.bad_manifest`, saying which bound.
    pub fn check(&self) -> Result<(), AgentError> {
        let bad = |what: &str| Err(AgentError::new(Code::AgentBadManifest, what));
        let name = self.name.as_bytes();
        let allowed = |c: &u8| c.is_ascii_lowercase() || c.is_ascii_digit() || *c == b'-';
        if !name.first().is_some_and(u8::is_ascii_lowercase) || name.len() > NAME_SIZE_MAX || !name.iter().all(allowed)
        {
            return bad("name: 1 to 32 of a-z 0-9 -, beginning with a letter");
        }
        if self.component.is_empty() || self.component.contains("..") || self.component.starts_with('/') {
            return bad("component: a file beside the manifest");
        }
        let limits = &self.limits;
        if !(1..=1_024).contains(&limits.memory_mib) {
            return bad("limits.memory_mib: 1 to 1024");
        }
        if !(1..=60_000).contains(&limits.compute_ms) {
            return bad("limits.compute_ms: 1 to 60000");
        }
        if !(1..=3_600).contains(&limits.event_s) {
            return bad("limits.event_s: 1 to 3600");
        }
        if !(1..=1_000_000).contains(&limits.host_calls) {
            return bad("limits.host_calls: 1 to 1000000");
        }
        if limits.log_kib > 1_024 {
            return bad("limits.log_kib: at most 1024");
        }
        if let Some(wallet) = &self.grants.wallet {
            if wallet.per_call > wallet.budget {
                return bad("grants.wallet.per_call: at most the budget");
            }
            if wallet.listings.len() > PAYEES_MAX || wallet.owners.len() > PAYEES_MAX {
                return bad("grants.wallet: at most 64 listings and 64 owners");
            }
        }
        if self.grants.key_value.is_some_and(|grant| !(1..=16_384).contains(&grant.max_kib)) {
            return bad("grants.key_value.max_kib: 1 to 16384");
        }
        let (http, wallet) = (self.grants.http.as_ref(), self.grants.wallet.as_ref());
        let most = http.and_then(|http| http.max_per_call);
        if most.zip(wallet).is_some_and(|(most, wallet)| most > wallet.per_call) {
            return bad("grants.http.max_per_call: at most grants.wallet.per_call");
        }
        let http = http.map_or(Ok(()), HttpGrant::check);
        let serve = self.serve.as_ref().map_or(Ok(()), ServeTerms::check);
        http.and(serve).or_else(|what| bad(&what))?;
        Ok(())
    }
}
