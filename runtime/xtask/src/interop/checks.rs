//! What scripts say: one line for each check, counted and passed on.

use std::fmt;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Longest line of a script; the rest is cut off.
const LINE_MAX: u64 = 16 * 1024;
/// Lines that wait to be printed.
const LINES_WAITING: usize = 64;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Ok,
    Failed,
    Skipped,
}

/// A check that ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    ending: Ending,
    name: String,
    /// What was expected and came instead, why it was skipped, or a figure worth showing.
    said: String,
}

impl Verdict {
    /// Of something that this program did itself.
    pub(super) fn of(name: &str, result: anyhow::Result<String>) -> Self {
        let (ending, said) = match result {
            Ok(said) => (Ending::Ok, said),
            Err(error) => (Ending::Failed, format!("{error:#}")),
        };
        Self { ending, name: name.to_owned(), said }
    }

    /// From a script's line; `None` for what is no check.
    fn read(line: &str) -> Option<Self> {
        let mut words = line.trim_end().splitn(3, '\t');
        let ending = match words.next()? {
            "ok" => Ending::Ok,
            "FAILED" => Ending::Failed,
            "skipped" => Ending::Skipped,
            _ => return None,
        };
        let name = words.next()?.to_owned();
        Some(Self { ending, name, said: words.next().unwrap_or_default().to_owned() })
    }
}

/// How many ended in which way.
#[derive(Debug, Default)]
pub(super) struct Tally {
    ok: usize,
    pub(super) failed: usize,
    skipped: usize,
}

impl Tally {
    /// Counts a check and prints it.
    pub(super) fn report(&mut self, group: &str, check: Verdict) {
        let word = match check.ending {
            Ending::Ok => {
                self.ok += 1;
                "ok"
            }
            Ending::Failed => {
                self.failed += 1;
                "FAILED"
            }
            Ending::Skipped => {
                self.skipped += 1;
                "skipped"
            }
        };
        let said = if check.said.is_empty() { String::new() } else { format!(": {}", check.said) };
        println!("{word:<8} {group:<13} {}{said}", check.name);
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.ok + self.failed + self.skipped;
        write!(f, "{all} checks: {} ok, {} failed, {} skipped", self.ok, self.failed, self.skipped)
    }
}

/// Runs a script to its end. One that ends badly, says nothing or takes too long is a failed check of its own.
pub(super) fn run(
    mut command: Command,
    script: &str,
    longest: Duration,
    report: &mut dyn FnMut(Verdict),
) -> anyhow::Result<()> {
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("starting {script}"))?;
    let lines = child.stdout.take().map(lines).context("a script without output")?;
    let ended = follow(&mut child, &lines, longest, report);
    // Ended or not, it goes no further than this.
    drop(child.kill());
    drop(child.wait());
    if let Err(error) = ended {
        report(Verdict::of(script, Err(error)));
    }
    Ok(())
}

fn follow(
    child: &mut Child,
    lines: &Receiver<String>,
    longest: Duration,
    report: &mut dyn FnMut(Verdict),
) -> anyhow::Result<()> {
    let until = Instant::now() + longest;
    let mut checks = 0;
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => match Verdict::read(&line) {
                Some(check) => {
                    checks += 1;
                    report(check);
                }
                None => eprint!("{line}"),
            },
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => anyhow::bail!("no end within {} s", longest.as_secs()),
        }
    }
    let status = child.wait()?;
    anyhow::ensure!(status.success(), "the script ended with {status}; it said why above");
    anyhow::ensure!(checks > 0, "the script ended without a check");
    Ok(())
}

/// Lines in a thread of their own, so that waiting for one can end.
fn lines(output: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = mpsc::sync_channel(LINES_WAITING);
    std::thread::spawn(move || {
        let mut reader = BufReader::new(output);
        let mut line = Vec::new();
        while matches!(reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line), Ok(1..)) {
            // A reader that is gone is no reason to block the writer: what it says is then dropped.
            drop(sender.send(String::from_utf8_lossy(&line).into_owned()));
            line.clear();
        }
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_check_only_with_a_verdict_and_a_name() {
        let read = |line: &str| Verdict::read(line).map(|check| (check.ending, check.name, check.said));
        assert_eq!(read("ok\texact\t\n"), Some((Ending::Ok, "exact".to_owned(), String::new())));
        assert_eq!(read("FAILED\tupto\ta\tb"), Some((Ending::Failed, "upto".to_owned(), "a\tb".to_owned())));
        assert_eq!(read("skipped\tx"), Some((Ending::Skipped, "x".to_owned(), String::new())));
        for line in ["", "ok", "okay\tx", "npm notice"] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    fn said(script: &str, longest: Duration) -> Vec<(Ending, String)> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stderr(Stdio::null());
        let mut all = Vec::new();
        run(command, "script", longest, &mut |check| all.push((check.ending, check.name))).unwrap();
        all
    }

    #[test]
    fn a_script_that_breaks_off_is_a_failed_check() {
        let long = Duration::from_secs(60);
        let (one, failed) = ((Ending::Ok, "one".to_owned()), (Ending::Failed, "script".to_owned()));
        assert_eq!(said("printf 'ok\\tone\\n'", long), std::slice::from_ref(&one));
        assert_eq!(said("printf 'ok\\tone\\n'; exit 3", long), [one, failed.clone()]);
        assert_eq!(said("true", long), std::slice::from_ref(&failed));
        assert_eq!(said("exec sleep 600", Duration::from_millis(50)), [failed]);
    }
}
