//! The ports in memory: what simulation and tests put where a node has its disk.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agora_types::batch::Batch;
use agora_types::{Canonical as _, Hash};

use super::log::{
    Head, Index, LogFault, LogStore, READ_BYTES_MAX, READ_ROWS_MAX, Record, Row, SNAPSHOT_MAX, Snapshot, check_append,
};
use super::state::{StateStore, Table, Write, check_commit};
use super::tiles::{TileStore, check_path, check_put};

/// A log that lives as long as its value.
#[derive(Debug, Clone)]
pub struct MemoryLog {
    genesis: Hash,
    batches: Vec<Batch>,
    head: Option<Head>,
    records: BTreeMap<(Index, Vec<u8>), Vec<u8>>,
    snapshots: BTreeMap<u64, Snapshot>,
}

impl MemoryLog {
    /// An empty log of the network with this genesis hash.
    pub fn new(genesis: Hash) -> Self {
        Self { genesis, batches: Vec::new(), head: None, records: BTreeMap::new(), snapshots: BTreeMap::new() }
    }
}

impl LogStore for MemoryLog {
    fn append(&mut self, expected_seq: u64, batch: &Batch, records: &[Record]) -> Result<(), LogFault> {
        check_append(&self.genesis, self.head.as_ref(), expected_seq, batch, records)?;
        self.batches.push(batch.clone());
        for record in records {
            self.records.insert((record.index, record.key.clone()), record.value.clone());
        }
        self.head = Some(Head { seq: expected_seq, hash: batch.header.hash() });
        Ok(())
    }

    fn head(&self) -> Result<Option<Head>, LogFault> {
        Ok(self.head)
    }

    fn read_from(&self, seq: u64, limit: usize) -> Result<Vec<Batch>, LogFault> {
        let mut bytes = 0;
        let from = usize::try_from(seq).unwrap_or(usize::MAX);
        let rest = self.batches.iter().skip(from).take(limit);
        let bounded = rest.take_while(|batch| {
            let more = bytes < READ_BYTES_MAX;
            bytes += batch.body.len();
            more
        });
        Ok(bounded.cloned().collect())
    }

    fn record(&self, index: Index, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault> {
        Ok(self.records.get(&(index, key.to_vec())).cloned())
    }

    fn records_from(&self, index: Index, from: &[u8], limit: usize) -> Result<Vec<Row>, LogFault> {
        let rows = self.records.range((index, from.to_vec())..).take_while(|((of, _), _)| *of == index);
        Ok(rows.take(limit.min(READ_ROWS_MAX)).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn save_snapshot(&mut self, snapshot: &Snapshot) -> Result<(), LogFault> {
        if snapshot.bytes.len() > SNAPSHOT_MAX {
            return Err(LogFault::TooLarge { what: "a snapshot", limit: SNAPSHOT_MAX });
        }
        self.snapshots.insert(snapshot.next_seq, snapshot.clone());
        while self.snapshots.len() > 2 {
            self.snapshots.pop_first();
        }
        Ok(())
    }

    fn newest_snapshot(&self) -> Result<Option<Snapshot>, LogFault> {
        Ok(self.snapshots.values().rev().find(|snapshot| Hash::sha256(&snapshot.bytes) == snapshot.hash).cloned())
    }
}

type Tables = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

/// State that lives as long as its value.
#[derive(Debug, Default)]
pub struct MemoryState {
    rows: Mutex<Tables>,
}

impl MemoryState {
    fn rows(&self) -> MutexGuard<'_, Tables> {
        // A map is whole after every step, also when another thread panicked between two of them.
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateStore for MemoryState {
    fn commit(&self, writes: &[Write]) -> Result<(), LogFault> {
        check_commit(writes)?;
        let mut rows = self.rows();
        for write in writes {
            let place = (write.table, write.key.clone());
            match &write.value {
                Some(value) => rows.insert(place, value.clone()),
                None => rows.remove(&place),
            };
        }
        Ok(())
    }

    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault> {
        Ok(self.rows().get(&(table, key.to_vec())).cloned())
    }

    fn list(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Row>, LogFault> {
        let rows = self.rows();
        let begun = rows.range((table, prefix.to_vec())..);
        let inside = begun.take_while(|((of, key), _)| *of == table && key.starts_with(prefix));
        Ok(inside.take(limit.min(READ_ROWS_MAX)).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }
}

/// Published files that live as long as their value.
#[derive(Debug, Default)]
pub struct MemoryTiles {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl MemoryTiles {
    fn files(&self) -> MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The paths of all files, in order.
    pub fn paths(&self) -> Vec<String> {
        self.files().keys().cloned().collect()
    }
}

impl TileStore for MemoryTiles {
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LogFault> {
        check_put(path, bytes)?;
        self.files().insert(path.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LogFault> {
        check_path(path)?;
        Ok(self.files().get(path).cloned())
    }

    fn forget_partial(&self, path: &str) -> Result<(), LogFault> {
        check_path(path)?;
        let folder = format!("{path}.p/");
        self.files().retain(|path, _| !path.starts_with(&folder));
        Ok(())
    }
}
