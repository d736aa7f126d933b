//! What every log and every small state must do, whatever is behind it: one suite for memory, redb and what comes.
//!
//! Each function panics with the sentence that does not hold. Real batches come from the caller, so that nothing here
//! depends on how they are made.

use std::thread;

use agora_economy::ports::log::{
    Head, Index, LogFault, LogStore, RECORD_KEY_MAX, RECORD_VALUE_MAX, Record, SNAPSHOT_MAX, Snapshot,
};
use agora_economy::ports::state::{KEY_MAX, StateStore, Table, VALUE_MAX, Write};
use agora_types::batch::Batch;
use agora_types::{Canonical as _, Hash};

/// A history of at least four batches, with the records of each.
pub type History = [(Batch, Vec<Record>)];

/// The whole contract of [`LogStore`]. `empty` gives a new, empty log of the network that `history` belongs to.
///
/// # Panics
/// When the log breaks its contract.
pub fn log<L: LogStore>(history: &History, mut empty: impl FnMut() -> L) {
    assert!(history.len() >= 4, "the suite needs four batches");
    order(history, empty());
    fences(history, empty());
    bounds(history, empty());
    indexes(history, empty());
    snapshots(empty());
}

fn order(history: &History, mut log: impl LogStore) {
    assert_eq!(log.head().unwrap(), None, "an empty log has no head");
    assert!(log.read_from(0, 10).unwrap().is_empty(), "an empty log has no batches");
    for (seq, (batch, records)) in (0..).zip(history) {
        log.append(seq, batch, records).expect("a batch that follows the head is taken");
        assert_eq!(log.head().unwrap(), Some(Head { seq, hash: batch.header.hash() }), "the head is the newest batch");
    }
    let batches: Vec<Batch> = history.iter().map(|(batch, _)| batch.clone()).collect();
    assert_eq!(log.read_from(0, usize::MAX).unwrap(), batches, "all batches come back in order");
    assert_eq!(log.read_from(1, 2).unwrap(), batches[1..3], "a part of them too");
    assert!(log.read_from(0, 0).unwrap().is_empty(), "no batches when none are asked for");
    for past in [history.len() as u64, u64::MAX] {
        assert!(log.read_from(past, 9).unwrap().is_empty(), "nothing past the head");
    }
}

fn fences(history: &History, mut log: impl LogStore) {
    let (first, second) = (&history[0].0, &history[1].0);
    let fenced = log.append(1, second, &[]);
    assert!(matches!(fenced, Err(LogFault::Fenced { expected: 1, found: 0 })), "no gap at the begin: {fenced:?}");
    log.append(0, first, &[]).unwrap();
    let fenced = log.append(0, first, &[]);
    assert!(matches!(fenced, Err(LogFault::Fenced { expected: 0, found: 1 })), "no batch twice: {fenced:?}");
    assert!(log.append(1, first, &[]).is_err(), "a batch stands at its own place only");
    let mut stray = second.clone();
    stray.header.prev = Hash::ZERO;
    assert!(log.append(1, &stray, &[]).is_err(), "a batch chains to the head");
    assert_eq!(log.head().unwrap().map(|head| head.seq), Some(0), "a refused batch changes nothing");
    log.append(1, second, &[]).expect("the log goes on after a refusal");
}

fn bounds(history: &History, mut log: impl LogStore) {
    let first = &history[0].0;
    let record = |key, value| Record { index: Index::Call, key: vec![1; key], value: vec![2; value] };
    for large in [record(RECORD_KEY_MAX + 1, 1), record(1, RECORD_VALUE_MAX + 1)] {
        let refused = log.append(0, first, &[large]);
        assert!(matches!(refused, Err(LogFault::TooLarge { .. })), "a record has bounds: {refused:?}");
    }
    assert_eq!(log.head().unwrap(), None, "what is too large leaves nothing behind");
    log.append(0, first, &[record(RECORD_KEY_MAX, RECORD_VALUE_MAX)]).expect("the bound itself is allowed");
    let bytes = log.record(Index::Call, &[1; RECORD_KEY_MAX]).unwrap();
    assert_eq!(bytes, Some(vec![2; RECORD_VALUE_MAX]), "and comes back");
}

fn indexes(history: &History, mut log: impl LogStore) {
    let record = |index, key: &[u8], value: u8| Record { index, key: key.to_vec(), value: vec![value] };
    let (call, receipt) = (Index::Call, Index::Receipt);
    log.append(0, &history[0].0, &[record(call, b"b", 1), record(call, b"a", 2), record(receipt, b"b", 3)]).unwrap();
    log.append(1, &history[1].0, &[record(call, b"b", 4), record(call, b"ab", 5)]).unwrap();
    assert_eq!(log.record(call, b"b").unwrap(), Some(vec![4]), "the newest value of a key counts");
    assert_eq!(log.record(receipt, b"b").unwrap(), Some(vec![3]), "indexes do not share keys");
    assert_eq!(log.record(receipt, b"a").unwrap(), None, "an unknown key has no value");
    let row = |key: &[u8], value: u8| (key.to_vec(), vec![value]);
    let all = [row(b"a", 2), row(b"ab", 5), row(b"b", 4)];
    assert_eq!(log.records_from(call, b"", 9).unwrap(), all, "an index is in order of keys");
    assert_eq!(log.records_from(call, b"aa", 1).unwrap(), all[1..2], "from a key on, as many as asked for");
    assert!(log.records_from(call, b"c", 9).unwrap().is_empty(), "and nothing past its end, or of another index");
}

fn snapshots(mut log: impl LogStore) {
    let snapshot = |next_seq, size: usize| {
        let bytes: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).expect("small")).collect();
        Snapshot { next_seq, hash: Hash::sha256(&bytes), bytes }
    };
    assert_eq!(log.newest_snapshot().unwrap(), None, "an empty log has no snapshot");
    for (next_seq, size) in [(1, 0), (2, 700_001), (3, 256 * 1024), (4, 5)] {
        log.save_snapshot(&snapshot(next_seq, size)).unwrap();
        let newest = log.newest_snapshot().unwrap();
        assert_eq!(newest, Some(snapshot(next_seq, size)), "the newest snapshot comes back whole");
    }
    let mut wrong = snapshot(5, 10);
    wrong.hash = Hash::ZERO;
    // A store may refuse it or skip it; it must not hand it out.
    let _ = log.save_snapshot(&wrong);
    assert_eq!(log.newest_snapshot().unwrap(), Some(snapshot(4, 5)), "a damaged snapshot is skipped");
    const { assert!(SNAPSHOT_MAX >= 1 << 30) };
}

/// The whole contract of [`StateStore`], on an empty store.
///
/// # Panics
/// When the store breaks its contract.
pub fn state(store: &dyn StateStore) {
    let put = |table, key: &[u8], value: &[u8]| Write { table, key: key.to_vec(), value: Some(value.to_vec()) };
    let cut = |table, key: &[u8]| Write { table, key: key.to_vec(), value: None };
    store.commit(&[]).expect("an empty commit does nothing");
    assert_eq!(store.get(Table::Seller, b"a").unwrap(), None, "an empty store has nothing");
    store
        .commit(&[put(Table::Seller, b"a", b"1"), put(Table::Seller, b"ab", b"2"), put(Table::Buyer, b"a", b"3")])
        .unwrap();
    store.commit(&[put(Table::Seller, b"b", b"4"), put(Table::Seller, b"b", b"5"), cut(Table::Buyer, b"x")]).unwrap();
    assert_eq!(store.get(Table::Buyer, b"a").unwrap().as_deref(), Some(&b"3"[..]), "tables do not share keys");
    assert_eq!(
        store.get(Table::Seller, b"b").unwrap().as_deref(),
        Some(&b"5"[..]),
        "the last write of a commit counts"
    );
    let row = |key: &[u8], value: &[u8]| (key.to_vec(), value.to_vec());
    let under_a = [row(b"a", b"1"), row(b"ab", b"2")];
    assert_eq!(store.list(Table::Seller, b"a", 9).unwrap(), under_a, "a prefix lists its keys in order");
    assert_eq!(store.list(Table::Seller, b"", 1).unwrap(), under_a[..1], "as many as asked for");
    store.commit(&[cut(Table::Seller, b"a"), put(Table::Seller, b"", b"")]).unwrap();
    assert_eq!(store.get(Table::Seller, b"a").unwrap(), None, "a removed key is gone");
    assert_eq!(
        store.get(Table::Seller, b"").unwrap().as_deref(),
        Some(&b""[..]),
        "the empty key and value are allowed"
    );
    for large in [put(Table::Agents, &[0; KEY_MAX + 1], b""), put(Table::Agents, b"k", &vec![0; VALUE_MAX + 1])] {
        let refused = store.commit(&[put(Table::Agents, b"other", b""), large]);
        assert!(matches!(refused, Err(LogFault::TooLarge { .. })), "keys and values have bounds: {refused:?}");
    }
    assert_eq!(store.get(Table::Agents, b"other").unwrap(), None, "a refused commit leaves nothing behind");
    together(store);
}

/// Eight threads commit at once; every commit is there when its call returns, whole.
fn together(store: &dyn StateStore) {
    let rows = |thread: u8, round: u8| -> Vec<Write> {
        let key = |part: u8| vec![thread, round, part];
        (0..3).map(|part| Write { table: Table::AgentState, key: key(part), value: Some(vec![round]) }).collect()
    };
    thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                for round in 0..16 {
                    store.commit(&rows(thread, round)).unwrap();
                    let found = store.list(Table::AgentState, &[thread, round], 9).unwrap();
                    assert_eq!(found.len(), 3, "a commit is visible, whole, once it returned");
                }
            });
        }
    });
    assert_eq!(store.list(Table::AgentState, &[], usize::MAX).unwrap().len(), 8 * 16 * 3, "and none is lost");
}
