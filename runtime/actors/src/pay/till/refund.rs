//! What a payer gets back out of a channel: all that was not charged, in one step with the claim of what was.

use std::sync::Arc;

use agora_economy::ports::pay::Admission;
use agora_types::batch::Entry;
use agora_types::command::{Claim, Command};
use agora_types::eip712::command_digest;
use agora_types::{Amount, Code, Hash};
use agora_x402::check::RefundPayment;
use agora_x402::seller::{Charged, Offers};
use agora_x402::wire::SettledAmount;

use super::super::rows::channel_key;
use super::super::single::refusal;
use super::super::view;
use super::{Inner, Judged, busy};

impl Inner {
    /// Claims what was charged and gives the rest back, in one step.
    pub(super) async fn refund(self: &Arc<Self>, offered: &Offers, asked: &RefundPayment, print: Hash) -> Judged {
        let (id, network) = (asked.voucher.channel_id, self.desk.parts.ledger.network());
        let _flight = match self.desk.flights.take(channel_key(&id), print) {
            Ok(flight) => flight,
            Err(taken) if taken == print => return Ok(Admission::Busy(busy())),
            Err(_) => return Err(Code::ChannelBusy.into()),
        };
        let (mut record, _) = self.channel(&asked.config, id).await?;
        let plan = match record.refund(asked.voucher.clone(), asked.amount, print) {
            Ok(plan) => plan,
            Err(refused) => {
                return Ok(Admission::Refused(Box::new(offered.corrective(&refused, &record, &network))));
            }
        };
        let amount = plan.refund.amount;
        let refund = Command::Refund(plan.refund);
        let digest = command_digest(&network, &refund);
        let sign = |command| Entry::sign(&network, command, &self.desk.parts.account);
        let claim = plan.claim.map(|claim| sign(Command::Claim(Claim { claims: vec![claim] })).linked());
        let group: Vec<Entry> = claim.into_iter().chain([sign(refund)]).collect();
        let asked_for = group.len();
        let answers = self.desk.parts.ledger.commit(group).await?;
        if let Some(code) = refusal(asked_for, answers)? {
            return Err(code.into());
        }
        let on_ledger = self.desk.parts.ledger.channel(id).await?;
        record.refresh(on_ledger.as_ref().map(view).unwrap_or_default());
        let charged = Charged { amount: Amount::ZERO, cumulative: record.charged };
        let extra = record.response(&network, &charged).to_object();
        let response = self.response(record.config.payer, digest.to_string(), SettledAmount::Atoms(amount), extra);
        Ok(Admission::Refunded(Box::new(response)))
    }
}
