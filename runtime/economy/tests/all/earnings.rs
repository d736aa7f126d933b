//! What contributors can rely on when shares are measured: money is set aside once, published, and claimed once.

use agora_economy::testkit::*;
use agora_ledger::SystemAccount;
use agora_receipts::receipt::{DECLARED_WEIGHTS, ShareTotal, WHOLE};
use agora_receipts::{Receipt, Role};
use agora_types::command::*;
use agora_types::{Amount, Code, DatanetId, Hash};

const ADA: u8 = CONTRIBUTORS[0];
const BO: u8 = CONTRIBUTORS[1];

fn held(kit: &Kit, account: SystemAccount) -> u128 {
    kit.balance(&account.address())
}

/// A world with a measured listing and a channel to it.
fn measured() -> Kit {
    let mut kit = Kit::ready();
    let listing = kit.register_measured();
    kit.submit(OWNER, listing).unwrap();
    kit
}

/// A finished call of 100,000 atoms that sets so many of the contributors' 50,000 aside.
fn earn(kit: &mut Kit, call: u8, earned: u128) -> Receipt {
    let first = kit.settle(call, 100, 1_000);
    let last = kit.measured_receipt(&first, earned);
    let command = kit.finalize_command(&last);
    kit.submit(HOST, command).unwrap();
    last
}

#[test]
fn measured_shares_are_set_aside_and_the_unexplained_rest_goes_to_the_commons() {
    let mut kit = measured();
    let last = earn(&mut kit, 1, 30_000);
    assert_eq!((held(&kit, SystemAccount::Earnings), held(&kit, SystemAccount::Commons)), (30_000, 20_000));
    assert_eq!(held(&kit, SystemAccount::Suspense), 0);
    assert_eq!(last.check(), Ok(()));
    earn(&mut kit, 2, 0);
    earn(&mut kit, 3, 50_000);
    assert_eq!((held(&kit, SystemAccount::Earnings), held(&kit, SystemAccount::Commons)), (80_000, 70_000));
    assert_eq!(kit.economy().distributor(&key(HOST).address()).unwrap().funded, atoms(80_000));
    let again = kit.finalize_command(&last);
    assert_eq!(kit.submit(HOST, again), Ok(()), "a repeat gets the first answer");
    assert_eq!(held(&kit, SystemAccount::Earnings), 80_000);
}

#[test]
fn a_contributor_is_paid_what_was_published_less_what_was_claimed_whoever_sends_the_claim() {
    let mut kit = measured();
    earn(&mut kit, 1, 30_000);
    let first = [(ADA, 18_000), (BO, 12_000)];
    let publish = kit.publish_command(1, &first);
    kit.submit(HOST, publish).unwrap();
    let claim = kit.claim_command(OPERATOR, 1, &first, ADA);
    kit.submit(OPERATOR, claim).unwrap();
    assert_eq!(kit.balance(&key(ADA).address()), 18_000);
    let again = kit.claim_command(ADA, 1, &first, ADA);
    assert_eq!(kit.submit(ADA, again), Err(Code::EarningsClaimed));
    earn(&mut kit, 2, 10_000);
    let second = [(ADA, 19_000), (BO, 21_000)];
    let publish = kit.publish_command(2, &second);
    kit.submit(HOST, publish).unwrap();
    let old = kit.claim_command(BO, 1, &first, BO);
    assert_eq!(kit.submit(BO, old), Err(Code::EarningsEpoch), "an old root pays nothing any more");
    for number in [ADA, BO] {
        let claim = kit.claim_command(number, 2, &second, number);
        kit.submit(number, claim).unwrap();
    }
    assert_eq!([ADA, BO].map(|number| kit.balance(&key(number).address())), [19_000, 21_000]);
    assert_eq!(held(&kit, SystemAccount::Earnings), 0);
    assert_eq!(kit.economy().claimed(key(HOST).address(), key(BO).address()), atoms(21_000));
    assert_eq!(kit.replayed().economy(), kit.sequencer.economy());
}

#[test]
fn a_host_cannot_publish_more_than_was_set_aside_less_than_before_or_out_of_turn() {
    let mut kit = measured();
    let early = kit.publish_command(1, &[(ADA, 1)]);
    assert_eq!(kit.submit(HOST, early), Err(Code::EarningsNotFound));
    earn(&mut kit, 1, 30_000);
    let refused = [
        (1, vec![(ADA, 30_001)], Code::EarningsTotal),
        (2, vec![(ADA, 30_000)], Code::EarningsEpoch),
        (0, vec![(ADA, 30_000)], Code::EarningsEpoch),
    ];
    for (epoch, rows, code) in refused {
        let command = kit.publish_command(epoch, &rows);
        assert_eq!(kit.submit(HOST, command), Err(code), "{rows:?}");
    }
    let Command::PublishEarnings(publish) = kit.publish_command(1, &[(ADA, 20_000), (BO, 10_000)]) else {
        unreachable!()
    };
    for wrong in [
        PublishEarnings { receipts: 3, ..publish.clone() },
        PublishEarnings { count: 0, ..publish.clone() },
        PublishEarnings { head: kit.head(OWNER), ..publish.clone() },
    ] {
        let (signer, code) = match wrong.head.signer == key(OWNER).address() {
            true => (OWNER, Code::EarningsNotFound),
            false => (HOST, Code::EarningsTotal),
        };
        let head = kit.head(signer);
        let command = Command::PublishEarnings(PublishEarnings { head, ..wrong });
        assert_eq!(kit.submit(signer, command), Err(code));
    }
    kit.submit(HOST, Command::PublishEarnings(publish)).unwrap();
    for (rows, code) in
        [(vec![(ADA, 19_999), (BO, 9_000)], Code::EarningsTotal), (vec![(ADA, 30_000)], Code::EarningsTotal)]
    {
        let command = kit.publish_command(2, &rows);
        assert_eq!(kit.submit(HOST, command), Err(code), "a sum or a number of leaves that falls: {rows:?}");
    }
}

#[test]
fn a_forged_claim_and_a_root_that_says_more_than_its_total_pay_nothing() {
    let mut kit = measured();
    earn(&mut kit, 1, 30_000);
    let rows = [(ADA, 18_000), (BO, 12_000)];
    let publish = kit.publish_command(1, &rows);
    kit.submit(HOST, publish).unwrap();
    let Command::ClaimEarnings(claim) = kit.claim_command(ADA, 1, &rows, ADA) else { unreachable!() };
    let forged = [
        ClaimEarnings { cumulative: atoms(18_001), ..claim.clone() },
        ClaimEarnings { account: key(BO).address(), ..claim.clone() },
        ClaimEarnings { index: 1 - claim.index, ..claim.clone() },
        ClaimEarnings { path: vec![], ..claim.clone() },
        ClaimEarnings { path: vec![Hash::ZERO; 65], ..claim.clone() },
    ];
    for forged in forged {
        let head = kit.head(ADA);
        let command = Command::ClaimEarnings(ClaimEarnings { head, ..forged });
        assert_eq!(kit.submit(ADA, command), Err(Code::EarningsProof));
    }
    let unknown = ClaimEarnings { head: kit.head(ADA), host: key(OWNER).address(), ..claim.clone() };
    assert_eq!(kit.submit(ADA, Command::ClaimEarnings(unknown)), Err(Code::EarningsNotFound));

    // A lying host: its leaves sum to more than it published. Who comes first is paid, never more than the total.
    let lie = [(ADA, 25_000), (BO, 25_000)];
    let Command::PublishEarnings(publish) = kit.publish_command(2, &lie) else { unreachable!() };
    let publish = PublishEarnings { total: atoms(30_000), ..publish };
    kit.submit(HOST, Command::PublishEarnings(publish)).unwrap();
    let first = kit.claim_command(ADA, 2, &lie, ADA);
    kit.submit(ADA, first).unwrap();
    let second = kit.claim_command(BO, 2, &lie, BO);
    assert_eq!(kit.submit(BO, second), Err(Code::EarningsTotal));
    assert_eq!(held(&kit, SystemAccount::Earnings), 5_000);
}

#[test]
fn a_measured_final_receipt_that_does_not_add_up_is_refused() {
    let mut kit = measured();
    let first = kit.settle(1, 100, 1_000);
    let good = kit.measured_receipt(&first, 30_000);
    let with = |change: &dyn Fn(&mut Receipt)| {
        let mut wrong = good.clone();
        change(&mut wrong);
        wrong
    };
    let total = |amount| ShareTotal { account: key(ADA).address(), amount: atoms(amount) };
    let wrong = [
        with(&|r| r.legs[1].amount = atoms(30_001)),
        with(&|r| r.legs[0].account = key(HOST).address()),
        with(&|r| r.legs[1].role = Role::Contributor),
        with(&|r| r.legs.truncate(1)),
        with(&|r| r.attribution.method = DECLARED_WEIGHTS.to_owned()),
        with(&|r| r.attribution.method = "other".to_owned()),
        with(&|r| r.attribution.influence_root = None),
        with(&|r| r.attribution.explained += 1),
        with(&|r| (r.attribution.explained, r.attribution.residual) = (u64::MAX, WHOLE)),
        with(&|r| r.attribution.totals = vec![total(30_001)]),
        with(&|r| r.attribution.totals = vec![total(0)]),
        with(&|r| r.attribution.totals = vec![total(1), total(1)]),
    ];
    for (number, wrong) in wrong.into_iter().enumerate() {
        let command = kit.finalize_command(&wrong);
        assert_eq!(kit.submit(HOST, command), Err(Code::SplitMismatch), "{number}");
    }
    let other = Receipt { spec_hash: Some(Hash::sha256("another spec")), ..good.clone() };
    let command = kit.finalize_command(&other);
    assert_eq!(kit.submit(HOST, command), Err(Code::ReceiptMismatch));
    let command = kit.finalize_command(&good);
    assert_eq!(kit.submit(HOST, command), Ok(()));
}

#[test]
fn a_provisional_receipt_names_the_spec_and_the_method_of_its_listing() {
    let mut kit = measured();
    let good = kit.receipt(1, 100, 1_000);
    assert_eq!(good.attribution.method, "influence");
    let mut wrong = [good.clone(), good.clone(), good.clone()];
    wrong[0].spec_hash = None;
    wrong[1].attribution.method = DECLARED_WEIGHTS.to_owned();
    wrong[2].attribution.explained = 1;
    for wrong in wrong {
        let command = kit.settle_command(&wrong);
        assert_eq!(kit.submit(HOST, Command::SettleCall(Box::new(command))), Err(Code::ReceiptMismatch));
    }
    let command = kit.settle_command(&good);
    assert_eq!(kit.submit(HOST, Command::SettleCall(Box::new(command))), Ok(()));
}

#[test]
fn a_call_keeps_its_method_when_its_listing_changes_before_it_is_finalized() {
    let mut kit = measured();
    let first = kit.settle(1, 100, 1_000);
    let declared = kit.register_listing();
    kit.submit(OWNER, declared).unwrap();
    let last = kit.measured_receipt(&first, 7);
    let command = kit.finalize_command(&last);
    assert_eq!(kit.submit(HOST, command), Ok(()));
}

#[test]
fn a_datanet_without_members_can_only_be_measured() {
    let mut kit = Kit::default();
    let key = kit.register_key();
    kit.submit(HOST, key).unwrap();
    let Command::RegisterDatanet(datanet) = kit.register_datanet(1) else { unreachable!() };
    kit.submit(OWNER, Command::RegisterDatanet(RegisterDatanet { members: vec![], ..datanet })).unwrap();
    let declared = kit.register_listing();
    assert_eq!(kit.submit(OWNER, declared), Err(Code::ListingTerms));
    let Command::RegisterListing(measured) = kit.register_measured() else { unreachable!() };
    let method = |method: &str| Some(Measure { spec: Hash::ZERO, method: method.to_owned() });
    let wrong = [
        RegisterListing { datanets: vec![], ..measured.clone() },
        RegisterListing { measure: method(DECLARED_WEIGHTS), ..measured.clone() },
        RegisterListing { measure: method(""), ..measured.clone() },
        RegisterListing { measure: method("Loud and clear"), ..measured.clone() },
        RegisterListing { measure: method(&"x".repeat(33)), ..measured.clone() },
    ];
    for wrong in wrong {
        let head = kit.head(OWNER);
        let command = Command::RegisterListing(RegisterListing { head, ..wrong });
        assert_eq!(kit.submit(OWNER, command), Err(Code::ListingTerms));
    }
    assert_eq!(kit.submit(OWNER, Command::RegisterListing(measured)), Ok(()));
}

#[test]
fn a_datanet_that_takes_its_members_back_leaves_their_part_to_the_commons_and_nothing_stuck() {
    let mut kit = Kit::ready();
    let Command::RegisterDatanet(datanet) = kit.register_datanet(2) else { unreachable!() };
    kit.submit(OWNER, Command::RegisterDatanet(RegisterDatanet { members: vec![], ..datanet })).unwrap();
    let receipt = kit.settle(1, 100, 1_000);
    let last = kit.final_receipt(&receipt);
    let command = kit.finalize_command(&last);
    assert_eq!(kit.submit(HOST, command), Ok(()));
    assert_eq!(held(&kit, SystemAccount::Commons), 50_000);
}

#[test]
fn a_commitment_to_contributions_stands_and_its_place_among_all_is_remembered() {
    let mut kit = Kit::default();
    let datanet = DatanetId::new([7; 32]);
    let commit = |kit: &mut Kit, number: u8, content: &str, count: u32| {
        let head = kit.head(number);
        let (root, licence) = (Hash::sha256(content), Hash::sha256("CC-BY-4.0"));
        kit.submit(number, Command::CommitData(CommitData { head, datanet, root, count, licence }))
    };
    assert_eq!(commit(&mut kit, ADA, "poems", 3), Ok(()));
    assert_eq!(commit(&mut kit, BO, "poems", 3), Ok(()), "a copied root takes nothing from its first signer");
    assert_eq!(commit(&mut kit, ADA, "poems", 3), Err(Code::DatanetCommitted));
    assert_eq!(commit(&mut kit, BO, "songs", 65_536), Ok(()));
    for count in [0, 65_537] {
        assert_eq!(commit(&mut kit, BO, "nothing", count), Err(Code::CommitmentInvalid));
    }
    let at = |number: u8, content: &str| {
        *kit.economy().commitment(datanet, key(number).address(), Hash::sha256(content)).unwrap()
    };
    assert_eq!([at(ADA, "poems").number, at(BO, "poems").number], [0, 1]);
    assert_eq!((at(BO, "songs").number, at(BO, "songs").count), (2, 65_536));
    assert!(at(ADA, "poems").time < at(BO, "songs").time);
}

#[test]
fn what_nobody_finalizes_in_time_goes_to_the_commons_as_ever() {
    let mut kit = measured();
    kit.settle(1, 100, 1_000);
    kit.now = kit.now.plus_secs(3_601);
    kit.batch(vec![]);
    assert_eq!((held(&kit, SystemAccount::Commons), held(&kit, SystemAccount::Earnings)), (50_000, 0));
    assert_eq!(kit.economy().available(&key(ADA).address()), Amount::ZERO);
}
