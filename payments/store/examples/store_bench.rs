//! How fast durable appends are beside a bare fdatasync on the same disk in the same run: ratios travel, figures do not.
//!
//! `cargo run --release -p agora-store --example store_bench [folder]`

use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agora_economy::ports::log::LogStore as _;
use agora_economy::ports::state::{StateStore as _, Table, Write};
use agora_economy::testkit::{Kit, PAYER};
use agora_store::{RedbLog, RedbState};
use agora_types::batch::{BATCH_VERSION, Batch, BatchHeader, Body, Outcome};
use agora_types::{Canonical as _, Hash};

const SPAN: Duration = Duration::from_secs(2);

/// Runs `step` for a while; times per second.
fn rate(mut step: impl FnMut()) -> f64 {
    let begin = Instant::now();
    let mut count = 0u32;
    while begin.elapsed() < SPAN {
        step();
        count += 1;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

fn main() {
    let home = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(home).expect("a folder");
    let mut probe = File::create(folder.path().join("probe")).expect("a file");
    probe.set_len(4_096).expect("space");
    let sync = rate(|| {
        probe.seek(SeekFrom::Start(0)).expect("seek");
        probe.write_all(&[1; 4_096]).expect("write");
        probe.sync_data().expect("sync");
    });
    println!("fdatasync of 4 KiB: {sync:.0} per second");
    let mut kit = Kit::default();
    for size in [1usize, 100, 1_000] {
        let mut entries = Vec::with_capacity(size);
        for _ in 0..size {
            let command = kit.transfer(PAYER, 40, 1);
            entries.push(kit.sign(PAYER, command));
        }
        let body = Body { entries, outcomes: vec![Outcome::OK; size] }.to_bytes();
        let path = folder.path().join(format!("{size}.redb"));
        let genesis = kit.genesis.hash();
        let mut log = RedbLog::open(&path, &genesis).expect("a log");
        let (mut seq, mut prev) = (0, genesis);
        let commits = rate(|| {
            let header = BatchHeader {
                version: BATCH_VERSION,
                kind: 0,
                seq,
                epoch: 0,
                time: kit.now.plus_nanos(seq),
                prev,
                body_hash: Hash::sha256(&body),
                count: u32::try_from(size).expect("small"),
                body_size: u32::try_from(body.len()).expect("small"),
                state_root: Hash::ZERO,
                state_root_seq: 0,
                receipts_size: 0,
                receipts_root: Hash::ZERO,
            };
            prev = header.hash();
            log.append(seq, &Batch { header, body: body.clone() }, &[]).expect("append");
            seq += 1;
        });
        let begin = Instant::now();
        drop(log);
        let log = RedbLog::open(&path, &genesis).expect("it opens");
        let opened = begin.elapsed();
        let begin = Instant::now();
        log.verify_all().expect("it is whole");
        let transfers = commits * f64::from(u32::try_from(size).expect("small"));
        println!(
            "batch of {size:>5} signed transfers ({} bytes): {commits:.0} commits/s, {transfers:.0} transfers/s, \
             {:.2} of fdatasync; opened with checks in {:.0} ms, all {seq} verified in {:.0} ms",
            body.len(),
            commits / sync,
            opened.as_secs_f64() * 1e3,
            begin.elapsed().as_secs_f64() * 1e3,
        );
    }
    let state = RedbState::open(&folder.path().join("state.redb")).expect("a state");
    let mut key = 0_u64;
    let commits = rate(|| {
        // A till's rows: a thousand channels, each written over and over.
        let row = Write { table: Table::Till, key: (key % 1_000).to_be_bytes().to_vec(), value: Some(vec![7; 700]) };
        state.commit(&[row]).expect("commit");
        key += 1;
    });
    println!("one row of 700 bytes into the state: {commits:.0} commits/s, {:.2} of fdatasync", commits / sync);
}
