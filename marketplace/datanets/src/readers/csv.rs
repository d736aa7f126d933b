//! CSV (RFC 4180) with a header row: comma, quotes, line breaks inside quotes.
//!
//! The states are those of `csv-core`; the buffers are ours, so that a quote that is never closed costs one bounded
//! record.

use std::io::BufRead;

use csv_core::{ReadRecordResult, Reader};

use super::jsonl::{INPUT, PROMPTS, RESPONSES, TEXTS, shown};
use super::{Gate, Limits, Mapping, Problem, ReadError, Row};
use crate::item::Item;

/// Most fields of a record.
const FIELDS_MAX: usize = 1_024;

/// Which columns make an item.
#[derive(Debug, Clone, Copy)]
enum Columns {
    Text(usize),
    Pair { prompt: usize, input: Option<usize>, response: usize },
}

/// Items of a CSV file; its first record names the columns.
#[derive(Debug)]
pub struct CsvReader<R> {
    input: R,
    reader: Reader,
    /// Line ends that were read so far.
    line_ends: u64,
    /// Line on which the record at hand begins.
    line: u64,
    mapping: Mapping,
    columns: Option<Columns>,
    gate: Gate,
    record: Vec<u8>,
    ends: Vec<usize>,
}

impl<R: BufRead> CsvReader<R> {
    /// Reads `input`.
    pub fn new(input: R, mapping: Mapping, limits: Limits) -> Self {
        Self {
            input,
            reader: Reader::new(),
            line_ends: 0,
            line: 1,
            mapping,
            columns: None,
            gate: Gate::new(limits),
            record: vec![0; 4_096.min(limits.line_bytes_max.max(1))],
            ends: vec![0; FIELDS_MAX],
        }
    }

    /// The next record as fields; `None` after the last.
    fn record(&mut self) -> Option<Result<Vec<Vec<u8>>, Problem>> {
        let (mut written, mut fields, mut problem, mut begun) = (0, 0, None, false);
        loop {
            let bytes = match self.input.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Some(Err(Problem::Io { reason: error.to_string() })),
            };
            // Blank lines, and what is left of the end of the record before, are no part of this one.
            let gap = bytes.iter().take_while(|byte| !begun && matches!(byte, b'\r' | b'\n')).count();
            let lines = |bytes: &[u8]| bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            self.line_ends += lines(&bytes[..gap]);
            if gap > 0 {
                self.input.consume(gap);
                continue;
            }
            if !begun {
                begun = true;
                self.line = self.line_ends + 1;
            }
            let (result, read, wrote, ended) =
                self.reader.read_record(bytes, &mut self.record[written..], &mut self.ends[fields..]);
            self.line_ends += lines(&bytes[..read]);
            self.input.consume(read);
            written += wrote;
            fields += ended;
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.record.len() < self.gate.limits.line_bytes_max => {
                    let larger = (self.record.len() * 2).min(self.gate.limits.line_bytes_max);
                    self.record.resize(larger, 0);
                }
                // Beyond the limits the rest of the record is read over itself, to find its end.
                ReadRecordResult::OutputFull => {
                    problem = Some(Problem::LineTooLong { limit: self.gate.limits.line_bytes_max });
                    written = 0;
                }
                ReadRecordResult::OutputEndsFull => {
                    problem = Some(Problem::TooManyFields { limit: FIELDS_MAX });
                    fields = 0;
                }
                ReadRecordResult::Record => break,
                ReadRecordResult::End => return problem.map(Err),
            }
        }
        if let Some(problem) = problem {
            return Some(Err(problem));
        }
        let mut from = 0;
        let cut = |end: &usize| {
            let field = self.record[from..*end].to_vec();
            from = *end;
            field
        };
        Some(Ok(self.ends[..fields].iter().map(cut).collect()))
    }

    fn header(&self, fields: Vec<Vec<u8>>) -> Result<Columns, Problem> {
        let names: Vec<String> = fields
            .into_iter()
            .map(|name| String::from_utf8(name).map_err(|_| Problem::NotUtf8))
            .collect::<Result<_, _>>()?;
        let trimmed = |name: &str| name.trim_start_matches('\u{feff}').trim().to_owned();
        let names: Vec<String> = names.iter().map(|name| trimmed(name)).collect();
        let find = |wanted: &str| names.iter().position(|name| name == wanted);
        let need = |wanted: &String| find(wanted).ok_or_else(|| Problem::Missing { field: shown(wanted) });
        match &self.mapping {
            Mapping::Text { text } => Ok(Columns::Text(need(text)?)),
            Mapping::Pair { prompt, response } => {
                Ok(Columns::Pair { prompt: need(prompt)?, input: None, response: need(response)? })
            }
            Mapping::Messages { .. } => Err(Problem::Unmappable),
            Mapping::Auto => {
                let first = |wanted: &[&str]| wanted.iter().find_map(|name| find(name));
                if let (Some(prompt), Some(response)) = (first(&PROMPTS), first(&RESPONSES)) {
                    let input = find(INPUT).filter(|_| names[prompt] == "instruction");
                    return Ok(Columns::Pair { prompt, input, response });
                }
                let field = "text, or prompt and response".to_owned();
                first(&TEXTS).map(Columns::Text).ok_or(Problem::Missing { field })
            }
        }
    }
}

fn item(mut fields: Vec<Vec<u8>>, columns: Columns) -> Result<Item, Problem> {
    let mut take = |at: usize| {
        let field = fields.get_mut(at).map(std::mem::take);
        let bytes = field.ok_or_else(|| Problem::Missing { field: format!("column {}", at + 1) })?;
        String::from_utf8(bytes).map_err(|_| Problem::NotUtf8)
    };
    match columns {
        Columns::Text(at) => Ok(Item::Text(take(at)?)),
        Columns::Pair { prompt, input, response } => {
            let mut asked = take(prompt)?;
            let given = input.map(&mut take).transpose()?.filter(|input| !input.trim().is_empty());
            if let Some(input) = given {
                asked = format!("{asked}\n\n{input}");
            }
            Ok(Item::Pair { prompt: asked, response: take(response)? })
        }
    }
}

impl<R: BufRead> Iterator for CsvReader<R> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.gate.ended {
            return None;
        }
        let columns = match self.columns {
            Some(columns) => columns,
            None => match self.record()?.and_then(|fields| self.header(fields)) {
                Ok(columns) => *self.columns.insert(columns),
                Err(problem) => {
                    let error = self.gate.pass(self.line, Err(problem));
                    // Without columns nothing can be read.
                    self.gate.ended = true;
                    return error;
                }
            },
        };
        let found = self.record()?.and_then(|fields| item(fields, columns));
        self.gate.pass(self.line, found)
    }
}
