//! The protocol: one JSON request a line on stdin, one JSON reply a line on stdout. Failures are replies too.

use crate::process;
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

/// The longest request line, in bytes; a longer one ends the program.
const LINE_MAX: u64 = 64 << 20;

/// What an engine answers to a request that it has no way to fulfil.
pub const UNSUPPORTED: &str = "unsupported";

/// One line of stdin.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "lowercase")]
pub enum Request {
    Load(Load),
    Adapters { paths: Vec<PathBuf> },
    Prefill(Prompt),
    Decode(Decode),
    First(First),
    Logits(Logits),
    Memory,
    Quit,
}

/// Loads a model in place of the one before.
#[derive(Deserialize)]
pub struct Load {
    pub model: PathBuf,
    pub threads: u32,
    /// Most positions of one stream.
    pub context: u32,
    /// Most streams at once.
    pub streams: u32,
    /// Flash attention; left out, the engine's faster choice.
    #[serde(default)]
    pub flash: Option<bool>,
}

/// Tokens under an adapter: an index into the loaded ones, or none for the base model.
#[derive(Deserialize)]
pub struct Prompt {
    pub tokens: Vec<u32>,
    #[serde(default)]
    pub adapter: Option<usize>,
}

/// Generates `steps` tokens for every stream.
#[derive(Deserialize)]
pub struct Decode {
    pub streams: Vec<Prompt>,
    pub steps: usize,
    /// Where an engine holds one adapter per context: how it serves several adapters.
    #[serde(default)]
    pub contexts: Contexts,
}

/// How an engine with one adapter per context serves several adapters in a step.
#[derive(Deserialize, Default, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Contexts {
    /// One context, the adapter switched before each group of streams.
    #[default]
    One,
    /// A context for each adapter, made before the clock starts: no switch, more memory.
    Each,
}

/// The first token, from a cold adapter file where `load` is given.
#[derive(Deserialize)]
pub struct First {
    #[serde(flatten)]
    pub prompt: Prompt,
    #[serde(default)]
    pub load: Option<PathBuf>,
}

/// The logits of every position, into a file.
#[derive(Deserialize)]
pub struct Logits {
    #[serde(flatten)]
    pub prompt: Prompt,
    pub file: PathBuf,
}

/// What a loaded engine says about itself.
pub struct Loaded {
    pub engine: &'static str,
    pub version: String,
    /// The SIMD features that the binary really uses.
    pub simd: String,
    pub seconds: f64,
}

/// What a decode made.
pub struct Decoded {
    pub seconds: f64,
    /// Per stream, in the order of the request: the first `steps` tokens of the greedy answer.
    pub tokens: Vec<Vec<u32>>,
}

/// The shape of a logits file.
pub struct Shape {
    pub rows: usize,
    pub columns: usize,
}

/// An engine. Seconds are measured inside, on a monotonic clock. After a failed load no model is loaded; after any other
/// failure the engine is as usable as before.
pub trait Peer {
    fn load(&mut self, load: &Load) -> Result<Loaded>;
    /// Replaces the set of loaded adapters; returns seconds.
    fn adapters(&mut self, paths: &[PathBuf]) -> Result<f64>;
    /// The whole prompt on an empty cache, logits of its last token; returns seconds.
    fn prefill(&mut self, prompt: &Prompt) -> Result<f64>;
    fn decode(&mut self, decode: &Decode) -> Result<Decoded>;
    /// From the request to the first token; returns seconds.
    fn first(&mut self, first: &First) -> Result<f64>;
    /// Hands each row of logits to `row`, in order.
    fn logits(&mut self, prompt: &Prompt, row: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()>;
}

/// Serves requests until `quit` or the end of stdin.
pub fn serve(mut peer: impl Peer) -> Result<()> {
    let mut input = BufReader::new(std::io::stdin().lock());
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).context("reading stdin")?;
        if read == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && read as u64 == LINE_MAX {
            bail!("a request is longer than {LINE_MAX} bytes");
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let reply = match serde_json::from_slice(&line) {
            Ok(Request::Quit) => return Ok(()),
            Ok(request) => answer(&mut peer, &request),
            Err(error) => Err(error).context("not a request"),
        };
        let reply = reply.unwrap_or_else(|error| json!({ "error": format!("{error:#}") }));
        let mut output = std::io::stdout().lock();
        writeln!(output, "{reply}").and_then(|()| output.flush()).context("writing stdout")?;
    }
}

fn answer(peer: &mut impl Peer, request: &Request) -> Result<Value> {
    Ok(match request {
        Request::Load(load) => {
            ensure!(
                load.threads > 0 && load.context > 0 && load.streams > 0,
                "threads, context and streams start at 1"
            );
            let Loaded { engine, version, simd, seconds } = peer.load(load)?;
            let rss = process::memory()?.rss;
            json!({ "engine": engine, "version": version, "simd": simd, "seconds": seconds, "rss": rss })
        }
        Request::Adapters { paths } => {
            let seconds = peer.adapters(paths)?;
            json!({ "seconds": seconds, "rss": process::memory()?.rss })
        }
        Request::Prefill(prompt) => json!({ "seconds": peer.prefill(prompt)? }),
        Request::Decode(decode) => {
            let Decoded { seconds, tokens } = peer.decode(decode)?;
            json!({ "seconds": seconds, "tokens": tokens })
        }
        Request::First(first) => json!({ "seconds": peer.first(first)? }),
        Request::Logits(logits) => {
            let Shape { rows, columns } = write_logits(peer, logits)?;
            json!({ "rows": rows, "columns": columns })
        }
        Request::Memory => {
            let process::Memory { rss, peak } = process::memory()?;
            json!({ "rss": rss, "peak": peak })
        }
        Request::Quit => json!({}),
    })
}

fn write_logits(peer: &mut impl Peer, request: &Logits) -> Result<Shape> {
    let mut file = create(&request.file)?;
    let mut shape = Shape { rows: 0, columns: 0 };
    let mut bytes = Vec::new();
    peer.logits(&request.prompt, &mut |row| {
        shape = Shape { rows: shape.rows + 1, columns: row.len() };
        bytes.clear();
        bytes.extend(row.iter().flat_map(|value| value.to_le_bytes()));
        file.write_all(&bytes).with_context(|| format!("writing {}", request.file.display()))
    })?;
    file.flush().with_context(|| format!("writing {}", request.file.display()))?;
    Ok(shape)
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    Ok(BufWriter::new(File::create(path).with_context(|| format!("creating {}", path.display()))?))
}

/// Fails where a prompt is not one that a model with these limits can run with `more` tokens after it.
pub fn check(prompt: &Prompt, more: usize, context: usize, vocabulary: usize) -> Result<()> {
    ensure!(!prompt.tokens.is_empty(), "a prompt has at least one token");
    let positions = prompt.tokens.len().saturating_add(more);
    ensure!(positions <= context, "{positions} positions do not fit in a context of {context}");
    if let Some(token) = prompt.tokens.iter().find(|token| **token as usize >= vocabulary) {
        bail!("token {token} is not in a vocabulary of {vocabulary}");
    }
    Ok(())
}
