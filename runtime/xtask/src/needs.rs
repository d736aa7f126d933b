//! What chores need, said all at once before minutes of work: nobody likes to learn of the second missing tool after
//! installing the first.

use std::fs;
use std::process::Command;

use agora_shell::doctor::{self, Check, System, Verdict};
use anyhow::bail;

/// Where agents are compiled for.
const GUEST_TARGET: &str = "wasm32-unknown-unknown";

/// What a chore may need beside the compiler that built it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A C compiler, for secp256k1. It was here when this program was linked, and may be gone since.
    C,
    /// Python 3 with pip: the model is published as a Python package.
    Pip,
    /// A Rust compiler with the target of agents.
    Guests,
}

/// Succeeds when all needs are met, else names every missing one and the way to it.
pub(crate) fn check(needs: &[Need]) -> anyhow::Result<()> {
    let missing = missing(needs, &doctor::tools(&System), guest_compiler());
    for line in &missing {
        eprintln!("missing: {line}");
    }
    if missing.is_empty() { Ok(()) } else { bail!("{} of the needed tools are missing; see above", missing.len()) }
}

/// The compiler that builds agents: this toolchain's, or the distribution's beside it.
pub(crate) fn guest_compiler() -> Option<&'static str> {
    ["rustc", "/usr/bin/rustc"].into_iter().find(|compiler| {
        // The library's folder is looked into: not every Rust was installed by rustup, and the path is printed anyway.
        let output = Command::new(compiler).args(["--print", "target-libdir", "--target", GUEST_TARGET]).output();
        let folder = output.ok().filter(|output| output.status.success()).map(|output| output.stdout);
        let folder = folder.map(|folder| String::from_utf8_lossy(&folder).trim().to_owned());
        let names = folder.and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
        names.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
    })
}

fn missing(needs: &[Need], tools: &[Check], guest_compiler: Option<&str>) -> Vec<String> {
    let mut lines = Vec::new();
    for need in needs {
        let tool = match need {
            Need::C => "c-compiler",
            Need::Pip => "python",
            Need::Guests => {
                if guest_compiler.is_none() {
                    let advice =
                        format!("rustup target add {GUEST_TARGET}, or apt install rustc libstd-rust-dev-wasm32");
                    lines.push(format!("a Rust compiler for {GUEST_TARGET}: needed to build agents; {advice}"));
                }
                continue;
            }
        };
        let failed = tools.iter().find(|check| check.name == tool && check.verdict == Verdict::Fail);
        if let Some(check) = failed {
            lines.push(format!("{}: {}", check.found, check.advice.as_deref().unwrap_or_default()));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &str, verdict: Verdict) -> Check {
        let (found, advice) = ("nothing".to_owned(), Some("install it".to_owned()));
        Check { name: name.to_owned(), verdict, found, advice }
    }

    #[test]
    fn everything_missing_is_named_at_once_and_nothing_else() {
        let all = [Need::C, Need::Pip, Need::Guests];
        let bare = [tool("c-compiler", Verdict::Fail), tool("python", Verdict::Fail), tool("git", Verdict::Fail)];
        assert_eq!(missing(&all, &bare, None).len(), 3);
        assert_eq!(missing(&[Need::Pip], &bare, None), ["nothing: install it"]);
        let full = [tool("c-compiler", Verdict::Ok), tool("python", Verdict::Ok)];
        assert!(missing(&all, &full, Some("rustc")).is_empty());
        assert!(missing(&all, &full, None)[0].contains("rustup target add"));
    }
}
