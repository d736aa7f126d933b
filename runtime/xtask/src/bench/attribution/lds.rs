//! The counterfactual table: how well each method's scores foretell what models lose that never saw some examples.

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::statistics::{Draws, Interval, Table, interval};

/// What is paid by, and the same before the least squares.
pub(super) const OURS: &str = "influence-ekfac-nnls";
pub(super) const OURS_BEFORE: &str = "influence-ekfac";
/// The words-only yardsticks: over whole texts, and over responses.
pub(super) const WORDS: [&str; 2] = ["bm25", "bm25, responses"];
/// Reference implementations begin with this.
pub(super) const REFERENCE: &str = "reference: ";
/// Ours is to reach so much of the reference.
const PART_MIN: f64 = 0.8;

/// What the example `faithfulness` gives.
#[derive(Deserialize)]
struct Seen {
    examples: usize,
    queries: usize,
    removed: usize,
    model_s: f64,
    scores: Vec<Scores>,
    subsets: Vec<Subset>,
    removals: Vec<Removal>,
}

#[derive(Deserialize)]
struct Scores {
    method: String,
    variant: bool,
    rows: Table,
}

#[derive(Deserialize)]
struct Subset {
    kept: Vec<usize>,
    /// By seed, then by query.
    losses: Table,
}

#[derive(Deserialize)]
struct Removal {
    method: String,
    /// By query.
    losses: Vec<f64>,
}

/// A method's line.
pub(super) struct Line {
    pub(super) method: String,
    pub(super) variant: bool,
    pub(super) lds: Interval,
    draws: Vec<f64>,
    /// What the loss of the queries rises by more than without as many random examples, nats a token.
    pub(super) removal: Option<Interval>,
}

/// The whole table.
pub(super) struct Lds {
    pub(super) examples: usize,
    pub(super) queries: usize,
    pub(super) subsets: usize,
    pub(super) seeds: usize,
    pub(super) removed: usize,
    pub(super) model_s: f64,
    /// Best first.
    pub(super) lines: Vec<Line>,
    /// Correlation between the losses of two seeds; `None` with one seed.
    pub(super) seeds_agree: Option<Interval>,
    /// How far the losses spread over the halves, nats a token: the median over the queries of the standard deviation.
    pub(super) spread: f64,
}

impl Lds {
    pub(super) fn of(document: &Value) -> anyhow::Result<Self> {
        let seen: Seen = serde_json::from_value(document.clone()).context("what the example printed")?;
        let seeds = seen.subsets.first().map_or(0, |subset| subset.losses.len());
        // A row for each query, a column for each half.
        let table = |loss: &dyn Fn(&Subset, usize) -> f64| -> Table {
            (0..seen.queries).map(|query| seen.subsets.iter().map(|subset| loss(subset, query)).collect()).collect()
        };
        let of_seed = |seed: usize| table(&|subset, query| subset.losses[seed][query]);
        let mean = table(&|subset, query| subset.losses.iter().map(|own| own[query]).sum::<f64>() / seeds as f64);
        // What helped lowers the loss.
        let truth: Table = mean.iter().map(|row| row.iter().map(|loss| -loss).collect()).collect();
        let draws = Draws::new(seen.queries, seen.subsets.len());
        let removal = |method: &str| seen.removals.iter().find(|removal| removal.method == method);
        let random = removal("random").map(|removal| removal.losses.clone());
        let lines = seen.scores.iter().map(|scores| {
            let foretold = table(&|subset, query| subset.kept.iter().map(|example| scores.rows[query][*example]).sum());
            let (whole, each) = draws.correlations(&foretold, &truth);
            let rise = removal(&scores.method).zip(random.as_ref()).map(|(removal, random)| {
                let rises: Vec<f64> = removal.losses.iter().zip(random).map(|(own, random)| own - random).collect();
                draws.mean(&rises)
            });
            let (method, variant) = (scores.method.clone(), scores.variant);
            Line { method, variant, lds: interval(whole, each.clone()), draws: each, removal: rise }
        });
        let mut lines: Vec<Line> = lines.collect();
        lines.sort_by(|a, b| b.lds.mean.total_cmp(&a.lds.mean));
        let seeds_agree = (seeds > 1).then(|| {
            let (whole, each) = draws.correlations(&of_seed(0), &of_seed(1));
            interval(whole, each)
        });
        let mut spreads: Vec<f64> = mean.iter().map(|row| deviation(row)).collect();
        spreads.sort_by(f64::total_cmp);
        Ok(Self {
            examples: seen.examples,
            queries: seen.queries,
            subsets: seen.subsets.len(),
            seeds,
            removed: seen.removed,
            model_s: seen.model_s,
            lines,
            seeds_agree,
            spread: spreads.get(spreads.len() / 2).copied().unwrap_or_default(),
        })
    }

    pub(super) fn line(&self, method: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.method == method)
    }

    /// What a method that knew the mean loss over all seeds would reach, as far as the agreement of two seeds tells: the
    /// root of the reliability of a mean over the seeds (Spearman and Brown).
    pub(super) fn ceiling(&self) -> Option<f64> {
        let one = self.seeds_agree?.mean.max(0.0);
        let count = self.seeds as f64;
        Some((count * one / (1.0 + (count - 1.0) * one)).sqrt())
    }

    /// The best of the reference implementations.
    fn reference(&self) -> Option<&Line> {
        self.lines.iter().find(|line| line.method.starts_with(REFERENCE))
    }

    /// The goals: what was seen, and whether it is met.
    pub(super) fn goals(&self) -> Vec<(String, bool)> {
        let mut goals = Vec::new();
        for (name, ours) in [OURS, OURS_BEFORE].into_iter().filter_map(|name| Some((name, self.line(name)?))) {
            if let Some(reference) = self.reference() {
                let part = ours.lds.mean / reference.lds.mean;
                let parts = ours.draws.iter().zip(&reference.draws).map(|(own, other)| own / other).collect();
                let Interval { low, high, .. } = interval(part, parts);
                let of = &reference.method;
                let what = format!("LDS of {name}: {part:.2} of {of}'s (at least {PART_MIN}; {low:.2} to {high:.2})");
                goals.push((what, part >= PART_MIN));
            }
            for words in WORDS.into_iter().filter_map(|words| self.line(words)) {
                let more = ours.lds.mean - words.lds.mean;
                let pairs = ours.draws.iter().zip(&words.draws).map(|(own, other)| own - other).collect();
                let Interval { low, high, .. } = interval(more, pairs);
                let what = format!(
                    "LDS of {name}: lower bound {:.3} beside {:.3} of {} (above it; the difference is {more:.3}, \
                     {low:.3} to {high:.3})",
                    ours.lds.low, words.lds.mean, words.method
                );
                goals.push((what, ours.lds.low > words.lds.mean));
            }
        }
        goals
    }

    pub(super) fn document(&self) -> Value {
        let interval = |one: &Interval| json!({ "mean": one.mean, "low": one.low, "high": one.high });
        let line = |line: &Line| {
            json!({
                "method": line.method, "variant": line.variant, "lds": interval(&line.lds),
                "removal": line.removal.as_ref().map(interval),
            })
        };
        json!({
            "examples": self.examples, "queries": self.queries, "subsets": self.subsets, "seeds": self.seeds,
            "removed_per_query": self.removed, "model_s": self.model_s, "spread": self.spread,
            "seeds_agree": self.seeds_agree.as_ref().map(interval), "ceiling": self.ceiling(),
            "lines": self.lines.iter().map(line).collect::<Vec<_>>(),
        })
    }
}

fn deviation(values: &[f64]) -> f64 {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three examples, two queries, four halves; the first example helps the first query, the second the second.
    fn document() -> Value {
        let subset = |kept: &[usize]| {
            let loss = |helper: usize| if kept.contains(&helper) { 1.0 } else { 2.0 };
            json!({ "kept": kept, "losses": [[loss(0), loss(1)], [loss(0) + 0.1, loss(1) + 0.1]] })
        };
        let scores = |method: &str, rows: [[f64; 3]; 2]| json!({ "method": method, "variant": false, "rows": rows });
        json!({
            "examples": 3, "queries": 2, "removed": 1, "model_s": 1.0,
            "scores": [
                scores("bm25", [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
                scores(OURS, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
                scores(REFERENCE, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
            ],
            "subsets": [subset(&[0, 2]), subset(&[0, 1]), subset(&[1, 2]), subset(&[2])],
            "removals": [
                { "method": OURS, "losses": [2.0, 2.0] },
                { "method": "random", "losses": [1.0, 1.5] },
            ],
        })
    }

    #[test]
    fn who_names_the_helpers_foretells_the_losses() {
        let lds = Lds::of(&document()).unwrap();
        assert!((lds.line(OURS).unwrap().lds.mean - 1.0).abs() < 1e-12);
        assert!(lds.line("bm25").unwrap().lds.mean.abs() < 1e-12, "of four halves, each has both helpers once");
        assert!((lds.line(OURS).unwrap().removal.unwrap().mean - 0.75).abs() < 1e-12);
        assert!(lds.line("bm25").unwrap().removal.is_none());
        assert!((lds.ceiling().unwrap() - 1.0).abs() < 1e-12, "both seeds agree in everything");
        assert!(lds.goals()[0].1, "{:?}", lds.goals());
    }

    #[test]
    fn scores_that_are_turned_around_foretell_the_opposite() {
        let mut document = document();
        document["scores"][1]["rows"] = json!([[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]);
        let lds = Lds::of(&document).unwrap();
        assert!((lds.line(OURS).unwrap().lds.mean + 1.0).abs() < 1e-12);
        assert!(!lds.goals()[0].1);
    }
}
