//! Whether this machine has what Agora needs, said before anything fails: `agora doctor`.
//!
//! Checks are data. What they look at comes through [`Probe`], so that tests can show a machine that lacks anything.

mod probe;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use crate::fetch::{self, ModelSource, State};
use crate::output::{Document, Style};
use crate::paths::Paths;
use crate::settings::Settings;
use crate::text;

pub use probe::{FolderLock, Probe, System};

const GIB: u64 = 1 << 30;

// To be measured on a fresh machine, and then rounded up; the release build is by far the largest.
/// Free disk that the data folder wants: the model (twice while it is unpacked) and a log that grows.
pub const DATA_FREE: u64 = GIB;
/// Free disk that the cache folder wants: compiled agents.
pub const CACHE_FREE: u64 = GIB / 2;
/// Free disk that a build wants.
pub const TARGET_FREE: u64 = 12 * GIB;
/// Memory that a node with the default model wants.
pub const MEMORY: u64 = 2 * GIB;
/// Open files that a node with many agents and connections wants.
pub const OPEN_FILES: u64 = 4_096;

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Fine.
    Ok,
    /// Works, but something will be slow or missing.
    Warn,
    /// Something will not work.
    Fail,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// What was looked at; stable.
    pub name: String,
    /// How it came out.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do, unless all is fine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub advice: Option<String>,
}

impl Check {
    fn new(name: &str, verdict: Verdict, found: impl Into<String>, advice: impl Into<String>) -> Self {
        let advice = (verdict != Verdict::Ok).then(|| advice.into());
        Self { name: name.to_owned(), verdict, found: found.into(), advice }
    }

    fn ok_or(name: &str, fine: bool, otherwise: Verdict, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(name, if fine { Verdict::Ok } else { otherwise }, found, advice)
    }
}

/// All checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Report {
    /// In the order of looking.
    pub checks: Vec<Check>,
}

impl Report {
    /// True when no check failed; warnings do not count.
    pub fn healthy(&self) -> bool {
        self.checks.iter().all(|check| check.verdict != Verdict::Fail)
    }
}

impl Document for Report {
    const TYPE: &'static str = "agora/doctor/v1";

    fn text(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let width = self.checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
        for check in &self.checks {
            let mark = match check.verdict {
                Verdict::Ok => style.good("ok  "),
                Verdict::Warn => style.doubtful("warn"),
                Verdict::Fail => style.bad("FAIL"),
            };
            writeln!(out, "{mark}  {:width$}  {}", check.name, text::plain(&check.found))?;
            if let Some(advice) = &check.advice {
                writeln!(out, "      {:width$}  {}", "", style.faint(&format!("-> {advice}")))?;
            }
        }
        Ok(())
    }
}

/// What the checks are about.
#[derive(Debug, Clone)]
pub struct Subject {
    /// The user's folders.
    pub paths: Paths,
    /// The network's data folder.
    pub network: PathBuf,
    /// Where the node would listen.
    pub listen: SocketAddr,
    /// The model that the node would load, if it is a known one.
    pub model: Option<ModelSource>,
    /// The model's file, if it is given by path.
    pub model_path: Option<PathBuf>,
    /// Where a build would put its products: the current folder's `target`, or `CARGO_TARGET_DIR`.
    pub target: PathBuf,
}

impl Subject {
    /// From the settings in force.
    pub fn new(paths: &Paths, settings: &Settings) -> Self {
        let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
        let model = &settings.model.value;
        Self {
            paths: paths.clone(),
            network: paths.network(&settings.network.value),
            listen: SocketAddr::new(settings.bind.value, settings.port.value),
            model: fetch::find(model.as_str()).ok().copied(),
            model_path: model.path().map(Path::to_path_buf),
            target,
        }
    }
}

/// Looks at everything; none of it is changed.
pub fn examine(subject: &Subject, probe: &dyn Probe) -> Report {
    let mut checks = tools(probe);
    checks.extend(folders(subject, probe));
    checks.extend(machine(probe));
    checks.extend(network(subject, probe));
    Report { checks }
}

/// The tools that building, and fetching models, need; also used by the workspace's chores before long work.
pub fn tools(probe: &dyn Probe) -> Vec<Check> {
    let wanted = wanted_rust();
    let rust = match probe.run("rustc", &["--version"]) {
        Some(found) => {
            let same = found.split_whitespace().nth(1) == Some(wanted);
            let advice = format!("this source is built with Rust {wanted}: rustup toolchain install {wanted}");
            Check::ok_or("rust", same, Verdict::Warn, found, advice)
        }
        None => {
            let advice =
                format!("needed to build Agora and agents; install Rust {wanted} with rustup (https://rustup.rs)");
            Check::new("rust", Verdict::Warn, "no rustc", advice)
        }
    };
    let c = match ["cc", "gcc", "clang"].iter().find_map(|name| probe.run(name, &["--version"])) {
        Some(found) => Check::new("c-compiler", Verdict::Ok, first_line(&found), ""),
        None => {
            let advice =
                "needed to build and to link; such as `apt install build-essential` or `xcode-select --install`";
            Check::new("c-compiler", Verdict::Fail, "no cc, gcc or clang", advice)
        }
    };
    let python = match (probe.run("python3", &["--version"]), probe.run("python3", &["-m", "pip", "--version"])) {
        (Some(python), Some(pip)) => {
            let pip: Vec<&str> = pip.split_whitespace().take(2).collect();
            Check::new("python", Verdict::Ok, format!("{}, {}", python.trim(), pip.join(" ")), "")
        }
        (Some(python), None) => {
            let advice = "needed to fetch the model; such as `apt install python3-pip`";
            Check::new("python", Verdict::Fail, format!("{}, no pip", python.trim()), advice)
        }
        (None, _) => {
            let advice = "needed to fetch the model; such as `apt install python3 python3-pip`";
            Check::new("python", Verdict::Fail, "no python3", advice)
        }
    };
    let git = match probe.run("git", &["--version"]) {
        Some(found) => Check::new("git", Verdict::Ok, first_line(&found), ""),
        None => Check::new("git", Verdict::Warn, "no git", "needed to work on the source; such as `apt install git`"),
    };
    vec![rust, c, python, git]
}

/// The version in rust-toolchain.toml, fixed when this was built.
fn wanted_rust() -> &'static str {
    let text = include_str!("../../../../rust-toolchain.toml");
    text.split('"').nth(1).expect("rust-toolchain.toml names a channel in quotes")
}

fn folders(subject: &Subject, probe: &dyn Probe) -> Vec<Check> {
    let paths = &subject.paths;
    let mut checks = Vec::new();
    for (name, path) in [("data", paths.data()), ("config", paths.config()), ("cache", paths.cache())] {
        let writable = probe.writable(path);
        let found = format!("{} {}", path.display(), if writable { "can be written" } else { "cannot be written" });
        let advice = "change its owner or mode, or choose another place with --home";
        checks.push(Check::ok_or(&format!("{name}-folder"), writable, Verdict::Fail, found, advice));
    }
    let disks = [
        ("data-disk", paths.data(), DATA_FREE, Verdict::Fail),
        ("cache-disk", paths.cache(), CACHE_FREE, Verdict::Warn),
        ("build-disk", &subject.target, TARGET_FREE, Verdict::Warn),
    ];
    for (name, path, wanted, otherwise) in disks {
        checks.push(match probe.disk_free(path) {
            Some(free) => {
                let found = format!("{} free for {}", text::bytes(free), path.display());
                let advice = format!("wants {}; free some space", text::bytes(wanted));
                Check::ok_or(name, free >= wanted, otherwise, found, advice)
            }
            None => unknown(name),
        });
    }
    checks
}

fn machine(probe: &dyn Probe) -> Vec<Check> {
    let memory = match probe.memory() {
        Some(bytes) => {
            let found = format!("{} usable", text::bytes(bytes));
            let advice = format!("wants {}; end other programs, or expect slow answers", text::bytes(MEMORY));
            Check::ok_or("memory", bytes >= MEMORY, Verdict::Warn, found, advice)
        }
        None => unknown("memory"),
    };
    let cpu = match probe.cpu() {
        Some((features, fast)) => {
            let advice = "the model computes without wide vectors here; expect slow answers";
            Check::ok_or("cpu", fast, Verdict::Warn, features, advice)
        }
        None => unknown("cpu"),
    };
    let files = match probe.open_files() {
        Some(limit) => {
            let advice = format!("wants {OPEN_FILES}: ulimit -n {OPEN_FILES}");
            Check::ok_or("open-files", limit >= OPEN_FILES, Verdict::Warn, format!("at most {limit}"), advice)
        }
        None => unknown("open-files"),
    };
    vec![memory, cpu, files]
}

fn network(subject: &Subject, probe: &dyn Probe) -> Vec<Check> {
    let at = subject.network.display();
    let lock = probe.lock(&subject.network);
    let running = lock == FolderLock::Held;
    let data = match lock {
        FolderLock::Missing => Check::new("network", Verdict::Ok, format!("{at} is made by the first `agora up`"), ""),
        FolderLock::Free => Check::new("network", Verdict::Ok, format!("{at}, no node at it"), ""),
        FolderLock::Held => Check::new("network", Verdict::Ok, format!("{at}, a node is at it"), ""),
    };
    let free = subject.listen.port() == 0 || probe.port_free(subject.listen);
    let port = match (free, running) {
        (true, _) => Check::new("port", Verdict::Ok, format!("{} is free", subject.listen), ""),
        (false, true) => Check::new("port", Verdict::Ok, format!("{} is taken, a node runs here", subject.listen), ""),
        (false, false) => {
            let found = format!("{} cannot be listened at", subject.listen);
            Check::new("port", Verdict::Fail, found, "stop the program that listens there, or give another --port")
        }
    };
    vec![data, model(subject, probe), port]
}

fn model(subject: &Subject, probe: &dyn Probe) -> Check {
    const GET: &str = "fetch it with `agora model fetch`";
    let folder = subject.paths.models();
    if let Some(path) = &subject.model_path {
        let there = probe.is_file(path) || probe.is_file(&path.join("config.json"));
        return Check::ok_or("model", there, Verdict::Fail, path.display().to_string(), "there is no such file");
    }
    let Some(model) = &subject.model else {
        return Check::new("model", Verdict::Fail, "the settings name an unknown model", "see `agora model list`");
    };
    match probe.model(model, &folder) {
        Some(State::Verified) => Check::new("model", Verdict::Ok, format!("{}, hash checked", model.file), ""),
        Some(State::Unchecked) => {
            Check::new("model", Verdict::Ok, format!("{}, checked at the next start", model.file), "")
        }
        Some(State::Missing) => Check::new("model", Verdict::Warn, format!("{} is not here yet", model.file), GET),
        Some(State::WrongSize(size)) => {
            let found = format!("{} has {size} bytes, not {}", model.file, model.bytes);
            Check::new("model", Verdict::Fail, found, GET)
        }
        None => Check::new("model", Verdict::Fail, format!("{} cannot be read", folder.display()), GET),
    }
}

fn unknown(name: &str) -> Check {
    Check::new(name, Verdict::Warn, "cannot be seen on this system", "look yourself")
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests;
