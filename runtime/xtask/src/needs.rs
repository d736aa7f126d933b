//! What chores need, said all at once before minutes of work: nobody likes to learn of the second missing tool after
//! installing the first.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use agora_shell::doctor::{self, Check, System, Verdict};
use anyhow::bail;

use crate::guests;

/// What a chore may need beside the compiler that built it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// A C compiler, for secp256k1. It was here when this program was linked, and may be gone since.
    C,
    /// A C++ compiler, for libFuzzer.
    Cpp,
    /// Python 3 with pip: the model is published as a Python package.
    Pip,
    /// A Rust compiler for agents: installed, in the cache, or within reach of what `cargo xtask guests` fetches it with.
    Guests,
    /// Node.js with npm, for the stock clients of `cargo xtask interop`.
    Node,
}

/// Succeeds when all needs are met, else names every missing one and the way to it.
pub(crate) fn check(needs: &[Need]) -> anyhow::Result<()> {
    let missing = missing(needs, &doctor::tools(&System), guests::compiler_at_hand, has_node, has_cpp);
    for line in &missing {
        eprintln!("missing: {line}");
    }
    if missing.is_empty() { Ok(()) } else { bail!("{} of the needed tools are missing; see above", missing.len()) }
}

fn has_node() -> bool {
    starts(OsStr::new("node")) && starts(OsStr::new("npm"))
}

fn has_cpp() -> bool {
    starts(&std::env::var_os("CXX").unwrap_or_else(|| "c++".into()))
}

fn starts(program: &OsStr) -> bool {
    let mut version = Command::new(program);
    let version = version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// `guest_compiler`, `node` and `cpp` start programs, so they are asked only when it counts.
fn missing(
    needs: &[Need],
    tools: &[Check],
    guest_compiler: impl Fn() -> Result<(), String>,
    node: impl Fn() -> bool,
    cpp: impl Fn() -> bool,
) -> Vec<String> {
    let mut lines = Vec::new();
    for need in needs {
        let tool = match need {
            Need::C => "c-compiler",
            Need::Pip => "python",
            Need::Guests => {
                if let Err(advice) = guest_compiler() {
                    lines.push(format!("no Rust compiler for agents: needed to build them; {advice}"));
                }
                continue;
            }
            Need::Cpp => {
                if !cpp() {
                    lines.push("no C++ compiler: needed to build libFuzzer; install g++ or clang".to_owned());
                }
                continue;
            }
            Need::Node => {
                if !node() {
                    lines.push("no Node.js: needed to run stock clients; install node 20 or newer with npm".to_owned());
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
        let all = [Need::C, Need::Cpp, Need::Pip, Need::Guests, Need::Node];
        let bare = [tool("c-compiler", Verdict::Fail), tool("python", Verdict::Fail), tool("git", Verdict::Fail)];
        let none = || Err("rustup target add it".to_owned());
        assert_eq!(missing(&all, &bare, none, || false, || false).len(), 5);
        assert_eq!(missing(&[Need::Pip], &bare, none, || false, || false), ["nothing: install it"]);
        let full = [tool("c-compiler", Verdict::Ok), tool("python", Verdict::Ok)];
        assert!(missing(&all, &full, || Ok(()), || true, || true).is_empty());
        assert_eq!(
            missing(&all, &full, none, || true, || true),
            ["no Rust compiler for agents: needed to build them; rustup target add it"]
        );
    }

    #[test]
    fn a_chore_without_agents_does_not_look_for_their_compiler() {
        let full = [tool("c-compiler", Verdict::Ok), tool("python", Verdict::Ok)];
        assert!(
            missing(
                &[Need::C, Need::Pip],
                &full,
                || panic!("asked for nothing"),
                || panic!("asked for nothing"),
                || panic!("asked for nothing")
            )
            .is_empty()
        );
    }
}
