//! A datanet by the commands that people give: what they can rely on from its founding to an adapter that learnt it.

mod world;

use std::path::{Path, PathBuf};

use agora_types::Code;
use serde_json::Value;
use world::Home;
use world::ground::{Ground, Node};

/// A network of its own, with the wallets `ada`, `bo` and `chi`.
fn network(model: &'static str) -> (Ground, Node) {
    let ground = Ground { home: Home::empty(), model };
    let node = ground.start();
    for name in ["ada", "bo", "chi"] {
        ground.run(&["wallet", "new", name]).good();
        ground.run(&["wallet", "send", name, "10", "--yes", "--max-spend", "10"]).good();
    }
    (ground, node)
}

fn file(ground: &Ground, name: &str, text: &str) -> String {
    let path = ground.home.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

fn pairs(what: &str, count: usize) -> String {
    let line = |at: usize| {
        let prompt = format!("Question {at} about {what}: what does number {at} mean?");
        let words = ["alder", "birch", "cedar", "elder", "hazel", "linden", "maple", "rowan"];
        let (one, two) = (words[at % 8], words[(at * 3 + 1) % 8]);
        let response = format!("In {what}, number {at} stands for {one} beside {two}, seen {} times.", at * 17);
        serde_json::json!({ "prompt": prompt, "response": response }).to_string() + "\n"
    };
    (0..count).map(line).collect()
}

fn stands(items: &Value) -> Vec<String> {
    let word = |standing: &Value| match standing {
        Value::String(word) => word.clone(),
        Value::Object(one) => one.keys().next().unwrap().clone(),
        other => panic!("{other}"),
    };
    items["items"].as_array().unwrap().iter().map(|item| word(&item["standing"])).collect()
}

#[test]
fn what_is_given_stands_judged_withdrawn_or_owned_by_who_came_first() {
    let (ground, mut node) = network("fake");
    let create = ["datanet", "create", "woods", "--licence", "CC-BY-4.0", "--curator", "main", "--curator", "chi"];
    let founded = ground.json(&create);
    assert_eq!(
        (&founded["name"], &founded["version"], &founded["contributions"]),
        (&"woods".into(), &0.into(), &0.into())
    );
    ground.run(&["datanet", "add", "meadows", "x.txt", "--json"]).failed(Code::DatanetNotFound);

    // Three kinds of files, by three people.
    let jsonl = file(&ground, "trees.jsonl", &pairs("trees", 3));
    let given = ground.json(&["datanet", "add", "woods", &jsonl, "--from", "ada"]);
    assert_eq!((&given["items"], &given["new"]), (&3.into(), &3.into()));
    let csv =
        file(&ground, "moss.csv", "question,answer\nWhere does moss grow?,On the shaded side of trees and stones.\n");
    ground.json(&["datanet", "add", "woods", &csv, "--from", "bo", "--kind", "annotation"]);
    let text = "Ferns unroll in spring.\nThey bear no flowers.\n\nMushrooms feed on fallen wood and hand it back to the soil.\n";
    let given = ground.json(&["datanet", "add", "woods", &file(&ground, "notes.txt", text), "--from", "chi"]);
    assert_eq!(given["items"], 2);
    // The same again changes nothing, and says so.
    let again = ground.json(&["datanet", "add", "woods", &jsonl, "--from", "ada"]);
    assert_eq!((&again["items"], &again["new"], &again["batches"]), (&3.into(), &0.into(), &serde_json::json!([0])));
    // Who copies is second, and out.
    ground.json(&["datanet", "add", "woods", &jsonl, "--from", "bo"]);
    let items = ground.json(&["datanet", "items", "woods"]);
    assert_eq!(stands(&items), [vec!["in"; 6], vec!["near_duplicate"; 3]].concat(), "{items}");

    // A curator rejects, with a reason; a stranger is not heard; only who gave it takes it back.
    ground.json(&["datanet", "judge", "woods", "3", "reject", "--reason", "off-topic", "--from", "chi"]);
    ground.run(&["datanet", "judge", "woods", "4", "accept", "--from", "bo", "--json"]).failed(Code::ActInvalid);
    ground.run(&["datanet", "withdraw", "woods", "0", "--from", "bo", "--json"]).failed(Code::ActInvalid);
    let made = ground.json(&["datanet", "version", "woods"]);
    assert_eq!((&made["version"], &made["tree_size"]), (&1.into(), &9.into()));
    assert_eq!(made["counts"]["included"], 5);
    ground.json(&["datanet", "withdraw", "woods", "0", "--from", "ada"]);
    let now = stands(&ground.json(&["datanet", "items", "woods"]));
    assert_eq!(now[0], "withdrawn");
    assert_eq!(now[3], "rejected");
    // A version that is made stays as it was; the next one honours the withdrawal, and the copy stays out.
    assert_eq!(stands(&ground.json(&["datanet", "items", "woods", "--version", "1"]))[0], "in");
    assert_eq!(ground.json(&["datanet", "version", "woods"])["counts"]["included"], 4);
    assert_eq!(stands(&ground.json(&["datanet", "items", "woods", "--version", "1"]))[0], "in");

    // The node is killed, and all of it is there.
    node.0.kill().unwrap();
    node.0.wait().unwrap();
    let node = ground.start();
    let out = ground.home.path().join("export");
    let exported = ground.json(&["datanet", "export", "woods", "--out", out.to_str().unwrap(), "--language", "en"]);
    assert_eq!((&exported["version"], &exported["items"]), (&2.into(), &4.into()));
    let described: Value = serde_json::from_slice(&std::fs::read(out.join("croissant.json")).unwrap()).unwrap();
    assert_eq!(described["conformsTo"][0], "http://mlcommons.org/croissant/1.1");
    assert_eq!(std::fs::read_to_string(out.join("items.jsonl")).unwrap().lines().count(), 4);
    ground.run(&["ledger", "audit"]).good();
    node.stop(&ground);
}

#[test]
fn a_fee_is_paid_with_the_commitment_and_what_the_rules_refuse_is_named_before_anything_is_given() {
    let (ground, node) = network("fake");
    ground.json(&["datanet", "create", "paid", "--licence", "CC0-1.0", "--fee", "0.5", "--personal", "refuse"]);
    let before = (ground.atoms("main"), ground.atoms("ada"));
    let good = file(&ground, "good.jsonl", &pairs("stones", 4));
    let command = ["datanet", "add", "paid", &good, "--from", "ada"];
    ground.run(&[&command[..], &["--yes", "--json"]].concat()).failed(Code::SpendLimit);
    ground.run(&[&command[..], &["--max-spend", "2", "--json"]].concat()).failed(Code::NodeConfig);
    assert_eq!(ground.json(&[&command[..], &["--dry-run"]].concat())["new"], 0);
    assert_eq!(ground.atoms("ada"), before.1, "nothing was paid so far");
    let given = ground.json(&[&command[..], &["--max-spend", "2", "--yes"]].concat());
    assert_eq!(given["fee"], "2000000000000000000");
    let after = (ground.atoms("main"), ground.atoms("ada"));
    assert_eq!((after.0 - before.0, before.1 - after.1), (2_000_000_000_000_000_000, 2_000_000_000_000_000_000));
    // Again: the fee was paid with the commitment that stands.
    assert_eq!(ground.json(&[&command[..], &["--max-spend", "2", "--yes"]].concat())["new"], 0);
    assert_eq!(ground.atoms("ada"), after.1);

    let bad = pairs("bricks", 1)
        + "{\"prompt\": \"Who?\", \"response\": \"Write to jane.roe@harbour-office.co.uk today.\"}\nno json\n";
    let bad = file(&ground, "bad.jsonl", &bad);
    let adding = ["datanet", "add", "paid", &bad, "--from", "bo", "--yes", "--max-spend", "2"];
    let refused = ground.run(&[&adding[..], &["--json"]].concat()).failed(Code::ItemRefused);
    assert!(refused["message"].as_str().unwrap().contains("line 2"), "{refused}");
    let given = ground.json(&[&adding[..], &["--skip-bad"]].concat());
    assert_eq!((&given["items"], given["left_out"].as_array().unwrap().len()), (&1.into(), 2));
    ground.run(&["ledger", "audit"]).good();
    node.stop(&ground);
}

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../inference/openlora/tests/data/families/llama.gguf")
}

#[test]
fn an_adapter_is_trained_on_a_version_and_served_with_what_measures_it() {
    let model: &'static str = tiny().to_str().unwrap().to_owned().leak();
    let (ground, node) = network(model);
    ground.json(&["datanet", "create", "woods", "--licence", "CC0-1.0"]);
    for (name, what) in [("ada", "trees"), ("bo", "stones")] {
        let path = file(&ground, &format!("{what}.jsonl"), &pairs(what, 6));
        ground.json(&["datanet", "add", "woods", &path, "--from", name]);
    }
    let train = ["factory", "train", "woods-1", "--datanet", "woods", "--base", model, "--threads", "1"];
    let small = ["--rank", "2", "--epochs", "2", "--learning-rate", "0.05", "--dimension", "256", "--held-out", "0"];
    let whole = [&train[..], &small].concat();
    // Without a version there is nothing to train on.
    ground.run(&[&whole[..], &["--json"]].concat()).failed(Code::DatanetNotFound);
    ground.json(&["datanet", "version", "woods"]);
    let trained = ground.run(&[&whole[..], &["--json"]].concat());
    // So small a model explains its own data no better than anything else: then there is no index, and that is said.
    if trained.code != 0 {
        trained.failed(Code::AttributionInput);
    }
    let folder = ground.home.path().join("data/demo/adapters/woods-1");
    for name in [
        "adapter_config.json",
        "adapter_model.safetensors",
        "manifest.json",
        "loss.svg",
        "spdx.json",
        "training-content.md",
    ] {
        assert!(folder.join(name).is_file(), "{name} is missing");
    }
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["counts"]["examples"], 12, "{manifest}");
    // Another method needs no model that is any good. The adapter is there: only its index is made.
    let bm25 = ground.json(&[&whole[..], &["--method", "bm25"]].concat());
    assert_eq!(bm25["adapter"], manifest["adapter_hash"]);
    let other = [&train[..], &["--rank", "4", "--json"]].concat();
    ground.run(&other).failed(Code::FactoryExists);
    node.stop(&ground);
    let node = ground.start();
    ground.json(&["model", "publish", "woods", "--adapter", "woods-1"]);
    let listed = ground.json(&["model", "list", "woods"]);
    assert_eq!(listed["listings"][0]["name"], "woods", "{listed}");
    assert_eq!(listed["listings"][0]["datanets"].as_array().map(Vec::len), Some(1), "{listed}");
    let answered = ground.json(&["factory", "ask", "woods-1", "What about trees?", "--tokens", "8", "--base", model]);
    let (explained, residual) = (answered["explained"].as_u64().unwrap(), answered["residual"].as_u64().unwrap());
    assert_eq!(explained + residual, 1 << 32);
    node.stop(&ground);
}
