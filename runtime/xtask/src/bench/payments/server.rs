//! A seller in a process of its own: started, asked to end, and never left behind.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// How long it may take to sell, and to end.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
const TURN: Duration = Duration::from_millis(50);
/// What it says before its address.
const SELLING: &str = "selling ";

/// A running seller; killed when dropped.
pub(super) struct Server {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it; what it says goes to `log`.
    pub(super) fn start(name: &'static str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("writing {}", log.display()))?;
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { name, child, log: log.to_owned() })
    }

    /// Waits until it says what it sells; the address without the path.
    pub(super) fn origin(&mut self) -> anyhow::Result<String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let ended = self.child.try_wait()?;
            let said = self.said()?;
            let url = said.lines().find_map(|line| line.strip_prefix(SELLING));
            if let Some(origin) = url.and_then(|url| url.trim().strip_suffix("/weather")) {
                return Ok(origin.to_owned());
            }
            if let Some(status) = ended {
                bail!("{} ended with {status} before it sold anything: {}", self.name, said.trim());
            }
            std::thread::sleep(TURN);
        }
        bail!("{} sold nothing within {} s", self.name, PATIENCE.as_secs())
    }

    fn said(&self) -> anyhow::Result<String> {
        fs::read_to_string(&self.log).with_context(|| format!("reading {}", self.log.display()))
    }

    /// Closes its input, as a script understands that it is over; its last word.
    pub(super) fn end_of_input(&mut self) -> anyhow::Result<String> {
        drop(self.child.stdin.take());
        self.last_word()
    }

    /// Ends it as Ctrl-C does; its last word.
    pub(super) fn interrupt(&mut self) -> anyhow::Result<String> {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        ensure!(status.context("starting `kill`")?.success(), "`kill` failed");
        self.last_word()
    }

    fn last_word(&mut self) -> anyhow::Result<String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                let said = self.said()?;
                ensure!(status.success(), "{} ended with {status}: {}", self.name, said.trim());
                let last = said.lines().last().unwrap_or_default();
                return Ok(format!("{} {last}", self.name));
            }
            std::thread::sleep(TURN);
        }
        bail!("{} still runs after {} s: {}", self.name, PATIENCE.as_secs(), self.said()?.trim())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
