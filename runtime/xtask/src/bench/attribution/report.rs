//! What was seen, as tables for people and a document for machines, and whether the goals were met.

use std::fmt;

use serde_json::{Value, json};

use super::gaming::Gaming;
use super::lds::Lds;
use super::statistics::Interval;

/// A scan of 100,000 rows with its least squares takes at most so long in 95 of 100.
const SCAN_MAX_S: f64 = 1.0;
/// An attribution costs at most so much of generating the answer.
const SHARE_MAX: f64 = 0.1;

/// A finished run; what was not wanted is not there.
#[derive(Default)]
pub(super) struct Report {
    pub(super) threads: usize,
    pub(super) detection: Option<Value>,
    pub(super) lds: Option<Lds>,
    pub(super) reference: Option<Value>,
    pub(super) gaming: Option<Gaming>,
    pub(super) cost: Option<Value>,
    pub(super) training: Vec<Step>,
}

/// Seconds of a training step, ours and the peer's, of each round.
pub(super) struct Step {
    pub(super) judged: u64,
    pub(super) pairs: Vec<(f64, f64)>,
    pub(super) who: String,
}

impl Step {
    fn median(&self, of: impl Fn(&(f64, f64)) -> f64) -> f64 {
        let mut values: Vec<f64> = self.pairs.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    }

    /// How many times as long the peer takes: median, least and most of the rounds.
    fn ratio(&self) -> (f64, f64, f64) {
        let ratio = |(ours, peer): &(f64, f64)| peer / ours;
        let ratios = || self.pairs.iter().map(ratio);
        (self.median(ratio), ratios().fold(f64::INFINITY, f64::min), ratios().fold(0.0, f64::max))
    }
}

/// A number of the cost document.
fn number(value: &Value, path: &[&str]) -> f64 {
    path.iter().fold(value, |value, name| &value[*name]).as_f64().unwrap_or(f64::NAN)
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

impl Report {
    fn goals(&self) -> Vec<(String, bool)> {
        let mut goals = self.lds.as_ref().map(Lds::goals).unwrap_or_default();
        goals.extend(self.gaming.iter().flat_map(Gaming::goals));
        if let Some(cost) = &self.cost {
            for scan in rows(&cost["scans"]).iter().filter(|scan| scan["rows"] == 100_000) {
                for (what, of) in [("alone", "alone"), ("of eight at once", "together")] {
                    let share = self.share(cost, scan, of);
                    let text = format!(
                        "attribution over 100,000 rows: {:.1} % of the answer's own CPU time, {what} (at most {:.0} %)",
                        100.0 * share,
                        100.0 * SHARE_MAX
                    );
                    goals.push((text, share <= SHARE_MAX));
                }
            }
            for group in rows(&cost["groups"]) {
                let share = number(group, &["attribution", "cpu_s"]) / number(group, &["generation", "cpu_s"]);
                let text = format!(
                    "one call in {} measured, {} at once: {:.1} % of the CPU time of all their answers (at most {:.0} %)",
                    group["calls"],
                    group["streams"],
                    100.0 * share,
                    100.0 * SHARE_MAX
                );
                goals.push((text, share <= SHARE_MAX));
            }
            for latency in rows(&cost["latency"]).iter().filter(|latency| latency["rows"] == 100_000) {
                let seconds = number(latency, &["p95_s"]);
                let text = format!(
                    "scan of 100,000 rows with least squares: {:.0} ms in 95 of 100 (below {:.0} ms)",
                    1e3 * seconds,
                    1e3 * SCAN_MAX_S
                );
                goals.push((text, seconds < SCAN_MAX_S));
            }
        }
        for step in &self.training {
            let (median, ..) = step.ratio();
            goals.push((
                format!("training, {} judged: {median:.2} times ours (at least 1)", step.judged),
                median >= 1.0,
            ));
        }
        goals
    }

    /// CPU seconds of query, scan and least squares by those of the answer.
    fn share(&self, cost: &Value, scan: &Value, of: &str) -> f64 {
        let own =
            number(cost, &["query", "cpu_s"]) + number(cost, &["solve", "cpu_s"]) + number(scan, &["each", "cpu_s"]);
        own / number(cost, &[of, "cpu_s"])
    }

    pub(super) fn document(&self) -> Value {
        let goals: Vec<Value> = self.goals().iter().map(|(what, met)| json!({ "what": what, "met": met })).collect();
        let step = |step: &Step| json!({ "judged": step.judged, "peer": step.who, "ours_and_peer_s": step.pairs });
        json!({
            "threads": self.threads, "detection": self.detection, "lds": self.lds.as_ref().map(Lds::document),
            "reference": self.reference, "gaming": self.gaming.as_ref().map(Gaming::document), "cost": self.cost,
            "training": self.training.iter().map(step).collect::<Vec<_>>(), "goals": goals,
        })
    }

    fn write_detection(&self, f: &mut fmt::Formatter<'_>, seen: &Value) -> fmt::Result {
        writeln!(
            f,
            "\nClass detection, {} of each of 10 classes, one of ten a query; AUC / recall at the class's size",
            seen["phrases"]
        )?;
        let mut columns: Vec<(String, String)> = Vec::new();
        let mut methods: Vec<String> = Vec::new();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        for row in rows(&seen["rows"]) {
            let (column, method) = ((text(row, "task"), text(row, "variant")), text(row, "method"));
            if !columns.contains(&column) {
                columns.push(column);
            }
            if !methods.contains(&method) {
                methods.push(method);
            }
        }
        write!(f, "  {:<24}", "")?;
        columns.iter().try_for_each(|(task, variant)| write!(f, "  {:<22}", format!("{task}, {variant}")))?;
        for method in &methods {
            write!(f, "\n  {method:<24}")?;
            for column in &columns {
                let own = |row: &&Value| {
                    (text(row, "task"), text(row, "variant")) == *column && text(row, "method") == *method
                };
                let found = rows(&seen["rows"]).iter().find(own);
                let cell = found.map_or(String::new(), |row| {
                    format!("{:.3} / {:.3}", number(row, &["auc"]), number(row, &["recall"]))
                });
                write!(f, "  {cell:<22}")?;
            }
        }
        writeln!(f)
    }

    fn write_lds(&self, f: &mut fmt::Formatter<'_>, lds: &Lds) -> fmt::Result {
        writeln!(
            f,
            "\nCounterfactual: {} examples, {} queries, {} random halves, {} trainings of each ({:.0} s a model)",
            lds.examples, lds.queries, lds.subsets, lds.seeds, lds.model_s
        )?;
        writeln!(f, "  losses of a query spread by {:.3} nats a token over the halves (median)", lds.spread)?;
        if let (Some(agree), Some(ceiling)) = (&lds.seeds_agree, lds.ceiling()) {
            writeln!(
                f,
                "  two seeds agree to {}; a method that knew the mean of all seeds would reach {ceiling:.3}",
                around(agree)
            )?;
        }
        writeln!(
            f,
            "\n  {:<52}  {:<24}  loss without its best {} of each query,\n  {:<52}  {:<24}  more than without random ones",
            "method", "LDS (95 of 100)", lds.removed, "", ""
        )?;
        for line in lds.lines.iter().filter(|line| !line.variant) {
            let removal = line.removal.as_ref().map_or(String::new(), around);
            writeln!(f, "  {:<52}  {:<24}  {removal}", line.method, around(&line.lds))?;
        }
        if lds.lines.iter().any(|line| line.variant) {
            writeln!(f, "\n  variants of ours, in f32 without a projection")?;
        }
        for line in lds.lines.iter().filter(|line| line.variant) {
            writeln!(f, "  {:<52}  {}", line.method, around(&line.lds))?;
        }
        if let Some(reference) = &self.reference {
            writeln!(f, "\n  reference: {}; seconds of each method {}", reference["who"], reference["seconds"])?;
        }
        Ok(())
    }

    fn write_cost(&self, f: &mut fmt::Formatter<'_>, cost: &Value) -> fmt::Result {
        let seconds = |path: &[&str]| number(cost, path);
        writeln!(
            f,
            "\nCost of one answer of {} tokens with an adapter, seconds of the processor (of the clock)",
            cost["tokens"]
        )?;
        for (what, name) in [
            ("generation, alone", "alone"),
            ("generation, each of eight at once", "together"),
            ("attribution: the query", "query"),
            ("attribution: least squares over 256 rows", "solve"),
        ] {
            let (cpu, wall) = (seconds(&[name, "cpu_s"]), seconds(&[name, "wall_s"]));
            writeln!(f, "  {what:<44}  {cpu:>8.3} ({wall:.3})")?;
        }
        for scan in rows(&cost["scans"]) {
            let (cpu, wall) = (number(scan, &["each", "cpu_s"]), number(scan, &["each", "wall_s"]));
            let [alone, together] = ["alone", "together"].map(|of| 100.0 * self.share(cost, scan, of));
            writeln!(
                f,
                "  {:<44}  {cpu:>8.3} ({wall:.3}); all of it {alone:.1} % of generation alone, {together:.1} % of eight",
                format!("attribution: the scan of {} rows", scan["rows"])
            )?;
        }
        for group in rows(&cost["groups"]) {
            let [generated, measured] = ["generation", "attribution"].map(|of| number(group, &[of, "cpu_s"]));
            writeln!(
                f,
                "  groups of {} calls, {} at once, one of them measured for all: {measured:.2} beside {generated:.2}, {:.1} %",
                group["calls"],
                group["streams"],
                100.0 * measured / generated
            )?;
        }
        let reading = seconds(&["reading_bytes_s"]);
        writeln!(
            f,
            "\n  scan with K = {}; {} threads read memory at {:.1} GB/s",
            cost["dimension"],
            self.threads,
            reading / 1e9
        )?;
        for latency in rows(&cost["latency"]) {
            let of = |name: &str| 1e3 * number(latency, &[name]);
            let limit = 1e3 * number(latency, &["size"]) / reading;
            writeln!(
                f,
                "  {:>7} rows: median {:.1} ms, 95 of 100 {:.1} ms; with least squares {:.1} and {:.1} ms; reading alone {limit:.1} ms",
                latency["rows"].to_string(),
                of("scan_median_s"),
                of("scan_p95_s"),
                of("median_s"),
                of("p95_s")
            )?;
        }
        Ok(())
    }
}

fn around(one: &Interval) -> String {
    format!("{:.3} ({:.3} to {:.3})", one.mean, one.low, one.high)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(seen) = &self.detection {
            self.write_detection(f, seen)?;
        }
        if let Some(lds) = &self.lds {
            self.write_lds(f, lds)?;
        }
        if let Some(gaming) = &self.gaming {
            write!(f, "{gaming}")?;
        }
        if let Some(cost) = &self.cost {
            self.write_cost(f, cost)?;
        }
        if !self.training.is_empty() {
            writeln!(
                f,
                "\nTraining: 4 sequences of 128 tokens, LoRA of rank 8 on q and v, seconds of a step (medians)"
            )?;
        }
        for step in &self.training {
            let (median, least, most) = step.ratio();
            writeln!(
                f,
                "  {} judged: ours {:.2}, {} {:.2}: {median:.2} times ours ({least:.2} to {most:.2} in {} rounds)",
                step.judged,
                step.median(|pair| pair.0),
                step.who,
                step.median(|pair| pair.1),
                step.pairs.len()
            )?;
        }
        writeln!(f)?;
        for (what, met) in self.goals() {
            writeln!(f, "  {} {what}", if met { "met:   " } else { "MISSED:" })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_takes_longer_is_a_ratio_above_one() {
        let step = Step { judged: 64, pairs: vec![(2.0, 3.0), (2.0, 2.0), (2.0, 2.4)], who: "torch".to_owned() };
        assert_eq!(step.ratio(), (1.2, 1.0, 1.5));
        let report = Report { training: vec![step], ..Report::default() };
        assert!(report.goals().iter().all(|(_, met)| *met));
        assert!(report.to_string().contains("1.20 times ours"), "{report}");
    }

    #[test]
    fn the_cost_is_query_scan_and_least_squares_by_the_answer() {
        let spent = |cpu: f64| json!({ "cpu_s": cpu, "wall_s": cpu });
        let cost = json!({
            "tokens": 128, "dimension": 4_096, "reading_bytes_s": 1e10,
            "alone": spent(4.0), "together": spent(1.0), "query": spent(0.1), "solve": spent(0.02),
            "scans": [{ "rows": 100_000, "each": spent(0.08) }],
            "groups": [
                { "calls": 3, "streams": 8, "generation": spent(3.0), "attribution": spent(0.2) },
                { "calls": 2, "streams": 8, "generation": spent(2.0), "attribution": spent(0.3) },
            ],
            "latency": [{ "rows": 100_000, "size": 409_600_064, "p95_s": 0.5 }],
        });
        let report = Report { cost: Some(cost), ..Report::default() };
        let met: Vec<bool> = report.goals().into_iter().map(|(_, met)| met).collect();
        assert_eq!(
            met,
            [true, false, true, false, true],
            "5 % of an answer alone, 20 % of one of eight; 7 and 15 % of groups"
        );
    }
}
