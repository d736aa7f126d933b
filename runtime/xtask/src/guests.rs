//! `cargo xtask guests` builds the agents of `agents/` into components at `<target folder>/guests/*.wasm`.
//!
//! The bytes depend on sources and compiler only, not on where the checkout or the cache lies: paths are remapped. Cargo
//! skips what is unchanged, and a result is installed by a rename, so that a reader sees the old one or the new one.

mod debian;
mod toolchain;

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, bail, ensure};
use cargo_metadata::{CrateType, MetadataCommand, Package};

use toolchain::Toolchain;

const TARGET: &str = "wasm32-unknown-unknown";

/// Builds every guest and installs component and manifest; answers with one line for each.
pub(crate) fn run(root: &Path) -> anyhow::Result<Vec<String>> {
    let started = Instant::now();
    let cache = cache_folder()?;
    fs::create_dir_all(&cache).with_context(|| format!("making the cache folder {}", cache.display()))?;
    // Held to the end: the toolchain, the target folder and the results belong to one run at a time.
    let _lock = lock(&cache.join("guests.lock"))?;
    let toolchain = Toolchain::find(&cache)?;
    let build_folder = cache.join(format!("guests-{}", toolchain.name));
    build(root, &cache, &toolchain, &build_folder)?;

    let home = target_folder(root)?.join("guests");
    fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
    let mut lines = Vec::new();
    for guest in guests(root)? {
        let short = guest.name.strip_prefix("agora-").unwrap_or(&guest.name).to_owned();
        let artifact = format!("{}.wasm", guest.name.replace('-', "_"));
        let component = fs::read(build_folder.join(TARGET).join("release").join(&artifact))
            .with_context(|| format!("cargo built no {artifact}; is {} a cdylib?", guest.name))?;
        ensure!(
            component.starts_with(b"\0asm\x0d\0\x01\0"),
            "{artifact} is a core module and no component; the linker was not wasm-component-ld"
        );
        let manifest = guest.manifest_path.with_file_name("agent.toml");
        install(&home.join(format!("{short}.wasm")), &component)?;
        install(&home.join(format!("{short}.toml")), &fs::read(&manifest).with_context(|| manifest.to_string())?)?;
        lines.push(format!("guest {short}: {} bytes", component.len()));
    }
    eprintln!("guests: {} in {} after {:.1} s", lines.len(), home.display(), started.elapsed().as_secs_f32());
    Ok(lines)
}

/// Succeeds when [`run`] has a compiler for agents or can fetch one; else the sentence that says what to do. Looks only.
pub(crate) fn compiler_at_hand() -> Result<(), String> {
    let in_words = |error: anyhow::Error| format!("{error:#}");
    let cache = cache_folder().map_err(in_words)?;
    match toolchain::installed_target().map_err(in_words)? {
        Some(_) => Ok(()),
        None => no_compiler(&debian::lacking(&cache, debian::starts)),
    }
}

/// Without an installed target and without these programs, Debian's compiler cannot be fetched either.
fn no_compiler(lacking: &[&str]) -> Result<(), String> {
    if lacking.is_empty() {
        return Ok(());
    }
    let lacking = lacking.join(", ");
    Err(format!(
        "{TARGET}: run `rustup target add {TARGET}`; without rustup, Debian's compiler is fetched with {lacking}"
    ))
}

/// `$XDG_CACHE_HOME/agora`, or `~/.cache/agora`.
pub(crate) fn cache_folder() -> anyhow::Result<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    Ok(base.context("neither XDG_CACHE_HOME nor HOME names a folder; set one")?.join("agora"))
}

/// Held until the file is dropped; waits for whoever holds it.
pub(crate) fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("opening {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another run ({})", path.display());
        file.lock().with_context(|| format!("locking {}", path.display()))?;
    }
    Ok(file)
}

fn build(root: &Path, cache: &Path, toolchain: &Toolchain, build_folder: &Path) -> anyhow::Result<()> {
    eprintln!("guests: building with {}", toolchain.words);
    let mut command = Command::new(&toolchain.cargo);
    forget_outer_cargo(&mut command);
    command.args(["build", "--release", "--locked", "--target", TARGET, "--manifest-path"]);
    command.arg(root.join("agents/Cargo.toml")).arg("--target-dir").arg(build_folder).args(toolchain.arguments);
    command.current_dir(root.join("agents"));
    command.env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &toolchain.linker);
    command.env("CARGO_ENCODED_RUSTFLAGS", remap_flags(root, cache)?);
    command.envs(toolchain.environment.iter().map(|(name, value)| (name, value)));
    let status = command.status().with_context(|| format!("starting {}", toolchain.cargo.display()))?;
    if !status.success() {
        bail!(
            "the guests did not build ({status}); the output above says why. If the compiler itself is at fault, remove \
             {} and {} and try again, or run `rustup target add {TARGET}`",
            cache.join("wasm-toolchain").display(),
            build_folder.display()
        );
    }
    Ok(())
}

/// What the outer `cargo run` and the user's settings for host builds would change in the guests.
pub(crate) fn forget_outer_cargo(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let settings = ["RUSTFLAGS", "RUSTDOCFLAGS", "RUSTC", "RUSTDOC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];
        let kept = ["CARGO_HOME", "CARGO_NET_OFFLINE"].contains(&text.as_ref())
            || text.starts_with("CARGO_REGISTR")
            || text.starts_with("CARGO_HTTP");
        if settings.contains(&text.as_ref()) || (text.starts_with("CARGO") && !kept) {
            command.env_remove(&name);
        }
    }
}

/// Panic messages name source files; their folders are given names that are the same everywhere.
fn remap_flags(root: &Path, cache: &Path) -> anyhow::Result<OsString> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = match (cargo_home, std::env::var_os("HOME")) {
        (Some(folder), _) => folder,
        (None, Some(home)) => PathBuf::from(home).join(".cargo"),
        (None, None) => bail!("neither CARGO_HOME nor HOME is set; set one"),
    };
    let mut flags = OsString::new();
    // The last that fits wins, so the cache, which may lie in a home folder, comes after it.
    for (from, to) in [(cargo_home.as_path(), "/cargo"), (cache, "/cache"), (root, "/agora")] {
        if !flags.is_empty() {
            flags.push("\x1f");
        }
        flags.push("--remap-path-prefix=");
        flags.push(from);
        flags.push("=");
        flags.push(to);
    }
    Ok(flags)
}

pub(crate) fn target_folder(root: &Path) -> anyhow::Result<PathBuf> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .other_options(["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .context("cargo metadata of the workspace")?;
    Ok(metadata.target_directory.into_std_path_buf())
}

/// The packages of `agents/` that become components.
fn guests(root: &Path) -> anyhow::Result<Vec<Package>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("agents/Cargo.toml"))
        .no_deps()
        .other_options(["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .context("cargo metadata of agents/")?;
    let is_guest =
        |package: &Package| package.targets.iter().any(|target| target.crate_types.contains(&CrateType::CDyLib));
    let mut found: Vec<Package> = metadata.packages.into_iter().filter(is_guest).collect();
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Writes beside and renames; leaves an equal file alone, so that what depends on its time is not built again.
fn install(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
    fs::write(&temporary, bytes).with_context(|| format!("writing {}", temporary.display()))?;
    fs::rename(&temporary, path).with_context(|| format!("installing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_cannot_build_agents_is_told_both_ways_to_a_compiler() {
        assert_eq!(no_compiler(&[]), Ok(()));
        let advice = no_compiler(&["apt-get", "dpkg"]).unwrap_err();
        assert!(advice.contains("rustup target add wasm32-unknown-unknown"), "{advice}");
        assert!(advice.contains("apt-get, dpkg"), "{advice}");
    }
}
