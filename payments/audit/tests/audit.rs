//! An honest log audits clean, to the atom; a log with any lie in it does not.

use agora_audit::{Finding, audit};
use agora_economy::testkit::*;
use agora_types::batch::{Batch, Body, Entry, Outcome};
use agora_types::command::*;
use agora_types::genesis::Parameters;
use agora_types::{Address, Amount, Canonical as _, Code, CommandId, Hash};

fn log(kit: &Kit) -> Vec<Batch> {
    kit.log.iter().map(|(batch, _)| batch.clone()).collect()
}

fn reserve(kit: &mut Kit, amount: u128) -> CommandId {
    let head = kit.head(PAYER);
    let pending = Some(Pending { timeout_s: 60, settler: key(HOST).address() });
    let credit = key(HOST).address();
    let command = Transfer { head, credit, amount: atoms(amount), pending, reference: 0, receipt: None };
    kit.submit(PAYER, Command::Transfer(command)).unwrap();
    head.id
}

/// A history with every kind of command, with refusals and repeats among them.
fn history(parameters: Parameters) -> Kit {
    let mut kit = Kit::new(parameters);
    kit.register();
    kit.deposit(Amount::from_open(5), 0);
    for call in 1..8 {
        let receipt = kit.settle(call, 50, 1_000 + 37 * u128::from(call));
        if call % 3 != 0 {
            let last = kit.final_receipt(&receipt);
            for _ in 0..2 {
                let command = kit.finalize_command(&last);
                kit.submit(HOST, command).unwrap();
            }
        }
        let again = kit.settle_command(&receipt);
        let _ = kit.submit(HOST, Command::SettleCall(Box::new(again)));
        let transfer = kit.transfer(PAYER, 30 + call, 77);
        kit.submit(PAYER, transfer.clone()).unwrap();
        kit.submit(PAYER, transfer).unwrap();
        let broke = kit.transfer(90, 91, 5);
        let good = kit.transfer(PAYER, 91, 5);
        let chain: Vec<Entry> = vec![kit.sign(PAYER, good).linked(), kit.sign(90, broke)];
        assert!(kit.batch(chain).iter().all(Result::is_err));
    }
    let measured = kit.register_measured();
    kit.submit(OWNER, measured).unwrap();
    for call in 20..24 {
        let receipt = kit.settle(call, 50, 1_000);
        let last = kit.measured_receipt(&receipt, 5_000 * u128::from(call - 20));
        let command = kit.finalize_command(&last);
        kit.submit(HOST, command).unwrap();
    }
    let rows = [(CONTRIBUTORS[0], 7_000), (CONTRIBUTORS[1], 9_000)];
    for epoch in [1, 1, 2] {
        let command = kit.publish_command(epoch, &rows);
        let _ = kit.submit(HOST, command);
    }
    for sender in [PAYER, OWNER] {
        let command = kit.claim_command(sender, 2, &rows, CONTRIBUTORS[0]);
        let _ = kit.submit(sender, command);
    }
    for number in [OWNER, OWNER] {
        let (head, root) = (kit.head(number), Hash::sha256("contents"));
        let commit = CommitData { head, datanet: Kit::datanet(), root, count: 2, licence: Hash::ZERO };
        let _ = kit.submit(number, Command::CommitData(commit));
    }
    let id = reserve(&mut kit, 1_000);
    let (head, pending_signer) = (kit.head(HOST), key(PAYER).address());
    let post = PostTransfer { head, pending_signer, pending_id: id, amount: atoms(400) };
    kit.submit(HOST, Command::PostTransfer(post)).unwrap();
    let id = reserve(&mut kit, 1_000);
    let void = VoidTransfer { head: kit.head(HOST), pending_signer, pending_id: id };
    kit.submit(HOST, Command::VoidTransfer(void)).unwrap();
    reserve(&mut kit, 1_000);
    kit.now = kit.now.plus_secs(120);
    let config = agora_types::channel::ChannelConfig { receiver: key(30).address(), ..kit.config() };
    let channel = config.id(&kit.network());
    let valid_before = kit.now.as_secs() + 100;
    let deposit = Deposit {
        config: config.clone(),
        amount: Amount::from_open(1),
        valid_after: 0,
        valid_before,
        salt: Hash::ZERO,
    };
    kit.submit(PAYER, Command::Deposit(deposit)).unwrap();
    let claims = vec![VoucherClaim {
        config: config.clone(),
        max_claimable: atoms(5_000),
        voucher_signature: kit.voucher(&config, atoms(5_000)).signature,
        total_claimed: atoms(4_000),
    }];
    kit.submit(HOST, Command::Claim(Claim { claims })).unwrap();
    let settle = Settle { head: kit.head(OWNER), receiver: key(30).address() };
    kit.submit(OWNER, Command::Settle(settle)).unwrap();
    let refund = Refund { config, nonce: 0, amount: atoms(1_000) };
    kit.submit(HOST, Command::Refund(refund.clone())).unwrap();
    kit.submit(HOST, Command::Refund(refund)).unwrap();
    let start = WithdrawStart { head: kit.head(PAYER), channel };
    kit.submit(PAYER, Command::WithdrawStart(start)).unwrap();
    kit.now = kit.now.plus_secs(1_000);
    let finish = WithdrawFinish { head: kit.head(PAYER), channel };
    kit.submit(PAYER, Command::WithdrawFinish(finish)).unwrap();
    let release = ReleaseVested { head: kit.head(FOUNDER), allocation: 3 };
    kit.submit(FOUNDER, Command::ReleaseVested(release)).unwrap();
    let revoke = RevokeKey {
        head: kit.head(HOST),
        kind: KeyKind::Receipt,
        key: PublicKey::Statement(Kit::host_signer().public()),
    };
    kit.submit(HOST, Command::RevokeKey(revoke)).unwrap();
    kit.now = kit.now.plus_secs(4_000);
    kit.batch(vec![]);
    kit
}

#[test]
fn an_honest_log_audits_clean_and_every_balance_is_the_ledgers() {
    for gas_price in [0, 3] {
        let kit = history(Parameters { gas_price: atoms(gas_price), ..Parameters::default() });
        let report = audit(&kit.genesis, &log(&kit)).expect("an honest log");
        assert_eq!(report.supply, kit.genesis.supply().unwrap());
        assert_eq!((report.calls, report.finalized, report.lapsed), (11, 9, 2));
        assert_eq!(report.receipts, kit.receipts.len() as u64);
        assert_eq!(report.suspense, Amount::ZERO);
        assert_eq!(report.earnings, atoms(5_000 + 10_000 + 15_000 - 7_000));
        assert!(report.refused > 0 && report.accepted > report.refused);
        assert_eq!(report.head, kit.sequencer.prev());
        for (account, amount) in &report.balances {
            assert_eq!(kit.balance(account), amount.atoms(), "{account}");
        }
        let accounts = kit.economy().state().ledger.accounts.iter();
        for (account, known) in accounts.filter(|(account, _)| **account != Address::system("issuance")) {
            let counted = report.balances.get(account).copied().unwrap_or_default();
            assert_eq!(counted, known.balance(), "{account}");
        }
    }
}

/// The log with one batch changed and the chain made whole again behind it, as a lying sequencer would.
fn rewritten(kit: &Kit, at: usize, change: impl FnOnce(&mut Body, &mut agora_types::batch::BatchHeader)) -> Finding {
    let mut batches = log(kit);
    let mut body = batches[at].open().unwrap();
    let mut header = batches[at].header.clone();
    change(&mut body, &mut header);
    let bytes = body.to_bytes();
    header.body_hash = Hash::sha256(&bytes);
    header.body_size = u32::try_from(bytes.len()).unwrap();
    header.count = u32::try_from(body.entries.len()).unwrap();
    batches[at] = Batch { header, body: bytes };
    for next in at + 1..batches.len() {
        batches[next].header.prev = batches[next - 1].header.hash();
    }
    audit(&kit.genesis, &batches).expect_err("a lie")
}

/// The first accepted entry of a kind: batch and place.
fn find(kit: &Kit, name: &str) -> (usize, usize) {
    for (at, (batch, _)) in kit.log.iter().enumerate() {
        let body = batch.open().unwrap();
        let mut entries = body.entries.iter().zip(&body.outcomes);
        if let Some(place) = entries.position(|(entry, outcome)| entry.command.kind_name() == name && outcome.is_ok()) {
            return (at, place);
        }
    }
    panic!("no accepted {name}");
}

#[test]
fn a_changed_command_is_found_by_its_signature() {
    let kit = history(Parameters::default());
    let (at, place) = find(&kit, "transfer");
    let finding = rewritten(&kit, at, |body, _| {
        let Command::Transfer(transfer) = &mut body.entries[place].command else { unreachable!() };
        transfer.amount = atoms(78);
    });
    assert!(finding.what.contains("signature"), "{finding}");
    assert_eq!((finding.seq, finding.entry), (at as u64, Some(place)));
    let (at, place) = find(&kit, "settle_call");
    let finding = rewritten(&kit, at, |body, _| {
        let Command::SettleCall(settle) = &mut body.entries[place].command else { unreachable!() };
        let last = settle.receipt.len() - 1;
        settle.receipt[last] ^= 1;
    });
    assert!(finding.what.contains("signature"), "{finding}");
}

#[test]
fn a_refusal_sold_as_a_success_is_found() {
    let kit = history(Parameters::default());
    for (at, (batch, _)) in kit.log.iter().enumerate() {
        let body = batch.open().unwrap();
        if body.outcomes.iter().all(|outcome| !outcome.is_ok()) && !body.outcomes.is_empty() {
            rewritten(&kit, at, |body, _| body.outcomes.fill(Outcome::OK));
            rewritten(&kit, at, |body, _| body.outcomes[0] = Outcome::OK);
        }
    }
}

#[test]
fn a_success_sold_as_a_refusal_is_found_where_money_or_receipts_depend_on_it() {
    let kit = history(Parameters::default());
    for name in [
        "deposit",
        "settle_call",
        "finalize_call",
        "register_listing",
        "register_datanet",
        "register_key",
        "publish_earnings",
    ] {
        let (at, place) = find(&kit, name);
        rewritten(&kit, at, |body, _| body.outcomes[place] = Outcome::refused(Code::ExceedsCredits));
    }
}

#[test]
fn a_second_receipt_for_a_call_is_found() {
    let kit = history(Parameters::default());
    let (at, place) = find(&kit, "settle_call");
    let mut other = kit.log[at].0.open().unwrap().entries[place].clone();
    let Command::SettleCall(settle) = &mut other.command else { unreachable!() };
    let signed = agora_types::Signed::<agora_receipts::Receipt>::from_bytes(&settle.receipt).unwrap();
    let changed = agora_receipts::Receipt { response_commit: Hash::ZERO, ..signed.payload().clone() };
    settle.receipt = agora_types::Signed::sign(changed, &Kit::host_signer()).to_bytes();
    let other = kit.sign(HOST, other.command);
    let finding = rewritten(&kit, at + 1, |body, _| {
        body.entries.push(other);
        body.outcomes.push(Outcome::OK);
    });
    assert!(finding.what.contains("twice"), "{finding}");
}

#[test]
fn a_split_that_favours_the_host_is_found_even_when_the_host_signs_it() {
    let kit = history(Parameters::default());
    let (at, place) = find(&kit, "settle_call");
    let mut entry = kit.log[at].0.open().unwrap().entries[place].clone();
    let Command::SettleCall(settle) = &mut entry.command else { unreachable!() };
    let signed = agora_types::Signed::<agora_receipts::Receipt>::from_bytes(&settle.receipt).unwrap();
    let mut receipt = signed.payload().clone();
    receipt.legs[0].amount = receipt.legs[0].amount.checked_sub(atoms(1)).unwrap();
    receipt.legs[2].amount = receipt.legs[2].amount.checked_add(atoms(1)).unwrap();
    settle.receipt = agora_types::Signed::sign(receipt, &Kit::host_signer()).to_bytes();
    let entry = kit.sign(HOST, entry.command);
    let finding = rewritten(&kit, at, |body, _| body.entries[place] = entry);
    assert!(finding.what.contains("split"), "{finding}");
}

#[test]
fn a_lie_about_the_receipt_tree_is_found() {
    let kit = history(Parameters::default());
    let (at, _) = find(&kit, "settle_call");
    for change in [
        |header: &mut agora_types::batch::BatchHeader| header.receipts_root = Hash::ZERO,
        |header: &mut agora_types::batch::BatchHeader| header.receipts_size += 1,
    ] {
        let finding = rewritten(&kit, at, |_, header| change(header));
        assert!(finding.what.contains("receipt log"), "{finding}");
    }
}

#[test]
fn dropped_reordered_and_doubled_batches_are_found() {
    let kit = history(Parameters::default());
    let good = log(&kit);
    let mut dropped = good.clone();
    dropped.remove(3);
    let mut swapped = good.clone();
    swapped.swap(3, 4);
    let mut doubled = good.clone();
    doubled.insert(3, good[2].clone());
    for bad in [dropped, swapped, doubled] {
        assert!(audit(&kit.genesis, &bad).unwrap_err().what.contains("follow"));
    }
    let mut other = kit.genesis.clone();
    other.allocations[0].amount = Amount::from_open(2_000);
    assert!(audit(&other, &good).is_err(), "another genesis is another network");
}

#[test]
fn money_from_nowhere_is_found() {
    let kit = history(Parameters::default());
    let mut thief = Kit::default();
    let transfer = thief.transfer(90, 91, 1_000_000);
    let entry = kit.sign(90, transfer);
    let finding = rewritten(&kit, 3, |body, _| {
        body.entries.push(entry);
        body.outcomes.push(Outcome::OK);
    });
    assert!(finding.what.contains("paid") || finding.what.contains("expiry"), "{finding}");
}
