//! Completions of models for whoever pays over HTTP: by a payment of their own, or by an API key.
//!
//! A stranger's payment opens the call at the listing's host itself: its account is the payer of record, the money goes
//! through attribution, and no key of this node signs anything. The call's id and the salt of its commitments follow from
//! payment and request, so that the very same request finds the very same call, also after a crash. The host charges
//! exactly what it delivered; over a channel the buyer of a stream is told the whole amount before the body, and what was
//! not used counts towards its next request.

use std::sync::Arc;

use agora_catalog::Listing;
use agora_economy::ports::bus::ask::Counted;
use agora_economy::ports::pay::{
    Admission, Answered, Completion, Ended, KEPT_BODY_MAX, Kept, Means, ModelCard, Models, Pending, Piece,
    PricedRequest, ReceiptRef, Trouble,
};
use agora_economy::ports::state::{Table, Write};
use agora_inference_api::Request;
use agora_receipts::Receipt;
use agora_types::authorization::Single;
use agora_types::batch::Entry;
use agora_types::channel::{ChannelConfig, Voucher, WITHDRAW_DELAY_MIN_S};
use agora_types::command::Command;
use agora_types::eip712::command_digest;
use agora_types::merkle::leaf_hash;
use agora_types::{
    Address, Amount, CallId, Canonical as _, ChannelId, Code, Hash, ListingId, Signed, Timestamp, Usage,
};
use agora_x402::Refusal;
use agora_x402::check::{DepositPayment, Payment, Purpose, RefundPayment, SinglePayment, Terms, payment};
use agora_x402::extensions::identifier;
use agora_x402::seller::{ChannelRecord, Charged, Offers, batch_offer, exact_offer, fingerprint, upto_offer};
use agora_x402::wire::{
    NetworkId, Object, PaymentPayload, PaymentRequirements, Resource, SettleResponse, SettledAmount, VerifyRequest,
    Version,
};
use minicbor::{Decode, Encode};

use super::flights::{Flight, Flights};
use super::keys::{ApiKeys, Spender};
use super::rows::{ChannelRow, KeptRow, LastRow, channel_key, load, paid_key, put};
use super::single::Stop;
use super::view;
use crate::error::CallError;
use crate::purchase::{Arrived, Buyer, Given, Purchase, Quoted};

/// What the door's keys begin with.
const DOOR: &[u8] = b"d";
/// How long a payment for a completion must stay valid.
const TIMEOUT_S: u64 = 300;
/// Most models of one answer.
const MODELS_MAX: usize = 256;

/// What models are sold with.
pub struct NodeModels(Arc<Inner>);

struct Inner {
    buyer: Arc<Buyer>,
    keys: Arc<ApiKeys>,
    /// Makes the salts of strangers' calls, the same again for the same payment, and nobody else's to guess.
    secret: [u8; 32],
    flights: Flights,
    /// Payments that are being judged.
    door: Flights,
}

/// A model with what a request to it costs.
struct Priced {
    listing: Signed<Listing>,
    host: Address,
    amount: Amount,
}

impl NodeModels {
    /// Over the node's buyer. `secret` must be the same after a restart.
    pub fn new(buyer: Arc<Buyer>, keys: Arc<ApiKeys>, secret: [u8; 32]) -> Self {
        Self(Arc::new(Inner { buyer, keys, secret, flights: Flights::default(), door: Flights::default() }))
    }
}

impl NodeModels {
    /// Forgets whole answers that are two hours old: whoever repeats such a request is served by the host, as long as it
    /// remembers the call. To be called now and then.
    ///
    /// # Errors
    /// The journal's faults.
    pub async fn sweep(&self) -> Result<usize, CallError> {
        let (journal, now) = (&self.0.buyer.journal, self.0.buyer.clock.now());
        let rows = journal.list(Table::Till, vec![COMPLETED], SWEEP_MAX).await?;
        let old =
            |bytes: &[u8]| CompletedRow::from_bytes(bytes).map_or(true, |row| now > row.at.plus_secs(COMPLETED_KEPT_S));
        let gone = rows.into_iter().filter(|(_, bytes)| old(bytes));
        let writes: Vec<Write> = gone.map(|(key, _)| Write { table: Table::Till, key, value: None }).collect();
        let count = writes.len();
        if count > 0 {
            journal.commit(writes).await?;
        }
        Ok(count)
    }
}

type Judged = Result<Admission<Box<dyn Completion>>, Stop>;

impl Inner {
    async fn all(&self) -> Result<Vec<Signed<Listing>>, CallError> {
        self.buyer.directory.find("", MODELS_MAX).await
    }

    /// A listing by its id, its name where only one has it, or `name@owner`.
    async fn listing(&self, model: &str) -> Result<Signed<Listing>, CallError> {
        let unknown = || CallError::new(Code::ListingNotFound, model.chars().take(100).collect::<String>());
        if let Ok(id) = model.parse::<ListingId>() {
            return self.buyer.directory.get(id).await?.ok_or_else(unknown);
        }
        let all = self.all().await?;
        let named: Vec<_> = all.into_iter().filter(|listing| names(listing.payload(), model)).collect();
        match named.as_slice() {
            [one] => Ok(one.clone()),
            [] => Err(unknown()),
            several => {
                let full: Vec<String> = several.iter().map(|listing| full_name(listing.payload())).collect();
                Err(CallError::new(Code::ListingNotFound, format!("{model} is sold by several: {}", full.join(", "))))
            }
        }
    }

    async fn priced(&self, model: &str, ask: &Request) -> Result<Priced, Stop> {
        let listing = self.listing(model).await?;
        let (host, Counted { input, output }) = self.buyer.count(&listing, ask).await?;
        let usage = Usage { input, output, ..Usage::default() };
        let amount = listing.payload().prices.charge(&usage).ok_or(Code::QuoteInvalid)?;
        Ok(Priced { listing, host, amount })
    }

    fn offers(&self, priced: &Priced, url: &str) -> Offers {
        let network = self.buyer.ledger.network();
        let (listing, host, amount) = (priced.listing.payload(), priced.host, priced.amount);
        let receiver = Address::listing(&listing.id());
        Offers {
            resource: Resource {
                url: url.to_owned(),
                description: Some(listing.title.clone()),
                mime_type: Some("application/json".to_owned()),
                ..Resource::default()
            },
            accepts: vec![
                batch_offer(&network, receiver, amount, TIMEOUT_S, host, WITHDRAW_DELAY_MIN_S, None),
                upto_offer(&network, receiver, amount, TIMEOUT_S, host),
                exact_offer(&network, receiver, amount, TIMEOUT_S),
            ],
            extensions: Object::new(),
        }
    }

    /// A call's id: the same for the same payment and request, of nobody's choosing.
    fn call_id(payment: &[u8], print: &Hash) -> CallId {
        let hash = Hash::sha256_of(&[b"agora/http-call/v1", payment, print.as_bytes()]);
        CallId::from_slice(&hash.as_bytes()[..CallId::SIZE]).unwrap_or(CallId::ZERO)
    }

    fn salt(&self, call: &CallId) -> [u8; 16] {
        let hash = Hash::sha256_of(&[b"agora/http-salt/v1", &self.secret, call.as_bytes()]);
        let mut salt = [0; 16];
        salt.copy_from_slice(&hash.as_bytes()[..16]);
        salt
    }

    async fn quote(&self, payer: Address, priced: &Priced, ask: &Request, salt: [u8; 16]) -> Result<Quoted, Stop> {
        let quoted = self.buyer.quote_for(payer, &priced.listing, ask, salt).await?;
        let most = quoted.quote.charge_max();
        if quoted.quote.host != priced.host || most.is_none_or(|most| most > priced.amount) {
            return Err(Code::CallOvercharge.into());
        }
        Ok(quoted)
    }

    #[allow(clippy::too_many_arguments, reason = "one request and its payment, told apart by type")]
    async fn judge(
        self: &Arc<Self>,
        priced: &Priced,
        offered: &Offers,
        ask: &Request,
        request: &PricedRequest,
        paid: &PaymentPayload,
        stream: bool,
    ) -> Judged {
        let own = offered.taken(paid)?.clone();
        let terms = Terms {
            network: self.buyer.ledger.network(),
            facilitator: priced.host,
            deposit_min: self.buyer.ledger.parameters().deposit_min,
        };
        let asked =
            VerifyRequest { x402_version: Version, payment_payload: paid.clone(), payment_requirements: own.clone() };
        let payment = payment(&terms, Purpose::Verify, &asked, self.buyer.clock.now())?;
        let print = fingerprint(&request.method, &request.url, &request.body);
        match payment {
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

    async fn judge_single(self: &Arc<Self>, priced: &Priced, ask: &Request, one: SinglePayment, print: Hash) -> Judged {
        let (payer, nonce) = (one.authorization.payer(), one.authorization.key());
        let key = paid_key(&payer, &nonce);
        let call = Self::call_id(&key, &print);
        let flight = match self.flights.take(key, print) {
            Ok(flight) => flight,
            Err(taken) => return Ok(in_flight(taken == print)),
        };
        if let Some(answered) = self.answered(payer, call).await? {
            return Ok(Admission::Answered(Box::new(answered)));
        }
        let quoted = self.quote(payer, priced, ask, self.salt(&call)).await?;
        let digest = one.authorization.digest(&self.buyer.ledger.network());
        let single = Single { authorization: one.authorization, signature: one.signature };
        let told = Told::Single { transaction: digest.to_string() };
        self.relay(Given::Single(single), call, quoted, told, flight).await
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
        if let Some(answered) = self.answered(paid.config.payer, call).await? {
            return Ok(Admission::Answered(Box::new(answered)));
        }
        let before = paid.voucher.max_claimable.checked_sub(paid.own.amount).ok_or(Code::BelowClaimed)?;
        let last = last.filter(|last| last.max_claimable == paid.voucher.max_claimable);
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
        self.relay(given, call, quoted, told, flight).await
    }

    /// The whole answer that was given before for this very payment and request.
    async fn answered(&self, payer: Address, call: CallId) -> Result<Option<Answered>, Stop> {
        let row = load::<CompletedRow>(self.buyer.journal.as_ref(), completed_key(&payer, &call)).await?;
        let Some(row) = row else { return Ok(None) };
        let response = serde_json::from_slice(&row.response)
            .map_err(|error| CallError::new(Code::StoreDamaged, error.to_string()))?;
        Ok(Some(Answered { kept: Some(row.kept.kept()), response }))
    }

    /// Writes down what a channel's buyer is told, before it is told.
    async fn note(&self, record: &ChannelRecord, paid: &Paid, charged: Amount) -> Result<(), Stop> {
        let id = paid.voucher.channel_id;
        let last = LastRow {
            max_claimable: paid.voucher.max_claimable,
            fingerprint: paid.print,
            charge: Amount::ZERO,
            kept: None,
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

    async fn relay(self: &Arc<Self>, given: Given, call: CallId, quoted: Quoted, told: Told, flight: Flight) -> Judged {
        let payer = given.payer();
        let mut purchase = Purchase::relay(&self.buyer, given, call, &quoted).await?;
        // The host's first word decides: before it, the payment may still be refused.
        let first = match purchase.next().await {
            Ok(first) => first,
            Err(error) => return self.refused(error),
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

    async fn refund(self: &Arc<Self>, offered: &Offers, asked: &RefundPayment, print: Hash) -> Judged {
        let (id, network) = (asked.voucher.channel_id, self.buyer.ledger.network());
        let flight = match self.flights.take(channel_key(&id), print) {
            Ok(flight) => flight,
            Err(_) => return Err(Code::ChannelBusy.into()),
        };
        let (mut record, _) = self.channel(&asked.config, id).await?;
        if asked.voucher.max_claimable != record.charged {
            let refusal = Refusal::new(
                agora_x402::Reason::CumulativeAmountMismatch,
                "a refund's voucher is for what was charged so far",
            );
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

    fn response(&self, payer: Address, transaction: String, amount: SettledAmount, extra: Object) -> SettleResponse {
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
    fn response_channel(&self, told: &ToldChannel, cumulative: Amount) -> SettleResponse {
        let network = self.buyer.ledger.network();
        let record = ChannelRecord::open(told.paid.config.clone(), Default::default());
        let charged = Charged { amount: cumulative.saturating_sub(told.before), cumulative };
        let mut extra = record.response(&network, &charged).to_object();
        // Balance and claims are the ledger's to say; they change while the answer streams.
        if let Some(state) = extra.get_mut("channelState").and_then(serde_json::Value::as_object_mut) {
            state.retain(|key, _| key == "channelId" || key == "chargedCumulativeAmount");
        }
        let (transaction, amount) = match &told.paid.deposit {
            None => (String::new(), SettledAmount::Unsaid),
            Some(one) => {
                let digest = command_digest(&network, &Command::Deposit(one.deposit.clone()));
                (digest.to_string(), SettledAmount::Atoms(one.deposit.amount))
            }
        };
        self.response(told.paid.config.payer, transaction, amount, extra)
    }

    async fn open_with_key(self: &Arc<Self>, text: &str, model: &str, ask: &Request) -> Judged {
        let spender = self.keys.spender(text).await?;
        let listing = self.listing(model).await?;
        let quoted = self.buyer.quote(&spender.payer, &listing, ask).await?;
        let most = quoted.quote.charge_max().ok_or(Code::QuoteInvalid)?;
        let call = self.buyer.call_id();
        let payer = spender.payer.account.address();
        let turn = self.keys.turn(&spender);
        let mut purchase = {
            let _turn = turn.lock().await;
            self.keys.covers(&spender, most).await?;
            Purchase::open(&self.buyer, spender.payer.clone(), call, &quoted).await?
        };
        let first = match purchase.next().await {
            Ok(first) => first,
            Err(error) => {
                // Nothing was delivered: the row stays only where that is not sure.
                if !error.is_fault() {
                    let _ = purchase.finish(Vec::new()).await;
                }
                return Err(Stop::Trouble(error.into()));
            }
        };
        let completion = NodeCompletion {
            models: Arc::clone(self),
            purchase: Some(purchase),
            first: Some(first),
            call,
            payer,
            told: Told::Nothing,
            spender: Some(spender),
            flight: None,
            response: None,
        };
        Ok(Admission::Serve(Box::new(completion)))
    }

    /// Ends a completion after its receipt; answers with what a payer over HTTP 402 is told.
    async fn end(
        &self,
        told: &Told,
        spender: Option<&Spender>,
        purchase: Purchase,
        receipt: &Signed<Receipt>,
    ) -> Result<Option<SettleResponse>, CallError> {
        let said = receipt.payload();
        match told {
            Told::Nothing => {
                match spender {
                    Some(spender) => self.keys.finish(spender, purchase, said.charge).await?,
                    None => drop(purchase),
                }
                Ok(None)
            }
            Told::Single { transaction } => {
                let amount = SettledAmount::Atoms(said.charge);
                Ok(Some(self.response(said.payer, transaction.clone(), amount, Object::new())))
            }
            Told::Channel(told) => {
                // Without a stream nobody was told yet: the claim itself says how far it goes.
                let cumulative = told.announced.unwrap_or(said.cumulative.max(told.before));
                Ok(Some(self.response_channel(told, cumulative)))
            }
        }
    }
}

/// A whole answer that was given, `agora/completed/v1`, by `a` ‖ payer ‖ call id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CompletedRow {
    /// The answer.
    #[n(0)]
    pub kept: KeptRow,
    /// What `PAYMENT-RESPONSE` said: the JSON of a `SettleResponse`.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub response: Vec<u8>,
    /// When it was given.
    #[n(2)]
    pub at: Timestamp,
}

impl agora_types::Canonical for CompletedRow {
    const TAG: &'static str = "agora/completed/v1";
    const SIZE_MAX: usize = KEPT_BODY_MAX + 16_384;
}

/// First byte of a completed answer's key in [`Table::Till`].
const COMPLETED: u8 = b'a';
/// Answers are kept so long for a repeat of their requests.
const COMPLETED_KEPT_S: u64 = 7_200;
/// Rows that one round of forgetting looks at.
const SWEEP_MAX: usize = 1_024;

fn completed_key(payer: &Address, call: &CallId) -> Vec<u8> {
    [&[COMPLETED], payer.as_bytes().as_slice(), call.as_bytes()].concat()
}

fn names(listing: &Listing, model: &str) -> bool {
    listing.name == model || full_name(listing) == model
}

fn full_name(listing: &Listing) -> String {
    format!("{}@{}", listing.name, listing.owner)
}

fn in_flight<T>(same: bool) -> Admission<T> {
    match same {
        true => Admission::Busy(Refusal::from(Code::PaymentInFlight)),
        false => Admission::Conflict(Refusal::from(Code::PaymentOther)),
    }
}

/// A channel's payment for one request.
struct Paid {
    config: ChannelConfig,
    voucher: Voucher,
    deposit: Option<DepositPayment>,
    own: PaymentRequirements,
    print: Hash,
}

/// What the payer of a completion learns about its payment.
enum Told {
    /// Paid by an API key.
    Nothing,
    /// A single payment.
    Single { transaction: String },
    /// A channel.
    Channel(Box<ToldChannel>),
}

struct ToldChannel {
    paid: Paid,
    /// What the buyer was told before this request.
    before: Amount,
    /// What it is told before the body of a stream.
    announced: Option<Amount>,
}

struct NodeCompletion {
    models: Arc<Inner>,
    /// `None` once it ended.
    purchase: Option<Purchase>,
    first: Option<Arrived>,
    call: CallId,
    payer: Address,
    told: Told,
    spender: Option<Spender>,
    flight: Option<Flight>,
    /// What its payer was told at the end.
    response: Option<SettleResponse>,
}

impl NodeCompletion {
    async fn advance(&mut self) -> Result<Piece, CallError> {
        let over = || CallError::new(Code::CallNoAnswer, "the completion has ended");
        let arrived = match self.first.take() {
            Some(first) => first,
            None => self.purchase.as_mut().ok_or_else(over)?.next().await?,
        };
        match arrived {
            Arrived::Text { text, .. } => Ok(Piece::Text(text)),
            Arrived::Receipt(receipt) => {
                let purchase = self.purchase.take().ok_or_else(over)?;
                let (salt, usage) = (purchase.salt(), purchase.usage());
                let is_cut = usage.output >= purchase.quote().caps.output;
                let response = self.models.end(&self.told, self.spender.as_ref(), purchase, &receipt).await?;
                self.response.clone_from(&response);
                let said = receipt.payload();
                let leaf = leaf_hash(&receipt.to_bytes());
                let receipt = ReceiptRef { leaf, call: self.call, payer: self.payer, charge: said.charge, salt };
                Ok(Piece::End(Box::new(Ended { usage: said.usage, is_cut, receipt, response })))
            }
        }
    }
}

impl Completion for NodeCompletion {
    fn announced(&self) -> Option<SettleResponse> {
        match &self.told {
            Told::Channel(told) => Some(self.models.response_channel(told, told.announced?)),
            Told::Nothing | Told::Single { .. } => None,
        }
    }

    fn call(&self) -> CallId {
        self.call
    }

    fn keep(&mut self, kept: Kept) -> Pending<'_, ()> {
        Box::pin(async move {
            let (Some(response), Some(kept)) = (&self.response, KeptRow::of(Some(kept))) else { return Ok(()) };
            let response = serde_json::to_vec(response).unwrap_or_default();
            let row = CompletedRow { kept, response, at: self.models.buyer.clock.now() };
            let write = put(completed_key(&self.payer, &self.call), row.to_bytes());
            let written = self.models.buyer.journal.commit(vec![write]).await;
            written.map_err(|fault| Trouble::from(CallError::from(fault)))
        })
    }

    fn next(&mut self) -> Pending<'_, Piece> {
        Box::pin(async move { self.advance().await.map_err(Trouble::from) })
    }
}

/// A reader that went away: the host is told to stop, and what was delivered is paid.
impl Drop for NodeCompletion {
    fn drop(&mut self) {
        let Some(mut purchase) = self.purchase.take() else { return };
        let (flight, spender) = (self.flight.take(), self.spender.take());
        let models = Arc::clone(&self.models);
        let Ok(executor) = tokio::runtime::Handle::try_current() else { return };
        executor.spawn(async move {
            let ended = async {
                purchase.stop().await?;
                let receipt = purchase.drain().await?;
                if let Some(spender) = &spender {
                    models.keys.finish(spender, purchase, receipt.payload().charge).await?;
                }
                Ok::<_, CallError>(())
            };
            if let Err(error) = ended.await {
                tracing::debug!(%error, "a completion that nobody reads ends without its receipt");
            }
            drop(flight);
        });
    }
}

impl Models for NodeModels {
    fn models(&self) -> Pending<'_, Vec<ModelCard>> {
        Box::pin(async move {
            let all = self.0.all().await?;
            let count = |name: &str| all.iter().filter(|listing| listing.payload().name == name).count();
            let card = |listing: &Signed<Listing>| {
                let listing = listing.payload();
                let id = if count(&listing.name) > 1 { full_name(listing) } else { listing.name.clone() };
                ModelCard {
                    id,
                    created_s: listing.time.as_secs(),
                    owned_by: listing.owner.to_string(),
                    title: listing.title.clone(),
                    input: listing.prices.input,
                    output: listing.prices.output,
                    context_max: listing.context_max,
                    output_max: listing.output_max,
                }
            };
            Ok(all.iter().map(card).collect())
        })
    }

    fn open<'a>(
        &'a self,
        model: &'a str,
        ask: &'a Request,
        request: &'a PricedRequest,
        means: &'a Means,
        stream: bool,
    ) -> Pending<'a, Admission<Box<dyn Completion>>> {
        Box::pin(async move {
            let answer = match means {
                Means::Key(text) => self.0.open_with_key(text, model, ask).await,
                Means::Nothing | Means::Payment(_) => {
                    // Repeats wait at the door: each would ask the host for the price first.
                    let _door = match means {
                        Means::Payment(paid) => {
                            let print = fingerprint(&request.method, &request.url, &request.body);
                            let digest = identifier::payload_digest(paid);
                            match self.0.door.take([DOOR, digest.as_bytes()].concat(), print) {
                                Ok(door) => Some(door),
                                Err(taken) => return Ok(in_flight(taken == print)),
                            }
                        }
                        Means::Nothing | Means::Key(_) => None,
                    };
                    let priced = match self.0.priced(model, ask).await {
                        Ok(priced) => priced,
                        Err(Stop::Refused(refusal)) => {
                            return Err(Trouble::new(Code::ListingTerms, refusal.to_string()));
                        }
                        Err(Stop::Trouble(trouble)) => return Err(trouble),
                    };
                    let offered = self.0.offers(&priced, &request.url);
                    let Means::Payment(paid) = means else {
                        return Ok(Admission::Refused(Box::new(offered.required(None))));
                    };
                    match self.0.judge(&priced, &offered, ask, request, paid, stream).await {
                        Err(Stop::Refused(refusal)) => {
                            Ok(Admission::Refused(Box::new(offered.required(Some(&refusal)))))
                        }
                        other => other,
                    }
                }
            };
            match answer {
                Ok(admission) => Ok(admission),
                Err(Stop::Refused(refusal)) => Err(Trouble::new(Code::CallNoAnswer, refusal.to_string())),
                Err(Stop::Trouble(trouble)) => Err(trouble),
            }
        })
    }
}
