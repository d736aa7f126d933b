//! How fast the state machine is on this machine: transfers per second, verified before and signed end to end.
//!
//! `cargo run --release -p agora-economy --features testkit --example apply_bench [transfers]`. Nothing is made durable.

use std::time::Instant;

use agora_economy::testkit::{Kit, PAYER, atoms, key};
use agora_economy::{PriorCalls, Sequencer, Verified};
use agora_types::batch::{Batch, Entry};
use agora_types::command::{Command, Head, Transfer};
use agora_types::eip712::Network;
use agora_types::{Address, CommandId};

const BATCH: usize = 1_000;
const WORKERS: usize = 2;
const ACCOUNTS: u64 = 10_000;

fn account(number: u64) -> Address {
    Address::system(&format!("bench/{}", number % ACCOUNTS))
}

fn per_second(count: usize, since: Instant) -> u64 {
    let nanos = since.elapsed().as_nanos().max(1);
    u64::try_from(count as u128 * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
}

fn signed(kit: &Kit, count: usize) -> Vec<Entry> {
    let (network, payer) = (kit.network(), key(PAYER));
    let expires_at = kit.now.plus_secs(600);
    (1..=count as u64)
        .map(|number| {
            let head =
                Head { signer: payer.address(), id: CommandId::new(u128::from(number).to_be_bytes()), expires_at };
            let (credit, amount) = (account(number), atoms(1));
            let transfer = Transfer { head, credit, amount, pending: None, reference: number, receipt: None };
            Entry::sign(&network, Command::Transfer(transfer), &payer)
        })
        .collect()
}

fn verify(network: &Network, entries: &[Entry]) -> Vec<Verified> {
    entries.iter().map(|entry| Verified::check(network, entry.clone()).expect("well signed")).collect()
}

fn propose(kit: &Kit, sequencer: &mut Sequencer, entries: Vec<Verified>) -> Batch {
    let proposed = sequencer.propose(kit.now, entries, &PriorCalls::new());
    assert!(proposed.applied.outcomes.iter().all(|outcome| outcome.is_ok()), "the payer has enough");
    proposed.batch
}

fn replay(kit: &Kit, log: &[Batch], step: fn(&mut Sequencer, &Batch)) -> u64 {
    let mut sequencer = Sequencer::new(&kit.genesis).expect("the kit's genesis is good");
    let since = Instant::now();
    log.iter().for_each(|batch| step(&mut sequencer, batch));
    per_second(log.len() * BATCH, since)
}

fn main() {
    let count = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100_000usize) / BATCH * BATCH;
    let kit = Kit::default();
    let network = kit.network();
    let since = Instant::now();
    let entries = signed(&kit, count);
    println!("{count} transfers in batches of {BATCH} over {ACCOUNTS} accounts, debug assertions on");
    println!("sign                        {:>10}/s", per_second(count, since));

    let mut sequencer = kit.sequencer.clone();
    let since = Instant::now();
    let mut log = Vec::new();
    for chunk in entries.chunks(BATCH) {
        log.push(propose(&kit, &mut sequencer, verify(&network, chunk)));
    }
    println!("signed end to end           {:>10}/s", per_second(count, since));

    let mut sequencer = kit.sequencer.clone();
    let since = Instant::now();
    std::thread::scope(|scope| {
        let part = count.div_ceil(WORKERS).next_multiple_of(BATCH);
        let workers: Vec<_> = entries
            .chunks(part)
            .map(|part| scope.spawn(|| part.chunks(BATCH).map(|chunk| verify(&network, chunk)).collect::<Vec<_>>()))
            .collect();
        for batch in workers.into_iter().flat_map(|worker| worker.join().expect("a worker ends")) {
            propose(&kit, &mut sequencer, batch);
        }
    });
    println!("the same on {WORKERS} threads       {:>10}/s", per_second(count, since));

    let verified = verify(&network, &entries);
    let mut sequencer = kit.sequencer.clone();
    let batches: Vec<Vec<Verified>> = verified.chunks(BATCH).map(<[Verified]>::to_vec).collect();
    let copies = batches.clone();
    let since = Instant::now();
    for batch in copies {
        propose(&kit, &mut sequencer, batch);
    }
    println!("verified before: + encode   {:>10}/s", per_second(count, since));

    let mut economy = kit.economy().clone();
    let since = Instant::now();
    for (seq, batch) in (0..).zip(&batches) {
        economy.apply(seq, kit.now.plus_nanos(seq), batch, &PriorCalls::new());
    }
    println!("verified before: apply only {:>10}/s", per_second(count, since));

    let foreign = replay(&kit, &log, |sequencer, batch| {
        sequencer.replay(batch, &PriorCalls::new()).expect("our own log");
    });
    println!("replay a foreign log        {foreign:>10}/s");
    let own = replay(&kit, &log, |sequencer, batch| {
        sequencer.replay_own(batch, &PriorCalls::new()).expect("our own log");
    });
    println!("replay the own log          {own:>10}/s");

    let since = Instant::now();
    let snapshot = sequencer.snapshot(&kit.genesis);
    let millis = since.elapsed().as_millis();
    println!("snapshot                    {:>10} bytes in {millis} ms, state root included", snapshot.bytes.len());
}
