//! What a reader trusts, as the file `trust.toml` says it: networks by genesis hash, and the keys pinned for each.
//!
//! ```toml
//! [[network]]
//! name = "demo"
//! chain_id = 4020711
//! genesis_hash = "0x…"
//! checkpoint_keys = ["agora.4020711/receipts+1a2b3c4d+AQ…"]
//! host_keys = ["0x…"]        # optional: only these hosts
//!
//! [network.split]            # optional: recompute the split, in basis points
//! contributors = 5000
//! model_owner = 2000
//! host = 2000
//! validators = 500
//! platform = 500
//! ```

use agora_types::genesis::{CHAIN_ID_LIMIT, Genesis, Split};
use agora_types::key::StatementKey;
use agora_types::{Canonical as _, Hash};
use serde::{Deserialize, Serialize};

use crate::checkpoint::{origin, verifier_key};
use crate::envelope::EnvelopeNetwork;
use crate::note::VerifierKey;

/// Most bytes of the file.
pub const TRUST_SIZE_MAX: usize = 64 * 1024;
/// Most networks of a file, and most keys of each kind of a network.
const LIST_MAX: usize = 64;

/// Why a text is not a `trust.toml`; the sentence says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("trust.toml: {0}")]
pub struct TrustError(String);

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// Each network once.
    #[serde(rename = "network", default)]
    networks: Vec<TrustedNetwork>,
}

/// One network and the keys pinned for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustedNetwork {
    /// The genesis file's name.
    pub name: String,
    /// The genesis file's chain id.
    pub chain_id: u64,
    /// Hash of the genesis file.
    pub genesis_hash: Hash,
    /// Keys that sign the receipt log's checkpoints; one of them must have.
    pub checkpoint_keys: Vec<VerifierKey>,
    /// Receipt keys of the hosts that are believed. Empty: every host whose receipt stands in the log, because the
    /// ledger admits no receipt by a key that is not registered.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_keys: Vec<StatementKey>,
    /// The governed split. Absent: legs are checked to sum, not to be the governed ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
}

impl TrustedNetwork {
    /// What a reader of the genesis file may pin: its checkpoint key and its split.
    pub fn from_genesis(genesis: &Genesis) -> Self {
        Self {
            name: genesis.name.clone(),
            chain_id: genesis.chain_id,
            genesis_hash: genesis.hash(),
            checkpoint_keys: vec![verifier_key(genesis.chain_id, genesis.checkpoint_key)],
            host_keys: Vec::new(),
            split: Some(genesis.parameters.split),
        }
    }

    fn check(&self) -> Result<(), &'static str> {
        let rule = |holds: bool, text| if holds { Ok(()) } else { Err(text) };
        let keys = &self.checkpoint_keys;
        rule((1..=LIST_MAX).contains(&keys.len()), "pin 1 to 64 checkpoint keys for each network")?;
        rule(self.host_keys.len() <= LIST_MAX, "pin at most 64 host keys for each network")?;
        rule(self.chain_id < CHAIN_ID_LIMIT, "a chain id is below 2^53")?;
        let name = origin(self.chain_id);
        rule(keys.iter().all(|key| key.name() == name), "a checkpoint key's name is agora.<chain id>/receipts")?;
        rule(self.split.is_none_or(|split| split.is_whole()), "a split sums to 10,000 basis points")
    }
}

impl Trust {
    /// Trusts these networks.
    pub fn new(networks: Vec<TrustedNetwork>) -> Result<Self, TrustError> {
        if networks.len() > LIST_MAX {
            return Err(TrustError("it has at most 64 networks".into()));
        }
        for (at, network) in networks.iter().enumerate() {
            network.check().map_err(|rule| TrustError(format!("network {:?}: {rule}", network.name)))?;
            let same =
                |other: &TrustedNetwork| other.genesis_hash == network.genesis_hash || other.name == network.name;
            if networks[..at].iter().any(same) {
                return Err(TrustError(format!("network {:?} stands there twice", network.name)));
            }
        }
        Ok(Self { networks })
    }

    /// Reads the text of a `trust.toml`; unknown fields are refused.
    pub fn from_toml(text: &str) -> Result<Self, TrustError> {
        if text.len() > TRUST_SIZE_MAX {
            return Err(TrustError("it has at most 65,536 bytes".into()));
        }
        let read: Self = toml::from_str(text).map_err(|error| TrustError(error.to_string()))?;
        Self::new(read.networks)
    }

    /// The text of the file.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a chain id below 2^53 and texts are TOML")
    }

    /// The networks, in the file's order.
    pub fn networks(&self) -> &[TrustedNetwork] {
        &self.networks
    }

    /// The network with this chain id and genesis hash.
    pub fn find(&self, network: &EnvelopeNetwork) -> Option<&TrustedNetwork> {
        self.networks
            .iter()
            .find(|known| known.chain_id == network.chain_id && known.genesis_hash == network.genesis_hash)
    }
}
