//! Channel and voucher words of x402 `batch-settlement`, shared by ledger, host, wallet and HTTP.

use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::eip712::Network;
use crate::key::{KeyError, WalletKey, WalletSignature};
use crate::{Address, Amount, ChannelId, Hash};

/// Shortest withdraw delay in seconds (x402 batch-settlement).
pub const WITHDRAW_DELAY_MIN_S: u32 = 900;
/// Longest withdraw delay in seconds, 30 days (x402 batch-settlement).
pub const WITHDRAW_DELAY_MAX_S: u32 = 2_592_000;

/// Who pays whom through a channel; its EIP-712 digest is the channel's id. Seven fields, as in x402.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
#[serde(rename_all = "camelCase")]
pub struct ChannelConfig {
    /// Owner of the deposit; refunds and withdrawals go here.
    #[n(0)]
    pub payer: Address,
    /// The session key whose signature makes a voucher.
    #[n(1)]
    pub payer_authorizer: Address,
    /// Paid by claims: an ordinary account, or the account of a listing.
    #[n(2)]
    pub receiver: Address,
    /// Whose signature claims and refunds.
    #[n(3)]
    pub receiver_authorizer: Address,
    /// The asset; always the network's own.
    #[n(4)]
    pub token: Address,
    /// Seconds between WithdrawStart and WithdrawFinish, 900 to 2,592,000.
    #[n(5)]
    pub withdraw_delay: u32,
    /// Tells channels between the same parties apart.
    #[n(6)]
    pub salt: Hash,
}

impl ChannelConfig {
    /// The channel's id on `network`.
    pub fn id(&self, network: &Network) -> ChannelId {
        crate::eip712::channel_id(network, self)
    }
}

/// A promise by the payer: of this channel's deposit, everything up to `max_claimable` in total may be claimed.
///
/// A voucher has no expiry and no nonce: only the channel's `total_claimed`, which never falls, guards against reuse.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
#[serde(rename_all = "camelCase")]
pub struct Voucher {
    /// The channel.
    #[n(0)]
    pub channel_id: ChannelId,
    /// Cumulative atoms that may be claimed.
    #[n(1)]
    #[serde(rename = "maxClaimableAmount")]
    pub max_claimable: Amount,
    /// By the channel's `payer_authorizer`, over the EIP-712 `Voucher`.
    #[n(2)]
    pub signature: WalletSignature,
}

impl Voucher {
    /// Signs a voucher with the session key.
    pub fn sign(network: &Network, channel_id: ChannelId, max_claimable: Amount, key: &WalletKey) -> Self {
        let digest = crate::eip712::voucher_digest(network, &channel_id, max_claimable);
        Self { channel_id, max_claimable, signature: key.sign(&digest) }
    }

    /// Succeeds when `payer_authorizer` signed exactly this.
    pub fn verify(&self, network: &Network, payer_authorizer: &Address) -> Result<(), KeyError> {
        let digest = crate::eip712::voucher_digest(network, &self.channel_id, self.max_claimable);
        self.signature.verify(&digest, payer_authorizer)
    }
}
