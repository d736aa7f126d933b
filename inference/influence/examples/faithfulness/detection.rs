//! Who finds the class of a query among all examples: area under the curve, and recall at the size of the class.

use std::path::PathBuf;
use std::time::Instant;

use agora_influence::{Adapter, Asked};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::Failure;
use crate::methods::{Bench, Case, Scores, words};
use crate::retrain::{adapters, settings};
use crate::tasks::{self, CLASSES, Item};

/// What is measured.
#[derive(Deserialize)]
pub(crate) struct Ask {
    model: PathBuf,
    folder: PathBuf,
    threads: usize,
    /// Phrases of each class; one of ten is a query.
    phrases: usize,
    epochs: u32,
    rate: f64,
    seed: u64,
}

pub(crate) fn run(ask: &Ask) -> Result<Value, Failure> {
    let mut bench = Bench::load(&ask.model, ask.threads)?;
    let mut rows = Vec::new();
    let all = [("sentences", tasks::sentences(ask.phrases, ask.seed)), ("math", tasks::math(ask.phrases, ask.seed))];
    for (task, items) in &all {
        let (examples, queries) = split(items, ask.phrases);
        let folder = ask.folder.join(format!("{task}-{}-{}-{}-{}", ask.phrases, ask.epochs, ask.rate, ask.seed));
        std::fs::create_dir_all(&folder)?;
        // Learnt from whole texts, as in the paper; the adapter is the same for both variants.
        let whole =
            |items: &[&Item], bench: &Bench| items.iter().map(|item| bench.asked(item, true)).collect::<Vec<_>>();
        let learnt = whole(&examples, &bench);
        eprintln!("== {task}: an adapter from {} texts", learnt.len());
        let how = settings(ask.rate, ask.epochs, 512, ask.seed);
        let adapter = adapters(&mut bench, &how, &learnt, 1, &folder)?.pop().ok_or("an adapter")?;
        for full in [true, false] {
            let begun = Instant::now();
            let take = |items: &[&Item]| items.iter().map(|item| bench.asked(item, full)).collect::<Vec<Asked>>();
            let (own, asked) = (take(&examples), take(&queries));
            let what = if full { "full text" } else { "responses" };
            for scores in methods(&mut bench, &adapter, (&own, &asked), full, &folder.join(what.replace(' ', "-")))? {
                let (auc, recall) = found(&scores, &examples, &queries);
                eprintln!("   {task}, {what}: {} {auc:.3} / {recall:.3}", scores.method);
                rows.push(json!({
                    "task": task, "variant": what, "method": scores.method, "auc": auc, "recall": recall,
                }));
            }
            eprintln!("   {task}, {what}: {:.0} s", begun.elapsed().as_secs_f64());
        }
    }
    Ok(json!({ "phrases": ask.phrases, "epochs": ask.epochs, "rate": ask.rate, "seed": ask.seed, "rows": rows }))
}

fn methods(
    bench: &mut Bench,
    adapter: &Adapter,
    (examples, queries): (&[Asked], &[Asked]),
    full: bool,
    folder: &std::path::Path,
) -> Result<Vec<Scores>, Failure> {
    let case = Case { adapter, examples, queries };
    let mut all = bench.index(&case, folder)?;
    all.extend(bench.plain(&case)?);
    // In full, prompt and response are the response but for one token.
    let [whole, responses] = <[Scores; 2]>::try_from(words(&case)?).map_err(|_| "two ways of BM25")?;
    all.push(if full { whole } else { Scores { method: "bm25".to_owned(), ..responses } });
    all.push(bench.embeddings(&case)?);
    Ok(all)
}

/// Examples, and the last tenth of each class as queries.
fn split(items: &[Item], phrases: usize) -> (Vec<&Item>, Vec<&Item>) {
    let held = (phrases / 10).max(1);
    let (mut examples, mut queries) = (Vec::new(), Vec::new());
    for class in items.chunks_exact(phrases).take(CLASSES) {
        examples.extend(&class[..phrases - held]);
        queries.extend(&class[phrases - held..]);
    }
    (examples, queries)
}

/// Means over the queries: how likely an example of the class stands before another one (ties count a half), and the part
/// of the class among as many best examples.
fn found(scores: &Scores, examples: &[&Item], queries: &[&Item]) -> (f64, f64) {
    let (mut auc, mut recall) = (0.0, 0.0);
    for (query, row) in queries.iter().zip(&scores.rows) {
        let mut ranked: Vec<(f64, bool)> =
            row.iter().zip(examples).map(|(score, example)| (*score, example.class == query.class)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        let own = ranked.iter().filter(|(_, is_own)| *is_own).count();
        let others = ranked.len() - own;
        let (mut before, mut pairs, mut among, mut seen) = (0usize, 0.0, 0.0, 0usize);
        for tie in ranked.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
            let hits = tie.iter().filter(|(_, is_own)| *is_own).count();
            let misses = tie.len() - hits;
            pairs += misses as f64 * (before as f64 + hits as f64 / 2.0);
            // Of a tie that reaches past the class's size, a part counts.
            let places = own.saturating_sub(seen).min(tie.len());
            among += hits as f64 * places as f64 / tie.len() as f64;
            before += hits;
            seen += tie.len();
        }
        auc += pairs / (own * others) as f64;
        recall += among / own as f64;
    }
    (auc / queries.len() as f64, recall / queries.len() as f64)
}
