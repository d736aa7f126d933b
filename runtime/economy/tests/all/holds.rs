//! Single payments: an authorization holds its money once, pays once, and never more than it says.

use agora_economy::PaymentRecord;
use agora_economy::ports::log::payment_key;
use agora_economy::testkit::{HOST, Kit, OPERATOR, OWNER, PAYER, atoms, key};
use agora_receipts::Receipt;
use agora_types::authorization::{Authorization, Exact};
use agora_types::command::*;
use agora_types::{Address, Amount, Canonical as _, Code};

/// Sells without a listing.
const SHOP: u8 = 7;

fn shop() -> Address {
    key(SHOP).address()
}

fn post(kit: &mut Kit, by: u8, held: &Authorization, amount: u128) -> Result<(), Code> {
    let (head, pending_id) = (kit.head(by), held.pending_id(&kit.network()));
    let post = PostTransfer { head, pending_signer: held.payer(), pending_id, amount: atoms(amount) };
    kit.submit(by, Command::PostTransfer(post))
}

fn void(kit: &mut Kit, by: u8, held: &Authorization) -> Result<(), Code> {
    let (head, pending_id) = (kit.head(by), held.pending_id(&kit.network()));
    kit.submit(by, Command::VoidTransfer(VoidTransfer { head, pending_signer: held.payer(), pending_id }))
}

fn hold(kit: &mut Kit, by: u8, authorization: &Authorization) -> Result<(), Code> {
    let command = kit.hold_command(by, authorization);
    kit.submit(by, command)
}

fn available(kit: &Kit, number: u8) -> u128 {
    kit.economy().available(&key(number).address()).atoms()
}

#[test]
fn a_held_payment_cannot_be_spent_elsewhere_and_is_posted_once() {
    let mut kit = Kit::ready();
    let before = available(&kit, PAYER);
    let held = kit.exact(shop(), 1_000, 1);
    hold(&mut kit, OPERATOR, &held).unwrap();
    assert_eq!(available(&kit, PAYER), before - 1_000);
    let drain = kit.transfer(PAYER, OWNER, before);
    assert_eq!(kit.submit(PAYER, drain), Err(Code::ExceedsCredits), "between verification and settlement");
    post(&mut kit, OPERATOR, &held, 1_000).unwrap();
    assert_eq!(kit.balance(&shop()), 1_000);
    assert_eq!(post(&mut kit, OPERATOR, &held, 1_000), Err(Code::PendingPosted));
    assert_eq!(hold(&mut kit, OPERATOR, &held), Err(Code::NonceUsed), "a payment that was posted is over");
    let record = &kit.payments[&payment_key(&held.payer(), &held.key())];
    let schema =
        [include_str!("../../cddl/payment-record.cddl"), include_str!("../../../types/cddl/common.cddl")].concat();
    cddl::validate_cbor_from_slice(&schema, record, None).unwrap();
    let record = PaymentRecord::from_bytes(record).unwrap();
    assert_eq!((record.payee, record.amount), (shop(), atoms(1_000)));
    let (payee, settler) = (shop(), key(OPERATOR).address());
    let digest = held.digest(&kit.network());
    let golden = format!("a50054{payee}011903e80254{settler}0306045820{digest}").replace("0x", "");
    assert_eq!(record.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>(), golden);
}

#[test]
fn the_same_authorization_is_held_once_at_a_time_and_again_after_a_release() {
    let mut kit = Kit::ready();
    let held = kit.upto(shop(), 5_000, OPERATOR, 1);
    hold(&mut kit, OPERATOR, &held).unwrap();
    assert_eq!(hold(&mut kit, OPERATOR, &held), Err(Code::NonceUsed), "two requests with one signature");
    void(&mut kit, OPERATOR, &held).unwrap();
    hold(&mut kit, OPERATOR, &held).unwrap();
    kit.now = kit.now.plus_secs(61);
    assert_eq!(post(&mut kit, OPERATOR, &held, 1), Err(Code::PendingExpired));
    hold(&mut kit, OPERATOR, &held).unwrap();
    post(&mut kit, OPERATOR, &held, 1_234).unwrap();
    assert_eq!(kit.balance(&shop()), 1_234);
    // Old due dates of earlier holds come and go without touching the payment.
    for _ in 0..4 {
        kit.now = kit.now.plus_secs(400);
        kit.batch(vec![]);
    }
    assert_eq!(hold(&mut kit, OPERATOR, &held), Err(Code::AuthorizationExpired));
    assert_eq!(kit.replayed().economy(), kit.sequencer.economy());
}

#[test]
fn a_payment_that_was_posted_stays_over_when_its_reservation_is_forgotten() {
    let mut kit = Kit::ready();
    let Authorization::Exact(mut exact) = kit.exact(shop(), 1_000, 1) else { unreachable!() };
    exact.valid_before = kit.now.as_secs() + 3_600;
    let held = Authorization::Exact(exact);
    hold(&mut kit, OPERATOR, &held).unwrap();
    post(&mut kit, OPERATOR, &held, 1_000).unwrap();
    kit.now = kit.now.plus_secs(3_000);
    kit.batch(vec![]);
    let id = held.pending_id(&kit.network());
    assert!(kit.economy().state().ledger.pendings.get(&(held.payer(), id)).is_none(), "forgotten");
    assert_eq!(hold(&mut kit, OPERATOR, &held), Err(Code::NonceUsed));
}

#[test]
fn bad_holds_are_refused_by_name_and_change_nothing() {
    let mut kit = Kit::ready();
    let good = kit.exact(shop(), 1_000, 1);
    let with = |change: &dyn Fn(&mut agora_types::authorization::Exact)| {
        let Authorization::Exact(mut exact) = good.clone() else { unreachable!() };
        change(&mut exact);
        Authorization::Exact(exact)
    };
    let (now, listing) = (kit.now.as_secs(), Address::listing(&Kit::listing()));
    let rows: [(&str, u8, Authorization, Code); 10] = [
        ("expired", OPERATOR, with(&|e| e.valid_before = now), Code::AuthorizationExpired),
        ("not yet valid", OPERATOR, with(&|e| e.valid_after = now + 5), Code::AuthorizationEarly),
        ("valid for too long", OPERATOR, with(&|e| e.valid_before = now + 3_700), Code::AuthorizationTooLate),
        ("more than there is", OPERATOR, with(&|e| e.value = Amount::from_open(5_000)), Code::ExceedsCredits),
        ("nothing", OPERATOR, with(&|e| e.value = Amount::ZERO), Code::AmountZero),
        ("to oneself", OPERATOR, with(&|e| e.to = e.from), Code::SameAccounts),
        ("to a system account", OPERATOR, with(&|e| e.to = Address::system("commons")), Code::SystemAccount),
        ("held by a stranger", OWNER, good.clone(), Code::NotSettler),
        ("a listing's, by no host of it", OWNER, with(&|e| e.to = listing), Code::NotSettler),
        ("another facilitator's", HOST, kit.upto(shop(), 9, OPERATOR, 9), Code::NotSettler),
    ];
    for (name, by, authorization, code) in rows {
        let before = kit.economy().state().ledger.accounts.clone();
        assert_eq!(hold(&mut kit, by, &authorization), Err(code), "{name}");
        assert!(kit.economy().state().ledger.accounts == before, "{name}");
    }
    hold(&mut kit, SHOP, &good).unwrap();
    let other = with(&|e| e.value = atoms(2_000));
    assert_eq!(hold(&mut kit, SHOP, &other), Err(Code::NonceUsed), "one nonce, two payments");
    assert_eq!(post(&mut kit, OWNER, &good, 1_000), Err(Code::NotSettler));
    assert_eq!(void(&mut kit, OWNER, &good), Err(Code::NotSettler));
    assert_eq!(post(&mut kit, SHOP, &good, 1_001), Err(Code::ExceedsPending));
    let permit = kit.upto(shop(), 7, SHOP, 1);
    hold(&mut kit, SHOP, &permit).unwrap();
}

/// An inference receipt of a held payment.
fn held_receipt(kit: &Kit, call: u8, tokens: u64, price: u128) -> Receipt {
    let receipt = kit.receipt(call, tokens, price);
    Receipt { channel: None, cumulative: receipt.charge, ..receipt }
}

#[test]
fn an_attributed_call_paid_by_a_hold_goes_through_attribution_and_the_rest_stays_with_the_payer() {
    let mut kit = Kit::ready();
    let before = available(&kit, PAYER);
    let listing = Address::listing(&Kit::listing());
    for (nonce, held) in [(1, kit.exact(listing, 10_000, 1)), (2, kit.upto(listing, 10_000, HOST, 2))] {
        hold(&mut kit, HOST, &held).unwrap();
        assert_eq!(post(&mut kit, HOST, &held, 10_000), Err(Code::AttributedReceiver));
        let receipt = held_receipt(&kit, nonce, 40, 100);
        let settle = kit.settle_held_command(&held, &receipt);
        kit.submit(HOST, settle).unwrap();
        let last = kit.final_receipt(&receipt);
        let finalize = kit.finalize_command(&last);
        kit.submit(HOST, finalize).unwrap();
    }
    assert_eq!(available(&kit, PAYER), before - 8_000, "twice 4,000 of 10,000");
    assert_eq!(kit.balance(&listing), 0);
    assert_eq!(kit.balance(&key(HOST).address()), 1_600);
    assert_eq!(kit.receipts.len(), 4);
}

#[test]
fn a_service_pays_its_seller_whole_and_never_a_listing() {
    let mut kit = Kit::ready();
    let held = kit.exact(shop(), 500, 1);
    // The host serves the shop's agent; it may hold because the payer named it.
    assert_eq!(hold(&mut kit, HOST, &held), Err(Code::NotSettler));
    let held = kit.upto(shop(), 500, HOST, 1);
    hold(&mut kit, HOST, &held).unwrap();
    let receipt = kit.service_receipt(1, shop(), 500);
    let dear = kit.service_receipt(1, shop(), 501);
    let settle = kit.settle_held_command(&held, &dear);
    assert_eq!(kit.submit(HOST, settle), Err(Code::ExceedsPending));
    for wrong in [
        Receipt { payee: key(OWNER).address(), ..receipt.clone() },
        Receipt { base_hash: Some(agora_types::Hash::ZERO), ..receipt.clone() },
        Receipt { channel: Some(kit.config().id(&kit.network())), ..receipt.clone() },
        Receipt { legs: vec![], ..receipt.clone() },
    ] {
        let settle = kit.settle_held_command(&held, &wrong);
        assert!(matches!(kit.submit(HOST, settle), Err(Code::ReceiptMismatch | Code::SplitMismatch)));
    }
    let settle = kit.settle_held_command(&held, &receipt);
    kit.submit(HOST, settle).unwrap();
    assert_eq!(kit.balance(&shop()), 500);
    let last = kit.final_receipt(&receipt);
    let finalize = kit.finalize_command(&last);
    kit.submit(HOST, finalize).unwrap();
    // A service receipt does not open a listing's account.
    let listing = Address::listing(&Kit::listing());
    let held = kit.upto(listing, 500, HOST, 2);
    hold(&mut kit, HOST, &held).unwrap();
    let round = kit.service_receipt(2, listing, 500);
    let settle = kit.settle_held_command(&held, &round);
    assert_eq!(kit.submit(HOST, settle), Err(Code::AttributedReceiver));
}

#[test]
fn a_payment_signed_for_a_moment_is_found_and_posted_as_long_as_it_is_held() {
    let mut kit = Kit::ready();
    let Authorization::Exact(words) = kit.exact(shop(), 1_000, 1) else { unreachable!() };
    let held = Authorization::Exact(Exact { valid_before: kit.now.as_secs() + 2, ..words });
    hold(&mut kit, OPERATOR, &held).unwrap();
    // Released and held again: the nonce is remembered for the second hold, and only once.
    void(&mut kit, OPERATOR, &held).unwrap();
    kit.now = kit.now.plus_secs(1);
    hold(&mut kit, OPERATOR, &held).unwrap();
    kit.now = kit.now.plus_secs(30);
    let nudge = kit.transfer(OWNER, HOST, 1);
    kit.submit(OWNER, nudge).unwrap();
    let found = kit.economy().held_payment(held.payer(), held.key());
    assert_eq!(found.map(|found| found.max), Some(atoms(1_000)), "its window is over, its hold is not");
    assert_eq!(hold(&mut kit, OPERATOR, &held), Err(Code::AuthorizationExpired));
    post(&mut kit, OPERATOR, &held, 1_000).unwrap();
    assert_eq!(kit.balance(&shop()), 1_000);
    kit.now = kit.now.plus_secs(60);
    let nudge = kit.transfer(OWNER, HOST, 1);
    kit.submit(OWNER, nudge).unwrap();
    assert_eq!(kit.economy().held_payment(held.payer(), held.key()), None, "forgotten after its hold");
}
