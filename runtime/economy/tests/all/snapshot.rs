//! Snapshots: what they restore, and that no bytes make reading one panic.

use agora_economy::ports::log::Snapshot;
use agora_economy::testkit::{HOST, Kit, PAYER};
use agora_economy::{Sequencer, Verified};
use agora_types::Hash;
use agora_types::command::*;
use agora_types::genesis::Parameters;

/// A history with an open call, a reservation, a withdrawal that waits, and ids and nonces not yet forgotten.
fn busy() -> Kit {
    let mut kit = Kit::new(Parameters { state_root_interval: 2, ..Parameters::default() });
    kit.register();
    kit.deposit(agora_types::Amount::from_open(5), 0);
    kit.settle(1, 50, 1_000);
    let finished = kit.settle(2, 50, 1_000);
    let last = kit.final_receipt(&finished);
    let finalize = kit.finalize_command(&last);
    kit.submit(HOST, finalize).unwrap();
    let mut reserve = kit.transfer(PAYER, HOST, 500);
    if let Command::Transfer(transfer) = &mut reserve {
        transfer.pending = Some(Pending { timeout_s: 60, settler: transfer.credit });
    }
    kit.submit(PAYER, reserve).unwrap();
    let (head, channel) = (kit.head(PAYER), kit.config().id(&kit.network()));
    kit.submit(PAYER, Command::WithdrawStart(WithdrawStart { head, channel })).unwrap();
    kit
}

#[test]
fn the_root_kept_from_batch_to_batch_is_the_root_of_the_rows() {
    let mut kit = busy();
    for seconds in [1, 70, 700, 4_000] {
        kit.now = kit.now.plus_secs(seconds);
        kit.batch(vec![]);
        let snapshot = kit.sequencer.snapshot(&kit.genesis);
        // Reading computes the root anew from every row and compares.
        let mut read = Sequencer::from_snapshot(&kit.genesis, &snapshot).unwrap();
        assert_eq!(read.root_now(), kit.sequencer.root_now());
        assert_eq!(read.economy(), kit.sequencer.economy());
        assert_eq!(read.snapshot(&kit.genesis), snapshot);
    }
}

#[test]
fn a_snapshot_in_the_middle_changes_no_header() {
    let mut kit = busy();
    let mut with = kit.replayed();
    let mut without = kit.replayed();
    for _ in 0..5 {
        let now = kit.now;
        let transfer = kit.transfer(PAYER, HOST, 1);
        let entry = Verified::check(&kit.network(), kit.sign(PAYER, transfer)).unwrap();
        with.snapshot(&kit.genesis);
        let first = with.propose(now, vec![entry.clone()], &kit.calls).batch;
        let second = without.propose(now, vec![entry], &kit.calls).batch;
        assert_eq!(first.header, second.header);
        kit.now = kit.now.plus_secs(1);
    }
}

#[test]
fn a_changed_snapshot_is_refused_and_no_bytes_make_reading_panic() {
    let mut kit = busy();
    let good = kit.sequencer.snapshot(&kit.genesis);
    let mut accepted = 0;
    for at in 0..good.bytes.len() {
        let mut bytes = good.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let damaged = Snapshot { bytes: bytes.clone(), ..good.clone() };
        assert!(Sequencer::from_snapshot(&kit.genesis, &damaged).is_err(), "byte {at}");
        // Even with an honest hash over dishonest bytes: at most the fields beside the rows can be believed.
        let forged = Snapshot { hash: Hash::sha256(&bytes), bytes, ..good.clone() };
        if Sequencer::from_snapshot(&kit.genesis, &forged).is_ok() {
            accepted += 1;
        }
    }
    // time, prev, state_root, state_root_seq and epoch: the log's next header decides about them.
    assert!(accepted < 80, "{accepted} of {} bytes can be changed", good.bytes.len());
    for length in 0..good.bytes.len() {
        let bytes = good.bytes[..length].to_vec();
        let cut = Snapshot { hash: Hash::sha256(&bytes), bytes, ..good.clone() };
        assert!(Sequencer::from_snapshot(&kit.genesis, &cut).is_err(), "cut to {length}");
    }
}

#[test]
fn a_nodes_own_log_is_replayed_without_asking_for_wallet_signatures_again() {
    let kit = busy();
    let mut own = Sequencer::new(&kit.genesis).unwrap();
    for (batch, _) in &kit.log {
        own.replay_own(batch, &kit.calls).unwrap();
    }
    assert_eq!(own.economy(), kit.sequencer.economy());
    assert_eq!(own.prev(), kit.sequencer.prev());
}

#[test]
fn a_batch_of_an_older_writer_halts_replay() {
    let kit = busy();
    let mut sequencer = Sequencer::new(&kit.genesis).unwrap();
    let mut first = kit.log[0].0.clone();
    first.header.epoch = 2;
    sequencer.replay(&first, &kit.calls).unwrap();
    let mut second = kit.log[1].0.clone();
    second.header.prev = sequencer.prev();
    second.header.epoch = 1;
    let halt = sequencer.replay(&second, &kit.calls).unwrap_err();
    assert!(halt.what.contains("older writer"), "{halt}");
}
