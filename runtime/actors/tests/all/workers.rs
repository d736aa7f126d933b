//! What the buyer of an agent's work over HTTP 402, the agent and its owner can rely on, whatever stops.

use crate::scripted;
use crate::world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agora_actors::pay::{AgentWorkers, WorkersParts};
use agora_economy::ports::ledger::Ledger as _;
use agora_economy::ports::pay::{Admission, Done, PricedRequest, Work, Workers as _};
use agora_economy::testkit::*;
use agora_receipts::{Kind, Receipt, Role};
use agora_sandbox_api::{AgentError, AgentHost, ServeRequest, ServeResponse};
use agora_types::command::Deposit;
use agora_types::{Address, Amount, Code, Hash, Signed};
use agora_x402::buyer::{PaymentContext, pay_exact, pay_upto};
use agora_x402::scheme::batch::{BatchPayload, DepositPayload, VoucherFields, VoucherPayload};
use agora_x402::wire::{PaymentPayload, PaymentRequired, PaymentRequirements, Scheme, SettleResponse, Version};
use scripted::*;
use world::{Fuse, founded};

const TOKENS: u64 = 4;
const URL: &str = "https://agents.example/agents/reader/";

/// Buys an answer of a model for each request and sells it.
async fn selling(request: ServeRequest, host: Arc<dyn AgentHost>) -> Served {
    let words = String::from_utf8(request.body).unwrap();
    let bought = buy(host.as_ref(), &words, TOKENS).await?;
    Ok(ServeResponse { status: 200, content_type: "text/plain".into(), body: bought.into() })
}

fn work(body: &str) -> (Work, PricedRequest) {
    let work = Work {
        agent: READER.into(),
        method: "POST".into(),
        path: "/".into(),
        query: String::new(),
        content_type: "text/plain".into(),
        body: body.as_bytes().to_vec(),
    };
    (work, PricedRequest { method: "POST".into(), url: URL.into(), body: Hash::sha256(body) })
}

fn workers(office: &Office) -> AgentWorkers {
    AgentWorkers::new(WorkersParts {
        agents: office.agents.clone(),
        ring: Arc::new(Ring),
        ledger: office.world.ledger.clone(),
        journal: office.world.journal.clone(),
        clock: office.world.clock.clone(),
        random: office.world.clock.clone(),
        secret: [7; 32],
    })
}

async fn call(workers: &AgentWorkers, body: &str, payment: Option<&PaymentPayload>) -> Result<Admission<Done>, Code> {
    let (work, request) = work(body);
    workers.call(&work, &request, payment).await.map_err(|trouble| trouble.code)
}

async fn required(workers: &AgentWorkers) -> PaymentRequired {
    match call(workers, "anything", None).await {
        Ok(Admission::Refused(required)) => *required,
        _ => panic!("nothing is sold without a payment"),
    }
}

fn offer(required: &PaymentRequired, scheme: &Scheme) -> PaymentRequirements {
    required.accepts.iter().find_map(|one| one.known().filter(|known| known.scheme == *scheme)).unwrap().clone()
}

fn single(required: &PaymentRequired, scheme: &Scheme, nonce: u8) -> PaymentPayload {
    let (network, offer) = (Kit::default().network(), offer(required, scheme));
    let context = PaymentContext { network: &network, required, offer: &offer, now: Kit::default().now };
    match scheme {
        Scheme::Exact => pay_exact(&context, &key(PAYER), Hash::new([nonce; 32])),
        Scheme::Upto => pay_upto(&context, &key(PAYER), Hash::new([nonce; 32])).unwrap(),
        Scheme::BatchSettlement | Scheme::Other(_) => panic!("no single payment"),
    }
}

/// The voucher for the numbered request of a channel, from 1; the first brings the deposit.
fn voucher(required: &PaymentRequired, number: u128) -> PaymentPayload {
    salted(required, number, Hash::ZERO)
}

/// The same with a salt for its deposit.
fn salted(required: &PaymentRequired, number: u128, salt: Hash) -> PaymentPayload {
    let (network, offer) = (Kit::default().network(), offer(required, &Scheme::BatchSettlement));
    let extra = offer.batch_extra().unwrap();
    let config = agora_types::channel::ChannelConfig {
        payer: key(PAYER).address(),
        payer_authorizer: key(PAYER).address(),
        receiver: offer.pay_to,
        receiver_authorizer: extra.receiver_authorizer,
        token: offer.asset,
        withdraw_delay: extra.withdraw_delay,
        salt: Hash::ZERO,
    };
    let max = atoms(number * offer.amount.atoms());
    let voucher = agora_types::channel::Voucher::sign(&network, config.id(&network), max, &key(PAYER));
    let payload = if number == 1 {
        let deposit = Deposit {
            config,
            amount: atoms(5 * offer.amount.atoms()),
            valid_after: 0,
            valid_before: Kit::default().now.as_secs() + 600,
            salt,
        };
        BatchPayload::Deposit(DepositPayload::sign(&network, deposit, &voucher, &key(PAYER)))
    } else {
        BatchPayload::Voucher(VoucherPayload { channel_config: config, voucher: VoucherFields::write(&voucher) })
    };
    PaymentPayload {
        x402_version: Version,
        resource: Some(required.resource.clone()),
        accepted: offer,
        payload: payload.to_object(),
        extensions: required.extensions.clone(),
    }
}

async fn sold(workers: &AgentWorkers, body: &str, payment: &PaymentPayload) -> (String, SettleResponse) {
    match call(workers, body, Some(payment)).await {
        Ok(Admission::Serve(done)) => (String::from_utf8(done.answer.body).unwrap(), done.response.expect("paid")),
        Ok(Admission::Answered(answered)) => {
            (String::from_utf8(answered.kept.expect("kept").body).unwrap(), answered.response)
        }
        Ok(Admission::Refused(required)) => panic!("{:?}", required.error),
        Ok(Admission::Busy(refusal) | Admission::Conflict(refusal)) => panic!("{refusal}"),
        Ok(Admission::Refunded(_)) => panic!("refunded"),
        Err(code) => panic!("{code}"),
    }
}

fn payments(required: &PaymentRequired) -> [(&'static str, PaymentPayload); 3] {
    [
        ("exact", single(required, &Scheme::Exact, 1)),
        ("upto", single(required, &Scheme::Upto, 1)),
        ("batch-settlement", voucher(required, 1)),
    ]
}

fn seller() -> Address {
    Ring::keys(READER).account.address()
}

/// What the payer of HTTP requests has left, everywhere; the agent's own channel is not its.
async fn left(office: &Office) -> u128 {
    let network = Kit::default().network();
    let mut sum = office.world.balance(&key(PAYER).address());
    {
        let offer = offer(&required(&workers(office)).await, &Scheme::BatchSettlement);
        let config = agora_types::channel::ChannelConfig {
            payer: key(PAYER).address(),
            payer_authorizer: key(PAYER).address(),
            receiver: offer.pay_to,
            receiver_authorizer: offer.batch_extra().unwrap().receiver_authorizer,
            token: offer.asset,
            withdraw_delay: offer.batch_extra().unwrap().withdraw_delay,
            salt: Hash::ZERO,
        };
        let channel = office.world.ledger.channel(config.id(&network)).await.unwrap();
        sum += channel.map_or(0, |channel| channel.unclaimed().atoms());
    }
    sum
}

async fn service_receipts(office: &Office) -> Vec<Receipt> {
    let mut found = Vec::new();
    for index in 0..office.world.receipts() {
        let bytes = office.world.ledger.receipt(index).await.unwrap().unwrap();
        let receipt = Signed::<Receipt>::from_bytes(&bytes).unwrap();
        if receipt.payload().kind == Kind::Service && !receipt.payload().is_final() {
            found.push(receipt.payload().clone());
        }
    }
    found
}

async fn whole(folder: &Path, round: u64, scripts: &Scripts) -> Office {
    Office::open(folder, Fuse::new(None, false), round, scripts).await
}

#[tokio::test]
async fn sold_work_pays_the_agent_whole_and_its_receipt_names_what_the_agent_bought_for_it() {
    for at in 0..3 {
        let folder = founded();
        let office = whole(folder.path(), 0, &Scripts::seller(selling)).await;
        office.deploy(PLENTY).await;
        let workers = workers(&office);
        let required = required(&workers).await;
        let (name, paid) = payments(&required).into_iter().nth(at).unwrap();
        let price = offer(&required, &paid.accepted.scheme).amount.atoms();
        let before = left(&office).await;
        let (text, response) = sold(&workers, "who owns a wreck", &paid).await;
        assert_eq!(text, scripted::answer("who owns a wreck", TOKENS), "{name}");
        assert!(response.success, "{name}");
        office.quiet().await;
        assert_eq!(left(&office).await + price, before, "{name}");
        let receipts = service_receipts(&office).await;
        let [receipt] = receipts.as_slice() else { panic!("{name}: {} receipts", receipts.len()) };
        assert_eq!((receipt.payer, receipt.payee, receipt.host), (key(PAYER).address(), seller(), seller()));
        assert_eq!(receipt.charge.atoms(), price);
        assert_eq!(receipt.parents.len(), 1, "{name}: the model's answer");
        assert_eq!((receipt.legs[0].role, receipt.legs[0].account), (Role::Seller, seller()));
        assert_eq!(receipt.channel.is_some(), name == "batch-settlement");
        assert_eq!(office.world.receipts(), 4, "{name}: the model's two and the service's two");
        // The very same again: the same answer, and nothing moves.
        assert_eq!(sold(&workers, "who owns a wreck", &paid).await, (text, response), "{name}");
        assert_eq!((left(&office).await + price, office.world.receipts()), (before, 4), "{name}");
        // This payment with another request.
        let other = call(&workers, "who salvages it", Some(&paid)).await;
        assert!(matches!(other, Ok(Admission::Conflict(_) | Admission::Refused(_))), "{name}");
        office.world.audit();
        office.end().await;
    }
}

#[tokio::test]
async fn vouchers_follow_one_another_and_an_old_one_buys_nothing() {
    let folder = founded();
    let office = whole(folder.path(), 0, &Scripts::seller(selling)).await;
    office.deploy(PLENTY).await;
    let workers = workers(&office);
    let required = required(&workers).await;
    for (number, words) in [(1, "one"), (2, "two"), (3, "three")] {
        let (text, _) = sold(&workers, words, &voucher(&required, number)).await;
        assert_eq!(text, scripted::answer(words, TOKENS));
    }
    let old = call(&workers, "four", Some(&voucher(&required, 2))).await;
    let Ok(Admission::Refused(corrective)) = old else { panic!("an old voucher was taken") };
    assert!(corrective.error.unwrap().contains("cumulative"));
    assert_eq!(service_receipts(&office).await.len(), 3);
    office.world.audit();
    office.end().await;
}

#[tokio::test]
async fn a_buyer_that_lost_its_channel_and_deposits_again_is_corrected_and_deposits_nothing() {
    let folder = founded();
    let office = whole(folder.path(), 0, &Scripts::seller(selling)).await;
    office.deploy(PLENTY).await;
    let workers = workers(&office);
    let required = required(&workers).await;
    let (text, _) = sold(&workers, "one", &voucher(&required, 1)).await;
    let before = left(&office).await;
    let again = call(&workers, "one", Some(&salted(&required, 1, Hash::sha256("another deposit")))).await;
    let Ok(Admission::Refused(corrective)) = again else { panic!("a second deposit was taken") };
    assert!(corrective.error.unwrap().contains("cumulative"));
    assert_eq!(left(&office).await, before);
    let (repeat, _) = sold(&workers, "one", &voucher(&required, 1)).await;
    assert_eq!(repeat, text);
    office.world.audit();
    office.end().await;
}

#[tokio::test]
async fn of_a_hundred_requests_with_one_signature_one_is_served() {
    for at in 0..3 {
        let folder = founded();
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        let scripts = Scripts::seller(move |request: ServeRequest, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            async move {
                let body = request.body;
                Ok(ServeResponse { status: 200, content_type: "text/plain".into(), body })
            }
        });
        let office = whole(folder.path(), 0, &scripts).await;
        office.deploy(PLENTY).await;
        let workers = workers(&office);
        let required = required(&workers).await;
        let (name, paid) = payments(&required).into_iter().nth(at).unwrap();
        let before = left(&office).await;
        let all = futures::future::join_all((0..100).map(|_| call(&workers, "echo", Some(&paid)))).await;
        let mut served = 0;
        for one in all {
            match one.unwrap() {
                Admission::Serve(_) => served += 1,
                Admission::Busy(_) | Admission::Answered(_) => {}
                Admission::Conflict(_) | Admission::Refunded(_) | Admission::Refused(_) => panic!("{name}"),
            }
        }
        assert_eq!((served, count.load(Ordering::SeqCst)), (1, 1), "{name}");
        let price = offer(&required, &paid.accepted.scheme).amount.atoms();
        assert_eq!(left(&office).await + price, before, "{name}: one debit");
        office.world.audit();
        office.end().await;
    }
}

#[tokio::test]
async fn work_that_fails_or_is_refused_by_the_agent_costs_nothing() {
    let folder = founded();
    let scripts = Scripts::seller(|request: ServeRequest, _| async move {
        match request.body.as_slice() {
            b"fail" => Err(AgentError::new(Code::AgentFailed, "as it was told")),
            _ => Ok(ServeResponse { status: 422, content_type: "text/plain".into(), body: b"not this".to_vec() }),
        }
    });
    let office = whole(folder.path(), 0, &scripts).await;
    office.deploy(PLENTY).await;
    let workers = workers(&office);
    let required = required(&workers).await;
    let before = left(&office).await;
    for (number, scheme) in [(1, Scheme::Exact), (2, Scheme::Upto)] {
        let paid = single(&required, &scheme, number);
        assert_eq!(call(&workers, "fail", Some(&paid)).await.err(), Some(Code::AgentFailed));
        let paid = single(&required, &scheme, number + 10);
        let Ok(Admission::Serve(done)) = call(&workers, "nonsense", Some(&paid)).await else { panic!("no answer") };
        assert_eq!((done.answer.status, done.response, done.receipt), (422, None, None));
    }
    assert_eq!(left(&office).await, before, "every hold was released");
    assert_eq!(office.world.receipts(), 0);
    office.world.audit();
    office.end().await;
}

#[tokio::test]
async fn a_payment_that_does_not_fit_is_refused_before_the_agent_works() {
    let folder = founded();
    let office = whole(folder.path(), 0, &Scripts::seller(selling)).await;
    office.deploy(PLENTY).await;
    let workers = workers(&office);
    let required = required(&workers).await;
    let good = single(&required, &Scheme::Exact, 1);
    for change in [
        |paid: &mut PaymentPayload| paid.accepted.amount = Amount::from_atoms(1),
        |paid: &mut PaymentPayload| paid.accepted.pay_to = key(OWNER).address(),
        |paid: &mut PaymentPayload| paid.resource.as_mut().unwrap().url.push('x'),
    ] {
        let mut paid = good.clone();
        change(&mut paid);
        assert!(matches!(call(&workers, "x", Some(&paid)).await, Ok(Admission::Refused(_))));
    }
    assert_eq!(office.view().await.record.handled, 0);
    assert_eq!(office.world.receipts(), 0);
    office.end().await;
}

/// Stops the world at each durable step in turn, starts it again, and sends the very same request again.
fn stop_at_each_step(pay: fn(&PaymentRequired) -> PaymentPayload, persists: bool) {
    let scripts = Scripts::seller(selling);
    let fresh = founded();
    let purse = life(async {
        let office = whole(fresh.path(), 0, &scripts).await;
        office.deploy(PLENTY).await;
        let purse = left(&office).await;
        office.end().await;
        purse
    });
    for step in 0.. {
        let at = format!("step {step}, persists {persists}");
        let folder = copy(fresh.path());
        let first = life(async {
            let fuse = Fuse::new(Some(step), persists);
            let office = Office::open(folder.path(), fuse.clone(), 1, &scripts).await;
            let workers = workers(&office);
            let work = async {
                let answer = sold(&workers, "who owns a wreck", &pay(&required(&workers).await)).await;
                office.quiet().await;
                answer
            };
            tokio::select! {
                answer = work => Some(answer),
                () = fuse.blown.notified() => None,
            }
        });
        life(async {
            let office = whole(folder.path(), 2, &scripts).await;
            let workers = workers(&office);
            workers.recover().await.unwrap();
            let required = required(&workers).await;
            let paid = pay(&required);
            let (text, response) = sold(&workers, "who owns a wreck", &paid).await;
            assert!(first.as_ref().is_none_or(|first| *first == (text.clone(), response.clone())), "{at}");
            assert!(!text.is_empty() && scripted::answer("who owns a wreck", TOKENS).starts_with(&text), "{at}");
            office.quiet().await;
            let price = offer(&required, &paid.accepted.scheme).amount.atoms();
            assert_eq!(left(&office).await + price, purse, "{at}: one debit");
            assert_eq!(service_receipts(&office).await.len(), 1, "{at}");
            office.world.audit();
            office.end().await;
        });
        if first.is_some() {
            assert!(step > 14, "only {step} steps were tried");
            return;
        }
    }
}

#[test]
fn a_single_payment_for_work_is_debited_once_whatever_stops_before_a_step() {
    stop_at_each_step(|required| single(required, &Scheme::Exact, 1), false);
}

#[test]
fn a_voucher_for_work_is_debited_once_whatever_stops_after_a_step() {
    stop_at_each_step(|required| voucher(required, 1), true);
}
