//! The shape of the project as rules: layers, homes of outside crates, purity, the map, the top level.
//!
//! Each rule is a function from text to complaints, so that its tests need no workspace.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use cargo_metadata::{DependencyKind, MetadataCommand};

/// A crate's folder and layer (see runtime/ARCHITECTURE.md).
const LAYERS: &[(&str, u8)] = &[
    ("runtime/types", 0),
    ("payments/ledger", 1),
    ("payments/channels", 1),
    ("payments/receipts", 1),
    ("payments/x402", 1),
    ("marketplace/catalog", 1),
    ("marketplace/datanets", 1),
    ("marketplace/attribution", 1),
    ("inference/api", 1),
    ("sandbox/api", 1),
    ("payments/audit", 2),
    ("runtime/economy", 2),
    ("payments/store", 3),
    ("payments/client", 3),
    ("runtime/bus", 3),
    ("runtime/shell", 3),
    ("runtime/web", 3),
    ("payments/gateway", 3),
    ("marketplace/intake", 3),
    ("inference/kernels", 3),
    ("sandbox/wasm", 3),
    ("inference/openlora", 4),
    ("runtime/actors", 4),
    ("inference/gradient", 5),
    ("inference/factory", 6),
    ("inference/influence", 6),
    ("runtime/agora", 7),
    ("runtime/xtask", 7),
];

/// Outside crates that have one home, or a few.
const HOMES: &[(&str, &[&str])] = &[
    ("redb", &["payments/store"]),
    ("wasmtime", &["sandbox/wasm"]),
    ("cudarc", &["inference/kernels"]),
    ("llguidance", &["inference/openlora"]),
    ("minijinja", &["inference/openlora"]),
    ("kameo", &["runtime/actors"]),
    ("async-nats", &[]),
    ("clap", &["runtime/agora", "runtime/xtask"]),
    ("clap_complete", &["runtime/agora"]),
    ("actix-web", &["runtime/web", "payments/gateway"]),
    ("actix-http", &["payments/gateway"]),
    ("actix-server", &["payments/gateway"]),
    ("actix-service", &["payments/gateway"]),
    ("tokio-rustls", &["payments/gateway"]),
    ("ureq", &["runtime/agora"]),
    ("reqwest", &["payments/client"]),
    ("parquet", &["marketplace/intake"]),
    ("csv-core", &["marketplace/datanets"]),
    ("webpki-roots", &["payments/client"]),
    ("indicatif", &["runtime/shell"]),
    ("rpassword", &["runtime/shell"]),
    ("etcetera", &["runtime/shell"]),
    ("zip", &["runtime/shell"]),
    ("scrypt", &["runtime/shell"]),
    ("pbkdf2", &["runtime/shell"]),
    ("aes", &["runtime/shell"]),
    ("ctr", &["runtime/shell"]),
    ("anyhow", &["runtime/agora", "runtime/xtask"]),
    ("secp256k1", &["runtime/types"]),
    ("ed25519-dalek", &["runtime/types"]),
    ("alloy-primitives", &["runtime/types"]),
    ("alloy-sol-types", &["runtime/types"]),
    ("sha2", &["runtime/types"]),
];

/// The highest layer without clock, disk, socket, tokio or randomness.
const PURE_UP_TO: u8 = 2;

/// Words that a pure crate's source must not contain, and why.
const IMPURE: &[(&str, &str)] = &[
    ("std::time", "time comes in as an argument"),
    ("SystemTime", "time comes in as an argument"),
    ("Instant::now", "time comes in as an argument"),
    ("tokio", "pure crates know no executor"),
    ("std::fs", "pure crates read no files"),
    ("std::net", "pure crates open no sockets"),
    ("std::env", "pure crates read no environment"),
    ("std::process", "pure crates start nothing"),
    ("std::thread", "pure crates start nothing"),
    ("getrandom", "randomness comes in as an argument"),
    ("rand::", "randomness comes in as an argument"),
    ("HashMap", "its order is random; use BTreeMap"),
    ("HashSet", "its order is random; use BTreeSet"),
];

/// Floating point in money is refused; these pure crates carry none.
const FLOATS_ALLOWED: &[&str] = &["inference/api", "sandbox/api"];

const TOP_LEVEL: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "rust-toolchain.toml",
    "README.md",
    "LICENSE",
    "runtime",
    "agents",
    "wit",
    "marketplace",
    "payments",
    "inference",
    "sandbox",
    "scenarios",
    "target",
];

/// One crate as the rules see it.
struct Member {
    folder: String,
    /// Folders of workspace crates that it depends on outside of tests.
    inside: Vec<String>,
    /// Names of outside crates that it depends on outside of tests.
    outside: Vec<String>,
}

/// Runs every rule and prints each complaint.
pub(crate) fn run(root: &Path) -> anyhow::Result<()> {
    let members = members(root)?;
    let mut complaints = Vec::new();
    for member in &members {
        complaints.extend(layer_complaints(member));
        complaints.extend(home_complaints(member));
        if layer(&member.folder).is_some_and(|layer| layer <= PURE_UP_TO) {
            for (file, text) in sources(&root.join(&member.folder).join("src"))? {
                let floats = FLOATS_ALLOWED.contains(&member.folder.as_str());
                complaints.extend(purity_complaints(&format!("{}/src/{file}", member.folder), &text, floats));
            }
        }
    }
    let map = fs::read_to_string(root.join("runtime/ARCHITECTURE.md")).context("runtime/ARCHITECTURE.md")?;
    let folders: Vec<&str> = members.iter().map(|member| member.folder.as_str()).collect();
    complaints.extend(map_complaints(&map, &folders));
    let names: Vec<String> = fs::read_dir(root)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()?;
    complaints.extend(top_level_complaints(&names));
    if complaints.is_empty() {
        eprintln!("tidy: {} crates keep the shape", members.len());
        return Ok(());
    }
    for complaint in &complaints {
        println!("{complaint}");
    }
    bail!("{} complaints about the project's shape; runtime/ARCHITECTURE.md explains the layers", complaints.len())
}

fn members(root: &Path) -> anyhow::Result<Vec<Member>> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .no_deps()
        .other_options(["--locked".to_owned(), "--offline".to_owned()])
        .exec()
        .context("cargo metadata")?;
    let folder = |path: &Path| path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    let mut members = Vec::new();
    for package in metadata.workspace_packages() {
        let home = package.manifest_path.parent().context("a manifest stands in a folder")?;
        let used = package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development);
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        for dependency in used {
            match &dependency.path {
                Some(path) => inside.push(folder(path.as_std_path())),
                None => outside.push(dependency.name.clone()),
            }
        }
        members.push(Member { folder: folder(home.as_std_path()), inside, outside });
    }
    Ok(members)
}

fn layer(folder: &str) -> Option<u8> {
    LAYERS.iter().find(|(name, _)| *name == folder).map(|(_, layer)| *layer)
}

fn layer_complaints(member: &Member) -> Vec<String> {
    let folder = &member.folder;
    let Some(own) = layer(folder) else {
        return vec![format!("{folder}: give it a layer in runtime/xtask/src/tidy.rs")];
    };
    let mut complaints = Vec::new();
    for other in &member.inside {
        let Some(theirs) = layer(other) else {
            complaints.push(format!("{folder}: depends on {other}, which has no layer"));
            continue;
        };
        if theirs >= own {
            complaints.push(format!("{folder} (L{own}) depends on {other} (L{theirs}); only lower layers may be used"));
        }
        // Numbers are no backend: models are made of them.
        if own == 4 && theirs == 3 && other != "inference/kernels" {
            complaints.push(format!("{folder} knows ports only, not the backend {other}"));
        }
        if folder == "payments/audit" && !["runtime/types", "payments/receipts"].contains(&other.as_str()) {
            complaints.push(format!("{folder} shares no code with apply, so it may not use {other}"));
        }
    }
    complaints
}

fn home_complaints(member: &Member) -> Vec<String> {
    let homes: BTreeMap<&str, &[&str]> = HOMES.iter().copied().collect();
    let mut complaints = Vec::new();
    for name in &member.outside {
        if let Some(allowed) = homes.get(name.as_str())
            && !allowed.contains(&member.folder.as_str())
        {
            complaints.push(format!("{}: {name} belongs to {allowed:?} only", member.folder));
        }
        if matches!(name.as_str(), "tokio" | "getrandom" | "rand" | "reqwest")
            && layer(&member.folder).is_some_and(|layer| layer <= PURE_UP_TO)
        {
            complaints.push(format!("{}: a pure crate may not use {name}", member.folder));
        }
    }
    complaints
}

fn purity_complaints(file: &str, text: &str, floats_allowed: bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in code_lines(text) {
        for (word, why) in IMPURE {
            if line.contains(word) {
                complaints.push(format!("{file}:{number}: `{word}`: {why}"));
            }
        }
        let float = |word: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|part| part == word);
        if !floats_allowed && (float("f32") || float("f64")) {
            complaints.push(format!("{file}:{number}: no floating point where money is counted"));
        }
    }
    complaints
}

/// Lines of code with their numbers, without comments, strings and everything behind `#[cfg(test)]`.
fn code_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        let mut code = String::new();
        let (mut in_text, mut escaped) = (false, false);
        let mut characters = line.chars().peekable();
        while let Some(c) = characters.next() {
            match (in_text, c) {
                (true, _) if escaped => escaped = false,
                (true, '\\') => escaped = true,
                (_, '"') => in_text = !in_text,
                (true, _) => {}
                (false, '/') if characters.peek() == Some(&'/') => break,
                (false, c) => code.push(c),
            }
        }
        lines.push((at + 1, code));
    }
    lines
}

/// The map has one heading "### `folder`" with a paragraph for each crate, and none for anything else.
fn map_complaints(map: &str, folders: &[&str]) -> Vec<String> {
    let mut found: BTreeMap<&str, bool> = BTreeMap::new();
    let mut complaints = Vec::new();
    let lines: Vec<&str> = map.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        let Some(folder) = line.strip_prefix("### `").and_then(|rest| rest.strip_suffix('`')) else { continue };
        let paragraph = lines[at + 1..].iter().find(|line| !line.is_empty()).is_some_and(|line| !line.starts_with('#'));
        if found.insert(folder, paragraph).is_some() {
            complaints.push(format!("runtime/ARCHITECTURE.md: {folder} has two paragraphs"));
        }
    }
    let wanted: BTreeSet<&str> = folders.iter().copied().collect();
    for folder in &wanted {
        match found.get(folder) {
            None => complaints.push(format!("runtime/ARCHITECTURE.md: no heading \"### `{folder}`\"")),
            Some(false) => complaints.push(format!("runtime/ARCHITECTURE.md: {folder} has a heading and no paragraph")),
            Some(true) => {}
        }
    }
    for folder in found.keys().filter(|folder| !wanted.contains(*folder)) {
        complaints.push(format!("runtime/ARCHITECTURE.md: {folder} is no crate of the workspace"));
    }
    complaints
}

fn top_level_complaints(names: &[String]) -> Vec<String> {
    let stray = names.iter().filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()));
    stray.map(|name| format!("{name}: does not belong to the top level")).collect()
}

fn sources(folder: &Path) -> anyhow::Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(at) = waiting.pop() {
        for entry in fs::read_dir(&at).with_context(|| at.display().to_string())? {
            let path = entry?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(folder)?.to_string_lossy().into_owned();
                found.push((name, fs::read_to_string(&path)?));
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(folder: &str, inside: &[&str], outside: &[&str]) -> Member {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect();
        Member { folder: folder.to_owned(), inside: owned(inside), outside: owned(outside) }
    }

    #[test]
    fn a_crate_uses_only_lower_layers() {
        assert!(layer_complaints(&member("runtime/economy", &["payments/ledger", "runtime/types"], &[])).is_empty());
        assert_eq!(layer_complaints(&member("payments/ledger", &["payments/channels"], &[])).len(), 1);
        assert_eq!(layer_complaints(&member("payments/store", &["runtime/bus"], &[])).len(), 1);
        assert_eq!(layer_complaints(&member("runtime/types", &["runtime/economy"], &[])).len(), 1);
        assert_eq!(layer_complaints(&member("runtime/new", &[], &[])).len(), 1);
    }

    #[test]
    fn actors_know_no_backend_and_the_auditor_shares_nothing_with_apply() {
        assert_eq!(layer_complaints(&member("runtime/actors", &["payments/store"], &[])).len(), 1);
        assert!(layer_complaints(&member("payments/audit", &["runtime/types", "payments/receipts"], &[])).is_empty());
        assert_eq!(layer_complaints(&member("payments/audit", &["payments/ledger"], &[])).len(), 1);
    }

    #[test]
    fn outside_crates_stay_at_home() {
        assert!(home_complaints(&member("payments/store", &[], &["redb"])).is_empty());
        assert_eq!(home_complaints(&member("runtime/actors", &[], &["redb"])).len(), 1);
        assert_eq!(home_complaints(&member("runtime/economy", &[], &["tokio"])).len(), 1);
    }

    #[test]
    fn pure_code_has_no_clock_and_comments_do_not_count() {
        let check = |text: &str| purity_complaints("a.rs", text, false).len();
        assert_eq!(check("let now = std::time::now();"), 1);
        assert_eq!(check("use std::collections::HashMap;"), 1);
        assert_eq!(check("let price: f64 = 1.0;"), 1);
        assert_eq!(check("// std::fs is not used here\nlet word = \"tokio\";"), 0);
        assert_eq!(check("let a = 1;\n#[cfg(test)]\nmod tests { use std::fs; }"), 0);
        assert_eq!(purity_complaints("a.rs", "let t: f32 = 1.0;", true).len(), 0);
    }

    #[test]
    fn the_map_names_each_crate_once_and_no_other() {
        let map = "### `a/b`\n\nWhat it is.\n\n### `c/d`\n\nWhat it is.\n";
        assert!(map_complaints(map, &["a/b", "c/d"]).is_empty());
        assert_eq!(map_complaints(map, &["a/b"]).len(), 1);
        assert_eq!(map_complaints(map, &["a/b", "c/d", "e/f"]).len(), 1);
        assert_eq!(map_complaints("### `a/b`\n\n### `a/b`\n\nText\n", &["a/b"]).len(), 1);
        assert_eq!(map_complaints("### `a/b`\n\n## Next\n", &["a/b"]).len(), 1);
    }

    #[test]
    fn the_top_level_holds_nothing_else() {
        let names: Vec<String> = ["Cargo.toml", ".ci", "docs"].map(str::to_owned).into();
        assert_eq!(top_level_complaints(&names), ["docs: does not belong to the top level"]);
    }
}
