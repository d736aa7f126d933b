//! Adapters beside a node's data: those that are good are served and measured, those that are not are named and left out.
#![allow(clippy::cast_possible_truncation, reason = "a test's small numbers")]

mod world;

use std::path::{Path, PathBuf};

use agora_attribution::{DatanetRef, Kind, Method, Position};
use agora_gradient::Layout;
use agora_inference_api::SplitMix64;
use agora_influence::{Adapter, Asked, Example, Settings, Teaching, Workbench, build};
use agora_openlora::weights::{Role, Weights};
use agora_types::{Address, Code, DatanetId, Hash};
use world::Home;
use world::ground::Ground;

fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../inference/openlora/tests/data/families/llama.gguf")
}

/// Numbers that follow from a seed, from -1 to 1.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64(seed);
    (0..count).map(|_| random.symmetric()).collect()
}

/// Writes an adapter of the tiny model.
fn write(weights: &Weights, folder: &Path, seed: u64) {
    let shape = weights.shape();
    let layout = Layout::new(shape, 2, 2.0, &[Role::Query, Role::Value], 0..shape.layers).unwrap();
    let numbers: Vec<f32> = numbers(layout.size(), seed).into_iter().map(|number| number * 0.3).collect();
    weights.write_adapter(&layout.tuned(&numbers), folder).unwrap();
}

/// Writes the attribution index of an adapter that twelve examples of three people taught.
fn index(weights: &Weights, folder: &Path) {
    let adapter = Adapter::read(weights, folder).unwrap();
    let words = weights.shape().vocabulary as u32;
    let asked = |seed: u64| {
        let tokens = |count, seed| numbers(count, seed).iter().map(|n| (n.abs() * 997.0) as u32 % words).collect();
        Asked { prompt: tokens(5, seed), response: tokens(12, seed ^ 99) }
    };
    let example = |at: u64| Example {
        text: Vec::new(),
        asked: asked(at),
        about: agora_attribution::Example {
            contribution: Hash::sha256(at.to_be_bytes()),
            account: Address::system(["ada", "bo", "chi"][at as usize % 3]),
            position: Position { seq: at, index: 0, item: 0 },
            kind: Kind::Source,
            weight: 100,
        },
    };
    let examples: Vec<Example> = (0..12).map(example).collect();
    let null: Vec<Asked> = (100..110).map(asked).collect();
    let id = DatanetId::derive(&Address::system("ada"), "words");
    let datanets = [DatanetRef { id, root: Hash::sha256("root"), tree_size: 12 }];
    let teaching =
        Teaching { adapter: &adapter, examples: &examples, datanets: &datanets, copies: &[], null: &null, own: &[] };
    let settings = Settings { method: Method::InfluenceEkfacNnls, dimension: 256, ..Settings::default() };
    let mut bench = Workbench::new(weights.clone(), 1).unwrap();
    build(&mut bench, &teaching, &settings, &folder.join("attribution"), &mut |_| {}).unwrap();
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
        write(&weights, &folder.join(name), seed);
    }
    for name in ["taught", "spoilt"] {
        index(&weights, &folder.join(name));
    }
    let rows = folder.join("spoilt/attribution/rows.i8");
    let mut bytes = std::fs::read(&rows).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&rows, bytes).unwrap();
    std::fs::create_dir(folder.join("broken")).unwrap();
    std::fs::write(folder.join("broken/adapter_config.json"), "{").unwrap();
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
