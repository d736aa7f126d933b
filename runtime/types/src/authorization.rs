//! What a payer signs for one single payment: the words of x402 `exact` and `upto`.

use minicbor::{Decode, Encode};

use crate::channel::{ChannelConfig, Voucher, WITHDRAW_DELAY_MIN_S};
use crate::eip712::{Network, exact_digest, upto_digest};
use crate::key::{KeyError, WalletSignature};
use crate::{Address, Amount, CommandId, Hash};

/// EIP-3009 `TransferWithAuthorization` in the token's domain: exactly `value`, to `to`, once.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Exact {
    /// Pays.
    #[n(0)]
    pub from: Address,
    /// Is paid.
    #[n(1)]
    pub to: Address,
    /// Atoms.
    #[n(2)]
    pub value: Amount,
    /// Unix seconds.
    #[n(3)]
    pub valid_after: u64,
    /// Unix seconds.
    #[n(4)]
    pub valid_before: u64,
    /// Any 32 bytes, each once for a payer.
    #[n(5)]
    pub nonce: Hash,
}

/// Permit2 `PermitWitnessTransferFrom` with x402's witness: at most `max`, to `to`, once, by `facilitator` only.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Upto {
    /// Pays.
    #[n(0)]
    pub from: Address,
    /// Is paid.
    #[n(1)]
    pub to: Address,
    /// Most atoms.
    #[n(2)]
    pub max: Amount,
    /// Who may settle it.
    #[n(3)]
    pub facilitator: Address,
    /// Unix seconds.
    #[n(4)]
    pub valid_after: u64,
    /// Unix seconds.
    #[n(5)]
    pub deadline: u64,
    /// A uint256, big-endian, each once for a payer.
    #[n(6)]
    pub nonce: Hash,
}

/// A payer's consent to one payment.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Authorization {
    /// x402 `exact`.
    #[n(0)]
    Exact(#[n(0)] Exact),
    /// x402 `upto`.
    #[n(1)]
    Upto(#[n(0)] Upto),
}

impl Authorization {
    /// Who pays.
    pub const fn payer(&self) -> Address {
        match self {
            Self::Exact(one) => one.from,
            Self::Upto(one) => one.from,
        }
    }

    /// Who is paid.
    pub const fn payee(&self) -> Address {
        match self {
            Self::Exact(one) => one.to,
            Self::Upto(one) => one.to,
        }
    }

    /// The most that may move.
    pub const fn max(&self) -> Amount {
        match self {
            Self::Exact(one) => one.value,
            Self::Upto(one) => one.max,
        }
    }

    /// The nonce as it was signed.
    pub const fn nonce(&self) -> Hash {
        match self {
            Self::Exact(one) => one.nonce,
            Self::Upto(one) => one.nonce,
        }
    }

    /// The nonce among all of a payer's: EIP-3009 and Permit2 count apart, so Permit2's is hashed.
    pub fn key(&self) -> Hash {
        match self {
            Self::Exact(one) => one.nonce,
            Self::Upto(one) => permit2_key(&one.nonce),
        }
    }

    /// First and last-but-one valid unix second: valid when `after <= now < before`.
    pub const fn window(&self) -> (u64, u64) {
        match self {
            Self::Exact(one) => (one.valid_after, one.valid_before),
            Self::Upto(one) => (one.valid_after, one.deadline),
        }
    }

    /// The EIP-712 digest that the payer signs.
    pub fn digest(&self, network: &Network) -> Hash {
        match self {
            Self::Exact(one) => {
                let valid = one.valid_after..one.valid_before;
                exact_digest(network, &one.from, &one.to, one.value, valid, &one.nonce)
            }
            Self::Upto(one) => upto_digest(network, one),
        }
    }

    /// The id of the pending transfer that holds it, in the payer's namespace: the digest's first half.
    pub fn pending_id(&self, network: &Network) -> CommandId {
        let digest = self.digest(network);
        CommandId::from_slice(&digest.as_bytes()[..CommandId::SIZE]).expect("a digest is longer than an id")
    }

    /// Succeeds when the payer signed exactly this.
    ///
    /// # Errors
    /// [`KeyError`] for any other signature, malleable ones included.
    pub fn verify(&self, network: &Network, signature: &WalletSignature) -> Result<(), KeyError> {
        signature.verify(&self.digest(network), &self.payer())
    }
}

/// A single payment: what its payer signed, and the signature.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Single {
    /// What was signed.
    #[n(0)]
    pub authorization: Authorization,
    /// By the payer.
    #[n(1)]
    pub signature: WalletSignature,
}

impl Single {
    /// Succeeds when the payer signed exactly this.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn verify(&self, network: &Network) -> Result<(), KeyError> {
        self.authorization.verify(network, &self.signature)
    }

    /// The payment where a call names the channel that pays it: a config that is never on the ledger, one for each
    /// payment, from payer to payee through the host that settles.
    pub fn as_channel(&self, network: &Network, host: Address) -> ChannelConfig {
        let payer = self.authorization.payer();
        ChannelConfig {
            payer,
            payer_authorizer: payer,
            receiver: self.authorization.payee(),
            receiver_authorizer: host,
            token: network.asset,
            withdraw_delay: WITHDRAW_DELAY_MIN_S,
            salt: self.authorization.key(),
        }
    }

    /// The payment where a call carries a voucher: everything that was authorised, by this very signature.
    pub fn as_voucher(&self, network: &Network, host: Address) -> Voucher {
        let channel_id = self.as_channel(network, host).id(network);
        Voucher { channel_id, max_claimable: self.authorization.max(), signature: self.signature }
    }
}

/// A Permit2 nonce among all of a payer's nonces.
pub fn permit2_key(nonce: &Hash) -> Hash {
    Hash::keccak256([b"permit2".as_slice(), nonce.as_bytes()].concat())
}
