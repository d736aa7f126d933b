//! A node is killed (SIGKILL) at random moments while people give data for a fee, judge, withdraw and make versions by
//! real commands, some of which die with it. The same commands are given again: each item is listed once, each fee was
//! paid once, and every version that the ledger names is kept, byte by byte.
//!
//! `AGORA_SEED=N` repeats the choices of a run, `AGORA_KILLS=N` makes it longer.

mod world;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::{Duration, Instant};

use agora::control::client::HttpService;
use agora::control::{DatanetAsk, ItemPage, LogPage, Request, Service};
use agora_datanets::DatanetVersion;
use agora_types::batch::Batch;
use agora_types::command::{Command, RegisterDatanet};
use agora_types::{Canonical as _, DatanetId, Signed};
use serde_json::Value;
use world::Home;
use world::dice::{Dice, rounds};
use world::ground::{Ground, Node};

/// Rounds; each kills at least once.
const KILLS: u64 = 6;
/// Items that a round gives.
const ITEMS: usize = 3;
/// Atoms for an item: a thousandth of an OPEN.
const FEE: u128 = 1_000_000_000_000_000;
const GIVERS: [&str; 2] = ["ada", "bo"];
const NET: &str = "woods";

/// A founded datanet, and what must be in it.
struct Stage {
    ground: Ground,
    runtime: tokio::runtime::Runtime,
    id: DatanetId,
    /// Texts in the order in which they were given.
    texts: Vec<String>,
    /// Atoms of the owner and the givers before anything was paid.
    before: [u128; 3],
    given: [u128; 2],
}

/// Different words for every number.
fn note(number: usize) -> String {
    const WORDS: [&str; 16] = [
        "alder", "ash", "aspen", "beech", "birch", "cedar", "elder", "elm", "hazel", "larch", "linden", "maple", "oak",
        "poplar", "rowan", "willow",
    ];
    let word = |at: usize| WORDS[(number * 7 + at * (number % 5 + 1) + number / 16) % 16];
    format!("Note {number} of the walk: {} stood by {}, and further on {} by {}.", word(0), word(1), word(2), word(3))
}

impl Stage {
    fn found() -> (Self, Node) {
        let ground = Ground { home: Home::empty(), model: "fake" };
        let node = ground.start();
        for name in GIVERS {
            ground.run(&["wallet", "new", name]).good();
            ground.run(&["wallet", "send", name, "10", "--yes", "--max-spend", "10"]).good();
        }
        let create = ["datanet", "create", NET, "--licence", "CC0-1.0", "--fee", "0.001", "--near", "off"];
        let founded = ground.json(&[&create[..], &["--curator", "main"]].concat());
        let id = founded["id"].as_str().unwrap().parse().unwrap();
        let before = ["main", GIVERS[0], GIVERS[1]].map(|name| ground.atoms(name));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        (Self { ground, runtime, id, texts: Vec::new(), before, given: [0; 2] }, node)
    }

    /// What people do in a round: give, judge the first, take the second back, make a version.
    fn commands(&mut self, round: usize) -> [Vec<String>; 4] {
        let (giver, first) = (round % 2, self.texts.len());
        let notes: Vec<String> = (first..first + ITEMS).map(note).collect();
        let path = self.ground.home.path().join(format!("notes-{round}.txt"));
        std::fs::write(&path, notes.join("\n\n")).unwrap();
        self.texts.extend(notes);
        self.given[giver] += ITEMS as u128;
        let words = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let (path, who) = (path.display(), GIVERS[giver]);
        [
            words(format!("datanet add {NET} {path} --from {who} --yes --max-spend 1")),
            words(format!("datanet judge {NET} {first} reject --reason off-topic")),
            words(format!("datanet withdraw {NET} {} --from {who}", first + 1)),
            words(format!("datanet version {NET}")),
        ]
    }

    /// Gives the commands one after another until the moment comes: then the node is killed, and the command too if it
    /// is to die with it. Answers with the number of the command that was hit.
    fn killed(&self, node: Node, commands: &[Vec<String>], moment: Duration, together: bool) -> Option<usize> {
        let begun = Instant::now();
        for (number, command) in commands.iter().enumerate() {
            let mut given = self.ground.home.command(&["--network", "demo", "--quiet"]);
            given.args(command).stdout(Stdio::null()).stderr(Stdio::null());
            let mut child = given.spawn().unwrap();
            loop {
                if let Some(status) = child.try_wait().unwrap() {
                    assert!(status.success(), "{command:?} failed before anything was killed");
                    break;
                }
                if begun.elapsed() >= moment {
                    node.kill();
                    if together {
                        child.kill().unwrap();
                    }
                    child.wait().unwrap();
                    return Some(number);
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        node.kill();
        None
    }

    fn all(&self, commands: &[Vec<String>]) {
        for command in commands {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            self.ground.run(&words).good();
        }
    }

    fn ask<A: serde::de::DeserializeOwned>(&self, request: Request) -> A {
        let network = self.ground.home.path().join("data/demo");
        let service = HttpService::at(&network, None).unwrap();
        self.runtime.block_on((&service as &dyn Service).call(request)).unwrap_or_else(|failure| panic!("{failure}"))
    }

    /// Every registration of the datanet that the ledger took, by version.
    fn registered(&self) -> BTreeMap<u32, RegisterDatanet> {
        let (mut found, mut from) = (BTreeMap::new(), 0);
        loop {
            let page: LogPage = self.ask(Request::Batches { from, limit: 1_000 });
            for text in &page.batches {
                let batch = Batch::from_bytes(&hex::decode(text).unwrap()).unwrap();
                let body = batch.open().unwrap();
                for (entry, outcome) in body.entries.into_iter().zip(body.outcomes) {
                    let Command::RegisterDatanet(command) = entry.command else { continue };
                    if outcome.is_ok() && command.datanet() == self.id {
                        assert_eq!(found.insert(command.version, command), None, "a version is registered once");
                    }
                }
            }
            from += page.batches.len() as u64;
            if from >= page.size {
                return found;
            }
        }
    }

    /// All texts in the list.
    fn listed(&self) -> Vec<String> {
        let mut texts = Vec::new();
        loop {
            let skip = texts.len().to_string();
            let page = self.ground.json(&["datanet", "items", NET, "--limit", "256", "--skip", &skip]);
            let items = page["items"].as_array().unwrap();
            texts.extend(items.iter().map(|item| item["item"]["text"].as_str().unwrap().to_owned()));
            if items.is_empty() || texts.len() as u64 >= page["total"].as_u64().unwrap() {
                return texts;
            }
        }
    }

    /// Everything that must be true when the commands have been given again.
    fn check(&self, context: &str) {
        self.ground.run(&["ledger", "audit"]).good();
        assert_eq!(self.listed(), self.texts, "{context}: each item is listed once");
        let paid = self.given.map(|items| items * FEE);
        let after = [self.before[0] + paid[0] + paid[1], self.before[1] - paid[0], self.before[2] - paid[1]];
        let atoms = ["main", GIVERS[0], GIVERS[1]].map(|name| self.ground.atoms(name));
        assert_eq!(atoms, after, "{context}: each fee was paid once");

        let registered = self.registered();
        let (newest, record) = registered.last_key_value().expect("a version");
        let shown: Value = self.ground.json(&["datanet", "show", NET]);
        assert_eq!(shown["version"], *newest, "{context}: the newest version is kept");
        assert_eq!(shown["statement"], record.statement.to_string(), "{context}");
        assert_eq!(registered.len(), *newest as usize, "{context}: one after another");
        for (version, record) in &registered {
            let ask = DatanetAsk::Items { id: self.id, version: *version, included: true, from: 0, limit: 1 };
            let page: ItemPage = self.ask(Request::Datanet { ask });
            let signed = hex::decode(page.signed.unwrap()).unwrap();
            let signed = Signed::<DatanetVersion>::from_bytes(&signed).unwrap();
            assert_eq!(signed.hash(), record.statement, "{context}: version {version} is the one that was registered");
            assert_eq!(signed.payload().registration(record.head, record.statement), *record, "{context}");
        }
        // The newest is over everything: nothing waits for a version.
        assert_eq!(record.tree_size, self.texts.len() as u64, "{context}");
    }
}

#[test]
fn what_was_given_judged_and_fixed_outlives_kills_and_is_paid_once() {
    let mut dice = Dice::new();
    let (mut stage, mut node) = Stage::found();
    // What a round takes without a kill.
    let commands = stage.commands(0);
    let begun = Instant::now();
    stage.all(&commands);
    let whole = u64::try_from(begun.elapsed().as_micros()).unwrap();
    stage.check("before any kill");
    let (mut kills, mut hits, mut together) = (0_u64, [0_u64; 4], 0_u64);
    for round in 1..=usize::try_from(rounds(KILLS)).unwrap() {
        let commands = stage.commands(round);
        let dies = dice.below(2) == 0;
        let moment = Duration::from_micros(dice.below(whole + whole / 16));
        let hit = stage.killed(node, &commands, moment, dies);
        kills += 1;
        together += u64::from(dies && hit.is_some());
        if let Some(number) = hit {
            hits[number] += 1;
        }
        // Some lives are short: killed again while they repair what the first kill left.
        while dice.below(4) == 0 {
            let again = stage.ground.start();
            std::thread::sleep(Duration::from_micros(dice.below(50_000)));
            again.kill();
            kills += 1;
        }
        node = stage.ground.start();
        stage.all(&commands);
        stage.check(&format!("round {round}, killed in {hit:?} after {moment:?}"));
        // Once more: nothing has come since, so the version stands.
        let made = stage.ground.json(&["datanet", "version", NET]);
        assert_eq!(stage.ground.json(&["datanet", "show", NET])["statement"], made["statement"]);
    }
    stage.check("at the end");
    node.stop(&stage.ground);
    let [add, judge, withdraw, version] = hits;
    println!("{kills} kills; add {add}, judge {judge}, withdraw {withdraw}, version {version}; {together} died too");
}
