//! What buyer and host of a paid call can rely on, whatever stops at whichever step.

use crate::world;

use std::path::Path;
use std::sync::{Arc, Mutex};

use agora_actors::call::settle_abandoned;
use agora_actors::purchase::{Arrived, Buyer, Purchase};
use agora_bus::LocalBus;
use agora_economy::ports::bus::frame::{Body, Frame};
use agora_economy::ports::bus::{Bus, Inbox, Key, KeyChange, Message, Pattern, Pending, Subject};
use agora_economy::testkit::*;
use agora_inference_api::{FakeEngine, Request};
use agora_receipts::Receipt;
use agora_types::{Amount, CallId, Code, Signed};
use world::{Fuse, World, cut_off, founded, payer, prices};

const CALL: CallId = CallId::new([7; 16]);

fn answer(tokens: u64) -> String {
    FakeEngine::answer(&Request::ask("who owns a wreck", tokens)).concat()
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

/// Everything that the payer has, wherever it is, and what the call cost make up the allocation.
fn check_money(world: &World, receipt: &Signed<Receipt>) {
    let channel = world.channel().expect("opened");
    let spent = receipt.payload().charge;
    let rest = channel.unclaimed().atoms() + world.balance(&key(PAYER).address());
    assert_eq!(rest + spent.atoms(), Amount::from_open(1_000).atoms(), "an atom is missing");
    assert_eq!(channel.total_claimed, spent);
    world.audit();
}

#[tokio::test]
async fn a_call_is_streamed_paid_to_the_atom_and_receipted_twice() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let (text, receipt) = world.buy(CALL, 100).await.unwrap();
    assert_eq!(text, answer(100));
    let said = receipt.payload();
    assert_eq!(said.usage.output, 100);
    assert_eq!(Some(said.charge), prices().charge(&said.usage));
    check_money(&world, &receipt);
    assert_eq!(world.receipts(), 2, "a provisional and a final leaf");
    for number in CONTRIBUTORS {
        assert!(world.balance(&key(number).address()) > 0, "contributor {number} is paid");
    }
    // A second call reuses the channel and what is left in it.
    let before = world.balance(&key(PAYER).address());
    world.buy(CallId::new([8; 16]), 10).await.unwrap();
    assert_eq!(world.balance(&key(PAYER).address()), before, "no second deposit was needed");
    world.audit();
    world.end().await;
}

/// Stops the world at each durable step in turn, starts it again, and lets the buyer come back for its call.
async fn stop_at_each_step(persists: bool) {
    const TOKENS: u64 = 40;
    let fresh = founded();
    for step in 0.. {
        let folder = copy(fresh.path());
        let fuse = Fuse::new(Some(step), persists);
        let world = World::open(folder.path(), fuse.clone(), 0).await;
        let done = tokio::select! {
            done = world.buy(CALL, TOKENS) => Some(done.unwrap()),
            () = fuse.blown.notified() => None,
        };
        // The host may stop after the buyer has its receipt.
        while done.is_some() && world.seller.running() > 0 {
            tokio::select! {
                () = fuse.blown.notified() => break,
                () = tokio::task::yield_now() => {}
            }
        }
        let whole = done.is_some() && world.seller.running() == 0;
        world.end().await;
        if whole {
            assert!(step > 45, "only {step} steps were tried");
            return;
        }
        let world = World::open(folder.path(), Fuse::new(None, false), 1).await;
        let (text, receipt) = match done {
            Some(done) => done,
            None => match world.buy(CALL, TOKENS).await {
                Ok(bought) => bought,
                Err(error) => panic!("step {step}, persists {persists}: {error}"),
            },
        };
        assert!(answer(TOKENS).starts_with(&text), "step {step}, persists {persists}: {text}");
        let words = text.split_whitespace().count() as u64;
        assert_eq!(receipt.payload().usage.output, words, "charged is what was delivered");
        // The host's own housekeeping ends what nobody asks for any more.
        settle_abandoned(&world.seller, key(PAYER).address(), CALL).await.unwrap();
        check_money(&world, &receipt);
        assert_eq!(world.receipts(), 2, "step {step}, persists {persists}");
        world.end().await;
    }
}

#[tokio::test]
async fn a_world_that_stops_before_any_step_loses_nothing_and_pays_nothing_twice() {
    stop_at_each_step(false).await;
}

#[tokio::test]
async fn a_world_that_stops_after_any_step_loses_nothing_and_pays_nothing_twice() {
    stop_at_each_step(true).await;
}

#[tokio::test]
async fn a_call_that_is_opened_again_gets_the_same_receipt_and_moves_nothing() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let quoted = world.quote(20).await.unwrap();
    let mut purchase = Purchase::open(&world.buyer, payer(), CALL, &quoted).await.unwrap();
    let first = loop {
        if let Arrived::Receipt(receipt) = purchase.next().await.unwrap() {
            break receipt;
        }
    };
    // The buyer forgets that it is done.
    drop(purchase);
    for round in 0..3 {
        while world.seller.running() > 0 {
            tokio::task::yield_now().await;
        }
        let mut again = Purchase::resume(&world.buyer, payer(), CALL).await.unwrap().expect("unfinished");
        let mut text = String::new();
        let receipt = loop {
            match again.next().await.unwrap() {
                Arrived::Text { text: more, .. } => text.push_str(&more),
                Arrived::Receipt(receipt) => break receipt,
            }
        };
        assert_eq!((&text, &receipt), (&answer(20), &first), "round {round}");
        check_money(&world, &first);
    }
    world.end().await;
}

/// A bus on which the last frame of an earlier stream, a receipt, still arrives when the call is opened again.
struct Belated {
    bus: Arc<LocalBus>,
    receipts: Mutex<Vec<Vec<u8>>>,
}

impl Bus for Belated {
    fn publish<'a>(&'a self, subject: &'a Subject, reply: Option<&'a Subject>, frame: &'a [u8]) -> Pending<'a, ()> {
        Box::pin(async move {
            let sent = Frame::from_wire(frame).unwrap();
            let late = match sent.body {
                Body::Open(_) => self.receipts.lock().unwrap().pop(),
                _ => None,
            };
            if let Some(receipt) = late {
                let wire = Frame::new(sent.stream, Body::Final(receipt)).to_wire()?;
                self.bus.publish(reply.unwrap(), None, &wire).await?;
            }
            self.bus.publish(subject, reply, frame).await
        })
    }
    fn request<'a>(&'a self, subject: &'a Subject, frame: &'a [u8], timeout_ms: u32) -> Pending<'a, Message> {
        self.bus.request(subject, frame, timeout_ms)
    }
    fn subscribe<'a>(&'a self, pattern: &'a Pattern, capacity: usize) -> Pending<'a, Box<dyn Inbox<Message>>> {
        self.bus.subscribe(pattern, capacity)
    }
    fn join<'a>(
        &'a self,
        pattern: &'a Pattern,
        group: &'a str,
        capacity: usize,
    ) -> Pending<'a, Box<dyn Inbox<Message>>> {
        self.bus.join(pattern, group, capacity)
    }
    fn put<'a>(&'a self, key: &'a Key, value: &'a [u8]) -> Pending<'a, u64> {
        self.bus.put(key, value)
    }
    fn delete<'a>(&'a self, key: &'a Key) -> Pending<'a, ()> {
        self.bus.delete(key)
    }
    fn get<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<Arc<[u8]>>> {
        self.bus.get(key)
    }
    fn watch<'a>(&'a self, bucket: &'a str, capacity: usize) -> Pending<'a, Box<dyn Inbox<KeyChange>>> {
        self.bus.watch(bucket, capacity)
    }
}

/// A buyer was stopped just before its receipt, and the host's last frame reached its next life: that buyer took it for the
/// whole answer, and the call stayed unfinished for ever.
#[tokio::test]
async fn a_receipt_that_was_meant_for_an_earlier_life_of_the_buyer_is_not_taken_for_the_answer() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let quoted = world.quote(20).await.unwrap();
    let mut purchase = Purchase::open(&world.buyer, payer(), CALL, &quoted).await.unwrap();
    let first = purchase.drain().await.unwrap();
    drop(purchase);
    while world.seller.running() > 0 {
        tokio::task::yield_now().await;
    }
    let bus = Belated { bus: world.bus.clone(), receipts: Mutex::new(vec![first.to_bytes()]) };
    let Buyer { ledger, journal, directory, clock, random, .. } = world.buyer.as_ref();
    let (ledger, journal, directory) = (ledger.clone(), journal.clone(), directory.clone());
    let next = Buyer { ledger, journal, bus: Arc::new(bus), directory, clock: clock.clone(), random: random.clone() };
    let mut again = Purchase::settle(&Arc::new(next), payer(), CALL).await.unwrap().expect("unfinished");
    assert_eq!(again.drain().await.unwrap(), first);
    assert_eq!(String::from_utf8_lossy(again.response()), answer(20));
    check_money(&world, &first);
    world.end().await;
}

#[tokio::test]
async fn hidden_tokens_are_promised_charged_and_receipted_apart() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    // The last one leaves no room for a thought: it is quoted, and runs, as one that does not think.
    let cases = [(7, 100, 150, 150), (8, 100, 1, 0), (9, 100, 5_000, 1_024 - 100), (10, 1_023, 5_000, 0)];
    for (call, output, hidden_max, cap) in cases {
        let ask = Request { hidden_max, ..Request::ask("who owns it", output) };
        let quoted = world.buyer.quote(&payer(), &world.listing, &ask).await.unwrap();
        let caps = quoted.quote.caps;
        assert_eq!((caps.output, caps.hidden), (output, cap), "together the listing's longest");
        let mut purchase = Purchase::open(&world.buyer, payer(), CallId::new([call; 16]), &quoted).await.unwrap();
        let mut text = String::new();
        let receipt = loop {
            match purchase.next().await.unwrap() {
                Arrived::Text { text: more, .. } => text += &more,
                Arrived::Receipt(receipt) => break receipt,
            }
        };
        purchase.finish(Vec::new()).await.unwrap();
        assert_eq!(text, FakeEngine::answer(&ask).concat(), "nothing of the thoughts is shown");
        let said = receipt.payload();
        assert_eq!((said.usage.input, said.usage.output, said.usage.hidden), (caps.input, output, cap));
        assert_eq!(said.decoding.map(|decoding| decoding.hidden_max), Some(cap));
        assert_eq!(Some(said.charge), prices().charge(&said.usage));
    }
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn likelihoods_arrive_with_their_tokens_where_they_are_asked_for() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let ask = Request { logprobs: Some(2), ..Request::ask("who owns it", 5) };
    let quoted = world.buyer.quote(&payer(), &world.listing, &ask).await.unwrap();
    let mut purchase = Purchase::open(&world.buyer, payer(), CALL, &quoted).await.unwrap();
    let mut tokens = Vec::new();
    while let Arrived::Text { text, likelihoods, .. } = purchase.next().await.unwrap() {
        if let Some(likelihoods) = likelihoods {
            assert_eq!((likelihoods.top.len(), &likelihoods.top[0]), (2, &likelihoods.chosen));
            assert_eq!(likelihoods.chosen.token, text.into_bytes());
            tokens.push(likelihoods.chosen.nats_micro);
        }
    }
    assert_eq!(tokens, [4, 5, 3, 4, 5], "those of the fake engine");
    world.end().await;
}

#[tokio::test]
async fn a_buyer_that_never_returns_is_charged_what_it_acknowledged_and_gets_the_rest_back() {
    let folder = founded();
    let quoted = cut_off(folder.path(), CALL, 70).await;
    let world = World::open(folder.path(), Fuse::new(None, false), 1).await;
    settle_abandoned(&world.seller, key(PAYER).address(), CALL).await.unwrap();
    let channel = world.channel().unwrap();
    let acknowledged = |tokens: u64| {
        let usage = agora_types::Usage { input: quoted.quote.caps.input, output: tokens, ..Default::default() };
        prices().charge(&usage).unwrap()
    };
    assert!(channel.total_claimed >= acknowledged(32), "{}", channel.total_claimed);
    assert!(channel.total_claimed <= acknowledged(70), "{}", channel.total_claimed);
    let host = key(HOST).address();
    let back = world.buyer.refund(&payer(), quoted.quote.listing, host).await.unwrap();
    assert_eq!(back, channel.unclaimed());
    let left = world.balance(&key(PAYER).address());
    assert_eq!(left + channel.total_claimed.atoms(), Amount::from_open(1_000).atoms());
    let again = world.buyer.refund(&payer(), quoted.quote.listing, host).await.unwrap();
    assert_eq!(again, Amount::ZERO, "a second refund finds nothing");
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_call_that_a_crash_cut_off_is_settled_before_its_channel_pays_for_another() {
    let folder = founded();
    let quoted = cut_off(folder.path(), CALL, 70).await;
    let world = World::open(folder.path(), Fuse::new(None, false), 1).await;
    // The buyer begins another call first, and only then comes back for the one that was cut off.
    assert_eq!(world.buy(CallId::new([8; 16]), 10).await.unwrap_err().code, Code::ChannelBusy);
    assert_eq!(world.receipts(), 1, "the old call is settled, nothing else has begun");
    let (text, other) = world.buy(CallId::new([8; 16]), 10).await.unwrap();
    assert_eq!(text, answer(10));
    let (text, receipt) = world.buy(CALL, 400).await.unwrap();
    assert!(answer(400).starts_with(&text));
    assert!(receipt.payload().usage.output >= 32, "{:?}", receipt.payload().usage);
    let spent = receipt.payload().charge.checked_add(other.payload().charge).unwrap();
    while world.seller.running() > 0 || world.receipts() < 4 {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.channel().unwrap().total_claimed, spent);
    world.buyer.refund(&payer(), quoted.quote.listing, key(HOST).address()).await.unwrap();
    let left = world.balance(&key(PAYER).address());
    assert_eq!(left + spent.atoms(), Amount::from_open(1_000).atoms(), "an atom is missing");
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_buyer_that_stops_early_pays_for_what_arrived() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let quoted = world.quote(1_000).await.unwrap();
    let mut purchase = Purchase::open(&world.buyer, payer(), CALL, &quoted).await.unwrap();
    for _ in 0..5 {
        purchase.next().await.unwrap();
    }
    purchase.stop().await.unwrap();
    let receipt = loop {
        if let Arrived::Receipt(receipt) = purchase.next().await.unwrap() {
            break receipt;
        }
    };
    assert_eq!(receipt.payload().usage.output, purchase.usage().output);
    assert!(receipt.payload().usage.output < 200, "the host went on for {:?}", receipt.payload().usage);
    check_money(&world, &receipt);
    world.end().await;
}

#[tokio::test]
async fn a_quote_opens_one_call_and_only_for_its_request() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let quoted = world.quote(5).await.unwrap();
    let opened = async |call: u8, quoted: &agora_actors::purchase::Quoted| {
        let mut purchase = Purchase::open(&world.buyer, payer(), CallId::new([call; 16]), quoted).await.unwrap();
        loop {
            match purchase.next().await {
                Ok(Arrived::Text { .. }) => {}
                Ok(Arrived::Receipt(_)) => break Ok(()),
                Err(error) => break Err(error.code),
            }
        }
    };
    let mut other = quoted.clone();
    other.request = agora_types::Canonical::to_bytes(&Request::ask("something else", 5));
    assert_eq!(opened(1, &other).await, Err(Code::QuoteMismatch));
    // The wrong request used the quote up.
    assert_eq!(opened(2, &quoted).await, Err(Code::QuoteUnknown));
    let quoted = world.quote(5).await.unwrap();
    assert_eq!(opened(3, &quoted).await, Ok(()));
    while world.seller.running() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(opened(4, &quoted).await, Err(Code::QuoteUnknown));
    let late = world.quote(5).await.unwrap();
    world.clock.skip_secs(31);
    assert_eq!(opened(5, &late).await, Err(Code::QuoteUnknown));
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_payer_without_money_is_told_so_and_nothing_moves() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let quoted = {
        let poor = agora_actors::purchase::Payer { account: key(90).into(), session: key(91).into() };
        let quoted = world.buyer.quote(&poor, &world.listing, &Request::ask("hello", 5)).await.unwrap();
        let opened = Purchase::open(&world.buyer, poor, CALL, &quoted).await;
        assert_eq!(opened.err().expect("no money").code, Code::ExceedsCredits);
        quoted
    };
    // Somebody else's quote is of no use.
    let mut purchase = Purchase::open(&world.buyer, payer(), CALL, &quoted).await.unwrap();
    assert_eq!(purchase.next().await.unwrap_err().code, Code::QuoteMismatch);
    assert_eq!(world.balance(&key(PAYER).address()), Amount::from_open(1_000).atoms());
    world.end().await;
}
