//! The real binary against a node of memory only, over the real control port: every command and what can go wrong.

mod world;

use std::time::Duration;

use agora::control::client::HttpService;
use agora::control::{AgentStep, Request, Service, Status};
use agora_types::{Amount, Code};
use futures::StreamExt as _;
use serde_json::Value;
use world::{World, host_address, main_address, steps, validate};

const TENTH: u128 = 100_000_000_000_000_000;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn every_command_prints_a_registered_document_and_a_text() {
    let world = World::start();
    let (host, call) = (host_address().to_string(), "0x31313131313131313131313131313131");
    let path = |name: &str| world.home.path().join(name).display().to_string();
    let (file, trust, html) = (path("call.receipt.json"), path("trust.toml"), path("call.html"));
    std::fs::write(&file, world::RECEIPT).unwrap();
    std::fs::write(&trust, world::TRUST).unwrap();
    let commands: &[(&[&str], &str)] = &[
        (&["wallet", "list"], "agora/key-list/v1"),
        (&["wallet", "balance"], "agora/balance/v1"),
        (&["wallet", "balance", &host], "agora/balance/v1"),
        (&["wallet", "send", &host, "0.1", "--dry-run"], "agora/transfer/v1"),
        (&["wallet", "send", &host, "0.1", "--yes"], "agora/transfer/v1"),
        (&["agent", "list"], "agora/agent-list/v1"),
        (&["agent", "logs", "scout"], "agora/agent-log-line/v1"),
        (&["agent", "stop", "scout"], "agora/agent-stopped/v1"),
        (&["agent", "ask", "scout", "hello"], "agora/agent-step/v1"),
        (&["model", "list"], "agora/model-list/v1"),
        (&["model", "list", "kit"], "agora/model-list/v1"),
        (&["model", "load", "crafts-1"], "agora/adapter/v1"),
        (&["model", "unload", "crafts-1"], "agora/adapter/v1"),
        (&["receipt", "list"], "agora/receipt-list/v1"),
        (&["receipt", "list", "--payer", "main", "--limit", "1"], "agora/receipt-list/v1"),
        (&["receipt", "show", "0"], "agora/receipt/v1"),
        (&["receipt", "show", call], "agora/receipt/v1"),
        (&["receipt", "export", "0"], "agora/receipt-envelope/v1"),
        (&["receipt", "recompute", &file, "--trust", &trust], "agora/recomputed/v1"),
        (&["receipt", "explain", "0"], "agora/explained/v1"),
        (&["receipt", "explain", call], "agora/explained/v1"),
        (&["receipt", "explain", &file, "--html", &html], "agora/explained/v1"),
        (&["earnings", "show"], "agora/earnings/v1"),
        (&["earnings", "show", &host], "agora/earnings/v1"),
        (&["earnings", "publish"], "agora/earnings/v1"),
        (&["earnings", "claim"], "agora/earnings-claimed/v1"),
        (&["ledger", "audit"], "agora/audit/v1"),
        (&["ledger", "balance", &host], "agora/balance/v1"),
        (&["ledger", "log"], "agora/log-batch/v1"),
        (&["ledger", "log", "--from", "1", "--limit", "2"], "agora/log-batch/v1"),
        (&["network", "list"], "agora/network-list/v1"),
        (&["network", "stop"], "agora/stopping/v1"),
    ];
    for (arguments, kind) in commands {
        let done = world.agora(&[arguments, &["--json"][..]].concat());
        let found = serde_json::from_str::<Value>(done.good()).map_or_else(|_| lines(done.good()), |one| vec![one]);
        assert!(!found.is_empty(), "{arguments:?}");
        for document in found {
            assert_eq!(document["$type"], *kind, "{arguments:?}");
            validate(&document);
        }
        let text = world.agora(arguments);
        assert!(!text.good().trim().is_empty(), "{arguments:?}");
        assert!(!text.out.contains('\x1b'), "{arguments:?}: {}", text.out);
        assert!(world.agora(&[arguments, &["--output", "yaml"][..]].concat()).good().contains(kind), "{arguments:?}");
    }
}

#[test]
fn a_transfer_moves_exactly_what_was_typed() {
    let world = World::start();
    let (before, host) = (world.balance(&host_address()), host_address().to_string());
    let sent = world.agora(&["wallet", "send", &host, "0.100000000000000001", "--yes", "--json"]).document();
    assert_eq!((&sent["amount"], &sent["committed"]), (&"100000000000000001".into(), &true.into()));
    assert_eq!(world.balance(&host_address()), before + TENTH + 1);
    let dry = world.agora(&["wallet", "send", &host, "0.1", "--dry-run", "--json"]).document();
    assert_eq!((&dry["committed"], &dry["id"]), (&false.into(), &Value::Null));
    assert_eq!(world.balance(&host_address()), before + TENTH + 1, "a dry run moves nothing");
    assert_eq!(world.node.faults.lock().unwrap().commits.len(), 1);
}

#[test]
fn without_a_yes_and_without_a_terminal_nothing_is_sent() {
    let world = World::start();
    let failure = world.agora(&["wallet", "send", &host_address().to_string(), "0.1", "--json"]);
    assert!(failure.failed(Code::NodeConfig)["hint"].as_str().unwrap().contains("--yes"));
    assert!(world.node.faults.lock().unwrap().commits.is_empty());
}

#[test]
fn a_lost_commit_reply_does_not_pay_twice() {
    let world = World::start();
    world.node.faults.lock().unwrap().lost_replies = 2;
    let before = world.balance(&host_address());
    world.agora(&["wallet", "send", &host_address().to_string(), "0.1", "--yes"]).good();
    assert_eq!(world.balance(&host_address()), before + TENTH);
    let faults = world.node.faults.lock().unwrap();
    assert_eq!(faults.commits.len(), 3);
    assert!(faults.commits.iter().all(|entry| *entry == faults.commits[0]), "the very same entry is repeated");
}

#[test]
fn a_transfer_whose_fate_stays_unknown_says_so_with_its_id() {
    let world = World::start();
    world.node.faults.lock().unwrap().lost_replies = u32::MAX;
    let failure = world.agora(&["wallet", "send", &host_address().to_string(), "0.1", "--yes", "--json"]);
    let document = failure.failed(Code::BusTimeout);
    assert!(document["message"].as_str().unwrap().contains("0x"), "{document}");
    assert!(document["hint"].as_str().unwrap().contains("balance"), "{document}");
}

#[test]
fn the_ledgers_refusal_is_the_commands_failure() {
    let world = World::start();
    let send = ["wallet", "send", &host_address().to_string(), "100000", "--max-spend", "200000", "--yes", "--json"];
    world.agora(&send).failed(Code::ExceedsCredits);
    let dry = [&send[..], &["--dry-run"]].concat();
    world.agora(&dry).failed(Code::ExceedsCredits);
    let own = ["wallet", "send", &main_address().to_string(), "0.1", "--yes", "--json"];
    world.agora(&own).failed(Code::SameAccounts);
    world.agora(&["wallet", "send", &host_address().to_string(), "0", "--yes", "--json"]).failed(Code::AmountZero);
}

/// A folder with a component and a manifest.
fn package(world: &World, wallet: &str) -> (String, String) {
    let folder = world.home.path().join("scout");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("scout.wasm"), "\0asm").unwrap();
    std::fs::write(folder.join("agent.toml"), format!("name = \"scout\"\ncomponent = \"scout.wasm\"\n{wallet}"))
        .unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    (path("scout.wasm"), path("agent.toml"))
}

#[test]
fn a_deployed_agent_gets_what_its_account_lacks() {
    let world = World::start();
    let (component, manifest) = package(&world, "[grants.wallet]\nbudget = \"2\"\nper_call = \"1\"\n");
    world.node.faults.lock().unwrap().missing = Amount::from_atoms(TENTH);
    for file in [&component, &manifest] {
        let deployed = world.agora(&["agent", "deploy", file, "--yes", "--json"]).document();
        validate(&deployed);
        assert_eq!(deployed["funded"], TENTH.to_string());
        assert_eq!(deployed["agent"]["balance"], TENTH.to_string());
    }
    let account = agora_economy::testkit::key(30).address();
    assert_eq!(world.balance(&account), 2 * TENTH);
    // With its budget on its account, nothing is asked and nothing moves.
    world.node.faults.lock().unwrap().missing = Amount::ZERO;
    assert!(world.agora(&["agent", "deploy", &component]).good().contains("scout"));
    assert_eq!(world.balance(&account), 2 * TENTH);
}

#[test]
fn an_agent_that_lacks_more_than_may_be_spent_is_deployed_and_the_advice_says_how_to_go_on() {
    let world = World::start();
    let (component, _) = package(&world, "");
    world.node.faults.lock().unwrap().missing = Amount::from_open(2);
    let failure = world.agora(&["agent", "deploy", &component, "--yes", "--json"]).failed(Code::SpendLimit);
    assert!(failure["hint"].as_str().unwrap().contains("agora wallet send 0x"), "{failure}");
    assert!(world.node.faults.lock().unwrap().commits.is_empty());
    world.agora(&["agent", "deploy", &component, "--yes", "--max-spend", "2"]).good();
}

#[test]
fn a_budget_on_the_command_line_counts_only_where_the_manifest_has_none() {
    let world = World::start();
    let (component, _) = package(&world, "");
    world.agora(&["agent", "deploy", &component, "--budget", "0.5"]).good();
    let (component, _) = package(&world, "[grants.wallet]\nbudget = \"2\"\nper_call = \"1\"\n");
    let done = world.agora(&["agent", "deploy", &component, "--budget", "0.5"]);
    assert!(done.err.contains("the manifest's budget of 2 OPEN counts"), "{}", done.err);
    let manifests = world.node.faults.lock().unwrap().manifests.clone();
    assert!(manifests[0].contains("budget = \"0.5\""), "{}", manifests[0]);
    assert!(manifests[1].contains("budget = \"2\""), "{}", manifests[1]);
}

#[test]
fn an_answer_is_words_on_stdout_for_people_and_steps_for_machines() {
    let world = World::start();
    let done = world.agora(&["agent", "ask", "scout", "hello"]);
    assert_eq!(done.good(), "Hello, world ?[2J\nIt said hello.\n");
    assert!(done.err.contains("accepted") && done.err.contains("1 paid calls"), "{}", done.err);
    let quiet = world.agora(&["agent", "ask", "scout", "hello", "--quiet"]);
    assert_eq!(quiet.err, "");
    let done = world.agora(&["agent", "ask", "scout", "hello", "--json"]);
    let found = lines(done.good());
    assert_eq!(found.len(), steps().len());
    found.iter().for_each(validate);
    assert_eq!(found[5]["answer"]["text"], "It said hello.");
}

#[test]
fn an_answer_that_fails_or_breaks_off_ends_with_its_code() {
    let world = World::start();
    let failed = world.agora(&["agent", "ask", "scout", "fail", "--json"]);
    failed.failed(Code::AgentOverBudget);
    assert_eq!(lines(&failed.out).len(), 3, "what came before is there");
    world.agora(&["agent", "ask", "scout", "break off", "--json"]).failed(Code::NodeNotRunning);
    world.agora(&["agent", "ask", "nobody", "hello", "--json"]).failed(Code::AgentNotFound);
    world.agora(&["agent", "logs", "nobody", "--json"]).failed(Code::AgentNotFound);
}

#[test]
fn an_audit_believes_no_node() {
    let world = World::start();
    let report = world.agora(&["ledger", "audit", "--json"]).document();
    let batches = world.node.kit.lock().unwrap().log.len();
    assert_eq!(report["batches"], batches, "all pages are read");
    assert_eq!(report["balances"][main_address().to_string()], world.balance(&main_address()).to_string());
    world.node.faults.lock().unwrap().lie_from = Some(2);
    let finding = world.agora(&["ledger", "audit", "--json"]).failed(Code::AuditFinding);
    assert!(finding["message"].as_str().unwrap().contains("batch 2"), "{finding}");
}

#[test]
fn a_receipt_is_exported_as_a_private_new_file() {
    let world = World::start();
    let file = world.home.path().join("call.receipt.json").display().to_string();
    let export = world.agora(&["receipt", "export", "0", "--out", &file, "--disclose", "--json"]).document();
    validate(&export);
    assert_eq!(export["file"], file.as_str());
    assert_eq!(std::fs::read_to_string(&file).unwrap(), world::RECEIPT);
    assert_eq!(world.agora(&["receipt", "export", "0"]).good(), world::RECEIPT, "stdout gets the very file");
    world.agora(&["receipt", "export", "0", "--out", &file, "--json"]).failed(Code::NodeConfig);
    let unknown = world.agora(&["receipt", "export", "7", "--json"]).failed(Code::ReceiptUnknown);
    assert_eq!(unknown["hint"], "there is one receipt", "the node's own advice arrives");
    let none = "0x00000000000000000000000000000000";
    world.agora(&["receipt", "show", none, "--json"]).failed(Code::ReceiptUnknown);
    world.agora(&["receipt", "export", "abc", "--json"]).failed(Code::NodeConfig);
}

#[test]
fn a_beacon_whose_node_is_gone_means_that_no_node_runs() {
    let mut world = World::start();
    world.crash();
    world.agora(&["agent", "stop", "scout", "--json"]).failed(Code::NodeNotRunning);
    let list = world.agora(&["network", "list", "--json"]).document();
    assert_eq!(list["networks"][0]["address"], Value::Null);
    assert_eq!(list["networks"][0]["name"], "dev");
}

#[test]
fn a_silent_program_at_the_nodes_port_is_given_up_on() {
    let world = World::start();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let token = agora::control::beacon::fresh_token().unwrap();
    let beacon = agora::control::beacon::Beacon::of_process(silent.local_addr().unwrap(), token);
    beacon.write(&world.home.network()).unwrap();
    world.agora(&["agent", "stop", "scout", "--timeout", "1", "--json"]).failed(Code::BusTimeout);
}

#[test]
fn a_wrong_token_is_not_a_running_node() {
    let world = World::start();
    let beacon = agora::control::beacon::Beacon::read(&world.home.network()).unwrap().unwrap();
    let token = agora::control::beacon::fresh_token().unwrap();
    let other = agora::control::beacon::Beacon { token, ..beacon };
    let service = HttpService::new(other.clone(), None);
    let refused = world.runtime.block_on((&service as &dyn Service).call::<Status>(Request::Status)).unwrap_err();
    assert_eq!(refused.code, Code::NodeUnauthorized);
    other.write(&world.home.network()).unwrap();
    world.agora(&["agent", "stop", "scout", "--json"]).failed(Code::NodeNotRunning);
}

#[test]
fn a_dropped_question_frees_its_thread() {
    let world = World::start();
    let service = HttpService::at(&world.home.network(), Some(Duration::from_secs(10))).unwrap();
    world.runtime.block_on(async {
        let mut steps = service.ask_agent("scout".to_owned(), "hello".to_owned()).await.unwrap();
        assert!(matches!(steps.next().await, Some(Ok(AgentStep::Accepted { .. }))));
        drop(steps);
        let status: Status = (&service as &dyn Service).call(Request::Status).await.unwrap();
        assert_eq!(status.network, "dev");
    });
}

#[test]
#[cfg(unix)]
fn a_beacon_that_others_can_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::start();
    let path = agora::control::beacon::Beacon::path(&world.home.network());
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    world.agora(&["agent", "list", "--json"]).failed(Code::KeystorePermissions);
}

#[test]
#[cfg(unix)]
fn ctrl_c_ends_a_command_with_130() {
    use std::io::BufRead as _;
    use std::process::{Command, Stdio};
    let world = World::start();
    let mut follow = world.home.command(&["agent", "logs", "scout", "--follow"]);
    let mut child = follow.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    // The first line says that the command is at work.
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    assert!(line.contains("line 0"), "{line}");
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    // The reader stays until then: a closed pipe would end the command too, with 0.
    drop(out);
}

#[test]
fn a_reader_that_leaves_ends_a_command_quietly() {
    use std::process::Stdio;
    let world = World::start();
    for arguments in [&["ledger", "audit"][..], &["agent", "ask", "scout", "hello", "--json"], &["output-schema"]] {
        let mut command = world.home.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let done = child.wait_with_output().unwrap();
        let said = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(0), "{arguments:?}: {said}");
        assert!(!said.contains("error") && !said.contains("bug"), "{said}");
    }
}

#[test]
#[should_panic(expected = "available is missing")]
fn the_validator_of_these_tests_finds_a_missing_field() {
    let address = main_address().to_string();
    validate(&serde_json::json!({"$type": "agora/balance/v1", "address": address, "exists": true, "balance": "1"}));
}
