//! Channel payments against the channels as the ledger has them.

use agora_types::eip712::Network;
use agora_types::{Amount, ChannelId, Code, Timestamp};

use super::{Payment, RefundPayment};
use crate::reason::{Reason, Refusal};
use crate::wire::{ChannelState, Seconds};

/// A channel as the ledger has it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChannelView {
    /// Deposited less refunded; what was claimed is part of it.
    pub balance: Amount,
    /// Never falls, not even when the channel is empty: old vouchers stay spent when it is opened again.
    pub total_claimed: Amount,
    /// What the next refund must name.
    pub refund_nonce: u64,
    /// Since when the payer wants its deposit back.
    pub withdraw_requested_at: Option<Timestamp>,
}

impl ChannelView {
    /// As facilitators report it.
    pub fn state(&self, channel_id: ChannelId) -> ChannelState {
        ChannelState {
            channel_id,
            balance: self.balance,
            total_claimed: self.total_claimed,
            withdraw_requested_at: self.withdraw_requested_at.map_or(0, Timestamp::as_secs),
            refund_nonce: Seconds(self.refund_nonce),
            charged_cumulative_amount: None,
        }
    }
}

impl Payment {
    /// Everything that can be asked with the channels; `lookup` is called for [`Payment::channels`] only.
    ///
    /// # Errors
    /// [`Refusal`]: an unknown channel, a voucher below what was claimed or above the balance, a refund out of turn.
    pub fn against(
        &self,
        network: &Network,
        lookup: impl Fn(&ChannelId) -> Option<ChannelView>,
    ) -> Result<(), Refusal> {
        let known = |id: &ChannelId| lookup(id).ok_or_else(|| Refusal::from(Code::ChannelNotFound));
        match self {
            Self::Exact(_) | Self::Upto(_) | Self::Settle(_) => Ok(()),
            Self::Deposit(one) => {
                let view = lookup(&one.voucher.channel_id).unwrap_or_default();
                let balance = view.balance.checked_add(one.deposit.amount);
                let balance = balance.ok_or_else(|| Refusal::from(Code::AmountOverflow))?;
                above_claimed(&view, balance, one.voucher.max_claimable)
            }
            Self::Voucher(one) => {
                let view = known(&one.voucher.channel_id)?;
                above_claimed(&view, view.balance, one.voucher.max_claimable)
            }
            Self::Refund(one) => refund(one, &known(&one.voucher.channel_id)?),
            Self::Claim(one) => one.claim.claims.iter().try_for_each(|claim| {
                let view = known(&claim.config.id(network))?;
                claimable(&view, claim.total_claimed)
            }),
        }
    }
}

/// A voucher buys something only above what was claimed, and only out of what is there.
fn above_claimed(view: &ChannelView, balance: Amount, max_claimable: Amount) -> Result<(), Refusal> {
    if balance.is_zero() {
        return Err(Refusal::new(Reason::ChannelInsufficientBalance, "the channel is empty; deposit first"));
    }
    if max_claimable <= view.total_claimed {
        return Err(Refusal::from(Code::BelowClaimed));
    }
    if max_claimable > balance {
        return Err(Refusal::from(Code::ExceedsBalance));
    }
    Ok(())
}

/// Equal to what was claimed is a repeat, which the ledger answers without moving anything.
fn claimable(view: &ChannelView, total: Amount) -> Result<(), Refusal> {
    if total < view.total_claimed {
        return Err(Refusal::from(Code::BelowClaimed));
    }
    if total > view.balance {
        return Err(Refusal::from(Code::ExceedsBalance));
    }
    Ok(())
}

fn refund(payment: &RefundPayment, view: &ChannelView) -> Result<(), Refusal> {
    let charged = payment.voucher.max_claimable;
    if charged < view.total_claimed {
        return Err(Refusal::from(Code::BelowClaimed));
    }
    if charged > view.balance {
        return Err(Refusal::from(Code::ExceedsBalance));
    }
    let claimed = match &payment.seller {
        None => charged,
        Some(words) => {
            if words.refund.nonce != view.refund_nonce {
                return Err(Refusal::from(Code::RefundNonce));
            }
            let mut claimed = view.total_claimed;
            for claim in words.claim.iter().flat_map(|(claim, _)| &claim.claims) {
                claimable(&ChannelView { total_claimed: claimed, ..*view }, claim.total_claimed)?;
                claimed = claim.total_claimed;
            }
            claimed
        }
    };
    let left = view.balance.saturating_sub(claimed);
    if left.is_zero() {
        return Err(Refusal::from(Code::RefundNoBalance));
    }
    if payment.amount.is_some_and(|amount| amount.is_zero() || amount > left) {
        return Err(Refusal::from(Code::RefundAmount));
    }
    Ok(())
}
