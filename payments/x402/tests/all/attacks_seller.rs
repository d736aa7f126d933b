//! Attacks on a seller: one payment for two requests, for another resource, old vouchers, charges beyond them.

use crate::common;

use agora_types::Hash;
use agora_x402::extensions::identifier::{self, Identified, PaymentIdentifier};
use agora_x402::seller::{ChannelRecord, Charged, Decision, PaymentKey, Progress, Seen, decide, fingerprint};
use agora_x402::wire::{PaymentRequired, SettleResponseExtra};
use agora_x402::{Reason, header};
use common::*;

#[test]
fn a_payment_for_one_resource_buys_no_other() {
    let offers = offers();
    assert!(offers.taken(&stock_payment("exact")).is_ok());
    let mut other = stock_payment("exact");
    other.resource.as_mut().unwrap().url = "https://seller.example/v1/cheap".to_owned();
    assert_eq!(reason("another URL", offers.taken(&other)), Reason::InvalidPayload);
    let mut unnamed = stock_payment("exact");
    unnamed.resource = None;
    assert!(offers.taken(&unnamed).is_ok(), "the resource may be absent; the fingerprint binds the request");
    for (row, change) in [
        ("cheaper", (|p| p.accepted.amount = atoms(1)) as fn(&mut agora_x402::wire::PaymentPayload)),
        ("other payee", |p| p.accepted.pay_to = zero()),
        ("other asset", |p| p.accepted.asset = zero()),
        ("other facilitator", |p| set(&mut p.accepted.extra, "name", "X")),
    ] {
        let mut payment = stock_payment("exact");
        change(&mut payment);
        assert_eq!(reason(row, offers.taken(&payment)), Reason::InvalidPaymentRequirements, "{row}");
    }
}

#[test]
fn one_payment_serves_one_request() {
    let body = Hash::sha256("{}");
    let first = fingerprint("POST", URL, &body);
    let seen = |progress| Some(Seen { progress, fingerprint: first });
    let other_requests = [
        ("method", fingerprint("PUT", URL, &body)),
        ("URL", fingerprint("POST", &format!("{URL}?n=2"), &body)),
        ("body", fingerprint("POST", URL, &Hash::sha256("{ }"))),
        ("moved border", fingerprint("POSTh", &URL[1..], &body)),
    ];
    assert_eq!(decide(None, &first), Decision::Serve);
    assert_eq!(decide(seen(Progress::InFlight).as_ref(), &first), Decision::Busy);
    assert_eq!(decide(seen(Progress::Answered).as_ref(), &first), Decision::Cached);
    assert_eq!(decide(seen(Progress::Voided).as_ref(), &first), Decision::Serve);
    for (row, other) in other_requests {
        assert_ne!(first, other, "{row}");
        for progress in [Progress::InFlight, Progress::Answered, Progress::Voided] {
            let decision = decide(seen(progress).as_ref(), &other);
            assert!(matches!(decision, Decision::Refuse(_)), "another {row}, {progress:?}");
            assert_eq!(decision.http_status(), Some(409));
        }
    }
    let key = |kind| PaymentKey::of(&verify(&stock_request(kind)).unwrap());
    assert_eq!(key("exact"), Some(PaymentKey::Single(payer().address(), Hash::new([0x11; 32]))));
    assert_eq!(key("voucher"), Some(PaymentKey::Voucher(config().id(&network()), atoms(137))));
}

const FIRST: Hash = Hash::new([1; 32]);
const SECOND: Hash = Hash::new([2; 32]);

/// A channel with 1000 deposited, 37 charged of the first 100, and nothing claimed.
fn record() -> ChannelRecord {
    let mut record = ChannelRecord::open(config(), view(0, 0));
    record.accept_deposit(atoms(1_000), atoms(1_000), voucher(100), atoms(100), FIRST).unwrap();
    record.refresh(view(1_000, 0));
    let charged = record.commit(&FIRST, atoms(37)).unwrap();
    assert_eq!(charged, Charged { amount: atoms(37), cumulative: atoms(37) });
    record
}

#[test]
fn a_channel_is_charged_in_order_and_never_beyond_its_voucher() {
    let mut record = record();
    for (row, max) in [("rolled back", 37), ("the first again", 100), ("too high", 138), ("zero", 0)] {
        let result = record.clone().accept_voucher(voucher(max), atoms(100), SECOND);
        assert_eq!(reason(row, result), Reason::CumulativeAmountMismatch, "{row}");
    }
    record.accept_voucher(voucher(137), atoms(100), SECOND).unwrap();
    let busy = record.accept_voucher(voucher(137), atoms(100), FIRST);
    assert_eq!(reason("a second request", busy), Reason::ChannelBusy);
    assert_eq!(reason("a refund meanwhile", record.refund(voucher(37), None, FIRST)), Reason::ChannelBusy);
    assert_eq!(reason("another request's end", record.commit(&FIRST, atoms(1))), Reason::MissingChannel);
    let over = record.commit(&SECOND, atoms(101));
    assert_eq!(reason("over-charge", over), Reason::ChargeExceedsSignedCumulative);
    assert!(!record.cancel(&FIRST));
    assert!(record.cancel(&SECOND));
    assert_eq!(record, self::record(), "a cancelled request leaves nothing behind");

    record.accept_voucher(voucher(137), atoms(100), SECOND).unwrap();
    record.commit(&SECOND, atoms(0)).unwrap();
    let claim = record.claim().unwrap();
    assert_eq!((claim.total_claimed, claim.max_claimable), (atoms(37), atoms(137)));
    record.refresh(view(1_000, 37));
    assert_eq!(record.claim(), None, "nothing is claimed twice");
    let poor = record.accept_voucher(voucher(1_001), atoms(964), SECOND);
    assert_eq!(reason("over the balance", poor), Reason::CumulativeExceedsBalance);
}

#[test]
fn a_channel_that_is_opened_again_does_not_honour_its_old_vouchers() {
    let mut record = ChannelRecord::open(config(), view(5_000, 4_000));
    let old = record.accept_voucher(voucher(100), atoms(100), FIRST);
    assert_eq!(reason("an old voucher", old), Reason::CumulativeAmountMismatch);
    let free = record.accept_voucher(voucher(4_000), atoms(0), FIRST);
    assert_eq!(reason("a free one", free), Reason::CumulativeBelowClaimed);
    record.accept_voucher(voucher(4_100), atoms(100), FIRST).unwrap();
    let small =
        ChannelRecord::open(config(), view(0, 0)).accept_deposit(atoms(9), atoms(10), voucher(1), atoms(1), FIRST);
    assert_eq!(reason("a small deposit", small), Reason::DepositBelowMinDeposit);
    let short =
        ChannelRecord::open(config(), view(0, 0)).accept_deposit(atoms(9), atoms(1), voucher(10), atoms(10), FIRST);
    assert_eq!(reason("a short deposit", short), Reason::CumulativeExceedsBalance);
}

#[test]
fn a_refund_gives_back_what_was_not_charged_and_no_more() {
    let mut record = record();
    for (row, max) in [("too low", 36), ("too high", 100)] {
        let result = record.clone().refund(voucher(max), None, SECOND);
        assert_eq!(reason(row, result), Reason::CumulativeAmountMismatch, "{row}");
    }
    for (row, amount) in [("nothing", 0), ("more than is left", 964)] {
        let result = record.clone().refund(voucher(37), Some(atoms(amount)), SECOND);
        assert_eq!(reason(row, result), Reason::RefundAmountInvalid, "{row}");
    }
    let plan = record.refund(voucher(37), None, SECOND).unwrap();
    assert_eq!((plan.refund.amount, plan.refund.nonce), (atoms(963), 0));
    assert_eq!(plan.claim.unwrap().total_claimed, atoms(37));
    let again = record.refund(voucher(37), None, FIRST);
    assert_eq!(reason("twice at once", again), Reason::ChannelBusy);
    record.cancel(&SECOND);
    record.refresh(view(37, 37));
    assert_eq!(reason("twice", record.refund(voucher(37), None, FIRST)), Reason::RefundNoBalance);
}

#[test]
fn only_corrective_refusals_show_the_channel() {
    let record = record();
    let refusal = record.clone().accept_voucher(voucher(100), atoms(100), SECOND).unwrap_err();
    let shown = offers().corrective(&refusal, &record, &network());
    assert_eq!(shown.error.as_deref(), Some("invalid_batch_settlement_evm_cumulative_amount_mismatch"));
    let extra = shown.accepts[2].known().unwrap().batch_extra().unwrap();
    let state = extra.channel_state.unwrap();
    assert_eq!((state.charged_cumulative_amount, state.balance), (Some(atoms(37)), atoms(1_000)));
    assert_eq!(extra.voucher_state.unwrap().signed_max_claimable, atoms(100));
    let text = header::encode(&shown).unwrap();
    assert_eq!(header::decode::<PaymentRequired>([text]), Ok(shown.clone()));
    // The buyer echoes the corrected offer, and it is still the seller's own.
    let mut payment = stock_payment("voucher");
    payment.accepted = shown.accepts[2].known().unwrap().clone();
    assert_eq!(offers().taken(&payment), Ok(&batch()));
    assert!(verify(&request(payment, batch())).is_ok());

    let busy = agora_x402::Refusal::from(agora_types::Code::ChannelBusy);
    let hidden = offers().corrective(&busy, &record, &network());
    assert_eq!(hidden, offers().required(Some(&busy)));

    let answer = record.response(&network(), &Charged { amount: atoms(37), cumulative: atoms(37) });
    assert_eq!(SettleResponseExtra::read(&answer.to_object()), Ok(answer));
}

#[test]
fn a_payment_identifier_names_one_payment() {
    let id = "pay_0123456789abcdef";
    let with = |id: Option<&str>| {
        let mut payment = stock_payment("exact");
        PaymentIdentifier { required: false, id: id.map(str::to_owned) }.write(&mut payment.extensions);
        payment
    };
    let digest = identifier::payload_digest(&with(Some(id)));
    let none = |_: &str| None;
    assert_eq!(identifier::decide(true, &with(Some(id)), none), Identified::New(id.to_owned()));
    assert_eq!(identifier::decide(true, &with(Some(id)), |_| Some(digest)), Identified::Cached(id.to_owned()));
    let mut other = with(Some(id));
    set(&mut other.payload, "authorization.value", "1001");
    assert!(matches!(identifier::decide(true, &other, |_| Some(digest)), Identified::Conflict(_)));
    assert_eq!(identifier::decide(false, &with(None), none), Identified::Anonymous);
    assert!(matches!(identifier::decide(true, &with(None), none), Identified::Malformed(_)));
    assert!(matches!(identifier::decide(true, &stock_payment("exact"), none), Identified::Malformed(_)));
    for bad in ["short", &"x".repeat(129), "pay_0123456789 abcdef", "pay_0123456789äbcdef"] {
        assert!(matches!(identifier::decide(false, &with(Some(bad)), none), Identified::Malformed(_)), "{bad}");
    }
    let mut malformed = stock_payment("exact");
    malformed.extensions.insert(identifier::NAME.to_owned(), serde_json::json!({"info": [true]}));
    assert!(matches!(identifier::decide(false, &malformed, none), Identified::Malformed(_)));
}
