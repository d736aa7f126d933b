//! Parquet files as items of a datanet: the one reader that needs a large library.
//!
//! What a file says of itself decides how much is held and how deep is recursed while it is read, so this is for one's own
//! files. A stranger's is read in a process of its own, which has bounds that it cannot leave (`giving/apart.rs` of the
//! program). What the library panics on is an error of the file. Compression by snappy, or none.

use std::collections::BTreeSet;
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use agora_datanets::readers::{Limits, Mapping, ObjectReader, Problem, ReadError};
use bytes::Bytes;
use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;
use parquet::record::{Field, Row};
use parquet::schema::types::Type;
use serde_json::{Map, Value};

/// Every field that [`Mapping::Auto`] may look at.
const USUAL: [&str; 12] = [
    "messages",
    "conversations",
    "prompt",
    "instruction",
    "question",
    "input",
    "response",
    "completion",
    "output",
    "answer",
    "text",
    "content",
];

/// Items of a Parquet file; rows are counted from 1, as lines are.
pub type ParquetReader = ObjectReader<Objects>;

/// Opens the file at `path`. Columns that the mapping does not name are not read.
///
/// # Errors
/// `io` where it cannot be opened, `damaged` where it is no Parquet file, `missing` where it has none of the columns.
pub fn open(path: &Path, mapping: Mapping, limits: Limits) -> Result<ParquetReader, ReadError> {
    let wrong = |error: std::io::Error| ReadError { line: 1, problem: Problem::Io { reason: error.to_string() } };
    reader(File::open(path).map_err(wrong)?, mapping, limits)
}

/// The same of a file that is in memory.
///
/// # Errors
/// As [`open`], but for `io`.
pub fn read(file: Vec<u8>, mapping: Mapping, limits: Limits) -> Result<ParquetReader, ReadError> {
    reader(Bytes::from(file), mapping, limits)
}

fn reader(file: impl ChunkReader + 'static, mapping: Mapping, limits: Limits) -> Result<ParquetReader, ReadError> {
    let rows = guarded(|| rows(file, &mapping)).and_then(|rows| rows);
    let rows = rows.map_err(|problem| ReadError { line: 1, problem })?;
    Ok(ObjectReader::new(Objects { rows, number: 0, limit: limits.line_bytes_max }, mapping, limits))
}

fn rows(file: impl ChunkReader + 'static, mapping: &Mapping) -> Result<RowIter<'static>, Problem> {
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema();
    let wanted: BTreeSet<&str> = match mapping {
        Mapping::Auto => USUAL.into(),
        Mapping::Text { text } => [text.as_str()].into(),
        Mapping::Pair { prompt, response } => [prompt.as_str(), response.as_str()].into(),
        Mapping::Messages { messages } => [messages.as_str()].into(),
    };
    let fields: Vec<Arc<Type>> =
        schema.get_fields().iter().filter(|field| wanted.contains(field.name())).cloned().collect();
    if fields.is_empty() {
        let names: Vec<&str> = wanted.into_iter().collect();
        return Err(Problem::Missing { field: names.join(", ").chars().take(200).collect() });
    }
    let projection = Type::group_type_builder(schema.name()).with_fields(fields).build().map_err(damaged)?;
    RowIter::from_file_into(Box::new(reader)).project(Some(projection)).map_err(damaged)
}

/// Rows as objects.
pub struct Objects {
    rows: RowIter<'static>,
    number: u64,
    /// Most bytes of the texts of a row.
    limit: usize,
}

impl Iterator for Objects {
    type Item = (u64, Result<Map<String, Value>, Problem>);

    fn next(&mut self) -> Option<Self::Item> {
        let row = match guarded(|| self.rows.next()) {
            Ok(None) => return None,
            Ok(Some(row)) => row.map_err(damaged),
            Err(problem) => Err(problem),
        };
        self.number += 1;
        Some((self.number, row.and_then(|row| object(row, self.limit))))
    }
}

impl std::fmt::Debug for Objects {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Objects").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A panic of the library is what the file caused. After one, nothing more is read from it.
fn guarded<T>(read: impl FnOnce() -> T) -> Result<T, Problem> {
    let reason = "the library gave up on it".to_owned();
    catch_unwind(AssertUnwindSafe(read)).map_err(|_| Problem::Damaged { reason })
}

fn damaged(error: parquet::errors::ParquetError) -> Problem {
    Problem::Damaged { reason: error.to_string().chars().take(200).collect() }
}

/// Fields that are empty are as if they were not there.
fn object(row: Row, limit: usize) -> Result<Map<String, Value>, Problem> {
    let mut left = limit;
    let mut object = Map::new();
    for (name, field) in row.into_columns() {
        let value = value(field, &mut left).ok_or(Problem::LineTooLong { limit })?;
        if !value.is_null() {
            object.insert(name, value);
        }
    }
    Ok(object)
}

/// Texts, lists and groups as JSON has them; what no item is made of becomes `false`, which is of no type that is asked
/// for. `None` where the texts are longer than is left.
fn value(field: Field, left: &mut usize) -> Option<Value> {
    Some(match field {
        Field::Null => Value::Null,
        Field::Str(text) => {
            *left = left.checked_sub(text.len())?;
            Value::String(text)
        }
        Field::ListInternal(list) => {
            Value::Array(list.elements().iter().map(|one| value(one.clone(), left)).collect::<Option<_>>()?)
        }
        Field::Group(row) => {
            let mut group = Map::new();
            for (name, field) in row.into_columns() {
                group.insert(name, value(field, left)?);
            }
            Value::Object(group)
        }
        _ => Value::Bool(false),
    })
}
