//! Adapters beside a node's data, at its start and while it runs: those that are good are served and measured, those that
//! are not are named and left out.

mod world;

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use agora::control::client::HttpService;
use agora::control::{Request, Service, Status};
use agora_openlora::weights::Weights;
use agora_types::{Address, Code, DatanetId};
use serde_json::Value;
use world::Home;
use world::buyer::Reply;
use world::ground::{Ground, PATIENCE};
use world::taught::{ask, tiny, write_adapter, write_index};

/// Changes a bit of an adapter's index; once more changes it back.
fn spoil(folder: &Path) {
    let rows = folder.join("attribution/rows.i8");
    let mut bytes = std::fs::read(&rows).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&rows, bytes).unwrap();
}

/// A folder that is no adapter.
fn break_off(folder: &Path) {
    std::fs::create_dir(folder).unwrap();
    std::fs::write(folder.join("adapter_config.json"), "{").unwrap();
}

/// The adapters that the node serves, by name.
fn served(ground: &Ground) -> Vec<String> {
    let listed = ground.json(&["model", "list"]);
    let adapters = listed["served"].as_array().unwrap().iter().filter(|model| model["base"].is_string());
    let mut names: Vec<String> = adapters.map(|model| model["name"].as_str().unwrap().to_owned()).collect();
    names.sort_unstable();
    names
}

/// Asks for an answer with an API key.
fn buy(ground: &Ground, model: &str, key: &str) -> Reply {
    let service = HttpService::at(&ground.home.path().join("data/demo"), None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = runtime.block_on((&service as &dyn Service).call::<Status>(Request::Status));
    let status = status.unwrap_or_else(|failure| panic!("{failure}"));
    let at: SocketAddr = status.http.unwrap().trim_start_matches("http://").parse().unwrap();
    ask(at, model, "who taught this?", key).expect("an answer")
}

/// Waits for the evidence of the newest call.
fn measured(ground: &Ground) -> Value {
    let newest = ground.json(&["receipt", "list", "--limit", "1"])["receipts"][0]["call"].clone();
    let until = Instant::now() + PATIENCE;
    loop {
        let explained = ground.json(&["receipt", "explain", newest.as_str().unwrap()]);
        if explained["evidence"].is_object() {
            return explained;
        }
        assert!(Instant::now() < until, "the answer is not measured: {explained}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_node_serves_the_adapters_of_its_folder_and_offers_them_with_the_spec_that_measures_them() {
    let model: &'static str = tiny().to_str().unwrap().to_owned().leak();
    let ground = Ground { home: Home::empty(), model };
    // The first start makes the network.
    let mut node = ground.start();
    ground.run(&["network", "stop"]).good();
    assert!(node.0.wait().unwrap().success());

    let folder = ground.home.path().join("data/demo/adapters");
    std::fs::create_dir_all(&folder).unwrap();
    let weights = Weights::load(&tiny(), None, 512, &mut |_| {}).unwrap();
    for (seed, name) in (0..).zip(["plain", "taught", "spoilt"]) {
        write_adapter(&weights, &folder.join(name), seed);
    }
    for name in ["taught", "spoilt"] {
        write_index(&weights, &folder.join(name), &[], DatanetId::derive(&Address::system("ada"), "words"), 1);
    }
    spoil(&folder.join("spoilt"));
    break_off(&folder.join("broken"));
    // What a crash of an export leaves is no adapter.
    std::fs::create_dir(folder.join("half.part")).unwrap();

    let mut node = ground.start();
    let listed = ground.json(&["model", "list"]);
    let mut served: Vec<(&str, bool)> = listed["served"]
        .as_array()
        .unwrap()
        .iter()
        .skip(1)
        .map(|model| (model["name"].as_str().unwrap(), model["measure"]["method"] == "influence-ekfac-nnls"))
        .collect();
    served.sort_unstable();
    assert_eq!(served, [("plain", false), ("spoilt", false), ("taught", true)], "{listed}");
    let log = ground.log();
    for (name, code) in [("broken", Code::EngineBadAdapter), ("spoilt", Code::AttributionMatrix)] {
        let said = log.lines().any(|line| line.contains(name) && line.contains(code.text()));
        assert!(said, "{name}: {log}");
    }
    assert!(!log.contains("half"), "{log}");

    let published = ground.json(&["model", "publish", "plain-words", "--adapter", "plain"]);
    assert_eq!(published["name"], "plain-words");
    let offered = ground.json(&["model", "list", "plain-words"]);
    assert_eq!(offered["listings"][0]["name"], "plain-words", "{offered}");
    // Whose data taught it must be known to the ledger before anybody can pay for it.
    let refused = ground.run(&["model", "publish", "taught-words", "--adapter", "taught", "--json"]);
    refused.failed(Code::DatanetNotFound);
    ground.run(&["model", "publish", "x", "--adapter", "nobody", "--json"]).failed(Code::EngineUnknownAdapter);
    ground.run(&["network", "stop"]).good();
    assert!(node.0.wait().unwrap().success());
}

#[test]
fn a_running_node_takes_adapters_up_anew_and_out_and_goes_on_serving() {
    let model: &'static str = tiny().to_str().unwrap().to_owned().leak();
    let ground = Ground { home: Home::empty(), model };
    let node = ground.start();
    let load = |name: &str| ground.json(&["model", "load", name]);
    let refused = |command: &str, name: &str, code: Code| {
        ground.run(&["model", command, name, "--json"]).failed(code);
    };
    // There is not even a folder yet, and nothing that could be measured.
    assert!(served(&ground).is_empty());
    for name in ["../x", "x/y", "/etc", ".", "", "x.part"] {
        refused("load", name, Code::NodeConfig);
        refused("unload", name, Code::NodeConfig);
    }
    refused("load", "taught", Code::EngineUnknownAdapter);
    refused("unload", "taught", Code::EngineUnknownAdapter);

    let founded = ground.json(&["datanet", "create", "words", "--licence", "CC0-1.0"]);
    let given = ground.home.path().join("given.jsonl");
    std::fs::write(&given, "{\"prompt\": \"What is an alder?\", \"response\": \"A tree of wet ground.\"}\n").unwrap();
    ground.json(&["datanet", "add", "words", given.to_str().unwrap()]);
    ground.json(&["datanet", "version", "words"]);
    let datanet: DatanetId = founded["id"].as_str().unwrap().parse().unwrap();
    let folder = ground.home.path().join("data/demo/adapters");
    let weights = Weights::load(&tiny(), None, 512, &mut |_| {}).unwrap();
    write_adapter(&weights, &folder.join("taught"), 1);
    write_index(&weights, &folder.join("taught"), &[], datanet, 1);
    write_adapter(&weights, &folder.join("plain"), 2);

    // Taken up with what measures it; one that is offered is taken up by that.
    let taught = load("taught");
    assert_eq!((&taught["served"], &taught["adapter"]["name"]), (&true.into(), &"taught".into()));
    assert_eq!(taught["adapter"]["measure"]["method"], "influence-ekfac-nnls", "{taught}");
    assert_eq!(served(&ground), ["taught"]);
    ground.json(&["model", "publish", "taught-words", "--adapter", "taught"]);
    ground.json(&["model", "publish", "plain-words", "--adapter", "plain"]);
    assert_eq!(served(&ground), ["plain", "taught"]);
    ground.run(&["model", "publish", "x", "--adapter", "nobody", "--json"]).failed(Code::EngineUnknownAdapter);
    let key = ground.json(&["payment", "key", "add", "app", "--budget", "1", "--yes", "--max-spend", "2"]);
    let key = key["secret"].as_str().unwrap().to_owned();
    let answer = |model: &str| {
        let reply = buy(&ground, model, &key);
        assert_eq!(reply.status, 200, "{model}: {reply:?}");
        reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    };
    let no_answer = |model: &str| {
        let reply = buy(&ground, model, &key);
        assert_eq!(reply.json()["error"]["code"], Code::EngineUnknownAdapter.text(), "{model}: {reply:?}");
    };
    let plain = answer("plain-words");
    let said = answer("taught-words");
    assert_eq!(measured(&ground)["evidence"]["spec"], taught["adapter"]["measure"]["spec"]);

    // What is not as it should be is refused, and nothing changes for what is served.
    break_off(&folder.join("broken"));
    refused("load", "broken", Code::EngineBadAdapter);
    spoil(&folder.join("taught"));
    refused("load", "taught", Code::AttributionMatrix);
    assert_eq!(served(&ground), ["plain", "taught"]);
    assert_eq!(answer("taught-words"), said);
    measured(&ground);
    spoil(&folder.join("taught"));
    assert_eq!(load("taught"), taught, "the same again changes nothing");

    // Other files under the same name are another adapter; who offered the old one offers it anew.
    std::fs::remove_dir_all(folder.join("plain")).unwrap();
    write_adapter(&weights, &folder.join("plain"), 3);
    let before = ground.json(&["model", "list"]);
    let anew = load("plain");
    let known = |models: &Value| models["served"].to_string().contains(anew["adapter"]["hash"].as_str().unwrap());
    assert!(!known(&before) && known(&ground.json(&["model", "list"])), "{anew}");
    assert_eq!(served(&ground), ["plain", "taught"]);
    no_answer("plain-words");
    ground.json(&["model", "publish", "other-words", "--adapter", "plain"]);
    assert_ne!(answer("other-words"), plain);

    // Taken out: nobody buys it any more, and what was bought is measured.
    answer("taught-words");
    let gone = ground.json(&["model", "unload", "taught"]);
    assert_eq!((&gone["served"], &gone["adapter"]), (&false.into(), &taught["adapter"]));
    assert_eq!(served(&ground), ["plain"]);
    measured(&ground);
    no_answer("taught-words");
    refused("unload", "taught", Code::EngineUnknownAdapter);
    // Its files stayed: the next start takes it up.
    node.stop(&ground);
    let node = ground.start();
    assert_eq!(served(&ground), ["plain", "taught"]);
    assert_eq!(answer("taught-words"), said);
    node.stop(&ground);
}
