//! A channel at a till: one request at a time, its charge and its answer durable in one step before the answer is sent.

use std::sync::Arc;

use agora_economy::ports::pay::{Admission, Answered, Kept, Pending, Ticket};
use agora_types::batch::Entry;
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::Command;
use agora_types::eip712::command_digest;
use agora_types::{Address, Amount, Canonical as _, ChannelId, Code, Hash};
use agora_x402::Refusal;
use agora_x402::check::{ChannelView, DepositPayment};
use agora_x402::seller::{ChannelRecord, Charged, Offers};
use agora_x402::wire::{PaymentRequirements, SettleResponse, SettledAmount};

use super::super::flights::Flight;
use super::super::rows::{ChannelRow, KeptRow, LastRow, channel_key, load, put};
use super::super::single::{Stop, can_pay, refused_or_trouble};
use super::super::view;
use super::{Inner, Judged, Named, busy, other};
use crate::error::CallError;

impl Inner {
    /// A channel as this till and the ledger know it.
    pub(super) async fn channel(
        &self,
        config: &ChannelConfig,
        id: ChannelId,
    ) -> Result<(ChannelRecord, Option<LastRow>), Stop> {
        let parts = &self.desk.parts;
        // Both at once: the row is nobody else's while this payment has its turn.
        let row = load::<ChannelRow>(parts.journal.as_ref(), channel_key(&id));
        let (on_ledger, row) = futures::future::join(parts.ledger.channel(id), row).await;
        let view = on_ledger?.as_ref().map(view).unwrap_or_default();
        let mut record = ChannelRecord::open(config.clone(), view);
        let Some(row) = row? else { return Ok((record, None)) };
        record.charged = record.charged.max(row.charged);
        record.voucher = row.voucher;
        Ok((record, row.last))
    }

    #[allow(clippy::too_many_arguments, reason = "all of one payment, told apart by type")]
    pub(super) async fn judge_channel(
        self: &Arc<Self>,
        offered: &Offers,
        own: &PaymentRequirements,
        config: ChannelConfig,
        voucher: Voucher,
        deposit: Option<DepositPayment>,
        print: Hash,
        named: Option<Named>,
    ) -> Judged {
        let (id, network) = (voucher.channel_id, self.desk.parts.ledger.network());
        let flight = match self.desk.flights.take(channel_key(&id), print) {
            Ok(flight) => flight,
            Err(taken) if taken == print => return Ok(Admission::Busy(busy())),
            Err(_) => return Err(Code::ChannelBusy.into()),
        };
        let (mut record, last) = self.channel(&config, id).await?;
        let (max_claimable, view_before) = (voucher.max_claimable, record.view);
        let salt = deposit.as_ref().map(|one| one.deposit.salt);
        if let Some(last) = last.filter(|last| last.is_paid_by(&voucher, salt)) {
            match (last.fingerprint == print, last.charge.is_zero()) {
                (true, true | false) => {
                    let charged = Charged { amount: last.charge, cumulative: record.charged };
                    let response = self.response_channel(&record, &charged, deposit.as_ref());
                    let kept = last.kept.as_ref().map(KeptRow::kept);
                    return Ok(Admission::Answered(Box::new(Answered { kept, response, receipt: None })));
                }
                (false, false) => return Ok(Admission::Conflict(other())),
                // It cost nothing, so the same voucher pays for the next request.
                (false, true) => {}
            }
        }
        if record.is_closing() {
            return Err(Code::WithdrawStarted.into());
        }
        let accepted = match &deposit {
            None => record.accept_voucher(voucher, own.amount, print),
            // `minDeposit` is advice: a buyer with a lower limit deposits what its request needs.
            Some(one) => record.accept_deposit(one.deposit.amount, Amount::ZERO, voucher, own.amount, print),
        };
        if let Err(refusal) = accepted {
            // Never served before, and unknown to the ledger: a deposit is what is missing.
            return Ok(Admission::Refused(Box::new(offered.corrective(&refusal, &record, &network))));
        }
        if let Some(one) = &deposit {
            if view_before == ChannelView::default() {
                can_pay(self.desk.parts.ledger.as_ref(), one.deposit.config.payer, one.deposit.amount).await?;
            }
            let entry = Entry {
                command: Command::Deposit(one.deposit.clone()),
                signature: one.signature,
                linked: false,
                submitter: None,
            };
            self.desk.parts.ledger.commit_one(entry).await.map_err(refused_or_trouble)?;
            let on_ledger = self.desk.parts.ledger.channel(id).await?;
            record.refresh(on_ledger.as_ref().map(view).unwrap_or_default());
            // It may have entered with an earlier request: the ledger then says yes again, and no money comes with it.
            if max_claimable > record.view.balance {
                record.cancel(&print);
                let refusal = Refusal::from(Code::ExceedsBalance);
                return Ok(Admission::Refused(Box::new(offered.corrective(&refusal, &record, &network))));
            }
        }
        let amount = own.amount;
        let ticket = ChannelTicket { till: Arc::clone(self), record, deposit, amount, print, named, _flight: flight };
        Ok(Admission::Serve(Box::new(ticket)))
    }

    fn response_channel(
        &self,
        record: &ChannelRecord,
        charged: &Charged,
        deposit: Option<&DepositPayment>,
    ) -> SettleResponse {
        let network = self.desk.parts.ledger.network();
        let extra = record.response(&network, charged).to_object();
        let (transaction, amount) = match deposit {
            None => (String::new(), SettledAmount::Unsaid),
            Some(one) => {
                let digest = command_digest(&network, &Command::Deposit(one.deposit.clone()));
                (digest.to_string(), SettledAmount::Atoms(one.deposit.amount))
            }
        };
        self.response(record.config.payer, transaction, amount, extra)
    }
}

struct ChannelTicket {
    till: Arc<Inner>,
    record: ChannelRecord,
    deposit: Option<DepositPayment>,
    amount: Amount,
    print: Hash,
    named: Option<Named>,
    _flight: Flight,
}

impl Ticket for ChannelTicket {
    fn payer(&self) -> Address {
        self.record.config.payer
    }

    fn max(&self) -> Amount {
        self.amount
    }

    fn announced(&self) -> Option<SettleResponse> {
        let cumulative = self.record.charged.checked_add(self.amount)?;
        let charged = Charged { amount: self.amount, cumulative };
        Some(self.till.response_channel(&self.record, &charged, self.deposit.as_ref()))
    }

    fn settle(mut self: Box<Self>, charge: Amount, kept: Option<Kept>) -> Pending<'static, SettleResponse> {
        Box::pin(async move {
            let flight = self.record.in_flight.clone();
            let charge = charge.min(self.amount);
            let charged = match self.record.commit(&self.print, charge) {
                Ok(charged) => charged,
                Err(refusal) => return Ok(self.till.refused(&refusal)),
            };
            let last = flight.map(|flight| LastRow {
                max_claimable: flight.voucher.max_claimable,
                fingerprint: self.print,
                charge,
                kept: KeptRow::of(kept),
                deposit: self.deposit.as_ref().map(|one| one.deposit.salt),
            });
            let row = ChannelRow {
                config: self.record.config.clone(),
                charged: self.record.charged,
                voucher: self.record.voucher.clone(),
                last,
                at: self.till.desk.parts.clock.now(),
            };
            let id = self.record.config.id(&self.till.desk.parts.ledger.network());
            let mut writes = Named::write(self.named.as_ref(), row.at);
            writes.push(put(channel_key(&id), row.to_bytes()));
            self.till.desk.parts.journal.commit(writes).await.map_err(CallError::from)?;
            Ok(self.till.response_channel(&self.record, &charged, self.deposit.as_ref()))
        })
    }

    fn cancel(self: Box<Self>) -> Pending<'static, ()> {
        // Nothing was written down, and nothing is charged; a deposit stays the payer's.
        Box::pin(async move { Ok(()) })
    }
}
