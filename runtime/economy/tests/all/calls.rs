//! What payer, host, owner and contributors can rely on when a call is settled and finalized.

use agora_economy::testkit::*;
use agora_ledger::SystemAccount;
use agora_receipts::{Receipt, Role};
use agora_types::batch::Entry;
use agora_types::command::*;
use agora_types::{Address, Amount, CallId, Code, Hash, Signed, Timestamp};

fn settle(kit: &mut Kit, receipt: &Receipt) -> Result<(), Code> {
    let command = kit.settle_command(receipt);
    kit.submit(HOST, Command::SettleCall(Box::new(command)))
}

fn finalize(kit: &mut Kit, receipt: &Receipt) -> Result<(), Code> {
    let command = kit.finalize_command(receipt);
    kit.submit(HOST, command)
}

fn held(kit: &Kit, account: SystemAccount) -> u128 {
    kit.balance(&account.address())
}

#[test]
fn a_call_pays_host_and_owner_at_once_and_contributors_by_their_weights_later() {
    let mut kit = Kit::ready();
    let owner = kit.balance(&key(OWNER).address());
    let receipt = kit.settle(1, 100, 1_000);
    assert_eq!(receipt.charge, atoms(100_000));
    assert_eq!(kit.balance(&key(HOST).address()), 20_000);
    assert_eq!(kit.balance(&key(OWNER).address()) - owner, 20_000);
    assert_eq!(held(&kit, SystemAccount::Validators), 5_000);
    assert_eq!(held(&kit, SystemAccount::Platform), 5_000);
    assert_eq!(held(&kit, SystemAccount::Suspense), 50_000);
    let last = kit.final_receipt(&receipt);
    finalize(&mut kit, &last).unwrap();
    let paid: Vec<u128> = CONTRIBUTORS.iter().map(|number| kit.balance(&key(*number).address())).collect();
    assert_eq!(paid, [25_000, 15_000, 10_000]);
    assert_eq!(held(&kit, SystemAccount::Suspense), 0);
    assert_eq!(kit.receipts.len(), 2);
    assert_eq!(Signed::<Receipt>::from_bytes(&kit.receipts[1]).unwrap().payload(), &last);
}

#[test]
fn a_repeat_of_a_call_moves_nothing_and_another_call_under_its_id_is_refused() {
    let mut kit = Kit::ready();
    let receipt = kit.settle(1, 100, 1_000);
    let before = kit.economy().state().ledger.accounts.clone();
    let mut again = kit.settle_command(&receipt);
    again.head = kit.head(HOST);
    assert_eq!(kit.submit(HOST, Command::SettleCall(Box::new(again.clone()))), Ok(()));
    again.head = kit.head(HOST);
    again.charge = atoms(7);
    assert_eq!(kit.submit(HOST, Command::SettleCall(Box::new(again))), Err(Code::CallDifferent));
    assert!(kit.economy().state().ledger.accounts == before);
    assert_eq!(kit.receipts.len(), 1);

    let last = kit.final_receipt(&receipt);
    finalize(&mut kit, &last).unwrap();
    assert_eq!(finalize(&mut kit, &last), Ok(()));
    let other = Receipt { time: kit.now.plus_secs(5), ..last };
    assert_eq!(finalize(&mut kit, &other), Err(Code::CallFinal));
    assert_eq!(settle(&mut kit, &receipt), Ok(()), "a finished call still answers its repeat");
    assert_eq!(kit.receipts.len(), 2);
}

#[test]
fn two_settlements_of_one_call_in_one_batch_are_one() {
    let mut kit = Kit::ready();
    let receipt = kit.receipt(1, 10, 1_000);
    let (one, two) = (kit.settle_command(&receipt), kit.settle_command(&receipt));
    let entries: Vec<Entry> = [one, two].map(|command| kit.sign(HOST, Command::SettleCall(Box::new(command)))).into();
    assert_eq!(kit.batch(entries), [Ok(()), Ok(())]);
    assert_eq!(kit.receipts.len(), 1);
}

#[test]
fn without_a_final_receipt_the_contributor_part_goes_to_the_commons_and_the_host_loses_standing() {
    let mut kit = Kit::ready();
    let receipt = kit.settle(1, 100, 1_000);
    let last = kit.final_receipt(&receipt);
    kit.now = kit.now.plus_secs(3_601);
    kit.batch(vec![]);
    assert_eq!(held(&kit, SystemAccount::Suspense), 0);
    assert_eq!(held(&kit, SystemAccount::Commons), 50_000);
    assert_eq!(kit.economy().state().missed_finals.get(&key(HOST).address()), Some(&1));
    assert_eq!(finalize(&mut kit, &last), Err(Code::CallTooLate));
    assert_eq!(settle(&mut kit, &receipt), Ok(()), "its repeat still gets the first answer");
}

#[test]
fn a_listing_without_datanets_pays_the_commons() {
    let mut kit = Kit::ready();
    let mut command = kit.register_listing();
    if let Command::RegisterListing(listing) = &mut command {
        listing.datanets.clear();
    }
    kit.submit(OWNER, command).unwrap();
    let receipt = Receipt { datanets: vec![], ..kit.receipt(1, 100, 1_000) };
    settle(&mut kit, &receipt).unwrap();
    let last = kit.final_receipt(&receipt);
    assert_eq!(last.legs.len(), 1);
    assert_eq!((last.legs[0].role, last.attribution.explained), (Role::Commons, 0));
    finalize(&mut kit, &last).unwrap();
    assert_eq!(held(&kit, SystemAccount::Commons), 50_000);
}

#[test]
fn contributors_are_paid_by_the_weights_of_the_time_of_the_call() {
    let mut kit = Kit::ready();
    let receipt = kit.settle(1, 100, 1_000);
    let mut newer = kit.register_datanet(2);
    if let Command::RegisterDatanet(datanet) = &mut newer {
        datanet.members.truncate(1);
    }
    kit.submit(OWNER, newer).unwrap();
    let last = kit.final_receipt(&receipt);
    finalize(&mut kit, &last).unwrap();
    let paid: Vec<u128> = CONTRIBUTORS.iter().map(|number| kit.balance(&key(*number).address())).collect();
    assert_eq!(paid, [25_000, 15_000, 10_000]);
}

#[test]
fn a_free_call_leaves_a_receipt_and_moves_nothing() {
    let mut kit = Kit::ready();
    let receipt = kit.settle(1, 0, 1_000);
    assert!(receipt.legs.is_empty());
    let last = kit.final_receipt(&receipt);
    finalize(&mut kit, &last).unwrap();
    assert_eq!(kit.receipts.len(), 2);
    assert_eq!(kit.balance(&key(HOST).address()), 0);
}

#[test]
fn a_receipt_that_says_anything_else_is_refused_and_nothing_moves() {
    type Change = fn(&mut Receipt);
    let lies: &[(&str, Change, Code)] = &[
        ("version", |r| r.version = 2, Code::ReceiptMismatch),
        ("kind", |r| r.kind = agora_receipts::Kind::Service, Code::ReceiptMismatch),
        ("network", |r| r.network += 1, Code::ReceiptMismatch),
        ("host", |r| r.host = Address::ZERO, Code::ReceiptMismatch),
        ("payer", |r| r.payer = Address::ZERO, Code::ReceiptMismatch),
        ("payee", |r| r.payee = Address::ZERO, Code::ReceiptMismatch),
        ("base", |r| r.base_hash = Some(Hash::ZERO), Code::ReceiptMismatch),
        ("adapter", |r| r.adapter_hash = None, Code::ReceiptMismatch),
        ("datanet root", |r| r.datanets[0].root = Hash::ZERO, Code::ReceiptMismatch),
        ("no datanets", |r| r.datanets.clear(), Code::ReceiptMismatch),
        ("usage", |r| r.usage.output += 1, Code::ReceiptMismatch),
        ("prices", |r| r.prices.hidden = atoms(1), Code::ReceiptMismatch),
        ("channel", |r| r.channel = None, Code::ReceiptMismatch),
        ("attribution", |r| r.attribution.method = "guess".into(), Code::ReceiptMismatch),
        ("parents", |r| r.parents = vec![Hash::ZERO; 17], Code::ReceiptMismatch),
        ("listing", |r| r.listing = None, Code::ReceiptMismatch),
        ("other listing", |r| r.listing = Some(agora_types::ListingId::ZERO), Code::ListingNotFound),
        ("a leg", |r| r.legs[1].amount = atoms(1), Code::SplitMismatch),
        ("a leg's account", |r| r.legs[0].account = Address::ZERO, Code::SplitMismatch),
        (
            "a missing leg",
            |r| {
                r.legs.pop();
            },
            Code::SplitMismatch,
        ),
    ];
    for (what, lie, code) in lies {
        let mut kit = Kit::ready();
        let before = kit.economy().state().ledger.accounts.clone();
        let mut receipt = kit.receipt(1, 100, 1_000);
        // `prices.hidden` changes nothing in the charge: make it matter.
        receipt.usage.hidden = if *what == "prices" { 1 } else { 0 };
        lie(&mut receipt);
        assert_eq!(settle(&mut kit, &receipt), Err(*code), "{what}");
        assert!(kit.economy().state().ledger.accounts == before, "{what}");
        assert!(kit.receipts.is_empty(), "{what}");
    }
}

#[test]
fn a_final_receipt_that_pays_anyone_else_is_refused() {
    type Change = fn(&mut Receipt);
    let lies: &[(&str, Change, Code)] = &[
        ("a leg", |r| r.legs[0].amount = atoms(1), Code::SplitMismatch),
        ("a leg's account", |r| r.legs[0].account = key(HOST).address(), Code::SplitMismatch),
        ("totals", |r| r.attribution.totals.clear(), Code::SplitMismatch),
        ("explained", |r| r.attribution.explained -= 1, Code::SplitMismatch),
        ("usage", |r| r.usage.output += 1, Code::ReceiptMismatch),
        ("response", |r| r.response_commit = Hash::ZERO, Code::ReceiptMismatch),
        ("reference", |r| r.state = agora_receipts::State::Final { index: 9, leaf: Hash::ZERO }, Code::ReceiptMismatch),
        ("state", |r| r.state = agora_receipts::State::Provisional, Code::ReceiptMismatch),
    ];
    for (what, lie, code) in lies {
        let mut kit = Kit::ready();
        let receipt = kit.settle(1, 100, 1_000);
        let mut last = kit.final_receipt(&receipt);
        lie(&mut last);
        assert_eq!(finalize(&mut kit, &last), Err(*code), "{what}");
        assert_eq!(held(&kit, SystemAccount::Suspense), 50_000, "{what}");
    }
}

#[test]
fn a_settlement_is_bound_to_host_channel_and_voucher() {
    let refused = |change: &dyn Fn(&mut Kit, &mut SettleCall), signer: u8| {
        let mut kit = Kit::ready();
        let receipt = kit.receipt(1, 100, 1_000);
        let mut command = kit.settle_command(&receipt);
        change(&mut kit, &mut command);
        kit.submit(signer, Command::SettleCall(Box::new(command))).unwrap_err()
    };
    assert_eq!(refused(&|_, c| c.call_id = CallId::ZERO, HOST), Code::CallIdZero);
    assert_eq!(refused(&|_, c| c.cumulative = atoms(99_999), HOST), Code::CumulativeMismatch);
    assert_eq!(
        refused(
            &|kit, c| {
                c.max_claimable = atoms(99_999);
                c.voucher_signature = kit.voucher(&c.config, c.max_claimable).signature;
            },
            HOST
        ),
        Code::ChargeExceedsVoucher
    );
    assert_eq!(
        refused(
            &|kit, c| {
                c.max_claimable = Amount::from_open(101);
                c.voucher_signature = kit.voucher(&c.config, c.max_claimable).signature;
            },
            HOST
        ),
        Code::ExceedsBalance
    );
    assert_eq!(refused(&|_, c| c.head.signer = key(OWNER).address(), OWNER), Code::AuthorizerMismatch);
    let other_config = |change: fn(&mut agora_types::channel::ChannelConfig)| {
        move |kit: &mut Kit, c: &mut SettleCall| {
            change(&mut c.config);
            c.voucher_signature = kit.voucher(&c.config, c.max_claimable).signature;
        }
    };
    assert_eq!(refused(&other_config(|c| c.salt = Hash::new([1; 32])), HOST), Code::ChannelNotFound);
    assert_eq!(refused(&other_config(|c| c.receiver = key(HOST).address()), HOST), Code::ReceiverNotListing);
}

#[test]
fn only_a_listed_host_with_a_living_receipt_key_settles() {
    let mut kit = Kit::ready();
    let revoke = RevokeKey {
        head: kit.head(HOST),
        kind: KeyKind::Receipt,
        key: PublicKey::Statement(Kit::host_signer().public()),
    };
    kit.submit(HOST, Command::RevokeKey(revoke)).unwrap();
    let receipt = kit.receipt(1, 1, 1_000);
    assert_eq!(settle(&mut kit, &receipt), Err(Code::KeyRevoked));

    let mut kit = Kit::ready();
    kit.now = kit.now.plus_secs(31_536_001);
    let receipt = kit.receipt(1, 1, 1_000);
    assert_eq!(settle(&mut kit, &receipt), Err(Code::KeyExpired));

    let mut kit = Kit::ready();
    let receipt = kit.receipt(1, 1, 1_000);
    let mut command = kit.settle_command(&receipt);
    let stranger = agora_types::key::StatementSigner::from_bytes(&[77; 32]);
    command.receipt = Signed::sign(receipt, &stranger).to_bytes();
    assert_eq!(kit.submit(HOST, Command::SettleCall(Box::new(command))), Err(Code::HostKeyUnknown));

    let mut kit = Kit::ready();
    let mut listing = kit.register_listing();
    if let Command::RegisterListing(listing) = &mut listing {
        listing.hosts = vec![key(OPERATOR).address()];
    }
    kit.submit(OWNER, listing).unwrap();
    let receipt = kit.receipt(1, 1, 1_000);
    assert_eq!(settle(&mut kit, &receipt), Err(Code::HostNotListed));
}

#[test]
fn another_host_cannot_finalize_and_unknown_calls_are_unknown() {
    let mut kit = Kit::ready();
    let receipt = kit.settle(1, 100, 1_000);
    let last = kit.final_receipt(&receipt);
    let mut command = kit.finalize_command(&last);
    if let Command::FinalizeCall(command) = &mut command {
        command.head.signer = key(OWNER).address();
    }
    assert_eq!(kit.submit(OWNER, command), Err(Code::HostNotListed));
    let unknown = Receipt { call_id: CallId::new([99; 16]), ..last };
    assert_eq!(finalize(&mut kit, &unknown), Err(Code::CallNotFound));
}

#[test]
fn money_of_attributed_calls_cannot_bypass_attribution() {
    let mut kit = Kit::ready();
    let config = kit.config();
    let voucher = kit.voucher(&config, atoms(5_000));
    let claim = Command::Claim(Claim {
        claims: vec![VoucherClaim {
            config,
            max_claimable: atoms(5_000),
            voucher_signature: voucher.signature,
            total_claimed: atoms(5_000),
        }],
    });
    assert_eq!(kit.submit(HOST, claim), Err(Code::AttributedReceiver));
}

#[test]
fn two_payers_may_choose_the_same_call_id() {
    let mut kit = Kit::ready();
    kit.settle(1, 10, 1_000);
    // The operator pays through a channel of its own.
    let config = agora_types::channel::ChannelConfig { payer: key(OPERATOR).address(), ..kit.config() };
    let deposit = Deposit {
        config: config.clone(),
        amount: Amount::from_open(1),
        valid_after: 0,
        valid_before: kit.now.as_secs() + 60,
        salt: Hash::ZERO,
    };
    kit.submit(OPERATOR, Command::Deposit(deposit)).unwrap();
    let charge = atoms(10_000);
    let receipt = Receipt {
        payer: config.payer,
        channel: Some(config.id(&kit.network())),
        cumulative: charge,
        ..kit.receipt(1, 10, 1_000)
    };
    let mut command = kit.settle_command(&receipt);
    command.voucher_signature = kit.voucher(&config, charge).signature;
    command.config = config;
    assert_eq!(kit.submit(HOST, Command::SettleCall(Box::new(command))), Ok(()));
    assert_eq!(kit.receipts.len(), 2);
}

#[test]
fn time_never_falls_back_in_the_log() {
    let mut kit = Kit::ready();
    let before = kit.sequencer.time();
    kit.now = Timestamp::ZERO;
    kit.batch(vec![]);
    assert!(kit.sequencer.time() > before);
}
