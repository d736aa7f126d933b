//! Workspace chores: `cargo xtask tidy` checks the shape of the project, `cargo xtask test` runs everything.

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
    /// Run the whole test suite: format, shape, lints, tests, docs.
    Test {
        /// Run only this step (may be repeated).
        #[arg(long, value_name = "STEP")]
        only: Vec<steps::Step>,
        /// Leave this step out (may be repeated).
        #[arg(long, value_name = "STEP")]
        skip: Vec<steps::Step>,
    },
    /// Check layers, purity, the map in runtime/ARCHITECTURE.md and the top level.
    Tidy,
}

fn main() -> anyhow::Result<()> {
    let root = workspace_root()?;
    match Arguments::parse().chore {
        Chore::Tidy => tidy::run(&root),
        Chore::Test { only, skip } => steps::run(&root, &only, &skip),
    }
}

fn workspace_root() -> anyhow::Result<PathBuf> {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let root = here.ancestors().nth(2).context("runtime/xtask stands two folders below the root")?;
    anyhow::ensure!(
        root.join("Cargo.lock").is_file(),
        "{} is not the workspace; run `cargo xtask` inside it",
        root.display()
    );
    Ok(root.to_path_buf())
}
