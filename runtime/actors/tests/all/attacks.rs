//! Each attack on x402 that only the ledger can stop, by its name.

use crate::shop;
use crate::world;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use agora_actors::pay::LedgerFacilitator;
use agora_economy::ports::pay::{Caller, Facilitator as _};
use agora_economy::testkit::*;
use agora_types::Code;
use agora_x402::wire::{PaymentRequirements, Scheme, SettleRequest};
use shop::seller::*;
use shop::*;
use world::{Fuse, World, founded};

const NONCE_USED: &str = "invalid_exact_evm_nonce_already_used";

async fn open(folder: &tempfile::TempDir, round: u64) -> World {
    World::open(folder.path(), Fuse::new(None, false), round).await
}

/// A fresh world with its facilitator.
async fn fresh() -> (tempfile::TempDir, World, LedgerFacilitator) {
    let folder = founded();
    let world = open(&folder, 0).await;
    let facilitator = facilitator(&world);
    (folder, world, facilitator)
}

async fn ours(world: &World) -> Caller {
    Caller { token: Some(sellers(world).add("shop", shop()).await.unwrap()) }
}

async fn refused(facilitator: &LedgerFacilitator, request: &SettleRequest) -> String {
    verify(facilitator, request).await.invalid_reason.expect("it is refused")
}

/// A channel of five requests on the ledger, with its buyer.
async fn funded(facilitator: &LedgerFacilitator) -> (PaymentRequirements, Channels, SettleRequest) {
    let own = offer(&Scheme::BatchSettlement, PRICE);
    let mut channels = Channels::new(&own);
    let deposit = next(&mut channels, &own, 1);
    assert!(verify(facilitator, &deposit).await.is_valid);
    (own, channels, deposit)
}

async fn concurrent_replay() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let facilitator = Arc::new(facilitator);
    let question = Arc::new(question(&Scheme::Upto, PRICE, 1));
    let both = (0..32).map(|_| {
        let (facilitator, question) = (Arc::clone(&facilitator), Arc::clone(&question));
        tokio::spawn(async move { verify(&facilitator, &question).await.is_valid })
    });
    let good = futures::future::join_all(both).await.into_iter().filter(|one| *one.as_ref().unwrap()).count();
    assert_eq!(good, 1);
    world
}

async fn replay_across_a_restart() -> World {
    let (folder, world, facilitator) = fresh().await;
    let [held, settled] = [1, 2].map(|nonce| question(&Scheme::Exact, PRICE, nonce));
    assert!(verify(&facilitator, &held).await.is_valid);
    assert!(verify(&facilitator, &settled).await.is_valid);
    assert!(settle(&facilitator, &settled).await.success);
    drop(facilitator);
    world.end().await;
    let world = open(&folder, 1).await;
    let facilitator = facilitator_on(&world, world.ledger.clone());
    assert_eq!(refused(&facilitator, &held).await, NONCE_USED);
    assert_eq!(refused(&facilitator, &settled).await, NONCE_USED);
    // Posted payments are remembered for ever, not only as long as their holds.
    world.clock.skip_secs(200);
    nudge(&world).await;
    assert_eq!(refused(&facilitator, &settled).await, NONCE_USED);
    assert_eq!(world.balance(&shop()), PRICE);
    world
}

async fn replay_on_a_second_instance() -> World {
    let (_folder, world, first) = fresh().await;
    let second = facilitator(&world);
    let question = question(&Scheme::Exact, PRICE, 1);
    assert!(verify(&first, &question).await.is_valid);
    assert_eq!(refused(&second, &question).await, NONCE_USED);
    let settled = settle(&second, &question).await;
    assert_eq!(settle(&first, &question).await, settled, "one payment, whoever settles it");
    assert_eq!(world.balance(&shop()), PRICE);
    world
}

async fn verify_drain_settle() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let question = question(&Scheme::Exact, purse() - 5, 1);
    assert!(verify(&facilitator, &question).await.is_valid);
    assert_eq!(send(&world, PAYER, OWNER, 6).await, Err(Code::ExceedsCredits));
    // Neither another payment nor a deposit gets at the money.
    let other = shop::question(&Scheme::Upto, PRICE, 2);
    assert_eq!(refused(&facilitator, &other).await, "insufficient_funds");
    let own = offer(&Scheme::BatchSettlement, PRICE);
    let deposit = next(&mut Channels::new(&own), &own, 1);
    assert_eq!(refused(&facilitator, &deposit).await, "insufficient_funds");
    assert!(settle(&facilitator, &question).await.success);
    world
}

async fn holds_that_never_end() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let mut question = question(&Scheme::Exact, purse(), 1);
    question.payment_requirements.max_timeout_seconds = 3_600;
    question.payment_payload.accepted.max_timeout_seconds = 3_600;
    assert!(verify(&facilitator, &question).await.is_valid);
    assert_eq!(send(&world, PAYER, OWNER, 1).await, Err(Code::ExceedsCredits));
    // Whatever the seller asked for: ten minutes.
    world.clock.skip_secs(601);
    nudge(&world).await;
    send(&world, PAYER, OWNER, 1).await.unwrap();
    world
}

async fn holds_without_number() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let mut good = 0;
    for nonce in 0..100 {
        good += usize::from(verify(&facilitator, &question(&Scheme::Exact, PRICE, nonce)).await.is_valid);
    }
    assert_eq!(good, 64);
    world
}

async fn a_flood_by_empty_purses() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let before = world.ledger.node.lock().unwrap().next_seq();
    for number in 100..120 {
        for scheme in [Scheme::Exact, Scheme::Upto] {
            let own = offer(&scheme, PRICE);
            let request = asked(&single_by(number, &own, 1, signed_at()), &own);
            assert_eq!(refused(&facilitator, &request).await, "insufficient_funds");
            assert!(!settle(&facilitator, &request).await.success);
        }
    }
    let replayed = question(&Scheme::Exact, PRICE, 1);
    assert!(verify(&facilitator, &replayed).await.is_valid);
    for _ in 0..20 {
        assert_eq!(refused(&facilitator, &replayed).await, NONCE_USED);
    }
    let after = world.ledger.node.lock().unwrap().next_seq();
    assert_eq!(after, before + 1, "the one hold is all that the log has of it");
    world
}

async fn third_party_settle() -> World {
    let (_folder, world, facilitator) = fresh().await;
    assert!(verify(&facilitator, &question(&Scheme::Upto, PRICE, 1)).await.is_valid);
    assert_eq!(settle_refused(&facilitator, &nobody(), &upto(1, 0)).await, "payment.seller_unknown");
    // A stranger who diverts it finds that payee and facilitator are signed.
    let mut diverted = question(&Scheme::Exact, PRICE, 2);
    for own in [&mut diverted.payment_requirements, &mut diverted.payment_payload.accepted] {
        own.pay_to = key(OWNER).address();
    }
    assert_eq!(settle_refused(&facilitator, &nobody(), &diverted).await, "invalid_exact_evm_recipient_mismatch");
    assert_eq!(world.balance(&shop()), 0);
    world
}

async fn third_party_claim() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let (_, channels, _) = funded(&facilitator).await;
    assert_eq!(settle_refused(&facilitator, &nobody(), &claim(&channels, PRICE, None)).await, "payment.seller_unknown");
    let forged = settle_refused(&facilitator, &nobody(), &claim(&channels, PRICE, Some(PAYER))).await;
    assert_eq!(forged, "invalid_batch_settlement_evm_authorizer_address_mismatch");
    world
}

async fn third_party_refund() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let (_, channels, _) = funded(&facilitator).await;
    for signed_by in [None, Some(PAYER), Some(SESSION)] {
        let reason = settle_refused(&facilitator, &nobody(), &refund(&channels, PRICE, 4 * PRICE, 0, signed_by)).await;
        let words = ["payment.seller_unknown", "invalid_batch_settlement_evm_authorizer_address_mismatch"];
        assert!(words.contains(&reason.as_str()), "{signed_by:?}: {reason}");
    }
    assert_eq!(world.balance(&payer()), purse() - 5 * PRICE);
    world
}

async fn voucher_rollback() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let (own, mut channels, first) = funded(&facilitator).await;
    let caller = ours(&world).await;
    let second = next(&mut channels, &own, 2);
    assert!(facilitator.settle(&caller, &claim(&channels, 2 * PRICE, None)).await.unwrap().success);
    for (row, old) in [("the newest claimed", &second), ("an older one, with its deposit", &first)] {
        let reason = refused(&facilitator, old).await;
        assert_eq!(reason, "invalid_batch_settlement_evm_cumulative_below_claimed", "{row}");
    }
    assert!(facilitator.settle(&caller, &claim(&channels, PRICE, None)).await.unwrap().success, "a repeat of less");
    assert_eq!(world.channel().unwrap().total_claimed, atoms(2 * PRICE), "what was claimed never falls");
    world
}

async fn reopened_with_old_vouchers() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let (own, mut channels, first) = funded(&facilitator).await;
    let caller = ours(&world).await;
    let second = next(&mut channels, &own, 2);
    assert!(facilitator.settle(&caller, &claim(&channels, 2 * PRICE, None)).await.unwrap().success);
    assert!(facilitator.settle(&caller, &refund(&channels, 2 * PRICE, 3 * PRICE, 0, None)).await.unwrap().success);
    assert_eq!(refused(&facilitator, &second).await, "invalid_batch_settlement_evm_cumulative_below_claimed");
    // Drained, and opened again by the same configuration, which has the same id.
    channels.buyer.deposited = atoms(2 * PRICE);
    let reopened = next(&mut channels, &own, 3);
    assert!(verify(&facilitator, &reopened).await.is_valid);
    for old in [&first, &second] {
        assert_eq!(refused(&facilitator, old).await, "invalid_batch_settlement_evm_cumulative_below_claimed");
    }
    world
}

async fn one_deposit_counted_twice() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let (own, mut channels, first) = funded(&facilitator).await;
    // The same signed deposit once more, beside a voucher for twice as much as is there.
    let mut twice = first.clone();
    channels.buyer.charged = atoms(9 * PRICE);
    channels.buyer.deposited = atoms(10 * PRICE);
    let high = next(&mut channels, &own, 2);
    twice.payment_payload.payload["voucher"] = high.payment_payload.payload["voucher"].clone();
    let words = "invalid_batch_settlement_evm_cumulative_exceeds_balance";
    assert_eq!(refused(&facilitator, &twice).await, words);
    assert_eq!(settle_refused(&facilitator, &nobody(), &twice).await, words);
    assert_eq!(world.channel().unwrap().balance(), atoms(5 * PRICE));
    world
}

async fn refund_nonce_replay() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let (_, channels, _) = funded(&facilitator).await;
    let caller = ours(&world).await;
    let first = refund(&channels, PRICE, PRICE, 0, Some(OPERATOR));
    assert!(settle(&facilitator, &first).await.success, "signed by the authorizer, sent by anybody");
    assert!(settle(&facilitator, &first).await.success, "its repeat moves nothing");
    let before = world.ledger.node.lock().unwrap().next_seq();
    for (row, nonce, amount) in [("the same nonce, another amount", 0, 2 * PRICE), ("a nonce to come", 7, PRICE)] {
        let replayed = refund(&channels, PRICE, amount, nonce, Some(OPERATOR));
        let reason = settle_refused(&facilitator, &caller, &replayed).await;
        assert_eq!(reason, "invalid_batch_settlement_evm_refund_payload", "{row}");
    }
    assert_eq!(world.ledger.node.lock().unwrap().next_seq(), before, "replays leave no trace in the log");
    assert!(settle(&facilitator, &refund(&channels, PRICE, PRICE, 1, Some(OPERATOR))).await.success);
    let reason = settle_refused(&facilitator, &caller, &first).await;
    assert_eq!(reason, "invalid_batch_settlement_evm_refund_payload", "an old one");
    assert_eq!(world.balance(&payer()), purse() - 3 * PRICE);
    world
}

async fn over_claim() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let (_, mut channels, _) = funded(&facilitator).await;
    let caller = ours(&world).await;
    let over = facilitator.settle(&caller, &claim(&channels, PRICE + 1, None)).await.unwrap();
    assert_eq!(
        over.error_reason.as_deref(),
        Some("invalid_batch_settlement_evm_charge_exceeds_signed_cumulative"),
        "beyond the voucher"
    );
    channels.buyer.signed_max = atoms(6 * PRICE);
    let over = facilitator.settle(&caller, &claim(&channels, 6 * PRICE, None)).await.unwrap();
    let words = "invalid_batch_settlement_evm_cumulative_exceeds_balance";
    assert_eq!(over.error_reason.as_deref(), Some(words), "beyond the deposit");
    assert_eq!(world.balance(&shop()), 0);
    world
}

async fn clocks() -> World {
    let (_folder, world, facilitator) = fresh().await;
    let own = offer(&Scheme::Exact, PRICE);
    let at = |secs: i64| {
        let secs = signed_at().as_secs().checked_add_signed(secs).unwrap();
        asked(&single_by(PAYER, &own, 1, agora_types::Timestamp::from_secs(secs).unwrap()), &own)
    };
    // Signed by a clock that is ten minutes slow, or too far ahead.
    let early = refused(&facilitator, &at(700)).await;
    assert_eq!(early, "invalid_exact_evm_payload_authorization_valid_after");
    let over = refused(&facilitator, &at(-400)).await;
    assert_eq!(over, "invalid_exact_evm_payload_authorization_valid_before");
    // For a moment only: it is found and settled as long as it is held.
    let brief = at(-295);
    assert!(verify(&facilitator, &brief).await.is_valid);
    world.clock.skip_secs(60);
    nudge(&world).await;
    assert!(settle(&facilitator, &brief).await.success, "the seller has worked for it");
    assert_eq!(world.balance(&shop()), PRICE);
    world
}

type Attack = fn() -> Pin<Box<dyn Future<Output = World>>>;

macro_rules! attacks {
    ($($name:literal: $attack:ident;)*) => {
        [$(($name, (|| Box::pin($attack())) as Attack)),*]
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_attack_is_refused_by_name_and_not_an_atom_is_missing() {
    let attacks = attacks! {
        "concurrent replay": concurrent_replay;
        "replay across a restart": replay_across_a_restart;
        "replay on a second instance": replay_on_a_second_instance;
        "verify, drain, settle": verify_drain_settle;
        "hold leaks: time": holds_that_never_end;
        "hold leaks: number": holds_without_number;
        "floods: empty purses": a_flood_by_empty_purses;
        "third-party settle": third_party_settle;
        "third-party claim": third_party_claim;
        "third-party refund": third_party_refund;
        "voucher rollback": voucher_rollback;
        "re-open with old vouchers after a drain": reopened_with_old_vouchers;
        "one deposit counted twice": one_deposit_counted_twice;
        "refund-nonce replay": refund_nonce_replay;
        "over-claim": over_claim;
        "clocks": clocks;
    };
    for (name, attack) in attacks {
        println!("{name}");
        let world = attack().await;
        world.audit();
        world.end().await;
    }
}
