//! A program that answers one JSON request a line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

/// A running engine; it ends with this.
pub(super) struct Worker {
    name: String,
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Worker {
    pub(super) fn start(name: &str, program: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().with_context(|| format!("starting {}", program.display()))?;
        let (to, from) = (child.stdin.take().context("its input")?, child.stdout.take().context("its output")?);
        Ok(Self { name: name.to_owned(), child, to, from: BufReader::new(from) })
    }

    /// The answer, which must not be an error.
    pub(super) fn ask(&mut self, ask: &Value) -> anyhow::Result<Value> {
        self.try_ask(ask)?.with_context(|| format!("{} cannot do {}", self.name, ask["do"]))
    }

    /// The answer; `None` if this engine cannot do that.
    pub(super) fn try_ask(&mut self, ask: &Value) -> anyhow::Result<Option<Value>> {
        writeln!(self.to, "{ask}").with_context(|| format!("asking {}", self.name))?;
        let mut line = String::new();
        if self.from.read_line(&mut line)? == 0 {
            bail!("{} ended at {}", self.name, ask["do"]);
        }
        let said: Value = serde_json::from_str(&line).with_context(|| format!("{} said {line}", self.name))?;
        match said.get("error").and_then(Value::as_str) {
            None => Ok(Some(said)),
            Some(error) if error.contains("unsupported") => Ok(None),
            Some(error) => bail!("{} at {}: {error}", self.name, ask["do"]),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Nothing in it lasts.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
