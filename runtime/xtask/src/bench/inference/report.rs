//! What was seen, as a table for people and a document for machines, and whether the goals were met.

use std::fmt;
use std::path::Path;

use serde_json::{Value, json};

/// Student's t for 95 of 100, by degrees of freedom from one; more count as the last.
const T: [f64; 12] = [12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18];

/// One measure: a series for each engine, ours first.
pub(super) struct Row {
    pub(super) name: String,
    /// Seconds, where less is better; else tokens a second.
    is_time: bool,
    series: Vec<Vec<f64>>,
}

impl Row {
    pub(super) fn new(name: String, is_time: bool) -> Self {
        Self { name, is_time, series: Vec::new() }
    }

    pub(super) fn push(&mut self, engine: usize, value: f64) {
        self.series.resize_with(self.series.len().max(engine + 1), Vec::new);
        self.series[engine].push(value);
    }

    fn median(&self, engine: usize) -> Option<f64> {
        median(self.series.get(engine)?)
    }

    /// How many times as good ours is, from the rounds' ratios: the mean, and the bounds of 95 of 100.
    fn ratio(&self, engine: usize) -> Option<(f64, f64, f64)> {
        let (ours, peer) = (self.series.first()?, self.series.get(engine)?);
        let pairs: Vec<(f64, f64)> = ours.iter().copied().zip(peer.iter().copied()).collect();
        ratio(&pairs).map(|(mean, low, high)| match self.is_time {
            true => (1.0 / mean, 1.0 / high, 1.0 / low),
            false => (mean, low, high),
        })
    }

    /// The best peer's ratio.
    fn best(&self) -> Option<f64> {
        (1..self.series.len()).filter_map(|engine| self.ratio(engine)).map(|(mean, _, _)| mean).min_by(f64::total_cmp)
    }

    fn figure(&self, value: f64) -> String {
        if self.is_time { format!("{:.1} ms", value * 1e3) } else { format!("{value:.0}/s") }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.name)?;
        for value in self.series.iter().filter_map(|series| series.last()) {
            write!(f, " {}", self.figure(*value))?;
        }
        Ok(())
    }
}

fn median(values: &[f64]) -> Option<f64> {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The geometric mean of ratios, and where it lies in 95 of 100.
fn ratio(pairs: &[(f64, f64)]) -> Option<(f64, f64, f64)> {
    let logs: Vec<f64> = pairs.iter().map(|(a, b)| (a / b).ln()).collect();
    let count = logs.len() as f64;
    if logs.is_empty() {
        return None;
    }
    let mean = logs.iter().sum::<f64>() / count;
    if logs.len() == 1 {
        return Some((mean.exp(), 0.0, f64::INFINITY));
    }
    let variance = logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let around = T[(logs.len() - 2).min(T.len() - 1)] * (variance / count).sqrt();
    Some((mean.exp(), (mean - around).exp(), (mean + around).exp()))
}

/// A finished run.
pub(super) struct Report {
    threads: usize,
    model: String,
    /// Names, and what each said when it had loaded; ours first.
    pub(super) engines: Vec<(String, Value)>,
    pub(super) rows: Vec<Row>,
    /// Bytes a second of plain reading, as many as the weights have.
    pub(super) reading: Option<f64>,
    /// Tokens a second with a thousand adapters, and with one.
    pub(super) crowd: Vec<(f64, f64)>,
    /// How many of the thousand were resident in the end, and the seconds that it took to read and check all.
    pub(super) resident: Option<u64>,
    pub(super) registered_s: Option<f64>,
}

impl Report {
    pub(super) fn new(threads: usize, model: &Path) -> Self {
        let model = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Self {
            threads,
            model,
            engines: Vec::new(),
            rows: Vec::new(),
            reading: None,
            crowd: Vec::new(),
            resident: None,
            registered_s: None,
        }
    }

    fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The goals: what, the least or most that meets it, and what was seen.
    fn goals(&self) -> Vec<(String, bool)> {
        let mut goals = Vec::new();
        let mut least = |name: &str, least: f64, what: &str| {
            if let Some(seen) = self.row(name).and_then(Row::best) {
                goals.push((format!("{name}: {seen:.2} times {what} (at least {least})"), seen >= least));
            }
        };
        least("prompt of 512", 1.0, "the best peer");
        least("1 stream", 1.0, "the best peer");
        least("16 streams", 1.3, "the best peer");
        least("16 streams, 16 adapters", 4.0, "the best peer");
        let of = |name: &str| self.row(name).and_then(|row| row.series.first()).cloned().unwrap_or_default();
        let pairs: Vec<_> = of("16 streams, 16 adapters").into_iter().zip(of("16 streams")).collect();
        if let Some((mean, low, high)) = ratio(&pairs) {
            let what = format!("16 different adapters run at {mean:.3} of none (at least 0.9; {low:.3} to {high:.3})");
            goals.push((what, mean >= 0.9));
        }
        if let Some((_, ours)) = self.engines.first()
            && let (Some(rss), Some(weights)) = (ours["rss"].as_f64(), ours["weights"].as_f64())
        {
            goals.push((
                format!("memory: {:.3} of the packed weights (at most 1.15)", rss / weights),
                rss <= 1.15 * weights,
            ));
        }
        if let Some((mean, low, high)) = ratio(&self.crowd) {
            let what = format!("1,000 adapters by Zipf run at {mean:.3} of one (at least 0.8; {low:.3} to {high:.3})");
            goals.push((what, mean >= 0.8));
        }
        goals
    }

    /// Tokens a second that reading every weight once for each allows.
    fn limit(&self) -> Option<f64> {
        Some(self.reading? / self.engines.first()?.1["weights"].as_f64()?)
    }

    pub(super) fn document(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let engines: Vec<Value> = self
                    .engines
                    .iter()
                    .enumerate()
                    .map(|(at, (name, _))| json!({ "engine": name, "median": row.median(at), "ratio": row.ratio(at) }))
                    .collect();
                json!({ "name": row.name, "unit": if row.is_time { "s" } else { "tokens/s" }, "engines": engines })
            })
            .collect();
        let goals: Vec<Value> = self.goals().iter().map(|(what, met)| json!({ "what": what, "met": met })).collect();
        let engines: Vec<Value> =
            self.engines.iter().map(|(name, said)| json!({ "name": name, "said": said })).collect();
        json!({
            "model": self.model, "threads": self.threads, "engines": engines, "rows": rows, "goals": goals,
            "reading_bytes_s": self.reading, "one_stream_limit": self.limit(), "crowd": self.crowd,
            "crowd_resident": self.resident, "crowd_registered_s": self.registered_s,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{}, {} threads; medians, and how many times as good ours is (95 of 100)\n",
            self.model, self.threads
        )?;
        for (name, said) in &self.engines {
            let rss = said["rss"].as_f64().unwrap_or_default() / 1e6;
            let simd = said["simd"].as_str().unwrap_or_default();
            writeln!(f, "  {name} {}: {rss:.0} MB resident; {simd}", said["version"].as_str().unwrap_or_default())?;
        }
        writeln!(f)?;
        for row in self.rows.iter().filter(|row| !row.series.is_empty()) {
            write!(f, "  {:<40}", row.name)?;
            for (at, (name, _)) in self.engines.iter().enumerate() {
                let Some(median) = row.median(at) else { continue };
                write!(f, "  {name} {}", row.figure(median))?;
                if let Some((mean, low, high)) = row.ratio(at).filter(|_| at > 0) {
                    write!(f, " ({mean:.2}; {low:.2} to {high:.2})")?;
                }
            }
            writeln!(f)?;
        }
        if let (Some(reading), Some(limit)) = (self.reading, self.limit()) {
            write!(f, "\n  reading: {:.1} GB/s of so many bytes, so at most {limit:.0} tokens/s", reading / 1e9)?;
            if let Some(one) = self.row("1 stream").and_then(|row| row.median(0)) {
                write!(f, "; 1 stream is at {:.0} %", one / limit * 100.0)?;
            }
            writeln!(f)?;
        }
        if let (Some(resident), Some(seconds)) = (self.resident, self.registered_s) {
            writeln!(f, "  1,000 adapters: read and checked in {seconds:.1} s, {resident} resident in the end")?;
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
    fn a_ratio_lies_between_its_bounds_and_time_counts_the_other_way() {
        let (mean, low, high) = ratio(&[(2.0, 1.0), (2.2, 1.0), (1.8, 1.0)]).unwrap();
        assert!(low < mean && mean < high && (1.9..2.1).contains(&mean));
        let mut row = Row::new(String::new(), true);
        for (ours, peer) in [(1.0, 3.0), (1.0, 3.3)] {
            row.push(0, ours);
            row.push(1, peer);
        }
        let (mean, low, high) = row.ratio(1).unwrap();
        assert!(low <= mean && mean <= high && mean > 3.0, "{low} {mean} {high}");
        assert_eq!((row.median(0), row.best().map(|best| best > 3.0)), (Some(1.0), Some(true)));
        assert_eq!(ratio(&[]), None);
    }
}
