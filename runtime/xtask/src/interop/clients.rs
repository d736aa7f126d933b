//! The stock clients: installed once for a set of pins, outside of the tree, and reused.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agora_types::Hash;
use anyhow::{Context as _, bail};

use crate::guests;

/// What decides which clients are installed.
const PINS: &[&str] = &["package.json", "package-lock.json", "requirements.txt"];

/// Installed clients, and a copy of the scripts beside them: npm's packages are found only from there.
pub(crate) struct Clients {
    folder: PathBuf,
    scripts: PathBuf,
}

/// True for a script of Python.
pub(super) fn is_python(script: &str) -> bool {
    Path::new(script).extension().is_some_and(|extension| extension == "py")
}

impl Clients {
    /// Installs what is missing: npm's packages always, Python's where they are needed.
    pub(crate) fn install(source: &Path, python: bool) -> anyhow::Result<Self> {
        let folder = guests::cache_folder()?.join("interop").join(key(source)?);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let _lock = guests::lock(&folder.join("lock"))?;
        once(&folder.join("npm.done"), || {
            eprintln!("== npm packages into {}", folder.display());
            for pin in ["package.json", "package-lock.json"] {
                fs::copy(source.join(pin), folder.join(pin)).with_context(|| format!("copying {pin}"))?;
            }
            let mut npm = Command::new("npm");
            npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
            succeed(npm.current_dir(&folder), "npm ci")
        })?;
        if python {
            once(&folder.join("python.done"), || {
                eprintln!("== Python packages into {}", folder.display());
                let home = folder.join("python");
                succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home), "python3 -m venv")?;
                let mut pip = Command::new(home.join("bin/python"));
                pip.args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--only-binary=:all:",
                    "-r",
                ]);
                succeed(pip.arg(source.join("requirements.txt")), "pip install")
            })?;
        }
        let scripts = folder.join(format!("run-{}", std::process::id()));
        copy(source, &scripts)?;
        Ok(Self { folder, scripts })
    }

    /// A script with its interpreter.
    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command =
            if is_python(script) { Command::new(self.folder.join("python/bin/python")) } else { Command::new("node") };
        command.arg(self.scripts.join(script)).current_dir(&self.scripts);
        command
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // The next run makes its own copy; what stays behind is a few kilobytes.
        drop(fs::remove_dir_all(&self.scripts));
    }
}

/// A name for the pins.
fn key(source: &Path) -> anyhow::Result<String> {
    let mut pins = Vec::new();
    for pin in PINS {
        pins.push(fs::read(source.join(pin)).with_context(|| format!("reading {pin}"))?);
    }
    // Each with its length, so that nothing moves from one file to the next unseen.
    let lengths: Vec<[u8; 8]> = pins.iter().map(|pin| (pin.len() as u64).to_be_bytes()).collect();
    let pieces: Vec<&[u8]> =
        lengths.iter().zip(&pins).flat_map(|(length, pin)| [length.as_slice(), pin.as_slice()]).collect();
    let hash = Hash::sha256_of(&pieces).to_string();
    Ok(hash.trim_start_matches("0x").chars().take(16).collect())
}

/// Does it unless `done` stands there; an attempt that was cut off is made again.
fn once(done: &Path, install: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<()> {
    if done.is_file() {
        return Ok(());
    }
    install()?;
    fs::write(done, b"").with_context(|| format!("writing {}", done.display()))
}

fn succeed(command: &mut Command, what: &str) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("starting `{what}`"))?;
    if !status.success() {
        bail!("`{what}` failed ({status}); its output above says why");
    }
    Ok(())
}

fn copy(source: &Path, scripts: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(scripts).with_context(|| format!("making {}", scripts.display()))?;
    for entry in fs::read_dir(source).with_context(|| format!("reading {}", source.display()))? {
        let path = entry?.path();
        let is_script = path.extension().is_some_and(|extension| extension == "mjs" || extension == "py");
        if let Some(name) = path.file_name().filter(|_| is_script) {
            fs::copy(&path, scripts.join(name)).with_context(|| format!("copying {}", path.display()))?;
        }
    }
    Ok(())
}
