//! One suite, two backends: memory keeps the same contract as the disk.

use std::sync::mpsc::channel;

use agora_economy::ports::log::LogFault;
use agora_economy::ports::memory::{MemoryLog, MemoryState};
use agora_economy::ports::state::{StateStore as _, Table, Write};
use agora_economy::testkit::Kit;
use agora_store::{RedbLog, RedbState, conformance};
use agora_types::Canonical as _;
use redb::backends::InMemoryBackend;

#[test]
fn the_log_in_memory_keeps_the_contract() {
    let kit = Kit::ready();
    conformance::log(&kit.log, || MemoryLog::new(kit.genesis.hash()));
}

#[test]
fn the_log_on_redb_keeps_the_contract() {
    let kit = Kit::ready();
    conformance::log(&kit.log, || RedbLog::open_with(InMemoryBackend::new(), &kit.genesis.hash()).unwrap());
}

#[test]
fn state_in_memory_keeps_the_contract() {
    conformance::state(&MemoryState::default());
}

#[test]
fn state_on_redb_keeps_the_contract() {
    let home = tempfile::tempdir().unwrap();
    conformance::state(&RedbState::open(&home.path().join("state.redb")).unwrap());
}

/// Many more than wait for the writer at once.
const BEGUN: u32 = 2_000;

#[test]
fn writes_that_are_begun_stand_once_their_caller_is_told() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("state.redb");
    let state = RedbState::open(&path).unwrap();
    let (tell, told) = channel::<Result<(), LogFault>>();
    let mut begun = 0;
    for number in 0..BEGUN {
        let write = Write { table: Table::Till, key: number.to_be_bytes().to_vec(), value: Some(vec![1]) };
        let tell = tell.clone();
        match state.begin(vec![write], Box::new(move |result| tell.send(result).unwrap())) {
            Ok(()) => begun += 1,
            // The queue is full. Nothing was begun, and whoever may wait commits.
            Err((writes, _)) => state.commit(&writes).unwrap(),
        }
    }
    drop(tell);
    assert_eq!(told.iter().map(Result::unwrap).count(), begun, "each is told once");
    drop(state);
    let state = RedbState::open(&path).unwrap();
    for number in 0..BEGUN {
        assert_eq!(state.get(Table::Till, &number.to_be_bytes()).unwrap(), Some(vec![1]), "write {number}");
    }
}

#[test]
fn closing_the_state_first_tells_all_whose_writes_were_begun() {
    let home = tempfile::tempdir().unwrap();
    let state = RedbState::open(&home.path().join("state.redb")).unwrap();
    let (tell, told) = channel::<Result<(), LogFault>>();
    for number in 0..50_u8 {
        let tell = tell.clone();
        let write = Write { table: Table::Till, key: vec![number], value: Some(vec![1]) };
        assert!(state.begin(vec![write], Box::new(move |result| tell.send(result).unwrap())).is_ok());
    }
    drop(state);
    assert_eq!(told.try_iter().map(Result::unwrap).count(), 50);
}
