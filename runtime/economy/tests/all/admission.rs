//! What enters the log: entries and chains whose gas is paid, and repeats however late they come.

use agora_economy::Verified;
use agora_economy::testkit::{HOST, Kit, OWNER, PAYER, atoms, key};
use agora_types::batch::{Entry, Submitter};
use agora_types::command::Command;
use agora_types::eip712::{command_digest, submission_digest};
use agora_types::genesis::Parameters;
use agora_types::{Amount, Code};

/// Has gas for exactly three transfers.
const POOR: u8 = 30;

/// A network where a transfer's gas is 100 atoms, and a submitter with 300.
fn network_with_gas() -> Kit {
    let mut kit = Kit::new(Parameters { gas_price: atoms(100), ..Parameters::default() });
    let command = kit.transfer(PAYER, POOR, 300);
    kit.submit(PAYER, command).unwrap();
    kit
}

fn submitted(kit: &mut Kit, amount: u128, gas_max: u128) -> Entry {
    let command = kit.transfer(PAYER, OWNER, amount);
    let network = kit.network();
    let (account, gas_max) = (key(POOR).address(), atoms(gas_max));
    let digest = submission_digest(&network, &account, &command_digest(&network, &command), gas_max);
    let submitter = Submitter { account, gas_max, signature: key(POOR).sign(&digest) };
    Entry { submitter: Some(submitter), ..kit.sign(PAYER, command) }
}

/// Amounts of the transfers that may enter the log.
fn admitted(kit: &Kit, entries: Vec<Entry>) -> Vec<u128> {
    let network = kit.network();
    let total = entries.len();
    let verified = entries.into_iter().map(|entry| Verified::check(&network, entry).unwrap()).collect();
    let (paid, unpaid) = kit.sequencer.drop_unpaid(verified);
    assert_eq!(paid.len() + unpaid.len(), total);
    let amount = |entry: &Verified| match &entry.entry().command {
        Command::Transfer(transfer) => transfer.amount.atoms(),
        other => panic!("only transfers were sent, not {other:?}"),
    };
    paid.iter().map(amount).collect()
}

#[test]
fn one_balance_pays_for_as_many_entries_as_it_covers() {
    let mut kit = network_with_gas();
    let entries = (1..=5).map(|amount| submitted(&mut kit, amount, 100)).collect();
    assert_eq!(admitted(&kit, entries), [1, 2, 3]);
    let too_low = submitted(&mut kit, 6, 99);
    assert_eq!(admitted(&kit, vec![too_low]), []);
}

#[test]
fn a_chain_that_cannot_pay_is_dropped_whole_and_links_to_no_stranger() {
    let mut kit = network_with_gas();
    let chain = [1, 2, 3, 4].map(|amount| submitted(&mut kit, amount, 100));
    let [first, second, third, last] = chain;
    let stranger = submitted(&mut kit, 9, 100);
    let entries = vec![first.linked(), second.linked(), third.linked(), last, stranger];
    assert_eq!(admitted(&kit, entries), [9], "the chain needs 400 atoms of gas, the submitter has 300");
    let [first, second, last] = [1, 2, 3].map(|amount| submitted(&mut kit, amount, 100));
    let stranger = submitted(&mut kit, 9, 100);
    assert_eq!(admitted(&kit, vec![first.linked(), second.linked(), last, stranger]), [1, 2, 3]);
}

#[test]
fn everything_that_was_admitted_pays_its_gas() {
    let mut kit = network_with_gas();
    let entries: Vec<Entry> = (1..=3).map(|amount| submitted(&mut kit, amount, 100)).collect();
    assert_eq!(admitted(&kit, entries.clone()).len(), 3);
    assert_eq!(kit.batch(entries), [Ok(()); 3]);
    assert_eq!(kit.economy().available(&key(POOR).address()), Amount::ZERO);
    let late = submitted(&mut kit, 4, 100);
    assert_eq!(kit.batch(vec![late]), [Err(Code::GasUnpaid)], "a dishonest sequencer moves nothing either");
}

#[test]
fn a_host_that_was_away_for_a_day_still_learns_that_it_was_paid() {
    let mut kit = Kit::ready();
    let receipt = kit.receipt(1, 10, 1_000_000);
    let settle = Command::SettleCall(Box::new(kit.settle_command(&receipt)));
    assert_eq!(kit.submit(HOST, settle.clone()), Ok(()));
    let last = kit.final_receipt(&receipt);
    let finalize = kit.finalize_command(&last);
    assert_eq!(kit.submit(HOST, finalize.clone()), Ok(()));
    let before = (kit.balance(&key(HOST).address()), kit.receipts.len());
    kit.now = kit.now.plus_secs(86_400);
    assert_eq!(kit.submit(HOST, settle), Ok(()));
    assert_eq!(kit.submit(HOST, finalize), Ok(()));
    let other = kit.receipt(1, 11, 1_000_000);
    let other = kit.settle_command(&other);
    assert_eq!(kit.submit(HOST, Command::SettleCall(Box::new(other))), Err(Code::CallDifferent));
    assert_eq!((kit.balance(&key(HOST).address()), kit.receipts.len()), before);
}
