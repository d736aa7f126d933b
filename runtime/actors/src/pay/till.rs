//! A till for any priced route: single payments are posted, vouchers are noted and claimed later.
//!
//! All routes that share a journal share one [`Desk`], so that a payment is served by one of them only. Of a channel the seller's row is the truth about what was charged, the ledger about what was claimed. One request at a
//! time runs on a channel; its charge and answer are durable in one step before the answer is sent.

mod channel;
mod claims;
mod keep;
mod refund;
mod single;

use std::sync::Arc;

use agora_economy::ports::ledger::Ledger;
use agora_economy::ports::pay::{Admission, Pending, PricedRequest, Ticket, Till};
use agora_economy::ports::state::{Journal, Write};
use agora_types::key::WalletKey;
use agora_types::{Address, Amount, Canonical as _, Code, Hash, Timestamp};
use agora_x402::check::{DepositPayment, Payment, Purpose, Terms, payment};
use agora_x402::extensions::identifier::{self, Identified, PaymentIdentifier};
use agora_x402::seller::{Offers, batch_offer, exact_offer, fingerprint, upto_offer};
use agora_x402::wire::{
    NetworkId, Object, PaymentPayload, Resource, Scheme, SettleResponse, SettledAmount, VerifyRequest, Version,
};
use agora_x402::{Reason, Refusal};

use super::flights::{Flight, Flights};
use super::rows::{NamedRow, identifier_key, load, put};
use super::single::{Singles, Stop};
use crate::clock::{Clock, Random};
use crate::error::CallError;

pub use keep::KEEP_S;

/// What a route costs, and how it may be paid.
#[derive(Debug, Clone, PartialEq)]
pub struct TillTerms {
    /// Who is paid.
    pub receiver: Address,
    /// Of one request: exactly, at most, or out of a channel.
    pub price: Amount,
    /// In the order of the seller's liking.
    pub schemes: Vec<Scheme>,
    /// What buyers see; the URL is the request's.
    pub resource: Resource,
    /// How long a payment must stay valid, which is how long the work may take.
    pub timeout_s: u64,
    /// What a new channel should hold at least.
    pub min_deposit: Option<Amount>,
    /// Seconds until a payer gets an unclaimed deposit back without us.
    pub withdraw_delay: u32,
    /// True: a payment without the buyer's own identifier is refused.
    pub needs_identifier: bool,
}

/// What a till is made of.
#[derive(Clone)]
pub struct TillParts {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// Holds, posts, claims and refunds: the receiver itself, or the network's operator. Better the former where the
    /// operator's account serves a facilitator too, or a payment that another seller holds there could be taken over
    /// here right after a restart.
    pub account: Arc<WalletKey>,
    /// Where charges and answers are written down.
    pub journal: Arc<dyn Journal>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub random: Arc<dyn Random>,
}

/// A till. Clones of one desk may be many: see [`PlainTill::beside`].
pub struct PlainTill(Arc<Inner>);

struct Inner {
    desk: Arc<Desk>,
    terms: TillTerms,
}

/// What the tills of one journal share.
struct Desk {
    parts: TillParts,
    singles: Singles,
    flights: Flights,
    /// Claims one after the other, so that none is told that there is nothing to do.
    claims: futures::lock::Mutex<()>,
    /// Where the sweep goes on.
    sweep: futures::lock::Mutex<keep::Walk>,
    /// When it was opened: what it held before is of an earlier life.
    since: Timestamp,
}

impl PlainTill {
    /// The first till over its parts. Any other over the same journal is made with [`PlainTill::beside`].
    pub fn new(parts: TillParts, terms: TillTerms) -> Self {
        let TillParts { ledger, account, clock, random, .. } = parts.clone();
        let since = parts.clock.now();
        let desk = Desk {
            parts,
            singles: Singles::new(ledger, account, clock, random),
            flights: Flights::default(),
            claims: futures::lock::Mutex::default(),
            sweep: futures::lock::Mutex::default(),
            since,
        };
        Self(Arc::new(Inner { desk: Arc::new(desk), terms }))
    }

    /// A till for another route over the same parts: a payment or a channel is served by one of them at a time.
    pub fn beside(&self, terms: TillTerms) -> Self {
        Self(Arc::new(Inner { desk: Arc::clone(&self.0.desk), terms }))
    }

    /// Requests that are being served, at this till and those beside it.
    pub fn running(&self) -> usize {
        self.0.desk.flights.len()
    }

    /// Turns what was charged by vouchers into money of the receiver, and says how much was paid out. To be called now
    /// and then, well within the withdraw delay, and before the node stops; a repeat finds nothing to do.
    ///
    /// A channel whose voucher is not covered any more, since its payer has withdrawn, is passed over.
    ///
    /// # Errors
    /// The first fault; what was claimed before stays claimed.
    pub async fn claim(&self) -> Result<Amount, CallError> {
        self.0.claim_all().await
    }

    /// Forgets answers and identifiers that were written before `before`, but none that is younger than [`KEEP_S`]; says
    /// how many. Looks at a few thousand rows and goes on from there when it is called again. What was paid stays refused
    /// afterwards: the ledger remembers it for ever.
    ///
    /// # Errors
    /// The journal's faults.
    pub async fn sweep(&self, before: Timestamp) -> Result<usize, CallError> {
        self.0.desk.sweep(before).await
    }
}

/// A judged payment on its way to its work, or the answer.
type Judged = Result<Admission<Box<dyn Ticket>>, Stop>;

impl Inner {
    fn check_terms(&self) -> Terms {
        Terms {
            network: self.desk.parts.ledger.network(),
            facilitator: self.desk.parts.account.address(),
            deposit_min: self.desk.parts.ledger.parameters().deposit_min,
        }
    }

    fn offers(&self, url: &str) -> Offers {
        let TillTerms { receiver, price, timeout_s, withdraw_delay, min_deposit, .. } = self.terms.clone();
        let (network, account) = (self.desk.parts.ledger.network(), self.desk.parts.account.address());
        let offer = |scheme: &Scheme| match scheme {
            Scheme::Exact => Some(exact_offer(&network, receiver, price, timeout_s)),
            Scheme::Upto => Some(upto_offer(&network, receiver, price, timeout_s, account)),
            Scheme::BatchSettlement => {
                Some(batch_offer(&network, receiver, price, timeout_s, account, withdraw_delay, min_deposit))
            }
            Scheme::Other(_) => None,
        };
        let mut extensions = Object::new();
        PaymentIdentifier { required: self.terms.needs_identifier, id: None }.write(&mut extensions);
        Offers {
            resource: Resource { url: url.to_owned(), ..self.terms.resource.clone() },
            accepts: self.terms.schemes.iter().filter_map(offer).collect(),
            extensions,
        }
    }

    async fn judge(self: &Arc<Self>, request: &PricedRequest, offered: &Offers, paid: &PaymentPayload) -> Judged {
        let own = offered.taken(paid)?.clone();
        let asked =
            VerifyRequest { x402_version: Version, payment_payload: paid.clone(), payment_requirements: own.clone() };
        let payment = payment(&self.check_terms(), Purpose::Verify, &asked, self.desk.parts.clock.now())?;
        let print = fingerprint(&request.method, &request.url, &request.body);
        let named = match self.named(payment.payer(), paid).await? {
            Identity::Good(named) => named,
            Identity::Busy => return Ok(Admission::Busy(busy())),
            Identity::Conflict(refusal) => return Ok(Admission::Conflict(refusal)),
        };
        match payment {
            Payment::Exact(single) | Payment::Upto(single) => self.judge_single(single, &own, print, named).await,
            Payment::Deposit(one) => {
                let DepositPayment { deposit, voucher, .. } = one.as_ref().clone();
                let config = deposit.config;
                self.judge_channel(offered, &own, config, voucher, Some(*one), print, named).await
            }
            Payment::Voucher(one) => {
                self.judge_channel(offered, &own, one.config, one.voucher, None, print, named).await
            }
            Payment::Refund(one) if one.seller.is_none() => self.refund(offered, &one, print).await,
            Payment::Refund(_) | Payment::Claim(_) | Payment::Settle(_) => {
                Err(Refusal::new(Reason::InvalidPayload, "a buyer pays or asks for a refund").into())
            }
        }
    }

    /// A buyer's own id of the payment: another payment under it is a mistake that must not be charged.
    async fn named(&self, payer: Address, paid: &PaymentPayload) -> Result<Identity, Stop> {
        let id = PaymentIdentifier::read(&paid.extensions).ok().flatten().and_then(|info| info.id);
        let (mut turn, mut known) = (None, None);
        if let Some(id) = id.filter(|id| identifier::is_id(id)) {
            let digest = identifier::payload_digest(paid);
            let key = identifier_key(&payer, &id);
            // The turn first: what is read then cannot change before it is written.
            match self.desk.flights.take(key.clone(), digest) {
                Ok(flight) => turn = Some(Named { _flight: flight, key: key.clone(), digest }),
                Err(taken) if taken == digest => return Ok(Identity::Busy),
                Err(_) => return Ok(Identity::Conflict(other())),
            }
            let row = load::<NamedRow>(self.desk.parts.journal.as_ref(), key).await?;
            known = row.map(|row| row.digest);
        }
        match identifier::decide(self.terms.needs_identifier, paid, |_| known) {
            Identified::Anonymous | Identified::Cached(_) => Ok(Identity::Good(None)),
            Identified::New(_) => Ok(Identity::Good(turn)),
            Identified::Conflict(refusal) => Ok(Identity::Conflict(refusal)),
            Identified::Malformed(refusal) => Err(refusal.into()),
        }
    }

    fn response(&self, payer: Address, transaction: String, amount: SettledAmount, extra: Object) -> SettleResponse {
        SettleResponse {
            success: true,
            error_reason: None,
            error_message: None,
            payer: Some(payer),
            transaction,
            network: NetworkId::Eip155(self.desk.parts.ledger.network().chain_id),
            amount: Some(amount),
            extra,
            extensions: Object::new(),
        }
    }

    fn refused(&self, refusal: &Refusal) -> SettleResponse {
        SettleResponse {
            success: false,
            error_reason: Some(refusal.reason.to_string()),
            error_message: Some(refusal.message.clone()),
            payer: None,
            transaction: String::new(),
            network: NetworkId::Eip155(self.desk.parts.ledger.network().chain_id),
            amount: None,
            extra: Object::new(),
            extensions: Object::new(),
        }
    }
}

fn busy() -> Refusal {
    Refusal::from(Code::PaymentInFlight)
}

fn other() -> Refusal {
    Refusal::from(Code::PaymentOther)
}

/// What a payment's identifier says.
enum Identity {
    /// None, known with this very payment, or new: to be written down with the charge.
    Good(Option<Named>),
    /// The same payment is being answered under it.
    Busy,
    /// It belongs to another payment.
    Conflict(Refusal),
}

/// A payment identifier that becomes durable with the charge.
struct Named {
    _flight: Flight,
    key: Vec<u8>,
    digest: Hash,
}

impl Named {
    fn write(named: Option<&Self>, at: Timestamp) -> Vec<Write> {
        let row = |named: &Self| NamedRow { digest: named.digest, at }.to_bytes();
        named.map(|named| put(named.key.clone(), row(named))).into_iter().collect()
    }
}

impl Till for PlainTill {
    fn offers<'a>(&'a self, request: &'a PricedRequest) -> Pending<'a, Offers> {
        Box::pin(async move { Ok(self.0.offers(&request.url)) })
    }

    fn admit<'a>(
        &'a self,
        request: &'a PricedRequest,
        payment: &'a PaymentPayload,
    ) -> Pending<'a, Admission<Box<dyn Ticket>>> {
        Box::pin(async move {
            let offered = self.0.offers(&request.url);
            match self.0.judge(request, &offered, payment).await {
                Ok(admission) => Ok(admission),
                Err(Stop::Refused(refusal)) => Ok(Admission::Refused(Box::new(offered.required(Some(&refusal))))),
                Err(Stop::Trouble(trouble)) => Err(trouble),
            }
        })
    }
}
