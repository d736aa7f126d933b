//! One measured answer for several calls: what their final receipts say, and what the evidence must agree with.

use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Hash;

/// Most calls that one measured answer stands for.
pub const SAMPLE_MAX: u32 = 64;

/// One answer was measured for several calls, whose final receipts all carry its shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct SampledOf {
    /// How many calls, 2 to [`SAMPLE_MAX`].
    #[n(0)]
    pub calls: u32,
    /// Leaf hash of the provisional receipt of the answer that was measured.
    #[n(1)]
    pub measured: Hash,
}
