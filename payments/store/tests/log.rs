//! What the ledger's thread can rely on: order, fences, bounds, locks, and damage that is named.

mod disk;

use agora_economy::ports::log::{Index, LogFault, LogStore as _, Record, Snapshot};
use agora_economy::testkit::*;
use agora_store::{DataFolder, RedbLog};
use agora_types::{Canonical as _, Hash};
use disk::{Disk, Random};

fn kit() -> Kit {
    let mut kit = Kit::ready();
    let receipt = kit.settle(1, 20, 1_000);
    let last = kit.final_receipt(&receipt);
    let command = kit.finalize_command(&last);
    kit.submit(HOST, command).unwrap();
    kit
}

fn written(kit: &Kit, disk: Disk) -> RedbLog {
    let mut log = RedbLog::open_with(disk, &kit.genesis.hash()).unwrap();
    for (at, (batch, records)) in kit.log.iter().enumerate() {
        log.append(at as u64, batch, records).unwrap();
    }
    log
}

fn snapshot(next_seq: u64, bytes: Vec<u8>) -> Snapshot {
    Snapshot { next_seq, hash: Hash::sha256(&bytes), bytes }
}

#[test]
fn what_was_appended_is_read_back_after_opening_again() {
    let kit = kit();
    let disk = Disk::default();
    drop(written(&kit, disk.clone()));
    let log = RedbLog::open_with(Disk::new(disk.content(), None), &kit.genesis.hash()).unwrap();
    let batches: Vec<_> = kit.log.iter().map(|(batch, _)| batch.clone()).collect();
    assert_eq!(log.read_from(0, 100).unwrap(), batches);
    assert_eq!(log.read_from(2, 1).unwrap(), batches[2..3]);
    assert_eq!(log.read_from(99, 1).unwrap(), []);
    assert_eq!(log.head().unwrap().unwrap().hash, batches.last().unwrap().header.hash());
    assert_eq!(log.record(Index::Receipt, &0u64.to_be_bytes()).unwrap(), Some(kit.receipts[0].clone()));
    assert_eq!(log.record(Index::Receipt, &9u64.to_be_bytes()).unwrap(), None);
    assert_eq!(log.verify_all().unwrap(), log.head().unwrap());
}

#[test]
fn a_second_writer_is_fenced_by_position_and_by_chain() {
    let kit = kit();
    let mut log = written(&kit, Disk::default());
    let (batch, _) = &kit.log[0];
    let next = kit.log.len() as u64;
    assert!(matches!(log.append(0, batch, &[]), Err(LogFault::Fenced { expected: 0, found }) if found == next));
    let mut stray = kit.log.last().unwrap().0.clone();
    stray.header.seq = next;
    assert!(matches!(log.append(next, &stray, &[]), Err(LogFault::Fenced { .. })));
    stray.header.prev = log.head().unwrap().unwrap().hash;
    log.append(next, &stray, &[]).expect("a refused append leaves the log usable");
}

#[test]
fn records_and_batches_have_bounds() {
    let kit = kit();
    let mut log = RedbLog::open_with(Disk::default(), &kit.genesis.hash()).unwrap();
    let record = |key, value| Record { index: Index::Call, key: vec![1; key], value: vec![1; value] };
    for record in [record(65, 1), record(1, 8_193)] {
        assert!(matches!(log.append(0, &kit.log[0].0, &[record]), Err(LogFault::TooLarge { .. })));
    }
    assert_eq!(log.head().unwrap(), None);
}

#[test]
fn the_two_newest_snapshots_are_kept_and_large_ones_come_back_whole() {
    let kit = kit();
    let mut log = written(&kit, Disk::default());
    assert_eq!(log.newest_snapshot().unwrap(), None);
    let large = snapshot(2, (0..700_000u32).map(|n| (n % 251) as u8).collect());
    for one in [snapshot(1, vec![1]), large.clone(), snapshot(3, vec![]), large.clone()] {
        log.save_snapshot(&one).unwrap();
    }
    assert_eq!(log.newest_snapshot().unwrap(), Some(snapshot(3, vec![])));
}

#[test]
fn a_folder_is_held_by_one_process_and_opens_with_its_own_genesis_only() {
    let kit = kit();
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("dev");
    assert!(DataFolder::open(&path).is_err());
    let folder = DataFolder::create(&path, &kit.genesis).unwrap();
    assert!(matches!(DataFolder::open(&path), Err(LogFault::Locked)));
    let log = RedbLog::open(&folder.ledger_file(), &kit.genesis.hash()).unwrap();
    assert!(matches!(RedbLog::open(&folder.ledger_file(), &kit.genesis.hash()), Err(LogFault::Locked)));
    drop(log);
    let other = RedbLog::open(&folder.ledger_file(), &Hash::ZERO);
    assert!(matches!(other, Err(LogFault::Damaged { what }) if what.contains("genesis")));
    drop(folder);
    let folder = DataFolder::open(&path).unwrap();
    assert_eq!(folder.genesis(), &kit.genesis);
    drop(folder);
    assert!(DataFolder::create(&path, &kit.genesis).is_err(), "a network is never overwritten");
    std::fs::write(path.join("FORMAT"), "agora-data 99\n").unwrap();
    assert!(matches!(DataFolder::open(&path), Err(LogFault::Damaged { what }) if what.contains("format")));
}

#[cfg(unix)]
#[test]
fn a_data_folder_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("dev");
    let _folder = DataFolder::create(&path, &kit().genesis).unwrap();
    for name in [path.clone(), path.join("keys")] {
        assert_eq!(std::fs::metadata(name).unwrap().permissions().mode() & 0o777, 0o700);
    }
}

#[test]
fn a_flipped_bit_is_found_or_changes_nothing() {
    let kit = kit();
    let disk = Disk::default();
    let mut log = written(&kit, disk.clone());
    log.save_snapshot(&snapshot(1, vec![7; 5_000])).unwrap();
    let batches = log.read_from(0, 100).unwrap();
    let rows = log.records_from(Index::Receipt, &[], 100).unwrap();
    drop(log);
    let image = disk.content();
    let (mut found, mut harmless) = (0, 0);
    for seed in 0..300u64 {
        let mut random = Random(seed);
        let mut changed = image.clone();
        // Half of the flips hit the part of the file that holds data.
        let used = changed.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        let at = random.below(used);
        changed[at] ^= 1 << random.below(8);
        let read = || -> Result<_, LogFault> {
            let log = RedbLog::open_with(Disk::new(changed.clone(), None), &kit.genesis.hash())?;
            log.verify_all()?;
            let snapshot = log.newest_snapshot()?;
            Ok((log.read_from(0, 100)?, log.records_from(Index::Receipt, &[], 100)?, snapshot))
        };
        match read() {
            Err(LogFault::Damaged { .. } | LogFault::Failed { .. }) => found += 1,
            Err(other) => panic!("seed {seed}: {other}"),
            Ok((read_batches, read_rows, read_snapshot)) => {
                assert_eq!((&read_batches, &read_rows), (&batches, &rows), "seed {seed}: a silent change");
                assert!(read_snapshot.is_none_or(|read| read == snapshot(1, vec![7; 5_000])), "seed {seed}");
                harmless += 1;
            }
        }
    }
    assert!(found > 0 && harmless > 0, "{found} found, {harmless} harmless");
}

#[test]
fn a_truncated_file_is_damage_and_not_a_panic() {
    let kit = kit();
    let disk = Disk::default();
    drop(written(&kit, disk.clone()));
    let image = disk.content();
    for part in 1..8 {
        let short = image[..image.len() * part / 8].to_vec();
        let opened = RedbLog::open_with(Disk::new(short, None), &kit.genesis.hash()).and_then(|log| log.verify_all());
        match opened {
            Err(_) => {}
            Ok(head) => assert_eq!(head.map(|head| head.seq + 1), Some(kit.log.len() as u64), "part {part}"),
        }
    }
}
