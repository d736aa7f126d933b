//! What buyers of an overrun host can rely on: who is let in is answered and charged to the atom, who is refused is told so
//! and owes nothing, and nothing is left behind.
//!
//! In continuous integration this takes a second; for a minute: `AGORA_OVERLOAD_S=60 cargo test --release --package
//! agora-actors --test all overload:: -- --nocapture`.

use crate::world;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use agora_actors::purchase::{Arrived, Payer, Purchase};
use agora_actors::{CallError, call::settle_abandoned};
use agora_economy::testkit::*;
use agora_inference_api::{
    AdapterInfo, BaseInfo, Engine, EngineError, FakeEngine, Job, Pending, Piece, Request, TokenStream,
};
use agora_types::{Address, Amount, CallId, Code, Hash};
use world::{Fuse, World, founded, payer};

/// Rows that the host has, and buyers that want one at the same time. Those of one payer stand in each other's way before
/// they reach the engine.
const ROWS: usize = 1;
const BUYERS: u8 = 10;

/// An engine of few rows, which refuses whoever comes when all are taken.
struct Crowded {
    inner: FakeEngine,
    taken: Arc<AtomicUsize>,
}

struct Row(Box<dyn TokenStream>, Arc<AtomicUsize>);

impl Engine for Crowded {
    fn base(&self) -> &BaseInfo {
        self.inner.base()
    }

    fn adapters(&self) -> Vec<AdapterInfo> {
        self.inner.adapters()
    }

    fn count(&self, request: &Request) -> Result<u64, EngineError> {
        self.inner.count(request)
    }

    fn start(&self, job: Job) -> Result<Box<dyn TokenStream>, EngineError> {
        let taken =
            self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |taken| (taken < ROWS).then_some(taken + 1));
        taken.map_err(|_| EngineError::new(Code::EngineBusy, "all rows are taken").retry_after(1))?;
        let stream = self.inner.start(job).inspect_err(|_| {
            self.taken.fetch_sub(1, Ordering::SeqCst);
        })?;
        Ok(Box::new(Row(stream, Arc::clone(&self.taken))))
    }
}

impl TokenStream for Row {
    fn next(&mut self) -> Pending<'_, Option<Piece>> {
        Box::pin(async move {
            // A step of the engine, in which others come.
            tokio::task::yield_now().await;
            self.0.next().await
        })
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One call from quote to receipt: what was charged.
async fn buy(world: &World, payer: &Payer, call: CallId) -> Result<Amount, CallError> {
    let ask = Request::ask("who owns a wreck", 12);
    let quoted = world.buyer.quote(payer, &world.listing, &ask).await?;
    let mut purchase = Purchase::open(&world.buyer, payer.clone(), call, &quoted).await?;
    let mut text = String::new();
    loop {
        match purchase.next().await? {
            Arrived::Text { text: more, .. } => text += &more,
            Arrived::Receipt(receipt) => {
                assert_eq!(text, FakeEngine::answer(&ask).concat());
                let charge = receipt.payload().charge;
                assert_eq!(Some(charge), receipt.payload().prices.charge(&receipt.payload().usage));
                purchase.finish(Vec::new()).await?;
                return Ok(charge);
            }
        }
    }
}

#[tokio::test]
async fn ten_times_too_many_calls_lose_no_money_and_leave_nothing_behind() {
    let seconds: f64 = std::env::var("AGORA_OVERLOAD_S").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let folder = founded();
    let taken = Arc::new(AtomicUsize::new(0));
    let engine = Crowded { inner: FakeEngine::new(Hash::sha256("base"), &[]), taken: Arc::clone(&taken) };
    let world = World::open_with(folder.path(), Fuse::new(None, false), 0, Arc::new(engine)).await;
    // One payer floods; operator and owner are guests.
    let flood = payer();
    let guest = |account: u8| Payer { account: Arc::new(key(account)), session: Arc::new(key(SESSION + account)) };
    let guests = [guest(OPERATOR), guest(OWNER)];
    let begun = Instant::now();
    let buyer = |number: u8| {
        let (world, payer) = (&world, guests.get(usize::from(number)).unwrap_or(&flood));
        async move {
            let (mut charged, mut served, mut refused) = (Amount::ZERO, 0_u64, Vec::new());
            for round in 0_u64.. {
                if begun.elapsed() > Duration::from_secs_f64(seconds) && served > 0 {
                    break;
                }
                let mut id = [number + 1; 16];
                id[..8].copy_from_slice(&round.to_be_bytes());
                match buy(world, payer, CallId::new(id)).await {
                    Ok(charge) => {
                        charged = charged.checked_add(charge).unwrap();
                        served += 1;
                    }
                    Err(error) => {
                        // Whoever is refused before its quote is used waits until that has run out.
                        if error.code == Code::QuoteTooMany {
                            world.clock.skip_secs(31);
                        }
                        refused.push((CallId::new(id), error.code.text()));
                        tokio::task::yield_now().await;
                    }
                }
            }
            (payer.account.address(), charged, served, refused)
        }
    };
    let bought = futures::future::join_all((0..BUYERS).map(buyer)).await;
    while world.seller.running() > 0 {
        tokio::task::yield_now().await;
    }
    let (served, refused) =
        bought.iter().fold((0, 0), |(served, refused), (_, _, more, not)| (served + more, refused + not.len()));
    println!("{served} calls served, {refused} refused in {:.1} s", begun.elapsed().as_secs_f64());
    assert!(served >= u64::from(BUYERS) && refused > 0, "{served} served, {refused} refused");
    let mut codes = std::collections::BTreeMap::<&str, usize>::new();
    bought.iter().flat_map(|(.., calls)| calls).for_each(|(_, code)| *codes.entry(code).or_default() += 1);
    println!("{codes:?}");
    assert!(codes.contains_key(Code::EngineBusy.text()), "the engine itself refuses: {codes:?}");
    assert_eq!(taken.load(Ordering::SeqCst), 0, "every row is given back");
    for (account, _, _, calls) in &bought {
        for (call, _) in calls {
            settle_abandoned(&world.seller, *account, *call).await.unwrap();
        }
    }
    let charged = |account: &Address| {
        let own = bought.iter().filter(|(payer, ..)| payer == account);
        own.map(|(_, charged, ..)| charged.atoms()).sum::<u128>()
    };
    let payer = flood.account.address();
    let (rest, claimed) = world.channels_of(&payer);
    assert_eq!(claimed, charged(&payer), "claimed is what the receipts say");
    let whole = world.balance(&payer) + rest + claimed;
    assert_eq!(whole, Amount::from_open(1_000).atoms(), "an atom is missing");
    for guest in guests.iter().map(|guest| guest.account.address()) {
        assert_eq!(world.channels_of(&guest).1, charged(&guest));
    }
    assert_eq!(world.receipts(), 2 * served, "a refused call has no receipt");
    world.audit();
    world.end().await;
}
