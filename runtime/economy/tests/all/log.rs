//! What a second machine can rely on: the log alone gives the same state, and a changed log is not accepted.

use agora_economy::testkit::*;
use agora_economy::{Sequencer, Verified};
use agora_types::batch::{Batch, Body};
use agora_types::command::*;
use agora_types::genesis::Parameters;
use agora_types::{Amount, Canonical as _, Code, Hash};
use proptest::prelude::*;

/// A history that touches every kind of command.
fn history() -> Kit {
    let mut kit = Kit::new(Parameters { state_root_interval: 4, ..Parameters::default() });
    kit.register();
    kit.deposit(Amount::from_open(5), 0);
    for call in 1..6 {
        let receipt = kit.settle(call, 50, 1_000 + u128::from(call));
        if call % 2 == 0 {
            let last = kit.final_receipt(&receipt);
            let command = kit.finalize_command(&last);
            kit.submit(HOST, command).unwrap();
        }
        let transfer = kit.transfer(PAYER, 30 + call, 77);
        kit.submit(PAYER, transfer).unwrap();
    }
    kit.now = kit.now.plus_secs(4_000);
    kit.batch(vec![]);
    kit
}

#[test]
fn replay_gives_the_same_state_byte_for_byte() {
    let mut kit = history();
    let mut again = kit.replayed();
    assert_eq!(again.economy(), kit.sequencer.economy());
    assert_eq!(again.prev(), kit.sequencer.prev());
    assert_eq!(again.snapshot(&kit.genesis), kit.sequencer.snapshot(&kit.genesis));
    let roots: Vec<u64> = kit.log.iter().map(|(batch, _)| batch.header.state_root_seq).collect();
    assert!(roots.windows(2).all(|pair| pair[0] <= pair[1]) && *roots.last().unwrap() >= 12, "{roots:?}");
}

#[test]
fn a_snapshot_goes_on_where_the_log_was() {
    let mut kit = history();
    for cut in [3, 8, kit.log.len() - 1] {
        let mut first = Sequencer::new(&kit.genesis).unwrap();
        for (batch, _) in &kit.log[..cut] {
            first.replay(batch, &kit.calls).unwrap();
        }
        let snapshot = first.snapshot(&kit.genesis);
        let mut second = Sequencer::from_snapshot(&kit.genesis, &snapshot).unwrap();
        for (batch, _) in &kit.log[cut..] {
            second.replay(batch, &kit.calls).unwrap();
        }
        assert_eq!(second.economy(), kit.sequencer.economy(), "cut at {cut}");
    }
    let snapshot = kit.sequencer.snapshot(&kit.genesis);
    let mut other = kit.genesis.clone();
    other.chain_id += 1;
    assert!(Sequencer::from_snapshot(&other, &snapshot).is_err());
    let mut short = snapshot;
    short.bytes.truncate(100);
    assert!(Sequencer::from_snapshot(&kit.genesis, &short).is_err());
}

/// The batch with another body, honestly hashed.
fn with_body(batch: &Batch, change: impl FnOnce(&mut Body)) -> Batch {
    let mut body = batch.open().unwrap();
    change(&mut body);
    let bytes = body.to_bytes();
    let mut header = batch.header.clone();
    header.body_hash = Hash::sha256(&bytes);
    header.body_size = u32::try_from(bytes.len()).unwrap();
    header.count = u32::try_from(body.entries.len()).unwrap();
    Batch { header, body: bytes }
}

#[test]
fn a_log_that_was_changed_anywhere_halts_replay() {
    let kit = history();
    let at = 5;
    let good = &kit.log[at].0;
    let refused = |batch: Batch| {
        let mut sequencer = Sequencer::new(&kit.genesis).unwrap();
        for (before, _) in &kit.log[..at] {
            sequencer.replay(before, &kit.calls).unwrap();
        }
        sequencer.replay(&batch, &kit.calls).expect_err("a changed batch").what
    };
    let header = |change: fn(&mut agora_types::batch::BatchHeader)| {
        let mut batch = good.clone();
        change(&mut batch.header);
        refused(batch)
    };
    assert!(header(|h| h.prev = Hash::ZERO).contains("follow"));
    assert!(header(|h| h.seq += 1).contains("follow"));
    assert!(header(|h| h.time = agora_types::Timestamp::ZERO).contains("time"));
    assert!(header(|h| h.state_root = Hash::sha256("x")).contains("roots"));
    assert!(header(|h| h.receipts_root = Hash::sha256("x")).contains("roots"));
    assert!(header(|h| h.receipts_size += 1).contains("roots"));
    assert!(header(|h| h.count += 1).contains("count"));
    let outcome = agora_types::batch::Outcome::refused(Code::AmountZero);
    assert!(refused(with_body(good, |body| body.outcomes[0] = outcome)).contains("outcomes"));
    assert!(
        refused(with_body(good, |body| body.entries[0].signature =
            kit.sign(OPERATOR, body.entries[0].command.clone()).signature))
        .contains("entry")
    );
    // A batch that was honestly rehashed is a fork: the next one no longer follows it.
    let fork = with_body(good, |body| {
        body.entries.clear();
        body.outcomes.clear();
    });
    let mut sequencer = Sequencer::new(&kit.genesis).unwrap();
    for (before, _) in &kit.log[..at] {
        sequencer.replay(before, &kit.calls).unwrap();
    }
    sequencer.replay(&fork, &kit.calls).unwrap();
    assert!(sequencer.replay(&kit.log[at + 1].0, &kit.calls).unwrap_err().what.contains("follow"));
}

/// One random command of the small world, and who signs it.
fn random(kit: &mut Kit, choice: u8, a: u8, b: u8, amount: u32) -> (u8, Command) {
    let people = [OPERATOR, PAYER, OWNER, HOST, FOUNDER, 30, 31];
    let (from, to) = (people[usize::from(a) % people.len()], people[usize::from(b) % people.len()]);
    let amount = u128::from(amount) * 10u128.pow(10);
    match choice % 8 {
        0..=2 => (from, kit.transfer(from, to, amount)),
        3 => {
            let Command::Transfer(mut transfer) = kit.transfer(from, to, amount) else { unreachable!() };
            transfer.pending = Some(Pending { timeout_s: 1 + u32::from(b), settler: key(HOST).address() });
            (from, Command::Transfer(transfer))
        }
        4 => {
            // Posts a recent reservation, or something that is none.
            let known: Vec<_> = kit.economy().state().ledger.pendings.iter().map(|(key, _)| *key).collect();
            let pick = known.get(usize::from(a) % known.len().max(1)).copied();
            let (pending_signer, pending_id) =
                pick.unwrap_or((key(PAYER).address(), agora_types::CommandId::new([1; 16])));
            let head = kit.head(HOST);
            if b.is_multiple_of(2) {
                (HOST, Command::VoidTransfer(VoidTransfer { head, pending_signer, pending_id }))
            } else {
                let amount = atoms(amount / 2 + 1);
                (HOST, Command::PostTransfer(PostTransfer { head, pending_signer, pending_id, amount }))
            }
        }
        5 => (PAYER, kit.deposit_command(atoms(amount), b)),
        6 => {
            let receipt = kit.receipt(1 + a % 40, u64::from(b), amount / 1_000_000_000 + 1);
            (HOST, Command::SettleCall(Box::new(kit.settle_command(&receipt))))
        }
        _ => {
            let open: Vec<_> = kit.economy().state().open_calls.iter().map(|(key, _)| *key).collect();
            match open.get(usize::from(a) % open.len().max(1)) {
                Some((_, call)) => {
                    let leaf = kit
                        .receipts
                        .iter()
                        .map(|bytes| agora_types::Signed::<agora_receipts::Receipt>::from_bytes(bytes).unwrap())
                        .find(|receipt| receipt.payload().call_id == *call)
                        .unwrap();
                    let last = kit.final_receipt(leaf.payload());
                    (HOST, kit.finalize_command(&last))
                }
                None => (FOUNDER, Command::ReleaseVested(ReleaseVested { head: kit.head(FOUNDER), allocation: 3 })),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// `apply` asserts its invariants after every batch of so small a world; here nothing else may go wrong either.
    #[test]
    fn no_history_creates_or_loses_an_atom_and_every_history_replays(
        steps in proptest::collection::vec((any::<u8>(), any::<u8>(), any::<u8>(), any::<u32>(), 0u64..200), 1..120),
    ) {
        let mut kit = Kit::ready();
        let supply = kit.genesis.supply().unwrap();
        for (choice, a, b, amount, seconds) in steps {
            let (signer, command) = random(&mut kit, choice, a, b, amount);
            let entry = kit.sign(signer, command);
            let mut batch = vec![entry.clone()];
            if choice.is_multiple_of(5) {
                batch.push(entry);
            }
            kit.batch(batch);
            kit.now = kit.now.plus_secs(seconds);
        }
        prop_assert_eq!(kit.economy().state().ledger.supply(), supply);
        let total: u128 = kit.economy().state().ledger.accounts.iter()
            .filter(|(address, _)| **address != agora_types::Address::system("issuance"))
            .map(|(_, account)| account.balance().atoms())
            .sum();
        prop_assert_eq!(total, supply.atoms());
        let again = kit.replayed();
        prop_assert_eq!(again.prev(), kit.sequencer.prev());
        prop_assert!(again.economy() == kit.sequencer.economy());
    }

    #[test]
    fn entries_of_many_payers_verify_on_their_own(number in 30u8..90) {
        let mut kit = Kit::default();
        let command = kit.transfer(number, PAYER, 1);
        prop_assert!(Verified::check(&kit.network(), kit.sign(number, command.clone())).is_ok());
        prop_assert!(Verified::check(&kit.network(), kit.sign(number + 1, command)).is_err());
    }
}
