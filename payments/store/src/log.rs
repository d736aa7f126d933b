//! The ledger's log on redb: one value per batch, its index records and the batch in one durable transaction.

use std::path::Path;

use agora_economy::ports::log::{
    Head, Index, LogFault, LogStore, READ_BYTES_MAX, READ_ROWS_MAX, Record, Row, SNAPSHOT_MAX, Snapshot, check_append,
};
use agora_types::batch::Batch;
use agora_types::{Canonical as _, Hash};
use redb::{
    Database, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _, StorageBackend, TableDefinition,
};

use crate::frame::{create_whole, damage, failed, guarded, open, seal};
use crate::witness::Witness;

type Bytes = &'static [u8];

const BATCHES: TableDefinition<'static, u64, Bytes> = TableDefinition::new("batches");
const CALLS: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("calls");
const RECEIPTS: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("receipts");
const PAYMENTS: TableDefinition<'static, Bytes, Bytes> = TableDefinition::new("payments");
const SNAPSHOTS: TableDefinition<'static, (u64, u32), Bytes> = TableDefinition::new("snapshots");
const META: TableDefinition<'static, &'static str, Bytes> = TableDefinition::new("meta");

/// Bytes of a snapshot in one value.
const CHUNK: usize = 256 * 1024;
const SNAPSHOTS_KEPT: usize = 2;

/// The log of one network in one redb file.
#[derive(Debug)]
pub struct RedbLog {
    database: Database,
    /// What batch 0 chains to.
    genesis: Hash,
    head: Option<Head>,
    /// Beside the file; none on other storage.
    witness: Option<Witness>,
    /// After a failed write nobody knows what is on disk.
    broken: bool,
}

fn index_table(index: Index) -> (TableDefinition<'static, Bytes, Bytes>, &'static str) {
    match index {
        Index::Call => (CALLS, "calls"),
        Index::Receipt => (RECEIPTS, "receipts"),
        Index::Payment => (PAYMENTS, "payments"),
    }
}

fn bound(what: &'static str, size: usize, limit: usize) -> Result<(), LogFault> {
    if size > limit { Err(LogFault::TooLarge { what, limit }) } else { Ok(()) }
}

impl RedbLog {
    /// Opens or creates the file at `path` for the network of `genesis`, and its witness beside it (`.head`).
    ///
    /// # Errors
    /// `Locked` when another process has it, `Damaged` for bytes that are not what was written, or of another network.
    pub fn open(path: &Path, genesis: &Hash) -> Result<Self, LogFault> {
        let doing = "opened the log";
        let start = |path: &Path| Self::start(Database::create(path).map_err(failed(doing))?, genesis);
        guarded(doing, || {
            create_whole(path, |fresh| start(fresh).map(drop))?;
            let mut log = start(path)?;
            let (witness, seen) = Witness::open(&path.with_extension("head"))?;
            if let Some(seen) = seen {
                log.reaches(&seen)?;
            }
            log.witness = Some(witness);
            Ok(log)
        })
    }

    /// Checks that the log still holds a batch that was once its durable head.
    ///
    /// # Errors
    /// `Damaged` when it ends before, or has another batch there.
    pub fn reaches(&self, seen: &Head) -> Result<(), LogFault> {
        let batch = self.read_from(seen.seq, 1)?.pop();
        if batch.is_some_and(|batch| batch.header.hash() == seen.hash) {
            return Ok(());
        }
        let what = format!("the log once ended with batch {}, which it no longer has", seen.seq);
        let todo = "restore the newest copy; only if an older one is meant, remove the .head file beside it";
        Err(LogFault::Damaged { what: format!("{what}; {todo}") })
    }

    /// The same on any storage; crash tests bring a disk that loses writes.
    ///
    /// # Errors
    /// As [`RedbLog::open`].
    pub fn open_with(backend: impl StorageBackend, genesis: &Hash) -> Result<Self, LogFault> {
        let doing = "opened the log";
        guarded(doing, || {
            Self::start(Database::builder().create_with_backend(backend).map_err(failed(doing))?, genesis)
        })
    }

    fn start(mut database: Database, genesis: &Hash) -> Result<Self, LogFault> {
        let doing = "checked the log";
        database.check_integrity().map_err(failed(doing))?;
        let write = database.begin_write().map_err(failed(doing))?;
        {
            write.open_table(BATCHES).map_err(failed(doing))?;
            write.open_table(CALLS).map_err(failed(doing))?;
            write.open_table(RECEIPTS).map_err(failed(doing))?;
            write.open_table(PAYMENTS).map_err(failed(doing))?;
            write.open_table(SNAPSHOTS).map_err(failed(doing))?;
            let mut meta = write.open_table(META).map_err(failed(doing))?;
            let known = meta.get("genesis").map_err(failed(doing))?.map(|value| value.value().to_vec());
            match known {
                Some(sealed) if open("meta", b"genesis", &sealed)? != genesis.as_bytes() => {
                    return Err(LogFault::Damaged {
                        what: "the log belongs to a network with another genesis file; open the folder with its own"
                            .to_owned(),
                    });
                }
                Some(_) => {}
                None => {
                    let sealed = seal("meta", b"genesis", genesis.as_bytes());
                    meta.insert("genesis", sealed.as_slice()).map_err(failed(doing))?;
                }
            }
        }
        write.commit().map_err(failed(doing))?;
        let mut log = Self { database, genesis: *genesis, head: None, witness: None, broken: false };
        log.head = log.find_head()?;
        Ok(log)
    }

    fn find_head(&self) -> Result<Option<Head>, LogFault> {
        let doing = "read the log's head";
        let read = self.database.begin_read().map_err(failed(doing))?;
        let batches = read.open_table(BATCHES).map_err(failed(doing))?;
        let count = batches.len().map_err(failed(doing))?;
        let Some((key, sealed)) = batches.last().map_err(failed(doing))? else {
            return if count == 0 { Ok(None) } else { Err(damage("the log has no last batch")) };
        };
        let seq = key.value();
        if seq.checked_add(1) != Some(count) {
            return Err(damage("batches are missing from the log"));
        }
        let batch = read_batch(seq, sealed.value())?;
        Ok(Some(Head { seq, hash: batch.header.hash() }))
    }

    /// Reads every batch and record and checks checksums and chain; `None` in an empty log. For `ledger audit`.
    ///
    /// # Errors
    /// `Damaged` for the first that does not fit.
    pub fn verify_all(&self) -> Result<Option<Head>, LogFault> {
        let mut prev = self.genesis;
        let mut at = 0;
        loop {
            let batches = self.read_from(at, 256)?;
            if batches.is_empty() {
                break;
            }
            for batch in batches {
                if batch.header.seq != at || batch.header.prev != prev {
                    return Err(damage(&format!("batch {at} does not follow the one before")));
                }
                batch.open().map_err(|error| damage(&error.to_string()))?;
                prev = batch.header.hash();
                at += 1;
            }
        }
        for index in Index::ALL {
            let mut from = Vec::new();
            loop {
                let rows = self.records_from(index, &from, 1_024)?;
                let Some((last, _)) = rows.last() else { break };
                from = [last.as_slice(), &[0]].concat();
            }
        }
        Ok(self.head)
    }

    fn usable(&self) -> Result<(), LogFault> {
        if self.broken {
            let reason = "an earlier write failed; open the log again".to_owned();
            return Err(LogFault::Failed { doing: "used the log", reason });
        }
        Ok(())
    }

    /// Runs a write; when it fails, nothing may be written through this handle any more.
    fn writing(&mut self, work: impl FnOnce(&Database) -> Result<(), LogFault>) -> Result<(), LogFault> {
        self.usable()?;
        let result = guarded("it was written", || work(&self.database));
        self.broken = result.is_err();
        result
    }
}

fn read_batch(seq: u64, sealed: &[u8]) -> Result<Batch, LogFault> {
    let bytes = open("batches", &seq.to_be_bytes(), sealed)?;
    let batch = Batch::from_bytes(&bytes).map_err(|error| damage(&error.to_string()))?;
    if batch.header.seq == seq { Ok(batch) } else { Err(damage("a batch stands at another's place")) }
}

impl LogStore for RedbLog {
    fn append(&mut self, expected_seq: u64, batch: &Batch, records: &[Record]) -> Result<(), LogFault> {
        self.usable()?;
        check_append(&self.genesis, self.head.as_ref(), expected_seq, batch, records)?;
        let bytes = batch.to_bytes();
        let doing = "appended a batch";
        self.writing(|database| {
            let mut write = database.begin_write().map_err(failed(doing))?;
            // Two-phase commit with the allocator's state saved: a crash is repaired at once and by our rules.
            write.set_quick_repair(true);
            {
                let mut batches = write.open_table(BATCHES).map_err(failed(doing))?;
                let sealed = seal("batches", &expected_seq.to_be_bytes(), &bytes);
                batches.insert(expected_seq, sealed.as_slice()).map_err(failed(doing))?;
                for record in records {
                    let (table, place) = index_table(record.index);
                    let mut table = write.open_table(table).map_err(failed(doing))?;
                    let sealed = seal(place, &record.key, &record.value);
                    table.insert(record.key.as_slice(), sealed.as_slice()).map_err(failed(doing))?;
                }
            }
            write.commit().map_err(failed(doing))
        })?;
        let head = Head { seq: expected_seq, hash: batch.header.hash() };
        if let Some(witness) = &mut self.witness {
            witness.remember(&head);
        }
        self.head = Some(head);
        Ok(())
    }

    fn head(&self) -> Result<Option<Head>, LogFault> {
        self.usable()?;
        Ok(self.head)
    }

    fn read_from(&self, seq: u64, limit: usize) -> Result<Vec<Batch>, LogFault> {
        let doing = "read batches";
        guarded(doing, || {
            let read = self.database.begin_read().map_err(failed(doing))?;
            let batches = read.open_table(BATCHES).map_err(failed(doing))?;
            let mut found: Vec<Batch> = Vec::new();
            let mut bytes = 0;
            for row in batches.range(seq..).map_err(failed(doing))?.take(limit) {
                let (key, sealed) = row.map_err(failed(doing))?;
                let at = found.last().map_or(Some(seq), |batch| batch.header.seq.checked_add(1));
                if at != Some(key.value()) {
                    return Err(damage(&format!("the batch before batch {} is missing", key.value())));
                }
                bytes += sealed.value().len();
                found.push(read_batch(key.value(), sealed.value())?);
                if bytes >= READ_BYTES_MAX {
                    break;
                }
            }
            Ok(found)
        })
    }

    fn record(&self, index: Index, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault> {
        let doing = "read a record";
        guarded(doing, || {
            let (table, place) = index_table(index);
            let read = self.database.begin_read().map_err(failed(doing))?;
            let table = read.open_table(table).map_err(failed(doing))?;
            let sealed = table.get(key).map_err(failed(doing))?;
            sealed.map(|sealed| open(place, key, sealed.value())).transpose()
        })
    }

    fn records_from(&self, index: Index, from: &[u8], limit: usize) -> Result<Vec<Row>, LogFault> {
        let doing = "read records";
        guarded(doing, || {
            let (table, place) = index_table(index);
            let read = self.database.begin_read().map_err(failed(doing))?;
            let table = read.open_table(table).map_err(failed(doing))?;
            let mut found = Vec::new();
            for row in table.range(from..).map_err(failed(doing))?.take(limit.min(READ_ROWS_MAX)) {
                let (key, sealed) = row.map_err(failed(doing))?;
                found.push((key.value().to_vec(), open(place, key.value(), sealed.value())?));
            }
            Ok(found)
        })
    }

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), LogFault> {
        bound("a snapshot", snapshot.bytes.len(), SNAPSHOT_MAX)?;
        let doing = "saved a snapshot";
        self.writing(|database| {
            let mut write = database.begin_write().map_err(failed(doing))?;
            write.set_quick_repair(true);
            {
                let mut table = write.open_table(SNAPSHOTS).map_err(failed(doing))?;
                let mut old: Vec<u64> = Vec::new();
                for row in table.iter().map_err(failed(doing))? {
                    let (seq, _) = row.map_err(failed(doing))?.0.value();
                    if old.last() != Some(&seq) && seq != snapshot.next_seq {
                        old.push(seq);
                    }
                }
                let surplus = (old.len() + 1).saturating_sub(SNAPSHOTS_KEPT);
                let gone: Vec<u64> = old.into_iter().take(surplus).chain([snapshot.next_seq]).collect();
                for seq in gone {
                    table.retain_in((seq, 0)..=(seq, u32::MAX), |_, _| false).map_err(failed(doing))?;
                }
                // Chunk 0 names length and hash of the whole; the content follows.
                let mut title = (snapshot.bytes.len() as u64).to_be_bytes().to_vec();
                title.extend_from_slice(snapshot.hash.as_bytes());
                let chunks = std::iter::once(title.as_slice()).chain(snapshot.bytes.chunks(CHUNK));
                for (number, chunk) in (0u32..).zip(chunks) {
                    let sealed = seal("snapshots", &chunk_key(snapshot.next_seq, number), chunk);
                    table.insert((snapshot.next_seq, number), sealed.as_slice()).map_err(failed(doing))?;
                }
            }
            write.commit().map_err(failed(doing))
        })
    }

    fn newest_snapshot(&self) -> Result<Option<Snapshot>, LogFault> {
        let doing = "read a snapshot";
        let mut below = u64::MAX;
        loop {
            let found = guarded(doing, || {
                let read = self.database.begin_read().map_err(failed(doing))?;
                let table = read.open_table(SNAPSHOTS).map_err(failed(doing))?;
                let mut rows = table.range(..(below, 0)).map_err(failed(doing))?;
                let Some(row) = rows.next_back() else { return Ok(None) };
                let (seq, _) = row.map_err(failed(doing))?.0.value();
                let mut chunks = Vec::new();
                for row in table.range((seq, 0)..=(seq, u32::MAX)).map_err(failed(doing))? {
                    let (key, sealed) = row.map_err(failed(doing))?;
                    chunks.push((key.value().1, sealed.value().to_vec()));
                }
                Ok(Some((seq, chunks)))
            })?;
            let Some((seq, chunks)) = found else { return Ok(None) };
            if let Some(snapshot) = whole(seq, &chunks) {
                return Ok(Some(snapshot));
            }
            below = seq;
        }
    }
}

fn chunk_key(seq: u64, number: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&seq.to_be_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    key
}

/// The snapshot, when all of its chunks are there and whole.
fn whole(seq: u64, chunks: &[(u32, Vec<u8>)]) -> Option<Snapshot> {
    let mut parts = (0u32..).zip(chunks).map(|(at, (number, sealed))| {
        if at != *number {
            return None;
        }
        open("snapshots", &chunk_key(seq, at), sealed).ok()
    });
    let title = parts.next()??;
    let (length, hash) = title.split_at_checked(8)?;
    let (length, hash) = (u64::from_be_bytes(length.try_into().ok()?), Hash::from_slice(hash)?);
    let mut bytes = Vec::new();
    for part in parts {
        bytes.extend_from_slice(&part?);
    }
    let good = bytes.len() as u64 == length && Hash::sha256(&bytes) == hash;
    good.then_some(Snapshot { next_seq: seq, hash, bytes })
}
