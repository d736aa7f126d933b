//! One run of one target: a fresh copy of its corpus, bounds on time and memory, and what libFuzzer said in one line.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::guests;

/// One input that takes longer is a finding.
const INPUT_SECONDS_MAX: u32 = 5;
/// More memory is a finding: a reader keeps a few copies of at most a megabyte.
const MEMORY_MIB_MAX: u32 = 1_024;
/// How much longer than its time a target may live; libFuzzer looks at the clock between two inputs.
const GRACE: Duration = Duration::from_secs(60);
/// How often a running target is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// The last bytes of a log, where the counts stand.
const TAIL: u64 = 16 * 1024;
/// Lines of a crash that are shown; the rest stays in the log.
const LINES_SHOWN: usize = 30;

/// What ends a run that finds nothing.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) seconds: u32,
    pub(super) seed: u32,
    /// Most bytes of an input.
    pub(super) input_max: u32,
}

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Report {
    runs: u64,
    per_second: u64,
    /// Edges reached by the corpus alone, and at the end.
    coverage: (u64, u64),
    /// Inputs of the corpus at the start, and at the end.
    corpus: (u64, u64),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { runs, per_second, coverage, corpus } = self;
        write!(f, "{runs} runs, {per_second}/s, coverage {} -> {}, ", coverage.0, coverage.1)?;
        write!(f, "corpus {} -> {}", corpus.0, corpus.1)
    }
}

/// Runs `program` in `place`, which is emptied first; `seeds` is only read.
pub(super) fn run(program: &Path, seeds: &Path, place: &Path, bounds: Bounds) -> anyhow::Result<Report> {
    let at = |path: &Path| path.display().to_string();
    fs::create_dir_all(place).with_context(|| at(place))?;
    // Another run of the same target would empty the folder under this one.
    let _lock = guests::lock(&place.join("lock"))?;
    let (corpus, found, log) = (place.join("corpus"), place.join("found"), place.join("log"));
    for folder in [&corpus, &found] {
        if folder.exists() {
            fs::remove_dir_all(folder).with_context(|| at(folder))?;
        }
        fs::create_dir_all(folder).with_context(|| at(folder))?;
    }
    for entry in fs::read_dir(seeds).with_context(|| at(seeds))? {
        let entry = entry.with_context(|| at(seeds))?;
        fs::copy(entry.path(), corpus.join(entry.file_name())).with_context(|| at(&entry.path()))?;
    }
    let output = File::create(&log).with_context(|| at(&log))?;
    let mut command = Command::new(program);
    command.args([
        format!("-max_total_time={}", bounds.seconds),
        format!("-seed={}", bounds.seed),
        format!("-max_len={}", bounds.input_max),
        format!("-timeout={INPUT_SECONDS_MAX}"),
        format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
        // Without symbols they would be numbers.
        "-print_funcs=0".to_owned(),
        // The folder's slash makes it a folder.
        format!("-artifact_prefix={}/", found.display()),
    ]);
    command.arg(&corpus).current_dir(place).env("RUST_BACKTRACE", "1");
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let mut child = command.spawn().with_context(|| format!("starting {}", at(program)))?;
    let status = wait(&mut child, Duration::from_secs(bounds.seconds.into()) + GRACE)?;
    let (head, tail) = ends(&log)?;
    let Some(status) = status else { bail!("it did not end and was killed; its log is {}", log.display()) };
    if !status.success() {
        bail!(crash(program, &found, &log, status, &tail)?);
    }
    report(&head, &tail).with_context(|| format!("reading what the target said in {}", log.display()))
}

/// `None` when the time was over and the child was killed.
fn wait(child: &mut Child, most: Duration) -> anyhow::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + most;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if deadline <= Instant::now() {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The log's first and last bytes: a run of hours says much in between.
fn ends(log: &Path) -> anyhow::Result<(String, String)> {
    let mut file = File::open(log).with_context(|| log.display().to_string())?;
    let length = file.metadata()?.len();
    let mut read = |from: u64| -> anyhow::Result<String> {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(from))?;
        file.by_ref().take(TAIL).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok((read(0)?, read(length.saturating_sub(TAIL))?))
}

/// What is to be said of a target that ended badly: what it printed, the input, and the command that repeats it.
fn crash(program: &Path, found: &Path, log: &Path, status: ExitStatus, tail: &str) -> anyhow::Result<String> {
    let mut inputs: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(found).with_context(|| found.display().to_string())? {
        inputs.push(entry?.path());
    }
    inputs.sort();
    let lines: Vec<&str> = tail.lines().collect();
    let panicked = lines.iter().rposition(|line| line.contains(" panicked at ")).unwrap_or_default();
    let mut text = lines.into_iter().skip(panicked).take(LINES_SHOWN).collect::<Vec<_>>().join("\n");
    text.push_str(&format!("\nit ended with {status}; its log is {}", log.display()));
    match inputs.first() {
        Some(input) => {
            let (program, input) = (program.display(), input.display());
            text.push_str(&format!("\ninput:  {input}\nrepeat: {program} {input}"));
        }
        None => text.push_str("\nit left no input behind; the same seed finds it again"),
    }
    Ok(text)
}

/// The counts of a run that ended in time: a line after the corpus was read, and a last one.
fn report(head: &str, tail: &str) -> anyhow::Result<Report> {
    // `#`, runs, a tab, the word, counts.
    let line = |text: &str, word: &str| {
        let is_it = |line: &&str| line.starts_with('#') && line.split_whitespace().nth(1) == Some(word);
        text.lines().find(is_it).map(str::to_owned)
    };
    let first = line(head, "INITED").context("it does not say that it read its corpus")?;
    let last = line(tail, "DONE").context("it does not say how it ended")?;
    let number = |line: &str, name: &str| -> anyhow::Result<u64> {
        let mut words = line.split_whitespace().skip_while(|word| *word != name);
        let word = words.nth(1).with_context(|| format!("no `{name}` in `{line}`"))?;
        let digits: &str = word.split('/').next().unwrap_or_default();
        digits.parse().with_context(|| format!("`{name} {word}`"))
    };
    let runs =
        last.trim_start_matches('#').split_whitespace().next().unwrap_or_default().parse().context("its runs")?;
    let coverage = (number(&first, "cov:")?, number(&last, "cov:")?);
    ensure!(coverage.1 > 0, "nothing was covered: the compiler did not count coverage");
    let corpus = (number(&first, "corp:")?, number(&last, "corp:")?);
    Ok(Report { runs, per_second: number(&last, "exec/s:")?, coverage, corpus })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "INFO: Seed: 7\n#5\tINITED cov: 1521 ft: 1994 corp: 4/4751b exec/s: 0 rss: 29Mb\n";

    #[test]
    fn what_libfuzzer_says_becomes_one_line() {
        let tail = "stray\n#468935\tDONE   cov: 3021 ft: 9000 corp: 913/812Kb lim: 9 exec/s: 42630 rss: 32Mb\nDone\n";
        let line = report(HEAD, tail).unwrap().to_string();
        assert_eq!(line, "468935 runs, 42630/s, coverage 1521 -> 3021, corpus 4 -> 913");
    }

    #[test]
    fn a_target_that_counts_no_coverage_is_no_success() {
        let tail = "#9\tDONE   cov: 0 ft: 0 corp: 1/1b exec/s: 9 rss: 3Mb\n";
        assert!(report(HEAD, tail).unwrap_err().to_string().contains("did not count coverage"));
        assert!(report("", tail).is_err());
        assert!(report(HEAD, "").is_err());
    }
}
