//! Models trained anew on a part of the examples: the loss of each query by each is kept in a file, so that no model is
//! trained twice and a killed run goes on.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use agora_factory::{Schedule, Settings, Target, Training, train};
use agora_gradient::{Layout, Sequence};
use agora_influence::{Adapter, Asked};
use agora_types::Hash;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::methods::{Bench, joined};

/// How the adapters of a measure are trained.
pub(crate) fn settings(rate: f64, epochs: u32, batch_tokens: u32, seed: u64) -> Settings {
    Settings {
        rank: 8,
        alpha: 32.0,
        targets: vec![Target::Query, Target::Value],
        learning_rate: rate,
        schedule: Schedule::Cosine,
        epochs,
        batch_tokens,
        held_out_share: 0.0,
        seed,
        ..Settings::default()
    }
}

/// Examples as the factory takes them.
pub(crate) fn taught(all: &[Asked]) -> Vec<agora_factory::Example> {
    let one = |(at, asked): (usize, &Asked)| agora_factory::Example {
        id: Hash::sha256(at.to_be_bytes()),
        prompt: asked.prompt.clone(),
        response: asked.response.clone(),
    };
    all.iter().enumerate().map(one).collect()
}

/// Trains an adapter and writes it, and as many of its checkpoints in equal steps; reads what is there already. The last
/// one is the adapter.
pub(crate) fn adapters(
    bench: &mut Bench,
    settings: &Settings,
    all: &[Asked],
    checkpoints: u32,
    folder: &Path,
) -> Result<Vec<Adapter>, Failure> {
    let paths: Vec<PathBuf> =
        (1..=checkpoints).map(|at| folder.join(format!("adapter-{at}-of-{checkpoints}"))).collect();
    if !paths.iter().all(|path| path.join("adapter_config.json").is_file()) {
        let examples = taught(all);
        let state = folder.join("training");
        let training = Training { settings, examples: &examples, checkpoint: Some(&state) };
        for (at, path) in (1..=checkpoints).zip(&paths) {
            let cancel = AtomicBool::new(false);
            let trained = train(&mut bench.machine, &training, &cancel, &mut |seen| {
                let until = seen.steps * at / checkpoints;
                eprint!("\r   step {} of {}: {:.3}   ", seen.step, seen.steps, seen.running_loss.unwrap_or_default());
                cancel.store(seen.step >= until && at < checkpoints, std::sync::atomic::Ordering::Relaxed);
            })?;
            // All or nothing; one that a killed run wrote is the same.
            drop(fs::remove_dir_all(path));
            bench.weights().write_adapter(&trained.layout.tuned(&trained.numbers), path)?;
        }
        eprintln!();
        fs::remove_file(&state)?;
    }
    paths.iter().map(|path| Ok(Adapter::read(bench.weights(), path)?)).collect()
}

/// A model that was trained on a part.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    /// Hash of what it was trained on.
    kept: Hash,
    seed: u64,
    /// Mean surprise of each query, nats a token.
    losses: Vec<f64>,
    seconds: f64,
}

/// The losses that are known, and the file that they are kept in.
pub(crate) struct Ledger {
    known: BTreeMap<(Hash, u64), Vec<f64>>,
    file: File,
    /// Seconds that one model took in this process or an earlier one.
    pub(crate) seconds: Vec<f64>,
}

impl Ledger {
    /// Reads what is there; a line that was cut off is trained again.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let text = if path.is_file() { fs::read_to_string(path)? } else { String::new() };
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Line>(line).ok());
        let (mut known, mut seconds) = (BTreeMap::new(), Vec::new());
        for line in lines {
            seconds.push(line.seconds);
            known.insert((line.kept, line.seed), line.losses);
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        if !text.is_empty() && !text.ends_with('\n') {
            file.write_all(b"\n")?;
        }
        Ok(Self { known, file, seconds })
    }

    /// The losses of the queries by a model that learnt from these examples, in rising order, with this seed.
    pub(crate) fn losses(
        &mut self,
        bench: &mut Bench,
        settings: &Settings,
        (examples, queries): (&[Asked], &[Asked]),
        kept: &[usize],
    ) -> Result<Vec<f64>, Failure> {
        let key = Hash::sha256(kept.iter().flat_map(|at| at.to_be_bytes()).collect::<Vec<u8>>());
        if let Some(losses) = self.known.get(&(key, settings.seed)) {
            return Ok(losses.clone());
        }
        let begun = Instant::now();
        let some: Vec<Asked> = kept.iter().map(|at| examples[*at].clone()).collect();
        let losses = match some.is_empty() {
            // Nothing was learnt.
            true => query_losses(bench, None, queries)?,
            false => {
                let taught = taught(&some);
                let training = Training { settings, examples: &taught, checkpoint: None };
                let trained = train(&mut bench.machine, &training, &AtomicBool::new(false), &mut |_| {})?;
                query_losses(bench, Some((&trained.layout, &trained.numbers)), queries)?
            }
        };
        let line =
            Line { kept: key, seed: settings.seed, losses: losses.clone(), seconds: begun.elapsed().as_secs_f64() };
        self.file.write_all(format!("{}\n", serde_json::to_string(&line)?).as_bytes())?;
        self.file.flush()?;
        self.seconds.push(line.seconds);
        self.known.insert((key, settings.seed), losses.clone());
        Ok(losses)
    }
}

/// Mean surprise of each query, nats a token.
pub(crate) fn query_losses(
    bench: &mut Bench,
    adapter: Option<(&Layout, &[f32])>,
    queries: &[Asked],
) -> Result<Vec<f64>, Failure> {
    let tokens: Vec<Vec<u32>> = queries.iter().map(joined).collect();
    let each = tokens.iter().zip(queries);
    let sequences: Vec<Sequence<'_>> =
        each.map(|(tokens, asked)| Sequence { tokens, first: asked.prompt.len(), weight: 1.0, passed: &[] }).collect();
    let losses = bench.machine.losses(adapter, &sequences)?;
    Ok(losses.sums.iter().zip(&losses.counts).map(|(sum, count)| sum / *count as f64).collect())
}
