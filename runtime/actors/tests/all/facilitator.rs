//! What a seller can rely on who lets the facilitator settle: reserved when verified, moved once, whoever repeats it and
//! whatever stops.

use crate::shop;
use crate::world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agora_economy::ports::pay::{Caller, Facilitator as _, PaymentStatus};
use agora_economy::testkit::*;
use agora_types::{Code, Hash};
use agora_x402::wire::{PaymentRequirements, Scheme, SettledAmount};
use shop::seller::*;
use shop::*;
use world::{Fuse, World, founded};

const ALL: [Scheme; 2] = [Scheme::Exact, Scheme::Upto];

async fn open(folder: &std::path::Path, round: u64) -> World {
    World::open(folder, Fuse::new(None, false), round).await
}

fn amount(atoms_: u128) -> Option<SettledAmount> {
    Some(SettledAmount::Atoms(atoms(atoms_)))
}

#[tokio::test]
async fn a_verified_payment_is_reserved_for_one_request() {
    for (scheme, folder) in ALL.map(|scheme| (scheme, founded())) {
        let world = open(folder.path(), 0).await;
        let facilitator = facilitator(&world);
        let question = question(&scheme, PRICE, 1);
        let first = verify(&facilitator, &question).await;
        assert!(first.is_valid, "{scheme}: {first:?}");
        assert_eq!(first.payer, Some(payer()), "{scheme}");
        let second = verify(&facilitator, &question).await;
        assert_eq!(second.invalid_reason.as_deref(), Some("invalid_exact_evm_nonce_already_used"), "{scheme}");
        // Other words under the same nonce are not another payment.
        let other = verify(&facilitator, &shop::question(&scheme, PRICE + 1, 1)).await;
        assert_eq!(other.invalid_reason.as_deref(), Some("invalid_exact_evm_nonce_already_used"), "{scheme}");
        assert_eq!(world.balance(&shop()), 0, "{scheme}: nothing has moved");
        world.audit();
        world.end().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_a_hundred_verifications_at_once_one_is_good() {
    let folder = founded();
    let world = open(folder.path(), 0).await;
    let facilitator = Arc::new(facilitator(&world));
    let question = Arc::new(question(&Scheme::Exact, PRICE, 1));
    let all = (0..100).map(|_| {
        let (facilitator, question) = (Arc::clone(&facilitator), Arc::clone(&question));
        tokio::spawn(async move { verify(&facilitator, &question).await.is_valid })
    });
    let good = futures::future::join_all(all).await.into_iter().filter(|one| *one.as_ref().unwrap()).count();
    assert_eq!(good, 1);
    // The ninety-nine others were counted against nobody: as many new payments as before are held.
    for nonce in 2..=64 {
        assert!(verify(&facilitator, &shop::question(&Scheme::Exact, PRICE, nonce)).await.is_valid, "{nonce}");
    }
    world.audit();
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_payment_moves_once_however_often_it_is_settled() {
    for (scheme, verified) in [(Scheme::Exact, true), (Scheme::Upto, true), (Scheme::Exact, false)] {
        let folder = founded();
        let world = open(folder.path(), 0).await;
        let facilitator = Arc::new(facilitator(&world));
        let question = Arc::new(question(&scheme, PRICE, 1));
        if verified {
            assert!(verify(&facilitator, &question).await.is_valid);
        }
        let all = (0..20).map(|_| {
            let (facilitator, question) = (Arc::clone(&facilitator), Arc::clone(&question));
            tokio::spawn(async move { settle(&facilitator, &question).await })
        });
        let answers = futures::future::join_all(all).await;
        let first = answers[0].as_ref().unwrap().clone();
        assert!(first.success && first.transaction.len() == 66, "{scheme}: {first:?}");
        assert_eq!(first.amount, amount(PRICE));
        assert!(answers.iter().all(|one| *one.as_ref().unwrap() == first), "{scheme}: {answers:?}");
        drop(facilitator);
        world.end().await;
        // After a restart, after the hold has ended, and after the authorization's window.
        let world = open(folder.path(), 1).await;
        for secs in [0, 400, 700, 3_600] {
            world.clock.skip_secs(secs);
            nudge(&world).await;
            assert_eq!(settle(&shop::facilitator(&world), &question).await, first, "{scheme}, {secs} s later");
        }
        assert_eq!(world.balance(&shop()), PRICE, "{scheme}: one debit");
        world.audit();
        world.end().await;
    }
}

#[tokio::test]
async fn a_hold_that_ended_is_settled_as_long_as_the_payer_still_has_the_money() {
    let folder = founded();
    let world = open(folder.path(), 0).await;
    let facilitator = facilitator(&world);
    let own = PaymentRequirements { max_timeout_seconds: 10, ..offer(&Scheme::Exact, PRICE) };
    let mut question = question(&Scheme::Exact, PRICE, 1);
    // Ten seconds to hold, five minutes to be valid.
    question.payment_requirements = own.clone();
    question.payment_payload.accepted = own;
    assert!(verify(&facilitator, &question).await.is_valid);
    world.clock.skip_secs(11);
    nudge(&world).await;
    assert!(settle(&facilitator, &question).await.success);
    assert_eq!(world.balance(&shop()), PRICE);
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_payment_that_is_held_is_settled_after_its_window_and_one_that_is_not_is_refused() {
    let folder = founded();
    let world = open(folder.path(), 0).await;
    let facilitator = facilitator(&world);
    let own = PaymentRequirements { max_timeout_seconds: 5, ..offer(&Scheme::Upto, PRICE) };
    let mut held = asked(&single(&own, 1), &own);
    let mut late = asked(&single(&own, 2), &own);
    for one in [&mut held, &mut late] {
        one.payment_requirements.max_timeout_seconds = 60;
        one.payment_payload.accepted.max_timeout_seconds = 60;
    }
    assert!(verify(&facilitator, &held).await.is_valid);
    world.clock.skip_secs(30);
    nudge(&world).await;
    assert!(settle(&facilitator, &held).await.success, "the seller has worked for it");
    let refused = settle(&facilitator, &late).await;
    assert_eq!(
        refused.error_reason.as_deref(),
        Some("invalid_exact_evm_payload_authorization_valid_before"),
        "{refused:?}"
    );
    assert_eq!(world.balance(&shop()), PRICE);
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn money_that_is_reserved_cannot_be_drained_before_it_is_settled() {
    let folder = founded();
    let world = open(folder.path(), 0).await;
    let facilitator = facilitator(&world);
    let question = question(&Scheme::Exact, purse(), 1);
    assert!(verify(&facilitator, &question).await.is_valid);
    assert_eq!(send(&world, PAYER, OWNER, 1).await, Err(Code::ExceedsCredits), "the drain is refused");
    assert!(settle(&facilitator, &question).await.success);
    assert_eq!((world.balance(&shop()), world.balance(&payer())), (purse(), 0));
    // Nobody reserved: the drain comes first, and the settlement says so.
    let unverified =
        asked(&single_by(OWNER, &offer(&Scheme::Exact, PRICE), 1, signed_at()), &offer(&Scheme::Exact, PRICE));
    send(&world, OWNER, HOST, world.balance(&key(OWNER).address())).await.unwrap();
    let before = world.ledger.node.lock().unwrap().next_seq();
    assert_eq!(settle(&facilitator, &unverified).await.error_reason.as_deref(), Some("insufficient_funds"));
    assert_eq!(verify(&facilitator, &unverified).await.invalid_reason.as_deref(), Some("insufficient_funds"));
    assert_eq!(world.ledger.node.lock().unwrap().next_seq(), before, "an empty purse writes nothing into the log");
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_payer_has_at_most_64_holds_and_each_end_frees_one() {
    let folder = founded();
    let world = open(folder.path(), 0).await;
    let facilitator = facilitator(&world);
    let question = |nonce: u8| shop::question(&Scheme::Exact, PRICE, nonce);
    for nonce in 0..64 {
        assert!(verify(&facilitator, &question(nonce)).await.is_valid, "{nonce}");
    }
    let reason = |answer: agora_x402::wire::VerifyResponse| answer.invalid_reason;
    let over = reason(verify(&facilitator, &question(64)).await);
    assert_eq!(over.as_deref(), Some("agora_payment_too_many_holds"));
    // Another payer is not concerned.
    let own = offer(&Scheme::Exact, PRICE);
    let other = asked(&single_by(OWNER, &own, 1, signed_at()), &own);
    assert!(verify(&facilitator, &other).await.is_valid);
    // Settled: one place. Verified again afterwards: refused, and the place stays free.
    assert!(settle(&facilitator, &question(0)).await.success);
    assert!(!verify(&facilitator, &question(0)).await.is_valid);
    assert!(verify(&facilitator, &question(64)).await.is_valid);
    assert!(!verify(&facilitator, &question(65)).await.is_valid);
    // Ended by time: all places.
    world.clock.skip_secs(TIMEOUT_S + 1);
    nudge(&world).await;
    let later = world.clock.told();
    for nonce in 100..164 {
        let question = asked(&single_by(PAYER, &own, nonce, later), &own);
        assert!(verify(&facilitator, &question).await.is_valid, "{nonce}");
    }
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn less_than_the_most_is_settled_for_the_seller_only() {
    let folder = founded();
    let world = open(folder.path(), 0).await;
    let facilitator = facilitator(&world);
    let sellers = sellers(&world);
    let ours = Caller { token: Some(sellers.add("shop", shop()).await.unwrap()) };
    let others = Caller { token: Some(sellers.add("other", key(OWNER).address()).await.unwrap()) };
    assert!(verify(&facilitator, &shop::question(&Scheme::Upto, PRICE, 1)).await.is_valid);
    for (row, caller) in [
        ("a stranger", nobody()),
        ("another seller", others),
        ("a guess", Caller { token: Some("agora-seller-00".to_owned()) }),
    ] {
        let refused = settle_refused(&facilitator, &caller, &upto(1, PRICE / 4)).await;
        assert_eq!(refused, "payment.seller_unknown", "{row}");
        let refused = settle_refused(&facilitator, &caller, &upto(1, 0)).await;
        assert_eq!(refused, "payment.seller_unknown", "{row}");
    }
    let more = settle_refused(&facilitator, &ours, &upto(1, PRICE + 1)).await;
    assert_eq!(more, "invalid_upto_evm_payload_settlement_exceeds_amount");
    assert_eq!(world.balance(&shop()), 0);
    let settled = facilitator.settle(&ours, &upto(1, PRICE / 4)).await.unwrap();
    assert_eq!((settled.success, settled.amount), (true, amount(PRICE / 4)));
    // Whatever is asked afterwards, and by whom: the first answer.
    assert_eq!(facilitator.settle(&ours, &upto(1, 1)).await.unwrap(), settled);
    assert_eq!(settle(&facilitator, &upto(1, PRICE)).await, settled);
    // Nothing at all uses the payment up.
    let free = facilitator.settle(&ours, &upto(2, 0)).await.unwrap();
    assert_eq!((free.success, free.amount), (true, amount(0)));
    assert!(!verify(&facilitator, &upto(2, PRICE)).await.is_valid);
    assert_eq!(settle(&facilitator, &upto(2, PRICE)).await, free);
    assert_eq!(world.balance(&shop()), PRICE / 4);
    // A token that was taken away speaks for nobody.
    sellers.remove("shop").await.unwrap();
    assert_eq!(settle_refused(&facilitator, &ours, &upto(3, 1)).await, "payment.seller_unknown");
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_channel_lives_from_its_deposit_to_its_refund() {
    let folder = founded();
    let world = open(folder.path(), 0).await;
    let facilitator = facilitator(&world);
    let ours = Caller { token: Some(sellers(&world).add("shop", shop()).await.unwrap()) };
    let own = offer(&Scheme::BatchSettlement, PRICE);
    let mut channels = Channels::new(&own);
    let deposit = next(&mut channels, &own, 1);
    let verified = verify(&facilitator, &deposit).await;
    assert!(verified.is_valid, "{verified:?}");
    assert_eq!(verified.extra["balance"], (5 * PRICE).to_string(), "the deposit has entered");
    assert_eq!(world.balance(&payer()), purse() - 5 * PRICE);
    let settled = settle(&facilitator, &deposit).await;
    assert_eq!((settled.success, settled.amount), (true, amount(5 * PRICE)));
    assert_eq!(settle(&facilitator, &deposit).await, settled);
    assert_eq!(world.balance(&payer()), purse() - 5 * PRICE, "it entered once");
    let voucher = next(&mut channels, &own, 2);
    assert!(verify(&facilitator, &voucher).await.is_valid);
    let noted = settle(&facilitator, &voucher).await;
    assert_eq!((noted.success, noted.transaction.as_str()), (true, ""), "a voucher moves nothing");
    // The operator's key is the authorizer, so a claim without a signature is for the seller's token only.
    let charged = 2 * PRICE;
    assert_eq!(
        settle_refused(&facilitator, &nobody(), &claim(&channels, charged, None)).await,
        "payment.seller_unknown"
    );
    let claimed = facilitator.settle(&ours, &claim(&channels, charged, None)).await.unwrap();
    assert!(claimed.success, "{claimed:?}");
    assert_eq!(facilitator.settle(&ours, &claim(&channels, charged, None)).await.unwrap(), claimed, "a repeat");
    assert_eq!(world.balance(&shop()), 0, "claimed, not paid out");
    let paid = settle(&facilitator, &pay_out()).await;
    assert_eq!((paid.success, paid.amount), (true, amount(charged)));
    assert_eq!(settle(&facilitator, &pay_out()).await.amount, amount(0), "nothing is left, and that is fine");
    assert_eq!(world.balance(&shop()), charged);
    let left = 5 * PRICE - charged;
    let back = refund(&channels, charged, left, 0, None);
    assert_eq!(settle_refused(&facilitator, &nobody(), &back).await, "payment.seller_unknown");
    let refunded = facilitator.settle(&ours, &back).await.unwrap();
    assert_eq!((refunded.success, refunded.amount), (true, amount(left)), "{refunded:?}");
    assert_eq!(facilitator.settle(&ours, &back).await.unwrap(), refunded, "the very same again moves nothing");
    let replayed = refund(&channels, charged, left / 2, 0, None);
    let reason = settle_refused(&facilitator, &ours, &replayed).await;
    assert_eq!(reason, "invalid_batch_settlement_evm_refund_payload");
    assert_eq!((world.balance(&shop()), world.balance(&payer())), (charged, purse() - charged));
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_seller_with_a_key_of_its_own_claims_by_signature_and_nobody_else_does() {
    let folder = founded();
    let world = open(folder.path(), 0).await;
    let facilitator = facilitator(&world);
    let ours = Caller { token: Some(sellers(&world).add("shop", shop()).await.unwrap()) };
    let own = offer_signed_by(&Scheme::BatchSettlement, PRICE, SHOP);
    let mut channels = Channels::new(&own);
    let deposit = next(&mut channels, &own, 1);
    assert!(settle(&facilitator, &deposit).await.success);
    for (row, caller, signed_by) in [
        ("unsigned", ours.clone(), None),
        ("by the operator", ours, Some(OPERATOR)),
        ("by the payer", nobody(), Some(PAYER)),
    ] {
        let refused = settle_refused(&facilitator, &caller, &claim(&channels, PRICE, signed_by)).await;
        assert_eq!(refused, "invalid_batch_settlement_evm_authorizer_address_mismatch", "{row}");
        let refused = settle_refused(&facilitator, &caller, &refund(&channels, PRICE, PRICE, 0, signed_by)).await;
        assert_eq!(refused, "invalid_batch_settlement_evm_authorizer_address_mismatch", "{row}");
    }
    assert!(settle(&facilitator, &claim(&channels, PRICE, Some(SHOP))).await.success);
    assert!(settle(&facilitator, &refund(&channels, PRICE, 4 * PRICE, 0, Some(SHOP))).await.success);
    assert!(settle(&facilitator, &pay_out()).await.success);
    assert_eq!((world.balance(&shop()), world.balance(&payer())), (PRICE, purse() - PRICE));
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_payments_status_follows_its_life() {
    let folder = founded();
    let world = open(folder.path(), 0).await;
    let facilitator = facilitator(&world);
    for (scheme, permit2, nonce) in [(Scheme::Exact, false, 1), (Scheme::Upto, true, 1)] {
        let status = async || facilitator.payment(payer(), Hash::new([nonce; 32]), permit2).await.unwrap();
        assert_eq!(status().await, PaymentStatus::Unknown, "{scheme}");
        let question = question(&scheme, PRICE, nonce);
        assert!(verify(&facilitator, &question).await.is_valid);
        let PaymentStatus::Held { max, until_s } = status().await else { panic!("{scheme}: {:?}", status().await) };
        assert_eq!(max, atoms(PRICE));
        assert!(until_s.abs_diff(signed_at().as_secs() + TIMEOUT_S) <= 2, "{until_s}");
        let settled = settle(&facilitator, &question).await;
        let PaymentStatus::Settled { amount, payee, transaction } = status().await else { panic!("{scheme}") };
        assert_eq!((amount, payee, transaction), (atoms(PRICE), shop(), settled.transaction));
    }
    assert!(verify(&facilitator, &question(&Scheme::Exact, PRICE, 2)).await.is_valid);
    world.clock.skip_secs(TIMEOUT_S + 1);
    let status = facilitator.payment(payer(), Hash::new([2; 32]), false).await.unwrap();
    assert_eq!(status, PaymentStatus::Released, "by time, though no batch has come since");
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_is_lost_is_no_failure_and_the_next_settlement_says_what_happened() {
    for code in [Code::StoreFailed, Code::LedgerBusy] {
        let folder = founded();
        let world = open(folder.path(), 0).await;
        let lossy = Arc::new(Lossy { ledger: world.ledger.clone(), loses: AtomicBool::new(false), code });
        let facilitator = facilitator_on(&world, lossy.clone());
        let question = question(&Scheme::Exact, PRICE, 1);
        assert!(verify(&facilitator, &question).await.is_valid);
        lossy.loses.store(true, Ordering::SeqCst);
        let lost = settle(&facilitator, &question).await;
        assert_eq!((lost.success, lost.error_reason.as_deref()), (false, Some("settlement_pending")), "{code}");
        lossy.loses.store(false, Ordering::SeqCst);
        let told = settle(&facilitator, &question).await;
        assert!(told.success, "{told:?}");
        assert_eq!(told.transaction, lost.transaction, "the same name before and after");
        assert_eq!(world.balance(&shop()), PRICE, "one debit");
        world.audit();
        world.end().await;
    }
}

/// Stops the world at each durable step between verification and the answer of the settlement.
async fn stop_at_each_step(scheme: Scheme, persists: bool) {
    let fresh = founded();
    for step in 0.. {
        let folder = copy(fresh.path());
        let fuse = Fuse::new(Some(step), persists);
        let world = World::open(folder.path(), fuse.clone(), 0).await;
        let question = question(&scheme, PRICE, 1);
        let done = {
            let facilitator = facilitator(&world);
            let work = async {
                assert!(verify(&facilitator, &question).await.is_valid);
                settle(&facilitator, &question).await
            };
            tokio::select! {
                done = work => Some(done),
                () = fuse.blown.notified() => None,
            }
        };
        world.end().await;
        let world = open(folder.path(), 1).await;
        let again = settle(&shop::facilitator(&world), &question).await;
        assert!(again.success, "step {step}, persists {persists}: {again:?}");
        assert_eq!(world.balance(&shop()), PRICE, "step {step}, persists {persists}");
        assert_eq!(world.balance(&payer()), purse() - PRICE, "step {step}, persists {persists}");
        world.audit();
        world.end().await;
        if let Some(done) = done {
            assert_eq!(done, again, "the same answer on retry");
            assert_eq!(step, 2, "one step to hold, one to post");
            return;
        }
    }
}

#[tokio::test]
async fn one_debit_whatever_stops_before_or_after_a_step() {
    for scheme in ALL {
        stop_at_each_step(scheme.clone(), false).await;
        stop_at_each_step(scheme, true).await;
    }
}
