//! What a stranger who buys completions over HTTP 402, or with an API key, can rely on.

use crate::world;

use std::sync::Arc;

use agora_actors::agent::KeyRing;
use agora_actors::pay::{ApiKeys, NodeModels};
use agora_actors::purchase::{Payer, Pending as PayerPending};
use agora_economy::ports::ledger::Ledger as _;
use agora_economy::ports::pay::{Admission, Completion, Ended, Means, Models as _, Piece, PricedRequest};
use agora_economy::testkit::*;
use agora_inference_api::{FakeEngine, Request};
use agora_types::batch::Entry;
use agora_types::command::{Command, Transfer};
use agora_types::key::StatementSigner;
use agora_types::{Amount, Code, Hash};
use agora_x402::buyer::{PaymentContext, pay_exact, pay_upto};
use agora_x402::check::difference;
use agora_x402::scheme::batch::{BatchPayload, DepositPayload, RefundPayload, VoucherFields, VoucherPayload};
use agora_x402::wire::{PaymentPayload, PaymentRequired, PaymentRequirements, Scheme, SettleResponseExtra, Version};
use world::{Fuse, World, founded};

const TOKENS: u64 = 12;
const MODEL: &str = "smollm2-maritime";
const URL: &str = "https://models.example/v1/chat/completions";

struct Ring;

impl KeyRing for Ring {
    fn payer<'a>(&'a self, _: &'a str) -> PayerPending<'a, Payer> {
        Box::pin(async { Ok(Payer { account: Arc::new(key(90)), session: Arc::new(key(91)) }) })
    }
    fn receipt_key<'a>(&'a self, _: &'a str) -> PayerPending<'a, Arc<StatementSigner>> {
        Box::pin(async { Ok(Arc::new(StatementSigner::from_bytes(&[92; 32]))) })
    }
}

fn models(world: &World) -> (NodeModels, Arc<ApiKeys>) {
    let keys = Arc::new(ApiKeys::new(world.buyer.clone(), Arc::new(Ring)));
    (NodeModels::new(world.buyer.clone(), keys.clone(), [7; 32]), keys)
}

fn question(words: &str) -> Request {
    Request::ask(words, TOKENS)
}

fn request(words: &str) -> PricedRequest {
    PricedRequest { method: "POST".into(), url: URL.into(), body: Hash::sha256(words) }
}

fn answer(words: &str) -> String {
    FakeEngine::answer(&question(words)).concat()
}

type Opened = Admission<Box<dyn Completion>>;

async fn open(models: &NodeModels, words: &str, means: &Means, stream: bool) -> Opened {
    models.open(MODEL, &question(words), &request(words), means, stream).await.unwrap()
}

/// What the question costs, as the 402 says it.
async fn required(models: &NodeModels, words: &str) -> PaymentRequired {
    match open(models, words, &Means::Nothing, false).await {
        Admission::Refused(required) => *required,
        _ => panic!("nothing is sold without a payment"),
    }
}

fn offer(required: &PaymentRequired, scheme: &Scheme) -> PaymentRequirements {
    required.accepts.iter().find_map(|one| one.known().filter(|known| known.scheme == *scheme)).unwrap().clone()
}

fn payment(required: &PaymentRequired, offer: PaymentRequirements, payload: &BatchPayload) -> PaymentPayload {
    PaymentPayload {
        x402_version: Version,
        resource: Some(required.resource.clone()),
        accepted: offer,
        payload: payload.to_object(),
        extensions: required.extensions.clone(),
    }
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

/// A stock client's channel: one voucher a request, at what it was told before and this request's amount.
struct Channel {
    told: u128,
    opened: bool,
    /// Of its deposit.
    salt: Hash,
}

impl Channel {
    fn new(told: u128, opened: bool) -> Self {
        Self { told, opened, salt: Hash::ZERO }
    }

    fn pay(&mut self, required: &PaymentRequired) -> PaymentPayload {
        let offer = offer(required, &Scheme::BatchSettlement);
        let payload = self.voucher(required, offer.amount.atoms());
        self.opened = true;
        payment(required, offer, &payload)
    }

    /// A voucher over this much more than it was told; with a deposit where there was none.
    fn voucher(&self, required: &PaymentRequired, more: u128) -> BatchPayload {
        let (network, offer) = (Kit::default().network(), offer(required, &Scheme::BatchSettlement));
        let config = agora_types::channel::ChannelConfig {
            payer: key(PAYER).address(),
            payer_authorizer: key(PAYER).address(),
            receiver: offer.pay_to,
            receiver_authorizer: offer.batch_extra().unwrap().receiver_authorizer,
            token: offer.asset,
            withdraw_delay: offer.batch_extra().unwrap().withdraw_delay,
            salt: Hash::ZERO,
        };
        let max = atoms(self.told + more);
        let voucher = agora_types::channel::Voucher::sign(&network, config.id(&network), max, &key(PAYER));
        if self.opened {
            BatchPayload::Voucher(VoucherPayload { channel_config: config, voucher: VoucherFields::write(&voucher) })
        } else {
            let deposit = agora_types::command::Deposit {
                config,
                amount: atoms(8 * offer.amount.atoms()),
                valid_after: 0,
                valid_before: Kit::default().now.as_secs() + 600,
                salt: self.salt,
            };
            BatchPayload::Deposit(DepositPayload::sign(&network, deposit, &voucher, &key(PAYER)))
        }
    }

    /// Asks for all that is left.
    fn refund(&self, required: &PaymentRequired) -> PaymentPayload {
        let BatchPayload::Voucher(last) = Self { salt: self.salt, ..Self::new(self.told, true) }.voucher(required, 0)
        else {
            panic!("a voucher")
        };
        let refund = RefundPayload {
            channel_config: last.channel_config,
            voucher: last.voucher,
            amount: None,
            refund_nonce: None,
            claims: None,
            refund_authorizer_signature: None,
            claim_authorizer_signature: None,
        };
        payment(required, offer(required, &Scheme::BatchSettlement), &BatchPayload::Refund(refund))
    }

    /// Takes in what the seller says, as a stock client does: charged at most the amount, cumulative as summed.
    fn told(&mut self, response: &agora_x402::wire::SettleResponse, amount: Amount) {
        let extra = SettleResponseExtra::read(&response.extra).unwrap();
        let charged = extra.charged_amount.unwrap();
        assert!(charged <= amount, "no more than the offer");
        self.told += charged.atoms();
        let cumulative = extra.channel_state.unwrap().charged_cumulative_amount.unwrap();
        assert_eq!(cumulative.atoms(), self.told, "what was told before and this");
    }
}

async fn read(completion: &mut Box<dyn Completion>) -> (String, Ended) {
    let mut text = String::new();
    loop {
        match completion.next().await.unwrap() {
            Piece::Text { text: more, .. } => text.push_str(&more),
            Piece::End(end) => return (text, *end),
        }
    }
}

async fn bought(models: &NodeModels, words: &str, paid: &PaymentPayload, stream: bool) -> (String, Ended) {
    match open(models, words, &Means::Payment(Box::new(paid.clone())), stream).await {
        Admission::Serve(mut completion) => read(&mut completion).await,
        Admission::Refused(required) => panic!("{:?}", required.error),
        Admission::Busy(refusal) | Admission::Conflict(refusal) => panic!("{refusal}"),
        Admission::Answered(_) | Admission::Refunded(_) => panic!("not served"),
    }
}

/// What the payer has left, everywhere.
fn left(world: &World) -> u128 {
    world.channel().map_or(0, |channel| channel.unclaimed().atoms()) + world.balance(&key(PAYER).address())
}

fn purse() -> u128 {
    Amount::from_open(1_000).atoms()
}

async fn rest(world: &World) {
    while world.seller.running() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_same_payment_and_request_get_the_same_answer_and_one_debit() {
    for scheme in [Scheme::Exact, Scheme::Upto] {
        let folder = founded();
        let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
        let (models, _) = models(&world);
        let required = required(&models, "salvage").await;
        let paid = single(&required, &scheme, 1);
        let (text, end) = bought(&models, "salvage", &paid, false).await;
        assert_eq!((text.as_str(), end.usage.output), (answer("salvage").as_str(), TOKENS));
        assert!(end.receipt.charge <= offer(&required, &scheme).amount);
        rest(&world).await;
        let (again, same) = bought(&models, "salvage", &paid, false).await;
        assert_eq!((again, same.receipt), (text, end.receipt.clone()), "{scheme}");
        assert_eq!(same.response, end.response, "{scheme}");
        // Another request with this payment.
        let other = open(&models, "lighthouse", &Means::Payment(Box::new(paid.clone())), false).await;
        assert!(matches!(other, Admission::Conflict(_) | Admission::Refused(_)), "{scheme}");
        rest(&world).await;
        assert_eq!(left(&world) + end.receipt.charge.atoms(), purse(), "{scheme}: one debit");
        assert_eq!(world.receipts(), 2, "{scheme}");
        world.audit();
        world.end().await;
    }
}

#[tokio::test]
async fn of_a_hundred_requests_with_one_signature_one_is_served() {
    for scheme in [Scheme::Exact, Scheme::Upto, Scheme::BatchSettlement] {
        let folder = founded();
        let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
        let (models, _) = models(&world);
        let required = required(&models, "salvage").await;
        let paid = match scheme {
            Scheme::BatchSettlement => Channel::new(0, false).pay(&required),
            _ => single(&required, &scheme, 1),
        };
        let means = Means::Payment(Box::new(paid));
        // Nobody reads before everybody was judged: the served one is in flight all the while.
        let all = futures::future::join_all((0..100).map(|_| open(&models, "salvage", &means, false))).await;
        let mut served = Vec::new();
        for one in all {
            match one {
                Admission::Serve(completion) => served.push(completion),
                Admission::Busy(_) => {}
                _ => panic!("{scheme}: neither served nor busy"),
            }
        }
        assert_eq!(served.len(), 1, "{scheme}");
        let (text, end) = read(&mut served[0]).await;
        assert_eq!(text, answer("salvage"));
        drop(served);
        rest(&world).await;
        assert_eq!(left(&world) + end.receipt.charge.atoms(), purse(), "{scheme}: one debit");
        assert_eq!(world.receipts(), 2, "{scheme}");
        world.audit();
        world.end().await;
    }
}

#[tokio::test]
async fn a_channels_buyer_is_told_the_amount_before_a_stream_and_what_it_did_not_use_pays_the_next() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let (models, _) = models(&world);
    let offered = required(&models, "salvage").await;
    let amount = offer(&offered, &Scheme::BatchSettlement).amount;
    let mut channel = Channel::new(0, false);
    let mut charged = 0;
    // A reader that leaves after three pieces: told the whole amount, charged for what it got.
    let paid = Means::Payment(Box::new(channel.pay(&offered)));
    let Admission::Serve(mut completion) = open(&models, "salvage", &paid, true).await else { panic!("not served") };
    channel.told(&completion.announced().expect("told before the body"), amount);
    assert_eq!(channel.told, amount.atoms());
    for _ in 0..3 {
        completion.next().await.unwrap();
    }
    drop(completion);
    rest(&world).await;
    let claimed = world.channel().unwrap().total_claimed.atoms();
    assert!(claimed < amount.atoms(), "{claimed} for three of {TOKENS} tokens");
    charged += claimed;
    // The next requests, streamed and whole: each is told so much that the sums meet.
    for (words, stream) in [("tide", true), ("wreck", false), ("reef", true), ("shoal", false)] {
        let offered = required(&models, words).await;
        let amount = offer(&offered, &Scheme::BatchSettlement).amount;
        let paid = channel.pay(&offered);
        let Admission::Serve(mut completion) =
            open(&models, words, &Means::Payment(Box::new(paid.clone())), stream).await
        else {
            panic!("{words} is not served")
        };
        let announced = completion.announced();
        assert_eq!(announced.is_some(), stream);
        let (text, end) = read(&mut completion).await;
        assert_eq!(text, answer(words));
        let told = announced.unwrap_or_else(|| end.response.clone().unwrap());
        channel.told(&told, amount);
        charged += end.receipt.charge.atoms();
        drop(completion);
        rest(&world).await;
        assert_eq!(world.channel().unwrap().total_claimed.atoms(), charged, "claimed is what was delivered");
        assert!(channel.told >= charged, "told is never less than claimed");
        // Once more: the same answer, told the same.
        let (again, same) = bought(&models, words, &paid, stream).await;
        assert_eq!((again, same.receipt), (text, end.receipt));
        rest(&world).await;
    }
    assert_eq!(left(&world) + charged, purse());
    // The rest goes back, the part that was told and not used with it.
    let asked = channel.refund(&offered);
    let refunded = open(&models, "salvage", &Means::Payment(Box::new(asked)), false).await;
    assert!(matches!(refunded, Admission::Refunded(response) if response.success));
    assert_eq!(world.balance(&key(PAYER).address()) + charged, purse(), "everything but the charges is back");
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_client_that_lost_count_is_told_the_channels_state_with_its_own_signature() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let (models, _) = models(&world);
    let mut channel = Channel::new(0, false);
    let first = required(&models, "salvage").await;
    bought(&models, "salvage", &channel.pay(&first), false).await;
    rest(&world).await;
    // It forgot the charge and signs the same height for another question.
    let mut forgetful = Channel::new(0, true);
    let second = required(&models, "lighthouses and tides").await;
    let refused =
        open(&models, "lighthouses and tides", &Means::Payment(Box::new(forgetful.pay(&second))), false).await;
    let Admission::Refused(corrective) = refused else { panic!("not corrected") };
    assert!(corrective.error.unwrap().ends_with("cumulative_amount_mismatch"));
    let offer =
        corrective.accepts.iter().find_map(|one| one.known().filter(|one| one.scheme == Scheme::BatchSettlement));
    let extra = offer.unwrap().batch_extra().unwrap();
    let state = extra.channel_state.unwrap();
    let charged = state.charged_cumulative_amount.unwrap();
    assert_eq!(charged, world.channel().unwrap().total_claimed);
    let voucher = extra.voucher_state.expect("the seller shows a voucher of the client's own");
    let network = Kit::default().network();
    let signed = agora_types::channel::Voucher {
        channel_id: state.channel_id,
        max_claimable: voucher.signed_max_claimable,
        signature: voucher.signature,
    };
    signed.verify(&network, &key(PAYER).address()).unwrap();
    // With the count it is served.
    let mut healed = Channel::new(charged.atoms(), true);
    let (text, _) = bought(&models, "lighthouses and tides", &healed.pay(&second), false).await;
    assert_eq!(text, answer("lighthouses and tides"));
    rest(&world).await;
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_client_that_lost_its_channel_and_deposits_again_is_corrected_and_its_second_deposit_stays_its_own() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let (models, _) = models(&world);
    let offered = required(&models, "salvage").await;
    let paid = Channel::new(0, false).pay(&offered);
    let (text, end) = bought(&models, "salvage", &paid, false).await;
    rest(&world).await;
    let before = world.channel().unwrap();
    // The same question at the same height, with a deposit of its own: that is no repeat of the first payment.
    let lost = Channel { salt: Hash::sha256("another deposit"), ..Channel::new(0, false) }.pay(&offered);
    let refused = open(&models, "salvage", &Means::Payment(Box::new(lost)), false).await;
    let Admission::Refused(corrective) = refused else { panic!("not corrected") };
    assert!(corrective.error.unwrap().ends_with("cumulative_amount_mismatch"));
    assert_eq!(world.channel().unwrap(), before);
    // The first payment is one.
    let (again, same) = bought(&models, "salvage", &paid, false).await;
    assert_eq!((again, same.receipt), (text, end.receipt));
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_repeat_is_marked_streamed_or_whole() {
    for stream in [false, true] {
        let folder = founded();
        let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
        let (models, _) = models(&world);
        let paid = Means::Payment(Box::new(single(&required(&models, "salvage").await, &Scheme::Upto, 1)));
        for replayed in [false, true] {
            let Admission::Serve(mut completion) = open(&models, "salvage", &paid, stream).await else {
                panic!("not served")
            };
            read(&mut completion).await;
            assert_eq!(completion.replayed(), replayed);
            drop(completion);
            rest(&world).await;
        }
        world.audit();
        world.end().await;
    }
}

#[tokio::test]
async fn a_probe_tells_the_dearest_price_and_takes_refunds_only() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let (models, _) = models(&world);
    let mut channel = Channel::new(0, false);
    let offered = required(&models, "salvage").await;
    let (_, end) = bought(&models, "salvage", &channel.pay(&offered), false).await;
    channel.told(&end.response.unwrap(), offer(&offered, &Scheme::BatchSettlement).amount);
    rest(&world).await;
    let asked = PricedRequest { method: "GET".into(), ..request("") };
    for model in [Some(MODEL), None] {
        let Admission::Refused(told) = models.probe(model, &asked, None).await.unwrap() else { panic!("no price") };
        let batch = offer(&told, &Scheme::BatchSettlement);
        assert!(batch.amount > offer(&offered, &Scheme::BatchSettlement).amount, "the dearest answer");
        // A payment buys nothing here, and costs nothing.
        let voucher = channel.pay(&told);
        let refused = models.probe(model, &asked, Some(&voucher)).await;
        assert_eq!(refused.err().map(|trouble| trouble.code), Some(Code::WireMalformed));
    }
    let unknown = models.probe(Some("unknown"), &asked, None).await;
    assert_eq!(unknown.err().map(|trouble| trouble.code), Some(Code::ListingNotFound));
    let told = match models.probe(Some(MODEL), &asked, None).await.unwrap() {
        Admission::Refused(told) => *told,
        _ => panic!("no price"),
    };
    let refunded = models.probe(Some(MODEL), &asked, Some(&channel.refund(&told))).await.unwrap();
    assert!(matches!(refunded, Admission::Refunded(response) if response.success));
    assert_eq!(world.balance(&key(PAYER).address()) + end.receipt.charge.atoms(), purse());
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_payment_that_is_not_the_offer_is_refused_and_nothing_moves() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let (models, _) = models(&world);
    let required = required(&models, "salvage").await;
    let good = single(&required, &Scheme::Exact, 1);
    let change = |change: &dyn Fn(&mut PaymentPayload)| {
        let mut paid = good.clone();
        change(&mut paid);
        paid
    };
    let rows = [
        ("a lower amount", change(&|paid| paid.accepted.amount = atoms(1))),
        ("another payee", change(&|paid| paid.accepted.pay_to = key(OWNER).address())),
        ("another resource", change(&|paid| paid.resource.as_mut().unwrap().url.push('x'))),
        ("another asset", change(&|paid| paid.accepted.asset = key(OWNER).address())),
    ];
    for (name, paid) in rows {
        let own = offer(&required, &Scheme::Exact);
        let differs = difference(&paid.accepted, &own).is_some() || name == "another resource";
        assert!(differs, "{name}");
        let judged = open(&models, "salvage", &Means::Payment(Box::new(paid)), false).await;
        assert!(matches!(judged, Admission::Refused(_)), "{name}");
    }
    // Paid for a short question, sent with a long one, which costs more.
    let dear = Means::Payment(Box::new(good));
    let judged = open(&models, "a question with many more words than salvage has", &dear, false).await;
    assert!(matches!(judged, Admission::Refused(_)));
    assert_eq!(left(&world), purse());
    assert_eq!(world.receipts(), 0);
    world.end().await;
}

#[tokio::test]
async fn an_api_key_spends_its_budget_and_no_more() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let (models, keys) = models(&world);
    let price = offer(&required(&models, "salvage").await, &Scheme::Upto).amount.atoms();
    let (text, row) = keys.add("app", atoms(2 * price)).await.unwrap();
    let mut kit = Kit::default();
    kit.now = world.clock.told();
    let head = kit.head(PAYER);
    let transfer = Transfer {
        head,
        credit: row.account,
        amount: Amount::from_open(1),
        pending: None,
        reference: 0,
        receipt: None,
    };
    let fund = Entry::sign(&kit.network(), Command::Transfer(transfer), &key(PAYER));
    assert_eq!(world.ledger.commit(vec![fund]).await.unwrap(), [Ok(())]);
    let means = Means::Key(text.clone());
    let mut spent = 0;
    for words in ["salvage", "lagoons"] {
        let Admission::Serve(mut completion) = open(&models, words, &means, true).await else { panic!("not served") };
        assert!(completion.announced().is_none());
        let (answered, end) = read(&mut completion).await;
        assert_eq!(answered, answer(words));
        assert_eq!(end.receipt.payer, row.account);
        spent += end.receipt.charge.atoms();
        drop(completion);
        rest(&world).await;
    }
    let refused = models.open(MODEL, &question("more"), &request("more"), &means, false).await;
    assert_eq!(refused.err().unwrap().code, Code::ApiKeyOverBudget);
    let known = keys.list().await.unwrap();
    assert_eq!(known[0].1.atoms(), spent, "used is what was charged");
    let unknown = Means::Key("agora-nobody".into());
    let refused = models.open(MODEL, &question("more"), &request("more"), &unknown, false).await;
    assert_eq!(refused.err().unwrap().code, Code::ApiKeyUnknown);
    // Everything that is left comes back.
    let before = world.balance(&key(OWNER).address());
    let (refunded, returned) = keys.close("app", key(OWNER).address()).await.unwrap();
    assert!(refunded <= returned);
    assert_eq!(returned.atoms() + spent, Amount::from_open(1).atoms());
    assert_eq!(world.balance(&key(OWNER).address()), before + returned.atoms());
    let gone = models.open(MODEL, &question("more"), &request("more"), &means, false).await;
    assert_eq!(gone.err().unwrap().code, Code::ApiKeyUnknown);
    world.audit();
    world.end().await;
}
