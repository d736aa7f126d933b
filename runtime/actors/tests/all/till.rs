//! What a priced route can rely on: one payment, one answer, the exact charge; and its buyer: nothing charged for nothing.

use crate::shop;
use crate::world;

use std::sync::Arc;

use agora_economy::ports::ledger::{Ledger as _, Payment};
use agora_economy::ports::pay::{Admission, Kept, Till as _};
use agora_economy::ports::state::{Journal as _, Table};
use agora_economy::testkit::*;
use agora_types::{Amount, Hash};
use agora_x402::buyer::StopSigning;
use agora_x402::check::ChannelView;
use agora_x402::wire::{PaymentPayload, Scheme, SettleResponseExtra, SettledAmount};
use shop::*;
use world::{Fuse, World, founded};

async fn open(folder: &tempfile::TempDir, round: u64) -> World {
    World::open(folder.path(), Fuse::new(None, false), round).await
}

fn exact(nonce: u8) -> PaymentPayload {
    single(&offer_of(&Scheme::Exact), nonce)
}

fn upto(nonce: u8) -> PaymentPayload {
    single(&offer_of(&Scheme::Upto), nonce)
}

/// The till's own offer of a scheme, extensions and all.
fn offer_of(scheme: &Scheme) -> agora_x402::wire::PaymentRequirements {
    offer(scheme, PRICE)
}

fn channels() -> Channels {
    Channels::new(&offer_of(&Scheme::BatchSettlement))
}

fn extra(outcome: &Outcome) -> SettleResponseExtra {
    SettleResponseExtra::read(&outcome.response().extra).unwrap()
}

/// What the payer has left, everywhere.
fn left(world: &World) -> u128 {
    world.channel().map_or(0, |channel| channel.unclaimed().atoms()) + world.balance(&payer())
}

#[tokio::test]
async fn a_single_payment_buys_one_answer_for_its_charge() {
    for (name, payment, charge, moved) in
        [("exact", exact(1), PRICE / 4, PRICE), ("upto", upto(1), PRICE / 4, PRICE / 4), ("upto, free", upto(1), 0, 0)]
    {
        let folder = founded();
        let world = open(&folder, 0).await;
        let till = till(&world);
        let asked = request("who owns a wreck");
        let first = buy(&till, &asked, &payment, charge).await;
        let response = first.response().clone();
        assert_eq!(first, Outcome::Served(response.clone()), "{name}");
        assert!(response.success, "{name}: {response:?}");
        assert_eq!(response.amount, Some(SettledAmount::Atoms(atoms(moved))), "{name}");
        // The very same again: the same bytes, and nothing moves.
        for _ in 0..2 {
            let again = buy(&till, &asked, &payment, charge).await;
            assert_eq!(again, Outcome::Answered(Some(answer(&asked)), response.clone()), "{name}");
        }
        assert_eq!(buy(&till, &request("another question"), &payment, charge).await, Outcome::Conflict, "{name}");
        assert_eq!((world.balance(&shop()), left(&world)), (moved, purse() - moved), "{name}");
        assert_eq!(till.running(), 0, "{name}");
        world.audit();
        world.end().await;
    }
}

#[tokio::test]
async fn a_channel_is_charged_request_by_request_and_claimed_once() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = till(&world);
    let mut channels = channels();
    let mut charged = 0;
    for (number, charge) in [(1, PRICE), (2, PRICE / 3), (3, 0), (4, PRICE)] {
        let (payment, asked) = (channels.pay(number), request(&format!("question {number}")));
        let done = buy(&till, &asked, &payment, charge).await;
        assert_eq!(extra(&done).charged_amount, Some(atoms(charge)), "{number}: {done:?}");
        channels.took(done.response());
        charged += charge;
        assert_eq!(channels.buyer.charged, atoms(charged));
        let again = buy(&till, &asked, &payment, charge).await;
        assert_eq!(again, Outcome::Answered(Some(answer(&asked)), done.response().clone()), "{number}");
    }
    // What cost nothing did not use its voucher up: the third and the fourth are the same.
    assert_eq!(world.balance(&shop()), 0, "vouchers are promises");
    assert_eq!(till.claim().await.unwrap(), atoms(charged));
    assert_eq!(till.claim().await.unwrap(), Amount::ZERO, "once");
    assert_eq!((world.balance(&shop()), left(&world)), (charged, purse() - charged));
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_voucher_buys_no_second_request_and_a_deposit_counts_once() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = till(&world);
    let mut channels = channels();
    let first = channels.pay(1);
    channels.took(buy(&till, &request("one"), &first, PRICE).await.response());
    assert_eq!(buy(&till, &request("two"), &first, PRICE).await, Outcome::Conflict);
    // Rolled back beneath what was charged since.
    channels.buy(&till, &request("two"), 2, PRICE).await;
    let corrected = buy(&till, &request("three"), &first, PRICE).await;
    assert_eq!(corrected.reason(), "invalid_batch_settlement_evm_cumulative_amount_mismatch");
    for number in 3..=5 {
        channels.buy(&till, &request(&number.to_string()), number, PRICE).await;
    }
    // The channel is spent. The first deposit once more, with a voucher for the sixth request: no money comes with it.
    let mut sixth = first.clone();
    channels.buyer.deposited = atoms(6 * PRICE);
    sixth.payload["voucher"] = channels.pay(6).payload["voucher"].clone();
    let refused = buy(&till, &request("six"), &sixth, PRICE).await;
    assert_eq!(refused.reason(), "invalid_batch_settlement_evm_cumulative_exceeds_balance");
    assert_eq!(till.claim().await.unwrap(), atoms(5 * PRICE));
    assert_eq!(left(&world), purse() - 5 * PRICE);
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_stream_announces_what_it_may_cost_and_settles_what_it_did() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = till(&world);
    let mut channels = channels();
    for (number, charge) in [(1, PRICE), (2, PRICE / 2)] {
        let payment = channels.pay(number);
        let Ok(Admission::Serve(ticket)) = till.admit(&request(&number.to_string()), &payment).await else {
            panic!("{number} is served")
        };
        assert_eq!((ticket.payer(), ticket.max()), (payer(), atoms(PRICE)));
        let announced = ticket.announced().expect("the voucher is signed already");
        channels.took(&announced);
        let settled = ticket.settle(atoms(charge), None).await.unwrap();
        assert_eq!(settled.success, announced.success);
        assert_eq!(charge == PRICE, settled == announced, "{number}: said before, said after");
    }
    // The buyer counts the whole second request, the till a half: a 402 tells it, and its own signature vouches for it.
    let ahead = channels.pay(3);
    let Outcome::Refused(required) = buy(&till, &request("3"), &ahead, PRICE).await else {
        panic!("ahead of the till")
    };
    channels.buyer.adopt(&network(), &required, 0).unwrap();
    assert_eq!(channels.buyer.charged, atoms(PRICE + PRICE / 2), "the other half is credit");
    let again = channels.pay_for(&required, 3);
    channels.took(buy(&till, &request("3"), &again, PRICE).await.response());
    assert_eq!(till.claim().await.unwrap(), atoms(2 * PRICE + PRICE / 2));
    // A single payment has nothing to announce: its money moves at the end.
    let Ok(Admission::Serve(ticket)) = till.admit(&request("4"), &exact(1)).await else { panic!("served") };
    assert_eq!(ticket.announced(), None);
    ticket.cancel().await.unwrap();
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn work_that_fails_costs_nothing_and_its_payment_may_be_sent_again() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = till(&world);
    let asked = request("who owns a wreck");
    for (name, payment) in [("exact", exact(1)), ("upto", upto(1)), ("channel", channels().pay(1))] {
        let before = (left(&world), world.balance(&shop()));
        let Ok(Admission::Serve(ticket)) = till.admit(&asked, &payment).await else { panic!("{name} is served") };
        ticket.cancel().await.unwrap();
        assert_eq!((left(&world), world.balance(&shop())), before, "{name}");
        // A request that is dropped without a word, as when a connection ends.
        let Ok(Admission::Serve(ticket)) = till.admit(&asked, &payment).await else { panic!("{name} is served again") };
        assert_eq!(till.running(), 1, "{name}");
        drop(ticket);
        assert_eq!(till.running(), 0, "{name}");
        let done = buy(&till, &asked, &payment, PRICE).await;
        assert!(matches!(done, Outcome::Served(_)), "{name}: {done:?}");
    }
    assert_eq!(till.claim().await.unwrap(), atoms(PRICE));
    assert_eq!((world.balance(&shop()), left(&world)), (3 * PRICE, purse() - 3 * PRICE));
    world.audit();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_requests_with_one_signature_one_is_served() {
    let paid = channels().pay(1);
    for (name, payment) in [("exact", exact(1)), ("upto", upto(1)), ("channel", paid)] {
        let folder = founded();
        let world = open(&folder, 0).await;
        let till = Arc::new(till(&world));
        let (asked, payment) = (Arc::new(request("who owns a wreck")), Arc::new(payment));
        let all = (0..100).map(|_| {
            let (till, asked, payment) = (Arc::clone(&till), Arc::clone(&asked), Arc::clone(&payment));
            tokio::spawn(async move { till.admit(&asked, &payment).await })
        });
        let (mut tickets, mut busy) = (Vec::new(), 0);
        for admission in futures::future::join_all(all).await {
            match admission.unwrap() {
                Ok(Admission::Serve(ticket)) => tickets.push(ticket),
                Ok(Admission::Busy(refusal)) => {
                    assert_eq!(refusal.reason.to_string(), "agora_payment_in_flight", "{name}");
                    busy += 1;
                }
                Ok(_) => panic!("{name}: neither served nor busy"),
                Err(trouble) => panic!("{name}: {trouble}"),
            }
        }
        assert_eq!((tickets.len(), busy), (1, 99), "{name}");
        let settled = tickets.remove(0).settle(atoms(PRICE), Some(answer(&asked))).await.unwrap();
        let all = (0..100).map(|_| {
            let (till, asked, payment) = (Arc::clone(&till), Arc::clone(&asked), Arc::clone(&payment));
            tokio::spawn(async move { buy(&till, &asked, &payment, PRICE).await })
        });
        for outcome in futures::future::join_all(all).await {
            match outcome.unwrap() {
                Outcome::Answered(kept, response) => {
                    assert_eq!((kept, &response), (Some(answer(&asked)), &settled), "{name}")
                }
                other => assert_eq!(other, Outcome::Busy, "{name}: another repeat is being answered"),
            }
        }
        till.claim().await.unwrap();
        assert_eq!((world.balance(&shop()), left(&world)), (PRICE, purse() - PRICE), "{name}");
        world.audit();
        drop(till);
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_eight_requests_on_one_channel_one_is_served() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = Arc::new(till(&world));
    let mut channels = channels();
    channels.buy(&till, &request("first"), 1, PRICE).await;
    let payment = Arc::new(channels.pay(2));
    let all = (0..8).map(|number| {
        let (till, payment) = (Arc::clone(&till), Arc::clone(&payment));
        tokio::spawn(async move { till.admit(&request(&format!("question {number}")), &payment).await })
    });
    let (mut tickets, mut busy) = (Vec::new(), 0);
    for admission in futures::future::join_all(all).await {
        match admission.unwrap().unwrap() {
            Admission::Serve(ticket) => tickets.push(ticket),
            Admission::Refused(required) => {
                assert_eq!(required.error.as_deref(), Some("invalid_batch_settlement_evm_channel_busy"));
                busy += 1;
            }
            Admission::Answered(_) | Admission::Refunded(_) | Admission::Busy(_) | Admission::Conflict(_) => {
                panic!("neither served nor refused")
            }
        }
    }
    assert_eq!((tickets.len(), busy), (1, 7));
    // A refund waits its turn as well.
    let mut other = Channels::new(&offer_of(&Scheme::BatchSettlement));
    other.buyer = agora_x402::buyer::BuyerChannel { sent: None, ..channels.buyer.clone() };
    let refund = buy(&till, &request("refund"), &other.refund(None), 0).await;
    assert_eq!(refund.reason(), "invalid_batch_settlement_evm_channel_busy");
    channels.took(&tickets.remove(0).settle(atoms(PRICE), None).await.unwrap());
    assert_eq!(till.claim().await.unwrap(), atoms(2 * PRICE));
    world.audit();
    drop(till);
    world.end().await;
}

#[tokio::test]
async fn a_buyer_that_lost_its_record_adopts_the_tills_as_far_as_it_signed() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = till(&world);
    let mut channels = channels();
    for number in 1..=2 {
        channels.buy(&till, &request(&number.to_string()), number, PRICE / 2).await;
    }
    // It remembers the channel, and the ledger says what is in it.
    let mut lost = Channels::new(&offer_of(&Scheme::BatchSettlement));
    let view = ChannelView { balance: world.channel().unwrap().balance(), ..ChannelView::default() };
    lost.buyer = agora_x402::buyer::BuyerChannel::new(channels.buyer.config.clone(), &view);
    let stale = lost.pay(3);
    // Its voucher is the first one's again, for another request; the till can not tell, and asks for another payment.
    let refused = buy(&till, &request("3"), &stale, PRICE).await;
    assert_eq!(refused.reason(), "invalid_batch_settlement_evm_cumulative_amount_mismatch");
    let Outcome::Refused(required) = refused else { unreachable!() };
    lost.buyer.adopt(&network(), &required, 0).unwrap();
    assert_eq!(lost.buyer.charged, atoms(PRICE));
    assert_eq!(lost.buyer.adopt(&network(), &required, 1), Err(StopSigning::TooManyCorrections));
    let done = buy(&till, &request("3"), &lost.pay_for(&required, 3), PRICE).await;
    lost.took(done.response());
    // A 402 that is forged moves nobody: the voucher in it is not the buyer's.
    let mut forged = *required;
    let own = forged.accepts.iter().filter_map(|one| one.known()).find(|own| own.scheme == Scheme::BatchSettlement);
    let mut own = own.unwrap().clone();
    own.extra["voucherState"]["signedMaxClaimable"] = (4 * PRICE).to_string().into();
    own.extra["channelState"]["chargedCumulativeAmount"] = (4 * PRICE).to_string().into();
    forged.accepts = vec![own.into()];
    assert_eq!(lost.buyer.adopt(&network(), &forged, 0), Err(StopSigning::ForgedVoucher));
    assert_eq!(till.claim().await.unwrap(), atoms(2 * PRICE));
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_buyer_that_lost_its_record_and_deposits_again_is_corrected_and_deposits_nothing() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = till(&world);
    channels().buy(&till, &request("1"), 1, PRICE / 2).await;
    let before = world.channel().unwrap();
    // The same request at the same height, with a deposit of its own: no repeat of the first payment.
    let refused = buy(&till, &request("1"), &channels().pay(2), PRICE).await;
    assert_eq!(refused.reason(), "invalid_batch_settlement_evm_cumulative_amount_mismatch");
    assert_eq!(world.channel().unwrap(), before);
    // The very payment is one.
    assert!(matches!(buy(&till, &request("1"), &channels().pay(1), PRICE).await, Outcome::Answered(Some(_), _)));
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_refund_gives_back_what_was_not_charged() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = till(&world);
    let mut channels = channels();
    channels.buy(&till, &request("one"), 1, PRICE / 2).await;
    let part = buy(&till, &request("refund"), &channels.refund(Some(PRICE)), 0).await;
    assert_eq!(part.response().amount, Some(SettledAmount::Atoms(atoms(PRICE))));
    channels.took(part.response());
    let rest = channels.refund(None);
    let all = buy(&till, &request("refund"), &rest, 0).await;
    assert!(matches!(all, Outcome::Refunded(_)), "{all:?}");
    channels.took(all.response());
    assert_eq!(channels.buyer.deposited, channels.buyer.charged);
    let nothing = buy(&till, &request("refund"), &rest, 0).await;
    assert_eq!(nothing.reason(), "invalid_batch_settlement_evm_refund_no_balance");
    assert_eq!(left(&world), purse() - PRICE / 2);
    assert_eq!(till.claim().await.unwrap(), atoms(PRICE / 2));
    // The channel goes on with a new deposit, and what was signed before buys nothing.
    channels.buy(&till, &request("two"), 2, PRICE).await;
    assert_eq!(till.claim().await.unwrap(), atoms(PRICE));
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_channel_that_is_withdrawn_is_not_served_and_keeps_no_other_from_being_claimed() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = till(&world);
    let mut hostile = channels();
    hostile.buy(&till, &request("one"), 1, PRICE).await;
    withdraw_start(&world, hostile.id()).await.unwrap();
    let refused = buy(&till, &request("two"), &hostile.pay(2), PRICE).await;
    assert_eq!(refused.reason(), "agora_channel_withdraw_already_started");
    // Nobody claimed within the delay: the charge is lost, and only that.
    world.clock.skip_secs(901);
    withdraw_finish(&world, hostile.id()).await.unwrap();
    let own = offer_of(&Scheme::BatchSettlement);
    let mut honest = Channels::new(&own);
    honest.buyer.config.salt = Hash::sha256("another channel");
    let (network, required) = (network(), offers(&own).required(None));
    let now = world.clock.told();
    let context = agora_x402::buyer::PaymentContext { network: &network, required: &required, offer: &own, now };
    let (owner, session) = (key(PAYER), key(SESSION));
    let keys = agora_x402::buyer::ChannelKeys { owner: &owner, session: &session };
    let fresh = agora_x402::buyer::Fresh { salt: Hash::ZERO };
    let payment = honest.buyer.pay(&context, keys, atoms(5 * PRICE), fresh).unwrap();
    honest.took(buy(&till, &request("three"), &payment, PRICE).await.response());
    assert_eq!(till.claim().await.unwrap(), atoms(PRICE));
    assert_eq!(world.balance(&shop()), PRICE);
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_payment_identifier_belongs_to_one_payment() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = till(&world);
    let asked = request("who owns a wreck");
    let id = "order-0123456789";
    let first = with_identifier(exact(1), id);
    let done = buy(&till, &asked, &first, PRICE).await;
    assert!(matches!(done, Outcome::Served(_)), "{done:?}");
    let again = buy(&till, &asked, &first, PRICE).await;
    assert_eq!(again, Outcome::Answered(Some(answer(&asked)), done.response().clone()));
    for (row, other) in [("another nonce", exact(2)), ("another scheme", upto(2)), ("a voucher", channels().pay(1))] {
        let other = buy(&till, &asked, &with_identifier(other, id), PRICE).await;
        assert_eq!(other, Outcome::Conflict, "{row}");
    }
    assert_eq!(world.balance(&shop()), PRICE, "nothing was charged for them");
    // A malformed one is refused, not ignored: the buyer counts on it.
    for id in ["short", "with a blank in it", &"x".repeat(129)] {
        let refused = buy(&till, &asked, &with_identifier(exact(3), id), PRICE).await;
        assert_eq!(refused.reason(), "invalid_payload", "{id}");
    }
    // While its request runs, under another payment.
    let id = "order-9876543210";
    let Ok(Admission::Serve(ticket)) = till.admit(&asked, &with_identifier(exact(4), id)).await else {
        panic!("served")
    };
    assert_eq!(buy(&till, &asked, &with_identifier(exact(5), id), PRICE).await, Outcome::Conflict);
    assert_eq!(buy(&till, &asked, &with_identifier(exact(4), id), PRICE).await, Outcome::Busy);
    // Not charged: free for the next.
    ticket.cancel().await.unwrap();
    assert!(matches!(buy(&till, &asked, &with_identifier(exact(5), id), PRICE).await, Outcome::Served(_)));
    // Where one is required, none is a mistake.
    let strict = till.beside(agora_actors::pay::TillTerms { needs_identifier: true, ..terms() });
    assert_eq!(buy(&strict, &asked, &exact(6), PRICE).await.reason(), "invalid_payload");
    let named = with_identifier(exact(6), "order-required-1");
    assert!(matches!(buy(&strict, &asked, &named, PRICE).await, Outcome::Served(_)));
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn two_routes_do_not_serve_one_payment_or_one_channel_at_once() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let first = till(&world);
    let second = first.beside(terms());
    let asked = request("who owns a wreck");
    for payment in [exact(1), channels().pay(1)] {
        let Ok(Admission::Serve(ticket)) = first.admit(&asked, &payment).await else { panic!("served") };
        assert_eq!(buy(&second, &asked, &payment, PRICE).await, Outcome::Busy);
        let done = ticket.settle(atoms(PRICE), Some(answer(&asked))).await.unwrap();
        let again = buy(&second, &asked, &payment, PRICE).await;
        assert_eq!(again, Outcome::Answered(Some(answer(&asked)), done));
        assert_eq!(buy(&second, &request("another"), &payment, PRICE).await, Outcome::Conflict);
    }
    // What a facilitator holds with the same account for another seller is not served here.
    let facilitator = facilitator(&world);
    let payment = exact(2);
    assert!(verify(&facilitator, &shop::asked(&payment, &offer_of(&Scheme::Exact))).await.is_valid);
    let refused = buy(&first, &asked, &payment, PRICE).await;
    assert_eq!(refused.reason(), "invalid_exact_evm_nonce_already_used");
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn an_answer_too_long_to_keep_is_paid_once_and_repeated_without_its_body() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = till(&world);
    let asked = request("everything");
    let long = |body, content_type| Kept { status: 200, content_type, body };
    for (nonce, kept) in
        [(1, long(vec![b'x'; 256 * 1024 + 1], "text/plain".to_owned())), (2, long(vec![b'x'; 8], "x".repeat(8_192)))]
    {
        let Ok(Admission::Serve(ticket)) = till.admit(&asked, &exact(nonce)).await else { panic!("served") };
        let response = ticket.settle(atoms(PRICE), Some(kept)).await.unwrap();
        assert_eq!(buy(&till, &asked, &exact(nonce), PRICE).await, Outcome::Answered(None, response));
    }
    assert_eq!(world.balance(&shop()), 2 * PRICE);
    world.audit();
    world.end().await;
}

/// Stops the world at each durable step between admission and answer, starts it again, and sends the very same request.
async fn stop_at_each_step(payment: &PaymentPayload, fresh: &tempfile::TempDir, steps: i64, persists: bool) {
    let (asked, charge) = (request("who owns a wreck"), PRICE);
    for step in 0.. {
        let folder = copy(fresh.path());
        let fuse = Fuse::new(Some(step), persists);
        let world = World::open(folder.path(), fuse.clone(), 1).await;
        let before = world.balance(&shop());
        let spent = purse() - left(&world);
        let done = {
            let till = till(&world);
            tokio::select! {
                done = buy(&till, &asked, payment, charge) => Some(done),
                () = fuse.blown.notified() => None,
            }
        };
        world.end().await;
        let world = open(&folder, 2).await;
        let till = till(&world);
        let again = buy(&till, &asked, payment, charge).await;
        assert!(again.response().success, "step {step}, persists {persists}: {again:?}");
        if let Outcome::Answered(kept, _) = &again {
            assert_eq!(*kept, Some(answer(&asked)), "step {step}: the same bytes");
        }
        let third = buy(&till, &asked, payment, charge).await;
        assert_eq!(third, Outcome::Answered(Some(answer(&asked)), again.response().clone()), "step {step}");
        till.claim().await.unwrap();
        // The setup of a channel may have charged before; its claim comes with this one.
        let moved = world.balance(&shop()) - before;
        assert_eq!(moved % PRICE, 0, "step {step}");
        assert_eq!(purse() - left(&world), spent + moved, "step {step}, persists {persists}");
        let requests = if payment.payload.get("type").is_some_and(|kind| kind == "voucher") { 2 } else { 1 };
        assert_eq!(moved, requests * charge, "step {step}, persists {persists}: one debit");
        world.audit();
        world.end().await;
        if let Some(done) = done {
            assert_eq!(done.response(), again.response(), "the same answer on retry");
            assert_eq!(step, steps, "every step was tried");
            return;
        }
    }
}

#[tokio::test]
async fn one_debit_and_the_same_answer_whatever_stops() {
    for persists in [false, true] {
        let fresh = founded();
        stop_at_each_step(&exact(1), &fresh, 3, persists).await;
        stop_at_each_step(&upto(1), &fresh, 3, persists).await;
        let mut channels = channels();
        let deposit = channels.pay(1);
        stop_at_each_step(&deposit, &fresh, 2, persists).await;
        // With a channel that has paid one request.
        let world = open(&fresh, 0).await;
        channels.took(buy(&till(&world), &request("the first"), &deposit, PRICE).await.response());
        world.end().await;
        stop_at_each_step(&channels.pay(2), &fresh, 1, persists).await;
    }
}

async fn rows(world: &World, prefix: u8) -> usize {
    world.journal.list(Table::Till, vec![prefix], 10_000).await.unwrap().len()
}

#[tokio::test]
async fn old_answers_are_swept_and_what_they_were_paid_with_stays_refused() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = till(&world);
    let asked = request("who owns a wreck");
    let payment = with_identifier(exact(1), "order-0123456789");
    let first = buy(&till, &asked, &payment, PRICE).await;
    assert!(matches!(first, Outcome::Served(_)), "{first:?}");
    for nonce in 2..100 {
        assert!(matches!(buy(&till, &asked, &exact(nonce), PRICE).await, Outcome::Served(_)), "{nonce}");
    }
    let mut channels = channels();
    channels.buy(&till, &asked, 1, PRICE).await;
    let now = world.clock.told();
    assert_eq!(till.sweep(now.plus_secs(100_000)).await.unwrap(), 0, "nothing is old enough, whatever is asked");
    assert_eq!((rows(&world, b'p').await, rows(&world, b'i').await), (99, 1));
    world.clock.skip_secs(agora_actors::pay::KEEP_S + 10);
    let late = buy(&till, &asked, &exact(100), PRICE).await;
    assert_eq!(late.reason(), "invalid_exact_evm_payload_authorization_valid_before");
    assert_eq!(till.sweep(now.plus_secs(0).min(signed_at())).await.unwrap(), 0, "written after that");
    let mut swept = 0;
    for _ in 0..20 {
        swept += till.sweep(world.clock.told()).await.unwrap();
    }
    assert_eq!(swept, 100);
    assert_eq!((rows(&world, b'p').await, rows(&world, b'i').await, rows(&world, b'c').await), (0, 0, 1));
    let remembered = world.ledger.payment(payer(), Hash::new([1; 32])).await.unwrap();
    assert!(matches!(remembered, Some(Payment::Posted(_))), "for ever");
    assert_eq!(till.claim().await.unwrap(), atoms(PRICE), "channels are kept");
    drop(till);
    world.end().await;
    // Even by a node whose clock has fallen back into the payment's window.
    let world = open(&folder, 0).await;
    let till = shop::till(&world);
    let again = buy(&till, &asked, &payment, PRICE).await;
    assert_eq!(again.reason(), "invalid_exact_evm_nonce_already_used");
    assert_eq!(world.balance(&shop()), 100 * PRICE);
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn who_stops_waiting_gives_the_turn_back_and_is_charged_once() {
    let folder = founded();
    let fuse = Fuse::new(Some(1), true);
    let world = World::open(folder.path(), fuse.clone(), 0).await;
    let (asked, payment) = (request("who owns a wreck"), exact(1));
    {
        let till = till(&world);
        tokio::select! {
            done = buy(&till, &asked, &payment, PRICE) => panic!("{done:?}"),
            () = fuse.blown.notified() => {}
        }
        assert_eq!((till.running(), world.balance(&shop())), (0, 0), "written down, not posted");
    }
    world.end().await;
    let world = open(&folder, 1).await;
    let again = buy(&till(&world), &asked, &payment, PRICE).await;
    assert!(matches!(again, Outcome::Answered(Some(_), _)), "{again:?}");
    assert_eq!(world.balance(&shop()), PRICE);
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_payment_for_another_resource_or_price_is_refused() {
    let folder = founded();
    let world = open(&folder, 0).await;
    let till = till(&world);
    let mut elsewhere = request("who owns a wreck");
    elsewhere.url = format!("{URL}?n=2");
    assert_eq!(buy(&till, &elsewhere, &exact(1), PRICE).await.reason(), "invalid_payload");
    let cheap = single(&offer(&Scheme::Exact, 1), 1);
    let cheap = buy(&till, &request("cheap"), &cheap, PRICE).await;
    assert_eq!(cheap.reason(), "invalid_payment_requirements");
    // Signed for less than it takes.
    let mut low = exact(1);
    low.payload = single(&offer(&Scheme::Exact, 1), 1).payload;
    let low = buy(&till, &request("low"), &low, PRICE).await;
    assert_eq!(low.reason(), "invalid_exact_evm_payload_authorization_value_mismatch");
    let own = offer_of(&Scheme::Exact);
    let before = world.ledger.node.lock().unwrap().next_seq();
    let poor = single_by(99, &own, 1, signed_at());
    assert_eq!(buy(&till, &request("poor"), &poor, PRICE).await.reason(), "insufficient_funds");
    assert_eq!(world.ledger.node.lock().unwrap().next_seq(), before, "an empty purse writes nothing into the log");
    assert_eq!(rows(&world, b'p').await, 0);
    world.audit();
    world.end().await;
}
