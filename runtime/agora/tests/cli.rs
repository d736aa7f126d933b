//! The real binary in a home folder of its own: help, bad inputs, keys, and what works without any node.

mod world;

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use agora_types::Code;
use world::{Home, RECEIPT, RECEIPT_TEXT, TRUST, validate};

const COMMANDS: &[&[&str]] = &[
    &["up"],
    &["demo"],
    &["doctor"],
    &["wallet", "new"],
    &["wallet", "list"],
    &["wallet", "balance"],
    &["wallet", "send"],
    &["agent", "deploy"],
    &["agent", "list"],
    &["agent", "logs"],
    &["agent", "stop"],
    &["agent", "ask"],
    &["model", "list"],
    &["model", "fetch"],
    &["model", "load"],
    &["model", "unload"],
    &["receipt", "list"],
    &["receipt", "show"],
    &["receipt", "verify"],
    &["receipt", "export"],
    &["earnings", "show"],
    &["earnings", "claim"],
    &["earnings", "publish"],
    &["ledger", "audit"],
    &["ledger", "balance"],
    &["ledger", "log"],
    &["network", "list"],
    &["network", "stop"],
    &["config"],
    &["output-schema"],
    &["completion"],
];

fn genesis() -> agora_types::genesis::Genesis {
    world::FakeNode::new().kit.into_inner().unwrap().genesis
}

#[test]
fn every_command_has_a_help_that_says_what_it_does_and_takes() {
    let home = Home::empty();
    let overview = home.agora(&["--help"]);
    for command in COMMANDS {
        assert!(overview.good().contains(command[0]), "{command:?}");
        let done = home.agora(&[command, &["--help"][..]].concat());
        let help = done.good();
        let first = help.lines().next().unwrap_or_default();
        assert!(first.len() > 10 && !first.starts_with("Usage"), "{command:?}: {help}");
        assert!(help.contains("Usage: agora") && help.contains("--json") && help.contains("--timeout"), "{help}");
    }
    assert!(home.agora(&["--version"]).good().starts_with("agora "));
}

#[test]
fn wrong_arguments_end_with_exit_code_2_and_a_document_where_one_is_asked_for() {
    let home = Home::empty();
    for arguments in
        [&["nothing"][..], &["wallet"], &["wallet", "send"], &["config", "--timeout", "0"], &["up", "--port", "70000"]]
    {
        let done = home.agora(arguments);
        assert_eq!((done.code, done.out.as_str()), (2, ""), "{arguments:?} {}", done.err);
        assert!(done.err.contains("Usage") || done.err.starts_with("error"), "{}", done.err);
        if arguments.len() > 1 || arguments == ["nothing"] {
            home.agora(&[arguments, &["--json"]].concat()).failed(Code::NodeConfig);
        }
    }
    let secret = home.agora(&["wallet", "new", "--passphrase", "hunter2"]);
    assert_eq!(secret.code, 2, "a secret is no flag's value");
}

#[test]
fn bad_inputs_end_with_their_own_codes() {
    let home = Home::dev();
    let file = |name: &str, text: &str| {
        let path = home.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let not_receipt = file("no.receipt.json", "{\"a\": 1}");
    let not_json = file("junk.receipt.json", "\u{1}\u{2}");
    let empty = file("empty.receipt.json", "");
    let long = file("long.receipt.json", &" ".repeat(300 * 1024));
    let component = file("lonely.wasm", "\0asm");
    let trust = file("bad-trust.toml", "[[network]]\nname = 3\n");
    let genesis = file("bad-genesis.cbor", "abc");
    let receipt = file("call.receipt.json", RECEIPT);
    let to = "0x0303030303030303030303030303030303030303";
    let cases: &[(&[&str], Code)] = &[
        (&["wallet", "send", to, "1.0000000000000000001"], Code::AmountTooPrecise),
        (&["wallet", "send", to, "-1"], Code::AmountNotDecimal),
        (&["wallet", "send", to, "1e3"], Code::AmountNotDecimal),
        (&["wallet", "send", to, "NaN"], Code::AmountNotDecimal),
        (&["wallet", "send", to, ""], Code::AmountNotDecimal),
        (&["wallet", "send", to, "1000000000000"], Code::AmountAboveCap),
        (&["wallet", "send", to, "1", "--max-spend", "-1"], Code::AmountNotDecimal),
        (&["wallet", "send", to, "1", "--max-spend", "1000000000000"], Code::AmountAboveCap),
        (&["wallet", "send", to, "1.1"], Code::SpendLimit),
        (&["wallet", "send", to, "0.5", "--max-spend", "0.4"], Code::SpendLimit),
        (&["wallet", "send", "0x03", "1"], Code::NodeConfig),
        (&["wallet", "send", "nobody", "1"], Code::KeystoreMissing),
        (&["wallet", "send", to, "1", "--from", "nobody"], Code::KeystoreMissing),
        (&["wallet", "send", to, "1", "--from", "../main"], Code::NodeConfig),
        (&["wallet", "balance", "nobody"], Code::KeystoreMissing),
        (&["wallet", "balance", "0xzz"], Code::NodeConfig),
        (&["wallet", "new", "main"], Code::KeystoreExists),
        (&["wallet", "new", "Main"], Code::NodeConfig),
        (&["wallet", "list", "--network", "other"], Code::NodeNoNetwork),
        (&["wallet", "list", "--network", "../dev"], Code::NodeConfig),
        (&["ledger", "balance", "main"], Code::NodeConfig),
        (&["ledger", "audit", "--network", "other"], Code::NodeNoNetwork),
        (&["agent", "ask", "scout", "hello"], Code::NodeNotRunning),
        (&["model", "load", "crafts-1"], Code::NodeNotRunning),
        (&["model", "unload", "crafts-1"], Code::NodeNotRunning),
        (&["agent", "stop", "scout"], Code::NodeNotRunning),
        (&["agent", "logs", "scout", "--follow"], Code::NodeNotRunning),
        (&["wallet", "send", to, "0.5"], Code::NodeConfig),
        (&["wallet", "send", to, "2000000", "--max-spend", "3000000", "--yes"], Code::ExceedsCredits),
        (&["agent", "deploy", "/nowhere/agent.wasm"], Code::FileMissing),
        (&["agent", "deploy", &component], Code::FileMissing),
        (&["agent", "deploy", &trust], Code::AgentBadManifest),
        (&["agent", "deploy", &component, "--budget", "1e3"], Code::AmountNotDecimal),
        (&["network", "stop"], Code::NodeNotRunning),
        (&["receipt", "show", "0"], Code::ReceiptUnknown),
        (&["receipt", "show", "/nowhere"], Code::FileMissing),
        (&["receipt", "show", &not_receipt], Code::ReceiptEnvelope),
        (&["receipt", "verify", "/nowhere"], Code::FileMissing),
        (&["receipt", "verify", &not_receipt], Code::ReceiptEnvelope),
        (&["receipt", "verify", &not_json], Code::ReceiptEnvelope),
        (&["receipt", "verify", &empty], Code::ReceiptEnvelope),
        (&["receipt", "verify", &long], Code::ReceiptEnvelope),
        (&["receipt", "verify", &receipt], Code::ReceiptUntrusted),
        (&["receipt", "verify", &receipt, "--trust", "/nowhere"], Code::FileMissing),
        (&["receipt", "verify", &receipt, "--trust", &trust], Code::NodeConfig),
        (&["receipt", "verify", &receipt, "--genesis", &genesis], Code::GenesisInvalid),
        (&["model", "fetch", "nothing"], Code::EngineFileMissing),
        (&["output-schema", "--type", "agora/nothing/v1"], Code::NodeConfig),
    ];
    for (arguments, code) in cases {
        home.agora(&[arguments, &["--json"][..]].concat()).failed(*code);
    }
    let failure = home.agora(&["wallet", "list", "--output", "xml"]);
    assert_eq!(failure.code, 2);
    assert!(failure.err.contains("no output format"), "{}", failure.err);
}

#[test]
fn a_wallet_of_a_dev_network_is_made_without_a_question_and_never_twice() {
    let home = Home::with_network(&genesis());
    let made = home.agora(&["wallet", "new", "second", "--json"]).document();
    validate(&made);
    assert_eq!((&made["name"], &made["kind"]), (&"second".into(), &"secp256k1".into()));
    home.agora(&["wallet", "new", "second", "--json"]).failed(Code::KeystoreExists);
    let list = home.agora(&["wallet", "list", "--json"]).document();
    validate(&list);
    let names: Vec<_> = list["keys"].as_array().unwrap().iter().map(|key| key["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["main", "second"]);
    assert!(home.agora(&["wallet", "list"]).good().contains(made["address"].as_str().unwrap()));
}

#[test]
fn a_wallet_of_another_network_wants_a_passphrase_that_somebody_gave() {
    let home = Home::with_network(&agora_types::genesis::Genesis { dev: false, ..genesis() });
    let failure = home.agora(&["wallet", "new", "second", "--json"]).failed(Code::KeystorePassphrase);
    assert!(failure["hint"].as_str().unwrap().contains("env:NAME"), "{failure}");
}

#[test]
fn a_receipt_is_verified_and_shown_without_network_or_node() {
    let home = Home::empty();
    let write = |path: &str, text: &str| {
        let path = home.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let file = write("call.receipt.json", RECEIPT);
    let trust = write("elsewhere/trust.toml", TRUST);
    let untrusted = home.agora(&["receipt", "verify", &file, "--json"]);
    untrusted.failed(Code::ReceiptUntrusted);
    let verdict: serde_json::Value = serde_json::from_str(&untrusted.out).unwrap();
    validate(&verdict);
    assert_eq!((&verdict["exitCode"], &verdict["trusted"]), (&8.into(), &serde_json::json!([])));

    let verdict = home.agora(&["receipt", "verify", &file, "--trust", &trust, "--json"]).document();
    validate(&verdict);
    assert_eq!((&verdict["code"], &verdict["trusted"]), (&serde_json::Value::Null, &serde_json::json!([trust])));
    // The user's own file is found by itself.
    write("config/trust.toml", TRUST);
    let text = home.agora(&["receipt", "verify", &file]);
    assert!(text.good().contains("verified") && text.good().contains("config/trust.toml"), "{}", text.out);

    let changed = write("changed.receipt.json", &RECEIPT.replace("\"index\": 5", "\"index\": 6"));
    let done = home.agora(&["receipt", "verify", &changed, "--json"]);
    assert_eq!(done.code, 8, "{}", done.err);

    let shown = home.agora(&["receipt", "show", &file]);
    assert_eq!(shown.good().trim_end(), RECEIPT_TEXT.trim_end());
    assert!(shown.out.contains("(declared, not measured)"));
    let call = home.agora(&["receipt", "show", &file, "--json"]).document();
    validate(&call);
    assert_eq!(call["final"]["index"], 9);
}

#[test]
fn the_genesis_file_of_a_network_on_this_machine_is_trusted_and_named() {
    let home = Home::with_network(&genesis());
    let file = home.path().join("call.receipt.json");
    std::fs::write(&file, RECEIPT).unwrap();
    let done = home.agora(&["receipt", "verify", &file.display().to_string(), "--output", "json"]);
    done.failed(Code::ReceiptUntrusted);
    let verdict: serde_json::Value = serde_json::from_str(&done.out).unwrap();
    assert!(verdict["trusted"][0].as_str().unwrap().ends_with("data/dev/genesis.cbor"), "{verdict}");
}

#[test]
fn what_needs_no_network_works_without_one() {
    let home = Home::empty();
    for arguments in [&["config"][..], &["network", "list"], &["model", "list"]] {
        validate(&home.agora(&[arguments, &["--json"]].concat()).document());
        home.agora(arguments).good();
    }
    let report = home.agora(&["doctor", "--json"]);
    validate(&serde_json::from_str(&report.out).unwrap());
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(home.agora(&["completion", shell]).good().contains("receipt"), "{shell}");
    }
    let names = home.agora(&["output-schema"]);
    assert!(names.good().lines().count() >= 20);
    for name in names.good().lines() {
        let schema = home.agora(&["output-schema", "--type", name]).document();
        assert_eq!(schema["properties"]["$type"]["const"], name);
    }
    let settings = home.agora(&["config", "--json", "--network", "other"]).document();
    let network = &settings["settings"][0];
    assert_eq!((&network["value"], &network["source"]), (&"other".into(), &"flag".into()));
}

#[test]
fn without_a_node_the_folder_itself_answers_and_moves_money() {
    let home = Home::dev();
    let open = |text: &str| text.parse::<agora_types::Amount>().unwrap().to_atoms_text();
    let json = |arguments: &[&str]| home.agora(&[arguments, &["--json"]].concat()).document();
    let to = "0x0303030303030303030303030303030303030303";
    assert_eq!(json(&["wallet", "balance"])["balance"], open("1000000"));
    json(&["wallet", "send", to, "0.25", "--dry-run"]);
    json(&["wallet", "send", to, "0.25", "--yes"]);
    json(&["wallet", "send", to, "0.000000000000000001", "--yes"]);
    assert_eq!(json(&["ledger", "balance", to])["available"], open("0.250000000000000001"));
    let report = json(&["ledger", "audit"]);
    assert_eq!((&report["accepted"], &report["supply"]), (&2.into(), &open("1000000").into()));
    assert_eq!(report["balances"][to], open("0.250000000000000001"));
    assert_eq!(home.agora(&["ledger", "log", "--json"]).good().lines().count(), 2);
    assert_eq!(json(&["receipt", "list"])["size"], 0);
    assert_eq!(json(&["agent", "list"])["agents"], serde_json::json!([]));
    assert_eq!(json(&["model", "list"])["listings"], serde_json::json!([]));
    assert!(json(&["network", "list"])["networks"][0].get("address").is_none());
}

#[test]
fn a_node_is_found_by_its_beacon_holds_its_folder_and_is_stopped_by_a_command() {
    let home = Home::empty();
    let up = ["up", "--model", "fake", "--port", "0"];
    let mut node = home.command(&up).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(node.stderr.take().unwrap());
    let mut text = String::new();
    while !text.contains("listening") {
        assert_ne!(said.read_line(&mut text).unwrap(), 0, "the node ended: {text}");
    }
    let address = || home.agora(&["network", "list", "--json"]).document()["networks"][0]["address"].clone();
    while address().is_null() {
        // The beacon is written a moment after the line.
        std::thread::yield_now();
    }
    home.agora(&["wallet", "send", "host", "0.5", "--yes"]).good();
    assert!(home.agora(&["ledger", "audit"]).good().contains("the log adds up"));
    home.agora(&[&up[..], &["--json"]].concat()).failed(Code::StoreLocked);
    home.agora(&["network", "stop"]).good();
    assert!(node.wait().unwrap().success());
    assert!(address().is_null(), "its beacon is gone");
    let balance = home.agora(&["wallet", "balance", "host", "--json"]).document();
    assert_eq!(balance["balance"], "500000000000000000", "what was committed is in the folder");
}

#[test]
fn a_node_does_not_start_at_a_taken_port_or_in_public() {
    let home = Home::dev();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    home.agora(&["up", "--model", "fake", "--port", &port, "--json"]).failed(Code::NodePortInUse);
    home.agora(&["up", "--model", "fake", "--port", "0", "--bind", "0.0.0.0", "--json"]).failed(Code::NodeNotLoopback);
}
