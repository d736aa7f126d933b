//! A network whose node serves the tiny model with the adapter `taught`, what that was taught by whom, and who asks it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use agora::control::client::HttpService;
use agora::control::{Committed, Request as Control, Service, Status};
use agora::node::System;
use agora_actors::clock::fresh_head;
use agora_attribution::{AttributionSpec, DatanetRef, Kind, Method, Position};
use agora_gradient::Layout;
use agora_inference_api::{Request, SplitMix64};
use agora_influence::{Adapter, Asked, Example, Settings, Teaching, Workbench, build, tokens_of};
use agora_openlora::weights::{Role, Weights};
use agora_shell::keystore::KeyStore;
use agora_types::batch::Entry;
use agora_types::command::{Command, RegisterDatanet};
use agora_types::genesis::Genesis;
use agora_types::{Address, Canonical as _, DatanetId, Hash};
use serde_json::json;

use super::Home;
use super::buyer::{Reply, send};
use super::ground::Ground;

/// Most tokens of an answer.
const TOKENS: u64 = 24;
/// Examples of all contributors, each in turn.
const EXAMPLES: u64 = 12;
const CONTRIBUTORS: [&str; 3] = ["ada", "bo", "chi"];

/// The network `demo`.
pub struct Taught {
    pub ground: Ground,
    pub adapter: PathBuf,
    runtime: tokio::runtime::Runtime,
    weights: Weights,
}

pub fn tiny() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../inference/openlora/tests/data/families/llama.gguf")
}

/// Who gave the example of this number.
pub fn contributor(example: usize) -> Address {
    Address::system(CONTRIBUTORS[example % CONTRIBUTORS.len()])
}

/// Numbers that follow from a seed, from -1 to 1.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut random = SplitMix64(seed);
    (0..count).map(|_| random.symmetric()).collect()
}

/// Writes an adapter of the tiny model, of numbers that follow from the seed.
pub fn write_adapter(weights: &Weights, folder: &Path, seed: u64) {
    let shape = weights.shape();
    let layout = Layout::new(shape, 2, 2.0, &[Role::Query, Role::Value], 0..shape.layers).unwrap();
    let numbers: Vec<f32> = numbers(layout.size(), seed).into_iter().map(|number| number * 0.3).collect();
    weights.write_adapter(&layout.tuned(&numbers), folder).unwrap();
}

/// Writes the attribution index of an adapter of the tiny model that twelve examples of three people taught. The first of
/// them are these questions with their answers.
pub fn write_index(
    weights: &Weights,
    folder: &Path,
    lessons: &[(&str, String)],
    datanet: DatanetId,
    sample_one_in: u32,
) -> AttributionSpec {
    let words = u32::try_from(weights.shape().vocabulary).unwrap();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "below a thousand")]
    let word = |number: &f32| (number.abs() * 997.0) as u32 % words;
    let made_up = |seed: u64| {
        let tokens = |count, seed| numbers(count, seed).iter().map(word).collect();
        Asked { prompt: tokens(5, seed), response: tokens(12, seed ^ 99) }
    };
    let asked = |at: u64| match lessons.get(usize::try_from(at).unwrap()) {
        None => made_up(at),
        Some((question, answer)) => {
            tokens_of(weights, &Request::ask(*question, TOKENS).to_bytes(), answer.as_bytes()).unwrap()
        }
    };
    let example = |at: u64| Example {
        text: asked(at).response,
        asked: asked(at),
        about: agora_attribution::Example {
            contribution: Hash::sha256(at.to_be_bytes()),
            account: contributor(usize::try_from(at).unwrap()),
            position: Position { seq: at, index: 0, item: 0 },
            kind: Kind::Source,
            weight: 100,
        },
    };
    let examples: Vec<Example> = (0..EXAMPLES).map(example).collect();
    let null: Vec<Asked> = (100..110).map(made_up).collect();
    let datanets = [DatanetRef { id: datanet, root: Hash::sha256("root"), tree_size: EXAMPLES }];
    let adapter = Adapter::read(weights, folder).unwrap();
    let teaching =
        Teaching { adapter: &adapter, examples: &examples, datanets: &datanets, copies: &[], null: &null, own: &[] };
    let settings =
        Settings { method: Method::InfluenceEkfacNnls, dimension: 256, sample_one_in, ..Settings::default() };
    let mut bench = Workbench::new(weights.clone(), 1).unwrap();
    build(&mut bench, &teaching, &settings, &folder.join("attribution"), &mut |_| {}).unwrap()
}

/// Asks a model by an API key; the whole answer, where one came.
pub fn ask(at: SocketAddr, model: &str, question: &str, key: &str) -> Option<Reply> {
    let messages = json!([{"role": "user", "content": question}]);
    let body = json!({"model": model, "messages": messages, "max_tokens": TOKENS, "temperature": 0}).to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         authorization: Bearer {key}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    send(at, request.as_bytes())
}

impl Taught {
    /// The adapter is there; nothing measures it yet.
    pub fn set() -> Self {
        let model: &'static str = tiny().to_str().unwrap().to_owned().leak();
        let ground = Ground { home: Home::empty(), model };
        // The first start makes the network.
        ground.start().stop(&ground);
        let adapter = ground.home.path().join("data/demo/adapters/taught");
        std::fs::create_dir_all(adapter.parent().unwrap()).unwrap();
        let weights = Weights::load(&tiny(), None, 512, &mut |_| {}).unwrap();
        write_adapter(&weights, &adapter, 7);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { ground, adapter, runtime, weights }
    }

    pub fn network(&self) -> PathBuf {
        self.ground.home.path().join("data/demo")
    }

    /// Asks the node.
    pub fn told<A: serde::de::DeserializeOwned>(&self, request: Control) -> A {
        let service = HttpService::at(&self.network(), None).unwrap();
        self.runtime.block_on((&service as &dyn Service).call(request)).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Where the node's models are asked.
    pub fn at(&self) -> SocketAddr {
        let status: Status = self.told(Control::Status);
        status.http.unwrap().trim_start_matches("http://").parse().unwrap()
    }

    /// A new API key with so many OPEN.
    pub fn key(&self, budget: &str) -> String {
        let add = ["payment", "key", "add", "app", "--budget", budget, "--yes", "--max-spend", "50"];
        self.ground.json(&add)["secret"].as_str().unwrap().to_owned()
    }

    /// Buys an answer.
    pub fn buy(&self, model: &str, question: &str, key: &str) -> String {
        let reply = ask(self.at(), model, question, key).expect("an answer");
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.json()["choices"][0]["message"]["content"].as_str().unwrap().to_owned()
    }

    /// Writes the index of the adapter.
    pub fn teach(&self, lessons: &[(&str, String)], datanet: DatanetId, sample_one_in: u32) -> AttributionSpec {
        write_index(&self.weights, &self.adapter, lessons, datanet, sample_one_in)
    }

    /// Registers the datanet that taught the adapter, by the wallet `main`.
    pub fn register(&self) -> DatanetId {
        let keys = self.network().join("keys");
        let passphrase = std::fs::read_to_string(keys.join("dev.passphrase")).unwrap();
        let owner = KeyStore::at(keys).open_wallet("main", &passphrase).unwrap();
        let genesis = Genesis::from_bytes(&std::fs::read(self.network().join("genesis.cbor")).unwrap()).unwrap();
        let command = RegisterDatanet {
            head: fresh_head(&System, &System, owner.address()),
            name: "words".to_owned(),
            version: 1,
            root: Hash::sha256("root"),
            tree_size: EXAMPLES,
            members: vec![],
            statement: Hash::sha256("signed version"),
        };
        let id = command.datanet();
        let entry = Entry::sign(&genesis.network(), Command::RegisterDatanet(command), &owner);
        let done: Committed = self.told(Control::Commit { entries: vec![hex::encode(entry.to_bytes())] });
        assert_eq!(done.refused, [None]);
        id
    }
}
