//! The receipt of one call: who asked, what answered, what it cost, whose data taught it, and where every atom went.
//!
//! Its leaf in the log is `Signed<Receipt>::to_bytes()`: the CBOR array `[tag, receipt, key, signature]`, Ed25519 over
//! the CBOR array `[tag, receipt]`. 300 to 600 bytes is usual, 4 KiB the cap.

use agora_types::{
    Address, Amount, CallId, Canonical, ChannelId, DatanetId, Hash, ListingId, Prices, Timestamp, Usage,
};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most legs, totals, parents and datanets of a receipt.
pub const LIST_MAX: usize = 16;
/// One whole in [`Attribution::explained`] and [`Attribution::residual`].
pub const WHOLE: u64 = 1 << 32;

/// What was paid for. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Tokens of a model.
    #[n(0)]
    Inference,
    /// Work of an agent; `parents` lead to the receipts it rests on.
    #[n(1)]
    Service,
    /// Training of an adapter.
    #[n(2)]
    Training,
    /// A datanet's own work.
    #[n(3)]
    Datanet,
}

/// How tokens were chosen; enough to run the call again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Decoding {
    /// Thousandths; 0 is greedy.
    #[n(0)]
    pub temperature_milli: u32,
    /// 0: all tokens.
    #[n(1)]
    pub top_k: u32,
    /// Thousandths; 1000: all tokens.
    #[n(2)]
    pub top_p_milli: u32,
    /// The sampler's seed.
    #[n(3)]
    pub seed: u64,
    /// The cap that the quote set.
    #[n(4)]
    pub output_max: u64,
    /// Thousandths of the likeliest token's probability; 0, which is left out: all tokens.
    #[cbor(n(5), skip_if = "is_zero")]
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min_p_milli: u32,
    /// The repetition penalty in thousandths; 1000, which is left out: none.
    #[cbor(n(6), with = "penalty", has_nil)]
    #[serde(default = "penalty::none", skip_serializing_if = "penalty::is_nil")]
    pub repetition_milli: u32,
    /// The quote's cap of hidden tokens; 0, which is left out: none.
    #[cbor(n(7), skip_if = "is_zero")]
    #[serde(default, skip_serializing_if = "is_zero")]
    pub hidden_max: u64,
}

fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}

/// A repetition penalty, left out where it is none: receipts that were signed before there was one keep their bytes.
mod penalty {
    use minicbor::decode::Error as DecodeError;
    use minicbor::encode::{Error as EncodeError, Write};
    use minicbor::{Decoder, Encoder};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "as minicbor calls it")]
    pub(super) fn encode<C, W: Write>(
        milli: &u32,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), EncodeError<W::Error>> {
        encoder.u32(*milli).map(drop)
    }

    pub(super) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Result<u32, DecodeError> {
        decoder.u32()
    }

    #[allow(clippy::unnecessary_wraps, reason = "as minicbor calls it")]
    pub(super) fn nil() -> Option<u32> {
        Some(none())
    }

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "as minicbor and serde call it")]
    pub(super) fn is_nil(milli: &u32) -> bool {
        *milli == none()
    }

    pub(super) fn none() -> u32 {
        1_000
    }
}

/// A datanet version that taught the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct DatanetRef {
    /// The datanet.
    #[n(0)]
    pub id: DatanetId,
    /// Merkle root over its contributions.
    #[n(1)]
    pub root: Hash,
    /// Number of contributions.
    #[n(2)]
    pub tree_size: u64,
}

/// A contributor's atoms out of the contributor part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct ShareTotal {
    /// The contributor.
    #[n(0)]
    pub account: Address,
    /// What the final receipt pays.
    #[n(1)]
    pub amount: Amount,
}

/// Whose data shaped the answer. A provisional receipt names the method only; a final one is complete.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Attribution {
    /// `declared-weights` (declared, not measured), or a measured method. At most 32 bytes.
    #[n(0)]
    pub method: String,
    /// Merkle root over the verbatim spans.
    #[n(1)]
    pub verbatim_root: Option<Hash>,
    /// Merkle root over the influence shares.
    #[n(2)]
    pub influence_root: Option<Hash>,
    /// Explained part, 2^32 is one.
    #[n(3)]
    pub explained: u64,
    /// Unexplained part, paid to the commons; explained + residual = 2^32 in a final receipt, both 0 in a provisional.
    #[n(4)]
    pub residual: u64,
    /// In rising order of account, each once, at most 16.
    #[n(5)]
    pub totals: Vec<ShareTotal>,
    /// Shares are those of another answer, or of this one for others as well; absent: this answer was measured for itself.
    #[n(6)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<SampledOf>,
}

pub use agora_types::SampledOf;
pub use agora_types::command::DECLARED_WEIGHTS;

/// What a leg is paid for. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Contributor part; in suspense until the final receipt.
    #[n(0)]
    Contributors,
    /// The model's owner.
    #[n(1)]
    ModelOwner,
    /// The host that served.
    #[n(2)]
    Host,
    /// The validators' pool.
    #[n(3)]
    Validators,
    /// The platform.
    #[n(4)]
    Platform,
    /// One contributor, in a final receipt.
    #[n(5)]
    Contributor,
    /// The commons pot, in a final receipt.
    #[n(6)]
    Commons,
    /// Who sold the work, in a service receipt.
    #[n(7)]
    Seller,
    /// What measured shares earn, in a final receipt: contributors claim it from the host's published roots.
    #[n(8)]
    Earnings,
}

/// One payment out of the charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Leg {
    /// What for.
    #[n(0)]
    pub role: Role,
    /// To whom.
    #[n(1)]
    pub account: Address,
    /// How much; legs of zero are left out.
    #[n(2)]
    pub amount: Amount,
}

/// Which of a call's two receipts this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Written when the stream ends: legs sum to the charge, contributor part in suspense.
    #[n(0)]
    Provisional,
    /// Written when attribution is done: legs sum to the contributor part.
    #[n(1)]
    Final {
        /// Index of the provisional receipt in the log.
        #[n(0)]
        index: u64,
        /// Its leaf hash.
        #[n(1)]
        leaf: Hash,
    },
}

/// A receipt, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Receipt {
    /// 1.
    #[n(0)]
    pub version: u16,
    /// What was paid for.
    #[n(1)]
    pub kind: Kind,
    /// The network's chain id.
    #[n(2)]
    pub network: u64,
    /// The payer's id of the call.
    #[n(3)]
    pub call_id: CallId,
    /// The host's account.
    #[n(4)]
    pub host: Address,
    /// The host's own count of calls; a gap shows a missing receipt.
    #[n(5)]
    pub host_seq: u64,
    /// When the stream ended, by the host's clock.
    #[n(6)]
    pub time: Timestamp,
    /// Who asked and pays.
    #[n(7)]
    pub payer: Address,
    /// The account of the listing, or of the seller.
    #[n(8)]
    pub payee: Address,
    /// The listing that was called.
    #[n(9)]
    pub listing: Option<ListingId>,
    /// Leaf hashes of the receipts this one rests on, at most 16.
    #[n(10)]
    pub parents: Vec<Hash>,
    /// SHA-256 of the base model's file.
    #[n(11)]
    pub base_hash: Option<Hash>,
    /// Hash of the adapter.
    #[n(12)]
    pub adapter_hash: Option<Hash>,
    /// Hash of the tokenizer.
    #[n(13)]
    pub tokenizer_hash: Option<Hash>,
    /// Hash of the attribution spec.
    #[n(14)]
    pub spec_hash: Option<Hash>,
    /// At most 16.
    #[n(15)]
    pub datanets: Vec<DatanetRef>,
    /// SHA-256 over a 128-bit salt, which the buyer keeps, and the request's bytes.
    #[n(16)]
    pub request_commit: Hash,
    /// The same over the response's bytes.
    #[n(17)]
    pub response_commit: Hash,
    /// How tokens were chosen; absent for other kinds than inference.
    #[n(18)]
    pub decoding: Option<Decoding>,
    /// What was delivered.
    #[n(19)]
    pub usage: Usage,
    /// At which prices; a service counts its units as output.
    #[n(20)]
    pub prices: Prices,
    /// `prices` times `usage`, exactly.
    #[n(21)]
    pub charge: Amount,
    /// The channel that paid.
    #[n(22)]
    pub channel: Option<ChannelId>,
    /// The channel's total claimed after this call.
    #[n(23)]
    pub cumulative: Amount,
    /// Whose data shaped the answer.
    #[n(24)]
    pub attribution: Attribution,
    /// Where the money went, at most 16.
    #[n(25)]
    pub legs: Vec<Leg>,
    /// Provisional, or final with its reference.
    #[n(26)]
    pub state: State,
}

impl Canonical for Receipt {
    const TAG: &'static str = "agora/receipt/v1";
    const SIZE_MAX: usize = 4096 - 256;
}

/// A commitment to bytes that reveals nothing: SHA-256 over the salt and the bytes.
pub fn commit(salt: &[u8; 16], bytes: &[u8]) -> Hash {
    Hash::sha256_of(&[salt, bytes])
}
