//! Hostile agents and damaged files against the real program: each gets its own code, and nothing is lost.

mod world;

use agora_types::Code;
use world::Home;
use world::ground::{Ground, guest};

/// Deploys the hostile agent with these lines in the place of its wallet's.
fn deploy_hostile(ground: &Ground, per_call: &str) {
    let folder = ground.home.path().join("hostile");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::copy(guest("hostile.wasm"), folder.join("hostile.wasm")).unwrap();
    let manifest = std::fs::read_to_string(guest("hostile.toml")).unwrap();
    let ours = manifest.replace("per_call = \"0.1\"", &format!("per_call = \"{per_call}\""));
    assert!(ours != manifest || per_call == "0.1", "the manifest has another limit than this test thinks");
    std::fs::write(folder.join("hostile.toml"), ours).unwrap();
    let file = folder.join("hostile.wasm");
    let arguments =
        ["agent", "deploy", file.to_str().unwrap(), "--from", "demo", "--max-spend", "10", "--yes", "--quiet"];
    ground.run(&arguments).good();
}

#[test]
fn an_agent_that_misbehaves_gets_a_code_and_takes_nothing_with_it() {
    let ground = Ground::found("fake:1");
    let node = ground.start();
    deploy_hostile(&ground, "0.1");
    let orders = [
        ("loop", Code::AgentOutOfTime),
        ("allocate", Code::AgentOutOfMemory),
        ("trap", Code::AgentTrapped),
        ("recurse 0", Code::AgentTrapped),
        ("panic", Code::AgentTrapped),
        ("call", Code::AgentTooManyCalls),
        ("fail 10", Code::AgentFailed),
        ("buy-and-fall", Code::AgentTrapped),
    ];
    for (order, code) in orders {
        let failed = ground.run(&["agent", "ask", "hostile", order, "--json"]);
        let document = failed.failed(code);
        assert!(document["message"].as_str().unwrap().contains("agent hostile"), "{order}: {document}");
        // It behaves again: failures in a row are few, and nothing is left of the one before.
        ground.run(&["agent", "ask", "hostile", "behave"]).good();
    }
    // What fell in the middle of an answer was paid for what had arrived, and receipted.
    let list = ground.json(&["receipt", "list"]);
    assert_eq!(list["size"], 4, "{list}");

    // A limit of a call below the quote: refused before anything is signed.
    deploy_hostile(&ground, "0.0000001");
    let refused = ground.run(&["agent", "ask", "hostile", "overspend-market", "--json"]);
    let document = refused.failed(Code::AgentFailed);
    assert!(document["message"].as_str().unwrap().contains("agent.over_budget"), "{document}");
    assert_eq!(ground.json(&["receipt", "list"])["size"], 4, "nothing was bought");

    // Five failures in a row suspend it; deployed again it runs.
    for _ in 0..4 {
        ground.run(&["agent", "ask", "hostile", "trap", "--json"]).failed(Code::AgentTrapped);
    }
    ground.run(&["agent", "ask", "hostile", "behave", "--json"]).failed(Code::AgentSuspended);
    let agents = ground.json(&["agent", "list"]);
    let hostile = agents["agents"].as_array().unwrap().iter().find(|agent| agent["name"] == "hostile").unwrap().clone();
    assert_eq!((&hostile["status"], &hostile["failures"]), (&"suspended".into(), &5.into()), "{hostile}");
    deploy_hostile(&ground, "0.1");
    ground.run(&["agent", "ask", "hostile", "behave"]).good();

    // The other agent never noticed, and all the money is where it belongs.
    ground.run(&["agent", "ask", "researcher", "what is a lighthouse for"]).good();
    ground.json(&["agent", "stop", "hostile"]);
    ground.json(&["agent", "stop", "researcher"]);
    ground.check(3, "after everything");
    node.stop(&ground);
}

#[test]
fn a_model_that_is_not_one_is_named_with_its_own_code() {
    let home = Home::dev();
    let up = |model: &str| home.agora(&["up", "--port", "0", "--json", "--model", model]);
    up("/nowhere/model.gguf").failed(Code::EngineFileMissing);
    let cut = home.path().join("cut.gguf");
    let models = agora_shell::Paths::find(None).unwrap().models();
    let whole = std::fs::File::open(models.join("SmolLM2-135M-Instruct.Q4_1.gguf"))
        .expect("the model is missing: fetch it with `cargo xtask fetch`");
    let mut half = std::io::Read::take(whole, 40 << 20);
    std::io::copy(&mut half, &mut std::fs::File::create(&cut).unwrap()).unwrap();
    up(cut.to_str().unwrap()).failed(Code::EngineBadModel);
    std::fs::write(&cut, "no model at all, and long enough to be looked at").unwrap();
    up(cut.to_str().unwrap()).failed(Code::EngineBadModel);
    up("no-such-model").failed(Code::EngineFileMissing);
}

#[test]
fn a_damaged_page_is_noticed_at_the_start_and_nothing_is_changed() {
    let home = Home::dev();
    // A network with a few batches in its log.
    home.agora(&["wallet", "send", "host", "1", "--yes"]).good();
    home.agora(&["wallet", "send", "host", "2", "--max-spend", "5", "--yes"]).good();
    home.agora(&["ledger", "audit"]).good();
    let file = home.network().join("ledger.redb");
    let whole = std::fs::read(&file).unwrap();
    // Every page that is used: a flipped bit is noticed, or it changed nothing that counts.
    let mut noticed = 0;
    let pages = whole.len() / 4_096;
    for page in (1..pages).step_by((pages / 24).max(1)) {
        let at = page * 4_096 + 700;
        if whole[page * 4_096..(page + 1) * 4_096].iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&file, &damaged).unwrap();
        let audit = home.agora(&["ledger", "audit", "--json"]);
        if audit.code != 0 {
            let document: serde_json::Value = serde_json::from_str(audit.err.lines().last().unwrap()).unwrap();
            assert_eq!(document["code"], Code::StoreDamaged.text(), "page {page}: {document}");
            assert!(document["hint"].as_str().unwrap().contains("backup"), "{document}");
            noticed += 1;
        }
    }
    assert!(noticed > 0, "no flipped bit of {pages} pages was noticed");
    // The copy of before is as good as ever.
    std::fs::write(&file, &whole).unwrap();
    home.agora(&["ledger", "audit"]).good();
}
