//! A channel as its seller keeps it: what was charged, the voucher that covers it, and the one request in flight.
//!
//! Always: `total_claimed <= charged <= voucher.max_claimable`, and `charged <= balance`. The record is durable before
//! the answer leaves; a crash in between leaves `in_flight`, which is cancelled at the next start.

use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::{Refund, VoucherClaim};
use agora_types::eip712::Network;
use agora_types::{Amount, Code, Hash};

use crate::check::ChannelView;
use crate::reason::{Reason, Refusal};
use crate::wire::{ChannelState, PartialChannelState, SettleResponseExtra, VoucherState};

/// A channel in a seller's records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRecord {
    /// The channel.
    pub config: ChannelConfig,
    /// Charged so far, all requests together.
    pub charged: Amount,
    /// The highest voucher of a committed request; its signature was checked.
    pub voucher: Option<Voucher>,
    /// Mirror of the ledger's channel.
    pub view: ChannelView,
    /// The request that is being answered.
    pub in_flight: Option<InFlight>,
}

/// A request that a channel pays for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InFlight {
    /// Its fingerprint.
    pub request: Hash,
    /// The most that it may cost.
    pub amount: Amount,
    /// What pays for it.
    pub voucher: Voucher,
}

/// What a request cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Charged {
    /// This request.
    pub amount: Amount,
    /// All requests together.
    pub cumulative: Amount,
}

/// What a seller signs and settles to give the rest back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundPlan {
    /// What was charged and is not claimed yet.
    pub claim: Option<VoucherClaim>,
    /// The rest, or the part that was asked for.
    pub refund: Refund,
}

fn refused<T>(reason: Reason, message: &str) -> Result<T, Refusal> {
    Err(Refusal::new(reason, message))
}

impl ChannelRecord {
    /// A channel that was never charged by this seller. What was claimed before, in a life of the channel that the
    /// record does not know, counts as charged: old vouchers buy nothing again.
    pub fn open(config: ChannelConfig, view: ChannelView) -> Self {
        Self { config, charged: view.total_claimed, voucher: None, view, in_flight: None }
    }

    /// Takes over what the ledger says; after each settlement, and when the mirror is older than the seller allows.
    pub fn refresh(&mut self, view: ChannelView) {
        self.view = view;
        // Only this seller's vouchers can be claimed, so a higher claim means that the record is an old copy.
        self.charged = self.charged.max(view.total_claimed);
    }

    /// Accepts a voucher for a request of at most `amount`; the voucher's signature was checked.
    ///
    /// # Errors
    /// `…channel_busy`, `…cumulative_amount_mismatch`, `…cumulative_below_claimed`, `…cumulative_exceeds_balance`.
    pub fn accept_voucher(&mut self, voucher: Voucher, amount: Amount, request: Hash) -> Result<(), Refusal> {
        self.accept(voucher, amount, request, self.view.balance)
    }

    /// Accepts a voucher that comes with a deposit. The deposit counts for this request only, until it is settled and
    /// [`ChannelRecord::refresh`] has seen it.
    ///
    /// # Errors
    /// `…deposit_below_min_deposit`, and those of [`ChannelRecord::accept_voucher`].
    pub fn accept_deposit(
        &mut self,
        deposit: Amount,
        min_deposit: Amount,
        voucher: Voucher,
        amount: Amount,
        request: Hash,
    ) -> Result<(), Refusal> {
        if deposit < min_deposit || deposit.is_zero() {
            return Err(Refusal::from(Code::DepositBelowMin));
        }
        let balance = self.view.balance.checked_add(deposit).ok_or_else(|| Refusal::from(Code::AmountOverflow))?;
        self.accept(voucher, amount, request, balance)
    }

    fn accept(&mut self, voucher: Voucher, amount: Amount, request: Hash, balance: Amount) -> Result<(), Refusal> {
        if self.in_flight.is_some() {
            return Err(Refusal::from(Code::ChannelBusy));
        }
        let expected = self.charged.checked_add(amount).ok_or_else(|| Refusal::from(Code::AmountOverflow))?;
        if voucher.max_claimable != expected {
            let message = format!(
                "the voucher is for {} atoms, not for {}: what was charged and this request",
                voucher.max_claimable.atoms(),
                expected.atoms()
            );
            return Err(Refusal::new(Reason::CumulativeAmountMismatch, message));
        }
        if voucher.max_claimable <= self.view.total_claimed {
            return Err(Refusal::from(Code::BelowClaimed));
        }
        if voucher.max_claimable > balance {
            return Err(Refusal::from(Code::ExceedsBalance));
        }
        self.in_flight = Some(InFlight { request, amount, voucher });
        Ok(())
    }

    /// The handler answered: charges what the request cost.
    ///
    /// # Errors
    /// `…missing_channel` when the request is not in flight, `…charge_exceeds_signed_cumulative` above its most; the
    /// request stays in flight then.
    pub fn commit(&mut self, request: &Hash, charge: Amount) -> Result<Charged, Refusal> {
        let Some(flight) = self.in_flight.as_ref().filter(|flight| flight.request == *request) else {
            return refused(Reason::MissingChannel, "this request is not in flight on the channel");
        };
        let cumulative = self.charged.checked_add(charge).ok_or_else(|| Refusal::from(Code::AmountOverflow))?;
        if charge > flight.amount || cumulative > flight.voucher.max_claimable {
            return Err(Refusal::from(Code::ChargeExceedsVoucher));
        }
        // After this point, it must succeed.
        self.keep(flight.voucher.clone());
        self.charged = cumulative;
        self.in_flight = None;
        Ok(Charged { amount: charge, cumulative })
    }

    /// The handler failed, or the facilitator refused: nothing is charged. True when the request was in flight.
    pub fn cancel(&mut self, request: &Hash) -> bool {
        let ours = self.in_flight.as_ref().is_some_and(|flight| flight.request == *request);
        if ours {
            self.in_flight = None;
        }
        ours
    }

    /// What to settle so that the buyer gets `amount` back, or all that was not charged. Occupies the channel until
    /// [`ChannelRecord::cancel`]; the voucher's signature was checked.
    ///
    /// # Errors
    /// `…channel_busy`, `…cumulative_amount_mismatch`, `…refund_no_balance`, `…refund_amount_invalid`.
    pub fn refund(&mut self, voucher: Voucher, amount: Option<Amount>, request: Hash) -> Result<RefundPlan, Refusal> {
        if self.in_flight.is_some() {
            return Err(Refusal::from(Code::ChannelBusy));
        }
        if voucher.max_claimable != self.charged {
            return refused(Reason::CumulativeAmountMismatch, "a refund's voucher is for what was charged so far");
        }
        let left = self.view.balance.saturating_sub(self.charged);
        if left.is_zero() {
            return Err(Refusal::from(Code::RefundNoBalance));
        }
        let amount = amount.unwrap_or(left);
        if amount.is_zero() || amount > left {
            return Err(Refusal::from(Code::RefundAmount));
        }
        if self.voucher.is_none() && self.charged > self.view.total_claimed {
            self.keep(voucher.clone());
        }
        let refund = Refund { config: self.config.clone(), nonce: self.view.refund_nonce, amount };
        let plan = RefundPlan { claim: self.claim(), refund };
        self.in_flight = Some(InFlight { request, amount: Amount::ZERO, voucher });
        Ok(plan)
    }

    /// What can be turned into money now.
    pub fn claim(&self) -> Option<VoucherClaim> {
        let voucher = self.voucher.as_ref()?;
        (self.charged > self.view.total_claimed).then(|| VoucherClaim {
            config: self.config.clone(),
            max_claimable: voucher.max_claimable,
            voucher_signature: voucher.signature,
            total_claimed: self.charged,
        })
    }

    /// The highest voucher serves every claim up to it.
    fn keep(&mut self, voucher: Voucher) {
        if self.voucher.as_ref().is_none_or(|kept| kept.max_claimable < voucher.max_claimable) {
            self.voucher = Some(voucher);
        }
    }

    /// As it is sent to the buyer.
    pub fn state(&self, network: &Network) -> ChannelState {
        ChannelState { charged_cumulative_amount: Some(self.charged), ..self.view.state(self.config.id(network)) }
    }

    /// The newest voucher, as it is sent to the buyer.
    pub fn voucher_state(&self) -> Option<VoucherState> {
        let voucher = self.voucher.as_ref()?;
        Some(VoucherState { signed_max_claimable: voucher.max_claimable, signature: voucher.signature })
    }

    /// `extra` of the header `PAYMENT-RESPONSE`.
    pub fn response(&self, network: &Network, charged: &Charged) -> SettleResponseExtra {
        SettleResponseExtra {
            charged_amount: Some(charged.amount),
            channel_state: Some(PartialChannelState::from(&ChannelState {
                charged_cumulative_amount: Some(charged.cumulative),
                ..self.state(network)
            })),
            voucher_state: None,
        }
    }

    /// True while the payer waits to take its deposit back: a careful seller claims and serves no more.
    pub fn is_closing(&self) -> bool {
        self.view.withdraw_requested_at.is_some()
    }
}
