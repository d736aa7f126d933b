//! What a stranger who pays over HTTP can rely on: one payment, one answer, the exact charge, whatever stops.

use crate::world;

use std::path::Path;

use agora_actors::CallError;
use agora_actors::call::settle_abandoned;
use agora_actors::purchase::{Arrived, Given, Purchase};
use agora_economy::testkit::*;
use agora_inference_api::{FakeEngine, Request};
use agora_receipts::Receipt;
use agora_types::authorization::{Authorization, Single};
use agora_types::batch::Entry;
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::{Command, Deposit};
use agora_types::{Address, Amount, CallId, Code, Hash, Signed};
use world::{Fuse, World, founded, prices};

const CALL: CallId = CallId::new([7; 16]);
const TOKENS: u64 = 16;
const SALT: [u8; 16] = [3; 16];

fn question() -> Request {
    Request::ask("who owns a wreck", TOKENS)
}

fn answer() -> String {
    FakeEngine::answer(&question()).concat()
}

/// The most that the question can cost, and a little more, as an HTTP offer has it.
fn most() -> u128 {
    prices().output.atoms() * u128::from(TOKENS) + prices().input.atoms() * 100
}

fn listing() -> Address {
    Address::listing(&Kit::listing())
}

fn single(authorization: Authorization) -> Given {
    let signature = key(PAYER).sign(&authorization.digest(&Kit::default().network()));
    Given::Single(Single { authorization, signature })
}

fn exact(nonce: u8) -> Given {
    single(Kit::default().exact(listing(), most(), nonce))
}

fn upto(nonce: u8) -> Given {
    single(Kit::default().upto(listing(), most(), HOST, nonce))
}

/// A channel of the payer's own key, as stock clients open them: a deposit of five requests, one voucher a request.
fn channel(base: u128, with_deposit: bool) -> Given {
    let kit = Kit::default();
    let network = kit.network();
    let config = ChannelConfig { payer_authorizer: key(PAYER).address(), ..kit.config() };
    let voucher = Voucher::sign(&network, config.id(&network), atoms(base + most()), &key(PAYER));
    let deposit = Deposit {
        config: config.clone(),
        amount: atoms(5 * most()),
        valid_after: 0,
        valid_before: kit.now.as_secs() + 600,
        salt: Hash::ZERO,
    };
    let deposit = with_deposit.then(|| Entry::sign(&network, Command::Deposit(deposit), &key(PAYER)));
    Given::Channel { config, deposit, voucher }
}

async fn buy(
    world: &World,
    given: &Given,
    call: CallId,
    question: &Request,
) -> Result<(String, Signed<Receipt>), CallError> {
    let quoted = world.buyer.quote_for(given.payer(), &world.listing, question, SALT).await?;
    let mut purchase = Purchase::relay(&world.buyer, given.clone(), call, &quoted).await?;
    let mut text = String::new();
    loop {
        match purchase.next().await? {
            Arrived::Text { text: more, .. } => text.push_str(&more),
            Arrived::Receipt(receipt) => return Ok((text, *receipt)),
        }
    }
}

/// What the payer has left, everywhere.
fn left(world: &World) -> u128 {
    world.channel().map_or(0, |channel| channel.unclaimed().atoms()) + world.balance(&key(PAYER).address())
}

async fn rest(world: &World) {
    while world.seller.running() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn each_way_to_pay_costs_exactly_the_tokens_and_goes_through_attribution() {
    for (name, given) in [("exact", exact(1)), ("upto", upto(1)), ("channel", channel(0, true))] {
        let folder = founded();
        let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
        let (text, receipt) = buy(&world, &given, CALL, &question()).await.unwrap();
        rest(&world).await;
        assert_eq!(text, answer(), "{name}");
        let said = receipt.payload();
        assert_eq!(said.payer, key(PAYER).address(), "{name}: the stranger is the payer of record");
        assert_eq!(said.channel.is_some(), name == "channel", "{name}");
        assert_eq!(Some(said.charge), prices().charge(&said.usage), "{name}");
        assert!(said.charge.atoms() < most(), "{name}: the offer was the most");
        assert_eq!(left(&world) + said.charge.atoms(), Amount::from_open(1_000).atoms(), "{name}");
        assert_eq!(world.receipts(), 2, "{name}");
        assert!(CONTRIBUTORS.iter().all(|number| world.balance(&key(*number).address()) > 0), "{name}");
        world.audit();
        // The very same again: the same answer and receipt, and nothing moves.
        let again = buy(&world, &given, CALL, &question()).await.unwrap();
        assert_eq!((again.0, again.1), (text, receipt.clone()), "{name}");
        assert_eq!(left(&world) + said.charge.atoms(), Amount::from_open(1_000).atoms(), "{name}");
        // The same payment for another question.
        let other = Request::ask("who owns a lighthouse", TOKENS);
        let refused = buy(&world, &given, CALL, &other).await.unwrap_err();
        assert_eq!(refused.code, Code::CallDifferent, "{name}");
        world.end().await;
    }
}

#[tokio::test]
async fn a_payment_that_does_not_reach_is_refused_and_nothing_is_held() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let kit = Kit::default();
    let low = single(kit.exact(listing(), 1_000, 1));
    assert_eq!(buy(&world, &low, CALL, &question()).await.unwrap_err().code, Code::CallNotHeld);
    let elsewhere = single(kit.exact(key(OWNER).address(), most(), 1));
    assert_eq!(buy(&world, &elsewhere, CALL, &question()).await.unwrap_err().code, Code::ReceiverNotListing);
    let Given::Single(Single { authorization, .. }) = exact(1) else { unreachable!() };
    let forged = Given::Single(Single { signature: key(OWNER).sign(&Hash::ZERO), authorization });
    assert_eq!(buy(&world, &forged, CALL, &question()).await.unwrap_err().code, Code::VoucherSignature);
    assert_eq!(left(&world), Amount::from_open(1_000).atoms());
    world.audit();
    world.end().await;
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

/// Stops the world at each durable step in turn, starts it again, and sends the very same request again.
async fn stop_at_each_step(given: &Given, persists: bool) {
    let (fresh, asked) = (founded(), question());
    for step in 0.. {
        let folder = copy(fresh.path());
        let fuse = Fuse::new(Some(step), persists);
        let world = World::open(folder.path(), fuse.clone(), 0).await;
        let done = tokio::select! {
            done = buy(&world, given, CALL, &asked) => Some(done.unwrap()),
            () = fuse.blown.notified() => None,
        };
        while done.is_some() && world.seller.running() > 0 {
            tokio::select! {
                () = fuse.blown.notified() => break,
                () = tokio::task::yield_now() => {}
            }
        }
        let whole = done.is_some() && world.seller.running() == 0;
        world.end().await;
        if whole {
            assert!(step > 15, "only {step} steps were tried");
            return;
        }
        let world = World::open(folder.path(), Fuse::new(None, false), 1).await;
        let again = match buy(&world, given, CALL, &question()).await {
            // The first chunk was never sent: nothing is charged, and the payment may be sent once more.
            Err(error) if error.code == Code::CallNoAnswer => buy(&world, given, CALL, &question()).await,
            other => other,
        };
        let (text, receipt) = again.unwrap_or_else(|error| panic!("step {step}, persists {persists}: {error}"));
        if let Some((first, _)) = done {
            assert_eq!(first, text, "step {step}: the same answer on retry");
        }
        assert!(answer().starts_with(&text), "step {step}, persists {persists}: {text}");
        settle_abandoned(&world.seller, key(PAYER).address(), CALL).await.unwrap();
        let charge = receipt.payload().charge.atoms();
        assert_eq!(left(&world) + charge, Amount::from_open(1_000).atoms(), "step {step}, persists {persists}");
        assert_eq!(world.receipts(), 2, "step {step}, persists {persists}");
        world.audit();
        world.end().await;
    }
}

#[tokio::test]
async fn a_single_payment_is_debited_once_whatever_stops_before_a_step() {
    stop_at_each_step(&upto(1), false).await;
}

#[tokio::test]
async fn a_single_payment_is_debited_once_whatever_stops_after_a_step() {
    stop_at_each_step(&exact(1), true).await;
}

#[tokio::test]
async fn a_voucher_is_debited_once_whatever_stops_after_a_step() {
    stop_at_each_step(&channel(0, true), true).await;
}
