//! Everything that moves money or changes a right may be repeated: the first answer, and nothing changes.

use agora_economy::testkit::{FOUNDER, HOST, Kit, OWNER, PAYER, SESSION, atoms, key};
use agora_types::batch::Entry;
use agora_types::channel::ChannelConfig;
use agora_types::command::*;
use agora_types::{Amount, Code, Hash};

/// Paid by the channel without a listing.
const SHOP: u8 = 7;

/// Sends an entry twice: accepted both times, and the second time nothing changes.
fn twice(kit: &mut Kit, number: u8, command: Command, seen: &mut [bool; KINDS]) {
    seen[usize::from(command.kind())] = true;
    let name = command.kind_name();
    let entry = kit.sign(number, command);
    assert_eq!(kit.batch(vec![entry.clone()]), [Ok(())], "{name}");
    let (before, receipts) = (kit.economy().clone(), kit.receipts.len());
    assert_eq!(kit.batch(vec![entry.clone(), entry.clone()]), [Ok(()); 2], "{name}, again");
    assert!(*kit.economy() == before && kit.receipts.len() == receipts, "a repeated {name} changed something");
    different(kit, number, entry);
}

/// Other content under the same id is refused.
fn different(kit: &mut Kit, number: u8, entry: Entry) {
    let Some(head) = entry.command.head().copied() else { return };
    let other = VoidTransfer { head, pending_signer: head.signer, pending_id: head.id };
    let other = Command::VoidTransfer(other);
    if other != entry.command {
        assert_eq!(kit.submit(number, other), Err(Code::ExistsDifferent), "{}", entry.command.kind_name());
    }
}

fn pending(kit: &mut Kit) -> (Command, Head) {
    let mut command = kit.transfer(PAYER, HOST, 500);
    if let Command::Transfer(transfer) = &mut command {
        transfer.pending = Some(Pending { timeout_s: 60, settler: transfer.credit });
    }
    let head = *command.head().expect("a transfer has a head");
    (command, head)
}

#[test]
fn every_kind_of_command_may_be_repeated_and_changes_nothing_the_second_time() {
    let mut kit = Kit::default();
    let seen = &mut [false; KINDS];
    let (key_command, datanet) = (kit.register_key(), kit.register_datanet(1));
    let listing = kit.register_listing();
    twice(&mut kit, HOST, key_command, seen);
    twice(&mut kit, OWNER, datanet, seen);
    twice(&mut kit, OWNER, listing, seen);

    let plain = kit.transfer(PAYER, OWNER, 5);
    twice(&mut kit, PAYER, plain, seen);
    let (reserve, first) = pending(&mut kit);
    twice(&mut kit, PAYER, reserve, seen);
    let (head, amount) = (kit.head(HOST), atoms(400));
    let post = PostTransfer { head, pending_signer: first.signer, pending_id: first.id, amount };
    twice(&mut kit, HOST, Command::PostTransfer(post), seen);
    let (reserve, second) = pending(&mut kit);
    kit.submit(PAYER, reserve).unwrap();
    let head = kit.head(HOST);
    let void = VoidTransfer { head, pending_signer: second.signer, pending_id: second.id };
    twice(&mut kit, HOST, Command::VoidTransfer(void), seen);

    let held = kit.upto(key(SHOP).address(), 900, HOST, 1);
    let hold = kit.hold_command(HOST, &held);
    twice(&mut kit, HOST, hold, seen);
    let service = kit.service_receipt(9, key(SHOP).address(), 700);
    let settle = kit.settle_held_command(&held, &service);
    twice(&mut kit, HOST, settle, seen);

    let deposit = kit.deposit_command(Amount::from_open(10), 0);
    twice(&mut kit, PAYER, deposit, seen);
    let receipt = kit.receipt(1, 10, 1_000_000);
    let settle = kit.settle_command(&receipt);
    twice(&mut kit, HOST, Command::SettleCall(Box::new(settle)), seen);
    let last = kit.final_receipt(&receipt);
    let finalize = kit.finalize_command(&last);
    twice(&mut kit, HOST, finalize, seen);

    let measured = kit.register_measured();
    kit.submit(OWNER, measured).unwrap();
    let receipt = kit.settle(2, 10, 1_000_000);
    let last = kit.measured_receipt(&receipt, 300);
    let finalize = kit.finalize_command(&last);
    kit.submit(HOST, finalize).unwrap();
    let rows = [(OWNER, 100), (FOUNDER, 150)];
    let publish = kit.publish_command(1, &rows);
    twice(&mut kit, HOST, publish, seen);
    let claim = kit.claim_command(PAYER, 1, &rows, FOUNDER);
    twice(&mut kit, PAYER, claim, seen);
    let commit = CommitData {
        head: kit.head(OWNER),
        datanet: Kit::datanet(),
        root: Hash::sha256("contents"),
        count: 2,
        licence: Hash::sha256("CC0-1.0"),
    };
    twice(&mut kit, OWNER, Command::CommitData(commit), seen);

    let config = ChannelConfig { receiver: key(SHOP).address(), ..kit.config() };
    let Command::Deposit(open) = kit.deposit_command(Amount::from_open(10), 1) else { unreachable!() };
    kit.submit(PAYER, Command::Deposit(Deposit { config: config.clone(), ..open })).unwrap();
    let voucher_signature = kit.voucher(&config, atoms(70)).signature;
    let one =
        VoucherClaim { config: config.clone(), max_claimable: atoms(70), voucher_signature, total_claimed: atoms(60) };
    twice(&mut kit, HOST, Command::Claim(Claim { claims: vec![one] }), seen);
    let head = kit.head(SHOP);
    twice(&mut kit, SHOP, Command::Settle(Settle { head, receiver: key(SHOP).address() }), seen);
    let refund = Refund { config: config.clone(), nonce: 0, amount: atoms(9) };
    twice(&mut kit, HOST, Command::Refund(refund), seen);

    let channel = config.id(&kit.network());
    let head = kit.head(SESSION);
    twice(&mut kit, SESSION, Command::WithdrawStart(WithdrawStart { head, channel }), seen);
    kit.now = kit.now.plus_secs(900);
    let head = kit.head(PAYER);
    twice(&mut kit, PAYER, Command::WithdrawFinish(WithdrawFinish { head, channel }), seen);
    let head = kit.head(FOUNDER);
    twice(&mut kit, FOUNDER, Command::ReleaseVested(ReleaseVested { head, allocation: 3 }), seen);
    let (head, key) = (kit.head(HOST), PublicKey::Statement(Kit::host_signer().public()));
    twice(&mut kit, HOST, Command::RevokeKey(RevokeKey { head, kind: KeyKind::Receipt, key }), seen);
    assert_eq!(*seen, [true; KINDS], "every kind was repeated");
    assert_eq!(kit.replayed().economy(), kit.sequencer.economy());
}
