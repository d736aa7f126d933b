//! A channel as its buyer keeps it: what was charged by its own count, and the most that it ever signed.
//!
//! Always: `charged <= signed_max`, whatever a seller says. A seller can claim up to `signed_max`; everything else in
//! an answer is checked against the own count, and a contradiction ends the signing for good: the buyer withdraws.

use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::Deposit;
use agora_types::key::WalletKey;
use agora_types::{Address, Amount, Hash};

use super::{PaymentContext, StopSigning};
use crate::check::ChannelView;
use crate::scheme::batch::{BatchPayload, DepositPayload, RefundPayload, VoucherFields, VoucherPayload};
use crate::wire::{BatchExtra, PaymentPayload, PaymentRequirements, Scheme};

/// Without a fitting `minDeposit`, this many requests are deposited at once, as stock clients do.
pub const DEPOSIT_MULTIPLE: u128 = 5;
/// Corrective 402s that are followed for one request; a seller that corrects again has no end.
pub const CORRECTIONS_MAX: u32 = 1;

/// A channel in a buyer's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuyerChannel {
    /// The channel.
    pub config: ChannelConfig,
    /// Charged so far, by the own count.
    pub charged: Amount,
    /// The highest voucher that was ever signed.
    pub signed_max: Amount,
    /// Deposited and not refunded.
    pub deposited: Amount,
    /// The payment whose answer is awaited.
    pub sent: Option<Sent>,
    /// True: the seller contradicted the record. Nothing more is signed; withdraw.
    pub stopped: bool,
}

/// A payment whose answer is awaited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The most that the request may cost.
    pub amount: Amount,
    /// Deposited with it.
    pub deposit: Amount,
    /// True for a refund; `amount` is zero then.
    pub refund: bool,
}

/// The keys of a channel's buyer; they may be the same.
#[derive(Debug, Clone, Copy)]
pub struct ChannelKeys<'a> {
    /// Signs deposits: the payer.
    pub owner: &'a WalletKey,
    /// Signs vouchers: the payer's authorizer.
    pub session: &'a WalletKey,
}

/// What a request draws from a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draw {
    /// Of the voucher.
    pub max_claimable: Amount,
    /// To deposit first; zero for none.
    pub deposit: Amount,
}

/// Values that a payment uses up, chosen by the caller.
#[derive(Debug, Clone, Copy)]
pub struct Fresh {
    /// 32 random bytes: the salt of a deposit's nonce.
    pub salt: Hash,
}

impl BuyerChannel {
    /// The channel that an offer asks for.
    pub fn config_for(
        offer: &PaymentRequirements,
        extra: &BatchExtra,
        payer: Address,
        payer_authorizer: Address,
        salt: Hash,
    ) -> ChannelConfig {
        ChannelConfig {
            payer,
            payer_authorizer,
            receiver: offer.pay_to,
            receiver_authorizer: extra.receiver_authorizer,
            token: offer.asset,
            withdraw_delay: extra.withdraw_delay,
            salt,
        }
    }

    /// A channel of which the ledger says `view`; all zero for one that was never opened.
    pub fn new(config: ChannelConfig, view: &ChannelView) -> Self {
        let claimed = view.total_claimed;
        Self { config, charged: claimed, signed_max: claimed, deposited: view.balance, sent: None, stopped: false }
    }

    fn open(&self) -> Result<(), StopSigning> {
        match (self.stopped, &self.sent) {
            (true, Some(_) | None) => Err(StopSigning::Stopped),
            (false, Some(_)) => Err(StopSigning::Busy),
            (false, None) => Ok(()),
        }
    }

    /// What the offer's request would draw, with at most `deposit_max` to deposit.
    ///
    /// # Errors
    /// [`StopSigning`].
    pub fn draw(&self, offer: &PaymentRequirements, deposit_max: Amount) -> Result<Draw, StopSigning> {
        self.open()?;
        let extra = self.fits(offer)?;
        let max_claimable = self.charged.checked_add(offer.amount).ok_or(StopSigning::Overflow)?;
        let needed = max_claimable.saturating_sub(self.deposited);
        if needed.is_zero() {
            return Ok(Draw { max_claimable, deposit: Amount::ZERO });
        }
        let usual = match extra.min_deposit {
            Some(min) if min >= offer.amount => min,
            Some(_) | None => offer.amount.checked_mul(DEPOSIT_MULTIPLE).ok_or(StopSigning::Overflow)?,
        };
        if needed > deposit_max {
            return Err(StopSigning::DepositLimit);
        }
        Ok(Draw { max_claimable, deposit: needed.max(usual.min(deposit_max)) })
    }

    /// Signs a payment for the offer and records it; to be made durable before it leaves.
    ///
    /// # Errors
    /// [`StopSigning`]; nothing changed then.
    pub fn pay(
        &mut self,
        context: &PaymentContext<'_>,
        keys: ChannelKeys<'_>,
        deposit_max: Amount,
        fresh: Fresh,
    ) -> Result<PaymentPayload, StopSigning> {
        let draw = self.draw(context.offer, deposit_max)?;
        self.holds(keys)?;
        self.signed_max = self.signed_max.max(draw.max_claimable);
        self.sent = Some(Sent { amount: context.offer.amount, deposit: draw.deposit, refund: false });
        let network = context.network;
        let voucher = Voucher::sign(network, self.config.id(network), draw.max_claimable, keys.session);
        let payload = if draw.deposit.is_zero() {
            let voucher = VoucherFields::write(&voucher);
            BatchPayload::Voucher(VoucherPayload { channel_config: self.config.clone(), voucher })
        } else {
            let (valid_after, valid_before) = context.window();
            let deposit = Deposit {
                config: self.config.clone(),
                amount: draw.deposit,
                valid_after,
                valid_before,
                salt: fresh.salt,
            };
            BatchPayload::Deposit(DepositPayload::sign(network, deposit, &voucher, keys.owner))
        };
        Ok(context.payment(payload.to_object()))
    }

    /// Asks for `amount` back, or for all that is left.
    ///
    /// # Errors
    /// [`StopSigning`]; nothing changed then.
    pub fn refund(
        &mut self,
        context: &PaymentContext<'_>,
        keys: ChannelKeys<'_>,
        amount: Option<Amount>,
    ) -> Result<PaymentPayload, StopSigning> {
        self.open()?;
        self.fits(context.offer)?;
        self.holds(keys)?;
        let left = self.deposited.saturating_sub(self.charged);
        if left.is_zero() || amount.is_some_and(|amount| amount.is_zero() || amount > left) {
            return Err(StopSigning::NothingLeft);
        }
        self.sent = Some(Sent { amount: Amount::ZERO, deposit: Amount::ZERO, refund: true });
        let network = context.network;
        let voucher = Voucher::sign(network, self.config.id(network), self.charged, keys.session);
        let payload = BatchPayload::Refund(RefundPayload {
            channel_config: self.config.clone(),
            voucher: VoucherFields::write(&voucher),
            amount,
            refund_nonce: None,
            claims: None,
            refund_authorizer_signature: None,
            claim_authorizer_signature: None,
        });
        Ok(context.payment(payload.to_object()))
    }

    pub(super) fn fits(&self, offer: &PaymentRequirements) -> Result<BatchExtra, StopSigning> {
        let extra = offer.batch_extra().map_err(|_| StopSigning::OtherChannel)?;
        let own = &self.config;
        let wanted = Self::config_for(offer, &extra, own.payer, own.payer_authorizer, own.salt);
        if offer.scheme == Scheme::BatchSettlement && wanted == *own {
            Ok(extra)
        } else {
            Err(StopSigning::OtherChannel)
        }
    }

    fn holds(&self, keys: ChannelKeys<'_>) -> Result<(), StopSigning> {
        let fits = keys.owner.address() == self.config.payer && keys.session.address() == self.config.payer_authorizer;
        if fits { Ok(()) } else { Err(StopSigning::OtherChannel) }
    }
}
