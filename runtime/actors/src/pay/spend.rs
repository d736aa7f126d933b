//! The buyer of HTTP 402: sends a request, pays what is asked within the limits, and knows what it paid.
//!
//! A payment is on disk before it leaves, and the same bytes are sent again until there is an answer, so that it cannot
//! pay twice. What a single payment cost is read from our own ledger; what a channel was charged is our own count, bounded
//! by what was signed. What a crash leaves:
//!
//! | it ends | on disk | the money | the same fetch again |
//! |---|---|---|---|
//! | before the payment is signed | nothing | untouched | as if for the first time |
//! | after the purchase's row | the signed payment | untouched, or moved once | the same payment is sent again |
//! | after the answer's row | payment, cost and answer | moved once, or never | the answer from disk |
//! | after it was given up | that, and the cost | as the row says | refused |

mod channel;
mod choice;
mod fate;
mod rows;
mod turns;
mod withdraw;

use std::sync::Arc;
use std::time::Duration;

use agora_economy::ports::http::{HttpAsk, HttpExchange, HttpHeard};
use agora_economy::ports::ledger::Ledger;
use agora_economy::ports::state::{Journal, Write};
use agora_sandbox_api::{HttpRequest, Paid};
use agora_types::{Amount, CallId, Code, Hash};
use agora_x402::buyer::{PaymentContext, pay_exact, pay_upto};
use agora_x402::extensions::identifier::PaymentIdentifier;
use agora_x402::header::{self, HeaderDocument};
use agora_x402::scheme::exact::ExactPayload;
use agora_x402::scheme::upto::UptoPayload;
use agora_x402::wire::{
    PaymentPayload, PaymentRequired, PaymentRequirements, Resource, Scheme, SettleResponse, WireError,
};

pub use rows::{
    AwaitedPart, ChannelPart, PaidPart, PurchaseRow, PurchaseState, ReplyPart, SignedPart, SpentChannelRow,
};

use crate::clock::{Clock, Random, random};
use crate::error::CallError;
use crate::fetch::{HttpAnswer, PaidFetch, Reply, SpendLimits, Withdrawn};
use crate::purchase::{Payer, Pending};
use channel::Held;
use choice::Plan;
use fate::Fate;
use rows::{kept, load, purchase_key, put, request_hash};
use turns::Turns;

/// The header in which our gateways name an answer's receipt.
const RECEIPT_HEADER: &str = "agora-receipt";
const PAYMENT_REQUIRED_STATUS: u16 = 402;

/// How long is waited for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For the answer of an unpaid request, milliseconds.
    pub unpaid_ms: u64,
    /// For the answer of a paid one.
    pub paid_ms: u64,
    /// How often a payment is sent, and its end asked for.
    pub tries: u32,
    /// Before the second time; twice as long before each further one.
    pub pause_ms: u64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { unpaid_ms: 60_000, paid_ms: 300_000, tries: 4, pause_ms: 250 }
    }
}

/// Asked before anything is signed, with the offer and what it sells. An error ends the fetch with nothing paid; it must
/// be none for which [`CallError::is_fault`] holds.
pub type Consent = Arc<dyn Fn(&PaymentRequirements, &Resource) -> Result<(), CallError> + Send + Sync>;

/// What a client is made of.
#[derive(Clone)]
pub struct SpendParts {
    /// Sends requests.
    pub http: Arc<dyn HttpExchange>,
    /// Says what moved.
    pub ledger: Arc<dyn Ledger>,
    /// Where what is signed is written down.
    pub journal: Arc<dyn Journal>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Nonces and salts.
    pub random: Arc<dyn Random>,
    /// The ways to pay, the favourite first.
    pub schemes: Vec<Scheme>,
    /// How long is waited.
    pub patience: Patience,
    /// Asked before each payment; absent: the limits are enough.
    pub consent: Option<Consent>,
}

/// The schemes of agents: single payments first, since a channel's unspent deposit has to be brought back.
pub fn usual_schemes() -> Vec<Scheme> {
    vec![Scheme::Exact, Scheme::Upto, Scheme::BatchSettlement]
}

/// Pays over HTTP. See [`PaidFetch`] for what it promises.
pub struct PaidClient {
    parts: SpendParts,
    purchases: Turns,
    channels: Turns,
}

/// Whose purchase it is, and its bounds.
struct Signing<'a> {
    payer: &'a Payer,
    id: CallId,
    request: &'a HttpRequest,
    limits: &'a SpendLimits,
}

impl PaidClient {
    /// Over its parts.
    pub fn new(parts: SpendParts) -> Self {
        Self { parts, purchases: Turns::default(), channels: Turns::default() }
    }

    async fn run(&self, signing: &Signing<'_>) -> Result<HttpAnswer, CallError> {
        let key = purchase_key(&signing.payer.account.address(), &signing.id);
        let _turn = self.purchases.take(key.clone()).await;
        let mut earlier = None;
        if let Some(row) = load::<PurchaseRow>(self.parts.journal.as_ref(), key).await? {
            if row.state == PurchaseState::GivenUp {
                return Err(CallError::new(Code::AgentOutOfTime, "the request was given up"));
            }
            if row.request != Some(request_hash(signing.request, signing.limits.max)) {
                return Err(uncertain("another request was sent under this id"));
            }
            let Some(signed) = row.signed.clone().filter(|_| row.state == PurchaseState::Signed) else {
                return Ok(row.answer());
            };
            match self.lapsed(signing.payer, &signed).await.map_err(doubtful)? {
                Some(offer) => earlier = Some(offer),
                None => return self.resume(signing, row, signed).await.map_err(doubtful),
            }
        }
        self.begin(signing, earlier.as_ref()).await
    }

    /// The offer of a payment whose time is over and that never moved: another may take its place, no dearer.
    async fn lapsed(&self, payer: &Payer, signed: &SignedPart) -> Result<Option<PaymentRequirements>, CallError> {
        let Some(single) = &signed.single else { return Ok(None) };
        if self.parts.clock.now().as_secs() < single.window().1 || self.end(payer, single).await? != Fate::Never {
            return Ok(None);
        }
        Ok(Some(read_back(&signed.header)?.accepted))
    }

    /// Unpaid first; then, if that is what it takes, paid.
    async fn begin(
        &self,
        signing: &Signing<'_>,
        earlier: Option<&PaymentRequirements>,
    ) -> Result<HttpAnswer, CallError> {
        let heard = self.send(signing, None, self.parts.patience.unpaid_ms).await;
        let heard = heard.map_err(|what| CallError::new(Code::CallNoAnswer, what))?;
        if heard.status != PAYMENT_REQUIRED_STATUS || signing.limits.max.is_zero() {
            return Ok(HttpAnswer { paid: None, reply: reply(heard) });
        }
        let plan = match said::<PaymentRequired>(&heard) {
            Ok(required) => {
                let plan = self.plan(signing.payer, &required, signing.limits, earlier).await?;
                plan.map(|plan| (plan, required))
            }
            Err(why) => {
                tracing::debug!(%why, "a 402 without a readable offer");
                None
            }
        };
        let Some((plan, required)) = plan else { return Ok(HttpAnswer { paid: None, reply: reply(heard) }) };
        if let Some(consent) = &self.parts.consent {
            consent(plan.offer(), &required.resource)?;
        }
        let Some((signed, held)) = self.sign(signing, &required, plan)? else {
            return Ok(HttpAnswer { paid: None, reply: reply(heard) });
        };
        let row = self.row(signing, PurchaseState::Signed, Some(signed.clone()));
        self.pay(signing, row, signed, held).await.map_err(doubtful)
    }

    /// Signs the plan's offer; `None` when the rules refuse it after all.
    #[allow(clippy::type_complexity, reason = "the payment, and the channel's turn that it needs")]
    fn sign(
        &self,
        signing: &Signing<'_>,
        required: &PaymentRequired,
        plan: Plan,
    ) -> Result<Option<(SignedPart, Option<Box<Held>>)>, CallError> {
        let network = self.parts.ledger.network();
        let context = |offer| PaymentContext { network: &network, required, offer, now: self.parts.clock.now() };
        let account = signing.payer.account.as_ref();
        let signed = match plan {
            Plan::Single(offer) => {
                let nonce = Hash::new(random(self.parts.random.as_ref()));
                let refused = |what: String| CallError::new(Code::WireMalformed, what);
                let (payment, words) = match &offer.scheme {
                    Scheme::Upto => {
                        let payment = pay_upto(&context(&offer), account, nonce).map_err(|e| refused(e.to_string()))?;
                        let words = UptoPayload::read(&payment.payload).and_then(|one| one.words(&network));
                        (payment, words)
                    }
                    Scheme::Exact | Scheme::BatchSettlement | Scheme::Other(_) => {
                        let payment = pay_exact(&context(&offer), account, nonce);
                        let words = ExactPayload::read(&payment.payload).and_then(|one| one.words());
                        (payment, words)
                    }
                };
                let (single, _) = words.map_err(|refusal| refused(refusal.to_string()))?;
                self.part(signing, &offer, payment, 0).map(|part| (SignedPart { single: Some(single), ..part }, None))
            }
            Plan::Channel(offer, mut held) => match self.draw(signing.payer, &context(&offer), &mut held, None) {
                Ok((payment, channel)) => self
                    .part(signing, &offer, payment, 0)
                    .map(|part| (SignedPart { channel: Some(channel), ..part }, Some(held))),
                Err(_) => None,
            },
        };
        Ok(signed)
    }

    /// The payment as it is sent; `None` for one that no server would read.
    fn part(
        &self,
        signing: &Signing<'_>,
        offer: &PaymentRequirements,
        mut payment: PaymentPayload,
        number: u32,
    ) -> Option<SignedPart> {
        let wanted = PaymentIdentifier::read(&payment.extensions).ok().flatten();
        if wanted.is_some_and(|info| info.required) {
            // Another one for each payment: the same id with other words is a conflict.
            let id = hex::encode(signing.id.as_bytes());
            PaymentIdentifier { required: true, id: Some(format!("{id}-{number}")) }.write(&mut payment.extensions);
        }
        let header = header::encode(&payment).ok()?;
        Some(SignedPart { header, amount: offer.amount, payee: offer.pay_to, single: None, channel: None })
    }

    fn row(&self, signing: &Signing<'_>, state: PurchaseState, signed: Option<SignedPart>) -> PurchaseRow {
        let request = Some(request_hash(signing.request, signing.limits.max));
        PurchaseRow { state, request, signed, paid: None, reply: None, at: self.parts.clock.now() }
    }

    async fn resume(
        &self,
        signing: &Signing<'_>,
        row: PurchaseRow,
        signed: SignedPart,
    ) -> Result<HttpAnswer, CallError> {
        let held = match &signed.channel {
            Some(part) => Some(Box::new(self.held_again(signing.payer, part).await?)),
            None => None,
        };
        self.converse(signing, row, signed, held).await
    }

    /// From here on every error is a doubt: something is signed.
    async fn pay(
        &self,
        signing: &Signing<'_>,
        row: PurchaseRow,
        signed: SignedPart,
        held: Option<Box<Held>>,
    ) -> Result<HttpAnswer, CallError> {
        self.write(signing.payer, signing.id, &row, held.as_deref()).await?;
        self.converse(signing, row, signed, held).await
    }

    /// Purchase and channel, in one durable step.
    async fn write(&self, payer: &Payer, id: CallId, row: &PurchaseRow, held: Option<&Held>) -> Result<(), CallError> {
        let mut writes: Vec<Write> = vec![put(purchase_key(&payer.account.address(), &id), row)];
        writes.extend(held.map(|held| held.write(self, payer, id)));
        Ok(self.parts.journal.commit(writes).await?)
    }

    /// Sends the signed payment until there is an answer, follows a correction, and finds out what it cost.
    async fn converse(
        &self,
        signing: &Signing<'_>,
        mut row: PurchaseRow,
        mut signed: SignedPart,
        mut held: Option<Box<Held>>,
    ) -> Result<HttpAnswer, CallError> {
        loop {
            let heard = self.send_paid(signing, &signed.header).await?;
            let mut corrected = None;
            if let (Some(part), Some(held)) = (&signed.channel, held.as_deref_mut())
                && heard.status == PAYMENT_REQUIRED_STATUS
                && let Ok(required) = said::<PaymentRequired>(&heard)
            {
                let accepted = read_back(&signed.header)?.accepted;
                let drawn = self.correct(signing, &required, &accepted, part, held);
                corrected = drawn.and_then(|(payment, part)| {
                    let offer = payment.accepted.clone();
                    let next = self.part(signing, &offer, payment, part.corrections)?;
                    Some(SignedPart { channel: Some(part), ..next })
                });
            }
            match corrected {
                Some(next) => {
                    row.signed = Some(next.clone());
                    row.at = self.parts.clock.now();
                    self.write(signing.payer, signing.id, &row, held.as_deref()).await?;
                    signed = next;
                }
                None => return self.conclude(signing, row, &signed, held, heard).await,
            }
        }
    }

    /// What the answer cost becomes durable with it, before it is told.
    async fn conclude(
        &self,
        signing: &Signing<'_>,
        row: PurchaseRow,
        signed: &SignedPart,
        mut held: Option<Box<Held>>,
        heard: HttpHeard,
    ) -> Result<HttpAnswer, CallError> {
        let response = said::<SettleResponse>(&heard);
        let amount = match (&signed.single, held.as_deref_mut()) {
            (Some(single), _) => {
                let fate = self.settle(signing.payer, single, heard.status < 400).await?;
                match fate {
                    Fate::Posted(amount) => amount,
                    Fate::Never => Amount::ZERO,
                    Fate::Open => return Err(uncertain("the server answered, and may still take the payment")),
                }
            }
            (None, Some(held)) => held.charged(self, signed.amount, heard.status, response.as_ref()),
            (None, None) => return Err(CallError::new(Code::StoreDamaged, "a purchase without a payment")),
        };
        let named = response.ok().filter(|response| response.success).map(|response| response.transaction);
        let transaction = named.filter(|name| !name.is_empty()).unwrap_or_else(|| self.name(signed));
        let receipt = heard.values(RECEIPT_HEADER).next().map(str::to_owned);
        let paid = PaidPart::of(amount, signed.payee, &transaction, receipt.as_deref());
        let reply = reply(heard);
        let kept = reply.as_ref().ok().and_then(kept);
        let row = PurchaseRow { state: PurchaseState::Ended, paid, reply: kept, at: self.parts.clock.now(), ..row };
        self.write(signing.payer, signing.id, &row, held.as_deref()).await?;
        Ok(HttpAnswer { paid: row.paid.as_ref().map(PaidPart::paid), reply })
    }

    /// What the ledger calls a payment.
    fn name(&self, signed: &SignedPart) -> String {
        let digest = signed.single.as_ref().map(|single| single.digest(&self.parts.ledger.network()).to_string());
        digest.or_else(|| signed.channel.as_ref().map(|part| part.id.to_string())).unwrap_or_default()
    }

    /// The payment's end: a server that answered well is given time to take it, any other none.
    async fn settle(
        &self,
        payer: &Payer,
        single: &agora_types::authorization::Authorization,
        served: bool,
    ) -> Result<Fate, CallError> {
        let tries = self.parts.patience.tries;
        for number in 0..tries {
            let waits = served && number + 1 < tries;
            let fate = if waits { self.stands(single).await? } else { self.end(payer, single).await? };
            if fate != Fate::Open {
                return Ok(fate);
            }
            self.pause(number).await;
        }
        Ok(Fate::Open)
    }

    async fn pause(&self, number: u32) {
        let pause_ms = self.parts.patience.pause_ms.saturating_mul(1 << number.min(10));
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
    }

    /// The same bytes until somebody answers; a server that is busy or broken is asked again.
    async fn send_paid(&self, signing: &Signing<'_>, payment: &str) -> Result<HttpHeard, CallError> {
        let Patience { tries, paid_ms, .. } = self.parts.patience;
        let mut last = uncertain("nobody answered");
        for number in 0..tries {
            match self.send(signing, Some(payment), paid_ms).await {
                Ok(heard) if number + 1 < tries && is_passing(heard.status) => {}
                Ok(heard) => return Ok(heard),
                Err(what) => last = uncertain(what),
            }
            self.pause(number).await;
        }
        Err(last)
    }

    async fn send(&self, signing: &Signing<'_>, payment: Option<&str>, timeout_ms: u64) -> Result<HttpHeard, String> {
        let Signing { request, limits, .. } = signing;
        let url = limits.target.url();
        let mut headers = request.headers.clone();
        if let Some(payment) = payment {
            headers.push((header::PAYMENT_SIGNATURE.to_ascii_lowercase(), payment.to_owned()));
        }
        let may_reach = |address| limits.target.may_reach(address);
        let ask = HttpAsk {
            method: &request.method,
            url: &url,
            headers: &headers,
            body: &request.body,
            body_bytes_max: limits.body_bytes_max,
            timeout_ms,
            may_reach: &may_reach,
        };
        self.parts.http.exchange(ask).await.map_err(|fault| fault.to_string())
    }

    async fn end_of(&self, payer: &Payer, id: CallId) -> Result<Option<Paid>, CallError> {
        let key = purchase_key(&payer.account.address(), &id);
        let _turn = self.purchases.take(key.clone()).await;
        let at = self.parts.clock.now();
        let row = load::<PurchaseRow>(self.parts.journal.as_ref(), key).await?;
        let row = row.unwrap_or(PurchaseRow {
            state: PurchaseState::Ended,
            request: None,
            signed: None,
            paid: None,
            reply: None,
            at,
        });
        let told = |paid: Option<&PaidPart>| Ok(paid.map(PaidPart::paid));
        let (paid, held) = match (row.state, &row.signed) {
            (PurchaseState::GivenUp, Some(_) | None) => return told(row.paid.as_ref()),
            (PurchaseState::Signed, Some(signed)) => {
                let (amount, held) = self.give_back(payer, signed).await?;
                (PaidPart::of(amount, signed.payee, &self.name(signed), None), held)
            }
            (PurchaseState::Ended, Some(_) | None) | (PurchaseState::Signed, None) => (row.paid.clone(), None),
        };
        let row = PurchaseRow { state: PurchaseState::GivenUp, paid, reply: None, at, ..row };
        self.write(payer, id, &row, held.as_ref()).await?;
        told(row.paid.as_ref())
    }

    /// What a signed payment cost in the end, with the channel that has to remember it.
    async fn give_back(&self, payer: &Payer, signed: &SignedPart) -> Result<(Amount, Option<Held>), CallError> {
        match (&signed.single, &signed.channel) {
            (Some(single), _) => match self.end(payer, single).await? {
                Fate::Posted(amount) => Ok((amount, None)),
                Fate::Never => Ok((Amount::ZERO, None)),
                Fate::Open => Err(uncertain("the payment may still be taken")),
            },
            (None, Some(part)) => {
                let mut held = self.held_again(payer, part).await?;
                let amount = held.lose(signed.amount);
                Ok((amount, Some(held)))
            }
            (None, None) => Err(CallError::new(Code::StoreDamaged, "a purchase without a payment")),
        }
    }
}

impl PaidFetch for PaidClient {
    fn fetch<'a>(
        &'a self,
        payer: &'a Payer,
        id: CallId,
        request: &'a HttpRequest,
        limits: &'a SpendLimits,
    ) -> Pending<'a, HttpAnswer> {
        Box::pin(async move { self.run(&Signing { payer, id, request, limits }).await })
    }

    fn give_up<'a>(&'a self, payer: &'a Payer, id: CallId) -> Pending<'a, Option<Paid>> {
        Box::pin(async move { self.end_of(payer, id).await.map_err(doubtful) })
    }

    fn withdraw<'a>(&'a self, payer: &'a Payer) -> Pending<'a, Withdrawn> {
        Box::pin(self.withdraw_all(payer))
    }
}

/// The document in an answer's header, which must stand there exactly once.
fn said<T: HeaderDocument>(heard: &HttpHeard) -> Result<T, WireError> {
    header::decode(heard.values(T::HEADER))
}

fn read_back(text: &str) -> Result<PaymentPayload, CallError> {
    let payment = header::decode([text]);
    payment.map_err(|error| CallError::new(Code::StoreDamaged, format!("a signed payment: {error}")))
}

/// The answer as it is told.
fn reply(heard: HttpHeard) -> Result<Reply, CallError> {
    let HttpHeard { status, headers, body, cut } = heard;
    match cut {
        true => Err(CallError::new(Code::AgentTooLarge, format!("a body of more than {} bytes", body.len()))),
        false => Ok(Reply { status, headers, body }),
    }
}

/// Statuses after which the same request may have better luck.
fn is_passing(status: u16) -> bool {
    matches!(status, 409 | 425 | 429 | 500..=599)
}

fn uncertain(what: impl Into<String>) -> CallError {
    CallError::new(Code::PaymentUncertain, what)
}

/// After something was signed there are doubts only, whatever the code.
fn doubtful(error: CallError) -> CallError {
    if error.is_fault() { error } else { uncertain(error.to_string()) }
}
