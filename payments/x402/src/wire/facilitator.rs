//! What a facilitator answers.

use std::collections::BTreeMap;

use agora_types::{Address, Amount};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::required::bounded_text;
use super::{ChannelState, Document, NetworkId, Object, Scheme, SettledAmount, Version, VoucherState, or_default};

const REASON_MAX: usize = 128;
const MESSAGE_MAX: usize = 1_024;
const TRANSACTION_MAX: usize = 128;

/// Answer to `POST /verify`. A refusal is an answer too: HTTP 200.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyResponse {
    /// Good, and reserved for this seller.
    pub is_valid: bool,
    /// A text of [`crate::Reason`]; other facilitators have more.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded_text::<REASON_MAX, _>")]
    pub invalid_reason: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded_text::<MESSAGE_MAX, _>")]
    pub invalid_message: Option<String>,
    /// Who pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<Address>,
    /// For `batch-settlement`: the channel, as [`ChannelState`].
    #[serde(default, skip_serializing_if = "Object::is_empty", deserialize_with = "or_default")]
    pub extra: Object,
    /// By name.
    #[serde(default, skip_serializing_if = "Object::is_empty", deserialize_with = "or_default")]
    pub extensions: Object,
}

impl Document for VerifyResponse {
    const NAME: &'static str = "VerifyResponse";
    const VERSIONED: bool = false;
}

/// Answer to `POST /settle`, and the answer's header `PAYMENT-RESPONSE`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettleResponse {
    /// The money moved, or will: the facilitator stands for it.
    pub success: bool,
    /// A text of [`crate::Reason`]; other facilitators have more.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded_text::<REASON_MAX, _>")]
    pub error_reason: Option<String>,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded_text::<MESSAGE_MAX, _>")]
    pub error_message: Option<String>,
    /// Who pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payer: Option<Address>,
    /// Its id on the ledger; empty when there is none.
    #[serde(deserialize_with = "transaction")]
    pub transaction: String,
    /// Where.
    pub network: NetworkId,
    /// What moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<SettledAmount>,
    /// For `batch-settlement`: see [`SettleResponseExtra`].
    #[serde(default, skip_serializing_if = "Object::is_empty", deserialize_with = "or_default")]
    pub extra: Object,
    /// By name.
    #[serde(default, skip_serializing_if = "Object::is_empty", deserialize_with = "or_default")]
    pub extensions: Object,
}

impl Document for SettleResponse {
    const NAME: &'static str = "SettleResponse";
    const VERSIONED: bool = false;
}

/// `extra` of a `batch-settlement` answer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SettleResponseExtra {
    /// Atoms that this request cost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged_amount: Option<Amount>,
    /// The channel afterwards; sellers send a part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_state: Option<PartialChannelState>,
    /// The newest voucher that the seller holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voucher_state: Option<VoucherState>,
}

/// As much of a [`ChannelState`] as a seller says: stock sellers say only the cumulative charge after a deposit.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PartialChannelState {
    /// The channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<agora_types::ChannelId>,
    /// Deposited and not refunded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Amount>,
    /// Claimed by the receiver so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_claimed: Option<Amount>,
    /// Charged by the seller so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged_cumulative_amount: Option<Amount>,
}

impl From<&ChannelState> for PartialChannelState {
    fn from(state: &ChannelState) -> Self {
        Self {
            channel_id: Some(state.channel_id),
            balance: Some(state.balance),
            total_claimed: Some(state.total_claimed),
            charged_cumulative_amount: state.charged_cumulative_amount,
        }
    }
}

fn transaction<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(bounded_text::<TRANSACTION_MAX, D>(deserializer)?.unwrap_or_default())
}

/// Answer to `GET /supported`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Supported {
    /// What it settles.
    pub kinds: Vec<Kind>,
    /// Names.
    #[serde(default, deserialize_with = "or_default")]
    pub extensions: Vec<String>,
    /// Its addresses by CAIP-2 pattern (`eip155:*`).
    #[serde(default, deserialize_with = "or_default")]
    pub signers: BTreeMap<String, Vec<String>>,
}

impl Document for Supported {
    const NAME: &'static str = "Supported";
    const SIZE_MAX: usize = 64 * 1024;
    const VERSIONED: bool = false;
}

/// One thing a facilitator settles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Kind {
    /// 2 here; facilitators also list what they settle in version 1.
    pub x402_version: u64,
    /// How.
    pub scheme: Scheme,
    /// Where, in the words of that version.
    pub network: String,
    /// What a seller must copy into its requirements, such as `facilitatorAddress` for `upto`.
    #[serde(default, skip_serializing_if = "Object::is_empty", deserialize_with = "or_default")]
    pub extra: Object,
}

impl Kind {
    /// One of ours.
    pub fn new(scheme: Scheme, network: &NetworkId, extra: Object) -> Self {
        Self { x402_version: Version::NUMBER, scheme, network: network.to_string(), extra }
    }
}
