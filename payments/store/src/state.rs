//! Small state on redb: ordered tables of bytes whose writes become durable together.

use std::path::Path;

use agora_economy::ports::log::{LogFault, Row};
use agora_economy::ports::state::{StateStore, Table, Write};
use redb::{Database, ReadableDatabase as _, StorageBackend, TableDefinition};

use crate::frame::{create_whole, failed, guarded, open, seal};

type Bytes = &'static [u8];
type Definition = TableDefinition<'static, Bytes, Bytes>;

const KEY_MAX: usize = 512;
const VALUE_MAX: usize = 1 << 20;
const ALL: [Table; 7] = [
    Table::Seller,
    Table::Buyer,
    Table::AgentState,
    Table::AgentCalls,
    Table::AgentEvents,
    Table::Agents,
    Table::Catalog,
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
    };
    (TableDefinition::new(name), name)
}

/// The small state of one node in one redb file.
#[derive(Debug)]
pub struct RedbState {
    database: Database,
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
        Ok(Self { database })
    }
}

impl StateStore for RedbState {
    fn commit(&self, writes: &[Write]) -> Result<(), LogFault> {
        for write in writes {
            if write.key.len() > KEY_MAX {
                return Err(LogFault::TooLarge { what: "a key", limit: KEY_MAX });
            }
            if write.value.as_ref().is_some_and(|value| value.len() > VALUE_MAX) {
                return Err(LogFault::TooLarge { what: "a value", limit: VALUE_MAX });
            }
        }
        let doing = "wrote state";
        guarded(doing, || {
            let mut transaction = self.database.begin_write().map_err(failed(doing))?;
            transaction.set_quick_repair(true);
            for write in writes {
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
        })
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
            for row in rows.range(prefix..).map_err(failed(doing))?.take(limit) {
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
