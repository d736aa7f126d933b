//! Small state on redb: ordered tables of bytes whose writes become durable together.
//!
//! One thread writes. While it waits for the disk, further commits gather, and the next transaction carries all of them;
//! when nobody else writes, a commit goes to the disk at once.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use agora_economy::ports::log::READ_ROWS_MAX;
use agora_economy::ports::log::{LogFault, Row};
use agora_economy::ports::state::{COMMIT_BYTES_MAX, Done, StateStore, Table, Write, check_commit};
use redb::{Database, ReadableDatabase as _, StorageBackend, TableDefinition};

use crate::frame::{create_whole, failed, guarded, open, seal};

type Bytes = &'static [u8];
type Definition = TableDefinition<'static, Bytes, Bytes>;

/// Commits that wait for the writer; the next caller waits for a place, or is turned away where it must not wait.
const QUEUE: usize = 256;
const ALL: [Table; 15] = [
    Table::Seller,
    Table::Buyer,
    Table::AgentState,
    Table::AgentCalls,
    Table::AgentEvents,
    Table::Agents,
    Table::Catalog,
    Table::AgentLogs,
    Table::Openings,
    Table::Sellers,
    Table::Till,
    Table::ApiKeys,
    Table::Spent,
    Table::Attribution,
    Table::Datanets,
];

fn table(table: Table) -> (Definition, &'static str) {
    let name = match table {
        Table::Seller => "seller",
        Table::Buyer => "buyer",
        Table::AgentState => "agent-state",
        Table::AgentCalls => "agent-calls",
        Table::AgentEvents => "agent-events",
        Table::Agents => "agents",
        Table::Catalog => "catalog",
        Table::AgentLogs => "agent-logs",
        Table::Openings => "openings",
        Table::Sellers => "sellers",
        Table::Till => "till",
        Table::ApiKeys => "api-keys",
        Table::Spent => "spent",
        Table::Attribution => "attribution",
        Table::Datanets => "datanets",
    };
    (TableDefinition::new(name), name)
}

/// The small state of one node in one redb file.
#[derive(Debug)]
pub struct RedbState {
    database: Arc<Database>,
    /// `None` only while it is dropped: the writer ends when its queue closes.
    queue: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
}

/// One caller's commit, and who is told.
struct Job {
    writes: Vec<Write>,
    done: Done,
}

impl RedbState {
    /// Opens or creates the file at `path`.
    ///
    /// # Errors
    /// `Locked`, `Damaged`, `Failed`.
    pub fn open(path: &Path) -> Result<Self, LogFault> {
        let doing = "opened the state";
        let start = |path: &Path| Self::start(Database::create(path).map_err(failed(doing))?);
        guarded(doing, || {
            create_whole(path, |fresh| start(fresh).map(drop))?;
            start(path)
        })
    }

    /// The same on any storage.
    ///
    /// # Errors
    /// As [`RedbState::open`].
    pub fn open_with(backend: impl StorageBackend) -> Result<Self, LogFault> {
        let doing = "opened the state";
        guarded(doing, || Self::start(Database::builder().create_with_backend(backend).map_err(failed(doing))?))
    }

    fn start(mut database: Database) -> Result<Self, LogFault> {
        let doing = "checked the state";
        database.check_integrity().map_err(failed(doing))?;
        let write = database.begin_write().map_err(failed(doing))?;
        for name in ALL {
            write.open_table(table(name).0).map_err(failed(doing))?;
        }
        write.commit().map_err(failed(doing))?;
        let database = Arc::new(database);
        let (queue, jobs) = sync_channel(QUEUE);
        let writer = {
            let database = Arc::clone(&database);
            thread::Builder::new().name("state-writer".to_owned()).spawn(move || write_all(&database, &jobs))
        };
        let writer = writer.map_err(|error| LogFault::Failed { doing, reason: error.to_string() })?;
        Ok(Self { database, queue: Some(queue), writer: Some(writer) })
    }

    fn queue(&self) -> &SyncSender<Job> {
        self.queue.as_ref().expect("the queue lives as long as the state")
    }
}

fn gone() -> LogFault {
    LogFault::Failed { doing: "wrote state", reason: "its writer stopped; open it again".to_owned() }
}

impl Drop for RedbState {
    /// Waits for the writer, so that the file is free once the value is gone.
    fn drop(&mut self) {
        self.queue = None;
        // Where an answer ends the last caller that held this, the writer itself closes it, and cannot wait for itself.
        if let Some(writer) = self.writer.take().filter(|writer| writer.thread().id() != thread::current().id()) {
            // A writer that panicked has nothing left to close.
            let _ = writer.join();
        }
    }
}

/// Serves the queue until it closes. After a failed commit nobody knows what is on disk: everything later fails too.
fn write_all(database: &Database, jobs: &Receiver<Job>) {
    let mut broken = false;
    while let Ok(first) = jobs.recv() {
        let mut group = vec![first];
        let mut bytes = size(&group[0]);
        while bytes < COMMIT_BYTES_MAX {
            let Ok(next) = jobs.try_recv() else { break };
            bytes += size(&next);
            group.push(next);
        }
        let result = if broken {
            let reason = "an earlier write failed; open the state again".to_owned();
            Err(LogFault::Failed { doing: "wrote state", reason })
        } else {
            guarded("state was written", || write_group(database, &group))
        };
        broken |= result.is_err();
        for job in group {
            (job.done)(result.clone());
        }
    }
}

fn size(job: &Job) -> usize {
    job.writes.iter().map(|write| write.key.len() + write.value.as_ref().map_or(0, Vec::len)).sum()
}

/// All writes of a group in one durable transaction, in the order of their commits.
fn write_group(database: &Database, group: &[Job]) -> Result<(), LogFault> {
    let doing = "wrote state";
    // Without quick repair, which flushes the disk twice: the whole file is checked when it is opened in any case.
    let transaction = database.begin_write().map_err(failed(doing))?;
    for write in group.iter().flat_map(|job| &job.writes) {
        let (definition, place) = table(write.table);
        let mut rows = transaction.open_table(definition).map_err(failed(doing))?;
        match &write.value {
            Some(value) => {
                let sealed = seal(place, &write.key, value);
                rows.insert(write.key.as_slice(), sealed.as_slice()).map_err(failed(doing))?;
            }
            None => {
                rows.remove(write.key.as_slice()).map_err(failed(doing))?;
            }
        }
    }
    transaction.commit().map_err(failed(doing))
}

impl StateStore for RedbState {
    fn commit(&self, writes: &[Write]) -> Result<(), LogFault> {
        check_commit(writes)?;
        if writes.is_empty() {
            return Ok(());
        }
        let (answer, answered) = sync_channel(1);
        // Whoever stopped waiting does not need the answer.
        let done: Done = Box::new(move |result| drop(answer.send(result)));
        self.queue().send(Job { writes: writes.to_vec(), done }).map_err(|_| gone())?;
        answered.recv().map_err(|_| gone())?
    }

    fn begin(&self, writes: Vec<Write>, done: Done) -> Result<(), (Vec<Write>, Done)> {
        match check_commit(&writes) {
            Ok(()) if !writes.is_empty() => {}
            known => {
                done(known);
                return Ok(());
            }
        }
        match self.queue().try_send(Job { writes, done }) {
            Ok(()) => {}
            Err(TrySendError::Full(job)) => return Err((job.writes, job.done)),
            Err(TrySendError::Disconnected(job)) => (job.done)(Err(gone())),
        }
        Ok(())
    }

    fn get(&self, name: Table, key: &[u8]) -> Result<Option<Vec<u8>>, LogFault> {
        let doing = "read state";
        guarded(doing, || {
            let (definition, place) = table(name);
            let read = self.database.begin_read().map_err(failed(doing))?;
            let rows = read.open_table(definition).map_err(failed(doing))?;
            let sealed = rows.get(key).map_err(failed(doing))?;
            sealed.map(|sealed| open(place, key, sealed.value())).transpose()
        })
    }

    fn list(&self, name: Table, prefix: &[u8], limit: usize) -> Result<Vec<Row>, LogFault> {
        let doing = "listed state";
        guarded(doing, || {
            let (definition, place) = table(name);
            let read = self.database.begin_read().map_err(failed(doing))?;
            let rows = read.open_table(definition).map_err(failed(doing))?;
            let mut found = Vec::new();
            for row in rows.range(prefix..).map_err(failed(doing))?.take(limit.min(READ_ROWS_MAX)) {
                let (key, sealed) = row.map_err(failed(doing))?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                found.push((key.value().to_vec(), open(place, key.value(), sealed.value())?));
            }
            Ok(found)
        })
    }
}
