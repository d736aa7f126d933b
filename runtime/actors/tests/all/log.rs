//! What readers of the published receipt log can rely on, whatever fails while it is published.

use crate::published;
use crate::world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use agora_actors::log::{LogActor, LogHandle, LogSettings};
use agora_economy::ports::ledger::Ledger as _;
use agora_economy::ports::log::{LogFault, LogStore, Row};
use agora_economy::ports::memory::MemoryTiles;
use agora_economy::ports::tiles::{CHECKPOINT, TileStore};
use agora_economy::testkit::Kit;
use agora_receipts::{Checkpoint, Envelope, Trust, TrustedNetwork, checkpoint, verify_json};
use agora_types::key::StatementSigner;
use agora_types::merkle::tile::Tile;
use agora_types::merkle::{Tree, leaf_hash, verify_consistency};
use agora_types::{CallId, Code, Hash};
use kameo::actor::Spawn as _;
use published::{
    Bent, Running, check_published, folder_tiles, history, open_log, read_checkpoint, signer, write_ledger,
};
use tokio::sync::Notify;
use world::{Fuse, World, found};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bought_call_is_exported_as_a_file_that_verifies_offline_from_the_genesis_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    found(folder.path());
    let world = World::open(folder.path(), Fuse::new(None, false), 0).await;
    let (_, first) = world.buy(CallId::new([7; 16]), 20).await.unwrap();
    // The buyer has its receipt a moment before the host is done with the channel.
    while let Err(error) = world.buy(CallId::new([8; 16]), 30).await {
        assert_eq!(error.code, Code::ChannelBusy, "{error}");
        tokio::task::yield_now().await;
    }
    world.audit();
    world.end().await;

    let running = Running::quiet(folder.path(), folder_tiles(folder.path()));
    let trust = Trust::new(vec![TrustedNetwork::from_genesis(&Kit::default().genesis)]).unwrap();
    let mut seen = Vec::new();
    for index in 0..4 {
        let envelope = running.log.export(index).await.unwrap();
        let verdict = verify_json(&envelope.to_json().unwrap(), &trust);
        assert!(verdict.is_ok(), "receipt {index}:\n{verdict}");
        let both = [envelope.provisional.index, envelope.last.as_ref().expect("finished").index];
        assert!(both.contains(&index), "receipt {index} is one of {both:?}");
        seen.push(envelope);
    }
    assert_eq!(seen[0].receipts().unwrap().0, first);
    let of = |index: usize| seen.iter().filter(|other: &&Envelope| **other == seen[index]).count();
    assert_eq!([of(0), of(1), of(2), of(3)], [2; 4], "either leaf of a call leads to the same file");
    assert_eq!(running.log.export(4).await.unwrap_err().code, Code::ReceiptUnknown);
    assert_eq!(running.log.export(u64::MAX).await.unwrap_err().code, Code::ReceiptUnknown);
    assert_eq!(running.log.checkpoint().await.unwrap().checkpoint.size, 4);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_published_tiles_alone_rebuild_the_root_and_a_full_tile_has_no_partial_forms() {
    let kit = history(210);
    let leaves = kit.receipts.len() as u64;
    assert!(leaves > 256, "more than a tile");
    let folder = tempfile::tempdir().unwrap();
    let tiles = folder_tiles(folder.path());
    for size in [1, 100, 255, leaves] {
        write_ledger(folder.path(), &kit, size);
        let running = Running::quiet(folder.path(), tiles.clone());
        assert_eq!(running.log.publish().await.unwrap().checkpoint.size, size);
        assert_eq!(check_published(tiles.as_ref(), &kit).unwrap().size, size);
        running.end().await;
    }
    for full in [Tile::new(0, 0, 256).unwrap().path(), Tile::new(0, 0, 256).unwrap().entries_path()] {
        assert!(tiles.get(&full).unwrap().is_some(), "{full}");
        assert_eq!(tiles.get(&format!("{full}.p/100")).unwrap(), None, "{full}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_restarts_every_checkpoint_contains_the_one_before() {
    let kit = history(210);
    let leaves = kit.receipts.len() as u64;
    let tree = Tree::from_leaves(kit.receipts.iter().map(|leaf| leaf_hash(leaf)));
    let folder = tempfile::tempdir().unwrap();
    let mut before: Option<Checkpoint> = None;
    for size in [0, 3, 256, 257, leaves] {
        write_ledger(folder.path(), &kit, size);
        let tiles = folder_tiles(folder.path());
        let running = Running::quiet(folder.path(), tiles.clone());
        let now = running.log.publish().await.unwrap();
        let note = tiles.get(CHECKPOINT).unwrap().unwrap();
        assert_eq!(running.log.publish().await.unwrap(), now, "nothing new, nothing signed");
        running.end().await;
        let running = Running::quiet(folder.path(), tiles.clone());
        assert_eq!(running.log.checkpoint().await.unwrap(), now, "a restart signs nothing anew");
        assert_eq!(tiles.get(CHECKPOINT).unwrap().unwrap(), note);
        running.end().await;
        assert_eq!(now.checkpoint.size, size);
        if let Some(old) = before.filter(|old| old.size > 0) {
            let proof = tree.consistency_proof(old.size, size).unwrap();
            assert!(verify_consistency(old.size, &old.root, size, &now.checkpoint.root, &proof));
        }
        before = Some(now.checkpoint);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_does_not_fit_is_kept_as_it_is_and_stops_the_log() {
    let kit = history(9);
    let size = kit.receipts.len() as u64;
    let origin = checkpoint::origin(kit.genesis.chain_id);
    let of = |origin: &str, size, root: Hash, key: &StatementSigner| {
        let checkpoint = Checkpoint { origin: origin.to_owned(), size, root };
        checkpoint.sign(key).unwrap().to_string().into_bytes()
    };
    let tree = Tree::from_leaves(kit.receipts.iter().map(|leaf| leaf_hash(leaf)));
    let good = of(&origin, size, tree.root(), &signer());
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let mut bent = good.clone();
    bent[origin.len() + 5] ^= 1;
    let stranger = StatementSigner::from_bytes(&[8; 32]);
    let cases = [
        ("no text", vec![0xff; 40]),
        ("empty", vec![]),
        ("cut", good[..good.len() / 2].to_vec()),
        ("another last byte", flipped),
        ("a flipped bit in the root", bent),
        ("a stranger's", of(&origin, size, tree.root(), &stranger)),
        ("another log's", of("agora.5/receipts", size, tree.root(), &signer())),
        ("another root of our own", of(&origin, size, Hash::sha256("fork"), &signer())),
        ("another smaller one of our own", of(&origin, 2, Hash::sha256("fork"), &signer())),
        ("ahead of the ledger", of(&origin, size + 1, Hash::sha256("lost"), &signer())),
        ("too large", vec![b'a'; 5 << 20]),
    ];
    for (name, bytes) in cases {
        let folder = tempfile::tempdir().unwrap();
        write_ledger(folder.path(), &kit, size);
        let tiles = folder_tiles(folder.path());
        let running = Running::quiet(folder.path(), tiles.clone());
        assert_eq!(running.log.publish().await.unwrap().note.to_string().into_bytes(), good);
        // The publication at the start may stand second in the mailbox; behind this question it is done.
        running.log.checkpoint().await.unwrap();
        let file = folder.path().join("tiles").join(CHECKPOINT);
        std::fs::write(&file, &bytes).unwrap();
        let code = running.log.publish().await.unwrap_err().code;
        assert_eq!(code, if name == "too large" { Code::StoreDamaged } else { Code::LogForeign }, "{name}");
        running.log.actor().wait_for_shutdown().await;
        assert_eq!(running.log.export(0).await.unwrap_err().code, Code::NodeBusy, "{name}: nothing is exported");
        running.end().await;
        // A start anew comes to the same end, by itself.
        let running = Running::quiet(folder.path(), tiles);
        running.log.actor().wait_for_shutdown().await;
        running.end().await;
        assert_eq!(std::fs::read(&file).unwrap(), bytes, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_signed_over_receipts_that_do_not_give_the_ledgers_root() {
    let kit = history(9);
    type Bend = fn(&mut Vec<Row>);
    let cases: [(&str, Bend); 4] = [
        ("a flipped bit", |rows| rows[4].1[30] ^= 1),
        ("two that changed places", |rows| {
            let other = rows[4].1.clone();
            rows[4].1 = std::mem::replace(&mut rows[5].1, other);
        }),
        ("one that is missing", |rows| drop(rows.remove(4))),
        ("none at all", |rows| rows.clear()),
    ];
    for (name, bend) in cases {
        let folder = tempfile::tempdir().unwrap();
        write_ledger(folder.path(), &kit, kit.receipts.len() as u64);
        let tiles = Arc::new(MemoryTiles::default());
        let disk = folder.path().to_path_buf();
        let open =
            move || -> Result<Box<dyn LogStore>, LogFault> { Ok(Box::new(Bent { disk: open_log(&disk)?, bend })) };
        let running = Running::on(open, tiles.clone(), 1);
        running.log.actor().wait_for_shutdown().await;
        assert_eq!(tiles.paths(), Vec::<String>::new(), "{name}");
        running.end().await;
    }
}

/// A store whose puts fail from one on, which is kept all the same or not, until it is repaired.
struct Failing {
    tiles: MemoryTiles,
    left: AtomicI64,
    persists: bool,
    repaired: AtomicBool,
}

impl TileStore for Failing {
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LogFault> {
        let left = if self.repaired.load(Ordering::SeqCst) { 1 } else { self.left.fetch_sub(1, Ordering::SeqCst) };
        if left > 0 || (left == 0 && self.persists) {
            self.tiles.put(path, bytes)?;
        }
        let reason = "the disk is full".to_owned();
        if left > 0 { Ok(()) } else { Err(LogFault::Failed { doing: "wrote a tile", reason }) }
    }
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LogFault> {
        self.tiles.get(path)
    }
    fn forget_partial(&self, path: &str) -> Result<(), LogFault> {
        self.tiles.forget_partial(path)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publication_that_stops_at_any_step_leaves_no_checkpoint_without_its_tiles() {
    let kit = history(210);
    let leaves = kit.receipts.len() as u64;
    let folder = tempfile::tempdir().unwrap();
    write_ledger(folder.path(), &kit, leaves);
    let first = tempfile::tempdir().unwrap();
    write_ledger(first.path(), &kit, 100);
    // Two bundles, two tiles of level 0, one of level 1, the checkpoint.
    for (persists, step) in [false, true].into_iter().flat_map(|persists| (0..6).map(move |step| (persists, step))) {
        let failing = Failing { tiles: MemoryTiles::default(), left: step.into(), persists, repaired: true.into() };
        let tiles = Arc::new(failing);
        let running = Running::quiet(first.path(), tiles.clone());
        running.log.publish().await.unwrap();
        running.end().await;

        tiles.repaired.store(false, Ordering::SeqCst);
        let running = Running::quiet(folder.path(), tiles.clone());
        let outcome = running.log.publish().await;
        let size = check_published(tiles.as_ref(), &kit).expect("there was one before").size;
        if persists && step == 5 {
            // The checkpoint was written and its answer lost: the next look finds it.
            assert_eq!(size, leaves);
        } else {
            assert_eq!((outcome.unwrap_err().code, size), (Code::StoreFailed, 100), "step {step}");
        }
        let exported = running.log.export(5).await;
        assert!(exported.is_ok() || exported.unwrap_err().code == Code::StoreFailed, "step {step}");
        if step % 2 == 0 {
            // The same actor goes on when the disk does; every other time a new one takes its place.
            tiles.repaired.store(true, Ordering::SeqCst);
            assert_eq!(running.log.publish().await.unwrap().checkpoint.size, leaves, "step {step}");
        }
        running.end().await;
        tiles.repaired.store(true, Ordering::SeqCst);
        let running = Running::quiet(folder.path(), tiles.clone());
        assert_eq!(running.log.publish().await.unwrap().checkpoint.size, leaves, "step {step}");
        assert_eq!(check_published(tiles.as_ref(), &kit).unwrap().size, leaves);
        running.end().await;
    }
}

/// Says when a checkpoint is put.
#[derive(Default)]
struct Watched(MemoryTiles, Notify);

impl TileStore for Watched {
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LogFault> {
        self.0.put(path, bytes)?;
        if path == CHECKPOINT {
            self.1.notify_one();
        }
        Ok(())
    }
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LogFault> {
        self.0.get(path)
    }
    fn forget_partial(&self, path: &str) -> Result<(), LogFault> {
        self.0.forget_partial(path)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_ledger_commits_is_published_without_being_asked_for() {
    let kit = history(12);
    let folder = tempfile::tempdir().unwrap();
    let tiles = Arc::new(Watched::default());
    let running = Running::start(folder.path(), tiles.clone(), 1);
    for (batch, _) in &kit.log {
        let group = batch.open().unwrap().entries;
        let answers = running.ledger.commit(group).await.unwrap();
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
    let all_published = async {
        while read_checkpoint(tiles.as_ref()).is_none_or(|read| read.size < kit.receipts.len() as u64) {
            tiles.1.notified().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), all_published).await.expect("the interval publishes");
    check_published(tiles.as_ref(), &kit).unwrap();
    // An export of the newest receipt needs a checkpoint that covers it, however young it is.
    let newest = kit.receipts.len() as u64 - 1;
    assert!(running.log.export(newest).await.is_ok());
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_that_no_checkpoint_covers_yet_is_published_for_its_export() {
    let kit = history(6);
    let folder = tempfile::tempdir().unwrap();
    let tiles = Arc::new(MemoryTiles::default());
    let running = Running::quiet(folder.path(), tiles.clone());
    assert_eq!(running.log.publish().await.unwrap().checkpoint.size, 0, "an empty log has a checkpoint too");
    for (batch, _) in &kit.log {
        running.ledger.commit(batch.open().unwrap().entries).await.unwrap();
    }
    assert_eq!(running.log.checkpoint().await.unwrap().checkpoint.size, 0);
    assert!(running.log.export(0).await.unwrap().last.is_none(), "the first call was never finished");
    assert_eq!(check_published(tiles.as_ref(), &kit).unwrap().size, kit.receipts.len() as u64);
    running.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_the_networks_checkpoint_key_publishes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tiles = Arc::new(MemoryTiles::default());
    let running = Running::quiet(folder.path(), tiles.clone());
    let settings = LogSettings {
        genesis: Arc::new(Kit::default().genesis),
        ledger: running.ledger.clone(),
        signer: Arc::new(StatementSigner::from_bytes(&[8; 32])),
        tiles: Arc::new(MemoryTiles::default()),
        every_ms: 1,
    };
    let stranger = LogHandle::new(LogActor::spawn(settings));
    stranger.actor().wait_for_shutdown().await;
    assert_eq!(stranger.publish().await.unwrap_err().code, Code::NodeBusy);
    running.end().await;
}
