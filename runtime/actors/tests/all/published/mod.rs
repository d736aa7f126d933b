//! A ledger on disk, its receipt log, and a reader who trusts nothing but the genesis file.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agora_actors::clock::Clock;
use agora_actors::ledger::{LedgerActor, LedgerHandle, LedgerSettings};
use agora_actors::log::{LogActor, LogHandle, LogSettings};
use agora_economy::ports::log::{Head, Index, LogFault, LogStore, Record, Row, Snapshot};
use agora_economy::ports::tiles::{CHECKPOINT, TileStore};
use agora_economy::testkit::{HOST, Kit};
use agora_receipts::{Checkpoint, Note, checkpoint};
use agora_store::{FolderTiles, RedbLog};
use agora_types::batch::Batch;
use agora_types::key::StatementSigner;
use agora_types::merkle::tile::grown;
use agora_types::merkle::{Tree, leaf_hash, root};
use agora_types::{Canonical as _, Hash, Timestamp};
use kameo::actor::Spawn as _;

/// A clock that moves by a microsecond each time it is read.
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.0.fetch_add(1_000, Ordering::Relaxed))
    }
}

/// The operator's key of the kit's genesis file.
pub(crate) fn signer() -> StatementSigner {
    StatementSigner::from_bytes(&[9; 32])
}

/// So many calls, every third of them finished: more leaves than one tile holds.
pub(crate) fn history(calls: u8) -> Kit {
    let mut kit = Kit::ready();
    for call in 1..=calls {
        let receipt = kit.settle(call, 10, 1_000);
        if call % 3 == 0 {
            let last = kit.final_receipt(&receipt);
            let command = kit.finalize_command(&last);
            kit.submit(HOST, command).unwrap();
        }
    }
    kit
}

/// Opens the ledger's file. An actor that has ended lets go of it a moment later.
pub(crate) fn open_log(folder: &Path) -> Result<RedbLog, LogFault> {
    let genesis = Kit::default().genesis.hash();
    for _ in 0..10_000 {
        match RedbLog::open(&folder.join("ledger.redb"), &genesis) {
            // Nobody tells when: the lock is the operating system's.
            Err(LogFault::Locked) => std::thread::sleep(Duration::from_millis(1)),
            opened => return opened,
        }
    }
    Err(LogFault::Locked)
}

/// Brings the ledger on disk to the first batches of the kit, so that it has `leaves` receipts.
pub(crate) fn write_ledger(folder: &Path, kit: &Kit, leaves: u64) {
    let mut log = open_log(folder).unwrap();
    let next = log.head().unwrap().map_or(0, |head| head.seq + 1);
    for (batch, records) in &kit.log {
        let header = &batch.header;
        if header.seq >= next && header.receipts_size <= leaves {
            log.append(header.seq, batch, records).unwrap();
        }
    }
}

/// A ledger and its published log.
pub(crate) struct Running {
    pub(crate) ledger: LedgerHandle,
    pub(crate) log: LogHandle,
}

impl Running {
    pub(crate) fn start(folder: &Path, tiles: Arc<dyn TileStore>, every_ms: u64) -> Self {
        let folder = folder.to_path_buf();
        Self::on(move || Ok(Box::new(open_log(&folder)?)), tiles, every_ms)
    }

    /// On any ledger.
    pub(crate) fn on(
        open: impl Fn() -> Result<Box<dyn LogStore>, LogFault> + Send + Sync + 'static,
        tiles: Arc<dyn TileStore>,
        every_ms: u64,
    ) -> Self {
        let kit = Kit::default();
        let settings = LedgerSettings {
            genesis: Arc::new(kit.genesis.clone()),
            open: Arc::new(open),
            clock: Arc::new(Ticking(AtomicU64::new(kit.now.plus_secs(30).as_nanos()))),
            snapshot_every: 100,
        };
        let ledger = LedgerHandle::new(LedgerActor::spawn_in_thread(settings), &kit.genesis);
        let settings = LogSettings {
            genesis: Arc::new(kit.genesis),
            ledger: ledger.clone(),
            signer: Arc::new(signer()),
            tiles,
            every_ms,
        };
        Self { ledger, log: LogHandle::new(LogActor::spawn(settings)) }
    }

    /// Publishes only when asked, and once at the start.
    pub(crate) fn quiet(folder: &Path, tiles: Arc<dyn TileStore>) -> Self {
        Self::start(folder, tiles, 3_600_000)
    }

    pub(crate) async fn end(self) {
        // A log that stopped with a fault is gone already.
        let _ = self.log.actor().stop_gracefully().await;
        self.log.actor().wait_for_shutdown().await;
        self.ledger.actor().stop_gracefully().await.unwrap();
        self.ledger.actor().wait_for_shutdown().await;
    }
}

pub(crate) fn folder_tiles(folder: &Path) -> Arc<FolderTiles> {
    Arc::new(FolderTiles::open(&folder.join("tiles")).unwrap())
}

/// The checkpoint that the world reads, verified as a reader does who knows the genesis file only.
pub(crate) fn read_checkpoint(tiles: &dyn TileStore) -> Option<Checkpoint> {
    let genesis = Kit::default().genesis;
    let text = String::from_utf8(tiles.get(CHECKPOINT).unwrap()?).unwrap();
    let key = checkpoint::verifier_key(genesis.chain_id, genesis.checkpoint_key);
    Some(Checkpoint::verify(&Note::parse(&text).unwrap(), &[key]).unwrap())
}

/// A file, or the beginning of its full form where the partial one is gone.
fn read_tile(tiles: &dyn TileStore, path: &str) -> Vec<u8> {
    let full = path.split_once(".p/").map_or(path, |(full, _)| full);
    tiles.get(path).unwrap().or_else(|| tiles.get(full).unwrap()).unwrap_or_else(|| panic!("{path} is missing"))
}

/// Reads everything that the newest checkpoint promises, and compares it with the ledger's receipts.
pub(crate) fn check_published(tiles: &dyn TileStore, kit: &Kit) -> Option<Checkpoint> {
    let checkpoint = read_checkpoint(tiles)?;
    let (mut leaves, mut entries) = (Vec::new(), Vec::new());
    let tree = Tree::from_leaves(kit.receipts.iter().map(|leaf| leaf_hash(leaf)));
    for tile in grown(0, checkpoint.size) {
        let width = usize::from(tile.width());
        let hashes: Vec<u8> = read_tile(tiles, &tile.path())[..width * 32].to_vec();
        let hashes: Vec<Hash> = hashes.chunks(32).map(|hash| Hash::from_slice(hash).unwrap()).collect();
        assert_eq!(tree.tile(&tile).unwrap(), hashes, "{}", tile.path());
        if tile.level() == 0 {
            let bundle = read_tile(tiles, &tile.entries_path());
            let mut rest = bundle.as_slice();
            for _ in 0..width {
                let (length, more) = rest.split_first_chunk::<2>().unwrap();
                let (entry, more) = more.split_at(usize::from(u16::from_be_bytes(*length)));
                entries.push(entry.to_vec());
                rest = more;
            }
            leaves.extend(hashes);
        }
    }
    assert_eq!(root(&leaves), checkpoint.root, "the tiles rebuild the root");
    assert_eq!(entries, kit.receipts[..entries.len()]);
    assert_eq!(entries.len() as u64, checkpoint.size);
    Some(checkpoint)
}

/// A ledger's file that gives other receipts than the ones it was given.
pub(crate) struct Bent {
    pub(crate) disk: RedbLog,
    pub(crate) bend: fn(&mut Vec<Row>),
}

impl LogStore for Bent {
    fn append(&mut self, expected_seq: u64, batch: &Batch, records: &[Record]) -> Result<(), LogFault> {
        self.disk.append(expected_seq, batch, records)
    }
    fn head(&self) -> Result<Option<Head>, LogFault> {
        self.disk.head()
    }
    fn read_from(&self, seq: u64, limit: usize) -> Result<Vec<Batch>, LogFault> {
        self.disk.read_from(seq, limit)
    }
    fn record(&self, index: Index, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault> {
        self.disk.record(index, key)
    }
    fn records_from(&self, index: Index, from: &[u8], limit: usize) -> Result<Vec<Row>, LogFault> {
        let mut rows = self.disk.records_from(index, from, limit)?;
        (self.bend)(&mut rows);
        Ok(rows)
    }
    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), LogFault> {
        self.disk.save_snapshot(snapshot)
    }
    fn newest_snapshot(&self) -> Result<Option<Snapshot>, LogFault> {
        self.disk.newest_snapshot()
    }
}
