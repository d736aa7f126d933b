//! Unidirectional payment channels with the semantics of x402 `batch-settlement`.
//!
//! A channel's record is never deleted and its `total_claimed` never falls: vouchers have no expiry and no nonce, so
//! that number alone protects against their reuse. The rules here take a record and a command and give the record that
//! follows and the atoms that move; who holds the money is the ledger's business.

mod rules;

use agora_types::channel::ChannelConfig;
use agora_types::table::Table;
use agora_types::{Address, Amount, ChannelId, Hash, Timestamp};
use minicbor::{Decode, Encode};

pub use rules::{Claimed, Windows, claim, deposit, refund, withdraw_finish, withdraw_start};

/// One channel.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Channel {
    /// Who pays whom; its digest is the channel's id.
    #[n(0)]
    pub config: ChannelConfig,
    /// Everything ever deposited.
    #[n(1)]
    pub deposited: Amount,
    /// Everything ever given back to the payer.
    #[n(2)]
    pub refunded: Amount,
    /// Everything ever claimed; never falls.
    #[n(3)]
    pub total_claimed: Amount,
    /// The nonce that the next refund must carry.
    #[n(4)]
    pub refund_nonce: u64,
    /// Digest of the newest refund, so that its repeat gets the same answer.
    #[n(5)]
    pub last_refund: Option<Hash>,
    /// Since when a withdrawal waits.
    #[n(6)]
    pub withdraw_requested_at: Option<Timestamp>,
}

impl Channel {
    /// A channel without money.
    pub fn new(config: ChannelConfig) -> Self {
        Self {
            config,
            deposited: Amount::ZERO,
            refunded: Amount::ZERO,
            total_claimed: Amount::ZERO,
            refund_nonce: 0,
            last_refund: None,
            withdraw_requested_at: None,
        }
    }

    /// x402's `balance`: deposits less refunds. Vouchers count up to it.
    pub fn balance(&self) -> Amount {
        self.deposited.checked_sub(self.refunded).expect("no more is refunded than was deposited")
    }

    /// What is neither claimed nor refunded.
    pub fn unclaimed(&self) -> Amount {
        self.balance().checked_sub(self.total_claimed).expect("no more is claimed than is there")
    }
}

/// A deposit authorization that was used, remembered until it expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct UsedNonce {
    /// The digest that was signed.
    #[n(0)]
    pub digest: Hash,
}

/// Channels, used authorizations, and what waits to be settled.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Channels {
    /// Every channel there ever was.
    #[n(0)]
    pub channels: Table<ChannelId, Channel>,
    /// Used EIP-3009 nonces by payer, until their `validBefore`, and the end of what they hold.
    #[n(1)]
    pub nonces: Table<(Address, Hash), UsedNonce>,
    /// The same nonces in the order in which they are forgotten (unix seconds).
    #[n(2)]
    pub nonces_due: Table<(u64, Address, Hash), bool>,
    /// Claimed and not yet settled, by receiver.
    #[n(3)]
    pub unsettled: Table<Address, Amount>,
}

impl Channels {
    /// Remembers a used nonce until a unix second.
    pub fn use_nonce(&mut self, payer: Address, nonce: Hash, until: u64, digest: Hash) {
        self.nonces.put((payer, nonce), UsedNonce { digest });
        self.nonces_due.put((until, payer, nonce), true);
    }

    /// Forgets nonces whose `validBefore` has come: their authorizations are refused by time.
    pub fn forget_nonces(&mut self, now: Timestamp) {
        while let Some((key, _)) = self.nonces_due.first()
            && key.0 <= now.as_secs()
        {
            let key = *key;
            self.nonces_due.remove(&key);
            self.nonces.remove(&(key.1, key.2));
        }
    }
}
