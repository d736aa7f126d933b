//! Files as items: JSON lines, CSV and plain text, read piece by piece within bounds, hostile bytes included.
//!
//! A reader is an iterator. What is wrong with one line is said with its number and a stable word, and reading goes on
//! with the next line, so that everything wrong with a file can be said at once; after [`Limits::errors_max`] errors,
//! or where going on makes no sense, the iterator ends. Nothing larger than the limits is ever held.

mod csv;
mod jsonl;
mod lines;
mod text;

use std::fmt;

use agora_types::Code;

pub use csv::CsvReader;
pub use jsonl::{JsonlReader, ObjectReader};
pub use text::{TextReader, TextUnit};

use crate::item::{ITEM_SIZE_MAX, Item};
use crate::submission::ITEMS_MAX;

/// What a reader holds and gives at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest line of JSON, or record of CSV, in bytes.
    pub line_bytes_max: usize,
    /// Largest item in bytes of its canonical form.
    pub item_bytes_max: usize,
    /// Most items.
    pub items_max: u32,
    /// Most errors.
    pub errors_max: u32,
}

impl Default for Limits {
    /// Lines of 2 MiB (JSON escapes may take six bytes for one), the largest item, one submission, 100 errors.
    fn default() -> Self {
        Self { line_bytes_max: 2 << 20, item_bytes_max: ITEM_SIZE_MAX, items_max: ITEMS_MAX, errors_max: 100 }
    }
}

/// Which fields or columns make an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mapping {
    /// The first that is there: `messages` or `conversations`; a question (`prompt`, `instruction`, `question`) with an
    /// answer (`response`, `completion`, `output`, `answer`), where an `input` is set below an `instruction`; `text` or
    /// `content`.
    Auto,
    /// A text.
    Text {
        /// Its field.
        text: String,
    },
    /// A question with its answer.
    Pair {
        /// The question's field.
        prompt: String,
        /// The answer's field.
        response: String,
    },
    /// A conversation: a list of objects with `role` and `content` (or `from` and `value`). JSON only.
    Messages {
        /// Its field.
        messages: String,
    },
}

/// An item, and where it stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Number of its first line, from 1.
    pub line: u64,
    /// The item.
    pub item: Item,
}

/// What is wrong, and where. `datanet.bad_input`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ReadError {
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub problem: Problem,
}

impl ReadError {
    /// The code that it is refused with.
    pub fn code(&self) -> Code {
        Code::DataInvalid
    }
}

/// What can be wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// More bytes than a line or record may have.
    LineTooLong {
        /// The limit.
        limit: usize,
    },
    /// Not UTF-8.
    NotUtf8,
    /// Not JSON.
    NotJson {
        /// What the parser says.
        reason: String,
    },
    /// JSON, but no object.
    NotObject,
    /// A field or column is missing.
    Missing {
        /// Its name, or the names of which one must be there.
        field: String,
    },
    /// A field is of another type.
    WrongType {
        /// Its name.
        field: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// A conversation's role is none of `system`, `user`, `assistant`, `tool` (or `human`, `gpt`).
    UnknownRole,
    /// Nothing to learn.
    Blank,
    /// More bytes than an item may have.
    ItemTooLarge {
        /// The limit.
        limit: usize,
    },
    /// A record has more fields than a reader looks at.
    TooManyFields {
        /// The limit.
        limit: usize,
    },
    /// More items than are taken at once.
    TooManyItems {
        /// The limit.
        limit: u32,
    },
    /// So much is wrong that the file is not read further.
    TooManyErrors {
        /// The limit.
        limit: u32,
    },
    /// What the mapping asks for cannot be had from this kind of file.
    Unmappable,
    /// Not a file of this kind, or damaged.
    Damaged {
        /// What the reader says.
        reason: String,
    },
    /// The bytes could not be had.
    Io {
        /// What the system says.
        reason: String,
    },
}

impl Problem {
    /// A stable word for programs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::LineTooLong { .. } => "line_too_long",
            Self::NotUtf8 => "not_utf8",
            Self::NotJson { .. } => "not_json",
            Self::NotObject => "not_object",
            Self::Missing { .. } => "missing",
            Self::WrongType { .. } => "wrong_type",
            Self::UnknownRole => "unknown_role",
            Self::Blank => "blank",
            Self::ItemTooLarge { .. } => "item_too_large",
            Self::TooManyFields { .. } => "too_many_fields",
            Self::TooManyItems { .. } => "too_many_items",
            Self::TooManyErrors { .. } => "too_many_errors",
            Self::Unmappable => "unmappable",
            Self::Damaged { .. } => "damaged",
            Self::Io { .. } => "io",
        }
    }

    /// True when nothing after it can be read.
    fn is_last(&self) -> bool {
        match self {
            Self::TooManyItems { .. } | Self::TooManyErrors { .. } => true,
            Self::Unmappable | Self::Damaged { .. } | Self::Io { .. } => true,
            Self::LineTooLong { .. } | Self::NotUtf8 | Self::NotJson { .. } | Self::NotObject => false,
            Self::Missing { .. } | Self::WrongType { .. } | Self::UnknownRole | Self::Blank => false,
            Self::ItemTooLarge { .. } | Self::TooManyFields { .. } => false,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LineTooLong { limit } => write!(f, "more than {limit} bytes; split it, or close its quotes"),
            Self::NotUtf8 => f.write_str("not UTF-8; convert the file"),
            Self::NotJson { reason } => write!(f, "not JSON: {reason}"),
            Self::NotObject => f.write_str("not a JSON object; write one {…} a line"),
            Self::Missing { field } => write!(f, "`{field}` is missing"),
            Self::WrongType { field, wanted } => write!(f, "`{field}` must be {wanted}"),
            Self::UnknownRole => f.write_str("a role is system, user, assistant or tool"),
            Self::Blank => f.write_str("it says nothing; remove it"),
            Self::ItemTooLarge { limit } => write!(f, "an item has at most {limit} bytes; split it"),
            Self::TooManyFields { limit } => write!(f, "a record has at most {limit} fields"),
            Self::TooManyItems { limit } => write!(f, "at most {limit} items at once; give the rest apart"),
            Self::TooManyErrors { limit } => write!(f, "{limit} errors; the rest is not read"),
            Self::Unmappable => f.write_str("this kind of file has no conversations; name columns for text or pair"),
            Self::Damaged { reason } => write!(f, "not a file of this kind, or damaged: {reason}"),
            Self::Io { reason } => write!(f, "cannot be read: {reason}"),
        }
    }
}

/// Counts items and errors, and says when to stop: the same for every reader.
#[derive(Debug)]
struct Gate {
    limits: Limits,
    items: u32,
    errors: u32,
    ended: bool,
}

impl Gate {
    fn new(limits: Limits) -> Self {
        Self { limits, items: 0, errors: 0, ended: false }
    }

    /// Judges what a reader found; `None` where nothing more may come.
    fn pass(&mut self, line: u64, found: Result<Item, Problem>) -> Option<Result<Row, ReadError>> {
        if self.ended {
            return None;
        }
        let found = found.and_then(|item| self.fits(item)).and_then(|item| self.count(item));
        let found = match found {
            Ok(item) => return Some(Ok(Row { line, item })),
            Err(problem) => problem,
        };
        self.errors += 1;
        let last = found.is_last();
        let over = !last && self.errors > self.limits.errors_max;
        self.ended = last || over;
        let problem = if over { Problem::TooManyErrors { limit: self.limits.errors_max } } else { found };
        Some(Err(ReadError { line, problem }))
    }

    fn fits(&self, item: Item) -> Result<Item, Problem> {
        let limit = self.limits.item_bytes_max.min(ITEM_SIZE_MAX);
        if !item.says_something() {
            return Err(Problem::Blank);
        }
        match item.data() {
            Ok(data) if data.len() <= limit => Ok(item),
            Ok(_) | Err(_) => Err(Problem::ItemTooLarge { limit }),
        }
    }

    fn count(&mut self, item: Item) -> Result<Item, Problem> {
        if self.items >= self.limits.items_max {
            return Err(Problem::TooManyItems { limit: self.limits.items_max });
        }
        self.items += 1;
        Ok(item)
    }
}
