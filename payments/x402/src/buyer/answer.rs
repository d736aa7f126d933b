//! What a buyer believes of an answer: its own count, its own signatures, and nothing else.

use agora_types::Amount;
use agora_types::channel::Voucher;
use agora_types::eip712::Network;

use super::channel::{BuyerChannel, CORRECTIONS_MAX, Sent};
use crate::check::ChannelView;
use crate::reason::Reason;
use crate::wire::{PaymentRequired, SettleResponse, SettleResponseExtra, SettledAmount};

/// What an answer meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// The request was served for this many atoms.
    Charged(Amount),
    /// This many atoms came back; `None`: the answer does not say how many, read the ledger.
    Refunded(Option<Amount>),
    /// The seller refused; nothing was charged by the own count.
    Refused,
}

/// Why nothing is signed, or nothing believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StopSigning {
    /// It contradicted the record before.
    #[error("this channel was stopped; withdraw what is left")]
    Stopped,
    /// One request at a time.
    #[error("another payment of this channel is not answered yet")]
    Busy,
    /// No payment was sent.
    #[error("no payment of this channel awaits an answer")]
    NothingSent,
    /// The offer is for another channel: another payee, authorizer, token or delay.
    #[error("the offer does not fit the channel")]
    OtherChannel,
    /// More would have to be deposited than is allowed.
    #[error("the deposit that is needed is over the limit")]
    DepositLimit,
    /// Sums beyond 128 bits.
    #[error("the sum does not fit")]
    Overflow,
    /// Nothing is left to refund.
    #[error("nothing is left in the channel")]
    NothingLeft,
    /// The answer is malformed or lacks what was charged.
    #[error("the answer does not say what was charged")]
    AnswerMalformed,
    /// The seller charged more than the offer's amount.
    #[error("the seller charged more than was offered")]
    Overcharge,
    /// The seller's sum is not the own sum.
    #[error("the seller's cumulative charge is not the sum of its charges")]
    CumulativeMismatch,
    /// The 402 is not one of the two corrective ones, or says nothing about this channel.
    #[error("the 402 corrects nothing")]
    NotCorrective,
    /// The voucher in the corrective 402 is not signed by the own session key.
    #[error("the voucher in the corrective 402 is not ours")]
    ForgedVoucher,
    /// The numbers of the corrective 402 contradict each other or the record.
    #[error("the corrective 402 contradicts itself or the record")]
    Inconsistent,
    /// Corrected before for this request.
    #[error("the seller corrects without end")]
    TooManyCorrections,
}

impl BuyerChannel {
    /// Takes the header `PAYMENT-RESPONSE` of the payment that was sent.
    ///
    /// # Errors
    /// [`StopSigning`]: the channel is stopped, except where nothing was sent.
    pub fn answered(&mut self, network: &Network, response: &SettleResponse) -> Result<Answer, StopSigning> {
        let sent = self.sent.as_ref().ok_or(StopSigning::NothingSent)?.clone();
        match self.judge(network, &sent, response) {
            Ok((answer, charged, deposited)) => {
                self.charged = charged;
                self.deposited = deposited;
                self.sent = None;
                Ok(answer)
            }
            Err(stop) => {
                self.stopped = true;
                Err(stop)
            }
        }
    }

    /// The answer, the new count, and the new deposit.
    fn judge(
        &self,
        network: &Network,
        sent: &Sent,
        response: &SettleResponse,
    ) -> Result<(Answer, Amount, Amount), StopSigning> {
        if !response.success {
            return Ok((Answer::Refused, self.charged, self.deposited));
        }
        if response.network.chain_id() != Some(network.chain_id) {
            return Err(StopSigning::AnswerMalformed);
        }
        let extra = SettleResponseExtra::read(&response.extra).map_err(|_| StopSigning::AnswerMalformed)?;
        let state = extra.channel_state.unwrap_or_default();
        if state.channel_id.is_some_and(|id| id != self.config.id(network)) {
            return Err(StopSigning::AnswerMalformed);
        }
        let charge = match (sent.refund, extra.charged_amount) {
            (false, Some(charge)) => charge,
            (false, None) => return Err(StopSigning::AnswerMalformed),
            (true, charge) => charge.unwrap_or_default(),
        };
        if charge > sent.amount {
            return Err(StopSigning::Overcharge);
        }
        let charged = self.charged.checked_add(charge).ok_or(StopSigning::Overflow)?;
        if state.charged_cumulative_amount.is_some_and(|sum| sum != charged) {
            return Err(StopSigning::CumulativeMismatch);
        }
        if !sent.refund {
            let deposited = self.deposited.checked_add(sent.deposit).ok_or(StopSigning::Overflow)?;
            return Ok((Answer::Charged(charge), charged, deposited));
        }
        let refunded = match response.amount {
            Some(SettledAmount::Atoms(amount)) => Some(amount),
            Some(SettledAmount::Unsaid) | None => None,
        };
        let left = self.deposited.saturating_sub(refunded.unwrap_or_default());
        if left < charged {
            return Err(StopSigning::CumulativeMismatch);
        }
        Ok((Answer::Refunded(refunded), charged, left))
    }

    /// The seller answered without `PAYMENT-RESPONSE`: nothing was charged by the own count. True when one was awaited.
    pub fn refused(&mut self) -> bool {
        self.sent.take().is_some()
    }

    /// The answer never came, and the ledger was read instead: takes over its balance. What was sent may still be
    /// charged, so `signed_max` stays; the seller's corrective 402 says how much it was.
    pub fn lost(&mut self, view: &ChannelView) {
        self.sent = None;
        self.deposited = view.balance;
        self.charged = self.charged.max(view.total_claimed.min(self.signed_max));
    }

    /// Adopts the seller's state out of a corrective 402, as far as the own signature vouches for it.
    ///
    /// `corrections` counts those that were followed for this request before.
    ///
    /// # Errors
    /// [`StopSigning`]; nothing changed then.
    pub fn adopt(
        &mut self,
        network: &Network,
        required: &PaymentRequired,
        corrections: u32,
    ) -> Result<(), StopSigning> {
        if self.stopped {
            return Err(StopSigning::Stopped);
        }
        if corrections >= CORRECTIONS_MAX {
            return Err(StopSigning::TooManyCorrections);
        }
        let reason = required.error.as_ref().and_then(|text| text.parse::<Reason>().ok());
        if !reason.is_some_and(Reason::is_corrective) {
            return Err(StopSigning::NotCorrective);
        }
        let extra = required
            .accepts
            .iter()
            .filter_map(|accept| accept.known())
            .find_map(|offer| self.fits(offer).ok())
            .ok_or(StopSigning::OtherChannel)?;
        let (Some(state), Some(held)) = (extra.channel_state, extra.voucher_state) else {
            return Err(StopSigning::NotCorrective);
        };
        let charged = state.charged_cumulative_amount.ok_or(StopSigning::NotCorrective)?;
        let id = self.config.id(network);
        let signed = held.signed_max_claimable;
        if state.channel_id != id || state.total_claimed > charged || charged > signed || signed > state.balance {
            return Err(StopSigning::Inconsistent);
        }
        let voucher = Voucher { channel_id: id, max_claimable: signed, signature: held.signature };
        voucher.verify(network, &self.config.payer_authorizer).map_err(|_| StopSigning::ForgedVoucher)?;
        // A balance is the seller's word only. It counts where the own record is empty; beyond a known deposit, only as
        // far as the own voucher goes, which was signed together with its deposit. Too high, it makes the next payment
        // fail; it never makes one larger.
        let deposited = match self.deposited.is_zero() {
            true => state.balance,
            false => self.deposited.max(signed),
        };
        self.charged = charged;
        self.signed_max = self.signed_max.max(signed);
        self.deposited = deposited;
        self.sent = None;
        Ok(())
    }
}
