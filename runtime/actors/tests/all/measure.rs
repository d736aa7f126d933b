//! What contributors can rely on when a host measures: each answer is attributed once, whatever stops, and paid once.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use agora_actors::call::{
    Proven, earned, evidence, measure_call, measure_waiting, publish_earnings, published, settle_abandoned,
};
use agora_actors::clock::fresh_head;
use agora_attribution::*;
use agora_catalog::Listing;
use agora_economy::ports::attribution::{Answer, AttributionFailure, Attributor, Pending};
use agora_economy::ports::ledger::Ledger as _;
use agora_economy::ports::state::{StateStore, Table, Write};
use agora_economy::testkit::*;
use agora_inference_api::{FakeEngine, Request};
use agora_receipts::{Receipt, Role};
use agora_store::RedbState;
use agora_types::batch::Entry;
use agora_types::command::{ClaimEarnings, Command, Measure};
use agora_types::key::StatementSigner;
use agora_types::{Address, Amount, CallId, Canonical as _, Code, Hash, Signed};

use crate::scripted::copy;
use crate::world::*;

const CALL: CallId = CallId::new([7; 16]);

/// Measures without a model: the three contributors share every answer 3 : 2 : 1, and half of it is explained.
struct Scripted {
    spec: AttributionSpec,
    table: RowTable,
    fails: AtomicBool,
    /// Whether the answer that is asked for next, and it alone from then on, cannot be measured.
    refuses_next: AtomicBool,
    refused: Mutex<Option<Answer>>,
    asked: AtomicUsize,
    answers: Mutex<Vec<Answer>>,
}

fn scripted() -> Arc<Scripted> {
    scripted_of(1)
}

/// One call in so many is measured for all.
fn scripted_of(sample_one_in: u32) -> Arc<Scripted> {
    let example = |(at, number): (u32, u8)| Example {
        contribution: Hash::sha256([number]),
        account: key(number).address(),
        position: Position { seq: at.into(), index: 0, item: 0 },
        kind: Kind::Source,
        weight: 100,
    };
    let examples: Vec<Example> = (0..).zip(CONTRIBUTORS).map(example).collect();
    let table = RowTable { examples, owners: vec![0, 1, 2] };
    let spec = AttributionSpec {
        version: SPEC_VERSION,
        base_hash: Hash::sha256("base"),
        adapter_hash: Hash::sha256("adapter"),
        tokenizer_hash: Hash::sha256("tokenizer"),
        datanets: vec![DatanetRef { id: Kit::datanet(), root: Hash::sha256("root"), tree_size: 9 }],
        method: Method::Bm25,
        gradient: Gradient {
            modules: vec![],
            layer_first: 0,
            layer_end: 0,
            projection_seed: Hash::ZERO,
            dimension: 0,
            damping_micro: 0,
            clip_milli: 0,
            row_scale_milli: 0,
            strength_milli: 0,
        },
        clusters: ClusterRules { shingle_tokens: 5, jaccard_min: WHOLE / 10 * 8, cosine_min: WHOLE / 20 * 19 },
        solver: SolverRules::new(100_000),
        verbatim: VerbatimRules::default(),
        calibration: Calibration { null_p95: WHOLE / 4, own_median: WHOLE / 4 * 3 },
        sample_one_in,
        code_version: "test".to_owned(),
        commitments: Commitments {
            examples_root: table.examples_root(),
            clusters_root: table.clusters_root(),
            matrix_root: None,
            suffix_array_root: None,
            curvature_root: None,
            examples: 3,
        },
    };
    let (fails, refuses_next, refused) = (AtomicBool::new(false), AtomicBool::new(false), Mutex::default());
    let (asked, answers) = (AtomicUsize::new(0), Mutex::default());
    Arc::new(Scripted { spec, table, fails, refuses_next, refused, asked, answers })
}

impl Attributor for Scripted {
    fn knows(&self, spec: &Hash) -> bool {
        *spec == self.spec.hash()
    }

    fn spec_of(&self, adapter: &Hash) -> Option<AttributionSpec> {
        (*adapter == self.spec.adapter_hash).then(|| self.spec.clone())
    }

    fn spec(&self, spec: &Hash) -> Option<AttributionSpec> {
        self.knows(spec).then(|| self.spec.clone())
    }

    fn attribute(&self, answer: Answer) -> Pending<'_> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            if self.fails.load(Ordering::SeqCst) {
                return Err(AttributionFailure { code: Code::EngineBusy, what: "later".to_owned() });
            }
            if self.refuses_next.swap(false, Ordering::SeqCst) {
                *self.refused.lock().unwrap() = Some(answer.clone());
            }
            if self.refused.lock().unwrap().as_ref() == Some(&answer) {
                return Err(AttributionFailure { code: Code::AttributionInput, what: "no text".to_owned() });
            }
            let measured = Measured { candidates: vec![], credits: vec![(0, 3), (1, 2), (2, 1)], explained: WHOLE / 2 };
            let public = Public::new(&self.spec, None, &self.table).unwrap();
            let asked = Asked { query: None, output_tokens: 40, runs: &[], pool: answer.pool };
            let evidence = public.attribute(&asked, measured).unwrap();
            self.answers.lock().unwrap().push(answer);
            Ok(evidence)
        })
    }
}

/// Two that know a spec each.
struct Both([Arc<Scripted>; 2]);

impl Attributor for Both {
    fn knows(&self, spec: &Hash) -> bool {
        self.spec(spec).is_some()
    }

    fn spec_of(&self, _: &Hash) -> Option<AttributionSpec> {
        None
    }

    fn spec(&self, spec: &Hash) -> Option<AttributionSpec> {
        self.0.iter().find_map(|one| one.spec(spec))
    }

    fn attribute(&self, answer: Answer) -> Pending<'_> {
        self.0.iter().find(|one| one.knows(&answer.spec)).expect("a spec of one of them").attribute(answer)
    }
}

fn measured(kit: &Kit, scripted: &Scripted) -> Signed<Listing> {
    let measure = Some(Measure { spec: scripted.spec.hash(), method: scripted.spec.method.name().to_owned() });
    let listing = Listing { measure, ..listing(kit).payload().clone() };
    Signed::sign(listing, &StatementSigner::from_bytes(&[OWNER; 32]))
}

fn founded(scripted: &Scripted) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    found_with(folder.path(), &measured(&Kit::default(), scripted));
    folder
}

async fn open(folder: &Path, fuse: Arc<Fuse>, round: u64, scripted: &Arc<Scripted>) -> World {
    let engine = Arc::new(FakeEngine::new(Hash::sha256("base"), &[]));
    let listing = measured(&Kit::default(), scripted);
    World::open_selling(folder, fuse, round, engine, listing, Some(scripted.clone())).await
}

fn head(world: &World) -> agora_types::command::Head {
    fresh_head(world.clock.as_ref(), world.clock.as_ref(), key(HOST).address())
}

async fn quiet(world: &World) {
    while world.seller.running() > 0 {
        tokio::task::yield_now().await;
    }
}

fn receipt(world: &World, index: u64) -> Signed<Receipt> {
    let node = world.ledger.node.lock().unwrap();
    let bytes = node.store().record(agora_economy::ports::log::Index::Receipt, &index.to_be_bytes()).unwrap().unwrap();
    Signed::from_bytes(&bytes).unwrap()
}

fn last(world: &World) -> Signed<Receipt> {
    receipt(world, world.receipts() - 1)
}

/// What the first receipts of the log set aside.
fn set_aside(world: &World, receipts: u64) -> Amount {
    let legs = (0..receipts).flat_map(|index| receipt(world, index).payload().legs.clone());
    Amount::checked_sum(legs.filter(|leg| leg.role == Role::Earnings).map(|leg| leg.amount)).unwrap()
}

/// Everybody's earnings.
async fn everybody(world: &World) -> BTreeMap<Address, Proven> {
    let mut all = BTreeMap::new();
    for (account, _) in published(&world.seller).await.unwrap().rows {
        all.insert(account, earned(&world.seller, account).await.unwrap());
    }
    all
}

fn held(world: &World, account: &str) -> u128 {
    world.balance(&Address::system(account))
}

#[tokio::test]
async fn a_measured_answer_is_attributed_published_and_claimed_to_the_atom() {
    let scripted = scripted();
    let folder = founded(&scripted);
    let world = open(folder.path(), Fuse::new(None, false), 0, &scripted).await;
    let (text, first) = world.buy(CALL, 40).await.unwrap();
    quiet(&world).await;
    assert_eq!(first.payload().attribution.method, "bm25");
    assert_eq!(first.payload().spec_hash, Some(scripted.spec.hash()));
    let pool = first.payload().legs.iter().find(|leg| leg.role == Role::Contributors).unwrap().amount;
    assert_eq!(held(&world, "suspense"), pool.atoms());
    assert_eq!(measure_waiting(&world.seller).await.unwrap(), 1);
    assert_eq!(measure_waiting(&world.seller).await.unwrap(), 0, "nothing waits any more");

    // Half is explained: halfway between null and own data, so half of the pool is paid.
    let final_receipt = last(&world);
    assert_eq!(final_receipt.payload().check(), Ok(()));
    let earnings = final_receipt.payload().legs.iter().find(|leg| leg.role == Role::Earnings).unwrap().amount;
    assert_eq!(earnings.atoms(), pool.atoms() / 2);
    assert_eq!(held(&world, "commons"), pool.atoms() - earnings.atoms());
    let kept = evidence(&world.seller, key(PAYER).address(), CALL).await.unwrap().unwrap();
    assert_eq!(final_receipt.payload().attribution.influence_root, Some(kept.influence_root()));
    assert_eq!((kept.paid, kept.pool), (earnings, pool));
    {
        let answers = scripted.answers.lock().unwrap();
        assert_eq!(answers[0].response, text.into_bytes());
        assert_eq!(Request::from_bytes(&answers[0].request).unwrap(), Request::ask("who owns a wreck", 40));
    }

    let account = key(CONTRIBUTORS[0]).address();
    assert_eq!(published(&world.seller).await.unwrap_err().code, Code::EarningsNotFound);
    assert_eq!(earned(&world.seller, account).await.unwrap_err().code, Code::EarningsNotFound);
    assert_eq!(publish_earnings(&world.seller).await.unwrap(), Some(1));
    assert_eq!(publish_earnings(&world.seller).await.unwrap(), None, "nothing new");
    assert_eq!(earned(&world.seller, key(PAYER).address()).await.unwrap_err().code, Code::EarningsNotFound);
    let proven = everybody(&world).await;
    assert_eq!(proven.len(), 3);
    for (account, proof) in proven {
        let claim = ClaimEarnings {
            head: head(&world),
            host: key(HOST).address(),
            epoch: proof.epoch,
            account,
            cumulative: proof.cumulative,
            index: proof.index,
            path: proof.path,
        };
        let entry = Entry::sign(&world.ledger.network(), Command::ClaimEarnings(claim), &key(HOST));
        assert_eq!(world.ledger.commit(vec![entry]).await.unwrap(), [Ok(())]);
        assert_eq!(world.balance(&account), proof.cumulative.atoms());
    }
    assert_eq!(held(&world, "earnings"), 0);
    let one = earned(&world.seller, account).await.unwrap();
    assert_eq!(one.claimed, one.cumulative);
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_listing_that_this_host_cannot_measure_is_not_quoted() {
    let scripted = scripted();
    let folder = founded(&scripted);
    let engine = Arc::new(FakeEngine::new(Hash::sha256("base"), &[]));
    let listing = measured(&Kit::default(), &scripted);
    let world = World::open_selling(folder.path(), Fuse::new(None, false), 0, engine, listing, None).await;
    assert_eq!(world.quote(10).await.unwrap_err().code, Code::ListingTerms);
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_measured_waits_and_is_measured_later_or_pays_the_commons() {
    let scripted = scripted();
    let folder = founded(&scripted);
    let world = open(folder.path(), Fuse::new(None, false), 0, &scripted).await;
    scripted.fails.store(true, Ordering::SeqCst);
    for call in [1, 2] {
        world.buy(CallId::new([call; 16]), 40).await.unwrap();
        quiet(&world).await;
    }
    assert_eq!(measure_waiting(&world.seller).await.unwrap_err().code, Code::EngineBusy);
    assert_eq!(world.receipts(), 2);
    scripted.fails.store(false, Ordering::SeqCst);
    assert_eq!(measure_waiting(&world.seller).await.unwrap(), 2);
    assert_eq!(world.receipts(), 4);
    scripted.fails.store(true, Ordering::SeqCst);
    world.buy(CallId::new([3; 16]), 40).await.unwrap();
    quiet(&world).await;
    world.clock.skip_secs(3_601);
    let before = held(&world, "commons");
    // Any batch lets time pass.
    let transfer = Command::Transfer(agora_types::command::Transfer {
        head: head(&world),
        credit: key(PAYER).address(),
        amount: Amount::from_atoms(1),
        pending: None,
        reference: 0,
        receipt: None,
    });
    let entry = Entry::sign(&world.ledger.network(), transfer, &key(HOST));
    assert_eq!(world.ledger.commit(vec![entry]).await.unwrap(), [Ok(())]);
    assert!(held(&world, "commons") > before);
    let asked = scripted.asked.load(Ordering::SeqCst);
    assert_eq!(measure_waiting(&world.seller).await.unwrap(), 1, "its job is done");
    assert_eq!(scripted.asked.load(Ordering::SeqCst), asked, "what lapsed is not measured");
    assert_eq!(world.receipts(), 5);
    world.audit();
    world.end().await;
}

/// Jobs as an earlier release left them: under another letter, and in no line.
fn as_an_earlier_release(folder: &Path) {
    let state = RedbState::open(&folder.join("state.redb")).unwrap();
    let rows = |letter: &[u8]| StateStore::list(&state, Table::Attribution, letter, 1_000).unwrap();
    let write = |key, value| Write { table: Table::Attribution, key, value };
    let mut writes: Vec<Write> = rows(b"w").into_iter().map(|(key, _)| write(key, None)).collect();
    for (key, job) in rows(b"q") {
        writes.push(write([b"j", &key[1..]].concat(), Some(job)));
        writes.push(write(key, None));
    }
    StateStore::commit(&state, &writes).unwrap();
}

/// Stops the world before or after each durable step of measuring and publishing, and goes on in a new one: in one whose
/// release keeps jobs otherwise where the first was `earlier`.
async fn stop_at_each_step(persists: bool, scripted: Arc<Scripted>, earlier: bool) {
    let fresh = founded(&scripted);
    for step in 0.. {
        let folder = copy(fresh.path());
        let world = open(folder.path(), Fuse::new(None, false), 0, &scripted).await;
        for call in [1, 2] {
            world.buy(CallId::new([call; 16]), 40).await.unwrap();
            quiet(&world).await;
        }
        world.end().await;
        let fuse = Fuse::new(Some(step), persists);
        let world = open(folder.path(), fuse.clone(), 1, &scripted).await;
        let whole = tokio::select! {
            () = async {
                measure_waiting(&world.seller).await.unwrap();
                publish_earnings(&world.seller).await.unwrap();
            } => true,
            () = fuse.blown.notified() => false,
        };
        world.end().await;
        if earlier {
            as_an_earlier_release(folder.path());
        }
        let world = open(folder.path(), Fuse::new(None, false), 2, &scripted).await;
        world.clock.skip_secs(61);
        // The other call first: what was published counts all that the log up to there sets aside.
        measure_call(&world.seller, key(PAYER).address(), CallId::new([2; 16])).await.unwrap();
        publish_earnings(&world.seller).await.unwrap();
        let node = world.ledger.distributor(key(HOST).address()).await.unwrap().unwrap();
        assert_eq!(node.published, set_aside(&world, node.receipts), "step {step}, persists {persists}");
        measure_waiting(&world.seller).await.unwrap();
        publish_earnings(&world.seller).await.unwrap();
        assert_eq!(world.receipts(), 4, "step {step}, persists {persists}");
        let node = world.ledger.distributor(key(HOST).address()).await.unwrap().unwrap();
        assert_eq!(
            node.published, node.funded,
            "step {step}, persists {persists}: everything earned is published, once"
        );
        let sum = everybody(&world).await;
        let sum = Amount::checked_sum(sum.values().map(|proof| proof.cumulative)).unwrap();
        assert_eq!(sum, node.published, "step {step}, persists {persists}");
        world.audit();
        world.end().await;
        if whole {
            assert!(step >= 8, "only {step} steps were tried");
            return;
        }
    }
}

#[tokio::test]
async fn a_host_that_stops_before_any_step_of_measuring_counts_every_answer_once() {
    stop_at_each_step(false, scripted(), false).await;
}

#[tokio::test]
async fn a_host_that_stops_after_any_step_of_measuring_counts_every_answer_once() {
    stop_at_each_step(true, scripted(), false).await;
}

#[tokio::test]
async fn a_measured_call_that_was_cut_off_is_measured_for_what_was_delivered() {
    let scripted = scripted();
    let folder = founded(&scripted);
    let world = open(folder.path(), Fuse::new(None, false), 0, &scripted).await;
    let quoted = world.quote(400).await.unwrap();
    let mut purchase = agora_actors::purchase::Purchase::open(&world.buyer, payer(), CALL, &quoted).await.unwrap();
    for _ in 0..70 {
        purchase.next().await.unwrap();
    }
    drop(purchase);
    world.end().await;
    let world = open(folder.path(), Fuse::new(None, false), 1, &scripted).await;
    settle_abandoned(&world.seller, key(PAYER).address(), CALL).await.unwrap();
    assert_eq!(measure_waiting(&world.seller).await.unwrap(), 1);
    let delivered = {
        let answers = scripted.answers.lock().unwrap();
        String::from_utf8(answers[0].response.clone()).unwrap()
    };
    let answer = FakeEngine::answer(&Request::ask("who owns a wreck", 400)).concat();
    assert!(!delivered.is_empty() && answer.starts_with(&delivered));
    assert_eq!(world.receipts(), 2);
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn a_host_that_stops_before_any_step_of_measuring_a_group_counts_every_answer_once() {
    stop_at_each_step(false, scripted_of(2), false).await;
}

#[tokio::test]
async fn a_host_that_stops_after_any_step_of_measuring_a_group_counts_every_answer_once() {
    stop_at_each_step(true, scripted_of(2), false).await;
}

#[tokio::test]
async fn what_an_earlier_release_left_at_any_step_of_measuring_is_counted_once() {
    stop_at_each_step(true, scripted(), true).await;
    stop_at_each_step(true, scripted_of(2), true).await;
}

#[tokio::test]
async fn calls_of_a_spec_behind_many_of_anothers_are_grouped_and_measured_all_the_same() {
    const OTHERS: u8 = 70;
    let (other, own) = (scripted(), scripted_of(3));
    other.fails.store(true, Ordering::SeqCst);
    let folder = founded(&other);
    let world = open(folder.path(), Fuse::new(None, false), 0, &other).await;
    for call in 1..=OTHERS {
        world.buy(CallId::new([call; 16]), 2).await.unwrap();
        quiet(&world).await;
    }
    // A second listing of the same owner, measured by another spec.
    let listing = Listing { name: "other".into(), ..measured(&Kit::default(), &own).payload().clone() };
    let listing = Signed::sign(listing, &StatementSigner::from_bytes(&[OWNER; 32]));
    let head = fresh_head(world.clock.as_ref(), world.clock.as_ref(), key(OWNER).address());
    let registration = Command::RegisterListing(listing.payload().registration(head, listing.hash()));
    let entry = Entry::sign(&world.ledger.network(), registration, &key(OWNER));
    assert_eq!(world.ledger.commit(vec![entry]).await.unwrap(), [Ok(())]);
    world.end().await;

    let engine = Arc::new(FakeEngine::new(Hash::sha256("base"), &[]));
    let both = Arc::new(Both([other.clone(), own.clone()]));
    let world = World::open_selling(folder.path(), Fuse::new(None, false), 1, engine, listing, Some(both)).await;
    let before = world.receipts();
    let call = |number: u8| CallId::new([OTHERS + number; 16]);
    for number in 1..=4 {
        world.buy(call(number), 40).await.unwrap();
        quiet(&world).await;
    }
    assert_eq!(
        measure_waiting(&world.seller).await.unwrap_err().code,
        Code::EngineBusy,
        "the others cannot be measured"
    );
    assert_eq!((world.receipts() - before, own.asked.load(Ordering::SeqCst)), (4 + 3, 1), "three are grouped");
    let mut sampled: Vec<_> =
        (before + 4..before + 7).map(|at| receipt(&world, at).payload().attribution.sampled).collect();
    sampled.dedup();
    assert!(matches!(sampled[..], [Some(SampledOf { calls: 3, .. })]), "{sampled:?}");
    for number in 5..=6 {
        world.buy(call(number), 40).await.unwrap();
        quiet(&world).await;
        let ended = measure_call(&world.seller, key(PAYER).address(), call(number)).await.unwrap();
        assert_eq!(ended, number == 6, "the third of a group has it measured");
    }
    assert_eq!(world.receipts() - before, 6 + 6);
    // The answers of the others can be measured by now.
    other.fails.store(false, Ordering::SeqCst);
    assert_eq!(measure_waiting(&world.seller).await.unwrap(), usize::from(OTHERS));
    assert_eq!(own.asked.load(Ordering::SeqCst), 2);
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn one_call_in_several_is_measured_and_every_final_receipt_says_so_and_pays_its_own_pool() {
    let scripted = scripted_of(3);
    let folder = founded(&scripted);
    let world = open(folder.path(), Fuse::new(None, false), 0, &scripted).await;
    let calls: Vec<CallId> = (1..=4).map(|call| CallId::new([call; 16])).collect();
    // Of different prices, so that pools differ.
    let mut firsts = Vec::new();
    for (call, tokens) in calls.iter().zip([40, 80, 20, 60]) {
        firsts.push(world.buy(*call, tokens).await.unwrap().1);
        quiet(&world).await;
        if firsts.len() == 2 {
            assert_eq!(measure_waiting(&world.seller).await.unwrap(), 0, "two of three wait for the third");
        }
    }
    assert!(!measure_call(&world.seller, key(PAYER).address(), calls[3]).await.unwrap(), "the fourth waits");
    assert_eq!(measure_waiting(&world.seller).await.unwrap(), 3, "three end together");
    assert_eq!(scripted.asked.load(Ordering::SeqCst), 1, "and one of them was measured");

    let mut drawn = Vec::new();
    for (at, first) in (4..7).zip(&firsts) {
        let last = receipt(&world, at);
        assert_eq!(last.payload().check(), Ok(()));
        let said = last.payload().attribution.sampled.expect("the receipt says that it is of a sample");
        assert_eq!(said.calls, 3);
        drawn.push(said.measured);
        let kept = evidence(&world.seller, key(PAYER).address(), first.payload().call_id).await.unwrap().unwrap();
        let pool = first.payload().legs.iter().find(|leg| leg.role == Role::Contributors).unwrap().amount;
        assert_eq!(kept.pool, pool, "shares are the measured call's, money is its own");
        let fields = fields(last.payload(), pool);
        assert_eq!(level1(&scripted.spec, &kept, &fields), Verdict::Agrees);
        // A call that is not in the group, one that draws for itself, and a receipt that is silent about it.
        for change in [
            (|fields: &mut ReceiptFields| fields.provisional.0 += 9) as fn(&mut ReceiptFields),
            |fields| fields.sampled = Some(SampledOf { calls: 3, measured: Hash::ZERO }),
            |fields| fields.sampled = None,
        ] {
            let mut fields = fields.clone();
            change(&mut fields);
            let verdict = level1(&scripted.spec, &kept, &fields);
            assert!(
                matches!(&verdict, Verdict::Differs(what) if what.place == Place::Sample),
                "{verdict:?} of {fields:?}"
            );
        }
        // The spec says how many at most.
        let narrow = AttributionSpec { sample_one_in: 2, ..scripted.spec.clone() };
        let mut narrow_evidence = kept.clone();
        narrow_evidence.summary.spec = narrow.hash();
        let told = ReceiptFields {
            spec_hash: Some(narrow.hash()),
            influence_root: Some(narrow_evidence.influence_root()),
            ..fields.clone()
        };
        let verdict = level1(&narrow, &narrow_evidence, &told);
        assert!(matches!(&verdict, Verdict::Differs(what) if what.place == Place::Sample), "{verdict:?}");
    }
    assert!(drawn.iter().all(|leaf| *leaf == drawn[0]), "all name the same answer");
    let measured = scripted.answers.lock().unwrap()[0].clone();
    let leaf = |first: &Signed<Receipt>| agora_types::merkle::leaf_hash(&first.to_bytes());
    let one = firsts.iter().find(|first| leaf(first) == drawn[0]).expect("it is one of the group");
    assert_eq!(measured.pool, one.payload().legs.iter().find(|leg| leg.role == Role::Contributors).unwrap().amount);

    // The one that is left over does not wait for ever.
    assert_eq!(measure_waiting(&world.seller).await.unwrap(), 0);
    world.clock.skip_secs(61);
    assert_eq!(measure_waiting(&world.seller).await.unwrap(), 1);
    assert_eq!(last(&world).payload().attribution.sampled, None, "it was measured for itself");
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_measured_keeps_none_of_its_group_from_being_paid() {
    let scripted = scripted_of(3);
    let folder = founded(&scripted);
    let world = open(folder.path(), Fuse::new(None, false), 0, &scripted).await;
    for (call, tokens) in (1..=3).zip([40, 80, 20]) {
        world.buy(CallId::new([call; 16]), tokens).await.unwrap();
        quiet(&world).await;
    }
    // An engine that is busy leaves the group as it is.
    scripted.fails.store(true, Ordering::SeqCst);
    assert_eq!(measure_waiting(&world.seller).await.unwrap_err().code, Code::EngineBusy);
    assert_eq!((world.receipts(), scripted.asked.load(Ordering::SeqCst)), (3, 1));
    scripted.fails.store(false, Ordering::SeqCst);
    // Whichever is drawn cannot be measured.
    scripted.refuses_next.store(true, Ordering::SeqCst);
    assert_eq!(measure_waiting(&world.seller).await.unwrap_err().code, Code::AttributionInput);
    assert_eq!(world.receipts(), 3 + 2, "another is drawn, for two");
    let refused = scripted.refused.lock().unwrap().take().expect("one was drawn");
    for at in 3..5 {
        let last = receipt(&world, at);
        assert!(matches!(last.payload().attribution.sampled, Some(SampledOf { calls: 2, .. })));
        let kept = evidence(&world.seller, key(PAYER).address(), last.payload().call_id).await.unwrap().unwrap();
        assert_ne!(kept.pool, refused.pool);
        assert_eq!(level1(&scripted.spec, &kept, &fields(last.payload(), kept.pool)), Verdict::Agrees);
    }
    // By now it can be.
    world.clock.skip_secs(61);
    assert_eq!(measure_waiting(&world.seller).await.unwrap(), 1);
    assert_eq!(last(&world).payload().attribution.sampled, None);
    world.audit();
    world.end().await;
}

#[tokio::test]
async fn the_evidence_of_a_group_is_written_down_once_before_the_others_have_their_own() {
    let scripted = scripted_of(3);
    let folder = founded(&scripted);
    let world = open(folder.path(), Fuse::new(None, false), 0, &scripted).await;
    for call in 1..=3 {
        world.buy(CallId::new([call; 16]), 40).await.unwrap();
        quiet(&world).await;
    }
    world.end().await;
    let rows = || {
        let state = RedbState::open(&folder.path().join("state.redb")).unwrap();
        [b"e", b"m"].map(|letter| StateStore::list(&state, Table::Attribution, letter, 1_000).unwrap().len())
    };
    // The first step of measuring, and nothing after it.
    let fuse = Fuse::new(Some(0), true);
    let world = open(folder.path(), fuse.clone(), 1, &scripted).await;
    tokio::select! {
        done = measure_waiting(&world.seller) => panic!("went on: {done:?}"),
        () = fuse.blown.notified() => {}
    }
    world.end().await;
    assert_eq!(rows(), [1, 2]);
    let world = open(folder.path(), Fuse::new(None, false), 2, &scripted).await;
    assert_eq!(measure_waiting(&world.seller).await.unwrap(), 3);
    assert_eq!(scripted.asked.load(Ordering::SeqCst), 1, "nothing is measured twice");
    world.audit();
    world.end().await;
    assert_eq!(rows(), [3, 0]);
}

/// What a measured final receipt says, beside the pool of the provisional one.
fn fields(last: &Receipt, pool: Amount) -> ReceiptFields {
    let said = &last.attribution;
    let agora_receipts::State::Final { index, leaf } = last.state else { panic!("a provisional receipt") };
    ReceiptFields {
        spec_hash: last.spec_hash,
        method: said.method.clone(),
        verbatim_root: said.verbatim_root.or(Some(agora_types::merkle::empty_root())),
        influence_root: said.influence_root,
        explained: said.explained,
        residual: said.residual,
        totals: said.totals.iter().map(|total| Paid { account: total.account, amount: total.amount }).collect(),
        pool,
        paid: last.legs.iter().find(|leg| leg.role == Role::Earnings).map_or(Amount::ZERO, |leg| leg.amount),
        provisional: (index, leaf),
        sampled: said.sampled,
    }
}
