//! JSON lines: one object a line.

use std::io::BufRead;

use serde_json::{Map, Value};

use super::lines::Lines;
use super::{Gate, Limits, Mapping, Problem, ReadError, Row};
use crate::item::{Item, MESSAGES_MAX, Message, Role};

/// The names under which [`Mapping::Auto`] looks.
pub(super) const MESSAGES: [&str; 2] = ["messages", "conversations"];
pub(super) const PROMPTS: [&str; 3] = ["prompt", "instruction", "question"];
pub(super) const RESPONSES: [&str; 4] = ["response", "completion", "output", "answer"];
pub(super) const TEXTS: [&str; 2] = ["text", "content"];
/// What an `instruction` may come with.
pub(super) const INPUT: &str = "input";

/// Items of a file of JSON lines. Blank lines are passed over.
#[derive(Debug)]
pub struct JsonlReader<R> {
    lines: Lines<R>,
    mapping: Mapping,
    gate: Gate,
}

impl<R: BufRead> JsonlReader<R> {
    /// Reads `input`.
    pub fn new(input: R, mapping: Mapping, limits: Limits) -> Self {
        Self { lines: Lines::new(input, limits.line_bytes_max), mapping, gate: Gate::new(limits) }
    }
}

impl<R: BufRead> Iterator for JsonlReader<R> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.gate.ended {
            return None;
        }
        loop {
            let line = self.lines.next()?;
            if line.as_ref().is_ok_and(|line| line.trim_ascii().is_empty()) {
                continue;
            }
            let found = line.and_then(|line| object(&line)).and_then(|object| item(object, &self.mapping));
            return self.gate.pass(self.lines.number(), found);
        }
    }
}

fn object(line: &[u8]) -> Result<Map<String, Value>, Problem> {
    let text = std::str::from_utf8(line).map_err(|_| Problem::NotUtf8)?;
    let value: Value = serde_json::from_str(text).map_err(|error| Problem::NotJson { reason: reason(&error) })?;
    if let Value::Object(object) = value { Ok(object) } else { Err(Problem::NotObject) }
}

/// The item that an object holds.
fn item(mut object: Map<String, Value>, mapping: &Mapping) -> Result<Item, Problem> {
    match mapping {
        Mapping::Text { text } => Ok(Item::Text(take_text(&mut object, text)?)),
        Mapping::Pair { prompt, response } => {
            let prompt = take_text(&mut object, prompt)?;
            Ok(Item::Pair { prompt, response: take_text(&mut object, response)? })
        }
        Mapping::Messages { messages } => take_messages(&mut object, messages),
        Mapping::Auto => auto(&mut object),
    }
}

/// Items of objects that another kind of file has: its reader gives each with its number, counted as lines are.
#[derive(Debug)]
pub struct ObjectReader<I> {
    objects: I,
    mapping: Mapping,
    gate: Gate,
}

impl<I: Iterator<Item = (u64, Result<Map<String, Value>, Problem>)>> ObjectReader<I> {
    /// Reads `objects`. How large one may be is theirs to bound.
    pub fn new(objects: I, mapping: Mapping, limits: Limits) -> Self {
        Self { objects, mapping, gate: Gate::new(limits) }
    }
}

impl<I: Iterator<Item = (u64, Result<Map<String, Value>, Problem>)>> Iterator for ObjectReader<I> {
    type Item = Result<Row, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.gate.ended {
            return None;
        }
        let (number, object) = self.objects.next()?;
        self.gate.pass(number, object.and_then(|object| item(object, &self.mapping)))
    }
}

/// Without serde_json's own line number, which is always 1 here.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let said = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
    format!("{said} (byte {})", error.column())
}

fn auto(object: &mut Map<String, Value>) -> Result<Item, Problem> {
    let has = |names: &[&'static str]| names.iter().copied().find(|name| object.contains_key(*name));
    if let Some(name) = has(&MESSAGES) {
        return take_messages(object, name);
    }
    if let (Some(prompt), Some(response)) = (has(&PROMPTS), has(&RESPONSES)) {
        let mut asked = take_text(object, prompt)?;
        if let Some(Value::String(input)) = object.get(INPUT).filter(|_| prompt == "instruction")
            && !input.trim().is_empty()
        {
            asked = format!("{asked}\n\n{input}");
        }
        return Ok(Item::Pair { prompt: asked, response: take_text(object, response)? });
    }
    match has(&TEXTS) {
        Some(name) => Ok(Item::Text(take_text(object, name)?)),
        None => Err(Problem::Missing { field: "text, prompt and response, or messages".to_owned() }),
    }
}

fn take_text(object: &mut Map<String, Value>, field: &str) -> Result<String, Problem> {
    match object.get_mut(field).map(Value::take) {
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(Problem::WrongType { field: shown(field), wanted: "a text" }),
        None => Err(Problem::Missing { field: shown(field) }),
    }
}

fn take_messages(object: &mut Map<String, Value>, field: &str) -> Result<Item, Problem> {
    let wrong = || Problem::WrongType {
        field: shown(field),
        wanted: "a list of 1 to 256 objects with `role` and `content`, both texts",
    };
    let list = match object.get_mut(field).map(Value::take) {
        Some(Value::Array(list)) => list,
        Some(_) => return Err(wrong()),
        None => return Err(Problem::Missing { field: shown(field) }),
    };
    if !(1..=MESSAGES_MAX).contains(&list.len()) {
        return Err(wrong());
    }
    let message = |value: Value| {
        let Value::Object(mut turn) = value else { return Err(wrong()) };
        let mut either = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| turn.get_mut(*name).map(Value::take));
            if let Some(Value::String(text)) = found { Ok(text) } else { Err(wrong()) }
        };
        let role = match either(["role", "from"])?.as_str() {
            "system" => Role::System,
            "user" | "human" => Role::User,
            "assistant" | "gpt" => Role::Assistant,
            "tool" => Role::Tool,
            _ => return Err(Problem::UnknownRole),
        };
        Ok(Message { role, content: either(["content", "value"])? })
    };
    Ok(Item::Messages(list.into_iter().map(message).collect::<Result<_, _>>()?))
}

/// A name as messages show it, whatever a mapping says.
pub(super) fn shown(field: &str) -> String {
    field.chars().take(80).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
