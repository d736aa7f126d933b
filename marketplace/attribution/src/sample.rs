//! One measured answer for several calls: which calls it stands for, and which of them was measured.
//!
//! A very cheap call can cost less than its attribution. Its spec may then say that one call in `sample_one_in` is
//! measured: calls wait until a group is full, one of them is drawn, and its shares pay each call's own pool. The draw is
//! in proportion to the pools, so that on average everybody gets what measuring every call would have given: a call with
//! pool p of P is drawn with chance p/P, and then its shares pay P.

use agora_types::{Amount, Code, Hash, cbor};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most calls of a group.
pub const SAMPLE_MAX: usize = agora_types::SAMPLE_MAX as usize;
const SAMPLE_TAG: &str = "agora/attribution-sample/v1";

/// A call that one measured answer pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Sampled {
    /// Index of its provisional receipt.
    #[n(0)]
    pub index: u64,
    /// That receipt's leaf hash.
    #[n(1)]
    pub leaf: Hash,
    /// Its contributor pool.
    #[n(2)]
    pub pool: Amount,
}

/// A group of calls, two to [`SAMPLE_MAX`], in rising order of index, each once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Sample {
    /// The calls.
    #[n(0)]
    pub calls: Vec<Sampled>,
}

impl Sample {
    /// A group of these calls, in any order.
    ///
    /// # Errors
    /// `attribution.bad_input` for fewer than two, more than [`SAMPLE_MAX`], one twice, or pools that cannot be summed.
    pub fn new(mut calls: Vec<Sampled>) -> Result<Self, Code> {
        calls.sort_unstable_by_key(|call| call.index);
        let sample = Self { calls };
        if sample.is_sound() { Ok(sample) } else { Err(Code::AttributionInput) }
    }

    /// Number, order and sum.
    pub(crate) fn is_sound(&self) -> bool {
        (2..=SAMPLE_MAX).contains(&self.calls.len())
            && self.calls.windows(2).all(|pair| pair[0].index < pair[1].index)
            && self.total().is_some()
    }

    /// SHA-256 over the canonical CBOR `[tag, sample]`.
    pub fn hash(&self) -> Hash {
        Hash::sha256(cbor::encode(&(SAMPLE_TAG, self)))
    }

    /// The call that is measured: the one whose part of all pools, laid end to end, holds the hash modulo their sum.
    /// Without money, the hash modulo their number.
    pub fn drawn(&self) -> &Sampled {
        let hash = self.hash();
        let total = self.total().unwrap_or_default();
        let whole = if total == 0 { self.calls.len() as u128 } else { total };
        // 256 bits of hash for 90 bits of money: what the remainder favours cannot be seen. OPEN's cap keeps the product small.
        let mut at = hash.as_bytes().iter().fold(0, |rest, byte| (rest * 256 + u128::from(*byte)) % whole);
        for call in &self.calls {
            let part = if total == 0 { 1 } else { call.pool.atoms() };
            if at < part {
                return call;
            }
            at -= part;
        }
        unreachable!("the parts sum to the whole")
    }

    /// All pools, if they are money that can exist: below 2^100 atoms.
    fn total(&self) -> Option<u128> {
        let sum = Amount::checked_sum(self.calls.iter().map(|call| call.pool))?.atoms();
        (sum < 1 << 100).then_some(sum)
    }
}
