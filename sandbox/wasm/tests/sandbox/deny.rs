//! Deny by default: what a component imports and its manifest does not grant is refused when it is loaded.

use agora_sandbox_api::{AgentError, Grants, Manifest, Sandbox as _};
use agora_types::Code;

use super::{component, manifest, sandbox};

fn refusal(component: &[u8], manifest: &Manifest) -> AgentError {
    match sandbox().load(component, manifest) {
        Ok(_) => panic!("it was loaded"),
        Err(error) => error,
    }
}

/// Without this grant, loading is refused, and the refusal names the import and the table to add.
fn check(take: impl FnOnce(&mut Grants), import: &str, table: &str) {
    let mut manifest = manifest("hostile");
    take(&mut manifest.grants);
    let error = refusal(&component("hostile"), &manifest);
    assert_eq!(error.code, Code::AgentImport, "{error}");
    assert!(error.what.contains(&format!("agora:agent/{import}@0.1.0: add [grants.{table}]")), "{error}");
}

#[test]
fn each_interface_needs_its_grant() {
    check(|grants| grants.market = None, "market", "market");
    check(|grants| grants.inference = None, "inference", "inference");
    check(|grants| grants.key_value = None, "key-value", "key_value");
    check(|grants| grants.http = None, "http", "http");
    check(|grants| grants.log = None, "log", "log");
    check(|grants| grants.clock = None, "clock", "clock");
    // The researcher reads its budget.
    let mut manifest = manifest("researcher");
    manifest.grants.wallet = None;
    let error = refusal(&component("researcher"), &manifest);
    assert!(error.what.contains("agora:agent/wallet@0.1.0: add [grants.wallet] with budget"), "{error}");
}

#[test]
fn nothing_is_granted_by_an_empty_manifest() {
    let mut manifest = manifest("hostile");
    manifest.grants = Grants::default();
    assert_eq!(refusal(&component("hostile"), &manifest).code, Code::AgentImport);
}

#[test]
fn a_component_imports_only_what_it_uses() {
    // The researcher's code has the clock's bindings and does not call them.
    let mut manifest = manifest("researcher");
    assert!(manifest.grants.clock.is_none());
    manifest.name = "other".to_owned();
    assert!(sandbox().load(&component("researcher"), &manifest).is_ok());
}

#[test]
fn wasi_and_unknown_interfaces_are_refused_whatever_is_granted() {
    for (import, why) in [
        ("wasi:cli/environment@0.2.0", "no grant covers WASI"),
        ("wasi:filesystem/types@0.2.12", "no grant covers WASI"),
        ("agora:agent/filesystem@0.1.0", "no such interface here"),
        ("else:where/log@0.1.0", "no such interface here"),
        ("plain-name", "no such interface here"),
    ] {
        let text = format!("(component (import \"{import}\" (instance)))");
        let error = refusal(&wat::parse_str(text).expect("a component"), &manifest("hostile"));
        assert_eq!(error.code, Code::AgentImport, "{error}");
        assert!(error.what.starts_with(import) && error.what.contains(why), "{error}");
    }
}

#[test]
fn a_granted_interface_with_other_functions_or_another_version_is_no_component_of_this_world() {
    for import in [
        "agora:agent/log@0.1.0\" (instance (export \"erase\" (func)))",
        "agora:agent/log@9.0.0\" (instance (export \"log\" (func)))",
    ] {
        let text = format!("(component (import \"{import}))");
        let error = refusal(&wat::parse_str(text).expect("a component"), &manifest("hostile"));
        assert_eq!(error.code, Code::AgentBadComponent, "{error}");
    }
}
