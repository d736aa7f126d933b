//! Plain text: each paragraph an item, or the whole file one.

use std::io::BufRead;

use super::lines::Lines;
use super::{Gate, Limits, Problem, ReadError, Row};
use crate::item::Item;

/// What of a text is one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextUnit {
    /// What stands between blank lines.
    Paragraph,
    /// All of it.
    Whole,
}

/// Items of a plain text. Line ends become `\n`; white space at the end of lines, and blank lines around an item, go.
#[derive(Debug)]
pub struct TextReader<R> {
    lines: Lines<R>,
    unit: TextUnit,
    gate: Gate,
}

impl<R: BufRead> TextReader<R> {
    /// Reads `input`.
    pub fn new(input: R, unit: TextUnit, limits: Limits) -> Self {
        Self { lines: Lines::new(input, limits.line_bytes_max), unit, gate: Gate::new(limits) }
    }

    /// The next item and the line it begins on; `None` after the last. What is wrong with one line is wrong with its
    /// item.
    fn unit(&mut self) -> Option<(u64, Result<Item, Problem>)> {
        let (mut text, mut first, mut problem, mut blanks) = (String::new(), 0, None, 0usize);
        let limit = self.gate.limits.item_bytes_max;
        while let Some(line) = self.lines.next() {
            let line = line.and_then(|line| String::from_utf8(line).map_err(|_| Problem::NotUtf8));
            let line = match line {
                Ok(line) => line,
                Err(found) => {
                    first = if first == 0 { self.lines.number() } else { first };
                    let last = found.is_last();
                    problem = problem.or(Some((self.lines.number(), found)));
                    if last {
                        break;
                    }
                    continue;
                }
            };
            let line = line.trim_end();
            if line.is_empty() {
                match self.unit {
                    TextUnit::Paragraph if first != 0 => break,
                    TextUnit::Whole if first != 0 => blanks += 1,
                    TextUnit::Paragraph | TextUnit::Whole => {}
                }
                continue;
            }
            // Line ends before this line: none at the beginning.
            let ends = if first == 0 { 0 } else { blanks + 1 };
            if first == 0 {
                first = self.lines.number();
            }
            if text.len() + ends + line.len() > limit {
                problem = problem.or(Some((first, Problem::ItemTooLarge { limit })));
            }
            if problem.is_some() {
                text = String::new();
            } else {
                text.extend(std::iter::repeat_n('\n', ends));
                text.push_str(line);
            }
            blanks = 0;
        }
        match (first, problem) {
            (_, Some((line, problem))) => Some((line, Err(problem))),
            (0, None) => None,
            (line, None) => Some((line, Ok(Item::Text(text)))),
        }
    }
}

impl<R: BufRead> Iterator for TextReader<R> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.gate.ended {
            return None;
        }
        let (line, found) = self.unit()?;
        self.gate.pass(line, found)
    }
}
