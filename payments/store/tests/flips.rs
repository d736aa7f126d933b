//! Every single bit of the database header, and seeded bits of everything behind it: found, or without effect.

mod disk;

use std::collections::BTreeMap;

use agora_economy::ports::log::{Head, Index, LogFault, LogStore as _, Row, Snapshot};
use agora_economy::ports::state::{StateStore as _, Table, Write};
use agora_economy::testkit::Kit;
use agora_store::{RedbLog, RedbState};
use agora_types::batch::Batch;
use agora_types::{Canonical as _, Hash};
use disk::{Disk, Random};

/// Bytes of redb's header with its two commit slots.
const HEADER: usize = 320;

type All = (Vec<Batch>, Vec<Row>, Vec<Row>, Option<Snapshot>);

fn everything(log: &RedbLog) -> Result<All, LogFault> {
    log.verify_all()?;
    let rows = |index| log.records_from(index, &[], 1_000);
    Ok((log.read_from(0, 1_000)?, rows(Index::Call)?, rows(Index::Receipt)?, log.newest_snapshot()?))
}

/// The file of a log after a clean stop, and as a crash leaves it.
fn images(kit: &Kit) -> (All, [Vec<u8>; 2]) {
    let disk = Disk::default();
    let mut log = RedbLog::open_with(disk.clone(), &kit.genesis.hash()).unwrap();
    let bytes = vec![7; 300_000];
    log.save_snapshot(&Snapshot { next_seq: 1, hash: Hash::sha256(&bytes), bytes }).unwrap();
    for (seq, (batch, records)) in (0..).zip(&kit.log) {
        log.append(seq, batch, records).unwrap();
    }
    let all = everything(&log).unwrap();
    let crashed = disk.content();
    drop(log);
    (all, [disk.content(), crashed])
}

/// What became of a flip: `None` when it was reported. On a file, opening also asks the witness for the newest head.
fn read(image: Vec<u8>, kit: &Kit) -> Option<All> {
    let newest = &kit.log.last().unwrap().0.header;
    let log = RedbLog::open_with(Disk::new(image, None), &kit.genesis.hash()).ok()?;
    log.reaches(&Head { seq: newest.seq, hash: newest.hash() }).and_then(|()| everything(&log)).ok()
}

#[test]
fn a_log_that_lost_its_end_or_was_replaced_by_an_older_copy_is_damage() {
    let kit = Kit::ready();
    let home = tempfile::tempdir().unwrap();
    let (path, copy) = (home.path().join("ledger.redb"), home.path().join("copy.redb"));
    let genesis = kit.genesis.hash();
    for (seq, (batch, records)) in (0..).zip(&kit.log) {
        RedbLog::open(&path, &genesis).unwrap().append(seq, batch, records).unwrap();
        if seq == 1 {
            std::fs::copy(&path, &copy).unwrap();
        }
    }
    let newest = std::fs::read(&path).unwrap();
    std::fs::copy(&copy, &path).unwrap();
    assert!(matches!(RedbLog::open(&path, &genesis), Err(LogFault::Damaged { what }) if what.contains(".head")));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(RedbLog::open(&path, &genesis), Err(LogFault::Damaged { .. })), "nor does an empty one pass");
    std::fs::write(&path, newest).unwrap();
    assert_eq!(RedbLog::open(&path, &genesis).unwrap().head().unwrap().unwrap().seq + 1, kit.log.len() as u64);
    // A torn witness is no witness; an older copy that is meant opens without one.
    std::fs::write(path.with_extension("head"), [1; 30]).unwrap();
    std::fs::copy(&copy, &path).unwrap();
    assert_eq!(RedbLog::open(&path, &genesis).unwrap().head().unwrap().unwrap().seq, 1);
}

#[test]
fn no_bit_of_the_header_takes_a_batch_away_in_silence() {
    let kit = Kit::ready();
    let (all, images) = images(&kit);
    let mut silent = BTreeMap::new();
    for (name, image) in ["clean", "crashed"].into_iter().zip(&images) {
        for bit in 0..HEADER * 8 {
            let mut changed = image.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            if let Some(read) = read(changed, &kit)
                && read != all
            {
                silent.insert((name, bit / 8, bit % 8), read.0.len());
            }
        }
    }
    assert!(silent.is_empty(), "{} batches were there; (file, byte, bit): batches found: {silent:?}", kit.log.len());
}

#[test]
fn no_bit_of_the_pages_changes_what_is_read() {
    let kit = Kit::ready();
    let (all, images) = images(&kit);
    let (mut found, mut harmless) = (0, 0);
    for (number, image) in (0u64..).zip(&images) {
        // Pages that hold something: a flip in an empty one would prove nothing.
        let used: Vec<usize> =
            image.iter().enumerate().skip(HEADER).filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
        for seed in 0..400 {
            let mut random = Random(number << 32 | seed);
            let mut changed = image.clone();
            changed[used[random.below(used.len())]] ^= 1 << random.below(8);
            match read(changed, &kit) {
                None => found += 1,
                Some(read) => {
                    let snapshot_skipped = read.3.is_none() && (&read.0, &read.1, &read.2) == (&all.0, &all.1, &all.2);
                    assert!(read == all || snapshot_skipped, "image {number}, seed {seed}: a silent change");
                    harmless += 1;
                }
            }
        }
    }
    println!("{found} flips reported, {harmless} without effect");
    assert!(found > 100, "{found} found, {harmless} harmless");
}

#[test]
fn flipped_bits_of_small_state_are_reported_or_without_effect() {
    let disk = Disk::default();
    let state = RedbState::open_with(disk.clone()).unwrap();
    for n in 0..20u8 {
        state.commit(&[Write { table: Table::Seller, key: vec![n], value: Some(vec![n; 500]) }]).unwrap();
    }
    let rows = state.list(Table::Seller, &[], 100).unwrap();
    drop(state);
    let image = disk.content();
    let used: Vec<usize> = image.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
    for seed in 0..400 {
        let mut random = Random(seed);
        let mut changed = image.clone();
        changed[used[random.below(used.len())]] ^= 1 << random.below(8);
        let found =
            RedbState::open_with(Disk::new(changed, None)).and_then(|state| state.list(Table::Seller, &[], 100));
        assert!(found.is_err() || found.unwrap() == rows, "seed {seed}: a silent change");
    }
}
