//! What the schemes put into `extra`: typed views on the maps that the documents carry.

use agora_types::key::WalletSignature;
use agora_types::{Address, Amount, ChannelId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Object, PaymentRequirements, Seconds, WireError, object, view};

/// `extra` of an `exact` offer: the token's EIP-712 domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExactExtra {
    /// Of the domain.
    pub name: String,
    /// Of the domain.
    pub version: String,
}

/// `extra` of an `upto` offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UptoExtra {
    /// Who alone may settle it: part of what the payer signs.
    pub facilitator_address: Address,
}

/// `extra` of a `batch-settlement` offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BatchExtra {
    /// Whose signature claims and refunds.
    pub receiver_authorizer: Address,
    /// Seconds, 900 to 2,592,000.
    pub withdraw_delay: u32,
    /// Of the token's domain, which deposits are signed in.
    pub name: String,
    /// Of the token's domain.
    pub version: String,
    /// `eip3009` or absent; `permit2` is refused here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asset_transfer_method: Option<String>,
    /// What the seller wants deposited at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_deposit: Option<Amount>,
    /// In a corrective 402: the channel as the seller knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_state: Option<ChannelState>,
    /// In a corrective 402: the newest voucher that the seller holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voucher_state: Option<VoucherState>,
}

/// A channel, as facilitator and seller report it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChannelState {
    /// The channel.
    pub channel_id: ChannelId,
    /// Deposited and not refunded, what was claimed included.
    pub balance: Amount,
    /// Claimed so far; never falls.
    pub total_claimed: Amount,
    /// Unix seconds; 0 when the payer has not asked to withdraw.
    pub withdraw_requested_at: u64,
    /// What the next refund must name.
    pub refund_nonce: Seconds,
    /// Charged by the seller so far: only the seller knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charged_cumulative_amount: Option<Amount>,
}

/// The newest voucher that a seller holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VoucherState {
    /// Its cumulative amount.
    pub signed_max_claimable: Amount,
    /// By the payer's authorizer.
    pub signature: WalletSignature,
}

/// When a payment is settled, seen from the handler (`extra.paymentFlow`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PaymentFlow {
    /// Verify, handle, settle.
    #[default]
    Authorization,
    /// Settle, handle.
    Upfront,
    /// Settle, handle, settle.
    Escrow,
}

macro_rules! into_object {
    ($($name:ident),*) => {$(
        impl $name {
            /// As the map that documents carry.
            pub fn to_object(&self) -> Object {
                object(self)
            }
        }
    )*};
}
into_object!(ExactExtra, UptoExtra, BatchExtra, ChannelState);

impl super::SettleResponseExtra {
    /// As the map that documents carry.
    pub fn to_object(&self) -> Object {
        object(self)
    }

    /// Out of such a map.
    ///
    /// # Errors
    /// [`WireError::Shape`].
    pub fn read(extra: &Object) -> Result<Self, WireError> {
        view("SettleResponse.extra", Value::Object(extra.clone()))
    }
}

impl PaymentRequirements {
    fn extra_as<T: serde::de::DeserializeOwned>(&self, what: &'static str) -> Result<T, WireError> {
        view(what, Value::Object(self.extra.clone()))
    }

    /// `extra` of an `exact` offer.
    ///
    /// # Errors
    /// [`WireError::Shape`].
    pub fn exact_extra(&self) -> Result<ExactExtra, WireError> {
        self.extra_as("exact extra")
    }

    /// `extra` of an `upto` offer.
    ///
    /// # Errors
    /// [`WireError::Shape`].
    pub fn upto_extra(&self) -> Result<UptoExtra, WireError> {
        self.extra_as("upto extra")
    }

    /// `extra` of a `batch-settlement` offer.
    ///
    /// # Errors
    /// [`WireError::Shape`].
    pub fn batch_extra(&self) -> Result<BatchExtra, WireError> {
        self.extra_as("batch-settlement extra")
    }

    /// When it is settled; an unknown word is refused rather than taken for the default.
    ///
    /// # Errors
    /// [`WireError::Shape`].
    pub fn payment_flow(&self) -> Result<PaymentFlow, WireError> {
        match self.extra.get("paymentFlow") {
            None | Some(Value::Null) => Ok(PaymentFlow::default()),
            Some(flow) => serde_json::from_value(flow.clone())
                .map_err(|error| WireError::Shape { what: "paymentFlow", why: error.to_string() }),
        }
    }
}
