//! `batch-settlement`: deposits, vouchers and refunds of buyers; claims, settlements and refunds of sellers.

mod words;

pub use words::RefundWords;

use agora_types::channel::ChannelConfig;
use agora_types::{Address, Amount, ChannelId, Hash};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reason::{Reason, Refusal};
use crate::wire::{Object, Seconds, object};

/// Most claims of one batch.
pub const CLAIMS_MAX: usize = 100;

/// `payload` of a payment, or of a seller's request to settle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum BatchPayload {
    /// Opens a channel or tops it up, and pays with its first voucher.
    Deposit(DepositPayload),
    /// Pays out of what is deposited.
    Voucher(VoucherPayload),
    /// Asks for what is left; the seller adds what the facilitator needs.
    Refund(RefundPayload),
    /// Seller: turns vouchers into money.
    Claim(ClaimPayload),
    /// Seller: pays out what claims gathered.
    Settle(SettlePayload),
}

/// A deposit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DepositPayload {
    /// The channel.
    pub channel_config: ChannelConfig,
    /// For this request.
    pub voucher: VoucherFields,
    /// The money.
    pub deposit: DepositFields,
}

/// The money of a deposit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DepositFields {
    /// Atoms.
    pub amount: Amount,
    /// What the payer signed.
    pub authorization: DepositAuthorization,
}

/// One of two forms; Permit2 is refused here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DepositAuthorization {
    /// EIP-3009.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub erc3009_authorization: Option<Erc3009Authorization>,
    /// Permit2: kept to be refused by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub permit2_authorization: Option<Object>,
}

/// EIP-3009 `ReceiveWithAuthorization`, as far as the rest does not follow from the channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Erc3009Authorization {
    /// Unix seconds.
    pub valid_after: Seconds,
    /// Unix seconds.
    pub valid_before: Seconds,
    /// The nonce is keccak256(abi.encode(channelId, salt)).
    pub salt: Hash,
    /// By the payer: 0x and 130 hexadecimal digits.
    pub signature: String,
}

/// A voucher.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VoucherFields {
    /// The channel.
    pub channel_id: ChannelId,
    /// Cumulative atoms.
    pub max_claimable_amount: Amount,
    /// By the payer's authorizer: 0x and 130 hexadecimal digits.
    pub signature: String,
}

/// A payment by voucher alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VoucherPayload {
    /// The channel.
    pub channel_config: ChannelConfig,
    /// For this request.
    pub voucher: VoucherFields,
}

/// A refund: the buyer writes the first three fields, the seller all.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefundPayload {
    /// The channel.
    pub channel_config: ChannelConfig,
    /// For what was charged so far.
    pub voucher: VoucherFields,
    /// Atoms to give back; absent: all that is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// Of the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_nonce: Option<Seconds>,
    /// What is claimed before the rest goes back; at most 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub claims: Option<Vec<ClaimFields>>,
    /// By the receiver's authorizer, over `Refund`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_authorizer_signature: Option<String>,
    /// By the receiver's authorizer, over `ClaimBatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_authorizer_signature: Option<String>,
}

/// A batch of claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimPayload {
    /// 1 to 100.
    #[schemars(length(min = 1, max = 100))]
    pub claims: Vec<ClaimFields>,
    /// By the receiver's authorizer, over `ClaimBatch`; absent when that is the facilitator's own key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_authorizer_signature: Option<String>,
}

/// One claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimFields {
    /// The voucher without its signature.
    pub voucher: ClaimVoucher,
    /// By the payer's authorizer.
    pub signature: String,
    /// Cumulative claim after this one.
    pub total_claimed: Amount,
}

/// A voucher inside a claim.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimVoucher {
    /// The channel.
    pub channel: ChannelConfig,
    /// Cumulative atoms.
    pub max_claimable_amount: Amount,
}

/// Pays out what claims gathered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SettlePayload {
    /// Is paid.
    pub receiver: Address,
    /// The asset.
    pub token: Address,
}

impl BatchPayload {
    /// Out of a payment's `payload`.
    ///
    /// # Errors
    /// `…payload_type` for an unknown type, `invalid_payload` for anything malformed.
    pub fn read(payload: &Object) -> Result<Self, Refusal> {
        let kind = payload.get("type").and_then(serde_json::Value::as_str);
        if !kind.is_some_and(|kind| ["deposit", "voucher", "refund", "claim", "settle"].contains(&kind)) {
            let message = "the payload's type is deposit, voucher, refund, claim or settle";
            return Err(Refusal::new(Reason::PayloadType, message));
        }
        super::read("batch-settlement payload", payload)
    }

    /// As the map of a payment.
    pub fn to_object(&self) -> Object {
        object(self)
    }
}
