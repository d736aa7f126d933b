//! What a buyer can rely on when it pays our own till over 402, whatever stops at whichever step on either side.

use crate::scripted;
use crate::street;
use crate::world;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agora_actors::clock::Clock as _;
use agora_actors::fetch::{HttpAnswer, PaidFetch as _, Withdrawn};
use agora_actors::pay::spend::PaidClient;
use agora_economy::ports::ledger::Ledger as _;
use agora_economy::testkit::*;
use agora_types::{Amount, CallId, Code};
use agora_x402::wire::Scheme;
use scripted::{copy, life};
use street::*;
use world::{Fuse, World, founded, payer};

const ID: CallId = CallId::new([1; 16]);
const NEXT: CallId = CallId::new([2; 16]);

async fn whole(folder: &Path, round: u64) -> World {
    World::open(folder, Fuse::new(None, false), round).await
}

async fn buy(client: &PaidClient, id: CallId) -> HttpAnswer {
    client.fetch(&payer(), id, &request(), &limits()).await.unwrap()
}

fn cost(answer: &HttpAnswer) -> u128 {
    answer.paid.as_ref().map_or(0, |paid| paid.amount.atoms())
}

fn body(answer: &HttpAnswer) -> (u16, &[u8]) {
    let reply = answer.reply.as_ref().unwrap();
    (reply.status, &reply.body)
}

/// What left the payer: paid out, or in its channels.
async fn spent(world: &World) -> (u128, u128) {
    let channel = world.channel().map_or(0, |channel| channel.unclaimed().atoms());
    (world.balance(&shop()), channel)
}

#[tokio::test]
async fn each_scheme_is_paid_exactly_and_a_repeat_comes_from_disk() {
    // Of an `exact` offer all is charged; of the others what the work cost.
    for (scheme, charge) in [(Scheme::Exact, PRICE), (Scheme::Upto, 37), (Scheme::BatchSettlement, 37)] {
        let folder = founded();
        let world = whole(folder.path(), 0).await;
        let till = till(&world, std::slice::from_ref(&scheme), PRICE);
        let street = shop_street(&till, Some(37));
        let client = client(&world, &street, None);
        let first = buy(&client, ID).await;
        assert_eq!((body(&first), cost(&first)), ((200, &b"tea"[..]), charge), "{scheme}");
        assert_eq!(first.paid.as_ref().unwrap().payee, shop());
        assert_eq!(street.asked().len(), 2, "unpaid, then paid");
        assert_eq!(buy(&client, ID).await, first);
        assert_eq!(street.asked().len(), 2, "{scheme}: a repeat sends nothing");
        let second = buy(&client, NEXT).await;
        assert_eq!(cost(&second), charge);
        till.claim().await.unwrap();
        assert_eq!(spent(&world).await.0, 2 * charge, "{scheme}");
        if scheme == Scheme::BatchSettlement {
            assert_eq!(spent(&world).await.1, 5 * PRICE - 2 * charge, "one deposit for both, the seller's least");
        }
        world.audit();
    }
}

#[tokio::test]
async fn a_single_payment_is_preferred_to_a_deposit_and_a_deposit_over_the_limit_is_never_made() {
    let folder = founded();
    let world = whole(folder.path(), 0).await;
    let all = [Scheme::BatchSettlement, Scheme::Upto, Scheme::Exact];
    let street = shop_street(&till(&world, &all, PRICE), Some(PRICE));
    let answer = buy(&client(&world, &street, None), ID).await;
    assert_eq!(cost(&answer), PRICE);
    assert!(world.channel().is_none(), "paid by one payment");
    // The shop wants 500 at least in a channel, and one fetch may cost 499.
    let street = shop_street(&till(&world, &[Scheme::BatchSettlement], PRICE), Some(PRICE));
    let mut limits = limits();
    limits.max = Amount::from_atoms(5 * PRICE - 1);
    let answer = client(&world, &street, None).fetch(&payer(), NEXT, &request(), &limits).await.unwrap();
    assert_eq!((body(&answer).0, cost(&answer), street.paid().len()), (402, 0, 0));
    assert!(world.channel().is_none());
}

#[tokio::test]
async fn a_handler_that_fails_costs_nothing_as_soon_as_that_is_certain() {
    let folder = founded();
    let world = whole(folder.path(), 0).await;
    let till = till(&world, &[Scheme::Exact], PRICE);
    let client = client(&world, &shop_street(&till, None), None);
    // The shop let the payment go, and could take it again until its time is over.
    let doubt = client.fetch(&payer(), ID, &request(), &limits()).await.unwrap_err();
    assert!(doubt.is_fault() && doubt.code == Code::PaymentUncertain, "{doubt}");
    assert!(client.give_up(&payer(), ID).await.unwrap_err().is_fault());
    world.clock.skip_secs(120);
    assert_eq!(client.give_up(&payer(), ID).await, Ok(None));
    let refused = client.fetch(&payer(), ID, &request(), &limits()).await.unwrap_err();
    assert_eq!((refused.code, refused.is_fault()), (Code::AgentOutOfTime, false));
    assert_eq!(spent(&world).await, (0, 0));
    world.audit();
}

#[tokio::test]
async fn an_id_that_was_given_up_before_it_was_fetched_buys_nothing() {
    let folder = founded();
    let world = whole(folder.path(), 0).await;
    let street = shop_street(&till(&world, &[Scheme::Exact], PRICE), Some(PRICE));
    let client = client(&world, &street, None);
    for _ in 0..2 {
        assert_eq!(client.give_up(&payer(), ID).await, Ok(None));
    }
    assert_eq!(client.fetch(&payer(), ID, &request(), &limits()).await.unwrap_err().code, Code::AgentOutOfTime);
    assert_eq!(street.asked().len(), 0);
    // One that was paid says so, each time.
    let paid = buy(&client, NEXT).await.paid;
    for _ in 0..2 {
        assert_eq!(client.give_up(&payer(), NEXT).await, Ok(paid.clone()));
    }
}

#[tokio::test]
async fn many_at_once_pay_one_by_one_out_of_a_channel_and_once_for_one_id() {
    let folder = founded();
    let world = whole(folder.path(), 0).await;
    let till = till(&world, &[Scheme::BatchSettlement], PRICE);
    let street = shop_street(&till, Some(PRICE));
    let client = client(&world, &street, None);
    let ids = [ID, NEXT, ID, CallId::new([3; 16]), NEXT];
    let answers = futures::future::join_all(ids.map(|id| buy(&client, id))).await;
    assert!(answers.iter().all(|answer| cost(answer) == PRICE));
    till.claim().await.unwrap();
    assert_eq!(spent(&world).await, (3 * PRICE, 2 * PRICE));
    world.audit();
}

#[tokio::test]
async fn a_seller_that_charged_a_lost_request_is_believed_and_nothing_is_counted_twice() {
    let folder = founded();
    let world = whole(folder.path(), 0).await;
    let till = till(&world, &[Scheme::BatchSettlement], PRICE);
    let (count, own) = (Arc::new(AtomicUsize::new(0)), Arc::clone(&till));
    // The second purchase is served for less than was signed, and all its answers are lost.
    let street = Street::to(move |asked| {
        let (till, count) = (Arc::clone(&own), Arc::clone(&count));
        async move {
            let answer = sell(&till, &asked, Some(40)).await;
            let lose = asked.header.is_some() && (1..4).contains(&count.fetch_add(1, Ordering::SeqCst));
            if lose { Err(lost()) } else { Ok(answer) }
        }
    });
    let client = client(&world, &street, None);
    // The unpaid requests are counted too: only headers tell them apart.
    assert_eq!(cost(&buy(&client, ID).await), 40);
    assert!(client.fetch(&payer(), NEXT, &request(), &limits()).await.unwrap_err().is_fault());
    let busy = client.fetch(&payer(), CallId::new([3; 16]), &request(), &limits()).await.unwrap_err();
    assert!(busy.code == Code::ChannelBusy && busy.is_fault(), "its turn comes when the lost one is ended: {busy}");
    assert_eq!(client.give_up(&payer(), NEXT).await.unwrap().unwrap().amount.atoms(), PRICE, "the most");
    assert_eq!(cost(&buy(&client, CallId::new([4; 16])).await), 40, "after one correction");
    till.claim().await.unwrap();
    assert_eq!(spent(&world).await, (120, 5 * PRICE - 120), "the shop has what it charged");
    world.audit();
}

#[tokio::test]
async fn what_lies_in_channels_comes_back_after_their_delay_less_what_the_seller_claims() {
    let folder = founded();
    let world = whole(folder.path(), 0).await;
    let till = till(&world, &[Scheme::BatchSettlement], PRICE);
    let street = shop_street(&till, Some(37));
    let client = client(&world, &street, None);
    let withdraw = async || client.withdraw(&payer()).await.unwrap();
    let account = payer().account.address();
    let before = world.balance(&account);
    assert_eq!(withdraw().await, Withdrawn::default(), "nothing was ever paid");
    assert_eq!(cost(&buy(&client, ID).await), 37);
    let begun = withdraw().await;
    assert_eq!((begun.back, begun.waiting), (Amount::ZERO, Amount::from_atoms(5 * PRICE)));
    let until = begun.until.unwrap();
    assert!(until >= world.clock.now().plus_secs(899));
    assert_eq!(withdraw().await.waiting, begun.waiting, "too early");
    till.claim().await.unwrap();
    world.clock.skip_secs(901);
    let ended = withdraw().await;
    let back = Amount::from_atoms(5 * PRICE - 37);
    assert_eq!(ended, Withdrawn { back, waiting: Amount::ZERO, until: None });
    assert_eq!(world.balance(&account), before - 37);
    assert_eq!(withdraw().await, Withdrawn::default());
    assert_eq!(cost(&buy(&client, NEXT).await), 37, "the channel may be used again");
    world.audit();
}

/// What is known when both sides have lived through a crash and one more life.
async fn check(world: &World, till: &agora_actors::pay::PlainTill, counted: u128, exactly: bool, at: &str) {
    till.claim().await.unwrap();
    let (paid, left) = spent(world).await;
    if exactly {
        assert_eq!(paid, counted, "{at}: paid is what was counted");
    } else {
        assert!(paid <= counted, "{at}: {paid} was paid, {counted} counted");
    }
    assert!(left == 0 || left + paid == 5 * PRICE, "{at}: {left} in the channel");
    world.audit();
}

/// Stops the world at each durable step of two purchases; then they are repeated, or given up.
fn stop_at_each_step(scheme: &Scheme, persists: bool, gives_up: bool) {
    let fresh = founded();
    let charge = if *scheme == Scheme::Exact { PRICE } else { 37 };
    for step in 0.. {
        let at = format!("{scheme}, step {step}, persists {persists}, gives up {gives_up}");
        let folder = copy(fresh.path());
        let ended = life(async {
            let fuse = Fuse::new(Some(step), persists);
            let world = World::open(folder.path(), fuse.clone(), 0).await;
            let street = shop_street(&till(&world, std::slice::from_ref(scheme), PRICE), Some(37));
            let client = client(&world, &street, None);
            let work = async {
                buy(&client, ID).await;
                buy(&client, NEXT).await;
            };
            tokio::select! {
                () = work => true,
                () = fuse.blown.notified() => false,
            }
        });
        life(async {
            let world = whole(folder.path(), 1).await;
            let till = till(&world, std::slice::from_ref(scheme), PRICE);
            let client = client(&world, &shop_street(&till, Some(37)), None);
            let mut counted = 0;
            for id in [ID, NEXT] {
                if gives_up {
                    let mut given = client.give_up(&payer(), id).await;
                    if given.as_ref().is_err_and(agora_actors::CallError::is_fault) {
                        world.clock.skip_secs(300);
                        given = client.give_up(&payer(), id).await;
                    }
                    counted += given.unwrap_or_else(|error| panic!("{at}: {error}")).map_or(0, |p| p.amount.atoms());
                    continue;
                }
                let answer = buy(&client, id).await;
                assert_eq!((body(&answer), cost(&answer)), ((200, &b"tea"[..]), charge), "{at}");
                counted += cost(&answer);
            }
            let exactly = !gives_up || *scheme != Scheme::BatchSettlement;
            check(&world, &till, counted, exactly, &at).await;
            let available = world.ledger.available(key(PAYER).address()).await.unwrap();
            assert!(!available.is_zero());
        });
        if ended {
            assert!(step > 5, "only {step} steps were tried");
            return;
        }
    }
}

#[test]
fn a_world_that_stops_before_any_step_pays_each_purchase_once() {
    for scheme in [Scheme::Exact, Scheme::Upto, Scheme::BatchSettlement] {
        stop_at_each_step(&scheme, false, false);
    }
}

#[test]
fn a_world_that_stops_after_any_step_pays_each_purchase_once() {
    for scheme in [Scheme::Exact, Scheme::Upto, Scheme::BatchSettlement] {
        stop_at_each_step(&scheme, true, false);
    }
}

#[test]
fn a_purchase_that_is_given_up_after_any_step_says_what_it_cost() {
    for scheme in [Scheme::Exact, Scheme::Upto, Scheme::BatchSettlement] {
        for persists in [false, true] {
            stop_at_each_step(&scheme, persists, true);
        }
    }
}
