//! Strangers' payments for completions: what is wrong with them, which call they open, what their payers are told.

use std::sync::Arc;

use agora_economy::ports::pay::{Admission, Answered, PricedRequest};
use agora_inference_api::Request;
use agora_types::authorization::Single;
use agora_types::batch::Entry;
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::Command;
use agora_types::eip712::{Network, command_digest};
use agora_types::{Address, Amount, CallId, Canonical as _, ChannelId, Code, Hash};
use agora_x402::check::{DepositPayment, Payment, Purpose, RefundPayment, SinglePayment, Terms, payment};
use agora_x402::seller::{ChannelRecord, Charged, Offers, fingerprint};
use agora_x402::wire::{
    NetworkId, Object, PaymentPayload, PaymentRequirements, SettleResponse, SettledAmount, VerifyRequest, Version,
};
use agora_x402::{Reason, Refusal};

use super::super::flights::Flight;
use super::super::rows::{ChannelRow, LastRow, channel_key, load, paid_key, put};
use super::super::single::Stop;
use super::super::view;
use super::completion::{NodeCompletion, Told, ToldChannel};
use super::kept::Past;
use super::{Inner, Judged, Priced, in_flight};
use crate::error::CallError;
use crate::purchase::{Given, Purchase, Quoted};

impl Inner {
    /// A call's id: the same for the same payment and request, of nobody's choosing.
    fn call_id(payment: &[u8], print: &Hash) -> CallId {
        let hash = Hash::sha256_of(&[b"agora/http-call/v1", payment, print.as_bytes()]);
        CallId::from_slice(&hash.as_bytes()[..CallId::SIZE]).unwrap_or(CallId::ZERO)
    }

    #[allow(clippy::too_many_arguments, reason = "one request and its payment, told apart by type")]
    pub(super) async fn judge(
        self: &Arc<Self>,
        priced: &Priced,
        offered: &Offers,
        ask: &Request,
        request: &PricedRequest,
        paid: &PaymentPayload,
        stream: bool,
    ) -> Judged {
        let own = offered.taken(paid)?.clone();
        let terms = self.terms(priced);
        let print = fingerprint(&request.method, &request.url, &request.body);
        match self.read(&terms, &own, paid)? {
            Payment::Exact(one) | Payment::Upto(one) => self.judge_single(priced, ask, one, print).await,
            Payment::Deposit(one) => {
                let (config, voucher) = (one.deposit.config.clone(), one.voucher.clone());
                let paid = Paid { config, voucher, deposit: Some(*one), own, print };
                self.judge_channel(priced, offered, ask, paid, stream).await
            }
            Payment::Voucher(one) => {
                let paid = Paid { config: one.config, voucher: one.voucher, deposit: None, own, print };
                self.judge_channel(priced, offered, ask, paid, stream).await
            }
            Payment::Refund(one) => self.refund(offered, &one, print).await,
            Payment::Claim(_) | Payment::Settle(_) => Err(Code::WireMalformed.into()),
        }
    }

    pub(super) fn terms(&self, priced: &Priced) -> Terms {
        Terms {
            network: self.buyer.ledger.network(),
            facilitator: priced.host,
            deposit_min: self.buyer.ledger.parameters().deposit_min,
        }
    }

    /// A payment in the words of its scheme; its signatures are checked.
    pub(super) fn read(
        &self,
        terms: &Terms,
        own: &PaymentRequirements,
        paid: &PaymentPayload,
    ) -> Result<Payment, Stop> {
        let asked =
            VerifyRequest { x402_version: Version, payment_payload: paid.clone(), payment_requirements: own.clone() };
        Ok(payment(terms, Purpose::Verify, &asked, self.buyer.clock.now())?)
    }

    async fn judge_single(self: &Arc<Self>, priced: &Priced, ask: &Request, one: SinglePayment, print: Hash) -> Judged {
        let (payer, nonce) = (one.authorization.payer(), one.authorization.key());
        let key = paid_key(&payer, &nonce);
        let call = Self::call_id(&key, &print);
        let flight = match self.flights.take(key, print) {
            Ok(flight) => flight,
            Err(taken) => return Ok(in_flight(taken == print)),
        };
        let past = self.past(payer, call).await?;
        if let Some(past) = &past
            && let Some(answered) = self.answered(past, None).await?
        {
            return Ok(Admission::Answered(Box::new(answered)));
        }
        let quoted = self.quote(payer, priced, ask, self.salt(&call)).await?;
        let digest = one.authorization.digest(&self.buyer.ledger.network());
        let single = Single { authorization: one.authorization, signature: one.signature };
        let told = Told::Single { transaction: digest.to_string() };
        self.relay(Given::Single(single), call, quoted, told, flight, past).await
    }

    /// A channel as the buyer was told of it, and as the ledger has it.
    async fn channel(&self, config: &ChannelConfig, id: ChannelId) -> Result<(ChannelRecord, Option<LastRow>), Stop> {
        let on_ledger = self.buyer.ledger.channel(id).await?;
        let mut record = ChannelRecord::open(config.clone(), on_ledger.as_ref().map(view).unwrap_or_default());
        let Some(row) = load::<ChannelRow>(self.buyer.journal.as_ref(), channel_key(&id)).await? else {
            return Ok((record, None));
        };
        record.charged = record.charged.max(row.charged);
        record.voucher = row.voucher;
        Ok((record, row.last))
    }

    async fn judge_channel(
        self: &Arc<Self>,
        priced: &Priced,
        offered: &Offers,
        ask: &Request,
        paid: Paid,
        stream: bool,
    ) -> Judged {
        let (id, network) = (paid.voucher.channel_id, self.buyer.ledger.network());
        let key = channel_key(&id);
        let flight = match self.flights.take(key.clone(), paid.print) {
            Ok(flight) => flight,
            Err(taken) if taken == paid.print => return Ok(in_flight(true)),
            Err(_) => return Err(Code::ChannelBusy.into()),
        };
        let (mut record, last) = self.channel(&paid.config, id).await?;
        let call_of =
            |print: &Hash, max: Amount| Self::call_id(&[key.as_slice(), &max.atoms().to_be_bytes()].concat(), print);
        let call = call_of(&paid.print, paid.voucher.max_claimable);
        let past = self.past(paid.config.payer, call).await?;
        if let Some(past) = &past
            && let Some(answered) = self.answered(past, paid.transaction(&network).as_deref()).await?
        {
            return Ok(Admission::Answered(Box::new(answered)));
        }
        let before = paid.voucher.max_claimable.checked_sub(paid.own.amount).ok_or(Code::BelowClaimed)?;
        let last = last.filter(|last| last.is_paid_by(&paid.voucher, paid.deposit_salt()));
        let repeated = last.as_ref().is_some_and(|last| last.fingerprint == paid.print);
        if let Some(last) = last.filter(|_| !repeated) {
            // The voucher was sent with another request: if that one was served, it is spent.
            let earlier = call_of(&last.fingerprint, last.max_claimable);
            if self.buyer.ledger.call(paid.config.payer, earlier).await?.is_some() {
                return Ok(Admission::Conflict(Refusal::from(Code::PaymentOther)));
            }
            record.charged = before.max(record.view.total_claimed);
        }
        if !repeated {
            if record.is_closing() {
                return Err(Code::WithdrawStarted.into());
            }
            let accepted = match &paid.deposit {
                None => record.accept_voucher(paid.voucher.clone(), paid.own.amount, paid.print),
                Some(one) => record.accept_deposit(
                    one.deposit.amount,
                    Amount::ZERO,
                    paid.voucher.clone(),
                    paid.own.amount,
                    paid.print,
                ),
            };
            if let Err(refusal) = accepted {
                return Ok(Admission::Refused(Box::new(offered.corrective(&refusal, &record, &network))));
            }
        }
        let quoted = self.quote(paid.config.payer, priced, ask, self.salt(&call)).await?;
        // A stream's buyer is told the whole amount before the body. What was told before and not used pays a part of it.
        let announced = stream.then(|| record.view.total_claimed.checked_add(paid.own.amount)).flatten();
        let announced = match (repeated, stream) {
            (true, true) => Some(record.charged),
            (_, _) => announced.map(|told| told.max(record.charged).min(paid.voucher.max_claimable)),
        };
        if !repeated {
            let charged = announced.unwrap_or(before.max(record.charged));
            self.note(&record, &paid, charged).await?;
        }
        let deposit = paid.deposit.as_ref().map(|one| Entry {
            command: Command::Deposit(one.deposit.clone()),
            signature: one.signature,
            linked: false,
            submitter: None,
        });
        let given = Given::Channel { config: paid.config.clone(), deposit, voucher: paid.voucher.clone() };
        let told = Told::Channel(Box::new(ToldChannel { paid, before, announced }));
        self.relay(given, call, quoted, told, flight, past).await
    }

    /// Writes down what a channel's buyer is told, before it is told.
    async fn note(&self, record: &ChannelRecord, paid: &Paid, charged: Amount) -> Result<(), Stop> {
        let id = paid.voucher.channel_id;
        let last = LastRow {
            max_claimable: paid.voucher.max_claimable,
            fingerprint: paid.print,
            charge: Amount::ZERO,
            kept: None,
            deposit: paid.deposit_salt(),
        };
        let row = ChannelRow {
            config: record.config.clone(),
            charged,
            voucher: Some(paid.voucher.clone()),
            last: Some(last),
            at: self.buyer.clock.now(),
        };
        let write = put(channel_key(&id), row.to_bytes());
        Ok(self.buyer.journal.commit(vec![write]).await.map_err(CallError::from)?)
    }

    #[allow(clippy::too_many_arguments, reason = "one call and its payment, told apart by type")]
    async fn relay(
        self: &Arc<Self>,
        given: Given,
        call: CallId,
        quoted: Quoted,
        told: Told,
        flight: Flight,
        past: Option<Past>,
    ) -> Judged {
        let payer = given.payer();
        let mut purchase = Purchase::relay(&self.buyer, given, call, &quoted).await?;
        // The host's first word decides: before it, the payment may still be refused.
        let first = match (purchase.next().await, &past) {
            (Ok(first), _) => first,
            // The host has forgotten the answer by now; what it cost stays known.
            (Err(error), Some(past)) if !error.is_fault() && error.code != Code::CallInProgress => {
                let response = self.told(&told, &past.said).ok_or(Code::CallNoAnswer)?;
                let answered = Answered { kept: None, response, receipt: Some(past.receipt.clone()) };
                return Ok(Admission::Answered(Box::new(answered)));
            }
            (Err(error), _) => return self.refused(error),
        };
        let completion = NodeCompletion {
            models: Arc::clone(self),
            purchase: Some(purchase),
            first: Some(first),
            call,
            payer,
            told,
            spender: None,
            flight: Some(flight),
            replayed: past.is_some(),
            response: None,
        };
        Ok(Admission::Serve(Box::new(completion)))
    }

    /// What the host says against a stranger's payment.
    fn refused(&self, error: CallError) -> Judged {
        match error.code {
            Code::CallInProgress | Code::ChannelBusy => Ok(in_flight(true)),
            Code::CallDifferent | Code::NonceUsed => Ok(Admission::Conflict(Refusal::from(Code::PaymentOther))),
            code if error.is_fault() || code.http_status() >= 500 => Err(Stop::Trouble(error.into())),
            code => Err(code.into()),
        }
    }

    pub(super) async fn refund<T>(
        &self,
        offered: &Offers,
        asked: &RefundPayment,
        print: Hash,
    ) -> Result<Admission<T>, Stop> {
        let (id, network) = (asked.voucher.channel_id, self.buyer.ledger.network());
        let flight = match self.flights.take(channel_key(&id), print) {
            Ok(flight) => flight,
            Err(_) => return Err(Code::ChannelBusy.into()),
        };
        let (mut record, _) = self.channel(&asked.config, id).await?;
        if asked.voucher.max_claimable != record.charged {
            let refusal =
                Refusal::new(Reason::CumulativeAmountMismatch, "a refund's voucher is for what was charged so far");
            return Ok(Admission::Refused(Box::new(offered.corrective(&refusal, &record, &network))));
        }
        let amount = self.buyer.ask_refund(&asked.config, &asked.voucher).await.map_err(|error| {
            if error.is_fault() { Stop::Trouble(error.into()) } else { Stop::Refused(Refusal::from(error.code)) }
        })?;
        // Everything unclaimed went back, so what was told beyond the claims is gone with it.
        let on_ledger = self.buyer.ledger.channel(id).await?;
        record.view = on_ledger.as_ref().map(view).unwrap_or_default();
        record.charged = record.view.total_claimed;
        let row = ChannelRow {
            config: record.config.clone(),
            charged: record.charged,
            voucher: record.voucher.clone(),
            last: None,
            at: self.buyer.clock.now(),
        };
        let write = put(channel_key(&id), row.to_bytes());
        self.buyer.journal.commit(vec![write]).await.map_err(CallError::from)?;
        drop(flight);
        let charged = Charged { amount: Amount::ZERO, cumulative: record.charged };
        let extra = record.response(&network, &charged).to_object();
        let transaction =
            Hash::sha256_of(&[b"agora/refund/v1", id.as_bytes(), &record.view.refund_nonce.to_be_bytes()]);
        let response = self.response(record.config.payer, transaction.to_string(), SettledAmount::Atoms(amount), extra);
        Ok(Admission::Refunded(Box::new(response)))
    }

    pub(super) fn response(
        &self,
        payer: Address,
        transaction: String,
        amount: SettledAmount,
        extra: Object,
    ) -> SettleResponse {
        SettleResponse {
            success: true,
            error_reason: None,
            error_message: None,
            payer: Some(payer),
            transaction,
            network: NetworkId::Eip155(self.buyer.ledger.network().chain_id),
            amount: Some(amount),
            extra,
            extensions: Object::new(),
        }
    }

    /// What a channel's buyer is told: this request's part, and everything so far.
    pub(super) fn response_channel(&self, told: &ToldChannel, cumulative: Amount) -> SettleResponse {
        let network = self.buyer.ledger.network();
        let record = ChannelRecord::open(told.paid.config.clone(), Default::default());
        let charged = Charged { amount: cumulative.saturating_sub(told.before), cumulative };
        let mut extra = record.response(&network, &charged).to_object();
        // Balance and claims are the ledger's to say; they change while the answer streams.
        if let Some(state) = extra.get_mut("channelState").and_then(serde_json::Value::as_object_mut) {
            state.retain(|key, _| key == "channelId" || key == "chargedCumulativeAmount");
        }
        let amount =
            told.paid.deposit.as_ref().map_or(SettledAmount::Unsaid, |one| SettledAmount::Atoms(one.deposit.amount));
        let transaction = told.paid.transaction(&network).unwrap_or_default();
        self.response(told.paid.config.payer, transaction, amount, extra)
    }
}

/// A channel's payment for one request.
pub(super) struct Paid {
    config: ChannelConfig,
    voucher: Voucher,
    deposit: Option<DepositPayment>,
    own: PaymentRequirements,
    print: Hash,
}

impl Paid {
    /// What a deposit is called on the ledger.
    fn transaction(&self, network: &Network) -> Option<String> {
        let command = Command::Deposit(self.deposit.as_ref()?.deposit.clone());
        Some(command_digest(network, &command).to_string())
    }

    fn deposit_salt(&self) -> Option<Hash> {
        self.deposit.as_ref().map(|one| one.deposit.salt)
    }
}
