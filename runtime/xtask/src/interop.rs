//! `cargo xtask interop`: pinned stock clients against a real node, one group of checks after the other.
//!
//! The checks are scripts in `payments/interop`; this file starts what they need, counts what they say, and has the ledger
//! recounted after each of them.

mod checks;
pub(crate) mod clients;
pub(crate) mod node;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};

use crate::needs::{self, Need};
use crate::{guests, steps};
use checks::{Tally, Verdict};
use clients::Clients;
use node::Node;

/// The longest that one script may take.
const SCRIPT_MAX: Duration = Duration::from_secs(300);

/// How it is run.
#[derive(Args)]
pub(crate) struct Choice {
    /// Run only this group (may be repeated).
    #[arg(long, value_name = "GROUP")]
    only: Vec<Group>,
    /// The short form: npm clients at the gateway, OpenAI's client, one signature a hundred times.
    #[arg(long)]
    small: bool,
    /// Leave the node's home behind, and say where.
    #[arg(long)]
    keep: bool,
    /// Use this program instead of building one.
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

impl Choice {
    /// The short form, with a program that is built where it must be.
    pub(crate) fn short() -> Self {
        Self { only: Vec::new(), small: true, keep: false, program: None }
    }
}

/// A group of checks, in the order of running.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// npm @x402/fetch pays our gateway
    NpmBuyer,
    /// PyPI x402 pays our gateway
    PythonBuyer,
    /// npm @x402/fetch pays one of our agents
    Agent,
    /// npm @x402/fetch pays a stock @x402/express seller that uses our facilitator
    Express,
    /// PyPI x402-conformance reads our facilitator and a paid address
    Conformance,
    /// The openai packages with an API key of ours
    Openai,
    /// A hundred requests with one signature
    Repeat,
    /// `agora call` and one of our agents pay a stock @x402/express seller
    OurBuyer,
}

impl Group {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// None in the short form: it is left out there.
    fn scripts(self, small: bool) -> &'static [&'static str] {
        match (self, small) {
            (Self::NpmBuyer, _) => &["npm-buyer.mjs"],
            (Self::PythonBuyer, false) => &["python_buyer.py"],
            (Self::Agent, false) => &["agent-seller.mjs"],
            (Self::Express, false) => &["express-seller.mjs"],
            (Self::Conformance, false) => &["conformance.py"],
            (Self::Openai, false) => &["openai.mjs", "openai_client.py"],
            (Self::Openai, true) => &["openai.mjs"],
            (Self::Repeat, _) => &["repeat.mjs"],
            (Self::OurBuyer, false) => &["our-buyer.mjs"],
            (Self::PythonBuyer | Self::Agent | Self::Express | Self::Conformance | Self::OurBuyer, true) => &[],
        }
    }

    fn needs_agents(self, small: bool) -> bool {
        match self {
            Self::Agent | Self::Conformance | Self::Repeat | Self::OurBuyer => !small,
            Self::NpmBuyer | Self::PythonBuyer | Self::Express | Self::Openai => false,
        }
    }
}

/// The groups that were chosen and have something to run, with their scripts.
fn chosen(only: &[Group], small: bool) -> Vec<(Group, &'static [&'static str])> {
    let wanted = |group: &&Group| only.is_empty() || only.contains(group);
    let groups = Group::value_variants().iter().filter(wanted);
    groups.map(|group| (*group, group.scripts(small))).filter(|(_, scripts)| !scripts.is_empty()).collect()
}

/// Runs the chosen groups and answers with the count of checks; fails if one fails.
pub(crate) fn run(root: &Path, choice: &Choice) -> anyhow::Result<String> {
    let groups = chosen(&choice.only, choice.small);
    if groups.is_empty() {
        bail!("nothing to run: the short form has no such group; leave --small out");
    }
    let needs_python = groups.iter().any(|(_, scripts)| scripts.iter().any(|script| clients::is_python(script)));
    let needs_agents = groups.iter().any(|(group, _)| group.needs_agents(choice.small));
    let mut needed = vec![Need::Node];
    needed.extend(needs_python.then_some(Need::Pip));
    needed.extend(needs_agents.then_some(Need::Guests));
    needed.extend(choice.program.is_none().then_some(Need::C));
    needs::check(&needed)?;

    let clients = Clients::install(&root.join("payments/interop"), needs_python)?;
    let agents = needs_agents.then(|| components(root)).transpose()?;
    let program = match &choice.program {
        Some(program) => program.canonicalize().with_context(|| program.display().to_string())?,
        None => built(root, choice.small)?,
    };
    let started = Instant::now();
    let mut node = Node::start(&program, choice.keep)?;
    let mut tally = Tally::default();
    for (group, scripts) in &groups {
        let (name, begun) = (group.name(), Instant::now());
        eprintln!("== {name}");
        for script in *scripts {
            let mut command = clients.command(script);
            node.environment(&mut command);
            command.env("INTEROP_SMALL", if choice.small { "1" } else { "0" });
            command.envs(agents.iter().map(|folder| ("INTEROP_AGENTS", folder)));
            checks::run(command, script, SCRIPT_MAX, &mut |check| tally.report(&name, check))?;
        }
        tally.report(&name, Verdict::of("the ledger's audit is clean", node.audit()));
        eprintln!("   {:.1} s", begun.elapsed().as_secs_f32());
    }
    tally.report("node", Verdict::of("the node ends when it is told to", node.stop()));
    tally.report("node", Verdict::of("the ledger's audit is clean without the node", node.audit()));
    let line = format!("interop: {tally}; {:.0} s", started.elapsed().as_secs_f32());
    if tally.failed > 0 {
        bail!("{line}; each failed check says above what was expected");
    }
    Ok(line)
}

/// The folder of our agents, built.
fn components(root: &Path) -> anyhow::Result<PathBuf> {
    eprintln!("== agents");
    guests::run(root)?.iter().for_each(|line| eprintln!("{line}"));
    Ok(guests::target_folder(root)?.join("guests"))
}

/// The program, built with the features of the whole workspace. The short form is a part of the tests, whose features are
/// more: it takes the program that they were built with.
fn built(root: &Path, with_tests: bool) -> anyhow::Result<PathBuf> {
    eprintln!("== program (the first build takes minutes)");
    let mut arguments = vec!["build", "--release", "--workspace", "--bin", "agora"];
    arguments.extend(with_tests.then_some("--tests"));
    let mut build: Command = steps::plain_cargo(root, &arguments);
    let status = build.status().context("starting cargo")?;
    if !status.success() {
        bail!("the program did not build ({status}); the output above says why");
    }
    Ok(guests::target_folder(root)?.join("release").join(format!("agora{}", std::env::consts::EXE_SUFFIX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_form_needs_neither_python_nor_agents() {
        let groups = chosen(&[], true);
        assert!(groups.iter().all(|(group, _)| !group.needs_agents(true)));
        assert!(groups.iter().flat_map(|(_, scripts)| *scripts).all(|script| !clients::is_python(script)));
        assert_eq!(groups.len(), 3);
        assert!(chosen(&[Group::Express], true).is_empty());
    }

    #[test]
    fn every_script_of_every_group_is_in_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../payments/interop");
        for (_, scripts) in chosen(&[], false) {
            for script in scripts {
                assert!(folder.join(script).is_file(), "{script}");
            }
        }
    }
}
