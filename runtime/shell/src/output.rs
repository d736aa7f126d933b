//! The output contract: data on stdout, messages on stderr, one form for people and two for machines.
//!
//! Every document carries `"$type"`; a stream is one document per line. Colour and progress bars appear only on a
//! terminal that wants them (`NO_COLOR`, `TERM=dumb`). A reader that goes away ends a command quietly.

use std::io::{self, IsTerminal as _, Write};
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Outcome};
use crate::progress::Bar;

/// How documents are written (`--output`; `--json` is short for `--output json`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// JSON: indented alone, one line each in a stream.
    Json,
    /// YAML, written from the same fields as JSON.
    Yaml,
}

impl Format {
    /// Every format's name, for the help of `--output`.
    pub const NAMES: [&'static str; 3] = ["text", "json", "yaml"];

    /// The format's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Yaml => "yaml",
        }
    }
}

impl FromStr for Format {
    type Err = Failure;

    fn from_str(text: &str) -> Outcome<Self> {
        let found = [Self::Text, Self::Json, Self::Yaml].into_iter().find(|format| format.name() == text);
        found.ok_or_else(|| Failure::usage(format!("`{text}` is no output format")).advise("write text, json or yaml"))
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// Something that a command answers with. Its fields serialise as a JSON object.
pub trait Document: Serialize + JsonSchema {
    /// The stable name and version, `agora/<kind>/v<n>`; fields may be added under the same version, never changed.
    const TYPE: &'static str;

    /// Writes the form for people, whole lines.
    ///
    /// # Errors
    /// What `out` says.
    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()>;
}

#[derive(Serialize)]
struct Typed<'a, T: Document> {
    #[serde(rename = "$type")]
    kind: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

/// The JSON form of a document, with its `$type`.
pub fn to_json<T: Document>(document: &T) -> serde_json::Value {
    serde_json::to_value(Typed { kind: T::TYPE, body: document }).expect("a document is plain JSON")
}

/// Colours, or none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    /// Whether escape sequences may be written.
    pub colour: bool,
}

impl Style {
    fn paint(self, text: &str, code: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// Headings.
    pub fn bold(self, text: &str) -> String {
        self.paint(text, "1")
    }

    /// What matters less.
    pub fn faint(self, text: &str) -> String {
        self.paint(text, "2")
    }

    /// Success.
    pub fn good(self, text: &str) -> String {
        self.paint(text, "32")
    }

    /// What deserves a look.
    pub fn doubtful(self, text: &str) -> String {
        self.paint(text, "33")
    }

    /// Failure.
    pub fn bad(self, text: &str) -> String {
        self.paint(text, "31")
    }
}

/// What the process's two outputs are connected to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// stdout is a terminal that wants colour.
    pub out_colour: bool,
    /// stderr is a terminal that wants colour.
    pub err_colour: bool,
    /// stderr is a terminal on which a bar can move.
    pub bars: bool,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Self {
        let variable = |name: &str| std::env::var(name).ok();
        Self::decide(variable, io::stdout().is_terminal(), io::stderr().is_terminal())
    }

    fn decide(variable: impl Fn(&str) -> Option<String>, out_terminal: bool, err_terminal: bool) -> Self {
        // https://no-color.org: any value but the empty one.
        let plain = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = variable("TERM").is_some_and(|value| value == "dumb");
        Self {
            out_colour: out_terminal && !plain && !dumb,
            err_colour: err_terminal && !plain && !dumb,
            bars: err_terminal && !dumb,
        }
    }
}

/// Whether a document reached its reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// Yes.
    Whole,
    /// The reader closed the pipe, as `head` does: stop, successfully and without a word.
    ReaderGone,
}

/// A place that text is written to.
pub type Sink = Box<dyn Write + Send>;

/// Writes documents and messages. Clones write to the same places.
#[derive(Clone)]
pub struct Printer {
    format: Format,
    quiet: bool,
    surroundings: Surroundings,
    out: Arc<Mutex<Sink>>,
    err: Arc<Mutex<Sink>>,
}

impl Printer {
    /// Over the process's stdout and stderr.
    pub fn new(format: Format, quiet: bool) -> Self {
        Self::over(format, quiet, Surroundings::of_process(), Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// Over any two places.
    pub fn over(format: Format, quiet: bool, surroundings: Surroundings, out: Sink, err: Sink) -> Self {
        Self { format, quiet, surroundings, out: Arc::new(Mutex::new(out)), err: Arc::new(Mutex::new(err)) }
    }

    /// The chosen format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The style of stdout, for text that is not a document.
    pub fn style(&self) -> Style {
        Style { colour: self.surroundings.out_colour }
    }

    /// Writes the one document that answers a command.
    ///
    /// # Errors
    /// `node.io` when stdout fails otherwise than by a reader that left.
    pub fn print<T: Document>(&self, document: &T) -> Outcome<Written> {
        self.write(document, |document, out| {
            serde_json::to_writer_pretty(&mut *out, document)?;
            writeln!(out)
        })
    }

    /// Writes the next document of a stream, one line of JSON each.
    ///
    /// # Errors
    /// As [`Self::print`].
    pub fn stream<T: Document>(&self, document: &T) -> Outcome<Written> {
        self.write(document, |document, out| {
            serde_json::to_writer(&mut *out, document)?;
            writeln!(out)
        })
    }

    fn write<T: Document>(
        &self,
        document: &T,
        json: impl Fn(&Typed<'_, T>, &mut Vec<u8>) -> io::Result<()>,
    ) -> Outcome<Written> {
        // Built whole before it is written, so that parallel streams do not mix within a document.
        let mut bytes = Vec::new();
        let typed = Typed { kind: T::TYPE, body: document };
        let built = match self.format {
            Format::Text => document.text(&mut bytes, &self.style()),
            Format::Json => json(&typed, &mut bytes),
            // The mark lets a stream of documents be read as one file.
            Format::Yaml => serde_saphyr::to_string(&typed)
                .map_err(io::Error::other)
                .and_then(|text| writeln!(bytes, "---\n{}", text.trim_end())),
        };
        built.map_err(|error| Failure::new(agora_types::Code::NodeIo, format!("stdout: {error}")))?;
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        match out.write_all(&bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(Written::Whole),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Written::ReaderGone),
            Err(error) => Err(Failure::io(std::path::Path::new("stdout"))(error)),
        }
    }

    /// Says what goes on; silent under `--quiet`.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.message(&format!("{text}\n"));
        }
    }

    /// Says what deserves a look, also under `--quiet`.
    pub fn warn(&self, text: &str) {
        let style = Style { colour: self.surroundings.err_colour };
        self.message(&format!("{} {text}\n", style.doubtful("warning:")));
    }

    /// Says why the command failed: lines for people, one JSON document otherwise.
    pub fn failure(&self, failure: &Failure) {
        let document = failure.document();
        let text = match self.format {
            Format::Text => {
                let mut text = Vec::new();
                let style = Style { colour: self.surroundings.err_colour };
                document.text(&mut text, &style).expect("a vector takes all text");
                String::from_utf8_lossy(&text).into_owned()
            }
            Format::Json | Format::Yaml => format!("{}\n", to_json(&document)),
        };
        self.message(&text);
    }

    /// Messages are best effort: a closed stderr must not stop the work.
    fn message(&self, text: &str) {
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
    }

    /// A bar over `total` bytes, or a line on stderr where bars do not move.
    pub fn bytes_bar(&self, what: &str, total: u64) -> Bar {
        self.bar(what, || Bar::bytes(what, total, self.surroundings.err_colour))
    }

    /// A bar for work of unknown length.
    pub fn spinner(&self, what: &str) -> Bar {
        self.bar(what, || Bar::spinner(what))
    }

    fn bar(&self, what: &str, make: impl FnOnce() -> Bar) -> Bar {
        if self.quiet {
            Bar::hidden()
        } else if self.surroundings.bars {
            make()
        } else {
            self.note(what);
            Bar::hidden()
        }
    }
}

impl std::fmt::Debug for Printer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Printer").field("format", &self.format).field("quiet", &self.quiet).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "output_tests.rs"]
mod tests;
