//! A compiler for wasm32 and a linker that makes components.
//!
//! The toolchain's own target is used when it is there. Nothing is ever installed through rustup: that is the user's to
//! decide, and `rustup target add wasm32-unknown-unknown` is the hint. Without it, Debian's packages are unpacked into the
//! cache, which needs no root and changes nothing outside of it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use super::{TARGET, debian, forget_outer_cargo};

/// What builds the guests.
pub(super) struct Toolchain {
    /// For its build folder: another compiler starts from nothing.
    pub(super) name: String,
    /// For people.
    pub(super) words: String,
    /// Its cargo.
    pub(super) cargo: PathBuf,
    /// More arguments for `cargo build`.
    pub(super) arguments: &'static [&'static str],
    /// `wasm-component-ld`.
    pub(super) linker: PathBuf,
    /// What its programs need to run.
    pub(super) environment: Vec<(&'static str, OsString)>,
}

impl Toolchain {
    /// The one that is installed, else Debian's in the cache.
    pub(super) fn find(cache: &Path) -> anyhow::Result<Self> {
        let linker = component_linker(cache)?;
        if let Some(libraries) = installed_target()? {
            eprintln!("guests: {TARGET} is installed ({})", libraries.display());
            return Self::installed(linker);
        }
        eprintln!("guests: {TARGET} is not installed (`rustup target add {TARGET}` would); using Debian's compiler");
        Self::debian(linker, &debian::unpacked(cache)?)
    }

    fn installed(linker: PathBuf) -> anyhow::Result<Self> {
        let version = said(Command::new("rustc").arg("--version"))?;
        let own = sysroot()?.join("lib/rustlib").join(host()?).join("bin");
        Ok(Self {
            name: "installed".to_owned(),
            words: version,
            cargo: "cargo".into(),
            arguments: &[],
            linker,
            // wasm-component-ld looks for wasm-ld, then rust-lld, on the path.
            environment: vec![("PATH", with_path(&[own.join("gcc-ld"), own])?)],
        })
    }

    /// `root` is the folder that Debian's packages were unpacked to.
    fn debian(linker: PathBuf, root: &Path) -> anyhow::Result<Self> {
        let programs = root.join("usr/bin");
        let libraries = debian::libraries(root);
        let rustc = programs.join("rustc");
        let version = said(Command::new(&rustc).arg("--version").env("LD_LIBRARY_PATH", &libraries))
            .with_context(|| debian::broken(root))?;
        Ok(Self {
            name: "debian".to_owned(),
            words: format!("{version} of Debian"),
            cargo: programs.join("cargo"),
            // The packages bring the source of std instead of a built one.
            arguments: &["-Zbuild-std=std,panic_abort"],
            linker,
            environment: vec![
                ("RUSTC", rustc.into()),
                ("RUSTC_BOOTSTRAP", "1".into()),
                ("LD_LIBRARY_PATH", libraries),
                ("PATH", with_path(&[root.join("agora-bin")])?),
            ],
        })
    }
}

/// Where the installed compiler keeps std for wasm32, if it has it.
pub(super) fn installed_target() -> anyhow::Result<Option<PathBuf>> {
    let folder = PathBuf::from(said(Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]))?);
    let Ok(entries) = fs::read_dir(&folder) else { return Ok(None) };
    let has_std = entries.flatten().any(|entry| entry.file_name().to_string_lossy().starts_with("libstd-"));
    Ok(has_std.then_some(folder))
}

/// rustup's toolchains carry `wasm-component-ld`; for others cargo builds it into the cache.
fn component_linker(cache: &Path) -> anyhow::Result<PathBuf> {
    let carried = sysroot()?.join("lib/rustlib").join(host()?).join("bin/wasm-component-ld");
    if carried.is_file() {
        return Ok(carried);
    }
    let home = cache.join("wasm-component-ld");
    let built = home.join("bin/wasm-component-ld");
    if !built.is_file() {
        eprintln!("guests: this toolchain has no wasm-component-ld; cargo installs it into {}", home.display());
        let mut install = Command::new("cargo");
        forget_outer_cargo(&mut install);
        install.args(["install", "--locked", "wasm-component-ld", "--root"]).arg(&home);
        let status = install.status().context("starting cargo")?;
        ensure!(status.success(), "`cargo install --locked wasm-component-ld` failed; its output above says why");
    }
    Ok(built)
}

fn sysroot() -> anyhow::Result<PathBuf> {
    Ok(said(Command::new("rustc").args(["--print", "sysroot"]))?.into())
}

fn host() -> anyhow::Result<String> {
    let text = said(Command::new("rustc").arg("-vV"))?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc -vV names no host")?.to_owned())
}

fn with_path(first: &[PathBuf]) -> anyhow::Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::join_paths(first.iter().cloned().chain(std::env::split_paths(&path))).context("a folder with a colon")
}

/// What a program says on its standard output, without the end of line.
pub(super) fn said(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("`{command:?}` did not start"))?;
    if !output.status.success() {
        bail!("`{command:?}` failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
