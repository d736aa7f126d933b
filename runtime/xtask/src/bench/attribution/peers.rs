//! The peers' Python: installed once for a set of pins, outside of the tree, and reused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agora_types::Hash;
use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::guests;
use crate::needs::{self, Need};

/// Python with the pinned packages.
pub(crate) struct Python(PathBuf);

impl Python {
    /// Installs what is missing; an attempt that was cut off is made again.
    pub(crate) fn install(requirements: &Path) -> anyhow::Result<Self> {
        needs::check(&[Need::Pip])?;
        let pins = fs::read(requirements).with_context(|| format!("reading {}", requirements.display()))?;
        let key: String = Hash::sha256(pins).to_string().trim_start_matches("0x").chars().take(16).collect();
        let folder = guests::cache_folder()?.join("bench-attribution").join(key);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let _lock = guests::lock(&folder.join("lock"))?;
        let (home, done) = (folder.join("python"), folder.join("python.done"));
        let python = home.join("bin/python");
        if !done.is_file() {
            eprintln!("== Python packages into {} (about 6 GB; `--alone` does without them)", folder.display());
            succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home), "python3 -m venv")?;
            let mut pip = Command::new(&python);
            pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]).arg(requirements);
            succeed(&mut pip, "pip install")?;
            fs::write(&done, b"").with_context(|| format!("writing {}", done.display()))?;
        }
        Ok(Self(python))
    }

    /// Runs a script; its last line is JSON. What it says beside goes to a log.
    pub(crate) fn run(&self, script: &Path, arguments: &[&str], log: &Path) -> anyhow::Result<Vec<Value>> {
        let mut command = Command::new(&self.0);
        command.arg(script).args(arguments);
        said(&mut command, Some(log))
    }
}

/// The JSON lines of a program that must succeed.
pub(crate) fn said(command: &mut Command, log: Option<&Path>) -> anyhow::Result<Vec<Value>> {
    let errors = match log {
        None => Stdio::inherit(),
        Some(path) => fs::File::create(path).with_context(|| format!("making {}", path.display()))?.into(),
    };
    let output = command.stdin(Stdio::null()).stderr(errors).output();
    let output = output.with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        let behind = log.map_or(String::new(), |path| format!("; see {}", path.display()));
        bail!("{} failed ({}){behind}", command.get_program().display(), output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

fn succeed(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("starting `{what}`"))?;
    if !status.success() {
        bail!("`{what}` failed ({status}); its output above says why");
    }
    Ok(())
}
