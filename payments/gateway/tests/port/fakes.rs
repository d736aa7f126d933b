//! What stands behind the port in tests: it does what the payment's payload asks for, and keeps a log of its calls.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use agora_economy::ports::datanets::Datanets;
use agora_economy::ports::pay::{
    Admission, Answered, Caller, DiscoveryQuery, Ended, Facilitator, Kept, Models, PaymentStatus, Pending, Piece,
    PricedRequest, ReceiptRef, Ticket, Till, Trouble, Workers,
};
use agora_gateway::{Bounds, PublicPort, Routes, Services};
use agora_types::{Address, Amount, CallId, Code, Hash, Usage};
use agora_x402::seller::Offers;
use agora_x402::wire::{
    DiscoveryPage, NetworkId, Object, Pagination, PaymentPayload, PaymentRequirements, Resource, Scheme, SettleRequest,
    SettleResponse, SettledAmount, Supported, VerifyRequest, VerifyResponse, Version,
};
use agora_x402::{Reason, Refusal, header};
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::client::PATIENCE;

pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
pub(crate) const PAYER: Address = Address::new([0x11; 20]);
pub(crate) const MAX: u128 = 100;

/// What was called, in order.
#[derive(Default)]
pub(crate) struct Log {
    lines: Mutex<Vec<String>>,
    news: Notify,
}

impl Log {
    pub(crate) fn say(&self, line: impl Into<String>) {
        self.lines.lock().unwrap().push(line.into());
        self.news.notify_waiters();
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.lines().iter().filter(|found| *found == line).count()
    }

    /// Waits until a line is there.
    pub(crate) async fn until(&self, line: &str) {
        let wait = async {
            loop {
                let news = self.news.notified();
                tokio::pin!(news);
                news.as_mut().enable();
                if self.count(line) > 0 {
                    return;
                }
                news.await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        waited.unwrap_or_else(|_| panic!("{line:?} never came: {:?}", self.lines()));
    }
}

/// Everything that a test can reach behind the port.
pub(crate) struct Fakes {
    pub(crate) log: Arc<Log>,
    /// What `"gated": true` payments wait for before they are settled, and handlers before they answer.
    pub(crate) gate: Arc<Semaphore>,
    seen: Mutex<BTreeMap<String, Option<Answered>>>,
    pub(crate) pieces: Mutex<Option<mpsc::Receiver<Result<Piece, Trouble>>>>,
}

impl Fakes {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            log: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            seen: Mutex::default(),
            pieces: Mutex::default(),
        })
    }

    /// The pieces of the next completion.
    pub(crate) fn pieces(&self) -> mpsc::Sender<Result<Piece, Trouble>> {
        let (sender, receiver) = mpsc::channel(1);
        *self.pieces.lock().unwrap() = Some(receiver);
        sender
    }

    pub(crate) fn services(self: &Arc<Self>) -> Services {
        Services {
            facilitator: Some(Arc::clone(self) as Arc<dyn Facilitator>),
            models: Some(Arc::clone(self) as Arc<dyn Models>),
            datanets: Some(Arc::clone(self) as Arc<dyn Datanets>),
            workers: Some(Arc::clone(self) as Arc<dyn Workers>),
            base_url: Some("https://shop.example".to_owned()),
            routes: None,
        }
    }

    pub(crate) fn open(self: &Arc<Self>, bounds: Bounds, routes: Option<Routes>) -> PublicPort {
        PublicPort::open(LOOPBACK, true, None, Services { routes, ..self.services() }, bounds).unwrap()
    }
}

/// Small and patient enough for tests.
pub(crate) fn bounds() -> Bounds {
    Bounds { workers: 1, ..Bounds::default() }
}

pub(crate) fn offer() -> PaymentRequirements {
    PaymentRequirements {
        scheme: Scheme::Exact,
        network: NetworkId::Eip155(4_020_711),
        amount: Amount::from_atoms(MAX),
        asset: Address::new([0x22; 20]),
        pay_to: Address::new([0x33; 20]),
        max_timeout_seconds: 60,
        extra: Object::new(),
    }
}

pub(crate) fn offers(request: &PricedRequest) -> Offers {
    Offers {
        resource: Resource {
            url: request.url.clone(),
            description: Some("<b>work</b>".to_owned()),
            ..Resource::default()
        },
        accepts: vec![offer()],
        extensions: Object::new(),
    }
}

pub(crate) fn payload(asks: &Value) -> PaymentPayload {
    PaymentPayload {
        x402_version: Version,
        resource: None,
        accepted: offer(),
        payload: asks.as_object().unwrap().clone(),
        extensions: Object::new(),
    }
}

/// The header of a payment that asks for something.
pub(crate) fn payment(asks: &Value) -> String {
    header::encode(&payload(asks)).unwrap()
}

pub(crate) fn response(success: bool, amount: u128) -> SettleResponse {
    SettleResponse {
        success,
        error_reason: (!success).then(|| Reason::InsufficientFunds.to_string()),
        error_message: None,
        payer: Some(PAYER),
        transaction: if success { "0xabc".to_owned() } else { String::new() },
        network: NetworkId::Eip155(4_020_711),
        amount: success.then(|| SettledAmount::Atoms(Amount::from_atoms(amount))),
        extra: Object::new(),
        extensions: Object::new(),
    }
}

pub(crate) fn receipt() -> ReceiptRef {
    ReceiptRef {
        leaf: Hash::new([0x44; 32]),
        call: CallId::new([0x55; 16]),
        payer: PAYER,
        charge: Amount::from_atoms(42),
        salt: [0x66; 16],
    }
}

pub(crate) fn ended(is_cut: bool, paid: bool) -> Piece {
    let usage = Usage { input: 3, cached: 1, output: 2, hidden: 0 };
    Piece::End(Box::new(Ended { usage, is_cut, receipt: receipt(), response: paid.then(|| response(true, 42)) }))
}

pub(crate) fn asks(payment: &PaymentPayload, what: &str) -> Option<String> {
    payment.payload.get(what).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

pub(crate) fn trouble(code: Code) -> Trouble {
    Trouble { retry_after_s: Some(3), ..Trouble::new(code, "as the test asked") }
}

/// What every seller here does with a payment before it serves.
pub(crate) fn judge<T>(request: &PricedRequest, payment: &PaymentPayload, serve: T) -> Result<Admission<T>, Trouble> {
    let refusal = |reason| Refusal::new(reason, "as the test asked");
    Ok(match asks(payment, "ask").as_deref() {
        Some("busy") => Admission::Busy(refusal(Reason::ChannelBusy)),
        Some("conflict") => Admission::Conflict(refusal(Reason::NonceAlreadyUsed)),
        Some("refused") => {
            Admission::Refused(Box::new(offers(request).required(Some(&refusal(Reason::InsufficientFunds)))))
        }
        Some("refund") => Admission::Refunded(Box::new(response(true, 9))),
        Some("replay") => Admission::Answered(Box::new(Answered {
            kept: None,
            response: response(true, 8),
            receipt: Some(receipt()),
        })),
        Some("trouble") => return Err(trouble(Code::LedgerBusy)),
        Some(_) | None => Admission::Serve(serve),
    })
}

impl Till for Fakes {
    fn offers<'a>(&'a self, request: &'a PricedRequest) -> Pending<'a, Offers> {
        Box::pin(async { Ok(offers(request)) })
    }

    fn admit<'a>(
        &'a self,
        request: &'a PricedRequest,
        payment: &'a PaymentPayload,
    ) -> Pending<'a, Admission<Box<dyn Ticket>>> {
        Box::pin(async move {
            self.log.say(format!("admit {} {}", request.method, request.url));
            let ticket = FakeTicket {
                log: Arc::clone(&self.log),
                gate: Arc::clone(&self.gate),
                payment: payment.clone(),
                done: Arc::new(Mutex::new(None)),
            };
            // With an id, the till keeps what it saw, in one step.
            if let Some(id) = asks(payment, "id") {
                let mut seen = self.seen.lock().unwrap();
                match seen.get(&id) {
                    Some(Some(answered)) => return Ok(Admission::Answered(Box::new(answered.clone()))),
                    Some(None) => return Ok(Admission::Busy(Refusal::new(Reason::ChannelBusy, "in flight"))),
                    None => drop(seen.insert(id, None)),
                }
            }
            judge(request, payment, Box::new(ticket) as Box<dyn Ticket>)
        })
    }
}

impl Fakes {
    /// Lets a till forget that a payment is in flight, and keep an answer for it instead.
    pub(crate) fn keep(&self, id: &str, kept: Kept) {
        let answered = Answered { kept: Some(kept), response: response(true, MAX), receipt: None };
        self.seen.lock().unwrap().insert(id.to_owned(), Some(answered));
    }
}

struct FakeTicket {
    log: Arc<Log>,
    gate: Arc<Semaphore>,
    payment: PaymentPayload,
    done: Arc<Mutex<Option<&'static str>>>,
}

impl Drop for FakeTicket {
    fn drop(&mut self) {
        if self.done.lock().unwrap().is_none() {
            self.log.say("ticket lost");
        }
    }
}

impl Ticket for FakeTicket {
    fn payer(&self) -> Address {
        PAYER
    }

    fn max(&self) -> Amount {
        Amount::from_atoms(MAX)
    }

    fn announced(&self) -> Option<SettleResponse> {
        asks(&self.payment, "announce").map(|_| response(true, MAX))
    }

    fn settle(self: Box<Self>, charge: Amount, kept: Option<Kept>) -> Pending<'static, SettleResponse> {
        *self.done.lock().unwrap() = Some("settled");
        Box::pin(async move {
            self.log.say("settling");
            if asks(&self.payment, "gated").is_some() {
                self.gate.acquire().await.unwrap().forget();
            }
            let kept = kept.map_or("nothing".to_owned(), |kept| format!("{} {}", kept.status, kept.body.len()));
            self.log.say(format!("settled {} kept {kept}", charge.atoms()));
            match asks(&self.payment, "settle").as_deref() {
                Some("refuse") => Ok(response(false, 0)),
                Some("trouble") => Err(trouble(Code::LedgerBusy)),
                Some(_) | None => Ok(response(true, charge.atoms())),
            }
        })
    }

    fn cancel(self: Box<Self>) -> Pending<'static, ()> {
        *self.done.lock().unwrap() = Some("cancelled");
        self.log.say("cancelled");
        Box::pin(async { Ok(()) })
    }
}

impl Facilitator for Fakes {
    fn verify<'a>(&'a self, caller: &'a Caller, request: &'a VerifyRequest) -> Pending<'a, VerifyResponse> {
        Box::pin(async move {
            self.log.say(format!("verify {:?}", caller.token));
            let refused = match asks(&request.payment_payload, "ask").as_deref() {
                Some("trouble") => return Err(trouble(Code::LedgerBusy)),
                Some("refused") => Some(Reason::InsufficientFunds.to_string()),
                Some(_) | None => None,
            };
            Ok(VerifyResponse {
                is_valid: refused.is_none(),
                invalid_reason: refused,
                invalid_message: None,
                payer: Some(PAYER),
                extra: Object::new(),
                extensions: Object::new(),
            })
        })
    }

    fn settle<'a>(&'a self, caller: &'a Caller, request: &'a SettleRequest) -> Pending<'a, SettleResponse> {
        Box::pin(async move {
            self.log.say(format!("settle {:?}", caller.token));
            if asks(&request.payment_payload, "gated").is_some() {
                self.gate.acquire().await.unwrap().forget();
                self.log.say("settled at last");
            }
            Ok(response(asks(&request.payment_payload, "ask").as_deref() != Some("refused"), 5))
        })
    }

    fn supported(&self) -> Supported {
        Supported { extensions: vec!["payment-identifier".to_owned()], ..Supported::default() }
    }

    fn payment(&self, payer: Address, nonce: Hash, permit2: bool) -> Pending<'_, PaymentStatus> {
        self.log.say(format!("payment {payer} {nonce} {permit2}"));
        let status = match nonce.as_bytes()[31] {
            1 => PaymentStatus::Held { max: Amount::from_atoms(MAX), until_s: 1_900_000_000 },
            2 => PaymentStatus::Released,
            3 => {
                PaymentStatus::Settled { amount: Amount::from_atoms(7), payee: PAYER, transaction: "0xabc".to_owned() }
            }
            _ => PaymentStatus::Unknown,
        };
        Box::pin(async { Ok(status) })
    }

    fn resources<'a>(&'a self, query: &'a DiscoveryQuery) -> Pending<'a, DiscoveryPage> {
        self.log.say(format!("{query:?}"));
        let pagination = Pagination::clamped(query.limit, Some(u64::from(query.offset)), 0);
        Box::pin(async move { Ok(DiscoveryPage { x402_version: Version, items: Vec::new(), pagination }) })
    }
}

/// A `PAYMENT-RESPONSE`.
pub(crate) fn paid(text: &str) -> Value {
    json!(header::decode::<SettleResponse>([text]).unwrap())
}
