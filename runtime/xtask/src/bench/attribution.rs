//! `cargo xtask bench attribution`: whether the shares are true, and what they cost.
//!
//! Five parts. *Detection*: DataInf's tasks, who finds the class of a query. *LDS*: models trained on random halves, and
//! without what a method names; bergson, a reference implementation, scores the same adapter. *Gaming*: markets of texts with
//! an attacker each, and what it is paid. *Cost*: an attribution beside the answer that it is of. *Training*: a step beside
//! torch and peft. The first three need time, the last two a quiet machine. The parts of ours that need a model are `inference/influence/examples/faithfulness`; what takes long lies in the target
//! folder, so that a killed run goes on.

mod gaming;
mod lds;
pub(crate) mod peers;
mod report;
mod statistics;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agora_shell::Paths;
use agora_shell::fetch;
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use crate::{guests, steps};
use gaming::Gaming;
use lds::Lds;
use peers::{Python, said};
use report::{Report, Step};

/// Fixes data, subsets and trainings.
const SEED: u64 = 1;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Who finds the class of a query
    Detection,
    /// What happens without some examples
    Lds,
    /// What attacks pay
    Gaming,
    /// What an attribution costs
    Cost,
    /// Seconds of a training step
    Training,
}

/// How it is run.
#[derive(Args)]
pub(crate) struct Choice {
    /// Measure only this (may be repeated).
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Threads of every program.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// A few minutes in all; the figures say little.
    #[arg(long)]
    small: bool,
    /// Ours alone: no reference and no torch, and so no 6 GB of Python packages.
    #[arg(long)]
    alone: bool,
    /// Detection: items of each of 10 classes; the paper has 100 [default: 20]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(10..=100))]
    phrases: Option<u64>,
    /// LDS: random halves [default: 24]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(4..=1_000))]
    subsets: Option<u64>,
    /// LDS: questions [default: 24]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=60))]
    queries: Option<u64>,
    /// LDS: trainings of each half [default: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=8))]
    seeds: Option<u64>,
    /// LDS and gaming: another draw of data, halves and trainings.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// LDS: leave out the trainings without what each method names.
    #[arg(long)]
    no_removal: bool,
    /// LDS: also variants of ours: layers, dampings, checkpoints.
    #[arg(long)]
    variants: bool,
    /// LDS: also EK-FAC refined by so many steps of conjugate gradients (slow).
    #[arg(long, value_name = "STEPS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=1_000))]
    cg: u64,
    /// Gaming: lessons of each of three people, at most 6 [default: 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=6))]
    lessons: Option<u64>,
    /// Cost and training: rounds.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(2..=50))]
    rounds: u64,
    /// Another GGUF file than the default model's: a llama.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// One JSON document instead of tables.
    #[arg(long)]
    json: bool,
}

impl Choice {
    fn wants(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// A size: what was asked for, or the usual one, or a small one.
    fn size(&self, asked: Option<u64>, usual: u64, small: u64) -> u64 {
        asked.unwrap_or(if self.small { small } else { usual })
    }
}

/// Where programs and their files are.
struct Place<'a> {
    root: &'a Path,
    /// The examples of the release build.
    examples: PathBuf,
    /// What is kept between runs.
    folder: PathBuf,
    model: PathBuf,
}

/// Measures, and prints what was seen.
pub(crate) fn run(root: &Path, choice: &Choice) -> anyhow::Result<()> {
    let model = match &choice.model {
        Some(model) => fs::canonicalize(model).with_context(|| model.display().to_string())?,
        None => {
            eprintln!("== model");
            eprintln!("   {}", crate::fetch::run(fetch::DEFAULT_MODEL)?);
            Paths::find(None)?.models().join(fetch::find(fetch::DEFAULT_MODEL)?.file)
        }
    };
    eprintln!("== our programs (the first build takes minutes)");
    let wanted = ["build", "--release", "--workspace", "--example", "faithfulness", "--example", "steps"];
    let status = steps::plain_cargo(root, &wanted).status().context("starting cargo")?;
    if !status.success() {
        bail!("the programs did not build ({status}); the output above says why");
    }
    let target = guests::target_folder(root)?;
    let folder = target.join("bench-attribution");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let place = Place { root, examples: target.join("release/examples"), folder, model };
    let needs_python = choice.wants(Part::Lds) || choice.wants(Part::Training);
    let python = match choice.alone || !needs_python {
        true => None,
        false => Some(Python::install(&root.join("inference/influence/bench/requirements.txt"))?),
    };
    let mut report = Report { threads: choice.threads, ..Report::default() };
    if choice.wants(Part::Training) {
        report.training = training(&place, choice, python.as_ref())?;
    }
    if choice.wants(Part::Cost) {
        eprintln!("== cost");
        let (rounds, scans) = (choice.rounds, choice.size(None, 60, 20));
        report.cost = Some(place.ask(choice, json!({ "do": "cost", "rounds": rounds, "scans": scans }))?);
    }
    if choice.wants(Part::Detection) {
        eprintln!("== detection");
        let phrases = choice.size(choice.phrases, 20, 10);
        let ask = json!({ "do": "detection", "phrases": phrases, "epochs": 3, "rate": 1e-3, "seed": SEED });
        report.detection = Some(place.ask(choice, ask)?);
    }
    if choice.wants(Part::Lds) {
        eprintln!("== counterfactual");
        (report.lds, report.reference) = counterfactual(&place, choice, python.as_ref())?;
    }
    if choice.wants(Part::Gaming) {
        eprintln!("== gaming");
        let data = root.join("runtime/xtask/data/attribution");
        let ask = json!({
            "do": "gaming", "data": data, "lessons": choice.size(choice.lessons, 3, 2), "small": choice.small,
            "epochs": choice.size(None, 12, 8), "batch_tokens": 160, "rate": 4e-3, "seed": choice.seed,
        });
        report.gaming = Some(Gaming::of(place.ask(choice, ask)?)?);
    }
    match choice.json {
        true => println!("{}", report.document()),
        false => print!("{report}"),
    }
    Ok(())
}

impl Place<'_> {
    /// What the example says.
    fn ask(&self, choice: &Choice, mut ask: Value) -> anyhow::Result<Value> {
        ask["model"] = json!(self.model);
        ask["folder"] = json!(self.folder);
        ask["threads"] = json!(choice.threads);
        let mut command = Command::new(self.examples.join("faithfulness"));
        said(command.arg(ask.to_string()), None)?.pop().context("the example said nothing")
    }
}

/// The table, and what the reference said.
fn counterfactual(
    place: &Place<'_>,
    choice: &Choice,
    python: Option<&Python>,
) -> anyhow::Result<(Option<Lds>, Option<Value>)> {
    let mut ask = json!({
        "do": "scores", "examples": choice.size(None, 120, 60), "queries": choice.size(choice.queries, 24, 12),
        "subsets": choice.size(choice.subsets, 24, 8), "seeds": choice.size(choice.seeds, 2, 2),
        "removed": if choice.no_removal { 0 } else { 3 }, "epochs": 6, "rate": 2e-3, "seed": choice.seed,
        "variants": choice.variants,
    });
    let scored = place.ask(choice, ask.clone())?;
    let reference = match python {
        None => None,
        Some(python) => {
            let task = scored["task"].as_str().context("where the task is")?;
            let log = place.folder.join("reference.log");
            eprintln!("== reference (it says more in {})", log.display());
            let work = place.folder.join("reference").display().to_string();
            let script = place.root.join("inference/influence/bench/reference.py");
            let (threads, cg) = (choice.threads.to_string(), choice.cg.to_string());
            python.run(&script, &[task, &work, &threads, &cg], &log)?.pop()
        }
    };
    eprintln!("== trainings");
    ask["do"] = "retrain".into();
    Ok((Some(Lds::of(&place.ask(choice, ask)?)?), reference))
}

/// Seconds of a step in rounds in which ours and the peer take turns.
fn training(place: &Place<'_>, choice: &Choice, python: Option<&Python>) -> anyhow::Result<Vec<Step>> {
    let Some(python) = python else { return Ok(Vec::new()) };
    eprintln!("== training");
    let (model, threads) = (place.model.display().to_string(), choice.threads.to_string());
    let script = place.root.join("inference/factory/bench/peer.py");
    let log = place.folder.join("training.log");
    let mut seen: Vec<Step> = Vec::new();
    for round in 1..=choice.size(None, choice.rounds, 2) {
        let mut command = Command::new(place.examples.join("steps"));
        let ours = said(command.args([&model, &threads]), None)?;
        let theirs = python.run(&script, &[&model, &threads], &log)?;
        for (own, other) in ours.iter().zip(&theirs) {
            let judged = own["judged"].as_u64().context("how many were judged")?;
            let pair = own["step_s"].as_f64().zip(other["step_s"].as_f64()).context("seconds of a step")?;
            eprintln!("   round {round}, {judged} judged: ours {:.2} s, the peer {:.2} s", pair.0, pair.1);
            match seen.iter_mut().find(|step| step.judged == judged) {
                Some(step) => step.pairs.push(pair),
                None => {
                    let who = other["who"].as_str().unwrap_or_default().to_owned();
                    seen.push(Step { judged, pairs: vec![pair], who });
                }
            }
        }
    }
    Ok(seen)
}
