//! What holders of OPEN can rely on: transfers, chains, ids, channels, keys and vesting, one code for each refusal.

use agora_economy::Verified;
use agora_economy::testkit::*;
use agora_ledger::SystemAccount;
use agora_types::batch::{Entry, Submitter};
use agora_types::channel::ChannelConfig;
use agora_types::command::*;
use agora_types::genesis::Parameters;
use agora_types::{Address, Amount, Code, CommandId, Hash, ListingId, eip712};

fn pending(kit: &mut Kit, amount: u128, timeout_s: u32) -> (Command, CommandId) {
    let head = kit.head(PAYER);
    let pending = Some(Pending { timeout_s, settler: key(HOST).address() });
    let credit = key(HOST).address();
    let transfer = Transfer { head, credit, amount: atoms(amount), pending, reference: 0, receipt: None };
    (Command::Transfer(transfer), head.id)
}

fn post(kit: &mut Kit, by: u8, pending_id: CommandId, amount: u128) -> Command {
    let (head, pending_signer) = (kit.head(by), key(PAYER).address());
    Command::PostTransfer(PostTransfer { head, pending_signer, pending_id, amount: atoms(amount) })
}

fn void(kit: &mut Kit, by: u8, pending_id: CommandId) -> Command {
    Command::VoidTransfer(VoidTransfer { head: kit.head(by), pending_signer: key(PAYER).address(), pending_id })
}

/// A channel that pays an ordinary account.
fn plain_config(kit: &Kit) -> ChannelConfig {
    ChannelConfig { receiver: key(30).address(), ..kit.config() }
}

fn deposit_into(kit: &Kit, config: ChannelConfig, amount: Amount, salt: u8) -> Deposit {
    let valid_before = kit.now.as_secs() + 600;
    Deposit { config, amount, valid_after: 0, valid_before, salt: Hash::new([salt; 32]) }
}

fn claim_of(kit: &Kit, config: &ChannelConfig, max: u128, total: u128) -> Command {
    let voucher = kit.voucher(config, atoms(max));
    let claims = vec![VoucherClaim {
        config: config.clone(),
        max_claimable: atoms(max),
        voucher_signature: voucher.signature,
        total_claimed: atoms(total),
    }];
    Command::Claim(Claim { claims })
}

#[test]
fn a_transfer_moves_exactly_its_amount_once() {
    let mut kit = Kit::default();
    let command = kit.transfer(PAYER, 30, 500);
    assert_eq!(kit.submit(PAYER, command.clone()), Ok(()));
    assert_eq!(kit.submit(PAYER, command.clone()), Ok(()), "a repeat gets the same answer");
    assert_eq!(kit.balance(&key(30).address()), 500);
    let Command::Transfer(mut other) = command else { unreachable!() };
    other.amount = atoms(501);
    assert_eq!(kit.submit(PAYER, Command::Transfer(other)), Err(Code::ExistsDifferent));
}

#[test]
fn each_refused_transfer_has_its_code() {
    let mut kit = Kit::default();
    let mut refused = |change: &dyn Fn(&mut Transfer)| {
        let Command::Transfer(mut transfer) = kit.transfer(PAYER, 30, 500) else { unreachable!() };
        change(&mut transfer);
        kit.submit(PAYER, Command::Transfer(transfer)).unwrap_err()
    };
    assert_eq!(refused(&|t| t.amount = atoms(0)), Code::AmountZero);
    assert_eq!(refused(&|t| t.credit = key(PAYER).address()), Code::SameAccounts);
    assert_eq!(refused(&|t| t.amount = Amount::from_open(1_001)), Code::ExceedsCredits);
    assert_eq!(refused(&|t| t.head.id = CommandId::ZERO), Code::IdZero);
    assert_eq!(refused(&|t| t.receipt = Some(0)), Code::ReceiptNotFound);
    assert_eq!(refused(&|t| t.head.expires_at = agora_types::Timestamp::ZERO), Code::CommandExpired);
    assert_eq!(refused(&|t| t.head.expires_at = t.head.expires_at.plus_secs(600)), Code::ExpiresTooLate);
    for account in SystemAccount::ALL {
        assert_eq!(refused(&|t| t.credit = account.address()), Code::SystemAccount, "{}", account.name());
    }
    for timeout_s in [0, 2_592_001] {
        let settler = key(HOST).address();
        assert_eq!(refused(&|t| t.pending = Some(Pending { timeout_s, settler })), Code::TimeoutRange);
    }
    let mut kit = Kit::ready();
    let Command::Transfer(mut transfer) = kit.transfer(PAYER, 30, 500) else { unreachable!() };
    transfer.credit = Address::listing(&Kit::listing());
    assert_eq!(kit.submit(PAYER, Command::Transfer(transfer)), Err(Code::SystemAccount));
    let broke = kit.transfer(99, 30, 1);
    assert_eq!(kit.submit(99, broke), Err(Code::DebitNotFound));
}

#[test]
fn a_refused_id_stays_refused_until_it_expires() {
    let mut kit = Kit::default();
    let command = kit.transfer(30, 31, 500);
    assert_eq!(kit.submit(30, command.clone()), Err(Code::DebitNotFound));
    let fund = kit.transfer(PAYER, 30, 500);
    kit.submit(PAYER, fund).unwrap();
    assert_eq!(kit.submit(30, command.clone()), Err(Code::IdFailed));
    kit.now = kit.now.plus_secs(61);
    assert_eq!(kit.submit(30, command), Err(Code::CommandExpired));
}

#[test]
fn a_reservation_is_posted_in_part_and_the_rest_is_free_again() {
    let mut kit = Kit::default();
    let start = kit.balance(&key(PAYER).address());
    let (command, id) = pending(&mut kit, 1_000, 60);
    kit.submit(PAYER, command).unwrap();
    assert_eq!(kit.economy().available(&key(PAYER).address()), atoms(start - 1_000));
    let too_much = post(&mut kit, HOST, id, 1_001);
    assert_eq!(kit.submit(HOST, too_much), Err(Code::ExceedsPending));
    let nothing = post(&mut kit, HOST, id, 0);
    assert_eq!(kit.submit(HOST, nothing), Err(Code::AmountZero));
    let stranger = post(&mut kit, OWNER, id, 1);
    assert_eq!(kit.submit(OWNER, stranger), Err(Code::NotSettler));
    let good = post(&mut kit, HOST, id, 300);
    assert_eq!(kit.submit(HOST, good), Ok(()));
    assert_eq!(kit.economy().available(&key(PAYER).address()), atoms(start - 300));
    assert_eq!(kit.balance(&key(HOST).address()), 300);
    let again = post(&mut kit, HOST, id, 300);
    assert_eq!(kit.submit(HOST, again), Err(Code::PendingPosted));
    let late = void(&mut kit, HOST, id);
    assert_eq!(kit.submit(HOST, late), Err(Code::PendingPosted));
}

#[test]
fn a_reservation_ends_by_its_settler_or_by_time() {
    let mut kit = Kit::default();
    let start = kit.economy().available(&key(PAYER).address());
    let (command, id) = pending(&mut kit, 1_000, 60);
    kit.submit(PAYER, command).unwrap();
    let release = void(&mut kit, HOST, id);
    kit.submit(HOST, release).unwrap();
    assert_eq!(kit.economy().available(&key(PAYER).address()), start);
    let late = post(&mut kit, HOST, id, 1);
    assert_eq!(kit.submit(HOST, late), Err(Code::PendingVoided));

    let (command, id) = pending(&mut kit, 1_000, 60);
    kit.submit(PAYER, command).unwrap();
    kit.now = kit.now.plus_secs(61);
    kit.batch(vec![]);
    assert_eq!(kit.economy().available(&key(PAYER).address()), start);
    let late = post(&mut kit, HOST, id, 1);
    assert_eq!(kit.submit(HOST, late), Err(Code::PendingExpired));
    kit.now = kit.now.plus_secs(601);
    let forgotten = post(&mut kit, HOST, id, 1);
    assert_eq!(kit.submit(HOST, forgotten), Err(Code::PendingNotFound));
}

#[test]
fn a_chain_happens_whole_or_not_at_all_and_a_failed_one_spends_no_ids() {
    let mut kit = Kit::default();
    let (one, two) = (kit.transfer(PAYER, 30, 500), kit.transfer(30, 31, 501));
    let chain = vec![kit.sign(PAYER, one.clone()).linked(), kit.sign(30, two)];
    assert_eq!(kit.batch(chain), [Err(Code::LinkedFailed), Err(Code::ExceedsCredits)]);
    assert_eq!(kit.balance(&key(30).address()), 0);
    let two = kit.transfer(30, 31, 500);
    let chain = vec![kit.sign(PAYER, one).linked(), kit.sign(30, two)];
    assert_eq!(kit.batch(chain), [Ok(()), Ok(())]);
    assert_eq!((kit.balance(&key(30).address()), kit.balance(&key(31).address())), (0, 500));

    let open = kit.transfer(PAYER, 30, 1);
    let open = vec![kit.sign(PAYER, open).linked()];
    assert_eq!(kit.batch(open), [Err(Code::LinkedOpen)]);
    let long: Vec<Entry> = (0..17)
        .map(|at| {
            let command = kit.transfer(PAYER, 30, 1);
            let entry = kit.sign(PAYER, command);
            if at < 16 { entry.linked() } else { entry }
        })
        .collect();
    assert_eq!(kit.batch(long), vec![Err(Code::ChainTooLong); 17]);
}

#[test]
fn a_failed_chain_takes_back_its_receipts_too() {
    let mut kit = Kit::ready();
    let receipt = kit.receipt(1, 10, 1_000);
    let settle = kit.settle_command(&receipt);
    let broke = kit.transfer(99, 30, 1);
    let chain = vec![kit.sign(HOST, Command::SettleCall(Box::new(settle))).linked(), kit.sign(99, broke)];
    assert_eq!(kit.batch(chain), [Err(Code::LinkedFailed), Err(Code::DebitNotFound)]);
    assert_eq!((kit.receipts.len(), kit.economy().state().receipts.size()), (0, 0));
    kit.settle(1, 10, 1_000);
}

#[test]
fn a_channel_pays_its_receiver_through_claim_and_settle_and_repeats_move_nothing() {
    let mut kit = Kit::default();
    let config = plain_config(&kit);
    let receiver = config.receiver;
    let deposit = deposit_into(&kit, config.clone(), Amount::from_open(1), 0);
    for _ in 0..2 {
        assert_eq!(kit.submit(PAYER, Command::Deposit(deposit.clone())), Ok(()));
    }
    let changed = Deposit { amount: Amount::from_open(2), ..deposit };
    assert_eq!(kit.submit(PAYER, Command::Deposit(changed)), Err(Code::NonceUsed));
    for _ in 0..2 {
        let claim = claim_of(&kit, &config, 5_000, 4_000);
        assert_eq!(kit.submit(HOST, claim), Ok(()));
    }
    let settle = |kit: &mut Kit| {
        let command = Command::Settle(Settle { head: kit.head(OWNER), receiver });
        kit.submit(OWNER, command)
    };
    assert_eq!(settle(&mut kit), Ok(()));
    assert_eq!(kit.balance(&receiver), 4_000);
    assert_eq!(settle(&mut kit), Err(Code::NothingToSettle));
    let refused = |kit: &mut Kit, max, total| {
        let command = claim_of(kit, &config, max, total);
        kit.submit(HOST, command).unwrap_err()
    };
    assert_eq!(refused(&mut kit, 4_000, 4_001), Code::ChargeExceedsVoucher);
    assert_eq!(refused(&mut kit, 2 * 10u128.pow(18), 4_001), Code::ExceedsBalance);
    let unknown = ChannelConfig { salt: Hash::new([1; 32]), ..config };
    let claim = claim_of(&kit, &unknown, 1, 1);
    assert_eq!(kit.submit(HOST, claim), Err(Code::ChannelNotFound));
}

#[test]
fn the_unspent_deposit_comes_back_by_refund_or_by_withdrawal() {
    let mut kit = Kit::default();
    let start = kit.balance(&key(PAYER).address());
    let config = plain_config(&kit);
    let channel = config.id(&kit.network());
    let deposit = deposit_into(&kit, config.clone(), Amount::from_open(1), 0);
    kit.submit(PAYER, Command::Deposit(deposit)).unwrap();
    let claim = claim_of(&kit, &config, 5_000, 4_000);
    kit.submit(HOST, claim).unwrap();
    let refund = Refund { config: config.clone(), nonce: 0, amount: atoms(1_000) };
    for _ in 0..2 {
        assert_eq!(kit.submit(HOST, Command::Refund(refund.clone())), Ok(()));
    }
    assert_eq!(kit.balance(&key(PAYER).address()), start - 10u128.pow(18) + 1_000);
    let other = Refund { amount: atoms(2_000), ..refund };
    assert_eq!(kit.submit(HOST, Command::Refund(other)), Err(Code::RefundNonce));

    let begin = |kit: &mut Kit, by| {
        let command = Command::WithdrawStart(WithdrawStart { head: kit.head(by), channel });
        kit.submit(by, command)
    };
    let finish = |kit: &mut Kit, by| {
        let command = Command::WithdrawFinish(WithdrawFinish { head: kit.head(by), channel });
        kit.submit(by, command)
    };
    assert_eq!(begin(&mut kit, HOST), Err(Code::NotPayer));
    assert_eq!(finish(&mut kit, PAYER), Err(Code::WithdrawNotStarted));
    assert_eq!(begin(&mut kit, SESSION), Ok(()));
    assert_eq!(begin(&mut kit, PAYER), Err(Code::WithdrawStarted));
    assert_eq!(finish(&mut kit, PAYER), Err(Code::WithdrawTooEarly));
    kit.now = kit.now.plus_secs(900);
    assert_eq!(finish(&mut kit, PAYER), Ok(()));
    assert_eq!(kit.balance(&key(PAYER).address()), start - 4_000);
    let old = claim_of(&kit, &config, 5_000, 5_000);
    assert_eq!(kit.submit(HOST, old), Err(Code::ExceedsBalance), "the old voucher finds nothing");
}

#[test]
fn deposits_are_bound_to_asset_window_and_payer() {
    let mut kit = Kit::default();
    let refused = |kit: &mut Kit, change: &dyn Fn(&mut Deposit)| {
        let mut deposit = deposit_into(kit, plain_config(kit), Amount::from_open(1), 0);
        change(&mut deposit);
        kit.submit(PAYER, Command::Deposit(deposit)).unwrap_err()
    };
    assert_eq!(refused(&mut kit, &|d| d.config.token = Address::ZERO), Code::TokenMismatch);
    assert_eq!(refused(&mut kit, &|d| d.config.withdraw_delay = 1), Code::DelayRange);
    assert_eq!(refused(&mut kit, &|d| d.amount = atoms(1)), Code::DepositBelowMin);
    assert_eq!(refused(&mut kit, &|d| d.amount = Amount::from_open(1_001)), Code::ExceedsCredits);
    assert_eq!(refused(&mut kit, &|d| d.valid_before = 0), Code::AuthorizationExpired);
    assert_eq!(refused(&mut kit, &|d| d.valid_after = d.valid_before), Code::AuthorizationEarly);
    assert_eq!(refused(&mut kit, &|d| d.valid_before += 3_600), Code::AuthorizationTooLate);
    assert_eq!(refused(&mut kit, &|d| d.config.receiver = Address::system("escrow")), Code::SystemAccount);
}

#[test]
fn what_is_not_signed_by_the_right_key_never_reaches_the_log() {
    let mut kit = Kit::ready();
    let network = kit.network();
    let check = |entry: Entry| Verified::check(&network, entry).unwrap_err();
    let transfer = kit.transfer(PAYER, 30, 1);
    assert_eq!(check(kit.sign(HOST, transfer.clone())), Code::KeyBadSignature);
    let submitted = |by: u8| {
        let digest = eip712::command_digest(&network, &transfer);
        let account = key(HOST).address();
        let signature = key(by).sign(&eip712::submission_digest(&network, &account, &digest, atoms(5)));
        let submitter = Some(Submitter { account, gas_max: atoms(5), signature });
        Entry { submitter, ..kit.sign(PAYER, transfer.clone()) }
    };
    assert!(Verified::check(&network, submitted(HOST)).is_ok());
    assert_eq!(check(submitted(PAYER)), Code::KeyBadSignature);
    let config = plain_config(&kit);
    let Command::Claim(mut claim) = claim_of(&kit, &config, 10, 10) else { unreachable!() };
    claim.claims[0].max_claimable = atoms(11);
    assert_eq!(check(kit.sign(HOST, Command::Claim(claim.clone()))), Code::VoucherSignature);
    assert_eq!(check(kit.sign(HOST, Command::Claim(Claim { claims: vec![] }))), Code::ClaimCount);
    let many = Claim { claims: vec![claim.claims[0].clone(); 101] };
    assert_eq!(check(kit.sign(HOST, Command::Claim(many))), Code::ClaimCount);
    let Command::Claim(good) = claim_of(&kit, &config, 10, 10) else { unreachable!() };
    let mut mixed = good.clone();
    let other = ChannelConfig { receiver_authorizer: key(OWNER).address(), ..config };
    let Command::Claim(second) = claim_of(&kit, &other, 10, 10) else { unreachable!() };
    mixed.claims.extend(second.claims);
    assert_eq!(check(kit.sign(HOST, Command::Claim(mixed))), Code::AuthorizerMismatch);
    let receipt = kit.receipt(1, 1, 1);
    let mut settle = kit.settle_command(&receipt);
    let last = settle.receipt.len() - 1;
    settle.receipt[last] ^= 1;
    assert_eq!(check(kit.sign(HOST, Command::SettleCall(Box::new(settle)))), Code::ReceiptInvalid);
}

#[test]
fn keys_are_registered_by_who_holds_them_and_revoked_at_once() {
    let mut kit = Kit::default();
    let network = kit.network();
    let Command::RegisterKey(good) = kit.register_key() else { unreachable!() };
    let bad = RegisterKey { head: Head { signer: key(OWNER).address(), ..good.head }, ..good.clone() };
    assert_eq!(Verified::check(&network, kit.sign(OWNER, Command::RegisterKey(bad))), Err(Code::KeyBadProof));
    let kind = RegisterKey { kind: KeyKind::Agent, ..good.clone() };
    assert_eq!(Verified::check(&network, kit.sign(HOST, Command::RegisterKey(kind))), Err(Code::KeyWrongLength));
    let old = RegisterKey { valid_until: kit.now, ..good.clone() };
    assert_eq!(kit.submit(HOST, Command::RegisterKey(old)), Err(Code::KeyExpired));
    let good = RegisterKey { head: kit.head(HOST), ..good };
    kit.submit(HOST, Command::RegisterKey(good.clone())).unwrap();
    let again = RegisterKey { head: kit.head(HOST), ..good.clone() };
    assert_eq!(kit.submit(HOST, Command::RegisterKey(again)), Err(Code::KeyRegistered));
    let revoke = |kit: &mut Kit, by: u8| {
        let command = RevokeKey { head: kit.head(by), kind: good.kind, key: good.key };
        kit.submit(by, Command::RevokeKey(command))
    };
    assert_eq!(revoke(&mut kit, OWNER), Err(Code::KeyNotRegistered));
    assert_eq!(revoke(&mut kit, HOST), Ok(()));
    assert_eq!(revoke(&mut kit, HOST), Err(Code::KeyRevoked));
}

#[test]
fn an_owner_has_at_most_64_keys() {
    let mut kit = Kit::default();
    let chain_id = kit.genesis.chain_id;
    let mut register = |number: u8| {
        let signer = agora_types::key::StatementSigner::from_bytes(&[number; 32]);
        let (owner, kind) = (key(HOST).address(), KeyKind::Checkpoint);
        let public = PublicKey::Statement(signer.public());
        let statement = KeyStatement { chain_id, owner, kind, key: public };
        let proof = KeyProof::Statement(signer.sign(&agora_types::Canonical::tagged(&statement)));
        let (head, valid_until) = (kit.head(HOST), kit.now.plus_secs(9_999));
        kit.submit(HOST, Command::RegisterKey(RegisterKey { head, kind, key: public, valid_until, proof }))
    };
    for number in 0..64 {
        assert_eq!(register(number), Ok(()));
    }
    assert_eq!(register(64), Err(Code::KeyTooMany));
}

#[test]
fn listings_and_datanets_keep_their_bounds() {
    let mut kit = Kit::ready();
    let refused = |kit: &mut Kit, change: &dyn Fn(&mut RegisterListing)| {
        let Command::RegisterListing(mut listing) = kit.register_listing() else { unreachable!() };
        change(&mut listing);
        kit.submit(OWNER, Command::RegisterListing(listing)).unwrap_err()
    };
    assert_eq!(refused(&mut kit, &|l| l.name.clear()), Code::ListingTerms);
    assert_eq!(refused(&mut kit, &|l| l.name = "x".repeat(65)), Code::ListingTerms);
    assert_eq!(refused(&mut kit, &|l| l.name = "a\nb".into()), Code::ListingTerms);
    assert_eq!(refused(&mut kit, &|l| l.hosts.clear()), Code::ListingTerms);
    assert_eq!(refused(&mut kit, &|l| l.hosts = vec![l.hosts[0]; 2]), Code::ListingTerms);
    assert_eq!(refused(&mut kit, &|l| l.model_owner = Address::system("escrow")), Code::ListingTerms);
    assert_eq!(refused(&mut kit, &|l| l.hosts = vec![Address::listing(&Kit::listing())]), Code::ListingTerms);
    assert_eq!(refused(&mut kit, &|l| l.datanets[0].weight = 0), Code::ListingTerms);
    assert_eq!(refused(&mut kit, &|l| l.datanets = vec![l.datanets[0]; 2]), Code::ListingTerms);
    assert_eq!(refused(&mut kit, &|l| l.datanets[0].datanet = agora_types::DatanetId::ZERO), Code::DatanetNotFound);
    let refused = |kit: &mut Kit, change: &dyn Fn(&mut RegisterDatanet)| {
        let Command::RegisterDatanet(mut datanet) = kit.register_datanet(2) else { unreachable!() };
        change(&mut datanet);
        kit.submit(OWNER, Command::RegisterDatanet(datanet)).unwrap_err()
    };
    assert_eq!(refused(&mut kit, &|d| d.version = 3), Code::DatanetVersion);
    assert_eq!(refused(&mut kit, &|d| d.version = 1), Code::DatanetVersion);
    assert_eq!(refused(&mut kit, &|d| d.members.reverse()), Code::DatanetTerms);
    assert_eq!(refused(&mut kit, &|d| d.members[0].weight = 0), Code::DatanetTerms);
    assert_eq!(refused(&mut kit, &|d| d.members[0].account = Address::system("commons")), Code::DatanetTerms);
    assert_ne!(Kit::listing(), ListingId::ZERO);
}

#[test]
fn vested_money_is_released_as_time_goes_and_not_before() {
    let mut kit = Kit::default();
    let release = |kit: &mut Kit, by, allocation| {
        let command = Command::ReleaseVested(ReleaseVested { head: kit.head(by), allocation });
        kit.submit(by, command)
    };
    assert_eq!(release(&mut kit, FOUNDER, 3), Err(Code::NothingVested));
    assert_eq!(release(&mut kit, PAYER, 3), Err(Code::AllocationNotFound));
    assert_eq!(release(&mut kit, FOUNDER, 0), Err(Code::AllocationNotFound));
    kit.now = kit.genesis.time.plus_secs(600);
    assert_eq!(release(&mut kit, FOUNDER, 3), Ok(()));
    assert_eq!(kit.balance(&key(FOUNDER).address()), 250 * 10u128.pow(18));
    kit.now = kit.genesis.time.plus_secs(2_000);
    assert_eq!(release(&mut kit, FOUNDER, 3), Ok(()));
    assert_eq!(kit.balance(&key(FOUNDER).address()), 500 * 10u128.pow(18));
}

#[test]
fn gas_is_paid_by_the_submitter_whether_the_command_succeeds_or_not() {
    let parameters = Parameters { gas_price: atoms(10), ..Parameters::default() };
    let mut kit = Kit::new(parameters);
    let operator = kit.balance(&key(OPERATOR).address());
    let good = kit.transfer(PAYER, 30, 1);
    kit.submit(PAYER, good).unwrap();
    let bad = kit.transfer(99, 30, 1);
    assert_eq!(kit.submit(99, bad), Err(Code::DebitNotFound));
    assert_eq!(kit.balance(&key(OPERATOR).address()), operator - 20);
    assert_eq!(kit.balance(&SystemAccount::Gas.address()), 20);
    let (network, command) = (kit.network(), kit.transfer(PAYER, 30, 1));
    let digest = eip712::command_digest(&network, &command);
    let mut submitted = |number: u8, gas_max: u128| {
        let account = key(number).address();
        let signature = key(number).sign(&eip712::submission_digest(&network, &account, &digest, atoms(gas_max)));
        let submitter = Some(Submitter { account, gas_max: atoms(gas_max), signature });
        let entry = Entry { submitter, ..kit.sign(PAYER, command.clone()) };
        let verified = Verified::check(&network, entry.clone()).unwrap();
        let (kept, dropped) = kit.sequencer.drop_unpaid(vec![verified]);
        assert_eq!(kept.len() + dropped.len(), 1);
        (kept.len(), kit.batch(vec![entry]).remove(0))
    };
    assert_eq!(submitted(OWNER, 9), (0, Err(Code::GasUnpaid)), "above its limit");
    assert_eq!(submitted(98, 10), (0, Err(Code::GasUnpaid)), "without money");
    assert_eq!(submitted(OWNER, 10), (1, Ok(())));
}

#[test]
fn a_genesis_that_credits_a_system_account_is_refused() {
    let mut genesis = Kit::default().genesis;
    genesis.allocations[0].account = Address::system("escrow");
    assert_eq!(agora_economy::Economy::new(&genesis).err(), Some(Code::GenesisInvalid));
}
