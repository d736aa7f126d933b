//! A real node in a home of its own, with the demo's listing, wallet and agent; started, killed and asked like a person
//! does it.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Done, Home};

/// Most tokens of an answer.
pub const TOKENS: u64 = 96;
/// What the demo's wallet got, in atoms.
const FUNDS: u128 = 10_000_000_000_000_000_000;
/// Nothing here takes so long unless it hangs.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub fn guest(name: &str) -> PathBuf {
    let target = std::path::Path::new(env!("CARGO_BIN_EXE_agora")).parent().unwrap().parent().unwrap();
    let path = target.join("guests").join(name);
    assert!(path.is_file(), "{} is missing: build it with `cargo xtask guests`", path.display());
    path
}

/// A home whose network `demo` has a datanet, a listing, a funded wallet and the agent `researcher`.
pub struct Ground {
    pub home: Home,
    pub model: &'static str,
}

pub struct Node(pub Child);

impl Ground {
    pub fn found(model: &'static str) -> Self {
        let ground = Self { home: Home::empty(), model };
        if !model.starts_with("fake") {
            let models = agora_shell::Paths::find(None).unwrap().models();
            assert!(models.join("SmolLM2-135M-Instruct.Q4_1.gguf").is_file(), "fetch it with `cargo xtask fetch`");
            std::fs::create_dir_all(ground.home.path().join("data")).unwrap();
            std::os::unix::fs::symlink(models, ground.home.path().join("data/models")).unwrap();
        }
        let agent = guest("researcher.wasm");
        let agent = agent.to_str().unwrap();
        ground.run(&["demo", "--model", model, "--agent", agent, "--tokens", "4", "--quiet"]).good();
        ground
    }

    pub fn run(&self, arguments: &[&str]) -> Done {
        self.home.agora(&[&["--network", "demo"], arguments].concat())
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).document()
    }

    pub fn start(&self) -> Node {
        let arguments = ["--network", "demo", "--quiet", "up", "--port", "0", "--model", self.model];
        let log = std::fs::File::options().create(true).append(true).open(self.home.path().join("node.log")).unwrap();
        let mut child = self.home.command(&arguments).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let beacon = self.home.path().join("data/demo/control.json");
        let until = Instant::now() + PATIENCE;
        loop {
            // A killed node leaves its beacon behind: the new one's names its process.
            let text = std::fs::read_to_string(&beacon).unwrap_or_default();
            let pid = serde_json::from_str::<Value>(&text).ok().and_then(|beacon| beacon["pid"].as_u64());
            if pid == Some(child.id().into()) {
                return Node(child);
            }
            assert!(child.try_wait().unwrap().is_none(), "the node does not start: {}", self.log());
            assert!(Instant::now() < until, "the node hangs: {}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("node.log")).unwrap_or_default()
    }

    /// Asks the agent; the steps arrive as they come.
    pub fn ask(&self, question: &str) -> (Child, Receiver<Value>) {
        let message = serde_json::json!({ "question": question, "output_max": TOKENS }).to_string();
        let arguments = ["--network", "demo", "--json", "agent", "ask", "researcher", &message];
        let mut child = self.home.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (sender, steps) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let Ok(step) = serde_json::from_str::<Value>(&line) else { break };
                if sender.send(step).is_err() {
                    break;
                }
            }
        });
        (child, steps)
    }

    /// Waits until no event waits and no call is unfinished.
    pub fn settle(&self) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            let agents = self.json(&["agent", "list"]);
            let agent = agents["agents"][0].clone();
            if agent["waiting"] == 0 {
                return agent;
            }
            assert!(Instant::now() < until, "the event does not end: {agent}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn atoms(&self, account: &str) -> u128 {
        self.json(&["wallet", "balance", account])["balance"].as_str().unwrap().parse().unwrap()
    }

    /// Everything that must be true when the agent has stopped and its money is back.
    pub fn check(&self, calls: u64, context: &str) {
        self.run(&["ledger", "audit"]).good();
        let list = self.json(&["receipt", "list", "--limit", "1000"]);
        assert_eq!(list["size"], 2 * calls, "{context}: one provisional and one final receipt a call");
        let mut charged = 0;
        for index in 0..2 * calls {
            let index = index.to_string();
            let shown = self.json(&["receipt", "show", &index]);
            if shown["provisional"]["index"].as_u64().is_none_or(|first| first.to_string() != index) {
                continue;
            }
            let receipt = &shown["provisional"]["receipt"];
            charged += receipt["charge"].as_str().unwrap().parse::<u128>().unwrap();
            let file = self.home.path().join(format!("{calls}-{index}.json"));
            let path = file.to_str().unwrap();
            self.run(&["receipt", "export", &index, "--disclose", "--out", path]).good();
            self.run(&["receipt", "verify", path]).good();
            let envelope: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
            // A round may end without a call: the next one exports the same receipts again.
            std::fs::remove_file(&file).unwrap();
            // The receipt's commitment was checked above: this is what arrived at the buyer.
            let arrived = envelope["disclosure"]["response"]["text"].as_str().unwrap();
            if self.model.starts_with("fake") {
                let words = arrived.split_whitespace().count() as u64;
                assert_eq!(receipt["usage"]["output"], words, "{context}: charged is what arrived");
            }
        }
        let left = self.atoms("demo");
        assert_eq!(left + charged, FUNDS, "{context}: every atom that was not charged is back");
    }

    pub fn deploy(&self) {
        let agent = guest("researcher.wasm");
        let arguments =
            ["agent", "deploy", agent.to_str().unwrap(), "--from", "demo", "--max-spend", "10", "--yes", "--quiet"];
        self.run(&arguments).good();
    }
}

impl Drop for Ground {
    /// What the nodes said, when a check failed.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the nodes' log:\n{}", self.log());
        }
    }
}

impl Node {
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    pub fn stop(mut self, ground: &Ground) {
        ground.run(&["network", "stop"]).good();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
