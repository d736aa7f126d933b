//! What fees of API keys cost, wherever a node stops in between.

use crate::shop::{Lossy, copy};
use crate::world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agora_actors::agent::KeyRing;
use agora_actors::clock::fresh_head;
use agora_actors::pay::{ApiKeys, Fee};
use agora_actors::purchase::{Buyer, Payer, Pending as PayerPending};
use agora_economy::ports::ledger::Ledger as _;
use agora_economy::testkit::*;
use agora_types::batch::Entry;
use agora_types::command::{Command, CommitData, Transfer};
use agora_types::key::StatementSigner;
use agora_types::{Code, Hash};
use world::{Fuse, World, founded};

/// The number of the key's account.
const ACCOUNT: u8 = 90;
const FEE: u128 = 300;
const BUDGET: u128 = 1_000;

struct Ring;

impl KeyRing for Ring {
    fn payer<'a>(&'a self, _: &'a str) -> PayerPending<'a, Payer> {
        Box::pin(async { Ok(Payer { account: Arc::new(key(ACCOUNT)), session: Arc::new(key(91)) }) })
    }
    fn receipt_key<'a>(&'a self, _: &'a str) -> PayerPending<'a, Arc<StatementSigner>> {
        Box::pin(async { Ok(Arc::new(StatementSigner::from_bytes(&[92; 32]))) })
    }
}

fn keys(buyer: &Arc<Buyer>) -> ApiKeys {
    ApiKeys::new(Arc::clone(buyer), Arc::new(Ring))
}

fn fee(what: &str) -> Fee {
    Fee { datanet: Kit::datanet(), root: Hash::sha256(what), amount: atoms(FEE) }
}

/// Fee and commitment, signed anew as every try does.
fn entries(world: &World, fee: &Fee) -> Vec<Entry> {
    let (network, account) = (Kit::default().network(), key(ACCOUNT));
    let head = || fresh_head(world.clock.as_ref(), world.clock.as_ref(), account.address());
    let credit = key(OWNER).address();
    let transfer = Transfer { head: head(), credit, amount: fee.amount, pending: None, reference: 0, receipt: None };
    let licence = Hash::sha256("CC0-1.0");
    let commit = CommitData { head: head(), datanet: fee.datanet, root: fee.root, count: 3, licence };
    vec![
        Entry::sign(&network, Command::Transfer(transfer), &account).linked(),
        Entry::sign(&network, Command::CommitData(commit), &account),
    ]
}

async fn fund(world: &World, amount: u128) {
    let (credit, amount) = (key(ACCOUNT).address(), atoms(amount));
    let head = fresh_head(world.clock.as_ref(), world.clock.as_ref(), key(PAYER).address());
    let transfer = Transfer { head, credit, amount, pending: None, reference: 0, receipt: None };
    let entry = Kit::default().sign(PAYER, Command::Transfer(transfer));
    assert_eq!(world.ledger.commit(vec![entry]).await.unwrap(), [Ok(())]);
}

async fn used(keys: &ApiKeys) -> u128 {
    keys.list().await.unwrap()[0].1.atoms()
}

fn held(world: &World) -> u128 {
    world.balance(&key(ACCOUNT).address())
}

#[tokio::test]
async fn a_fee_moves_and_counts_once_wherever_the_node_stops() {
    let fresh = founded();
    let world = World::open(fresh.path(), Fuse::new(None, false), 0).await;
    let (text, _) = keys(&world.buyer).add("app", atoms(BUDGET)).await.unwrap();
    fund(&world, BUDGET).await;
    world.end().await;
    for (step, persists) in (0..4).flat_map(|step| [(step, false), (step, true)]) {
        let context = format!("step {step}, persists {persists}");
        let folder = copy(fresh.path());
        let fuse = Fuse::new(Some(step), persists);
        let world = World::open(folder.path(), fuse.clone(), 1).await;
        let own = keys(&world.buyer);
        let (by, one) = (own.contributor(&text).await.unwrap(), fee("root"));
        let done = tokio::select! {
            done = own.pay_fee(&by, &one, entries(&world, &one)) => Some(done.unwrap()),
            () = fuse.blown.notified() => None,
        };
        // Set aside, committed, counted: three steps.
        assert_eq!(done, (step == 3).then_some(true), "{context}");
        drop(own);
        world.end().await;

        let world = World::open(folder.path(), Fuse::new(None, false), 2).await;
        let own = keys(&world.buyer);
        own.recover().await.unwrap();
        // What the ledger has is counted by now, and nothing else is.
        assert_eq!(used(&own).await, BUDGET - held(&world), "{context}");
        let committed = held(&world) < BUDGET;
        assert_eq!(own.pay_fee(&by, &one, entries(&world, &one)).await, Ok(!committed), "{context}");
        assert_eq!((held(&world), used(&own).await), (BUDGET - FEE, FEE), "{context}");
        assert_eq!(own.pay_fee(&by, &one, entries(&world, &one)).await, Ok(false), "{context}");
        assert_eq!((held(&world), used(&own).await), (BUDGET - FEE, FEE), "{context}");
        world.audit();
        drop(own);
        world.end().await;
    }
}

#[tokio::test]
async fn a_lost_answer_keeps_the_fee_set_aside_until_the_ledger_says_what_became_of_it() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let ledger =
        Arc::new(Lossy { ledger: world.ledger.clone(), loses: AtomicBool::new(true), code: Code::StoreFailed });
    let (clock, journal, bus) = (world.clock.clone(), world.journal.clone(), world.bus.clone());
    let directory = Arc::clone(&world.buyer.directory);
    let own = keys(&Arc::new(Buyer {
        ledger: ledger.clone(),
        journal,
        bus,
        directory,
        clock: clock.clone(),
        random: clock.clone(),
    }));
    let (text, _) = own.add("app", atoms(BUDGET)).await.unwrap();
    fund(&world, BUDGET).await;
    let by = own.contributor(&text).await.unwrap();
    let lost = own.pay_fee(&by, &fee("one"), entries(&world, &fee("one"))).await.unwrap_err();
    assert!(lost.is_fault(), "{lost}");
    assert_eq!((held(&world), used(&own).await), (BUDGET - FEE, FEE), "set aside");
    // A fee whose entries never come there.
    let lost = own.pay_fee(&by, &fee("two"), Vec::new()).await.unwrap_err();
    assert!(lost.is_fault(), "{lost}");
    assert_eq!(used(&own).await, 2 * FEE, "two are set aside");
    ledger.loses.store(false, Ordering::SeqCst);
    assert_eq!(own.pay_fee(&by, &fee("one"), entries(&world, &fee("one"))).await, Ok(false), "it stands already");
    assert_eq!(used(&own).await, 2 * FEE, "one is counted, the other still set aside");
    clock.skip_secs(601);
    assert_eq!(own.pay_fee(&by, &fee("one"), entries(&world, &fee("one"))).await, Ok(false));
    assert_eq!((held(&world), used(&own).await), (BUDGET - FEE, FEE), "what cannot come any more is free again");
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_fee_over_the_budget_or_the_balance_leaves_nothing_behind() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let own = keys(&world.buyer);
    let (text, row) = own.add("app", atoms(BUDGET)).await.unwrap();
    let by = own.contributor(&text).await.unwrap();
    fund(&world, FEE - 1).await;
    let poor = own.pay_fee(&by, &fee("one"), entries(&world, &fee("one"))).await.unwrap_err();
    assert_eq!((poor.code, held(&world), used(&own).await), (Code::ExceedsCredits, FEE - 1, 0));
    fund(&world, 10 * FEE).await;
    let before = held(&world);
    for what in ["one", "two", "three"] {
        assert_eq!(own.pay_fee(&by, &fee(what), entries(&world, &fee(what))).await, Ok(true));
    }
    let over = own.pay_fee(&by, &fee("four"), entries(&world, &fee("four"))).await.unwrap_err();
    assert_eq!((over.code, used(&own).await), (Code::ApiKeyOverBudget, 3 * FEE));
    assert_eq!(held(&world), before - 3 * FEE);
    let none = world.ledger.commitment(Kit::datanet(), row.account, Hash::sha256("four")).await.unwrap();
    assert_eq!(none, None);
    // What costs nothing needs no budget.
    let free = Fee { amount: atoms(0), ..fee("five") };
    let commit = entries(&world, &free).pop().unwrap();
    assert_eq!(own.pay_fee(&by, &free, vec![commit]).await, Ok(true));
    assert_eq!(used(&own).await, 3 * FEE);
    // A key that was removed gives nothing any more.
    own.remove("app").await.unwrap();
    let gone = own.pay_fee(&by, &fee("six"), entries(&world, &fee("six"))).await.unwrap_err();
    assert_eq!(gone.code, Code::ApiKeyUnknown);
    assert_eq!(held(&world), before - 3 * FEE);
    world.audit();
    world.end().await;
}
