//! `cargo xtask bench inference`: our engine beside llama.cpp and candle, on the same file and the same tokens.
//!
//! Each engine is a program behind one protocol (inference/bench/README.md). Within a round every engine is measured once
//! in each row, one after another, so that other load hits all alike; ratios are taken within rounds. Ours is measured
//! the way a caller meets it, through batch, sampling and streams; the peers compute tokens and nothing else.

mod adapters;
mod report;
mod worker;

use std::path::{Path, PathBuf};
use std::process::Command;

use agora_shell::Paths;
use agora_shell::fetch;
use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};

use crate::needs::{self, Need};
use crate::{guests, steps};
use report::{Report, Row};
use worker::Worker;

/// Tokens of a prompt before a stream decodes.
const PROMPT: usize = 64;
const PROMPT_LONG: usize = 512;
/// Most positions of a stream, and most streams.
const CONTEXT: usize = 1_024;
const STREAMS: usize = 64;
/// Adapters of the crowd.
const CROWD: usize = 1_000;
/// Memory for resident adapters there: about a quarter of them.
const CROWD_SIZE: usize = 256 << 20;

/// How it is run.
#[derive(Args)]
pub(crate) struct Choice {
    /// Rounds; in each, every engine is measured once in every row.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=50))]
    rounds: u64,
    /// Threads of every engine.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Ours alone: needs no C++ compiler and no Python.
    #[arg(long)]
    alone: bool,
    /// Measure only rows whose name contains this, such as "1 stream" or "crowd" (may be repeated).
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Another GGUF file than the default model's: a llama.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// One JSON document instead of a table.
    #[arg(long)]
    json: bool,
}

impl Choice {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text.as_str()))
    }
}

/// What a row measures.
#[derive(Clone, Copy)]
enum Measure {
    Prefill,
    Decode { streams: usize, adapters: bool },
    First { cold: bool },
}

impl Measure {
    const ALL: [Self; 11] = [
        Self::Prefill,
        Self::Decode { streams: 1, adapters: false },
        Self::Decode { streams: 4, adapters: false },
        Self::Decode { streams: 8, adapters: false },
        Self::Decode { streams: 16, adapters: false },
        Self::Decode { streams: 32, adapters: false },
        Self::Decode { streams: 8, adapters: true },
        Self::Decode { streams: 16, adapters: true },
        Self::Decode { streams: 64, adapters: true },
        Self::First { cold: false },
        Self::First { cold: true },
    ];

    fn name(self) -> String {
        match self {
            Self::Prefill => format!("prompt of {PROMPT_LONG}"),
            Self::Decode { streams: 1, adapters: false } => "1 stream".to_owned(),
            Self::Decode { streams, adapters: false } => format!("{streams} streams"),
            Self::Decode { streams, adapters: true } => format!("{streams} streams, {streams} adapters"),
            Self::First { cold: false } => format!("first token after {PROMPT}, adapter loaded"),
            Self::First { cold: true } => format!("first token after {PROMPT}, adapter on disk"),
        }
    }

    /// Whether it touches everything that the others will.
    fn warms(self) -> bool {
        matches!(self, Self::Prefill | Self::Decode { streams: 16, .. })
    }

    /// Steps that are timed.
    fn steps(self) -> usize {
        match self {
            Self::Decode { streams: 1, .. } => 96,
            Self::Decode { streams: 64, .. } => 16,
            _ => 32,
        }
    }
}

/// A prompt, as text for ours and as tokens for the peers.
struct Prompt {
    text: Value,
    tokens: Value,
}

/// Measures, and prints what was seen.
pub(crate) fn run(root: &Path, choice: &Choice) -> anyhow::Result<()> {
    let model = match &choice.model {
        Some(model) => model.clone(),
        None => {
            eprintln!("== model");
            eprintln!("   {}", crate::fetch::run(fetch::DEFAULT_MODEL)?);
            Paths::find(None)?.models().join(fetch::find(fetch::DEFAULT_MODEL)?.file)
        }
    };
    let ours = built(root)?;
    let peers = if choice.alone { None } else { Some(peers(root)?) };
    let home = guests::target_folder(root)?.join(format!("agora-bench-{}", std::process::id()));
    let adapters = adapters::Adapters::make(&home, STREAMS, peers.as_deref())?;

    let load = |streams: usize| json!({ "do": "load", "model": model, "threads": choice.threads, "context": CONTEXT, "streams": streams });
    let mut report = Report::new(choice.threads, &model);
    // Memory first, each engine alone with one stream.
    let mut programs = vec![("openlora", ours.clone())];
    if let Some(folder) = &peers {
        programs.push(("llama.cpp", folder.join("peer-llama")));
        programs.push(("candle", folder.join("peer-candle")));
    }
    let mut workers = Vec::new();
    let (mut long, mut short) = (None, Vec::new());
    for (name, program) in &programs {
        let mut worker = Worker::start(name, program)?;
        let mut said = worker.ask(&load(1))?;
        if *name == "openlora" {
            long = Some(prompt(&mut worker, PROMPT_LONG, 0)?);
            short = (1..=STREAMS).map(|seed| prompt(&mut worker, PROMPT, seed)).collect::<Result<_, _>>()?;
            let size = said["weights"].as_u64().unwrap_or_default();
            report.reading =
                worker.ask(&json!({ "do": "reading", "threads": choice.threads, "size": size }))?["bytes_s"].as_f64();
        }
        let once = short.first().context("a prompt")?;
        worker.ask(&json!({ "do": "prefill", "prompt": once.text, "tokens": once.tokens }))?;
        said["rss"] = worker.ask(&json!({ "do": "memory" }))?["rss"].clone();
        eprintln!("   {name}: {said}");
        report.engines.push((name.to_string(), said));
    }
    let long = long.context("a long prompt")?;
    for (at, (name, program)) in programs.iter().enumerate() {
        let mut worker = Worker::start(name, program)?;
        // candle has one stream only.
        worker.ask(&load(if *name == "candle" { 1 } else { STREAMS }))?;
        if *name != "candle" {
            worker.ask(&json!({ "do": "adapters", "paths": adapters.paths(at == 0) }))?;
        }
        workers.push(worker);
    }
    report.rows = Measure::ALL.map(|measure| Row::new(measure.name(), matches!(measure, Measure::First { .. }))).into();
    for round in 0..=choice.rounds {
        for (at, measure) in Measure::ALL.into_iter().enumerate() {
            // The first round warms up.
            let wanted = choice.wants(&measure.name());
            if !wanted || (round == 0 && !measure.warms()) {
                continue;
            }
            for (engine, worker) in workers.iter_mut().enumerate() {
                let Some(value) = measured(worker, measure, &long, &short, &adapters, engine == 0)? else { continue };
                if round > 0 {
                    report.rows[at].push(engine, value);
                }
            }
            if round > 0 {
                eprintln!("   round {round}: {}", report.rows[at]);
            }
        }
    }
    drop(workers);
    if choice.wants("crowd") {
        crowd(&ours, &load(16), &home, &short, choice.rounds, &mut report)?;
    }
    match choice.json {
        true => println!("{}", report.document()),
        false => print!("{report}"),
    }
    Ok(())
}

/// A thousand adapters by Zipf's law beside one adapter, both of ours alone.
fn crowd(
    ours: &Path,
    load: &Value,
    home: &Path,
    short: &[Prompt],
    rounds: u64,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("== {CROWD} adapters");
    let crowd = adapters::Adapters::make(&home.join("crowd"), CROWD, None)?;
    let mut worker = Worker::start("openlora", ours)?;
    let mut load = load.clone();
    load["adapters_size"] = CROWD_SIZE.into();
    worker.ask(&load)?;
    let known = worker.ask(&json!({ "do": "adapters", "paths": crowd.paths(true) }))?;
    report.registered_s = known["seconds"].as_f64();
    let prompts: Vec<&Value> = short.iter().take(16).map(|prompt| &prompt.text).collect();
    for round in 0..=rounds {
        let mut rate = |adapters: usize| -> anyhow::Result<f64> {
            let seen = worker.ask(&json!({
                "do": "crowd", "prompts": prompts, "adapters": adapters, "streams": 16, "requests": 64, "steps": 32
            }))?;
            if adapters > 1 {
                report.resident = seen["resident"].as_u64();
            }
            Ok(seen["count"].as_f64().unwrap_or_default() / seen["seconds"].as_f64().unwrap_or(f64::INFINITY))
        };
        let (one, many) = (rate(1)?, rate(CROWD)?);
        if round > 0 {
            report.crowd.push((many, one));
            eprintln!("   round {round}: {many:.0} tokens/s with {CROWD} adapters, {one:.0} with one");
        }
    }
    Ok(())
}

/// Tokens a second, or seconds; `None` where an engine cannot do it.
fn measured(
    worker: &mut Worker,
    measure: Measure,
    long: &Prompt,
    short: &[Prompt],
    adapters: &adapters::Adapters,
    is_ours: bool,
) -> anyhow::Result<Option<f64>> {
    let ask = match measure {
        Measure::Prefill => json!({ "do": "prefill", "prompt": long.text, "tokens": long.tokens }),
        Measure::Decode { streams, adapters } => {
            let stream = |(at, prompt): (usize, &Prompt)| json!({ "prompt": prompt.text, "tokens": prompt.tokens, "adapter": adapters.then_some(at) });
            let streams: Vec<Value> = short.iter().take(streams).enumerate().map(stream).collect();
            json!({ "do": "decode", "streams": streams, "steps": measure.steps() })
        }
        Measure::First { cold } => {
            let path = cold.then(|| adapters.path(is_ours, 0));
            json!({ "do": "first", "prompt": short[0].text, "tokens": short[0].tokens, "adapter": (!cold).then_some(0), "load": path })
        }
    };
    let Some(said) = worker.try_ask(&ask)? else { return Ok(None) };
    let seconds = said["seconds"].as_f64().context("seconds")?;
    Ok(Some(match measure {
        Measure::Prefill => PROMPT_LONG as f64 / seconds,
        Measure::Decode { streams, .. } => {
            let count = said["count"].as_f64().unwrap_or((streams * measure.steps()) as f64);
            count / seconds
        }
        Measure::First { .. } => seconds,
    }))
}

/// A prompt of so many tokens.
fn prompt(worker: &mut Worker, count: usize, seed: usize) -> anyhow::Result<Prompt> {
    let said = worker.ask(&json!({ "do": "prompt", "count": count, "seed": seed }))?;
    Ok(Prompt { text: said["prompt"].clone(), tokens: said["tokens"].clone() })
}

/// Our engine behind the protocol.
fn built(root: &Path) -> anyhow::Result<PathBuf> {
    eprintln!("== our engine (the first build takes minutes)");
    let wanted = ["build", "--release", "--workspace", "--example", "worker"];
    let status = steps::plain_cargo(root, &wanted).status().context("starting cargo")?;
    if !status.success() {
        bail!("the engine did not build ({status}); the output above says why");
    }
    Ok(guests::target_folder(root)?.join("release").join("examples").join("worker"))
}

/// The folder of the peers.
fn peers(root: &Path) -> anyhow::Result<PathBuf> {
    needs::check(&[Need::Pip, Need::Cpp])?;
    eprintln!("== peers (their first build takes about 15 minutes; `--alone` does without them)");
    let mut build = Command::new(root.join("inference/bench/build.sh"));
    build.env_remove("CARGO_TARGET_DIR").stderr(std::process::Stdio::inherit());
    let built = build.output().context("starting inference/bench/build.sh")?;
    if !built.status.success() {
        bail!("the peers did not build ({}); the output above says why, and `--alone` does without them", built.status);
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&built.stdout).trim()))
}
