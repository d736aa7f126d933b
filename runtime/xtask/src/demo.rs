//! `cargo xtask demo`: everything that the demo needs, then the demo itself.

use std::path::Path;
use std::process::Command;

use agora_shell::Paths;
use agora_shell::fetch::{self, State};
use anyhow::{Context as _, bail};

use crate::needs::{self, Need};
use crate::{guests, steps};

/// Checks, fetches, builds, and runs `agora demo` with these arguments.
pub(crate) fn run(root: &Path, arguments: &[String]) -> anyhow::Result<()> {
    // All of it up front: nobody likes to learn of a missing tool after minutes of work.
    let model = fetch::find(fetch::DEFAULT_MODEL)?;
    let here = matches!(fetch::state(model, &Paths::find(None)?.models())?, State::Verified | State::Unchecked);
    let needed: &[Need] = if here { &[Need::C, Need::Guests] } else { &[Need::C, Need::Pip, Need::Guests] };
    needs::check(needed)?;

    eprintln!("== model");
    eprintln!("{}", crate::fetch::run(fetch::DEFAULT_MODEL)?);
    eprintln!("== agents");
    guests::run(root)?.iter().for_each(|line| eprintln!("{line}"));
    eprintln!("== program (the first build takes minutes)");
    // The features of the whole workspace, so that the tests need not compile anything again.
    let build = ["build", "--release", "--workspace", "--bin", "agora"];
    let status = steps::plain_cargo(root, &build).status().context("starting cargo")?;
    if !status.success() {
        bail!("the program did not build ({status}); the output above says why");
    }
    eprintln!("== demo");
    let target = guests::target_folder(root)?;
    let program = target.join("release").join(format!("agora{}", std::env::consts::EXE_SUFFIX));
    let agent = target.join("guests/researcher.wasm");
    let mut demo = Command::new(&program);
    demo.arg("demo");
    if !arguments.iter().any(|argument| argument == "--agent") {
        demo.arg("--agent").arg(&agent);
    }
    let status = demo.args(arguments).status().with_context(|| format!("starting {}", program.display()))?;
    if !status.success() {
        bail!("the demo ended with {status}; it said why above");
    }
    Ok(())
}
