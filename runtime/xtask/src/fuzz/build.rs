//! Building fuzz targets: which there are, and the options that make the stable compiler count coverage.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use cargo_metadata::{MetadataCommand, Package};

use crate::guests;

/// What `cargo fuzz` passes, less the sanitizer: edges counted in eight bits each, and what is compared with what, from
/// which libFuzzer learns the words that a reader waits for.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "--cfg=fuzzing",
];

/// A target of a fuzz crate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) name: String,
    /// Most bytes of an input.
    pub(super) input_max: u32,
}

/// The binaries of a fuzz crate; its manifest says how long their inputs get.
pub(super) fn targets(folder: &Path) -> anyhow::Result<Vec<Target>> {
    let metadata = MetadataCommand::new()
        .manifest_path(folder.join("Cargo.toml"))
        .no_deps()
        .other_options(["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .with_context(|| format!("cargo metadata of {}", folder.display()))?;
    let package = metadata.packages.first().with_context(|| format!("{} holds no package", folder.display()))?;
    let names = package.targets.iter().filter(|target| target.is_bin()).map(|target| target.name.as_str());
    names.map(|name| target(name, package)).collect()
}

fn target(name: &str, package: &Package) -> anyhow::Result<Target> {
    let input_max = package.metadata.get("max-len").and_then(|all| all.get(name)).and_then(|max| max.as_u64());
    let input_max = input_max.and_then(|max| u32::try_from(max).ok()).filter(|max| *max > 0);
    let input_max =
        input_max.with_context(|| format!("name {name} in [package.metadata.max-len] of its Cargo.toml"))?;
    Ok(Target { name: name.to_owned(), input_max })
}

/// Builds targets and answers with the folder of the programs.
pub(super) fn build(folder: &Path, build_folder: &Path, targets: &[Target]) -> anyhow::Result<PathBuf> {
    let host = host()?;
    eprintln!("fuzz: building {} targets of {}", targets.len(), folder.display());
    let mut command = Command::new("cargo");
    guests::forget_outer_cargo(&mut command);
    // With a target named, build scripts and macros are built without the options, even where it is the host.
    command.args(["build", "--release", "--locked", "--target", &host, "--target-dir"]).arg(build_folder);
    command.current_dir(folder).env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"));
    for target in targets {
        command.args(["--bin", &target.name]);
    }
    let status = command.status().context("starting cargo")?;
    if !status.success() {
        bail!("the targets of {} did not build ({status}); the output above says why", folder.display());
    }
    Ok(build_folder.join(host).join("release"))
}

/// The triple that the compiler builds for when nothing else is said.
fn host() -> anyhow::Result<String> {
    let mut command = Command::new("rustc");
    guests::forget_outer_cargo(&mut command);
    let output = command.arg("-vV").output().context("starting rustc")?;
    ensure!(output.status.success(), "`rustc -vV` failed ({})", output.status);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::CRATES;

    #[test]
    fn every_target_has_a_name_of_its_own_a_longest_input_and_a_corpus() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut names = std::collections::BTreeSet::new();
        for folder in CRATES {
            for target in targets(&root.join(folder)).unwrap() {
                let corpus = root.join(folder).join("corpus").join(&target.name);
                assert!(corpus.read_dir().unwrap().next().is_some(), "{}", target.name);
                assert!(names.insert(target.name), "two targets share a folder");
            }
        }
        assert!(names.len() > 20);
    }
}
