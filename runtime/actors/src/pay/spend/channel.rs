//! Payments out of a channel: its row on disk, its turn, the deposit, and what an answer or its absence means.

use agora_economy::ports::state::Write;
use agora_types::{Amount, CallId, Code, Hash};
use agora_x402::buyer::{Answer, BuyerChannel, ChannelKeys, Fresh, PaymentContext, StopSigning};
use agora_x402::wire::{PaymentPayload, PaymentRequired, PaymentRequirements, Scheme, SettleResponse, WireError};

use super::rows::{ChannelPart, SpentChannelRow, channel_key, load, put};
use super::turns::Turn;
use super::{PaidClient, Signing};
use crate::clock::random;
use crate::error::CallError;
use crate::pay::view;
use crate::purchase::Payer;

/// All channels of a buyer and a seller have the same salt: there is one.
const SALT: Hash = Hash::ZERO;

/// A channel whose turn it is.
pub(super) struct Held {
    _turn: Turn,
    pub(super) channel: BuyerChannel,
    /// The most that may be deposited for this fetch.
    deposit_max: Amount,
}

impl Held {
    /// What the offer's payment would deposit.
    pub(super) fn deposit(&self, offer: &PaymentRequirements) -> Amount {
        self.channel.draw(offer, self.deposit_max).map_or(Amount::ZERO, |draw| draw.deposit)
    }

    /// The row, to be written together with the purchase's.
    pub(super) fn write(&self, client: &PaidClient, payer: &Payer, id: CallId) -> Write {
        let key = channel_key(&payer.account.address(), &self.channel.config.id(&client.parts.ledger.network()));
        put(key, &SpentChannelRow::of(&self.channel, id, client.parts.clock.now()))
    }

    /// The answer never came, or nothing can be made of it: the seller may claim what was signed, so that much counts as
    /// charged. An honest seller that charged less says so when it is paid next.
    pub(super) fn lose(&mut self, amount: Amount) -> Amount {
        self.channel.sent = None;
        self.channel.charged = self.channel.signed_max;
        amount
    }

    /// What the answer says was charged; a contradiction ends the channel and counts as the whole amount.
    pub(super) fn charged(
        &mut self,
        client: &PaidClient,
        amount: Amount,
        status: u16,
        response: Result<&SettleResponse, &WireError>,
    ) -> Amount {
        let network = client.parts.ledger.network();
        match response {
            Ok(response) => match self.channel.answered(&network, response) {
                Ok(Answer::Charged(charged)) => charged,
                Ok(Answer::Refunded(_) | Answer::Refused) => Amount::ZERO,
                Err(_) => self.stop(amount),
            },
            // An error of the handler charges nothing, and sellers say nothing then.
            Err(WireError::Missing) if status >= 400 => {
                self.channel.refused();
                Amount::ZERO
            }
            Err(_) => self.stop(amount),
        }
    }

    fn stop(&mut self, amount: Amount) -> Amount {
        self.channel.stopped = true;
        self.lose(amount)
    }
}

impl PaidClient {
    /// The channel that an offer asks for, if it can pay it; waits for its turn.
    ///
    /// # Errors
    /// `channel.busy` while an earlier payment of it is not answered: that purchase is to be repeated or given up.
    pub(super) async fn held(
        &self,
        payer: &Payer,
        offer: &PaymentRequirements,
        max: Amount,
    ) -> Result<Option<Held>, CallError> {
        let (account, session) = (payer.account.address(), payer.session.address());
        let Ok(extra) = offer.batch_extra() else { return Ok(None) };
        let config = BuyerChannel::config_for(offer, &extra, account, session, SALT);
        let id = config.id(&self.parts.ledger.network());
        let key = channel_key(&account, &id);
        let turn = self.channels.take(key.clone()).await;
        let on_ledger = self.parts.ledger.channel(id).await?.as_ref().map(view).unwrap_or_default();
        let row: Option<SpentChannelRow> = load(self.parts.journal.as_ref(), key).await?;
        let mut channel = row.map_or_else(|| BuyerChannel::new(config, &on_ledger), SpentChannelRow::channel);
        if channel.sent.is_some() {
            return Err(CallError::new(Code::ChannelBusy, id.to_string()));
        }
        if channel.stopped || on_ledger.withdraw_requested_at.is_some() {
            return Ok(None);
        }
        // What was deposited is the ledger's to say, what was charged our own count.
        channel.lost(&on_ledger);
        let needed = channel.charged.checked_add(offer.amount).map(|sum| sum.saturating_sub(channel.deposited));
        let Some(needed) = needed else { return Ok(None) };
        // No more than this request needs, or seller and network demand: what nobody spends has to be withdrawn.
        let demanded = extra.min_deposit.filter(|min| *min >= offer.amount);
        let network_min = self.parts.ledger.parameters().deposit_min;
        let least = demanded.unwrap_or_default().max(network_min);
        if !needed.is_zero() && least > max {
            return Ok(None);
        }
        let deposit_max = needed.max(least).min(max);
        let Ok(draw) = channel.draw(offer, deposit_max) else { return Ok(None) };
        let fits = draw.deposit.is_zero() || draw.deposit >= network_min;
        Ok(fits.then_some(Held { _turn: turn, channel, deposit_max }))
    }

    /// The channel of a purchase that is not ended.
    ///
    /// # Errors
    /// `store.damaged` without its row.
    pub(super) async fn held_again(&self, payer: &Payer, part: &ChannelPart) -> Result<Held, CallError> {
        let key = channel_key(&payer.account.address(), &part.id);
        let turn = self.channels.take(key.clone()).await;
        let row: Option<SpentChannelRow> = load(self.parts.journal.as_ref(), key).await?;
        let row = row.ok_or_else(|| CallError::new(Code::StoreDamaged, format!("channel {} has no row", part.id)))?;
        Ok(Held { _turn: turn, channel: row.channel(), deposit_max: Amount::ZERO })
    }

    /// Signs for the offer and counts it; to be made durable before it leaves.
    pub(super) fn draw(
        &self,
        payer: &Payer,
        context: &PaymentContext<'_>,
        held: &mut Held,
        before: Option<&ChannelPart>,
    ) -> Result<(PaymentPayload, ChannelPart), StopSigning> {
        let keys = ChannelKeys { owner: &payer.account, session: &payer.session };
        let charged = held.channel.charged;
        let fresh = Fresh { salt: Hash::new(random(self.parts.random.as_ref())) };
        let payment = held.channel.pay(context, keys, held.deposit_max, fresh)?;
        let deposit = held.channel.sent.as_ref().map_or(Amount::ZERO, |sent| sent.deposit);
        let deposits = before.map_or(Amount::ZERO, |part| part.deposits);
        let part = ChannelPart {
            id: held.channel.config.id(context.network),
            deposits: deposits.checked_add(deposit).ok_or(StopSigning::Overflow)?,
            corrections: before.map_or(0, |part| part.corrections + 1),
            charged_before: before.map_or(charged, |part| part.charged_before),
            first_max: match before {
                Some(part) => part.first_max,
                None => charged.checked_add(context.offer.amount).ok_or(StopSigning::Overflow)?,
            },
        };
        Ok((payment, part))
    }

    /// Takes over a seller's correction and signs once more, where the rules allow it; `None`: the 402 is the answer.
    pub(super) fn correct(
        &self,
        signing: &Signing<'_>,
        required: &PaymentRequired,
        accepted: &PaymentRequirements,
        part: &ChannelPart,
        held: &mut Held,
    ) -> Option<(PaymentPayload, ChannelPart)> {
        let offer =
            self.choose(signing.payer, required, signing.limits, &Scheme::BatchSettlement, Some(accepted))?.clone();
        // The voucher of this very purchase proves no earlier charge: who names it as one would be paid twice.
        let extra = offer.batch_extra().ok()?;
        let (state, voucher) = (extra.channel_state?, extra.voucher_state?);
        let own = voucher.signed_max_claimable == part.first_max;
        if own && state.charged_cumulative_amount.is_none_or(|charged| charged > part.charged_before) {
            return None;
        }
        let network = self.parts.ledger.network();
        let mut next = held.channel.clone();
        next.adopt(&network, required, part.corrections).ok()?;
        std::mem::swap(&mut held.channel, &mut next);
        held.deposit_max = signing.limits.max.saturating_sub(part.deposits);
        let context = PaymentContext { network: &network, required, offer: &offer, now: self.parts.clock.now() };
        let drawn = self.draw(signing.payer, &context, held, Some(part)).ok();
        if drawn.is_none() {
            held.channel = next;
        }
        drawn
    }
}
