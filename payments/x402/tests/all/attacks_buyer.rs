//! Attacks on a buyer: rising prices, other payees, forged corrections, charges that do not add up.

use crate::common;

use std::collections::BTreeSet;

use agora_types::channel::Voucher;
use agora_types::{Amount, Hash};
use agora_x402::buyer::*;
use agora_x402::check::ChannelView;
use agora_x402::extensions::statement::{OfferPayload, SignedOffer, SignedOffers, StatementError};
use agora_x402::wire::{
    Accept, NetworkId, PartialChannelState, PaymentRequired, PaymentRequirements, Scheme, SettleResponse,
    SettleResponseExtra,
};
use common::*;

fn policy() -> Policy {
    Policy {
        networks: vec![network()],
        payees: Some(BTreeSet::from([seller().address()])),
        hosts: Some(BTreeSet::from(["seller.example".to_owned()])),
        per_call_max: atoms(5_000),
        deposit_max: atoms(10_000),
        schemes: vec![Scheme::BatchSettlement, Scheme::Upto, Scheme::Exact],
    }
}

fn one(offer: PaymentRequirements) -> PaymentRequired {
    PaymentRequired { accepts: vec![offer.into()], ..offers().required(None) }
}

#[test]
fn the_buyers_order_decides_and_not_the_sellers() {
    let required = offers().required(None);
    assert_eq!(policy().choose(URL, &required, None), Ok(&batch()));
    let exact_only = Policy { schemes: vec![Scheme::Exact], ..policy() };
    assert_eq!(exact_only.choose(URL, &required, None), Ok(&exact()));
    let poor = Policy { per_call_max: atoms(999), schemes: vec![Scheme::Exact, Scheme::Upto], ..policy() };
    let reasons = vec![Unwanted::Amount, Unwanted::Amount, Unwanted::Scheme];
    assert_eq!(poor.choose(URL, &required, None), Err(PolicyError::NothingFits(reasons)));
}

#[test]
fn an_offer_outside_the_policy_is_never_taken() {
    type Change = fn(&mut PaymentRequirements);
    let rows: &[(&str, Change, Unwanted)] = &[
        ("an unknown scheme", |o| o.scheme = Scheme::Other("free".into()), Unwanted::Scheme),
        ("another network", |o| o.network = NetworkId::Eip155(1), Unwanted::Network),
        ("another asset", |o| o.asset = stranger().address(), Unwanted::Asset),
        ("another payee", |o| o.pay_to = stranger().address(), Unwanted::Payee),
        ("over the limit", |o| o.amount = atoms(5_001), Unwanted::Amount),
        ("no time", |o| o.max_timeout_seconds = 0, Unwanted::Timeout),
        ("a day", |o| o.max_timeout_seconds = 86_400, Unwanted::Timeout),
        ("another domain", |o| set(&mut o.extra, "name", "USDC"), Unwanted::Extra),
        ("an unknown flow", |o| set(&mut o.extra, "paymentFlow", "never"), Unwanted::Extra),
    ];
    for (row, change, expected) in rows {
        let mut offer = exact();
        change(&mut offer);
        let result = policy().choose(URL, &one(offer), None).map(|_| ());
        assert_eq!(result, Err(PolicyError::NothingFits(vec![*expected])), "{row}");
    }
    let channel_rows: &[(&str, Change)] = &[
        ("no authorizer", |o| set(&mut o.extra, "receiverAuthorizer", zero().to_string())),
        ("a short delay", |o| set(&mut o.extra, "withdrawDelay", 899)),
        ("Permit2", |o| set(&mut o.extra, "assetTransferMethod", "permit2")),
    ];
    for (row, change) in channel_rows {
        let mut offer = batch();
        change(&mut offer);
        let result = policy().choose(URL, &one(offer), None).map(|_| ());
        assert_eq!(result, Err(PolicyError::NothingFits(vec![Unwanted::Extra])), "{row}");
    }
    // Found by fuzzing: it was signed, and no facilitator would have taken it.
    let mut offer = upto();
    set(&mut offer.extra, "version", "2");
    let result = Policy { schemes: vec![Scheme::Upto], ..policy() }.choose(URL, &one(offer), None).map(|_| ());
    assert_eq!(result, Err(PolicyError::NothingFits(vec![Unwanted::Extra])), "a permit for another token");
    let foreign = Accept::Foreign(serde_json::Map::new());
    let required = PaymentRequired { accepts: vec![foreign], ..offers().required(None) };
    let refused = Err(PolicyError::NothingFits(vec![Unwanted::Foreign]));
    assert_eq!(policy().choose(URL, &required, None), refused);
}

#[test]
fn redirects_to_another_host_and_turned_offers_are_refused() {
    let required = offers().required(None);
    let ask = |url: &str| policy().choose(url, &required, None).map(|_| ());
    assert_eq!(ask("https://SELLER.example/x?y"), Ok(()));
    assert_eq!(ask("https://other.example/v1/chat"), Err(PolicyError::Host("other.example".to_owned())));
    for url in ["ftp://seller.example/", "seller.example", "https:///x", "https://seller.example@evil.example/", ""] {
        assert!(ask(url).is_err(), "{url}");
    }
    let anywhere = Policy { hosts: None, ..policy() };
    let other = anywhere.choose("https://proxy.example/", &required, None).map(|_| ());
    assert_eq!(other, Err(PolicyError::OtherHost("seller.example".to_owned())));

    let exact_only = Policy { schemes: vec![Scheme::Exact], payees: None, ..policy() };
    let earlier = exact();
    let turned = |offer: PaymentRequirements| exact_only.choose(URL, &one(offer), Some(&earlier)).map(|_| ());
    assert_eq!(turned(exact()), Ok(()));
    assert_eq!(turned(PaymentRequirements { amount: atoms(999), ..exact() }), Ok(()), "cheaper is welcome");
    let dearer = turned(PaymentRequirements { amount: atoms(1_001), ..exact() });
    assert_eq!(dearer, Err(PolicyError::NothingFits(vec![Unwanted::PriceDrift])));
    let payee = turned(PaymentRequirements { pay_to: stranger().address(), ..exact() });
    assert_eq!(payee, Err(PolicyError::NothingFits(vec![Unwanted::PayeeChanged])));
}

fn response(charge: Option<u128>, cumulative: Option<u128>) -> SettleResponse {
    let extra = SettleResponseExtra {
        charged_amount: charge.map(Amount::from_atoms),
        channel_state: cumulative.map(|sum| PartialChannelState {
            charged_cumulative_amount: Some(atoms(sum)),
            ..PartialChannelState::default()
        }),
        voucher_state: None,
    };
    SettleResponse {
        success: true,
        error_reason: None,
        error_message: None,
        payer: None,
        transaction: String::new(),
        network: exact().network,
        amount: None,
        extra: extra.to_object(),
        extensions: serde_json::Map::new(),
    }
}

/// A channel with one payment sent, as the caller left it.
fn pay(channel: &mut BuyerChannel) -> Result<(), StopSigning> {
    let (network, owner, required, offer) = (network(), payer(), offers().required(None), batch());
    let context = PaymentContext { network: &network, required: &required, offer: &offer, now: now() };
    let keys = ChannelKeys { owner: &owner, session: &owner };
    channel.pay(&context, keys, atoms(10_000), Fresh { salt: Hash::ZERO }).map(|_| ())
}

fn sent() -> BuyerChannel {
    let mut channel = BuyerChannel::new(config(), &ChannelView::default());
    pay(&mut channel).unwrap();
    assert_eq!((channel.signed_max, channel.deposited), (atoms(100), atoms(0)));
    channel
}

#[test]
fn an_answer_that_does_not_add_up_ends_the_signing() {
    let network = network();
    for (row, answer, expected) in [
        ("charged more than offered", response(Some(101), Some(101)), StopSigning::Overcharge),
        ("a wrong sum", response(Some(37), Some(38)), StopSigning::CumulativeMismatch),
        ("no charge", response(None, Some(37)), StopSigning::AnswerMalformed),
        (
            "another network",
            SettleResponse { network: NetworkId::Eip155(1), ..response(Some(1), None) },
            StopSigning::AnswerMalformed,
        ),
    ] {
        let mut channel = sent();
        assert_eq!(channel.answered(&network, &answer), Err(expected), "{row}");
        channel.sent = None;
        assert_eq!(pay(&mut channel), Err(StopSigning::Stopped), "{row}");
    }
    let mut channel = sent();
    assert_eq!(pay(&mut channel), Err(StopSigning::Busy), "one request at a time");
    let failed = SettleResponse { success: false, ..response(None, None) };
    assert_eq!(channel.answered(&network, &failed), Ok(Answer::Refused));
    assert_eq!(channel.answered(&network, &failed), Err(StopSigning::NothingSent));
    pay(&mut channel).unwrap();
    assert_eq!(channel.signed_max, atoms(100), "a refused payment is signed again, not added");
    assert_eq!(channel.answered(&network, &response(Some(37), Some(37))), Ok(Answer::Charged(atoms(37))));
    assert_eq!((channel.charged, channel.deposited), (atoms(37), atoms(1_000)));
    pay(&mut channel).unwrap();
    assert_eq!(channel.answered(&network, &response(Some(0), None)), Ok(Answer::Charged(atoms(0))));
}

#[test]
fn deposits_are_bounded_and_follow_the_sellers_wish_as_stock_clients_do() {
    let channel = BuyerChannel::new(config(), &ChannelView::default());
    let draw =
        |offer: &PaymentRequirements, max: u128| channel.draw(offer, atoms(max)).map(|draw| draw.deposit.atoms());
    assert_eq!(draw(&batch(), 10_000), Ok(1_000), "minDeposit");
    assert_eq!(draw(&batch(), 400), Ok(400), "as much as is allowed");
    assert_eq!(draw(&batch(), 99), Err(StopSigning::DepositLimit));
    let mut low = batch();
    set(&mut low.extra, "minDeposit", "99");
    assert_eq!(draw(&low, 10_000), Ok(500), "five requests");
    let mut huge = batch();
    huge.amount = atoms(u128::MAX);
    assert_eq!(draw(&huge, u128::MAX), Err(StopSigning::Overflow));
    let mut other = batch();
    other.pay_to = stranger().address();
    assert_eq!(draw(&other, 10_000), Err(StopSigning::OtherChannel), "a changed payee is another channel");
    set(&mut other.extra, "x", 1);
    let topped = BuyerChannel::new(config(), &view(1_000, 950));
    assert_eq!(topped.draw(&batch(), atoms(10_000)).unwrap().deposit, atoms(1_000));
}

fn change(required: &mut PaymentRequired, path: &str, value: impl Into<serde_json::Value>) {
    let Some(Accept::Known(offer)) = required.accepts.get_mut(2) else { panic!("no batch offer") };
    set(&mut offer.extra, path, value);
}

#[test]
fn a_correction_is_believed_as_far_as_the_own_signature_goes() {
    let network = network();
    let lost = BuyerChannel::new(config(), &ChannelView::default());
    let mut channel = lost.clone();
    assert_eq!(channel.adopt(&network, &correction(), 0), Ok(()));
    assert_eq!((channel.charged, channel.signed_max, channel.deposited), (atoms(37), atoms(100), atoms(1_000)));
    pay(&mut channel).unwrap();
    assert_eq!(channel.signed_max, atoms(137));

    let forged =
        |max: u128| Voucher::sign(&network, config().id(&network), atoms(max), &stranger()).signature.to_string();
    type Change<'a> = &'a dyn Fn(&mut PaymentRequired);
    let rows: &[(&str, Change<'_>, StopSigning)] = &[
        ("another reason", &|r| r.error = Some("insufficient_funds".into()), StopSigning::NotCorrective),
        ("no reason", &|r| r.error = None, StopSigning::NotCorrective),
        ("no voucher", &|r| change(r, "voucherState", serde_json::Value::Null), StopSigning::NotCorrective),
        ("a stranger's voucher", &|r| change(r, "voucherState.signature", forged(100)), StopSigning::ForgedVoucher),
        ("a higher voucher", &|r| change(r, "voucherState.signedMaxClaimable", "101"), StopSigning::ForgedVoucher),
        (
            "charged above the voucher",
            &|r| change(r, "channelState.chargedCumulativeAmount", "101"),
            StopSigning::Inconsistent,
        ),
        ("claimed above the charge", &|r| change(r, "channelState.totalClaimed", "38"), StopSigning::Inconsistent),
        ("a voucher over the balance", &|r| change(r, "channelState.balance", "99"), StopSigning::Inconsistent),
        (
            "another channel",
            &|r| change(r, "channelState.channelId", Hash::ZERO.to_string()),
            StopSigning::Inconsistent,
        ),
        (
            "another authorizer",
            &|r| change(r, "receiverAuthorizer", stranger().address().to_string()),
            StopSigning::OtherChannel,
        ),
        ("another delay", &|r| change(r, "withdrawDelay", 901), StopSigning::OtherChannel),
    ];
    for (row, alter, expected) in rows {
        let mut required = correction();
        alter(&mut required);
        let mut channel = lost.clone();
        assert_eq!(channel.adopt(&network, &required, 0), Err(*expected), "{row}");
        assert_eq!(channel, lost, "{row}: nothing changes");
    }
    let mut channel = lost.clone();
    let again = channel.adopt(&network, &correction(), CORRECTIONS_MAX);
    assert_eq!(again, Err(StopSigning::TooManyCorrections), "a seller cannot correct without end");
}

#[test]
fn a_lost_answer_does_not_make_the_buyer_pay_twice() {
    let network = network();
    let mut channel = sent();
    channel.lost(&view(1_000, 0));
    assert_eq!((channel.charged, channel.deposited), (atoms(0), atoms(1_000)));
    pay(&mut channel).unwrap();
    assert_eq!(channel.signed_max, atoms(100), "signed again for the same height");
    assert!(channel.refused());
    channel.adopt(&network, &correction(), 0).unwrap();
    assert_eq!((channel.charged, channel.deposited), (atoms(37), atoms(1_000)));
}

#[test]
fn signed_offers_bind_resource_price_and_payee() {
    let mut required = offers().required(None);
    SignedOffers::attach(&mut required, NOW_S + 300, &seller());
    let signed = SignedOffers::read(&required.extensions).unwrap().unwrap();
    let accept = &required.accepts[0];
    let by = seller().address();
    assert_eq!(signed.verify(&by, URL, accept, now()), Ok(()));
    let late = agora_types::Timestamp::from_secs(NOW_S + 301).unwrap();
    let offer = SignedOffer::sign(OfferPayload::of(URL, &exact(), NOW_S + 300), None, &seller());
    assert_eq!(offer.verify(&by, URL, &exact(), late), Err(StatementError::Expired));
    assert_eq!(offer.verify(&by, "https://x.example", &exact(), now()), Err(StatementError::Other("resource")));
    assert_eq!(offer.verify(&payer().address(), URL, &exact(), now()), Err(StatementError::Signer(by)));
    let dearer = PaymentRequirements { amount: atoms(1_001), ..exact() };
    assert_eq!(offer.verify(&by, URL, &dearer, now()), Err(StatementError::Other("amount")));
    let SignedOffer::Eip712 { mut payload, signature, .. } = offer else { panic!("not EIP-712") };
    payload.amount = "1".to_owned();
    let changed = SignedOffer::Eip712 { accept_index: None, payload, signature };
    assert!(matches!(changed.verify(&by, URL, &exact(), now()), Err(StatementError::Signer(_))));
    let jws = SignedOffer::Jws { accept_index: None, signature: "a.b.c".to_owned() };
    assert_eq!(jws.verify(&by, URL, &exact(), now()), Err(StatementError::Form));
}
