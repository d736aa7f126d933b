//! What a developer can rely on: a manifest grants nothing by default, and a wrong one is refused with a reason.

use agora_sandbox_api::{Limits, Manifest};
use agora_types::{Amount, Code};

const FULL: &str = r#"
name = "researcher"
description = "Asks a model."
component = "researcher.wasm"
[limits]
memory_mib = 32
[grants]
market = {}
inference = {}
key_value = { max_kib = 256 }
log = {}
clock = {}
[grants.wallet]
budget = "5"
per_call = "0.25"
"#;

#[test]
fn a_manifest_without_grants_grants_nothing() {
    let manifest = Manifest::parse("name = \"a\"\ncomponent = \"a.wasm\"").expect("small and good");
    let grants = &manifest.grants;
    assert!(grants.market.is_none() && grants.wallet.is_none() && grants.inference.is_none());
    assert!(grants.key_value.is_none() && grants.log.is_none() && grants.clock.is_none());
    assert_eq!(manifest.limits, Limits::default());
}

#[test]
fn a_full_manifest_is_read_and_money_is_exact() {
    let manifest = Manifest::parse(FULL).expect("good");
    let wallet = manifest.grants.wallet.expect("granted");
    assert_eq!(wallet.per_call, Amount::from_atoms(250_000_000_000_000_000));
    assert_eq!((manifest.limits.memory_mib, manifest.limits.event_s), (32, 300));
}

#[test]
fn a_wrong_manifest_is_refused_with_code_and_reason() {
    let cases = [
        ("name = \"researcher\"", "name = \"Res earcher\"", "a-z"),
        ("name = \"researcher\"", "nam = \"researcher\"", "nam"),
        ("component = \"researcher.wasm\"", "component = \"../../etc/passwd\"", "beside"),
        ("memory_mib = 32", "memory_mib = 0", "memory_mib"),
        ("memory_mib = 32", "memory_mib = -1", "memory_mib"),
        ("max_kib = 256", "max_kib = 0", "max_kib"),
        ("per_call = \"0.25\"", "per_call = \"6\"", "per_call"),
        ("per_call = \"0.25\"", "per_call = \"1e3\"", "digits"),
        ("per_call = \"0.25\"", "per_call = \"1.0000000000000000001\"", "18"),
        ("market = {}", "market = {}\nnetwork = {}", "network"),
    ];
    for (from, to, word) in cases {
        let error = Manifest::parse(&FULL.replace(from, to)).expect_err(to);
        assert_eq!(error.code, Code::AgentBadManifest, "{to}");
        assert!(error.to_string().contains(word), "{to}: {error}");
    }
}
