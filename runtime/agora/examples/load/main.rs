//! Buyers for `cargo xtask bench payments`: everything is signed before the clock starts, so that what is measured is the
//! seller. One line of JSON to stdout.

mod connection;
mod limits;
mod purse;

use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agora_x402::header;
use agora_x402::wire::PaymentRequired;
use clap::{Parser, Subcommand, ValueEnum};
use serde_json::json;

use connection::Connection;
use purse::{Purse, Shop};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Ask one address, again and again.
    Run(Run),
    /// What this machine can do: durable appends and signatures.
    Limits {
        /// On the disk of this folder.
        folder: PathBuf,
    },
}

#[derive(clap::Args)]
struct Run {
    /// What is asked for, by GET.
    #[arg(long)]
    url: String,
    /// How it is paid.
    #[arg(long)]
    pay: Pay,
    /// Connections, each with one request at a time and a payer of its own.
    #[arg(long)]
    connections: usize,
    /// How long.
    #[arg(long)]
    seconds: u64,
    /// Requests that are signed beforehand, for all connections; where one runs out, all end early.
    #[arg(long, default_value_t = usize::MAX)]
    prepared: usize,
    /// Whose ledger gives the payers their money.
    #[arg(long, default_value = "")]
    facilitator: String,
    /// Secret of the account that it comes from, 32 bytes in hexadecimal digits.
    #[arg(long, env = "BENCH_PURSE", default_value = "", hide_env_values = true)]
    purse: String,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Pay {
    Nothing,
    Exact,
    Voucher,
}

fn main() -> Result<(), Failure> {
    let said = match Arguments::parse().what {
        What::Run(run) => measure(&run)?,
        What::Limits { folder } => limits::measure(&folder)?,
    };
    println!("{said}");
    Ok(())
}

/// What one connection saw.
struct Seen {
    took: Vec<Duration>,
    last: Instant,
}

fn measure(run: &Run) -> Result<serde_json::Value, Failure> {
    let mut payers = Vec::new();
    let each = run.prepared.div_ceil(run.connections.max(1));
    let shop = if run.pay == Pay::Nothing { None } else { Some(ask(run)?) };
    if let Some(shop) = &shop {
        let mut purse = Purse::open(&run.purse, &run.facilitator)?;
        for _ in 0..run.connections {
            payers.push(purse.payer(shop, each + 1)?);
        }
    }
    let ready = Barrier::new(run.connections + 1);
    let over = AtomicBool::new(false);
    let (begun, seen) = std::thread::scope(|scope| {
        let mut payers = payers.into_iter();
        let mut threads = Vec::new();
        for _ in 0..run.connections {
            let (payer, shop, ready, over) = (payers.next(), shop.as_ref(), &ready, &over);
            threads.push(scope.spawn(move || -> Result<Seen, Failure> {
                let prepared = (|| {
                    let mut connection = Connection::open(&run.url)?;
                    let requests = match payer.zip(shop) {
                        None => vec![connection.request(None)],
                        Some((payer, shop)) if run.pay == Pay::Exact => payer.exact(&connection, shop, each)?,
                        Some((payer, shop)) => payer.channel(&mut connection, shop, each)?,
                    };
                    Ok::<_, Failure>((connection, requests))
                })();
                ready.wait();
                let (mut connection, requests) = prepared?;
                let mut seen = Seen { took: Vec::with_capacity(requests.len().max(1 << 16)), last: Instant::now() };
                let until = seen.last + Duration::from_secs(run.seconds);
                let mut requests = requests.iter();
                let mut request = requests.next();
                while let Some(bytes) = request
                    && seen.last < until
                    && !over.load(Ordering::Relaxed)
                {
                    let begun = Instant::now();
                    let answer = connection.exchange(bytes)?;
                    seen.last = Instant::now();
                    seen.took.push(seen.last - begun);
                    answer.expect_sold(run.pay != Pay::Nothing)?;
                    request = if run.pay == Pay::Nothing { request } else { requests.next() };
                }
                // Whoever is left alone would be measured without company.
                over.store(true, Ordering::Relaxed);
                Ok(seen)
            }));
        }
        ready.wait();
        let begun = Instant::now();
        let seen: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no thread panics")).collect();
        (begun, seen)
    });
    let seen = seen.into_iter().collect::<Result<Vec<Seen>, Failure>>()?;
    let end = seen.iter().map(|one| one.last).max().ok_or("no connection")?;
    let mut took: Vec<Duration> = seen.into_iter().flat_map(|one| one.took).collect();
    took.sort_unstable();
    let at = |hundredths: usize| took.get((took.len() * hundredths / 100).min(took.len().saturating_sub(1)));
    let micros = |time: Option<&Duration>| time.map_or(0, Duration::as_micros);
    let elapsed = end - begun;
    Ok(json!({
        "requests": took.len(),
        "micros": elapsed.as_micros(),
        "p50_micros": micros(at(50)),
        "p99_micros": micros(at(99)),
    }))
}

/// What an unpaid request is told.
fn ask(run: &Run) -> Result<Shop, Failure> {
    let mut connection = Connection::open(&run.url)?;
    let request = connection.request(None);
    let answer = connection.exchange(&request)?;
    let value = answer.header("payment-required").filter(|_| answer.status == 402);
    let required: PaymentRequired = header::decode([value.ok_or("the address asks for no payment")?])?;
    Shop::of(required)
}
