//! What a whole node does when parts of it fail or were away, and what its host and its directory do by themselves.

use crate::scripted;
use crate::world;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agora_actors::agent::record::EventRow;
use agora_actors::agent::{AgentsHandle, Progress, Step, agents};
use agora_actors::directory::{DirectoryActor, DirectoryHandle, DirectorySettings};
use agora_actors::host::{HostActor, HostSettings};
use agora_actors::journal::ThreadedJournal;
use agora_actors::node::{AgentParts, Handles, HostParts, Node, NodeParts, OpenLog};
use agora_actors::purchase::Directory as _;
use agora_bus::LocalBus;
use agora_economy::ports::bus::{Bus as _, Key};
use agora_economy::ports::ledger::Ledger as _;
use agora_economy::ports::log::{Head, Index, LogFault, LogStore, Record, Row, Snapshot};
use agora_economy::ports::state::Table;
use agora_economy::testkit::*;
use agora_inference_api::FakeEngine;
use agora_store::{FolderBlobs, RedbLog, RedbState};
use agora_types::batch::Batch;
use agora_types::{Amount, CallId, Canonical as _, Code, Hash, Signed, Usage};
use kameo::actor::Spawn as _;
use scripted::*;
use tokio::sync::broadcast;
use world::{Fuse, Steady, World, cut_off, founded, listing, payer, prices};

const TOKENS: u64 = 6;
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// Which appends to the log fail, over all openings; written all the same, or not.
#[derive(Default)]
struct Faults {
    appends: AtomicU64,
    first: AtomicU64,
    count: AtomicU64,
    /// How often the file was opened in vain.
    locked: AtomicU64,
    persists: bool,
}

/// A log on disk whose appends fail when told to.
struct Flaky(RedbLog, Arc<Faults>);

impl LogStore for Flaky {
    fn append(&mut self, expected_seq: u64, batch: &Batch, records: &[Record]) -> Result<(), LogFault> {
        let at = self.1.appends.fetch_add(1, Ordering::SeqCst);
        let first = self.1.first.load(Ordering::SeqCst);
        let fails = (first..first + self.1.count.load(Ordering::SeqCst)).contains(&at);
        if !fails || self.1.persists {
            self.0.append(expected_seq, batch, records)?;
        }
        let reason = "the cable was pulled".to_owned();
        if fails { Err(LogFault::Failed { doing: "appended a batch", reason }) } else { Ok(()) }
    }
    fn head(&self) -> Result<Option<Head>, LogFault> {
        self.0.head()
    }
    fn read_from(&self, seq: u64, limit: usize) -> Result<Vec<Batch>, LogFault> {
        self.0.read_from(seq, limit)
    }
    fn record(&self, index: Index, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault> {
        self.0.record(index, key)
    }
    fn records_from(&self, index: Index, from: &[u8], limit: usize) -> Result<Vec<Row>, LogFault> {
        self.0.records_from(index, from, limit)
    }
    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), LogFault> {
        self.0.save_snapshot(snapshot)
    }
    fn newest_snapshot(&self) -> Result<Option<Snapshot>, LogFault> {
        self.0.newest_snapshot()
    }
}

/// Opens a file that a node which has ended lets go of a moment later.
fn opened<T>(open: impl Fn() -> Result<T, LogFault>) -> T {
    for _ in 0..10_000 {
        match open() {
            // Nobody tells when: the lock is the operating system's.
            Err(LogFault::Locked) => std::thread::sleep(Duration::from_millis(1)),
            opened => return opened.unwrap(),
        }
    }
    panic!("the file stays locked")
}

fn log(folder: &Path) -> Result<RedbLog, LogFault> {
    RedbLog::open(&folder.join("ledger.redb"), &Kit::default().genesis.hash())
}

/// A node on a folder that sells and runs agents.
struct House {
    node: Node,
    steps: broadcast::Receiver<Progress>,
    folder: PathBuf,
}

impl House {
    async fn start(folder: &Path, round: u64, faults: &Arc<Faults>, scripts: &Scripts) -> Self {
        let kit = Kit::default();
        drop(opened(|| log(folder)));
        let state = opened(|| RedbState::open(&folder.join("state.redb")));
        let (path, faults) = (folder.to_path_buf(), Arc::clone(faults));
        // As a node's program opens it: without a second try.
        let open_log: OpenLog = Arc::new(move || {
            let opened = log(&path);
            faults.locked.fetch_add(u64::from(opened.is_err()), Ordering::SeqCst);
            Ok(Box::new(Flaky(opened?, Arc::clone(&faults))))
        });
        let clock = Steady::new(kit.now.plus_secs(1 + round * 20), round << 32);
        let node = Node::start(NodeParts {
            genesis: Arc::new(kit.genesis),
            open_log,
            snapshot_every: 5,
            journal: Arc::new(ThreadedJournal::new(Arc::new(state))),
            bus: Arc::new(LocalBus::default()),
            log: None,
            host: Some(HostParts {
                engine: Arc::new(FakeEngine::new(Hash::sha256("base"), &[])),
                account: key(HOST).into(),
                receipt_key: Kit::host_signer().into(),
                grace_s: 60,
                attributor: None,
                epoch_s: 600,
            }),
            agents: Some(AgentParts {
                blobs: Arc::new(FolderBlobs::open(&folder.join("blobs")).unwrap()),
                sandbox: Arc::new(scripts.clone()),
                keys: Arc::new(Ring),
                http: None,
            }),
            clock: clock.clone(),
            random: clock,
        });
        let node = node.await.unwrap();
        let steps = node.handles().agents.as_ref().unwrap().feed().follow();
        Self { node, steps, folder: folder.to_path_buf() }
    }

    /// With its listing and a funded agent.
    async fn settled(folder: &Path, faults: &Arc<Faults>, scripts: &Scripts) -> Self {
        let house = Self::start(folder, 0, faults, scripts).await;
        let handles = house.handles();
        handles.directory.publish(listing(&Kit::default())).await.unwrap();
        fund(&handles.ledger, reader(), handles.buyer.clock.now()).await;
        house.agents().deploy(manifest(PLENTY), READER.into(), owner()).await.unwrap();
        house
    }

    fn handles(&self) -> &Handles {
        self.node.handles()
    }

    fn agents(&self) -> &AgentsHandle {
        self.handles().agents.as_ref().unwrap()
    }

    async fn handle(&mut self, words: &str) -> EventRow {
        let event = self.agents().tell(READER, "message", words.into()).await.unwrap();
        let wait = async {
            loop {
                let progress = self.steps.recv().await.unwrap();
                if let (Step::Ended(row), true) = (progress.step, *progress.event == *event) {
                    return *row;
                }
            }
        };
        tokio::time::timeout(LONG, wait).await.expect("the event ends")
    }

    /// Ends the node and recounts its whole log; answers with the number of calls and receipts.
    async fn stop(self) -> (u64, u64) {
        tokio::time::timeout(LONG, self.node.stop()).await.expect("a node stops");
        let batches = opened(|| log(&self.folder)).read_from(0, usize::MAX).unwrap();
        let report = agora_audit::audit(&Kit::default().genesis, &batches).expect("the log audits clean");
        (report.calls, report.receipts)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_was_stopped_goes_on_where_it_stood() {
    let folder = founded();
    let scripts = Scripts::reader(|event, host| reading(event, host, TOKENS));
    let faults = Arc::new(Faults::default());
    let mut house = House::settled(folder.path(), &faults, &scripts).await;
    let row = house.handle("who owns a wreck").await;
    assert_eq!(done(&row), answer("who owns a wreck", TOKENS));
    let before = agents(&house.handles().buyer).await.unwrap();
    assert_eq!(house.stop().await.0, 1);

    let mut house = House::start(folder.path(), 1, &faults, &scripts).await;
    assert_eq!(agents(&house.handles().buyer).await.unwrap(), before);
    assert_eq!(house.handles().directory.find("wreck", 9).await.unwrap(), [listing(&Kit::default())]);
    let next = house.handle("and who salvages it").await;
    assert_eq!(done(&next), answer("and who salvages it", TOKENS));
    let opening = house.handles().buyer.opening(reader(), row.calls[0]).await.unwrap();
    assert_eq!(opening.unwrap().response, done(&row).into_bytes());
    let (view, stopped) = house.agents().stop(READER).await.unwrap();
    let spent = row.spent.checked_add(next.spent).unwrap();
    assert_eq!(view.record.spent, spent);
    assert_eq!(stopped.returned.atoms(), FUND.atoms() - spent.atoms(), "an atom is missing");
    assert_eq!(house.stop().await.0, 2);
}

/// A reader that asks again when something failed on the way.
fn stubborn() -> Scripts {
    Scripts::reader(|event, host| async move {
        let words = String::from_utf8(event.payload).unwrap();
        let mut failed = None;
        for _ in 0..20 {
            match buy(host.as_ref(), &words, TOKENS).await {
                Ok(text) => return Ok(text.into_bytes()),
                Err(error) => failed = Some(error),
            }
        }
        Err(failed.unwrap())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_survives_a_log_that_fails_once_at_any_append_of_a_call() {
    // Deposit, settlement, final receipt.
    for (persists, append) in
        [false, true].into_iter().flat_map(|persists| (0..3).map(move |append| (persists, append)))
    {
        let at = format!("append {append}, persists {persists}");
        let folder = founded();
        let faults = Arc::new(Faults { persists, ..Faults::default() });
        let mut house = House::settled(folder.path(), &faults, &stubborn()).await;
        faults.first.store(faults.appends.load(Ordering::SeqCst) + append, Ordering::SeqCst);
        faults.count.store(1, Ordering::SeqCst);
        let row = house.handle("who owns a wreck").await;
        assert_eq!(done(&row), answer("who owns a wreck", TOKENS), "{at}");
        let next = house.handle("and who salvages it").await;
        assert_eq!(done(&next), answer("and who salvages it", TOKENS), "{at}");
        let (view, stopped) = house.agents().stop(READER).await.unwrap();
        let spent = row.spent.checked_add(next.spent).unwrap();
        assert_eq!(view.record.spent, spent, "{at}");
        assert_eq!(stopped.returned.atoms(), FUND.atoms() - spent.atoms(), "{at}: an atom is missing");
        assert_eq!(house.stop().await.0, 2, "{at}");
        assert_eq!(faults.locked.load(Ordering::SeqCst), 0, "{at}: a start found the file still open");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_log_always_fails_falls_and_says_which_part() {
    let folder = founded();
    let faults = Arc::new(Faults::default());
    let house = House::settled(folder.path(), &faults, &stubborn()).await;
    faults.first.store(0, Ordering::SeqCst);
    faults.count.store(u64::MAX, Ordering::SeqCst);
    let asking = async {
        loop {
            let transfer = Kit::default().transfer(PAYER, 30, 1);
            let entry = Kit::default().sign(PAYER, transfer);
            assert!(house.handles().ledger.commit(vec![entry]).await.is_err());
            tokio::task::yield_now().await;
        }
    };
    let fallen = tokio::select! {
        never = asking => never,
        fallen = tokio::time::timeout(LONG, house.node.fallen()) => fallen.expect("it falls"),
    };
    assert!(fallen.starts_with("the ledger keeps failing"), "{fallen}");
    house.stop().await;
}

#[tokio::test]
async fn a_host_settles_what_a_crash_cut_off_for_what_was_acknowledged_once_the_buyer_is_overdue() {
    const CALL: CallId = CallId::new([7; 16]);
    let folder = founded();
    let quoted = cut_off(folder.path(), CALL, 70).await;

    let mut world = World::open(folder.path(), Fuse::new(None, false), 1).await;
    world.silence().await;
    let settings = HostSettings {
        parts: world.parts.clone(),
        directory: Arc::clone(&world.buyer.directory),
        grace_s: 0,
        epoch_s: 600,
    };
    let host = HostActor::spawn(settings);
    let settled = async {
        while world.receipts() < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, settled).await.expect("the first round of housekeeping settles it");
    let claimed = world.channel().unwrap().total_claimed;
    let charge = |output| {
        let usage = Usage { input: quoted.quote.caps.input, output, ..Usage::default() };
        prices().charge(&usage).unwrap()
    };
    assert!(claimed >= charge(32) && claimed <= charge(70), "{claimed}");
    // The same host gives the rest back, and says what it sells.
    let back = refunded(&world, &quoted).await;
    assert!(!back.is_zero());
    let left = world.balance(&key(PAYER).address());
    assert_eq!(left + claimed.atoms(), Amount::from_open(1_000).atoms(), "an atom is missing");
    assert_eq!(world.quote(5).await.unwrap().quote.listing, quoted.quote.listing);
    world.audit();
    host.stop_gracefully().await.unwrap();
    host.wait_for_shutdown().await;
    world.end().await;
}

/// The unspent deposit, once the host has closed its books on the call.
async fn refunded(world: &World, quoted: &agora_actors::purchase::Quoted) -> Amount {
    let wait = async {
        loop {
            match world.buyer.refund(&payer(), quoted.quote.listing, key(HOST).address()).await {
                Ok(back) => return back,
                Err(error) => assert_eq!(error.code, Code::ChannelBusy),
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, wait).await.expect("the channel is free in the end")
}

#[tokio::test]
async fn a_directory_knows_only_listings_whose_very_bytes_the_ledger_names() {
    let folder = founded();
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let settings =
        DirectorySettings { ledger: world.ledger.clone(), bus: world.bus.clone(), journal: world.journal.clone() };
    let actor = DirectoryActor::spawn(settings);
    let directory = DirectoryHandle::new(actor.clone());
    let good = listing(&Kit::default());
    let id = good.payload().id();
    let signer = agora_types::key::StatementSigner::from_bytes(&[OWNER; 32]);
    let cheaper = agora_catalog::Listing { title: "Cheaper answers".into(), ..good.payload().clone() };
    let other = agora_catalog::Listing { name: "unheard-of".into(), ..good.payload().clone() };
    let (bent, unknown) = (Signed::sign(cheaper, &signer), Signed::sign(other, &signer));
    assert_eq!(directory.publish(bent.clone()).await.unwrap_err().code, Code::ListingTerms);
    assert_eq!(directory.publish(unknown.clone()).await.unwrap_err().code, Code::ListingNotFound);
    let rows = world.buyer.journal.list(Table::Catalog, Vec::new(), 9).await.unwrap();
    assert_eq!(rows, [], "nothing of it is kept");
    // A stranger on the bus says the same, then the truth under a wrong name, then the truth.
    let bus_key = |id: agora_types::ListingId| Key::new("listings", id.to_string().trim_start_matches("0x")).unwrap();
    let words = [
        (bus_key(id), bent.to_bytes()),
        (bus_key(unknown.payload().id()), unknown.to_bytes()),
        (bus_key(unknown.payload().id()), good.to_bytes()),
        (bus_key(id), b"not a listing".to_vec()),
        (bus_key(id), good.to_bytes()),
    ];
    for (key, bytes) in words {
        world.bus.put(&key, &bytes).await.unwrap();
    }
    let heard = async {
        loop {
            let found = directory.find("", 9).await.unwrap();
            assert!(found.is_empty() || found == std::slice::from_ref(&good), "{found:?}");
            if !found.is_empty() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, heard).await.expect("the truth is heard");
    assert_eq!(directory.get(id).await.unwrap().as_ref(), Some(&good));
    assert_eq!(directory.get(unknown.payload().id()).await.unwrap(), None);
    world.bus.delete(&bus_key(id)).await.unwrap();
    let gone = async {
        while directory.get(id).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone).await.expect("its end is heard");
    directory.publish(good.clone()).await.unwrap();
    assert_eq!(directory.find("wreck", 9).await.unwrap(), [good]);
    actor.stop_gracefully().await.unwrap();
    actor.wait_for_shutdown().await;
    world.end().await;
}
