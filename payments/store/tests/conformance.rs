//! One suite, two backends: memory keeps the same contract as the disk.

use agora_economy::ports::memory::{MemoryLog, MemoryState};
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
