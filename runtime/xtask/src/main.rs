//! Workspace chores: `cargo xtask demo` shows the whole line, `cargo xtask test` tests everything.

mod bench;
mod demo;
mod demo_attribution;
mod fetch;
mod fuzz;
mod guests;
mod interop;
mod needs;
mod steps;
mod tidy;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Chores of the Agora workspace. Data goes to stdout, progress to stderr; the exit code is 0 only if all is well.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Build the program and the example agent, fetch the model, and run `agora demo`.
    Demo {
        /// Arguments for `agora demo`, behind `--`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Three people give data, an adapter learns it, questions are answered, and each answer pays who taught it.
    DemoAttribution(demo_attribution::Choice),
    /// Run the whole test suite: format, shape, lints, tests, docs.
    Test {
        /// Run only this step (may be repeated).
        #[arg(long, value_name = "STEP")]
        only: Vec<steps::Step>,
        /// Leave this step out (may be repeated).
        #[arg(long, value_name = "STEP")]
        skip: Vec<steps::Step>,
    },
    /// Build the agents of agents/ as components into `guests/` of the target folder.
    Guests,
    /// Run pinned stock clients of x402 and OpenAI against a real node.
    Interop(interop::Choice),
    /// Measure against a peer in the same run, and say which goals are met.
    #[command(subcommand)]
    Bench(bench::What),
    /// Feed every reader of what strangers send with libFuzzer.
    Fuzz(fuzz::Choice),
    /// Check layers, purity, the map in runtime/ARCHITECTURE.md and the top level.
    Tidy,
    /// Fetch the model that tests and demo use into the user's models folder, once.
    Fetch {
        /// The model's name.
        #[arg(default_value = agora_shell::fetch::DEFAULT_MODEL)]
        model: String,
    },
    /// Say which tools the chores need and this machine lacks, all at once.
    Doctor,
}

fn main() -> anyhow::Result<()> {
    let root = workspace_root()?;
    match Arguments::parse().chore {
        Chore::Demo { arguments } => demo::run(&root, &arguments),
        Chore::DemoAttribution(choice) => demo_attribution::run(&root, &choice),
        Chore::Guests => {
            guests::run(&root)?.iter().for_each(|line| println!("{line}"));
            Ok(())
        }
        Chore::Bench(what) => bench::run(&root, &what),
        Chore::Fuzz(choice) => fuzz::run(&root, &choice),
        Chore::Interop(choice) => interop::run(&root, &choice).map(|line| println!("{line}")),
        Chore::Tidy => tidy::run(&root),
        Chore::Fetch { model } => fetch::run(&model).map(|line| println!("{line}")),
        Chore::Doctor => {
            needs::check(&[
                needs::Need::C,
                needs::Need::Cpp,
                needs::Need::Pip,
                needs::Need::Guests,
                needs::Need::Node,
            ])?;
            println!("every tool that the chores need is here");
            Ok(())
        }
        Chore::Test { only, skip } => steps::run(&root, &only, &skip),
    }
}

/// Asked at run time: two clones may share a target folder, and a compiled-in path would name the wrong one.
fn workspace_root() -> anyhow::Result<PathBuf> {
    let here = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(manifest) => PathBuf::from(manifest),
        None => std::env::current_dir().context("reading the current folder")?,
    };
    let root = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
    root.map(PathBuf::from).context("no Cargo.lock here or above; run `cargo xtask` inside the workspace")
}
