//! Tokens and their prices: what quotes promise, hosts meter and receipts state.

use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Amount;

/// Tokens by how they are billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Usage {
    /// Prompt tokens read.
    #[n(0)]
    pub input: u64,
    /// Prompt tokens found in a cache.
    #[n(1)]
    pub cached: u64,
    /// Tokens delivered.
    #[n(2)]
    pub output: u64,
    /// Tokens generated but not delivered.
    #[n(3)]
    pub hidden: u64,
}

/// Atoms per token.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Prices {
    /// Per prompt token.
    #[n(0)]
    pub input: Amount,
    /// Per cached prompt token.
    #[n(1)]
    pub cached: Amount,
    /// Per delivered token.
    #[n(2)]
    pub output: Amount,
    /// Per hidden token.
    #[n(3)]
    pub hidden: Amount,
}

impl Prices {
    /// The exact charge for `usage`, in atoms; `None` above u128.
    pub fn charge(&self, usage: &Usage) -> Option<Amount> {
        Amount::checked_sum([
            self.input.checked_mul(u128::from(usage.input))?,
            self.cached.checked_mul(u128::from(usage.cached))?,
            self.output.checked_mul(u128::from(usage.output))?,
            self.hidden.checked_mul(u128::from(usage.hidden))?,
        ])
    }
}
