//! The test suite as a list of steps; the first that fails ends the run and is named.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, bail};
use clap::ValueEnum;

use crate::needs::{self, Need};

/// The guests are a workspace of their own.
const AGENTS: &str = "agents/Cargo.toml";

/// A step of `cargo xtask test`, in the order of running.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Step {
    /// cargo fmt --check
    Fmt,
    /// cargo xtask tidy
    Tidy,
    /// cargo clippy, warnings denied
    Clippy,
    /// Fetch the model that the engine's tests load
    Fetch,
    /// cargo xtask guests, and the tests of agents/ that need no sandbox
    Guests,
    /// Unit, property, crash and end-to-end tests
    Test,
    /// The short form of cargo xtask interop: stock clients against a real node
    Interop,
    /// Examples inside the documentation, and the documentation itself, warnings denied
    Doc,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Fmt => "fmt",
            Self::Tidy => "tidy",
            Self::Clippy => "clippy",
            Self::Fetch => "fetch",
            Self::Guests => "guests",
            Self::Test => "test",
            Self::Interop => "interop",
            Self::Doc => "doc",
        }
    }

    fn run(self, root: &Path) -> anyhow::Result<Vec<String>> {
        match self {
            Self::Fmt => {
                cargo(root, &["fmt", "--all", "--", "--check"], &[])?;
                cargo(root, &["fmt", "--manifest-path", AGENTS, "--all", "--", "--check"], &[])
            }
            Self::Tidy => crate::tidy::run(root).map(|()| Vec::new()),
            Self::Clippy => {
                cargo(root, &["clippy", "--release", "--workspace", "--all-targets", "--", "-D", "warnings"], &[])
            }
            Self::Fetch => crate::fetch::run(agora_shell::fetch::DEFAULT_MODEL).map(|line| vec![line]),
            Self::Guests => {
                let mut summary = crate::guests::run(root)?;
                // On this machine, for what needs no host: the pure parts, and the example of the SDK's documentation.
                summary.extend(cargo(root, &["test", "--manifest-path", AGENTS, "--workspace", "--quiet"], &[])?);
                Ok(summary)
            }
            Self::Test => tests(root),
            Self::Interop => crate::interop::run(root, &crate::interop::Choice::short()).map(|line| vec![line]),
            Self::Doc => {
                let summary = cargo(root, &["test", "--release", "--workspace", "--doc", "--quiet"], &[])?;
                cargo(root, &["doc", "--release", "--workspace", "--no-deps"], &[("RUSTDOCFLAGS", "-D warnings")])?;
                Ok(summary)
            }
        }
    }
}

fn tests(root: &Path) -> anyhow::Result<Vec<String>> {
    let mut nextest = Command::new("cargo");
    nextest.args(["nextest", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    let has_nextest = nextest.status().is_ok_and(|status| status.success());
    if has_nextest {
        cargo(root, &["nextest", "run", "--release", "--workspace", "--no-fail-fast"], &[])
    } else {
        cargo(
            root,
            &["test", "--release", "--workspace", "--lib", "--bins", "--tests", "--examples", "--no-fail-fast"],
            &[],
        )
    }
}

/// Cargo as a person calls it: its variables of the outer `cargo run` would make the inner one rebuild.
pub(crate) fn plain_cargo(root: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(arguments).current_dir(root);
    for (name, _) in std::env::vars() {
        if name.starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" || name == "CARGO_MANIFEST_PATH" {
            command.env_remove(name);
        }
    }
    command
}

/// Runs cargo, passes its output on, and keeps the lines in which a test runner sums up.
fn cargo(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> anyhow::Result<Vec<String>> {
    use std::io::BufRead as _;
    let text = format!("cargo {}", arguments.join(" "));
    let mut command = plain_cargo(root, arguments);
    command.envs(environment.iter().copied());
    let (reader, writer) = std::io::pipe().context("no pipe for cargo's output")?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn().with_context(|| format!("`{text}` did not start; is cargo on the PATH?"))?;
    drop(command);
    let mut summary = Vec::new();
    for line in std::io::BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        let plain = line.trim_start();
        if plain.starts_with("Summary [")
            || (plain.starts_with("test result:") && !plain.contains(" 0 passed; 0 failed"))
        {
            summary.push(plain.trim_end().to_owned());
        }
        eprintln!("{line}");
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{text}` failed ({status}); its output above says why");
    }
    Ok(summary)
}

/// Runs the chosen steps in order.
pub(crate) fn run(root: &Path, only: &[Step], skip: &[Step]) -> anyhow::Result<()> {
    let chosen = |step: &Step| !skip.contains(step) && (only.is_empty() || only.contains(step));
    let mut needed = Vec::new();
    needed.extend([Step::Clippy, Step::Test, Step::Doc].iter().any(chosen).then_some(Need::C));
    needed.extend(chosen(&Step::Interop).then_some(Need::Node));
    needs::check(&needed)?;
    let started = Instant::now();
    let (mut times, mut summaries) = (Vec::new(), Vec::new());
    for step in Step::value_variants().iter().filter(|step| chosen(step)) {
        eprintln!("== {}", step.name());
        let begun = Instant::now();
        summaries.extend(step.run(root).with_context(|| format!("step `{}`", step.name()))?);
        times.push(format!("{} {:.0} s", step.name(), begun.elapsed().as_secs_f32()));
    }
    println!("steps: {}; together {:.0} s", times.join(", "), started.elapsed().as_secs_f32());
    for line in summaries {
        println!("{line}");
    }
    println!("all chosen steps passed");
    Ok(())
}
