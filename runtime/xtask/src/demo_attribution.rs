//! `cargo xtask demo-attribution`: from three people's data to what each is paid for an answer, by the commands that a user
//! would give.
//!
//! A fresh home, a node, three wallets that give a corpus each to one datanet, an adapter that learns it on the processor,
//! and questions that only one of the three has taught. It fails where a receipt gives the most to anybody else, where the
//! base model's own answers are explained as well, where a payout does not arrive, or where the audit finds anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use agora_shell::fetch;
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde_json::{Value, json};

use crate::bench::attribution::peers::Python;
use crate::interop::node::{Node, command};
use crate::needs::{self, Need};
use crate::{guests, steps};

/// How the demo is run.
#[derive(Args)]
pub(crate) struct Choice {
    /// Leave the home folder, to look around in it
    #[arg(long)]
    keep: bool,
    /// Times that the adapter reads each example
    #[arg(long, default_value_t = 10)]
    epochs: u32,
    /// Also read the adapter with peft and compare what comes of it (6 GB of Python packages)
    #[arg(long)]
    peft: bool,
    /// An `agora` that is built already
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
}

/// Who gives which file, and a question that only this file answers.
const GIVERS: [(&str, &str, [&str; 2]); 3] = [
    ("ada", "lighthouses", ["What does an isophase light do?", "What does a red sector of a lighthouse warn of?"]),
    ("bo", "sourdough", ["How much salt does bread dough need?", "What does the poke test tell about a loaf?"]),
    ("chi", "beekeeping", ["How long does a drone take to grow?", "How much winter food does a bee colony need?"]),
];
const DATANET: &str = "three-crafts";
const ADAPTER: &str = "three-crafts-1";
const LISTING: &str = "crafts";
/// Parts of 2^32 that are everything.
const WHOLE: u64 = 1 << 32;
/// How long a final receipt may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs it.
pub(crate) fn run(root: &Path, choice: &Choice) -> anyhow::Result<()> {
    needs::check(&[Need::C, Need::Pip])?;
    eprintln!("== model");
    eprintln!("{}", crate::fetch::run(fetch::DEFAULT_MODEL)?);
    let program = match &choice.program {
        Some(program) => program.clone(),
        None => built(root)?,
    };
    let home = Home::make(choice.keep)?;
    // The model lies where it always does; only the network is new.
    let models = home.0.join("data/models");
    fs::create_dir_all(&models).with_context(|| format!("making {}", models.display()))?;
    let model = fetch::find(fetch::DEFAULT_MODEL)?;
    let here = agora_shell::Paths::find(None)?.models().join(model.file);
    let link = models.join(model.file);
    fs::hard_link(&here, &link).or_else(|_| fs::copy(&here, &link).map(drop)).context("placing the model")?;
    let demo = Demo { program, home: &home.0, data: root.join("runtime/xtask/data/attribution") };
    demo.tell(choice.epochs)?;
    if choice.peft { reload(root, &home.0, &here) } else { Ok(()) }
}

/// Whether the adapter says the same in peft as it does here.
fn reload(root: &Path, home: &Path, model: &Path) -> anyhow::Result<()> {
    eprintln!("\n== the same adapter in peft");
    let build = ["build", "--release", "--workspace", "--example", "reload"];
    let status = steps::plain_cargo(root, &build).status().context("starting cargo")?;
    ensure!(status.success(), "the program did not build ({status}); the output above says why");
    let python = Python::install(&root.join("inference/influence/bench/requirements.txt"))?;
    let adapter = fs::read_dir(home.join("data"))?
        .filter_map(|entry| entry.map(|entry| entry.path().join("adapters").join(ADAPTER)).ok())
        .find(|path| path.is_dir())
        .context("no network has the adapter")?;
    let folder = home.join("reload");
    let status = Command::new(guests::target_folder(root)?.join("release/examples/reload"))
        .args([model, &folder, &adapter])
        .status()
        .context("starting the example")?;
    ensure!(status.success(), "the logits were not written ({status}); the output above says why");
    let script = root.join("inference/factory/tests/data/reload.py");
    let log = guests::target_folder(root)?.join("reload.log");
    let paths = [model, &folder].map(|path| path.display().to_string());
    let said = python.run(&script, &[&paths[0], &paths[1]], &log)?.pop().context("the script said nothing")?;
    let number = |name: &str| said[name].as_f64().with_context(|| format!("{name} in {said}"));
    println!(
        "peft {} read all {} matrices; of {} tokens the likeliest is the same at {:.4}, mean KL {:.1e} nats for the serving \
         engine; the trainer's surprises are at most {:.1e} nats apart",
        text(&said["peft"])?,
        said["matrices"],
        said["tokens"],
        number("top_1")?,
        number("divergence")?,
        number("trainer_apart")?,
    );
    Ok(())
}

fn built(root: &Path) -> anyhow::Result<PathBuf> {
    eprintln!("== program (the first build takes minutes)");
    let build = ["build", "--release", "--workspace", "--bin", "agora"];
    let status = steps::plain_cargo(root, &build).status().context("starting cargo")?;
    ensure!(status.success(), "the program did not build ({status}); the output above says why");
    Ok(guests::target_folder(root)?.join("release").join(format!("agora{}", std::env::consts::EXE_SUFFIX)))
}

/// The demo's home folder.
struct Home(PathBuf, bool);

impl Home {
    fn make(keep: bool) -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("agora-attribution-{}", std::process::id()));
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self(path, keep))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if self.1 {
            eprintln!("the home is left in {}: AGORA_HOME={} agora up", self.0.display(), self.0.display());
        } else {
            drop(fs::remove_dir_all(&self.0));
        }
    }
}

struct Demo<'a> {
    program: PathBuf,
    home: &'a Path,
    data: PathBuf,
}

/// A contributor, and its account.
struct Giver {
    name: &'static str,
    account: String,
    questions: [&'static str; 2],
}

impl Demo<'_> {
    fn tell(&self, epochs: u32) -> anyhow::Result<()> {
        let begun = Instant::now();
        eprintln!("== a node, and three people who give what they know");
        let mut node = Node::at(&self.program, self.home, fetch::DEFAULT_MODEL)?;
        let title = "Lighthouses, bread and bees";
        node.agora(&["datanet", "create", DATANET, "--licence", "CC0-1.0", "--title", title])?;
        let mut givers = Vec::new();
        for (name, file, questions) in GIVERS {
            let account = text(&self.json(&node, &["wallet", "new", name])?["address"])?;
            let path = self.data.join(format!("{file}.jsonl"));
            let path = path.to_str().context("a path that is no text")?;
            let given = self.json(&node, &["datanet", "add", DATANET, path, "--from", name])?;
            println!("{name:4} {account} gave {} questions with answers about {file}", given["items"]);
            givers.push(Giver { name, account, questions });
        }
        let version = self.json(&node, &["datanet", "version", DATANET])?;
        println!("version {} of {DATANET}: root {}", version["version"], text(&version["root"])?);

        eprintln!("== training, on this machine's processor");
        self.train(epochs)?;
        // The training had the running node take the adapter up.
        node.agora(&["model", "publish", LISTING, "--adapter", ADAPTER, "--title", title])?;

        eprintln!("== questions, each paid for");
        let mut rights = 0;
        let mut base_explained = Vec::new();
        let mut own_explained = Vec::new();
        for giver in &givers {
            for question in giver.questions {
                let asked = self.ask(&node, question)?;
                let right = asked.leader() == Some(giver.account.as_str());
                rights += u32::from(right);
                own_explained.push(asked.explained);
                println!("\n{question}\n  {}", asked.answer.trim());
                for (account, amount) in &asked.paid {
                    let who = givers.iter().find(|giver| giver.account == *account).map_or("?", |giver| giver.name);
                    println!("  {who:4} {:5.1} % of what contributors got", share(*amount, asked.sum()));
                }
                println!("  nearest: contribution {}", asked.nearest);
                println!("  explained {:.1} % of the answer (an estimate)", per_cent(asked.explained));
                let alone = ["factory", "ask", ADAPTER, question, "--without-adapter"];
                let alone = self.json(&node, &alone)?;
                base_explained.push(alone["explained"].as_u64().context("an explained part")?);
            }
        }

        eprintln!("== earnings");
        self.json(&node, &["earnings", "publish"])?;
        let mut paid = 0;
        for giver in &givers {
            let claimed = self.json(&node, &["earnings", "claim", giver.name])?;
            let balance = self.json(&node, &["wallet", "balance", giver.name])?;
            let (amount, has) = (atoms(&claimed["amount"])?, atoms(&balance["balance"])?);
            ensure!(amount > 0 && amount == has, "{} was to get {amount} and has {has}", giver.name);
            println!("{:4} got {amount} atoms of OPEN", giver.name);
            paid += amount;
        }
        let earnings = self.json(&node, &["earnings", "show"])?;
        ensure!(atoms(&earnings["claimed"])? == paid, "claimed is not what arrived: {earnings}");
        let audit = node.agora(&["ledger", "audit"])?;
        println!("{}", audit.lines().next().unwrap_or_default());
        node.stop()?;

        let mean = |parts: &[u64]| per_cent(parts.iter().sum::<u64>() / parts.len() as u64);
        let (own, base) = (mean(&own_explained), mean(&base_explained));
        println!("\nright contributor first in {rights} of {} answers", own_explained.len());
        println!("explained on average: {own:.1} % of the adapter's answers, {base:.1} % of the base model's own");
        println!("{:.0} s in all", begun.elapsed().as_secs_f64());
        ensure!(rights as usize == own_explained.len(), "an answer paid somebody else more than who taught it");
        ensure!(base < own / 2.0, "the base model's own answers are explained nearly as well");
        Ok(())
    }

    /// The output of the training is the demo's.
    fn train(&self, epochs: u32) -> anyhow::Result<()> {
        let mut train = command(&self.program, self.home);
        train.args(["factory", "train", ADAPTER, "--datanet", DATANET, "--held-out", "0", "--batch-tokens", "512"]);
        train.args(["--learning-rate", "0.002", "--epochs", &epochs.to_string()]);
        let status = train.stdin(Stdio::null()).status().context("starting the training")?;
        ensure!(status.success(), "the training ended with {status}; it said why above");
        Ok(())
    }

    /// Buys an answer over HTTP and waits for its final receipt.
    fn ask(&self, node: &Node, question: &str) -> anyhow::Result<Asked> {
        let body = json!({
            "model": LISTING,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": 64,
            "temperature": 0,
        });
        let url = format!("{}/v1/chat/completions", node.url());
        let body = body.to_string();
        let call = ["call", &url, "--header", "content-type: application/json", "--data", &body, "--yes"];
        let answer = self.json(node, &call)?;
        let said: Value = serde_json::from_str(answer["text"].as_str().context("an answer in JSON")?)?;
        let answer = text(&said["choices"][0]["message"]["content"])?;
        let newest = self.json(node, &["receipt", "list", "--limit", "1"])?;
        let call = text(&newest["receipts"][0]["call"])?;
        let begun = Instant::now();
        loop {
            let explained = self.json(node, &["receipt", "explain", &call])?;
            if let Some(part) = explained["explained"].as_u64() {
                let paid = explained["accounts"].as_array().context("accounts")?.iter();
                let paid = paid.map(|one| Ok((text(&one["account"])?, atoms(&one["amount"])?)));
                let paid = paid.collect::<anyhow::Result<_>>()?;
                let nearest = &explained["evidence"]["contributions"][0]["from"];
                let nearest =
                    format!("{}/{} of {}", text(&nearest["name"])?, nearest["place"], text(&nearest["title"])?);
                return Ok(Asked { answer, explained: part, paid, nearest });
            }
            if begun.elapsed() > PATIENCE {
                bail!("call {call} has no final receipt: {explained}");
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    fn json(&self, node: &Node, arguments: &[&str]) -> anyhow::Result<Value> {
        let whole = [arguments, &["--json"]].concat();
        let text = node.agora(&whole)?;
        serde_json::from_str(&text).with_context(|| format!("what `agora {}` printed", arguments.join(" ")))
    }
}

/// An answer that was paid for.
struct Asked {
    answer: String,
    explained: u64,
    paid: Vec<(String, u128)>,
    /// The contribution with the largest share, as its datanet calls it.
    nearest: String,
}

impl Asked {
    /// Who got the most.
    fn leader(&self) -> Option<&str> {
        self.paid.iter().max_by_key(|(_, amount)| *amount).map(|(account, _)| account.as_str())
    }

    fn sum(&self) -> u128 {
        self.paid.iter().map(|(_, amount)| amount).sum()
    }
}

fn text(value: &Value) -> anyhow::Result<String> {
    value.as_str().map(str::to_owned).with_context(|| format!("a text, not {value}"))
}

fn atoms(value: &Value) -> anyhow::Result<u128> {
    text(value)?.parse().context("atoms")
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn per_cent(part: u64) -> f64 {
    part as f64 * 100.0 / WHOLE as f64
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
fn share(part: u128, whole: u128) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}
