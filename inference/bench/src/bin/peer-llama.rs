//! llama.cpp behind the benchmark protocol.

use agora_inference_bench::argmax;
use agora_inference_bench::llama::{self, Adapter, Context, Model, Pool, Size, UBATCH};
use agora_inference_bench::protocol::{Contexts, Decode, Decoded, First, Load, Loaded, Peer, Prompt, check, serve};
use anyhow::{Context as _, Result, ensure};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

fn main() -> Result<()> {
    llama::start();
    serve(Llama { engine: None })
}

struct Llama {
    engine: Option<Engine>,
}

struct Engine {
    context: Context,
    adapters: Vec<Rc<Adapter>>,
    model: Rc<Model>,
    pool: Rc<Pool>,
    size: Size,
}

/// Streams of one adapter: what llama.cpp can compute in one batch.
struct Group {
    /// An index into the contexts.
    context: usize,
    adapter: Option<Rc<Adapter>>,
    lanes: Vec<Lane>,
}

/// One stream: its place in the request and in the context, and the token that comes next.
struct Lane {
    answer: usize,
    stream: usize,
    position: usize,
    next: u32,
}

impl Peer for Llama {
    fn load(&mut self, load: &Load) -> Result<Loaded> {
        self.engine = None;
        let start = Instant::now();
        let pool = Pool::new(load.threads)?;
        let model = Model::load(&load.model)?;
        // llama.cpp's own choice. On one Q4_1 file neither was clearly faster: see README.md.
        let flash = load.flash.unwrap_or(true);
        let size = Size { context: load.context, streams: load.streams, outputs: load.streams, flash };
        let context = Context::new(&model, &pool, size)?;
        let seconds = start.elapsed().as_secs_f64();
        self.engine = Some(Engine { context, adapters: Vec::new(), model, pool, size });
        Ok(Loaded { engine: "llama.cpp", version: llama::version(), simd: llama::system_info(), seconds })
    }

    fn adapters(&mut self, paths: &[PathBuf]) -> Result<f64> {
        let engine = self.engine()?;
        let start = Instant::now();
        engine.context.set_adapter(None);
        engine.adapters.clear();
        let loaded: Result<_> = paths.iter().map(|path| Adapter::load(&engine.model, path)).collect();
        engine.adapters = loaded?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn prefill(&mut self, prompt: &Prompt) -> Result<f64> {
        let engine = self.engine()?;
        engine.check(prompt, 0)?;
        let adapter = engine.adapter(prompt.adapter)?;
        let start = Instant::now();
        engine.prompt(&prompt.tokens, adapter.as_ref())?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn decode(&mut self, decode: &Decode) -> Result<Decoded> {
        self.engine()?.run(decode)
    }

    fn first(&mut self, first: &First) -> Result<f64> {
        let engine = self.engine()?;
        engine.check(&first.prompt, 0)?;
        let kept = engine.adapter(first.prompt.adapter)?;
        let start = Instant::now();
        let adapter = match &first.load {
            Some(path) => Some(Adapter::load(&engine.model, path)?),
            None => kept,
        };
        let last = engine.prompt(&first.prompt.tokens, adapter.as_ref())?;
        argmax(engine.context.logits(last)?);
        let seconds = start.elapsed().as_secs_f64();
        if first.load.is_some() {
            engine.context.set_adapter(None);
        }
        Ok(seconds)
    }

    fn logits(&mut self, prompt: &Prompt, row: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let engine = self.engine()?;
        engine.check(prompt, 0)?;
        let adapter = engine.adapter(prompt.adapter)?;
        // A context of its own, as a place for the logits of every position would make the measured one larger.
        let size = Size { context: engine.size.context, streams: 1, outputs: UBATCH, flash: engine.size.flash };
        let mut context = Context::new(&engine.model, &engine.pool, size)?;
        context.set_adapter(adapter.as_ref());
        let mut position = 0;
        for piece in prompt.tokens.chunks(UBATCH as usize) {
            context.begin();
            let mut rows = Vec::with_capacity(piece.len());
            for token in piece {
                rows.push(context.add(*token, position, 0, true)?);
                position += 1;
            }
            context.decode()?;
            for index in rows {
                row(context.logits(index)?)?;
            }
        }
        Ok(())
    }
}

impl Llama {
    fn engine(&mut self) -> Result<&mut Engine> {
        self.engine.as_mut().context("no model is loaded")
    }
}

impl Engine {
    fn check(&self, prompt: &Prompt, more: usize) -> Result<()> {
        check(prompt, more, self.size.context as usize, self.model.vocabulary)
    }

    fn adapter(&self, index: Option<usize>) -> Result<Option<Rc<Adapter>>> {
        let Some(index) = index else { return Ok(None) };
        let adapter = self.adapters.get(index).with_context(|| format!("no adapter {index}"))?;
        Ok(Some(adapter.clone()))
    }

    /// Computes a prompt on an empty cache; returns the index of the last token's logits.
    fn prompt(&mut self, tokens: &[u32], adapter: Option<&Rc<Adapter>>) -> Result<i32> {
        self.context.clear();
        self.context.set_adapter(adapter);
        self.context.begin();
        let last = self.context.add_prompt(tokens, 0)?;
        self.context.decode()?;
        Ok(last)
    }

    fn run(&mut self, decode: &Decode) -> Result<Decoded> {
        let streams = decode.streams.len();
        ensure!(
            0 < streams && streams <= self.size.streams as usize,
            "{streams} streams, at most {}",
            self.size.streams
        );
        decode.streams.iter().try_for_each(|prompt| self.check(prompt, decode.steps))?;
        let mut groups = self.group(decode)?;
        let mut own = Vec::new();
        let contexts = match decode.contexts {
            Contexts::One => std::slice::from_mut(&mut self.context),
            Contexts::Each => {
                for group in &groups {
                    let streams = u32::try_from(group.lanes.len()).context("streams")?;
                    own.push(Context::new(&self.model, &self.pool, Size { streams, outputs: streams, ..self.size })?);
                }
                &mut own
            }
        };
        compute_prompts(contexts, &mut groups, &decode.streams)?;

        let mut tokens = vec![Vec::with_capacity(decode.steps); streams];
        let start = Instant::now();
        for _ in 0..decode.steps {
            for group in &mut groups {
                step(&mut contexts[group.context], group, &mut tokens)?;
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        Ok(Decoded { seconds, tokens })
    }

    /// Sorts the streams by adapter, so that those of a group are neighbours in the cache, which one batch needs.
    fn group(&self, decode: &Decode) -> Result<Vec<Group>> {
        let mut by_adapter: BTreeMap<Option<usize>, Vec<usize>> = BTreeMap::new();
        for (answer, prompt) in decode.streams.iter().enumerate() {
            by_adapter.entry(prompt.adapter).or_default().push(answer);
        }
        let mut groups = Vec::new();
        let mut taken = 0;
        for (adapter, answers) in by_adapter {
            let (context, first) = match decode.contexts {
                Contexts::One => (0, taken),
                Contexts::Each => (groups.len(), 0),
            };
            taken += answers.len();
            let lane = |(at, answer)| Lane { answer, stream: first + at, position: 0, next: 0 };
            let lanes = answers.into_iter().enumerate().map(lane).collect();
            groups.push(Group { context, adapter: self.adapter(adapter)?, lanes });
        }
        Ok(groups)
    }
}

/// Computes every prompt on empty caches and chooses the token that comes next.
fn compute_prompts(contexts: &mut [Context], groups: &mut [Group], prompts: &[Prompt]) -> Result<()> {
    contexts.iter_mut().for_each(Context::clear);
    for group in groups {
        let context = &mut contexts[group.context];
        context.set_adapter(group.adapter.as_ref());
        for lane in &mut group.lanes {
            let tokens = &prompts[lane.answer].tokens;
            context.begin();
            let last = context.add_prompt(tokens, lane.stream)?;
            context.decode()?;
            lane.position = tokens.len();
            lane.next = u32::try_from(argmax(context.logits(last)?)).context("token")?;
        }
    }
    Ok(())
}

/// Appends each stream's next token to its answer, computes it, and chooses the one after.
fn step(context: &mut Context, group: &mut Group, tokens: &mut [Vec<u32>]) -> Result<()> {
    context.set_adapter(group.adapter.as_ref());
    context.begin();
    for lane in &group.lanes {
        tokens[lane.answer].push(lane.next);
        context.add(lane.next, lane.position, lane.stream, true)?;
    }
    context.decode()?;
    for (index, lane) in (0..).zip(&mut group.lanes) {
        lane.position += 1;
        lane.next = u32::try_from(argmax(context.logits(index)?)).context("token")?;
    }
    Ok(())
}
