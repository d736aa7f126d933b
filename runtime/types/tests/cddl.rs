//! The CDDL beside this crate describes the golden bytes, and refuses bytes of another kind.

use std::fs;
use std::path::Path;

/// Each schema, the schemas it builds on, and the golden files that it must describe.
const KINDS: &[(&str, &[&str], &str)] = &[
    ("command", &[], "command-"),
    ("entry", &["command"], "entry"),
    ("batch-body", &["entry", "command"], "batch-body"),
    ("batch-header", &[], "batch-header"),
    ("batch", &["batch-header"], "batch."),
    ("genesis", &[], "genesis."),
    ("key-statement", &["command"], "key-statement"),
    ("statement", &[], "statement"),
    ("channel-config", &[], "channel-config"),
    ("voucher", &[], "voucher"),
    ("frontier", &[], "frontier"),
];

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(name).to_path_buf()
}

fn schema(kind: &str, others: &[&str]) -> String {
    let read = |name: &str| fs::read_to_string(folder("cddl").join(format!("{name}.cddl"))).unwrap();
    let mut parts = vec![read(kind)];
    parts.extend(others.iter().map(|name| read(name)));
    parts.push(read("common"));
    parts.join("\n")
}

fn golden(prefix: &str) -> Vec<(String, Vec<u8>)> {
    let mut found: Vec<_> = fs::read_dir(folder("tests/data/golden"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| {
            let text: String = fs::read_to_string(entry.path()).unwrap().split_whitespace().collect();
            (entry.file_name().to_string_lossy().into_owned(), hex::decode(text).unwrap())
        })
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no golden bytes for {prefix}");
    found
}

#[test]
fn each_kind_is_described_by_its_schema() {
    for (kind, others, prefix) in KINDS {
        let schema = schema(kind, others);
        for (name, bytes) in golden(prefix) {
            cddl::validate_cbor_from_slice(&schema, &bytes, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        }
    }
}

#[test]
fn no_schema_describes_another_kind() {
    for (kind, others, _) in KINDS.iter().filter(|(kind, ..)| *kind != "frontier") {
        let schema = schema(kind, others);
        let (name, bytes) = golden("frontier").remove(0);
        assert!(cddl::validate_cbor_from_slice(&schema, &bytes, None).is_err(), "{kind} describes {name}");
    }
}
