//! Debian's compiler for WebAssembly, unpacked into the cache: no root, nothing outside of the cache changes.
//!
//! `apt-get update` and `apt-get download` run with package lists of their own, so that stale or missing lists of the
//! system do not matter; `dpkg -x` unpacks. A folder is complete when it has its final name: it is made beside and renamed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use super::toolchain::said;

/// Compiler, cargo and source of std, newest first: the web browsers' toolchain is newer than a release's own.
const COMPILERS: &[[&str; 3]] = &[["rustc-web", "cargo-web", "rust-web-src"], ["rustc", "cargo", "rust-src"]];

/// What those packages need for programs of this machine; whoever compiles this workspace has a C toolchain already.
const NOT_NEEDED: &[&str] = &["gcc", "clang", "libc6-dev", "libc-dev", "binutils", "libc6"];

const HINT: &str = "`rustup target add wasm32-unknown-unknown` makes all of this unnecessary";

/// The programs that fetch and unpack packages; `dpkg -x` leaves its work to dpkg-deb.
const PROGRAMS: &[&str] = &["apt-get", "apt-cache", "dpkg", "dpkg-deb", "dpkg-query"];

fn home(cache: &Path) -> PathBuf {
    cache.join("wasm-toolchain")
}

fn is_unpacked(home: &Path) -> bool {
    home.join("usr/bin/rustc").is_file()
}

/// Programs that [`unpacked`] would need and that do not start; none when the compiler is in the cache already.
pub(super) fn lacking(cache: &Path, starts: impl Fn(&str) -> bool) -> Vec<&'static str> {
    if is_unpacked(&home(cache)) {
        return Vec::new();
    }
    PROGRAMS.iter().copied().filter(|program| !starts(program)).collect()
}

/// True when there is such a program.
pub(super) fn starts(program: &str) -> bool {
    let mut version = Command::new(program);
    version.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
}

/// The folder with Debian's packages; fetched and unpacked the first time.
pub(super) fn unpacked(cache: &Path) -> anyhow::Result<PathBuf> {
    let home = home(cache);
    if is_unpacked(&home) {
        return Ok(home);
    }
    let lacking = lacking(cache, starts);
    ensure!(
        lacking.is_empty(),
        "{} is not here, so Debian's compiler cannot be fetched; run `rustup target add {}`",
        lacking.join(", "),
        super::TARGET
    );
    let work = cache.join("wasm-toolchain.partial");
    // Left over from a run that was stopped.
    let _ = fs::remove_dir_all(&work);
    let apt = Apt::new(&work)?;
    eprintln!("guests: fetching package lists (1 of 3)");
    apt.update();
    let packages = apt.packages()?;
    eprintln!("guests: downloading {} packages, about 150 MB (2 of 3)", packages.len());
    apt.download(&packages)?;
    eprintln!("guests: unpacking, about 600 MB (3 of 3)");
    let root = work.join("root");
    apt.unpack(&root)?;
    prune(&root)?;
    link_wasm_ld(&root)?;
    said(Command::new(root.join("usr/bin/rustc")).arg("--version").env("LD_LIBRARY_PATH", libraries(&root)))
        .with_context(|| broken(&root))?;
    let _ = fs::remove_dir_all(&home);
    fs::rename(&root, &home).with_context(|| format!("moving the compiler to {}", home.display()))?;
    let _ = fs::remove_dir_all(&work);
    Ok(home)
}

/// The value of `LD_LIBRARY_PATH` for programs of `root`.
pub(super) fn libraries(root: &Path) -> OsString {
    let lib = root.join("usr/lib");
    let mut folders = vec![lib.clone()];
    for entry in fs::read_dir(&lib).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().ends_with("-linux-gnu") {
            folders.push(entry.path());
        }
    }
    std::env::join_paths(folders).unwrap_or_else(|_| lib.into_os_string())
}

/// What to say when a compiler of the cache does not run.
pub(super) fn broken(root: &Path) -> String {
    format!("the compiler in {} does not run; remove that folder and try again. {HINT}", root.display())
}

struct Apt {
    work: PathBuf,
    options: Vec<OsString>,
}

impl Apt {
    fn new(work: &Path) -> anyhow::Result<Self> {
        let mut options: Vec<OsString> = Vec::new();
        for (name, folder) in [("Dir::State::lists", "lists"), ("Dir::Cache", "cache")] {
            let folder = work.join(folder);
            fs::create_dir_all(folder.join("partial")).with_context(|| format!("making {}", folder.display()))?;
            let mut option = OsString::from(format!("{name}="));
            option.push(folder);
            options.extend(["-o".into(), option]);
        }
        // Run by root, apt would otherwise complain that its helper user cannot write here.
        let user = std::env::var("USER").unwrap_or_else(|_| "root".to_owned());
        options.extend(["-o".into(), format!("APT::Sandbox::User={user}").into()]);
        fs::create_dir_all(work.join("archives"))?;
        Ok(Self { work: work.to_path_buf(), options })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options).current_dir(self.work.join("archives")).env("LC_ALL", "C").stdin(Stdio::null());
        command
    }

    /// A source that does not answer is no failure yet: what counts is whether the packages are found.
    fn update(&self) {
        let mut update = self.command("apt-get");
        update.args(["-q", "-o", "Acquire::Languages=none", "update"]);
        update.stdout(Stdio::null()).stderr(Stdio::null());
        let _ = update.status();
    }

    /// The compiler with everything that it needs and this machine lacks.
    fn packages(&self) -> anyhow::Result<Vec<String>> {
        let installed = said(Command::new("dpkg-query").args(["-W", "-f", "${db:Status-Status} ${Package}\n"]))?;
        let mut installed: BTreeSet<&str> =
            installed.lines().filter_map(|line| line.strip_prefix("installed ")).collect();
        installed.extend(NOT_NEEDED);
        // A compiler of the system's own is not in the cache, and of another version than the source.
        for name in COMPILERS.iter().flatten() {
            installed.remove(name);
        }
        for compiler in COMPILERS {
            let Some(mut found) = self.closure(compiler, &installed)? else { continue };
            // The linker of the same LLVM.
            let llvm = found.iter().find_map(|name| name.strip_prefix("libllvm")).unwrap_or_default();
            let lld = format!("lld-{}", llvm.trim_end_matches(|c: char| !c.is_ascii_digit()));
            let Some(linker) = self.closure(&[&lld], &installed)? else { continue };
            found.extend(linker);
            return Ok(found.into_iter().collect());
        }
        bail!(
            "no package source offers {:?} with its lld; is this Debian 12 or newer, with network? {HINT}",
            COMPILERS[0]
        )
    }

    /// Packages by breadth first; nothing when one of `first` is not offered.
    fn closure(&self, first: &[&str], installed: &BTreeSet<&str>) -> anyhow::Result<Option<BTreeSet<String>>> {
        let mut found = BTreeSet::new();
        let mut waiting: VecDeque<String> = first.iter().map(|name| (*name).to_owned()).collect();
        while let Some(name) = waiting.pop_front() {
            if !found.insert(name.clone()) {
                continue;
            }
            let Ok(text) = said(self.command("apt-cache").args(["depends", "--important", &name])) else {
                return Ok(None);
            };
            waiting.extend(missing(&text, installed));
        }
        // `depends` knows names that no source offers; `policy` says what would be taken.
        let policy = said(self.command("apt-cache").arg("policy").args(first))?;
        let offered =
            policy.lines().filter(|line| line.trim_start().starts_with("Candidate:") && !line.contains("(none)"));
        Ok((offered.count() == first.len()).then_some(found))
    }

    fn download(&self, packages: &[String]) -> anyhow::Result<()> {
        let mut download = self.command("apt-get");
        download.args(["-q", "download"]).args(packages).stdout(Stdio::null());
        let status = download.status().context("starting apt-get")?;
        ensure!(status.success(), "apt-get download failed; its output above says why. {HINT}");
        Ok(())
    }

    fn unpack(&self, root: &Path) -> anyhow::Result<()> {
        for entry in fs::read_dir(self.work.join("archives"))? {
            let package = entry?.path();
            if package.extension().is_some_and(|extension| extension == "deb") {
                said(Command::new("dpkg").arg("-x").arg(&package).arg(root))?;
                fs::remove_file(&package)?;
            }
        }
        Ok(())
    }
}

/// The first choice of every dependency of which no choice is installed.
fn missing(depends: &str, installed: &BTreeSet<&str>) -> Vec<String> {
    let mut wanted = Vec::new();
    let mut choices: Vec<&str> = Vec::new();
    for line in depends.lines().skip(1) {
        let line = line.trim_start();
        let (more, line) = line.strip_prefix('|').map_or((false, line), |rest| (true, rest));
        let Some(name) = line.strip_prefix("Depends: ").or_else(|| line.strip_prefix("PreDepends: ")) else { continue };
        let name = name.split(':').next().unwrap_or(name).trim_matches(['<', '>']);
        choices.push(name);
        if !more {
            if !choices.iter().any(|name| installed.contains(name)) {
                wanted.extend(choices.first().map(|name| (*name).to_owned()));
            }
            choices.clear();
        }
    }
    wanted
}

/// Of the source only the library is compiled; the compiler's own and the manuals are most of the rest.
fn prune(root: &Path) -> anyhow::Result<()> {
    let _ = fs::remove_dir_all(root.join("usr/share"));
    for entry in fs::read_dir(root.join("usr/src")).context("the packages brought no source of std")? {
        for name in ["compiler", "src", "debian"] {
            let _ = fs::remove_dir_all(entry.as_ref().map_err(|error| anyhow::anyhow!("{error}"))?.path().join(name));
        }
    }
    Ok(())
}

/// wasm-component-ld looks for `wasm-ld` on the path; Debian adds its version to the name.
fn link_wasm_ld(root: &Path) -> anyhow::Result<()> {
    let mut versions: BTreeMap<u32, PathBuf> = BTreeMap::new();
    for entry in fs::read_dir(root.join("usr/bin"))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if let Some(version) = name.strip_prefix("wasm-ld-").and_then(|version| version.parse().ok()) {
            versions.insert(version, Path::new("../usr/bin").join(name));
        }
    }
    let (_, newest) = versions.pop_last().context("the packages brought no wasm-ld")?;
    let folder = root.join("agora-bin");
    fs::create_dir_all(&folder)?;
    symlink(newest, folder.join("wasm-ld")).context("linking wasm-ld")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_machine_without_the_compiler_lacks_what_would_fetch_it() {
        let cache = std::env::temp_dir().join(format!("agora-xtask-{}", std::process::id()));
        let _ = fs::remove_dir_all(&cache);
        assert_eq!(lacking(&cache, |_| false), PROGRAMS);
        assert_eq!(lacking(&cache, |program| program != "dpkg-deb"), ["dpkg-deb"]);
        assert!(lacking(&cache, |_| true).is_empty(), "it can be fetched");
        // A folder that was left half made has another name, or no compiler.
        fs::create_dir_all(home(&cache).join("usr/bin")).unwrap();
        assert_eq!(lacking(&cache, |_| false), PROGRAMS);
        fs::write(home(&cache).join("usr/bin/rustc"), "").unwrap();
        assert!(lacking(&cache, |_| false).is_empty(), "it is here");
        fs::remove_dir_all(&cache).unwrap();
    }

    #[test]
    fn a_dependency_is_missing_when_none_of_its_choices_is_installed() {
        let depends = "rustc-web\n  Depends: libc6\n |Depends: gcc\n  Depends: clang\n |Depends: left\n  Depends: right\n  \
                       PreDepends: <virtual>\n  Depends: libllvm22:any\n  Recommends: never\n";
        let installed = BTreeSet::from(["libc6", "clang"]);
        assert_eq!(missing(depends, &installed), ["left", "virtual", "libllvm22"]);
    }
}
