//! A node is killed (SIGKILL) at random moments of a paid stream and started again: what its users can rely on.
//!
//! `AGORA_SEED=N` repeats a run, `AGORA_KILLS=N` makes it longer.

mod world;

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use world::Home;

/// Rounds of kills with the stand-in engine; each kills at least once.
const KILLS: u64 = 20;
const TOKENS: u64 = 96;
/// What the demo's wallet got, in atoms.
const FUNDS: u128 = 10_000_000_000_000_000_000;
/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Small and good enough to choose moments: xorshift64*.
struct Dice(u64);

impl Dice {
    fn new() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("AGORA_SEED").ok().map_or(now, |text| text.parse().expect("AGORA_SEED is a number"));
        println!("AGORA_SEED={seed}");
        Self(seed | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

fn guest(name: &str) -> PathBuf {
    let target = std::path::Path::new(env!("CARGO_BIN_EXE_agora")).parent().unwrap().parent().unwrap();
    let path = target.join("guests").join(name);
    assert!(path.is_file(), "{} is missing: build it with `cargo xtask guests`", path.display());
    path
}

/// A home whose network `demo` has a datanet, a listing, a funded wallet and the agent `researcher`.
struct Ground {
    home: Home,
    model: &'static str,
}

struct Node(Child);

impl Ground {
    fn found(model: &'static str) -> Self {
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

    fn run(&self, arguments: &[&str]) -> world::Done {
        self.home.agora(&[&["--network", "demo"], arguments].concat())
    }

    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["--json"]].concat()).document()
    }

    fn start(&self) -> Node {
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

    fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("node.log")).unwrap_or_default()
    }

    /// Asks the agent; the steps arrive as they come.
    fn ask(&self, question: &str) -> (Child, Receiver<Value>) {
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
    fn settle(&self) -> Value {
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

    fn atoms(&self, account: &str) -> u128 {
        self.json(&["wallet", "balance", account])["balance"].as_str().unwrap().parse().unwrap()
    }

    /// Everything that must be true when the agent has stopped and its money is back.
    fn check(&self, calls: u64, context: &str) {
        self.run(&["ledger", "audit"]).good();
        let list = self.json(&["receipt", "list", "--limit", "1000"]);
        assert_eq!(list["size"], 2 * calls, "{context}: one provisional and one final receipt a call");
        let mut charged = 0;
        for index in 0..2 * calls {
            let index = index.to_string();
            let shown = self.json(&["receipt", "show", &index]);
            if shown["provisional"]["index"].to_string() != index {
                continue;
            }
            let receipt = &shown["provisional"]["receipt"];
            charged += receipt["charge"].as_str().unwrap().parse::<u128>().unwrap();
            let file = self.home.path().join(format!("{calls}-{index}.json"));
            let path = file.to_str().unwrap();
            self.run(&["receipt", "export", &index, "--disclose", "--out", path]).good();
            self.run(&["receipt", "verify", path]).good();
            let envelope: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
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

    fn deploy(&self) {
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
    fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    fn stop(mut self, ground: &Ground) {
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

/// Kills in the middle of a stream, `rounds` times at least, and checks everything after each.
fn kill_rounds(ground: &Ground, dice: &mut Dice, rounds: u64) {
    let mut kills = 0;
    let mut in_stream = 0;
    let mut calls = 1;
    for round in 0..rounds {
        let mut node = ground.start();
        let question = format!("question {round}: how does a lighthouse help a ship at sea");
        let (mut client, steps) = ground.ask(&question);
        // A moment in the stream, or one before it.
        let wanted = dice.below(TOKENS + 8);
        let mut seen = 0;
        let mut opened = false;
        while seen < wanted {
            match steps.recv_timeout(PATIENCE) {
                Ok(step) => {
                    opened |= step["step"] == "opened";
                    seen = step["tokens"].as_u64().unwrap_or(seen);
                }
                Err(_) => break,
            }
        }
        std::thread::sleep(Duration::from_micros(dice.below(15_000)));
        node.kill();
        kills += 1;
        in_stream += u64::from(opened && seen < TOKENS);
        client.wait().unwrap();
        // Some lives are short: killed again while they repair what the first kill left.
        while dice.below(3) == 0 {
            let again = ground.start();
            std::thread::sleep(Duration::from_micros(dice.below(400_000)));
            again.kill();
            kills += 1;
        }
        node = ground.start();
        let context = format!("round {round}, killed after {seen} tokens");
        // Either the agent ends its event, or its owner stops it in the middle.
        if dice.below(3) > 0 {
            let agent = ground.settle();
            assert_eq!(agent["failures"], 0, "{context}: {agent}");
        }
        ground.json(&["agent", "stop", "researcher"]);
        let size = ground.json(&["receipt", "list"])["size"].as_u64().unwrap();
        let more = size / 2 - calls;
        assert!(more <= 1, "{context}: {more} calls were paid for one question");
        calls += more;
        ground.check(calls, &context);
        ground.deploy();
        node.stop(ground);
    }
    println!("{kills} kills, {in_stream} in a stream, {calls} calls");
}

#[test]
fn a_killed_node_charges_for_what_arrived_and_gives_the_rest_back() {
    let mut dice = Dice::new();
    let rounds = std::env::var("AGORA_KILLS").ok().map_or(KILLS, |text| text.parse().expect("a number"));
    let ground = Ground::found("fake:5");
    kill_rounds(&ground, &mut dice, rounds);
}

#[test]
fn the_same_with_real_weights() {
    let mut dice = Dice::new();
    let ground = Ground::found("smollm2-135m");
    kill_rounds(&ground, &mut dice, 2);
}
