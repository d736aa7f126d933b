//! The chat template: Jinja from an untrusted file, with fuel and a bound on what it writes.

use std::io::{self, Write};

use agora_inference_api::{EngineError, Message, Role};
use agora_types::Code;
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, context};

use crate::failure::{bad_model, quoted};

/// Longest template in bytes.
const TEMPLATE_SIZE_MAX: usize = 64 << 10;
/// Instructions of one rendering.
const FUEL: u64 = 200_000;
/// Most bytes that a rendering writes beside the messages.
const EXTRA_SIZE_MAX: usize = 256 << 10;

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
        template.render(&[question]).map_err(|error| bad_model(error.what))?;
        Ok(template)
    }

    /// Renders a conversation that awaits an answer.
    pub(crate) fn render(&self, messages: &[Message]) -> Result<Vec<Piece>, EngineError> {
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
                context! { role, content => marks.around(&message.text) }
            })
            .collect();
        let values = context! {
            messages => list,
            add_generation_prompt => true,
            bos_token => self.begin.as_str(),
            eos_token => self.end.as_str(),
        };
        let mut out = Bounded { bytes: Vec::new(), left: size.saturating_add(EXTRA_SIZE_MAX) };
        let environment = environment();
        let rendered = environment
            .template_from_str(&self.source)
            .and_then(|template| template.render_captured_to(values, &mut out).map(drop));
        let refused = |what: String| EngineError::new(Code::EngineBadRequest, format!("the chat template: {what}"));
        rendered.map_err(|error| refused(quoted(&error.to_string())))?;
        let text = String::from_utf8(out.bytes).map_err(|_| refused("not UTF-8".to_owned()))?;
        Ok(marks.split(&text))
    }
}

/// An environment as the authors of chat templates expect it. Fuel pays for instructions and for every byte made.
fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    if let Ok(syntax) = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.add_function("raise_exception", |what: String| -> Result<String, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, what))
    });
    environment
}

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

    /// White space around the text stays outside, since templates trim it.
    fn around(&self, text: &str) -> String {
        let inner = text.trim();
        let start = text.len() - text.trim_start().len();
        if inner.is_empty() {
            return text.to_owned();
        }
        format!("{}{}{inner}{}{}", &text[..start], self.open, self.close, &text[start + inner.len()..])
    }

    fn split(&self, text: &str) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(&self.open) {
            let (inner, after) = after.split_once(&self.close).unwrap_or((after, ""));
            pieces.push(Piece::Template(before.to_owned()));
            pieces.push(Piece::Message(inner.to_owned()));
            rest = after;
        }
        pieces.push(Piece::Template(rest.to_owned()));
        pieces
    }
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
