//! The engine behind the benchmark's protocol: one JSON request a line in, one reply a line out. `cargo xtask bench
//! inference` runs it beside other engines behind the same protocol (inference/bench/README.md).
//!
//! Everything goes the way a caller's answers go: rendered prompts, the batch, sampling, streams. Each call pays as
//! somebody else, so that no prompt is found again.

use std::cell::Cell;
use std::hint::black_box;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use agora_inference_api::{Engine as _, Job, Piece, Request, TokenStream};
use agora_kernels::Pool;
use agora_openlora::{OpenLora, Settings};
use agora_types::{Address, Hash};
use futures::executor::block_on;
use futures::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

/// What can be asked.
#[derive(Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
enum Ask {
    Load { model: PathBuf, threads: usize, context: usize, streams: usize, adapters_size: Option<usize> },
    Adapters { paths: Vec<PathBuf> },
    Prompt { count: usize, seed: u64 },
    Prefill { prompt: String, adapter: Option<usize> },
    Decode { streams: Vec<Stream>, steps: u64 },
    First { prompt: String, adapter: Option<usize>, load: Option<PathBuf> },
    Crowd { prompts: Vec<String>, adapters: usize, streams: usize, requests: u64, steps: u64 },
    Reading { threads: usize, size: usize },
    Memory,
    Quit,
}

#[derive(Deserialize)]
struct Stream {
    prompt: String,
    adapter: Option<usize>,
}

#[derive(Default)]
struct Worker {
    engine: Option<OpenLora>,
    adapters: Vec<Hash>,
    calls: u64,
}

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let mut worker = Worker::default();
    for line in std::io::stdin().lock().lines() {
        let reply = match serde_json::from_str(&line?) {
            Ok(Ask::Quit) => return Ok(()),
            Ok(ask) => worker.answer(ask),
            Err(error) => Err(error.into()),
        };
        let reply = reply.unwrap_or_else(|error| json!({ "error": error.to_string() }));
        println!("{reply}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

impl Worker {
    fn answer(&mut self, ask: Ask) -> Result<Value, Failure> {
        let begun = Instant::now();
        let seconds = || begun.elapsed().as_secs_f64();
        Ok(match ask {
            Ask::Load { model, threads, context, streams, adapters_size } => {
                let settings = Settings {
                    threads,
                    rows_max: streams,
                    queue_max: 4 * streams,
                    context_max: context,
                    prompt_step: 512,
                    // Streams that are measured together are all let in.
                    wait_max: std::time::Duration::from_secs(3_600),
                    adapters_size_max: adapters_size.unwrap_or(Settings::default().adapters_size_max),
                    ..Settings::default()
                };
                let engine = OpenLora::load(&model, None, settings, &mut |_| {})?;
                let (simd, weights) = (engine.simd(), engine.weights_size());
                self.engine = Some(engine);
                json!({ "engine": "openlora", "version": env!("CARGO_PKG_VERSION"), "simd": simd, "weights": weights,
                    "seconds": seconds(), "rss": memory("VmRSS:") })
            }
            Ask::Adapters { paths } => {
                for hash in std::mem::take(&mut self.adapters) {
                    self.engine()?.unload_adapter(&hash)?;
                }
                for (at, path) in paths.iter().enumerate() {
                    let info = self.engine()?.load_adapter(&format!("adapter-{at}"), path)?;
                    self.adapters.push(info.hash);
                }
                json!({ "seconds": seconds(), "rss": memory("VmRSS:") })
            }
            Ask::Prompt { count, seed } => {
                let (prompt, tokens) = self.prompt(count, seed)?;
                json!({ "prompt": prompt, "tokens": tokens })
            }
            Ask::Prefill { prompt, adapter } => {
                let mut stream = self.start(&prompt, adapter, 1)?;
                first(&mut stream)?;
                json!({ "seconds": seconds() })
            }
            Ask::Decode { streams, steps } => self.decode(&streams, steps)?,
            Ask::First { prompt, adapter, load } => {
                let begun = Instant::now();
                let adapter = match load {
                    Some(path) => Some(self.engine()?.load_adapter("cold", &path)?.hash),
                    None => adapter.map(|at| self.adapters[at]),
                };
                let mut stream = self.start_with(&prompt, adapter, 1)?;
                first(&mut stream)?;
                json!({ "seconds": begun.elapsed().as_secs_f64() })
            }
            Ask::Crowd { prompts, adapters, streams, requests, steps } => {
                self.crowd(&prompts, adapters, streams, requests, steps)?
            }
            Ask::Reading { threads, size } => json!({ "bytes_s": reading(threads, size)? }),
            Ask::Memory => json!({ "rss": memory("VmRSS:"), "peak": memory("VmHWM:") }),
            Ask::Quit => Value::Null,
        })
    }

    fn engine(&self) -> Result<&OpenLora, Failure> {
        self.engine.as_ref().ok_or_else(|| "load a model first".into())
    }

    /// A conversation of exactly `count` tokens, and its tokens.
    fn prompt(&self, count: usize, seed: u64) -> Result<(String, Vec<u32>), Failure> {
        const WORDS: [&str; 16] = [
            "river", "market", "stone", "winter", "engine", "letter", "garden", "signal", "harbor", "copper", "thread",
            "mountain", "window", "paper", "morning", "bridge",
        ];
        let mut text = format!("Write a very long story, at least fifty pages, about number {seed} and:");
        let mut state = seed;
        loop {
            let tokens = self.engine()?.prompt(&Request::ask(text.as_str(), 1))?;
            if tokens.len() == count {
                return Ok((text, tokens));
            }
            if tokens.len() > count {
                return Err(format!("no prompt of {count} tokens").into());
            }
            if count - tokens.len() <= 4 {
                text.push('.');
                continue;
            }
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.push(' ');
            text.push_str(WORDS[usize::try_from(state >> 60)?]);
        }
    }

    fn start(&mut self, prompt: &str, adapter: Option<usize>, tokens: u64) -> Result<Box<dyn TokenStream>, Failure> {
        let adapter = adapter.map(|at| self.adapters[at]);
        self.start_with(prompt, adapter, tokens)
    }

    fn start_with(
        &mut self,
        prompt: &str,
        adapter: Option<Hash>,
        tokens: u64,
    ) -> Result<Box<dyn TokenStream>, Failure> {
        self.calls += 1;
        let mut bytes = [0; 20];
        bytes[..8].copy_from_slice(&self.calls.to_be_bytes());
        let job = Job { adapter, payer: Some(Address::new(bytes)), ..Job::new(Request::ask(prompt, tokens), 4_096) };
        Ok(self.engine()?.start(job)?)
    }

    /// Tokens a second of all streams together, from when each has its first token until the first has all.
    fn decode(&mut self, streams: &[Stream], steps: u64) -> Result<Value, Failure> {
        let mut running = Vec::new();
        for stream in streams {
            running.push(self.start(&stream.prompt, stream.adapter, steps + 64)?);
        }
        let times = block_on(join_all(running.into_iter().map(|mut stream| async move {
            let mut times = Vec::new();
            while let Ok(Some(Piece::Token { .. })) = stream.next().await {
                times.push(Instant::now());
                if times.len() as u64 == steps + 64 {
                    break;
                }
            }
            times
        })));
        let begun = times.iter().filter_map(|times| times.first()).max();
        let (Some(begun), true) = (begun, times.iter().all(|times| times.len() > 1)) else {
            return Err("an answer ended at once".into());
        };
        let until = times.iter().filter_map(|times| times.last()).min().unwrap_or(begun);
        let count = times.iter().flatten().filter(|time| *time > begun && *time <= until).count();
        let shortest = times.iter().map(Vec::len).min();
        Ok(json!({ "seconds": until.duration_since(*begun).as_secs_f64(), "count": count, "shortest": shortest }))
    }
}

impl Worker {
    /// Requests whose adapters are drawn by Zipf's law out of the first `adapters`, as many at once as there are streams:
    /// tokens a second, and how many of the adapters are resident afterwards.
    fn crowd(
        &self,
        prompts: &[String],
        adapters: usize,
        streams: usize,
        requests: u64,
        steps: u64,
    ) -> Result<Value, Failure> {
        let engine = self.engine()?;
        let sums: Vec<f64> = (1..=adapters)
            .scan(0.0, |sum, rank| {
                *sum += 1.0 / rank as f64;
                Some(*sum)
            })
            .collect();
        let total = sums.last().copied().ok_or("at least one adapter")?;
        let left = Cell::new(requests);
        let state = Cell::new(1_u64);
        let tokens = Cell::new(0_u64);
        let draw = || {
            state.set(state.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407));
            let fraction = (state.get() >> 11) as f64 / (1_u64 << 53) as f64 * total;
            sums.partition_point(|sum| *sum < fraction).min(adapters - 1)
        };
        let one = |number: usize| {
            let (left, tokens, draw) = (&left, &tokens, &draw);
            async move {
                while left.get() > 0 {
                    left.set(left.get() - 1);
                    let mut bytes = [0xFF; 20];
                    bytes[..8].copy_from_slice(&left.get().to_be_bytes());
                    let request = Request::ask(prompts[number % prompts.len()].as_str(), steps);
                    let (adapter, payer) = (Some(self.adapters[draw()]), Some(Address::new(bytes)));
                    let Ok(mut stream) = engine.start(Job { adapter, payer, ..Job::new(request, 4_096) }) else {
                        return Err("a request was refused");
                    };
                    loop {
                        match stream.next().await {
                            Ok(Some(Piece::Token { .. })) => {}
                            Ok(Some(Piece::End { usage, .. })) => {
                                tokens.set(tokens.get() + usage.input + usage.output);
                            }
                            Ok(None) => break,
                            Err(_) => return Err("an answer failed"),
                        }
                    }
                }
                Ok(())
            }
        };
        let begun = Instant::now();
        for result in block_on(join_all((0..streams).map(one))) {
            result?;
        }
        let resident = engine.adapters().iter().filter(|adapter| adapter.resident).count();
        Ok(json!({ "seconds": begun.elapsed().as_secs_f64(), "count": tokens.get(), "resident": resident }))
    }
}

/// Bytes a second that so many threads read from memory of this size together: the median of some rounds.
fn reading(threads: usize, size: usize) -> Result<f64, Failure> {
    let mut pool = Pool::new(threads)?;
    let words: Vec<u64> = vec![1; size / 8];
    let tasks = threads * 8;
    let mut rounds: Vec<f64> = (0..15)
        .map(|_| {
            let begun = Instant::now();
            pool.run(tasks, &|task| {
                let part = words.len() / tasks;
                let mut sums = [0_u64; 64];
                for chunk in words[task * part..][..part].as_chunks::<64>().0 {
                    for (sum, word) in sums.iter_mut().zip(chunk) {
                        *sum |= word;
                    }
                }
                black_box(sums);
            });
            size as f64 / begun.elapsed().as_secs_f64()
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[rounds.len() / 2])
}

/// Waits for the first token.
fn first(stream: &mut Box<dyn TokenStream>) -> Result<(), Failure> {
    match block_on(stream.next())? {
        Some(Piece::Token { .. }) => Ok(()),
        Some(Piece::End { .. }) | None => Err("the answer is empty".into()),
    }
}

/// Bytes of memory, as the system counts them.
fn memory(field: &str) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kibibytes| kibibytes * 1_024)
}
