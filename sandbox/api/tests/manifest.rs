//! What a developer can rely on: a manifest grants nothing by default, and a wrong one is refused with a reason.

use agora_sandbox_api::{Limits, Manifest, PaymentScheme};
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
[grants.http]
hosts = ["api.example.com", "127.0.0.1:8402"]
max_per_call = "0.1"
payees = ["0x0101010101010101010101010101010101010101"]
response_kib = 128
[serve]
price = "0.002"
description = "A summary."
mime_type = "text/plain"
timeout_s = 30
input_kib = 16
schemes = ["exact", "batch-settlement"]
"#;

#[test]
fn a_manifest_without_grants_grants_nothing() {
    let manifest = Manifest::parse("name = \"a\"\ncomponent = \"a.wasm\"").expect("small and good");
    let grants = &manifest.grants;
    assert!(grants.market.is_none() && grants.wallet.is_none() && grants.inference.is_none());
    assert!(grants.key_value.is_none() && grants.log.is_none() && grants.clock.is_none() && grants.http.is_none());
    assert!(manifest.serve.is_none());
    assert_eq!(manifest.limits, Limits::default());
}

#[test]
fn a_full_manifest_is_read_and_money_is_exact() {
    let manifest = Manifest::parse(FULL).expect("good");
    let wallet = manifest.grants.wallet.expect("granted");
    assert_eq!(wallet.per_call, Amount::from_atoms(250_000_000_000_000_000));
    let http = manifest.grants.http.expect("granted");
    assert_eq!(http.max_per_call, Some(Amount::from_atoms(100_000_000_000_000_000)));
    assert_eq!((http.hosts.len(), http.payees.len(), http.response_bytes_max()), (2, 1, 131_072));
    let serve = manifest.serve.expect("it sells");
    assert_eq!((serve.price, serve.timeout_s), (Amount::from_atoms(2_000_000_000_000_000), 30));
    assert_eq!(serve.schemes, [PaymentScheme::Exact, PaymentScheme::BatchSettlement]);
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
        ("hosts = [\"api.example.com\", \"127.0.0.1:8402\"]", "hosts = []", "grants.http"),
        ("\"api.example.com\"", "\"*\"", "grants.http.hosts"),
        ("max_per_call = \"0.1\"", "max_per_call = 0.1", "max_per_call"),
        ("max_per_call = \"0.1\"", "max_per_call = \"0.3\"", "max_per_call"),
        ("payees = [\"0x01", "payees = [\"0y01", "payees"),
        ("response_kib = 128", "response_kib = 0", "response_kib"),
        ("response_kib = 128", "response_kib = 257", "response_kib"),
        ("price = \"0.002\"", "price = \"-1\"", "price"),
        ("price = \"0.002\"", "", "price"),
        ("description = \"A summary.\"", "description = \" \"", "serve.description"),
        ("mime_type = \"text/plain\"", "mime_type = \"a\\r\\nb: c\"", "serve.mime_type"),
        ("timeout_s = 30", "timeout_s = 601", "serve.timeout_s"),
        ("input_kib = 16", "input_kib = 65", "serve.input_kib"),
        ("schemes = [\"exact\", \"batch-settlement\"]", "schemes = []", "serve.schemes"),
        ("schemes = [\"exact\", \"batch-settlement\"]", "schemes = [\"exact\", \"exact\"]", "serve.schemes"),
        ("schemes = [\"exact\", \"batch-settlement\"]", "schemes = [\"barter\"]", "schemes"),
    ];
    for (from, to, word) in cases {
        let error = Manifest::parse(&FULL.replace(from, to)).expect_err(to);
        assert_eq!(error.code, Code::AgentBadManifest, "{to}");
        assert!(error.to_string().contains(word), "{to}: {error}");
    }
}

#[test]
fn what_is_sold_has_defaults_and_a_manifest_is_written_as_it_is_read() {
    let text = "name = \"a\"\ncomponent = \"a.wasm\"\n[grants.http]\nhosts = [\"a.example\"]\n\
                [serve]\nprice = \"0\"\ndescription = \"d\"\n";
    let manifest = Manifest::parse(text).expect("small and good");
    let serve = manifest.serve.as_ref().expect("it sells");
    assert_eq!((serve.timeout_s, serve.input_kib, serve.schemes.len()), (60, 64, 3));
    for manifest in [manifest, Manifest::parse(FULL).expect("good")] {
        let written = toml::to_string(&manifest).expect("it can be written");
        assert_eq!(Manifest::parse(&written).expect("it can be read"), manifest);
    }
}
