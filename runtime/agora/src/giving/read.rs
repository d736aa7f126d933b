//! A file's rows, and which of them a datanet takes.

use std::io::BufRead;

use agora_datanets::checks::check;
use agora_datanets::readers::{CsvReader, JsonlReader, Limits, Mapping, ReadError, Row, TextReader, TextUnit};
use agora_datanets::{Action, Item, Policy};
use agora_economy::ports::datanets::{Columns, Format};
use agora_shell::{Failure, Outcome};
use agora_types::Code;

use crate::cli::datanet::documents::LeftOut;

/// An item and where it stood, or what is wrong there.
pub(crate) type Found = Result<Row, LeftOut>;
/// Rows as they are read.
pub(crate) type Rows = Box<dyn Iterator<Item = Found>>;

/// What a datanet takes of a file, and what is said of the rest.
pub(crate) struct Sorted {
    /// At least one.
    pub(crate) items: Vec<Item>,
    /// What cannot be given.
    pub(crate) left_out: Vec<LeftOut>,
    /// What was found in items that can.
    pub(crate) flagged: Vec<LeftOut>,
}

/// A file as its giver describes it.
pub(crate) struct Shape {
    /// How it holds its items.
    pub(crate) format: Format,
    /// Which fields make one.
    pub(crate) columns: Columns,
    /// A text is one item, not a paragraph each.
    pub(crate) whole: bool,
    /// Most items.
    pub(crate) items_max: u32,
}

/// The rows of a file. Parquet is not read from its beginning to its end: `parquet` does that.
///
/// # Errors
/// Those of `parquet`.
pub(crate) fn rows<I: BufRead + 'static>(
    input: I,
    shape: Shape,
    parquet: impl FnOnce(I, Mapping, Limits) -> Outcome<Rows>,
) -> Outcome<Rows> {
    let mapping = match shape.columns {
        Columns::Usual => Mapping::Auto,
        Columns::Text(text) => Mapping::Text { text },
        Columns::Pair(prompt, response) => Mapping::Pair { prompt, response },
        Columns::Messages(messages) => Mapping::Messages { messages },
    };
    let limits = Limits { items_max: shape.items_max, ..Limits::default() };
    let unit = if shape.whole { TextUnit::Whole } else { TextUnit::Paragraph };
    let rows: Rows = match shape.format {
        Format::Jsonl => Box::new(JsonlReader::new(input, mapping, limits).map(found)),
        Format::Csv => Box::new(CsvReader::new(input, mapping, limits).map(found)),
        Format::Text => Box::new(TextReader::new(input, unit, limits).map(found)),
        Format::Parquet => parquet(input, mapping, limits)?,
    };
    Ok(rows)
}

/// A reader's row as it is told.
pub(crate) fn found(row: Result<Row, ReadError>) -> Found {
    row.map_err(|error| LeftOut { line: error.line, why: error.problem.to_string() })
}

/// Holds the rows of a file, called `name`, to a datanet's policy. Without `skip_bad` one that cannot be given keeps the
/// others back.
///
/// # Errors
/// `datanet.bad_input`, also where nothing can be given; `datanet.item_refused`.
pub(crate) fn sort(
    rows: impl Iterator<Item = Found>,
    policy: &Policy,
    (name, skip_bad): (&str, bool),
) -> Outcome<Sorted> {
    let mut sorted = Sorted { items: Vec::new(), left_out: Vec::new(), flagged: Vec::new() };
    let mut bad = None;
    for row in rows {
        match row {
            Ok(Row { line, item }) => {
                let report = check(&item, policy);
                let why: Vec<&str> = report.findings.iter().map(|finding| finding.sentence.as_str()).collect();
                let why = why.join("; ");
                match report.action {
                    Action::Refuse => {
                        bad.get_or_insert(Code::ItemRefused);
                        sorted.left_out.push(LeftOut { line, why });
                    }
                    Action::Flag => {
                        sorted.flagged.push(LeftOut { line, why });
                        sorted.items.push(item);
                    }
                    Action::Ignore => sorted.items.push(item),
                }
            }
            Err(left_out) => {
                bad.get_or_insert(Code::DataInvalid);
                sorted.left_out.push(left_out);
            }
        }
    }
    if let Some(code) = bad.filter(|_| !skip_bad) {
        let lines = sorted.left_out.iter().take(5).map(|one| format!("line {}: {}", one.line, one.why));
        let lines: Vec<String> = lines.collect();
        let what = format!("{name}: {} cannot be given: {}", sorted.left_out.len(), lines.join("; "));
        return Err(Failure::new(code, what).advise("mend them, or leave them out with --skip-bad"));
    }
    if sorted.items.is_empty() {
        let first = sorted.left_out.first();
        let why = first.map_or_else(String::new, |one| format!(": line {}: {}", one.line, one.why));
        return Err(Failure::new(Code::DataInvalid, format!("{name} has no item to give{why}")));
    }
    Ok(sorted)
}
