//! Completions of models for whoever pays over HTTP: by a payment of their own, or by an API key.
//!
//! A stranger's payment opens the call at the listing's host itself: its account is the payer of record, the money goes
//! through attribution, and no key of this node signs anything. The call's id and the salt of its commitments follow from
//! payment and request, so that the very same request finds the very same call, also after a crash. The host charges
//! exactly what it delivered; over a channel the buyer of a stream is told the whole amount before the body, and what was
//! not used counts towards its next request.

mod completion;
mod judge;
mod kept;

use std::convert::Infallible;
use std::sync::Arc;

use agora_catalog::Listing;
use agora_economy::ports::bus::ask::Counted;
use agora_economy::ports::pay::{Admission, Completion, Means, ModelCard, Models, Pending, PricedRequest, Trouble};
use agora_inference_api::Request;
use agora_types::channel::WITHDRAW_DELAY_MIN_S;
use agora_types::{Address, Amount, CallId, Code, Hash, ListingId, Signed, Usage};
use agora_x402::Refusal;
use agora_x402::check::Payment;
use agora_x402::extensions::identifier;
use agora_x402::seller::{Offers, batch_offer, exact_offer, fingerprint, upto_offer};
use agora_x402::wire::{Object, PaymentPayload, Resource};

use super::flights::Flights;
use super::keys::ApiKeys;
use super::single::Stop;
use crate::error::CallError;
use crate::purchase::{Buyer, Purchase, Quoted};
use completion::{NodeCompletion, Told};

pub use kept::CompletedRow;

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
        let (host, Counted { input, output, hidden }) = self.buyer.count(&listing, ask).await?;
        let usage = Usage { input, cached: 0, output, hidden };
        let amount = listing.payload().prices.charge(&usage).ok_or(Code::QuoteInvalid)?;
        Ok(Priced { listing, host, amount })
    }

    /// The dearest call of a model: the one that is named, the one that a payment pays, or the only one.
    async fn dearest(&self, model: Option<&str>, paid: Option<&PaymentPayload>) -> Result<Priced, CallError> {
        let listing = match (model, paid) {
            (Some(model), _) => self.listing(model).await?,
            (None, Some(paid)) => {
                let pays =
                    |listing: &Signed<Listing>| Address::listing(&listing.payload().id()) == paid.accepted.pay_to;
                let unknown = || CallError::new(Code::ListingNotFound, "the payment is for no model that is sold here");
                self.all().await?.into_iter().find(pays).ok_or_else(unknown)?
            }
            (None, None) => match <[_; 1]>::try_from(self.all().await?) {
                Ok([only]) => only,
                Err(_) => return Err(CallError::new(Code::ListingNotFound, "name a model: ?model=NAME")),
            },
        };
        let (host, amount) = (listing.payload().hosts.first(), listing.payload().charge_max());
        match (host.map(|host| host.account), amount) {
            (Some(host), Some(amount)) => Ok(Priced { listing, host, amount }),
            (None, _) | (_, None) => Err(CallError::new(Code::ListingTerms, "the model's listing names no price")),
        }
    }

    async fn probed(
        &self,
        model: Option<&str>,
        request: &PricedRequest,
        paid: Option<&PaymentPayload>,
    ) -> Result<Admission<Infallible>, Stop> {
        let priced = self.dearest(model, paid).await?;
        let offered = self.offers(&priced, &request.url);
        let Some(paid) = paid else { return Ok(Admission::Refused(Box::new(offered.required(None)))) };
        let asked = async {
            let own = offered.taken(paid)?;
            let print = fingerprint(&request.method, &request.url, &request.body);
            match self.read(&self.terms(&priced), own, paid)? {
                Payment::Refund(asked) => self.refund(&offered, &asked, print).await,
                Payment::Exact(_) | Payment::Upto(_) | Payment::Deposit(_) | Payment::Voucher(_) => {
                    let what = "a GET buys nothing here: send the payment with a POST of the request";
                    Err(Stop::Trouble(Trouble::new(Code::WireMalformed, what)))
                }
                Payment::Claim(_) | Payment::Settle(_) => Err(Code::WireMalformed.into()),
            }
        };
        match asked.await {
            Err(Stop::Refused(refusal)) => Ok(Admission::Refused(Box::new(offered.required(Some(&refusal))))),
            other => other,
        }
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
            replayed: false,
            response: None,
        };
        Ok(Admission::Serve(Box::new(completion)))
    }
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

    fn probe<'a>(
        &'a self,
        model: Option<&'a str>,
        request: &'a PricedRequest,
        payment: Option<&'a PaymentPayload>,
    ) -> Pending<'a, Admission<Infallible>> {
        Box::pin(async move {
            self.0.probed(model, request, payment).await.map_err(|stop| match stop {
                Stop::Refused(refusal) => Trouble::new(Code::CallNoAnswer, refusal.to_string()),
                Stop::Trouble(trouble) => trouble,
            })
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
