//! A node of the real program on free ports: for the checks at home in a fresh folder, with a stand-in model that is offered
//! as `parrot`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// Takes 5 ms for a token, so that a stream takes time.
const MODEL: &str = "fake:5";
/// What the scripts ask for.
const LISTING: &str = "parrot";
/// How long it may take to open its ports, and to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const TURN: Duration = Duration::from_millis(50);
/// What it says, in its home.
const LOG: &str = "up.log";
/// What makes a command speak to another node than the one that was started.
const OTHERS: &[&str] =
    &["AGORA_NETWORK", "AGORA_PORT", "AGORA_HTTP_PORT", "AGORA_MODEL", "AGORA_OUTPUT", "AGORA_MAX_SPEND"];

/// A running node; killed when dropped.
pub(crate) struct Node {
    program: PathBuf,
    home: PathBuf,
    /// True where its home goes with it.
    guest: bool,
    keep: bool,
    child: Child,
    url: String,
}

impl Node {
    /// Starts it and publishes its model.
    pub(super) fn start(program: &Path, keep: bool) -> anyhow::Result<Self> {
        let home = std::env::temp_dir().join(format!("agora-interop-{}", std::process::id()));
        fs::create_dir(&home).with_context(|| format!("making {}", home.display()))?;
        eprintln!("== node, at home in {}", home.display());
        let mut node = Self::at(program, &home, MODEL)?;
        (node.guest, node.keep) = (true, keep);
        node.agora(&["model", "publish", LISTING])?;
        Ok(node)
    }

    /// Starts it in a home that stays.
    pub(crate) fn at(program: &Path, home: &Path, model: &str) -> anyhow::Result<Self> {
        let mut command = command(program, home);
        command.args(["up", "--model", model, "--port", "0", "--http", "0"]);
        let log = File::create(home.join(LOG)).with_context(|| format!("writing {LOG}"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let (program, home) = (program.to_owned(), home.to_owned());
        let mut node = Self { program, home, guest: false, keep: false, child, url: String::new() };
        node.url = node.opened()?;
        Ok(node)
    }

    /// Where others pay.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Waits until it says where its public port is.
    fn opened(&mut self) -> anyhow::Result<String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let ended = self.child.try_wait()?;
            let log = fs::read_to_string(self.home.join(LOG)).with_context(|| format!("reading {LOG}"))?;
            let url = log.lines().filter_map(|line| line.strip_prefix("paying")).next();
            if let Some(url) = url.and_then(|rest| rest.split_whitespace().next()) {
                return Ok(url.to_owned());
            }
            if let Some(status) = ended {
                bail!("the node ended with {status} before it opened its port: {}", log.trim());
            }
            std::thread::sleep(TURN);
        }
        bail!("the node opened no port within {} s", PATIENCE.as_secs())
    }

    /// What a script needs to find it.
    pub(super) fn environment(&self, command: &mut Command) {
        alone(command);
        command.env("AGORA_HOME", &self.home).env("AGORA_URL", &self.url).env("AGORA_PROGRAM", &self.program);
    }

    /// Recounts the ledger.
    pub(super) fn audit(&self) -> anyhow::Result<String> {
        let text = self.agora(&["ledger", "audit"])?;
        Ok(text.lines().next().unwrap_or_default().trim().to_owned())
    }

    /// Asks it to end, as Ctrl-C does, and waits.
    pub(crate) fn stop(&mut self) -> anyhow::Result<String> {
        let begun = Instant::now();
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        ensure!(status.context("starting `kill`")?.success(), "`kill` failed");
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait()? {
                ensure!(status.success(), "the node ended with {status}");
                return Ok(format!("{:.1} s", begun.elapsed().as_secs_f32()));
            }
            std::thread::sleep(TURN);
        }
        bail!("the node still runs after {} s", PATIENCE.as_secs())
    }

    /// Runs a command in its home; what it prints.
    pub(crate) fn agora(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let text = format!("agora {}", arguments.join(" "));
        let output = command(&self.program, &self.home).args(arguments).stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("starting `{text}`"))?;
        if !output.status.success() {
            bail!("`{text}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if !self.guest {
            return;
        }
        if self.keep {
            eprintln!("the node's home is left in {}", self.home.display());
        } else {
            drop(fs::remove_dir_all(&self.home));
        }
    }
}

/// A program of ours at home in a folder, which nobody can be asked by.
pub(crate) fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    alone(&mut command);
    command.env("AGORA_HOME", home).arg("--non-interactive");
    command
}

/// The user's own settings say nothing here.
pub(crate) fn alone(command: &mut Command) {
    for name in OTHERS {
        command.env_remove(name);
    }
}
