//! `cargo xtask bench payments`: what a price costs a seller, beside a stock seller in the same run.
//!
//! Ours is `runtime/agora/examples/seller.rs`, the peer a stock @x402/express seller that uses the same node as its
//! facilitator. The buyers (`runtime/agora/examples/load`) have signed everything before the clock starts. Each figure is
//! the median of some rounds; within a round every row is measured once, so that other load hits all alike.

mod figures;
mod report;
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use agora_types::Hash;
use agora_types::key::WalletKey;
use anyhow::{Context as _, bail};
use clap::Args;

use crate::interop::clients::Clients;
use crate::interop::node::{alone, command};
use crate::needs::{self, Need};
use crate::{guests, steps};
use figures::{Figures, Leg, Limits, Seen, Seller};
use report::Report;
use server::Server;

/// How often every row is measured.
const ROUNDS: usize = 3;
/// Seconds of each measurement before the first round, which nobody reads: programs warm up.
const WARM_UP_S: u64 = 1;
/// What the buyers' money comes out of, in OPEN.
const PURSE_OPEN: &str = "100000";
/// Requests a second that one client may send here.
const RATE: &str = "1000000";
/// The peer.
const STOCK_SCRIPT: &str = "bench-seller.mjs";

/// How it is run.
#[derive(Args)]
pub(crate) struct Choice {
    /// Seconds of each measurement; there are 12 in each of 3 rounds.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    seconds: u64,
    /// Connections under load.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(2..=200))]
    connections: u64,
    /// One JSON document instead of a table.
    #[arg(long)]
    json: bool,
    /// Where the ledger lies meanwhile; its disk is what makes a payment durable [default: the build folder]
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

/// Measures, audits, and prints what was seen.
pub(crate) fn run(root: &Path, choice: &Choice) -> anyhow::Result<()> {
    needs::check(&[Need::Node, Need::C])?;
    let clients = Clients::install(&root.join("payments/interop"), false)?;
    let programs = built(root)?;
    let home = Home::make(choice.folder.clone().unwrap_or(guests::target_folder(root)?))?;
    let load = programs.join("examples").join("load");
    let limits: Limits = figures::read(Command::new(&load).arg("limits").arg(&home.0))?;

    let agora = programs.join("agora");
    let mut seller = Command::new(programs.join("examples").join("seller"));
    alone(&mut seller);
    seller.env("AGORA_HOME", &home.0).env("AGORA_PORT", "0").env("AGORA_HTTP_PORT", "0").arg(RATE);
    let mut ours = Server::start("our seller", seller, &home.0.join("ours.log"))?;
    let node = ours.origin()?;
    let secret = purse(&agora, &home.0)?;
    let mut stock = clients.command(STOCK_SCRIPT);
    alone(&mut stock);
    stock.envs([("AGORA_HOME", home.0.as_os_str()), ("AGORA_PROGRAM", agora.as_os_str())]);
    stock.env("AGORA_URL", &node).env("NODE_ENV", "production");
    let mut stock = Server::start("the stock seller", stock, &home.0.join("stock.log"))?;

    let origins = [(Seller::Ours, node.clone()), (Seller::Stock, stock.origin()?)];
    let buy = |leg: &Leg, seconds: u64| -> anyhow::Result<Seen> {
        let (_, origin) = origins.iter().find(|(seller, _)| *seller == leg.seller).context("a seller's address")?;
        let mut load = Command::new(&load);
        load.args(["run", "--url", &format!("{origin}{}", leg.pay.path()), "--pay", leg.pay.name()]);
        load.args(["--connections", &leg.connections.to_string(), "--seconds", &seconds.to_string()]);
        load.args(["--prepared", &leg.prepared(seconds).to_string(), "--facilitator", &node]);
        figures::read(load.env("BENCH_PURSE", &secret)).with_context(|| leg.to_string())
    };
    let legs = Leg::all(choice.connections);
    for leg in &legs {
        buy(leg, WARM_UP_S)?;
    }
    let mut seen = Figures::default();
    for round in 1..=ROUNDS {
        for leg in &legs {
            let one = buy(leg, choice.seconds)?;
            eprintln!("   round {round}: {leg}: {one}");
            seen.add(*leg, one);
        }
    }
    // The stock seller claims at its facilitator, which is ours: it ends first.
    let claimed = [stock.end_of_input()?, ours.interrupt()?];
    let audit = output(command(&agora, &home.0).args(["ledger", "audit"])).context("the audit after the run")?;
    let audit = audit.lines().next().unwrap_or_default().trim().to_owned();
    let report = Report { connections: choice.connections, limits, seen, claimed, audit };
    match choice.json {
        true => println!("{}", report.document()),
        false => print!("{report}"),
    }
    Ok(())
}

/// The folder of the programs, built with the features of the whole workspace, so that the tests need not compile anything
/// again.
fn built(root: &Path) -> anyhow::Result<PathBuf> {
    eprintln!("== programs (the first build takes minutes)");
    let wanted = ["build", "--release", "--workspace", "--bin", "agora", "--example", "seller", "--example", "load"];
    let status = steps::plain_cargo(root, &wanted).status().context("starting cargo")?;
    if !status.success() {
        bail!("the programs did not build ({status}); the output above says why");
    }
    Ok(guests::target_folder(root)?.join("release"))
}

/// An account with money of the dev network, worth nothing; its secret.
fn purse(agora: &Path, home: &Path) -> anyhow::Result<String> {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let secret = Hash::sha256(format!("agora bench {time} {}", std::process::id()));
    let address = WalletKey::from_bytes(secret.as_bytes())?.address().to_string();
    let mut send = command(agora, home);
    output(send.args(["wallet", "send", &address, PURSE_OPEN, "--yes", "--max-spend", PURSE_OPEN]))?;
    Ok(secret.to_string())
}

/// What a command that must succeed says.
fn output(command: &mut Command) -> anyhow::Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A folder of this run alone, gone with it.
struct Home(PathBuf);

impl Home {
    fn make(folder: PathBuf) -> anyhow::Result<Self> {
        let home = folder.join(format!("agora-bench-{}", std::process::id()));
        fs::create_dir_all(&home).with_context(|| format!("making {}", home.display()))?;
        Ok(Self(home.canonicalize()?))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
