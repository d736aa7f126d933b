//! A quote: a host's signed promise of what one call by one payer will cost at most.

use agora_types::key::StatementKey;
use agora_types::{Address, Amount, Canonical, Code, Hash, ListingId, Prices, QuoteId, Timestamp, Usage};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest life of a quote in seconds.
pub const QUOTE_LIFE_MAX_S: u64 = 30;

/// The most tokens of each kind that a call may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct TokenCaps {
    /// Prompt tokens, cached ones included: exact, the host has counted them.
    #[n(0)]
    pub input: u64,
    /// Delivered tokens.
    #[n(1)]
    pub output: u64,
    /// Generated and not delivered tokens.
    #[n(2)]
    pub hidden: u64,
}

impl TokenCaps {
    /// True when `usage` stays within them.
    pub fn hold(&self, usage: &Usage) -> bool {
        let input = usage.input.checked_add(usage.cached);
        input.is_some_and(|input| input <= self.input) && usage.output <= self.output && usage.hidden <= self.hidden
    }
}

/// How soon the answer can begin, as the host sees it; a hint, not a promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Readiness {
    /// Whether the adapter is in memory.
    #[n(0)]
    pub hot: bool,
    /// Milliseconds if it still is when the call begins.
    #[n(1)]
    pub hot_ms: u64,
    /// Milliseconds if it must be loaded first.
    #[n(2)]
    pub cold_ms: u64,
}

/// A quote, signed by the host's receipt key. It binds payer, request, listing and price, for one call.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Quote {
    /// The network's chain id.
    #[n(0)]
    pub network: u64,
    /// Unique per host; used once.
    #[n(1)]
    pub id: QuoteId,
    /// Who may use it.
    #[n(2)]
    pub payer: Address,
    /// SHA-256 over the payer's salt and the request's bytes.
    #[n(3)]
    pub request_commit: Hash,
    /// What is called.
    #[n(4)]
    pub listing: ListingId,
    /// Hash of the signed listing that was in force.
    #[n(5)]
    pub terms: Hash,
    /// The adapter that will answer.
    #[n(6)]
    pub adapter_hash: Option<Hash>,
    /// The most tokens.
    #[n(7)]
    pub caps: TokenCaps,
    /// Atoms per token.
    #[n(8)]
    pub prices: Prices,
    /// Who serves and settles.
    #[n(9)]
    pub host: Address,
    /// The host's receipt key.
    #[n(10)]
    pub host_key: StatementKey,
    /// When it was made.
    #[n(11)]
    pub time: Timestamp,
    /// Last moment to open the call, at most 30 seconds after `time`.
    #[n(12)]
    pub expires_at: Timestamp,
    /// How soon the answer can begin.
    #[n(13)]
    pub readiness: Option<Readiness>,
}

impl Canonical for Quote {
    const TAG: &'static str = "agora/quote/v1";
    const SIZE_MAX: usize = 1_024;
}

impl Quote {
    /// The most that the call can cost; `None` above u128. Cached prompt tokens count as the dearer of the two kinds.
    pub fn charge_max(&self) -> Option<Amount> {
        let input = self.prices.input.max(self.prices.cached);
        let most = Prices { input, ..self.prices };
        most.charge(&Usage { input: self.caps.input, cached: 0, output: self.caps.output, hidden: self.caps.hidden })
    }

    /// Checks bounds and life.
    ///
    /// # Errors
    /// `quote.invalid` for a quote that cannot be priced, or lives too long; `quote.expired`.
    pub fn check(&self, now: Timestamp) -> Result<(), Code> {
        let lives = self.expires_at > self.time && self.expires_at <= self.time.plus_secs(QUOTE_LIFE_MAX_S);
        if !lives || self.caps.output == 0 || self.charge_max().is_none_or(|most| most > agora_types::CAP) {
            return Err(Code::QuoteInvalid);
        }
        if now >= self.expires_at { Err(Code::QuoteExpired) } else { Ok(()) }
    }
}
