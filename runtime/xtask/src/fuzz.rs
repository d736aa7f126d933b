//! `cargo xtask fuzz`: every reader of what strangers send is fed by libFuzzer, guided by coverage, for a bounded time.
//!
//! Targets are the binaries of the crates in `CRATES`; each calls one probe, which panics when reading and writing
//! disagree. They are built with the stable compiler: LLVM's own coverage pass is asked for by codegen options, and neither
//! a nightly compiler nor a sanitizer is needed, since the readers are safe Rust whose failures are panics.
//!
//! Nothing is written into the source tree. A target works on a copy of its corpus in `fuzz/NAME/corpus` of the target
//! folder, made anew by each run, and what it finds new is left there: copy an input into the crate's `fuzz/corpus/NAME`
//! to keep it. The same seed, build and corpus try the same inputs in the same order. A crash ends the chore; the input lies
//! in `fuzz/NAME/found`, and the built target takes it as its argument.

mod build;
mod run;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::Args;

use crate::guests;
use crate::needs::{self, Need};

/// The fuzz crates, each a workspace of its own.
const CRATES: &[&str] = &["payments/x402/fuzz", "payments/gateway/fuzz", "inference/openlora/fuzz"];

/// How it is run.
#[derive(Args)]
pub(crate) struct Choice {
    /// Run only this target (may be repeated).
    #[arg(long, value_name = "NAME")]
    target: Vec<String>,
    /// Seconds for each target.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// Repeat a run that printed this seed.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    seed: Option<u32>,
}

/// Runs the chosen targets one after the other; fails at the first that crashes.
pub(crate) fn run(root: &Path, choice: &Choice) -> anyhow::Result<()> {
    needs::check(&[Need::C, Need::Cpp])?;
    let mut crates = Vec::new();
    for folder in CRATES {
        crates.push((root.join(folder), build::targets(&root.join(folder))?));
    }
    let known: Vec<&str> = crates.iter().flat_map(|(_, targets)| targets).map(|target| target.name.as_str()).collect();
    if let Some(stranger) = choice.target.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no target {stranger}; there are {}", known.join(", "));
    }
    let seed = choice.seed.unwrap_or_else(fresh_seed);
    println!("seed {seed}");
    let home = guests::target_folder(root)?.join("fuzz");
    for (folder, targets) in &mut crates {
        targets.retain(|target| choice.target.is_empty() || choice.target.contains(&target.name));
        if targets.is_empty() {
            continue;
        }
        let programs = build::build(folder, &home.join("build"), targets)?;
        for target in &*targets {
            let place = home.join(&target.name);
            let program = programs.join(&target.name);
            let bounds = run::Bounds { seconds: choice.seconds, seed, input_max: target.input_max };
            let line = run::run(&program, &folder.join("corpus").join(&target.name), &place, bounds)
                .with_context(|| format!("target {}, seed {seed}", target.name))?;
            println!("{}: {line}", target.name);
        }
    }
    println!("nothing crashed; what is new lies in {}", home.join("NAME").join("corpus").display());
    Ok(())
}

/// Above zero, which libFuzzer takes for "choose one".
fn fresh_seed() -> u32 {
    let nanoseconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.subsec_nanos());
    nanoseconds.wrapping_mul(std::process::id() | 1).max(1)
}
