//! A shop that is paid over HTTP 402, on the world of the tests: its till, facilitators, a buyer, and a ledger that
//! loses its answers.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub(crate) mod seller;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agora_actors::pay::{Catalogue, FacilitatorParts, LedgerFacilitator, PlainTill, Sellers, TillParts, TillTerms};
use agora_channels::Channel;
use agora_economy::ports::ledger::{Ledger, LedgerFailure, ListingTerms, Payment, Pending};
use agora_economy::ports::pay::{
    Admission, Answered, Caller, Facilitator as _, Kept, Pending as PayPending, PricedRequest, Till as _,
};
use agora_economy::testkit::*;
use agora_economy::{CallRecord, CommitRecord, Distributor, KeyRecord, OpenCall};
use agora_types::batch::Entry;
use agora_types::command::{Command, Transfer, WithdrawFinish, WithdrawStart};
use agora_types::eip712::Network;
use agora_types::genesis::Parameters;
use agora_types::key::StatementKey;
use agora_types::{Address, Amount, CallId, ChannelId, Code, DatanetId, Hash, ListingId, Timestamp};
use agora_x402::buyer::{BuyerChannel, ChannelKeys, Fresh, PaymentContext, pay_exact, pay_upto};
use agora_x402::check::ChannelView;
use agora_x402::extensions::identifier::PaymentIdentifier;
use agora_x402::seller::{Offers, batch_offer, exact_offer, upto_offer};
use agora_x402::wire::{
    DiscoveryItem, Object, PaymentPayload, PaymentRequired, PaymentRequirements, Resource, Scheme, SettleRequest,
    SettleResponse, VerifyResponse, Version,
};

use crate::world::{DirectLedger, World};

/// Is paid; an account without a listing.
pub(crate) const SHOP: u8 = 7;
/// Of one request, in atoms; also the smallest deposit of the network.
pub(crate) const PRICE: u128 = 1_000_000_000;
pub(crate) const TIMEOUT_S: u64 = 300;
pub(crate) const URL: &str = "https://shop.example/answer";

pub(crate) fn shop() -> Address {
    key(SHOP).address()
}

pub(crate) fn payer() -> Address {
    key(PAYER).address()
}

pub(crate) fn network() -> Network {
    Kit::default().network()
}

/// What the payer has at first.
pub(crate) fn purse() -> u128 {
    Amount::from_open(1_000).atoms()
}

pub(crate) fn terms() -> TillTerms {
    TillTerms {
        receiver: shop(),
        price: atoms(PRICE),
        schemes: vec![Scheme::Exact, Scheme::Upto, Scheme::BatchSettlement],
        resource: Resource {
            url: String::new(),
            description: None,
            mime_type: None,
            service_name: None,
            tags: None,
            icon_url: None,
        },
        timeout_s: TIMEOUT_S,
        min_deposit: None,
        withdraw_delay: 900,
        needs_identifier: false,
    }
}

pub(crate) fn till_parts(world: &World) -> TillParts {
    TillParts {
        ledger: world.ledger.clone(),
        account: Arc::new(key(OPERATOR)),
        journal: world.journal.clone(),
        clock: world.clock.clone(),
        random: world.clock.clone(),
    }
}

pub(crate) fn till(world: &World) -> PlainTill {
    PlainTill::new(till_parts(world), terms())
}

struct Nothing;

impl Catalogue for Nothing {
    fn resources(&self) -> PayPending<'_, Vec<DiscoveryItem>> {
        Box::pin(async { Ok(Vec::new()) })
    }
}

pub(crate) fn sellers(world: &World) -> Sellers {
    Sellers::new(world.journal.clone(), world.clock.clone(), world.clock.clone())
}

pub(crate) fn facilitator(world: &World) -> LedgerFacilitator {
    facilitator_on(world, world.ledger.clone())
}

pub(crate) fn facilitator_on(world: &World, ledger: Arc<dyn Ledger>) -> LedgerFacilitator {
    LedgerFacilitator::new(FacilitatorParts {
        ledger,
        account: Arc::new(key(OPERATOR)),
        sellers: sellers(world),
        clock: world.clock.clone(),
        random: world.clock.clone(),
        catalogue: Arc::new(Nothing),
    })
}

/// The one offer of a scheme for `amount` atoms.
pub(crate) fn offer(scheme: &Scheme, amount: u128) -> PaymentRequirements {
    offer_signed_by(scheme, amount, OPERATOR)
}

/// The same, with a key of the seller's own for claims and refunds.
pub(crate) fn offer_signed_by(scheme: &Scheme, amount: u128, authorizer: u8) -> PaymentRequirements {
    let (network, operator, amount) = (network(), key(OPERATOR).address(), atoms(amount));
    match scheme {
        Scheme::Exact => exact_offer(&network, shop(), amount, TIMEOUT_S),
        Scheme::Upto => upto_offer(&network, shop(), amount, TIMEOUT_S, operator),
        Scheme::BatchSettlement => {
            batch_offer(&network, shop(), amount, TIMEOUT_S, key(authorizer).address(), 900, None)
        }
        Scheme::Other(name) => panic!("{name} is not offered"),
    }
}

pub(crate) fn offers(own: &PaymentRequirements) -> Offers {
    let resource = Resource { url: URL.to_owned(), ..terms().resource };
    Offers { resource, accepts: vec![own.clone()], extensions: Object::new() }
}

/// A time at which payments are signed that every life of a world takes: it begins a second later at the earliest.
pub(crate) fn signed_at() -> Timestamp {
    Kit::default().now
}

/// A payment for an offer, by a key; `nonce` tells payments apart.
pub(crate) fn single_by(number: u8, own: &PaymentRequirements, nonce: u8, at: Timestamp) -> PaymentPayload {
    let (network, required) = (network(), offers(own).required(None));
    let context = PaymentContext { network: &network, required: &required, offer: own, now: at };
    let nonce = Hash::new([nonce; 32]);
    match &own.scheme {
        Scheme::Exact => pay_exact(&context, &key(number), nonce),
        Scheme::Upto => pay_upto(&context, &key(number), nonce).unwrap(),
        Scheme::BatchSettlement | Scheme::Other(_) => panic!("no single payment"),
    }
}

pub(crate) fn single(own: &PaymentRequirements, nonce: u8) -> PaymentPayload {
    single_by(PAYER, own, nonce, signed_at())
}

pub(crate) fn asked(payment: &PaymentPayload, own: &PaymentRequirements) -> SettleRequest {
    SettleRequest { x402_version: Version, payment_payload: payment.clone(), payment_requirements: own.clone() }
}

/// A payment and the question about it.
pub(crate) fn question(scheme: &Scheme, amount: u128, nonce: u8) -> SettleRequest {
    let own = offer(scheme, amount);
    asked(&single(&own, nonce), &own)
}

pub(crate) fn nobody() -> Caller {
    Caller::default()
}

pub(crate) async fn verify(facilitator: &LedgerFacilitator, request: &SettleRequest) -> VerifyResponse {
    facilitator.verify(&nobody(), request).await.unwrap()
}

pub(crate) async fn settle(facilitator: &LedgerFacilitator, request: &SettleRequest) -> SettleResponse {
    facilitator.settle(&nobody(), request).await.unwrap()
}

/// The reason of a refused settlement, or its trouble.
pub(crate) async fn settle_refused(
    facilitator: &LedgerFacilitator,
    caller: &Caller,
    request: &SettleRequest,
) -> String {
    match facilitator.settle(caller, request).await {
        Ok(response) => response.error_reason.expect("it is refused"),
        Err(trouble) => trouble.code.text().to_owned(),
    }
}

/// The buyer's side of a channel, as our own clients keep it.
pub(crate) struct Channels {
    pub(crate) buyer: BuyerChannel,
    own: PaymentRequirements,
}

impl Channels {
    pub(crate) fn new(own: &PaymentRequirements) -> Self {
        let extra = own.batch_extra().unwrap();
        let config = BuyerChannel::config_for(own, &extra, payer(), key(SESSION).address(), Hash::ZERO);
        Self { buyer: BuyerChannel::new(config, &ChannelView::default()), own: own.clone() }
    }

    /// Pays one request; deposits five requests where nothing is left. `salt` tells deposits apart.
    pub(crate) fn pay(&mut self, salt: u8) -> PaymentPayload {
        self.pay_for(&offers(&self.own).required(None), salt)
    }

    /// Pays what a 402 asks for.
    pub(crate) fn pay_for(&mut self, required: &PaymentRequired, salt: u8) -> PaymentPayload {
        let (network, owner, session) = (network(), key(PAYER), key(SESSION));
        let own = required.accepts.iter().filter_map(|accept| accept.known());
        let own = own.clone().find(|own| own.scheme == Scheme::BatchSettlement).unwrap();
        let context = PaymentContext { network: &network, required, offer: own, now: signed_at() };
        let keys = ChannelKeys { owner: &owner, session: &session };
        self.buyer.pay(&context, keys, atoms(u128::MAX >> 8), Fresh { salt: Hash::new([salt; 32]) }).unwrap()
    }

    pub(crate) fn refund(&mut self, amount: Option<u128>) -> PaymentPayload {
        let (network, owner, session) = (network(), key(PAYER), key(SESSION));
        let required = offers(&self.own).required(None);
        let context = PaymentContext { network: &network, required: &required, offer: &self.own, now: signed_at() };
        let keys = ChannelKeys { owner: &owner, session: &session };
        self.buyer.refund(&context, keys, amount.map(atoms)).unwrap()
    }

    /// The same buyer, who takes every answer.
    pub(crate) fn took(&mut self, response: &SettleResponse) {
        self.buyer.answered(&network(), response).unwrap();
    }

    /// Pays a request, and takes the answer.
    pub(crate) async fn buy(&mut self, till: &PlainTill, request: &PricedRequest, salt: u8, charge: u128) {
        let payment = self.pay(salt);
        self.took(buy(till, request, &payment, charge).await.response());
    }

    pub(crate) fn id(&self) -> ChannelId {
        self.buyer.config.id(&network())
    }
}

pub(crate) fn with_identifier(mut payment: PaymentPayload, id: &str) -> PaymentPayload {
    PaymentIdentifier { required: false, id: Some(id.to_owned()) }.write(&mut payment.extensions);
    payment
}

/// A request for the shop's one resource.
pub(crate) fn request(body: &str) -> PricedRequest {
    PricedRequest { method: "POST".to_owned(), url: URL.to_owned(), body: Hash::sha256(body) }
}

/// What the shop answers.
pub(crate) fn answer(request: &PricedRequest) -> Kept {
    let body = format!("the answer to {}", request.body).into_bytes();
    Kept { status: 200, content_type: "text/plain".to_owned(), body }
}

/// What became of a request with a payment.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Served(SettleResponse),
    Answered(Option<Kept>, SettleResponse),
    Refunded(SettleResponse),
    Busy,
    Conflict,
    Refused(Box<PaymentRequired>),
    Trouble(Code),
}

impl Outcome {
    pub(crate) fn response(&self) -> &SettleResponse {
        match self {
            Self::Served(response) | Self::Answered(_, response) | Self::Refunded(response) => response,
            Self::Busy | Self::Conflict | Self::Refused(_) | Self::Trouble(_) => panic!("{self:?}"),
        }
    }

    /// Why it was refused.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Refused(required) => required.error.as_deref().unwrap(),
            Self::Served(_)
            | Self::Answered(..)
            | Self::Refunded(_)
            | Self::Busy
            | Self::Conflict
            | Self::Trouble(_) => {
                panic!("{self:?}")
            }
        }
    }
}

/// What a web server does: admits, does the work, charges `charge` atoms, answers.
pub(crate) async fn buy(till: &PlainTill, request: &PricedRequest, payment: &PaymentPayload, charge: u128) -> Outcome {
    match till.admit(request, payment).await {
        Ok(Admission::Serve(ticket)) => {
            // Others run while the work is done.
            tokio::task::yield_now().await;
            match ticket.settle(atoms(charge), Some(answer(request))).await {
                Ok(response) => Outcome::Served(response),
                Err(trouble) => Outcome::Trouble(trouble.code),
            }
        }
        Ok(Admission::Answered(answered)) => {
            let Answered { kept, response, .. } = *answered;
            Outcome::Answered(kept, response)
        }
        Ok(Admission::Refunded(response)) => Outcome::Refunded(*response),
        Ok(Admission::Busy(_)) => Outcome::Busy,
        Ok(Admission::Conflict(_)) => Outcome::Conflict,
        Ok(Admission::Refused(required)) => Outcome::Refused(required),
        Err(trouble) => Outcome::Trouble(trouble.code),
    }
}

/// Commits a command of a key past the shop.
pub(crate) async fn submit(world: &World, number: u8, command: Command) -> Result<(), Code> {
    let ledger: &dyn Ledger = world.ledger.as_ref();
    ledger.commit_one(Entry::sign(&network(), command, &key(number))).await.map_err(|failure| failure.code)
}

fn head(world: &World, number: u8) -> agora_types::command::Head {
    agora_actors::clock::fresh_head(world.clock.as_ref(), world.clock.as_ref(), key(number).address())
}

/// Sends atoms from one key's account to another.
pub(crate) async fn send(world: &World, from: u8, to: u8, amount: u128) -> Result<(), Code> {
    let (head, credit) = (head(world, from), key(to).address());
    let transfer = Transfer { head, credit, amount: atoms(amount), pending: None, reference: 0, receipt: None };
    submit(world, from, Command::Transfer(transfer)).await
}

/// A batch, so that the ledger notices the time.
pub(crate) async fn nudge(world: &World) {
    send(world, OWNER, HOST, 1).await.unwrap();
}

pub(crate) async fn withdraw_start(world: &World, channel: ChannelId) -> Result<(), Code> {
    let head = head(world, PAYER);
    submit(world, PAYER, Command::WithdrawStart(WithdrawStart { head, channel })).await
}

pub(crate) async fn withdraw_finish(world: &World, channel: ChannelId) -> Result<(), Code> {
    let head = head(world, PAYER);
    submit(world, PAYER, Command::WithdrawFinish(WithdrawFinish { head, channel })).await
}

pub(crate) fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

/// A ledger that commits and then, while `loses` is true, does not say so.
pub(crate) struct Lossy {
    pub(crate) ledger: Arc<DirectLedger>,
    pub(crate) loses: AtomicBool,
    pub(crate) code: Code,
}

impl Ledger for Lossy {
    fn network(&self) -> Network {
        self.ledger.network()
    }
    fn parameters(&self) -> &Parameters {
        self.ledger.parameters()
    }
    fn commit(&self, group: Vec<Entry>) -> Pending<'_, Vec<Result<(), Code>>> {
        Box::pin(async move {
            let answers = self.ledger.commit(group).await;
            if self.loses.load(Ordering::SeqCst) {
                return Err(LedgerFailure { code: self.code, what: "the answer was lost".to_owned() });
            }
            answers
        })
    }
    fn available(&self, account: Address) -> Pending<'_, Amount> {
        self.ledger.available(account)
    }
    fn channel(&self, channel: ChannelId) -> Pending<'_, Option<Channel>> {
        self.ledger.channel(channel)
    }
    fn listing(&self, listing: ListingId) -> Pending<'_, Option<ListingTerms>> {
        self.ledger.listing(listing)
    }
    fn statement_key(&self, key: StatementKey) -> Pending<'_, Option<KeyRecord>> {
        self.ledger.statement_key(key)
    }
    fn call(&self, payer: Address, call: CallId) -> Pending<'_, Option<CallRecord>> {
        self.ledger.call(payer, call)
    }
    fn open_call(&self, payer: Address, call: CallId) -> Pending<'_, Option<OpenCall>> {
        self.ledger.open_call(payer, call)
    }
    fn payment(&self, payer: Address, nonce: Hash) -> Pending<'_, Option<Payment>> {
        self.ledger.payment(payer, nonce)
    }
    fn unsettled(&self, receiver: Address) -> Pending<'_, Amount> {
        self.ledger.unsettled(receiver)
    }
    fn distributor(&self, host: Address) -> Pending<'_, Option<Distributor>> {
        self.ledger.distributor(host)
    }
    fn claimed(&self, host: Address, account: Address) -> Pending<'_, Amount> {
        self.ledger.claimed(host, account)
    }
    fn commitment(&self, datanet: DatanetId, contributor: Address, root: Hash) -> Pending<'_, Option<CommitRecord>> {
        self.ledger.commitment(datanet, contributor, root)
    }
    fn receipt(&self, index: u64) -> Pending<'_, Option<Vec<u8>>> {
        self.ledger.receipt(index)
    }
}
