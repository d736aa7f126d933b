//! What a settlement does on the ledger, for whom, and what its repeat is told.

use agora_economy::ports::pay::{Caller, Trouble};
use agora_types::batch::Entry;
use agora_types::command::{Command, Settle};
use agora_types::eip712::command_digest;
use agora_types::{Address, ChannelId, Code};
use agora_x402::check::{DepositPayment, Payment, RefundPayment};
use agora_x402::wire::{SettleRequest, SettledAmount};
use agora_x402::{Reason, Refusal};

use super::super::single::{Stop, refusal, refused_or_trouble};
use super::LedgerFacilitator;
use crate::clock::fresh_head;

/// What settling did.
pub(super) struct Settled {
    pub(super) transaction: String,
    pub(super) amount: SettledAmount,
    pub(super) channel: Option<ChannelId>,
}

impl LedgerFacilitator {
    /// After a deposit: it may have entered before, and counts once. Its voucher must be covered by what is there.
    pub(super) async fn covered(&self, one: &DepositPayment) -> Result<(), Stop> {
        let view = self.view(one.voucher.channel_id).await?.unwrap_or_default();
        if one.voucher.max_claimable > view.balance { Err(Code::ExceedsBalance.into()) } else { Ok(()) }
    }

    /// Submits the channel commands of a payment, linked.
    pub(super) async fn commit_channel(&self, payment: &Payment) -> Result<(), Stop> {
        let network = self.parts.ledger.network();
        let commands = payment.commands();
        let last = commands.len().saturating_sub(1);
        let group = commands.into_iter().enumerate().map(|(at, (command, signature))| {
            let signature = signature.unwrap_or_else(|| self.parts.account.sign(&command_digest(&network, &command)));
            Entry { command, signature, linked: at != last, submitter: None }
        });
        let answers = self.parts.ledger.commit(group.collect()).await?;
        refusal(last + 1, answers)?.map_or(Ok(()), |code| Err(code.into()))
    }

    /// What names a payment on the ledger before and after it is settled; empty where nothing does.
    pub(super) fn transaction(&self, payment: &Payment) -> String {
        let network = self.parts.ledger.network();
        let digest = |command: Command| command_digest(&network, &command).to_string();
        match payment {
            Payment::Exact(single) | Payment::Upto(single) => single.authorization.digest(&network).to_string(),
            Payment::Deposit(one) => digest(Command::Deposit(one.deposit.clone())),
            Payment::Claim(one) => digest(Command::Claim(one.claim.clone())),
            Payment::Refund(one) => {
                one.seller.as_ref().map_or(String::new(), |words| digest(Command::Refund(words.refund.clone())))
            }
            Payment::Voucher(_) | Payment::Settle(_) => String::new(),
        }
    }

    pub(super) async fn settled(&self, payment: &Payment) -> Result<Settled, Stop> {
        let transaction = self.transaction(payment);
        let network = self.parts.ledger.network();
        let unsaid = SettledAmount::Unsaid;
        Ok(match payment {
            Payment::Exact(single) | Payment::Upto(single) => {
                let amount = SettledAmount::Atoms(self.singles.post(single).await?);
                Settled { transaction, amount, channel: None }
            }
            Payment::Voucher(one) => Settled { transaction, amount: unsaid, channel: Some(one.voucher.channel_id) },
            Payment::Deposit(one) => {
                self.commit_channel(payment).await?;
                self.covered(one).await?;
                let amount = SettledAmount::Atoms(one.deposit.amount);
                Settled { transaction, amount, channel: Some(one.voucher.channel_id) }
            }
            Payment::Claim(one) => {
                let _turn = self.claims.lock().await;
                self.commit_channel(payment).await?;
                let channel = one.claim.claims.first().map(|claim| claim.config.id(&network));
                Settled { transaction, amount: unsaid, channel }
            }
            Payment::Refund(one) => {
                let _turn = self.claims.lock().await;
                let words =
                    one.seller.as_ref().ok_or_else(|| Refusal::new(Reason::RefundPayload, "nothing to settle"))?;
                if !self.was_refunded(one).await? {
                    self.commit_channel(payment).await?;
                }
                let amount = SettledAmount::Atoms(words.refund.amount);
                Settled { transaction, amount, channel: Some(one.voucher.channel_id) }
            }
            Payment::Settle(one) => self.pay_out(one.receiver).await?,
        })
    }

    /// True when the channel refuses a payment because it was settled before, so that the ledger answers it as the
    /// first time. Everything else is refused here and leaves no trace in the log, where strangers would write for
    /// nothing.
    pub(super) async fn is_repeat(&self, payment: &Payment, reason: Reason) -> Result<bool, Stop> {
        match payment {
            Payment::Deposit(_) | Payment::Claim(_) => Ok(reason == Reason::from(Code::BelowClaimed)),
            Payment::Refund(one) => self.was_refunded(one).await,
            Payment::Exact(_) | Payment::Upto(_) | Payment::Voucher(_) | Payment::Settle(_) => Ok(false),
        }
    }

    /// True for the newest refund of a channel.
    async fn was_refunded(&self, one: &RefundPayment) -> Result<bool, Stop> {
        let Some(words) = &one.seller else { return Ok(false) };
        let Some(channel) = self.parts.ledger.channel(one.voucher.channel_id).await? else { return Ok(false) };
        let digest = command_digest(&self.parts.ledger.network(), &Command::Refund(words.refund.clone()));
        Ok(words.refund.nonce.checked_add(1) == Some(channel.refund_nonce) && channel.last_refund == Some(digest))
    }

    /// Pays out what claims gathered; nothing is fine.
    async fn pay_out(&self, receiver: Address) -> Result<Settled, Stop> {
        let _turn = self.claims.lock().await;
        let amount = self.parts.ledger.unsettled(receiver).await?;
        let head = fresh_head(self.parts.clock.as_ref(), self.parts.random.as_ref(), self.parts.account.address());
        let command = Command::Settle(Settle { head, receiver });
        let transaction = command_digest(&self.parts.ledger.network(), &command).to_string();
        if !amount.is_zero() {
            let entry = Entry::sign(&self.parts.ledger.network(), command, &self.parts.account);
            match self.parts.ledger.commit_one(entry).await {
                Ok(()) => {}
                // Somebody else paid it out since it was read, to the same receiver.
                Err(failure) if failure.code == Code::NothingToSettle => {}
                Err(failure) => return Err(refused_or_trouble(failure)),
            }
        }
        Ok(Settled { transaction, amount: SettledAmount::Atoms(amount), channel: None })
    }

    /// Who may settle what: a full single payment or a deposit can only do what its payer signed, whoever sends it. Less
    /// than the most, claims and refunds by our own key are for the seller that is paid.
    pub(super) async fn may_settle(
        &self,
        caller: &Caller,
        request: &SettleRequest,
        payment: &Payment,
    ) -> Result<(), Stop> {
        let needs_seller = match payment {
            Payment::Exact(_) | Payment::Deposit(_) | Payment::Voucher(_) | Payment::Settle(_) => false,
            Payment::Upto(single) => single.amount < single.authorization.max(),
            Payment::Claim(claim) => claim.signature.is_none(),
            Payment::Refund(refund) => refund.seller.as_ref().is_some_and(|words| {
                words.signature.is_none() || words.claim.as_ref().is_some_and(|(_, signature)| signature.is_none())
            }),
        };
        let receiver = &request.payment_requirements.pay_to;
        let known = !needs_seller || self.parts.sellers.speaks_for(caller.token.as_deref(), receiver).await?;
        if known { Ok(()) } else { Err(Stop::Trouble(Trouble::new(Code::SellerUnknown, receiver.to_string()))) }
    }
}
