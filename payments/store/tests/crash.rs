//! Nothing acknowledged is lost and nothing is half there, wherever the power fails.

mod disk;

use std::panic::{AssertUnwindSafe, catch_unwind};

use agora_economy::ports::log::{Index, LogFault, LogStore, Record};
use agora_economy::ports::state::{StateStore, Table, Write};
use agora_economy::testkit::*;
use agora_economy::{CallRecord, PriorCalls, Sequencer, Verified};
use agora_store::{RedbLog, RedbState};
use agora_types::batch::Batch;
use agora_types::{Address, CallId, Canonical as _};
use disk::{Disk, Random};

/// A short real history: registrations, deposits, calls, final receipts, transfers.
fn history() -> Kit {
    let mut kit = Kit::ready();
    for call in 1..4 {
        let receipt = kit.settle(call, 20, 1_000);
        if call != 2 {
            let last = kit.final_receipt(&receipt);
            let command = kit.finalize_command(&last);
            kit.submit(HOST, command).unwrap();
        }
        let transfer = kit.transfer(PAYER, 30 + call, 77);
        kit.submit(PAYER, transfer).unwrap();
    }
    kit
}

/// The disk's answer to which calls a batch's entries name.
fn prior(log: &RedbLog, kit: &Kit, batch: &Batch) -> PriorCalls {
    let network = kit.network();
    let entries = batch.open().unwrap().entries;
    let calls = entries.into_iter().filter_map(|entry| Verified::check(&network, entry).unwrap().call());
    calls
        .filter_map(|(payer, call): (Address, CallId)| {
            let key = agora_economy::ports::log::call_key(&payer, &call);
            let bytes = log.record(Index::Call, &key).unwrap()?;
            Some(((payer, call), CallRecord::from_bytes(&bytes).unwrap()))
        })
        .collect()
}

/// Runs the history on a disk until its power fails; how many batches were acknowledged.
fn run(disk: &Disk, kit: &Kit, snapshots: &[agora_economy::ports::log::Snapshot]) -> usize {
    let work = || -> Result<usize, (usize, LogFault)> {
        let mut acknowledged = 0;
        let mut log = RedbLog::open_with(disk.clone(), &kit.genesis.hash()).map_err(|fault| (0, fault))?;
        for (at, (batch, records)) in kit.log.iter().enumerate() {
            log.append(at as u64, batch, records).map_err(|fault| (acknowledged, fault))?;
            acknowledged = at + 1;
            if at % 4 == 3 {
                log.save_snapshot(&snapshots[at]).map_err(|fault| (acknowledged, fault))?;
            }
        }
        Ok(acknowledged)
    };
    match work() {
        Ok(all) | Err((all, _)) => all,
    }
}

/// Opens what the crash left and checks all of it.
fn check(image: Vec<u8>, kit: &Kit, acknowledged: usize, states: &[agora_types::Hash]) {
    let log = RedbLog::open_with(Disk::new(image, None), &kit.genesis.hash()).expect("a crash leaves a log that opens");
    let length = log.head().unwrap().map_or(0, |head| usize::try_from(head.seq).unwrap() + 1);
    assert!(length >= acknowledged, "{acknowledged} batches were acknowledged, {length} are there");
    assert!(length <= acknowledged + 1, "nothing is there that was not asked for");
    log.verify_all().expect("what is there is whole");
    let batches = log.read_from(0, usize::MAX).unwrap();
    let mut sequencer = Sequencer::new(&kit.genesis).unwrap();
    let mut receipts = 0;
    for (batch, (written, records)) in batches.iter().zip(&kit.log) {
        assert_eq!(batch, written);
        for Record { index, key, .. } in records {
            assert!(log.record(*index, key).unwrap().is_some(), "a batch and its records are there together");
            receipts += usize::from(*index == Index::Receipt);
        }
        sequencer.replay(batch, &prior(&log, kit, batch)).expect("the log replays");
    }
    assert_eq!(
        log.records_from(Index::Receipt, &[], usize::MAX).unwrap().len(),
        receipts,
        "no record without its batch"
    );
    let report = agora_audit::audit(&kit.genesis, &batches).expect("the audit of what is left is clean");
    assert_eq!(report.batches, length as u64);
    let state = sequencer.snapshot(&kit.genesis).hash;
    assert_eq!(state, states[length], "the state is that of the batches");
    if let Some(snapshot) = log.newest_snapshot().unwrap() {
        assert!(snapshot.next_seq <= length as u64);
        assert_eq!(snapshot.hash, states[usize::try_from(snapshot.next_seq).unwrap()]);
    }
}

#[test]
fn at_two_thousand_crash_points_nothing_acknowledged_is_lost_and_nothing_is_half_there() {
    let kit = history();
    let mut sequencer = Sequencer::new(&kit.genesis).unwrap();
    let mut snapshots = Vec::new();
    let mut states = vec![sequencer.snapshot(&kit.genesis).hash];
    for (batch, _) in &kit.log {
        sequencer.replay(batch, &kit.calls).unwrap();
        snapshots.push(sequencer.snapshot(&kit.genesis));
        states.push(snapshots.last().unwrap().hash);
    }
    // The file itself is created whole or not at all (a rename), so the disk begins with an empty log.
    let created = Disk::default();
    drop(RedbLog::open_with(created.clone(), &kit.genesis.hash()).unwrap());
    let created = created.content();
    let whole = Disk::new(created.clone(), None);
    assert_eq!(run(&whole, &kit, &snapshots), kit.log.len());
    check(whole.content(), &kit, kit.log.len(), &states);
    let operations = whole.operations();
    let seeds = 2_000 / operations + 1;
    let mut points = 0;
    for seed in 0..seeds {
        for crash_at in 1..=operations {
            let disk = Disk::new(created.clone(), Some(crash_at));
            let acknowledged = run(&disk, &kit, &snapshots);
            let image = disk.after_crash(&mut Random(seed << 32 | crash_at));
            let result = catch_unwind(AssertUnwindSafe(|| check(image, &kit, acknowledged, &states)));
            assert!(result.is_ok(), "seed {seed}, power failed at operation {crash_at} of {operations}");
            points += 1;
        }
    }
    println!("{points} crash points: {seeds} seeds, {operations} writes and syncs, {} batches", kit.log.len());
    assert!(points >= 2_000, "{points} crash points");
}

#[test]
fn state_writes_of_one_commit_are_there_together_or_not_at_all() {
    let commit = |n: u8| -> Vec<Write> {
        (0..3)
            .map(|row| Write { table: Table::Seller, key: vec![row], value: Some(vec![n; 40 * usize::from(n)]) })
            .collect()
    };
    let run = |disk: &Disk| -> u8 {
        let Ok(state) = RedbState::open_with(disk.clone()) else { return 0 };
        (1..=12).take_while(|n| state.commit(&commit(*n)).is_ok()).last().unwrap_or(0)
    };
    let created = Disk::default();
    drop(RedbState::open_with(created.clone()).unwrap());
    let created = created.content();
    let whole = Disk::new(created.clone(), None);
    assert_eq!(run(&whole), 12);
    for seed in 0..4u64 {
        for crash_at in 1..=whole.operations() {
            let disk = Disk::new(created.clone(), Some(crash_at));
            let acknowledged = run(&disk);
            let image = disk.after_crash(&mut Random(seed << 32 | crash_at));
            let state = RedbState::open_with(Disk::new(image, None))
                .unwrap_or_else(|fault| panic!("seed {seed}, operation {crash_at}: {fault}"));
            let rows = state.list(Table::Seller, &[], 10).unwrap();
            let found = rows.first().map_or(0, |(_, value)| value[0]);
            assert!(found == acknowledged || found == acknowledged + 1, "seed {seed}, operation {crash_at}");
            assert!(rows.iter().all(|(_, value)| value[0] == found && value.len() == 40 * usize::from(found)));
            assert!(found == 0 || rows.len() == 3, "seed {seed}, operation {crash_at}");
        }
    }
}

#[test]
fn after_a_failed_write_the_handle_is_dead_until_the_log_is_opened_again() {
    let kit = history();
    let probe = Disk::default();
    drop(RedbLog::open_with(probe.clone(), &kit.genesis.hash()).unwrap());
    let disk = Disk::new(Vec::new(), Some(probe.operations()));
    let mut log = RedbLog::open_with(disk, &kit.genesis.hash()).unwrap();
    let (batch, records) = &kit.log[0];
    assert!(matches!(log.append(0, batch, records), Err(LogFault::Failed { .. })));
    assert!(matches!(log.append(0, batch, records), Err(LogFault::Failed { .. })));
    assert!(log.head().is_err());
}
