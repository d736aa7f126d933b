//! The counterfactual measure: what methods predict beside what happens when a model is trained without some examples.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use agora_inference_api::SplitMix64;
use agora_influence::{Adapter, Asked, Settings};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;
use crate::facts::facts;
use crate::methods::{Bench, Case, Scores, joined, words};
use crate::retrain::{Ledger, adapters, query_losses, settings};
use crate::variants::variants;

/// Changes whenever the data or the way to train it does: what was kept before is of no use then.
const VERSION: u32 = 1;
/// Queries whose best examples are left out together. They are about different towns, and one training serves them all.
const TOGETHER: usize = 8;
/// Methods whose best examples are left out: each costs a training for each group of queries.
const TRIED: [&str; 7] = [
    "influence-ekfac-nnls",
    "influence-ekfac",
    "gradient-cosine",
    "bm25",
    "bm25, responses",
    "embedding-similarity",
    "reference: EK-FAC of bergson",
];

/// What is measured.
#[derive(Deserialize)]
pub(crate) struct Ask {
    model: PathBuf,
    folder: PathBuf,
    threads: usize,
    examples: usize,
    queries: usize,
    /// Random halves.
    subsets: usize,
    /// Trainings of each half, with seeds of their own.
    seeds: u64,
    /// Examples that are left out for each query.
    removed: usize,
    epochs: u32,
    rate: f64,
    seed: u64,
    /// Whether variants of ours are measured too.
    variants: bool,
}

impl Ask {
    fn folder(&self) -> PathBuf {
        let Self { examples, queries, epochs, rate, seed, .. } = self;
        self.folder.join(format!("facts-v{VERSION}-{examples}-{queries}-{epochs}-{rate}-{seed}"))
    }

    fn how(&self, seed: u64) -> agora_factory::Settings {
        settings(self.rate, self.epochs, 160, 1_000 * self.seed + seed)
    }
}

struct World {
    bench: Bench,
    examples: Vec<Asked>,
    queries: Vec<Asked>,
    /// The adapter's checkpoints and, last, the adapter.
    adapters: Vec<Adapter>,
    folder: PathBuf,
}

impl World {
    fn new(ask: &Ask) -> Result<Self, Failure> {
        let mut bench = Bench::load(&ask.model, ask.threads)?;
        let facts = facts(ask.examples, ask.queries, ask.seed);
        let take = |items: &[crate::tasks::Item]| items.iter().map(|item| bench.asked(item, false)).collect::<Vec<_>>();
        let (examples, queries) = (take(&facts.statements), take(&facts.questions));
        let folder = ask.folder();
        fs::create_dir_all(folder.join("scores"))?;
        let tokens: usize = examples.iter().map(|asked| joined(asked).len()).sum();
        eprintln!("== an adapter from {} statements, {tokens} tokens", examples.len());
        let adapters = adapters(&mut bench, &ask.how(0), &examples, 3, &folder)?;
        Ok(Self { bench, examples, queries, adapters, folder })
    }
}

/// Writes what every method says, and `task.json`, from which a peer in Python computes the same for the same adapter.
pub(crate) fn scores(ask: &Ask) -> Result<Value, Failure> {
    let World { mut bench, examples, queries, mut adapters, folder } = World::new(ask)?;
    let before = query_losses(&mut bench, None, &queries)?;
    let adapter = adapters.pop().ok_or("an adapter")?;
    let after = query_losses(&mut bench, Some((&adapter.layout, &adapter.numbers)), &queries)?;
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    eprintln!("   loss of the queries: {:.3} before, {:.3} after", mean(&before), mean(&after));
    let case = Case { adapter: &adapter, examples: &examples, queries: &queries };
    let mut all = bench.index(&case, &folder.join("index"))?;
    all.extend(bench.plain(&case)?);
    all.extend(words(&case)?);
    all.push(bench.embeddings(&case)?);
    if ask.variants {
        all.extend(variants(&mut bench, &case, &adapters, Settings::default().l1_micro)?);
    }
    for scores in &all {
        let name = format!("{}.json", scores.method.replace([' ', ','], "-"));
        write(&folder.join("scores").join(name), &serde_json::to_vec(scores)?)?;
    }
    let text = |asked: &Asked| json!({ "prompt": asked.prompt, "response": asked.response });
    let task = json!({
        "model": ask.model, "adapter": folder.join("adapter-3-of-3"), "scores": folder.join("scores"),
        "examples": examples.iter().map(text).collect::<Vec<_>>(), "queries": queries.iter().map(text).collect::<Vec<_>>(),
        // So that the peer can see that it computes with the same model.
        "losses": after,
    });
    let path = folder.join("task.json");
    write(&path, &serde_json::to_vec(&task)?)?;
    Ok(json!({ "task": path, "before": before, "after": after }))
}

/// Trains what is missing, and gives all losses with all scores.
pub(crate) fn retrain(ask: &Ask) -> Result<Value, Failure> {
    let World { mut bench, examples, queries, folder, .. } = World::new(ask)?;
    let scores = read_scores(&folder, (examples.len(), queries.len()))?;
    let mut ledger = Ledger::open(&folder.join("losses.jsonl"))?;
    let case = (examples.as_slice(), queries.as_slice());
    let mut subsets = Vec::new();
    for at in 0..ask.subsets {
        let kept = half(examples.len(), ask.seed, at as u64);
        let mut losses = Vec::new();
        for seed in 1..=ask.seeds {
            losses.push(ledger.losses(&mut bench, &ask.how(seed), case, &kept)?);
        }
        eprintln!("   half {} of {}; a model takes {:.0} s", at + 1, ask.subsets, median(&ledger.seconds));
        subsets.push(json!({ "kept": kept, "losses": losses }));
    }
    let mut removals = Vec::new();
    if ask.removed > 0 {
        let random = Scores::of("random", random_rows(examples.len(), queries.len(), ask.seed));
        let tried = scores.iter().filter(|scores| TRIED.contains(&scores.method.as_str())).chain([&random]);
        for scores in tried {
            let mut own = vec![0.0; queries.len()];
            for first in (0..queries.len()).step_by(TOGETHER) {
                let group = first..(first + TOGETHER).min(queries.len());
                let removed = best(&scores.rows[group.clone()], ask.removed);
                let kept: Vec<usize> = (0..examples.len()).filter(|at| !removed.contains(at)).collect();
                let losses = ledger.losses(&mut bench, &ask.how(1), case, &kept)?;
                own[group.clone()].copy_from_slice(&losses[group]);
            }
            eprintln!("   without the best by {}", scores.method);
            removals.push(json!({ "method": scores.method, "losses": own }));
        }
    }
    Ok(json!({
        "examples": examples.len(), "queries": queries.len(), "removed": ask.removed, "scores": scores,
        "subsets": subsets, "removals": removals, "model_s": median(&ledger.seconds),
    }))
}

/// A random half, rising; another one for each number.
fn half(count: usize, seed: u64, number: u64) -> Vec<usize> {
    let mut all: Vec<usize> = (0..count).collect();
    SplitMix64(SplitMix64(seed ^ 0x5EED).next().wrapping_add(number)).shuffle(&mut all);
    all.truncate(count / 2);
    all.sort_unstable();
    all
}

fn random_rows(count: usize, queries: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut random = SplitMix64(seed ^ 0xA11);
    (0..queries).map(|_| (0..count).map(|_| f64::from(random.symmetric())).collect()).collect()
}

/// The best examples of some queries, so many for each: in turn, each takes its best one that is left.
fn best(rows: &[Vec<f64>], each: usize) -> BTreeSet<usize> {
    let mut taken = BTreeSet::new();
    for _ in 0..each {
        for row in rows {
            let left = (0..row.len()).filter(|at| !taken.contains(at));
            taken.extend(left.max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a))));
        }
    }
    taken
}

/// Every file of scores that fits.
fn read_scores(folder: &Path, (examples, queries): (usize, usize)) -> Result<Vec<Scores>, Failure> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder.join("scores"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let scores: Scores = serde_json::from_slice(&fs::read(&path)?)?;
            let fits = scores.rows.len() == queries && scores.rows.iter().all(|row| row.len() == examples);
            if !fits || !scores.rows.iter().flatten().all(|score| score.is_finite()) {
                return Err(format!("{} has other than {queries} rows of {examples} numbers", path.display()).into());
            }
            all.push(scores);
        }
    }
    all.sort_by(|a, b| a.method.cmp(&b.method));
    Ok(all)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let part = path.with_extension("part");
    fs::write(&part, bytes)?;
    Ok(fs::rename(part, path)?)
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}
