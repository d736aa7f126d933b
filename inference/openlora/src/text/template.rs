//! The chat template: Jinja from an untrusted file, with fuel and a bound on what it writes.

use std::io::{self, Write};

use agora_inference_api::{EngineError, Message, Role};
use agora_types::Code;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, Value, context};

use super::python;
use crate::failure::{bad_model, quoted};

/// Longest template in bytes.
const TEMPLATE_SIZE_MAX: usize = 64 << 10;
/// Instructions of one rendering, beside what it pays for the messages' own bytes.
const FUEL: u64 = 200_000;
/// How often a rendering may handle each byte of the messages.
const FUEL_PER_BYTE: u64 = 16;
/// Most bytes that a rendering writes beside the messages.
const EXTRA_SIZE_MAX: usize = 256 << 10;

/// Where thoughts begin and end in an answer.
pub(super) const BORDERS: [&str; 2] = ["<think>", "</think>"];

/// A piece of a rendered conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// The template's own words, in which special tokens count.
    Template(String),
    /// A message's words, in which nothing is special.
    Message(String),
}

/// A checked template.
#[derive(Debug)]
pub(crate) struct Template {
    source: String,
    begin: String,
    end: String,
}

impl Template {
    /// Checks that the template renders a question.
    pub(crate) fn new(source: &str, begin: &str, end: &str) -> Result<Self, EngineError> {
        if source.len() > TEMPLATE_SIZE_MAX {
            return Err(bad_model(format!("a chat template of {} bytes", source.len())));
        }
        let template = Self { source: source.to_owned(), begin: begin.to_owned(), end: end.to_owned() };
        let question = Message { role: Role::User, text: "Hello".to_owned() };
        template.render(&[question], false).map_err(|error| bad_model(error.what))?;
        Ok(template)
    }

    /// Renders a conversation that awaits an answer; `thinks` asks a model that can think to do so first, by the name that
    /// Qwen 3 gave it.
    pub(crate) fn render(&self, messages: &[Message], thinks: bool) -> Result<Vec<Piece>, EngineError> {
        let marks = Marks::beside(messages);
        let size: usize = messages.iter().map(|message| message.text.len()).sum();
        let list: Vec<_> = messages
            .iter()
            .map(|message| {
                let role = match message.role {
                    Role::System => "system",
                    Role::User => "user",
                    Role::Assistant => "assistant",
                };
                let thoughts = message.role == Role::Assistant && self.source.contains(BORDERS[1]);
                context! { role, content => marks.around(&message.text, thoughts) }
            })
            .collect();
        let values = context! {
            messages => list,
            add_generation_prompt => true,
            enable_thinking => if thinks { Value::from(true) } else { Value::UNDEFINED },
            bos_token => self.begin.as_str(),
            eos_token => self.end.as_str(),
        };
        let mut out = Bounded { bytes: Vec::new(), left: size.saturating_add(EXTRA_SIZE_MAX) };
        let environment = environment(FUEL.saturating_add(FUEL_PER_BYTE.saturating_mul(size as u64)));
        let rendered = environment
            .template_from_str(&self.source)
            .and_then(|template| template.render_captured_to(values, &mut out).map(drop));
        let refused = |what: String| EngineError::new(Code::EngineBadRequest, format!("the chat template: {what}"));
        rendered.map_err(|error| refused(quoted(&error.to_string())))?;
        let text = String::from_utf8(out.bytes).map_err(|_| refused("not UTF-8".to_owned()))?;
        marks.split(&text).ok_or_else(|| refused("it cuts messages to pieces".to_owned()))
    }
}

/// An environment as the authors of chat templates expect it. Fuel pays for instructions and for every byte made.
fn environment(fuel: u64) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(fuel));
    environment.set_unknown_method_callback(python::method);
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.add_function("raise_exception", |what: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, what))
    });
    environment
}

/// What marks are made of.
const SIGNS: [char; 4] = ['\u{FDD0}', '\u{FDD1}', '\u{FDD2}', '\u{FDD3}'];

/// What encloses the text of messages while they are rendered: signs that none of them contains.
struct Marks {
    open: String,
    close: String,
}

impl Marks {
    fn beside(messages: &[Message]) -> Self {
        let free = |number: &u32| {
            let (open, close) = (format!("\u{FDD0}{number}\u{FDD1}"), format!("\u{FDD2}{number}\u{FDD3}"));
            let clash = |text: &str| text.contains(&open) || text.contains(&close);
            (!messages.iter().any(|message| clash(&message.text))).then_some(Self { open, close })
        };
        // A request is short: some number is always free.
        (0..).find_map(|number: u32| free(&number)).unwrap_or(Self { open: String::new(), close: String::new() })
    }

    /// White space around the text stays outside, since templates trim it. So do the borders of an answer's thoughts, at
    /// which templates cut earlier answers.
    fn around(&self, text: &str, thoughts: bool) -> String {
        let mut out = String::new();
        let mut rest = text;
        while thoughts && let Some((at, border)) = next_border(rest) {
            self.enclose(&rest[..at], &mut out);
            out += border;
            rest = &rest[at + border.len()..];
        }
        self.enclose(rest, &mut out);
        out
    }

    fn enclose(&self, text: &str, out: &mut String) {
        let inner = text.trim();
        let (before, after) = text.split_at(text.len() - text.trim_start().len());
        match inner.is_empty() {
            true => *out += text,
            false => out.extend([before, &self.open, inner, &self.close, &after[inner.len()..]]),
        }
    }

    /// `None` if a mark lacks its other: what is the template's and what a message's could not be told.
    fn split(&self, text: &str) -> Option<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(&self.open) {
            let (inner, after) = after.split_once(&self.close)?;
            if before.contains(SIGNS) || inner.contains(&self.open) {
                return None;
            }
            pieces.push(Piece::Template(before.to_owned()));
            pieces.push(Piece::Message(inner.to_owned()));
            rest = after;
        }
        pieces.push(Piece::Template((!rest.contains(SIGNS)).then(|| rest.to_owned())?));
        Some(pieces)
    }
}

fn next_border(text: &str) -> Option<(usize, &'static str)> {
    let begins = |at: usize| BORDERS.into_iter().find(|border| text[at..].starts_with(border));
    text.match_indices('<').find_map(|(at, _)| Some((at, begins(at)?)))
}

/// A writer that refuses more than it was allowed.
struct Bounded {
    bytes: Vec<u8>,
    left: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len()).ok_or_else(|| io::Error::other("it writes too much"))?;
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
