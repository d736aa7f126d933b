//! Sellers without sockets: an exchange whose servers are closures, and a shop with a real till on the test's ledger.
#![allow(dead_code, reason = "each test program uses its part")]

use std::pin::Pin;
use std::sync::{Arc, Mutex};

use agora_actors::fetch::SpendLimits;
use agora_actors::pay::spend::{PaidClient, Patience, SpendParts, usual_schemes};
use agora_actors::pay::{PlainTill, TillParts, TillTerms};
use agora_economy::ports::http::{HttpAsk, HttpExchange, HttpFault, HttpHeard, Pending, Reached};
use agora_economy::ports::pay::{Admission, Kept, PricedRequest, Till as _};
use agora_economy::testkit::*;
use agora_sandbox_api::HttpRequest;
use agora_types::{Address, Amount, Hash};
use agora_x402::header;
use agora_x402::wire::{PaymentPayload, PaymentRequired, Resource, Scheme, SettleResponse};

use crate::world::World;

pub(crate) const URL: &str = "http://127.0.0.1:8402/tea";
/// The least deposit of the test's network, so that a channel can be opened by one request.
pub(crate) const PRICE: u128 = 1_000_000_000;
pub(crate) const MOST: u128 = 10 * PRICE;
const SHOP: u8 = 60;

pub(crate) fn shop() -> Address {
    key(SHOP).address()
}

/// A request as a server sees it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Asked {
    pub(crate) url: String,
    pub(crate) method: String,
    pub(crate) body: Vec<u8>,
    /// The header as it stood there.
    pub(crate) header: Option<String>,
}

impl Asked {
    pub(crate) fn payment(&self) -> Option<PaymentPayload> {
        self.header.as_ref().map(|text| header::decode([text]).unwrap())
    }
}

pub(crate) type Answered = Result<HttpHeard, HttpFault>;
type Serving = Pin<Box<dyn Future<Output = Answered> + Send>>;
type Server = Box<dyn Fn(Asked) -> Serving + Send + Sync>;

/// Takes every request to one server, and remembers it.
pub(crate) struct Street {
    server: Server,
    asked: Mutex<Vec<Asked>>,
}

impl Street {
    pub(crate) fn to<F>(server: impl Fn(Asked) -> F + Send + Sync + 'static) -> Arc<Self>
    where
        F: Future<Output = Answered> + Send + 'static,
    {
        Arc::new(Self { server: Box::new(move |asked| Box::pin(server(asked))), asked: Mutex::default() })
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// Every payment that was sent, as often as it was.
    pub(crate) fn paid(&self) -> Vec<String> {
        self.asked().into_iter().filter_map(|asked| asked.header).collect()
    }
}

impl HttpExchange for Street {
    fn exchange<'a>(&'a self, ask: HttpAsk<'a>) -> Pending<'a, HttpHeard> {
        let mut named = ask.headers.iter().filter(|(name, _)| name == "payment-signature");
        let header = named.next().map(|(_, value)| value.clone());
        assert!(named.next().is_none(), "one payment at a time");
        let (url, method, body) = (ask.url.to_owned(), ask.method.to_owned(), ask.body.to_vec());
        let asked = Asked { url, method, body, header };
        self.asked.lock().unwrap().push(asked.clone());
        (self.server)(asked)
    }
}

pub(crate) fn heard(status: u16, headers: &[(&str, String)], body: &str) -> HttpHeard {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    HttpHeard { status, headers, body: body.into(), cut: false }
}

pub(crate) fn lost() -> HttpFault {
    HttpFault { reached: Reached::Perhaps, what: "the connection broke".into() }
}

/// The answer 402.
pub(crate) fn unpaid(required: &PaymentRequired) -> HttpHeard {
    heard(402, &[("payment-required", header::encode(required).unwrap())], "pay first")
}

/// A good answer, and what it says about its payment.
pub(crate) fn served(response: &SettleResponse) -> HttpHeard {
    heard(200, &[("payment-response", header::encode(response).unwrap())], "tea")
}

/// A request for at most [`MOST`].
pub(crate) fn request() -> HttpRequest {
    HttpRequest {
        method: "POST".into(),
        url: URL.into(),
        headers: vec![("x-cup".into(), "large".into())],
        body: b"green".to_vec(),
        max_spend: Amount::from_atoms(MOST),
    }
}

pub(crate) fn limits() -> SpendLimits {
    let target = request().check().unwrap();
    SpendLimits { max: Amount::from_atoms(MOST), payees: Vec::new(), body_bytes_max: 4_096, target }
}

/// A client that is in no hurry only where a test says so.
pub(crate) fn client(world: &World, street: &Arc<Street>, schemes: Option<Vec<Scheme>>) -> PaidClient {
    PaidClient::new(SpendParts {
        http: street.clone(),
        ledger: world.ledger.clone(),
        journal: world.journal.clone(),
        clock: world.clock.clone(),
        random: world.clock.clone(),
        schemes: schemes.unwrap_or_else(usual_schemes),
        patience: Patience { tries: 3, pause_ms: 0, ..Patience::default() },
        consent: None,
    })
}

/// A shop's till on the world's ledger and journal.
pub(crate) fn till(world: &World, schemes: &[Scheme], price: u128) -> Arc<PlainTill> {
    let parts = TillParts {
        ledger: world.ledger.clone(),
        account: Arc::new(key(SHOP)),
        journal: world.journal.clone(),
        clock: world.clock.clone(),
        random: world.clock.clone(),
    };
    let terms = TillTerms {
        needs_identifier: false,
        receiver: shop(),
        price: Amount::from_atoms(price),
        schemes: schemes.to_vec(),
        resource: Resource { description: Some("Tea".into()), ..Resource::default() },
        timeout_s: 60,
        min_deposit: Some(Amount::from_atoms(5 * PRICE)),
        withdraw_delay: 900,
    };
    Arc::new(PlainTill::new(parts, terms))
}

/// What a paywall in front of a till does: the work costs `charge`, or fails where there is none.
pub(crate) async fn sell(till: &PlainTill, asked: &Asked, charge: Option<u128>) -> HttpHeard {
    let body = Hash::sha256(&asked.body);
    let request = PricedRequest { method: asked.method.clone(), url: asked.url.clone(), body };
    let Some(payment) = asked.payment() else {
        return unpaid(&till.offers(&request).await.unwrap().required(None));
    };
    match till.admit(&request, &payment).await {
        Ok(Admission::Serve(ticket)) => {
            let Some(charge) = charge else {
                ticket.cancel().await.unwrap();
                return heard(404, &[], "no such tea");
            };
            let kept = Kept { status: 200, content_type: "text/plain".into(), body: b"tea".to_vec() };
            match ticket.settle(Amount::from_atoms(charge), Some(kept)).await {
                Ok(response) if response.success => served(&response),
                Ok(_) => heard(402, &[], "not settled"),
                Err(trouble) => heard(trouble.code.http_status(), &[], "trouble"),
            }
        }
        Ok(Admission::Answered(answered)) => served(&answered.response),
        Ok(Admission::Refunded(response)) => served(&response),
        Ok(Admission::Busy(_) | Admission::Conflict(_)) => heard(409, &[], "conflict"),
        Ok(Admission::Refused(required)) => unpaid(&required),
        Err(trouble) => heard(trouble.code.http_status(), &[], "trouble"),
    }
}

/// The whole street: a shop that charges so much of its price.
pub(crate) fn shop_street(till: &Arc<PlainTill>, charge: Option<u128>) -> Arc<Street> {
    let till = Arc::clone(till);
    Street::to(move |asked| {
        let till = Arc::clone(&till);
        async move { Ok(sell(&till, &asked, charge).await) }
    })
}
