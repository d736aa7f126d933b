//! Attacks on words: a payment for something else, of another time, another network, another channel.

use crate::common;

use agora_types::authorization::{Authorization, Exact};
use agora_types::channel::Voucher;
use agora_types::command::{Claim, Command, Refund, VoucherClaim};
use agora_types::eip712::{Network, command_digest};
use agora_types::{Address, Hash, Timestamp};
use agora_x402::check::{self, Payment, Purpose, Terms};
use agora_x402::scheme::batch::{BatchPayload, ClaimFields, ClaimPayload, RefundPayload, SettlePayload, VoucherFields};
use agora_x402::scheme::exact::ExactPayload;
use agora_x402::wire::{NetworkId, Scheme, Seconds, VerifyRequest};
use agora_x402::{Reason, Refusal};
use common::*;

#[test]
fn a_signature_for_another_deployment_type_or_domain_is_worthless() {
    let signed_for = |network: &Network| {
        let words = Exact {
            from: payer().address(),
            to: seller().address(),
            value: atoms(1_000),
            valid_after: 0,
            valid_before: NOW_S + 300,
            nonce: Hash::new([1; 32]),
        };
        let mut request = stock_request("exact");
        request.payment_payload.payload = ExactPayload::sign(network, words, &payer()).to_object();
        request
    };
    assert!(verify(&signed_for(&network())).is_ok());
    let other_chain = Network { chain_id: 4_020_712, ..network() };
    assert_eq!(reason("another chain", verify(&signed_for(&other_chain))), Reason::Signature);
    let other_asset = Network { asset: seller().address(), ..network() };
    assert_eq!(reason("another asset", verify(&signed_for(&other_asset))), Reason::Signature);

    // A deposit authorization has the same fields as a transfer, and another type.
    let deposit = stock_payment("batch-settlement").payload;
    let mut request = signed_for(&network());
    let signature = deposit["deposit"]["authorization"]["erc3009Authorization"]["signature"].clone();
    set(&mut request.payment_payload.payload, "signature", signature);
    assert_eq!(reason("another type", verify(&request)), Reason::Signature);

    let mut request = stock_request("voucher");
    let other = Voucher::sign(&other_chain, config().id(&network()), atoms(137), &payer());
    set(&mut request.payment_payload.payload, "voucher.signature", other.signature.to_string());
    assert_eq!(reason("a voucher of another chain", verify(&request)), Reason::VoucherSignature);
    let stranger = Voucher::sign(&network(), config().id(&network()), atoms(137), &stranger());
    set(&mut request.payment_payload.payload, "voucher.signature", stranger.signature.to_string());
    assert_eq!(reason("somebody else's voucher", verify(&request)), Reason::VoucherSignature);
}

#[test]
fn a_payment_is_valid_from_its_first_second_and_not_in_its_last() {
    let at = |seconds: u64| {
        let now = Timestamp::from_secs(seconds).unwrap();
        check::payment(&terms(), Purpose::Verify, &stock_request("exact"), now)
    };
    assert!(at(NOW_S).is_ok());
    assert!(at(NOW_S + 299).is_ok());
    assert_eq!(reason("its end", at(NOW_S + 300)), Reason::AuthorizationValidBefore);
    assert_eq!(reason("long after", at(NOW_S * 2)), Reason::AuthorizationValidBefore);
    assert!(at(NOW_S + 300 - 3_600).is_ok());
    assert_eq!(
        reason("too far ahead", at(NOW_S + 299 - 3_600)).to_string(),
        "agora_channel_authorization_valid_too_long"
    );
    for (row, after, before, expected) in [
        ("not yet", NOW_S + 1, NOW_S + 300, Reason::AuthorizationValidAfter),
        ("over now", 0, NOW_S, Reason::AuthorizationValidBefore),
        ("inverted", NOW_S, NOW_S - 1, Reason::AuthorizationValidBefore),
    ] {
        let words = Exact {
            from: payer().address(),
            to: seller().address(),
            value: atoms(1_000),
            valid_after: after,
            valid_before: before,
            nonce: Hash::ZERO,
        };
        let mut request = stock_request("exact");
        request.payment_payload.payload = ExactPayload::sign(&network(), words, &payer()).to_object();
        assert_eq!(reason(row, verify(&request)), expected, "{row}");
    }
    for kind in ["upto", "batch-settlement"] {
        let late = Timestamp::from_secs(NOW_S + 300).unwrap();
        let result = check::payment(&terms(), Purpose::Verify, &stock_request(kind), late);
        assert_eq!(reason(kind, result), Reason::AuthorizationValidBefore, "{kind}");
    }
}

#[test]
fn what_was_accepted_is_what_the_seller_requires() {
    type Change = fn(&mut VerifyRequest);
    let rows: &[(&str, Change, Reason)] = &[
        ("unknown scheme", |r| r.payment_requirements.scheme = Scheme::Other("free".into()), Reason::UnsupportedScheme),
        ("other scheme", |r| r.payment_payload.accepted.scheme = Scheme::Upto, Reason::InvalidScheme),
        ("other network", |r| r.payment_payload.accepted.network = NetworkId::Eip155(1), Reason::InvalidNetwork),
        ("seller's other network", |r| r.payment_requirements.network = NetworkId::Eip155(1), Reason::InvalidNetwork),
        ("cheaper", |r| r.payment_payload.accepted.amount = atoms(1), Reason::InvalidPaymentRequirements),
        ("other asset", |r| r.payment_payload.accepted.asset = zero(), Reason::InvalidPaymentRequirements),
        ("other payee", |r| r.payment_payload.accepted.pay_to = zero(), Reason::InvalidPaymentRequirements),
        ("other timeout", |r| r.payment_payload.accepted.max_timeout_seconds = 1, Reason::InvalidPaymentRequirements),
        ("more extra", |r| set(&mut r.payment_payload.accepted.extra, "x", 1), Reason::InvalidPaymentRequirements),
        (
            "both of another asset",
            |r| {
                r.payment_payload.accepted.asset = zero();
                r.payment_requirements.asset = zero();
            },
            Reason::InvalidPaymentRequirements,
        ),
        (
            "both of another token name",
            |r| {
                set(&mut r.payment_payload.accepted.extra, "name", "USDC");
                set(&mut r.payment_requirements.extra, "name", "USDC");
            },
            Reason::InvalidPaymentRequirements,
        ),
        (
            "both of an unknown flow",
            |r| {
                set(&mut r.payment_payload.accepted.extra, "paymentFlow", "later");
                set(&mut r.payment_requirements.extra, "paymentFlow", "later");
            },
            Reason::InvalidPaymentRequirements,
        ),
        (
            "both dearer than signed",
            |r| {
                r.payment_payload.accepted.amount = atoms(1_001);
                r.payment_requirements.amount = atoms(1_001);
            },
            Reason::AuthorizationValueMismatch,
        ),
        (
            "both cheaper than signed",
            |r| {
                r.payment_payload.accepted.amount = atoms(999);
                r.payment_requirements.amount = atoms(999);
            },
            Reason::AuthorizationValueMismatch,
        ),
        (
            "both to another payee",
            |r| {
                r.payment_payload.accepted.pay_to = stranger().address();
                r.payment_requirements.pay_to = stranger().address();
            },
            Reason::RecipientMismatch,
        ),
    ];
    for (row, change, expected) in rows {
        let mut request = stock_request("exact");
        change(&mut request);
        assert_eq!(reason(row, verify(&request)), *expected, "{row}");
        if *row != "cheaper" {
            assert_eq!(reason(row, settle(&request)), *expected, "{row}, when settled");
        }
    }
}

#[test]
fn an_upto_permit_is_for_one_facilitator_and_settles_at_most_its_amount() {
    let settled = |amount: u128| {
        let mut request = stock_request("upto");
        request.payment_requirements.amount = atoms(amount);
        settle(&request)
    };
    for amount in [0, 1_234, 5_000] {
        let Ok(Payment::Upto(one)) = settled(amount) else { panic!("{amount} is refused") };
        assert_eq!(one.amount, atoms(amount));
    }
    assert_eq!(reason("more than permitted", settled(5_001)), Reason::UptoSettlementExceedsAmount);
    let mut cheaper = stock_request("upto");
    cheaper.payment_requirements.amount = atoms(1_234);
    assert_eq!(reason("verified for less", verify(&cheaper)), Reason::InvalidPaymentRequirements);

    let other = Terms { facilitator: stranger().address(), ..terms() };
    let result = check::payment(&other, Purpose::Verify, &stock_request("upto"), now());
    assert_eq!(reason("another facilitator", result), Reason::UptoFacilitatorMismatch);
    for (row, path, value, expected) in [
        ("other spender", "permit2Authorization.spender", zero(), Reason::InvalidPayload),
        ("other token", "permit2Authorization.permitted.token", zero(), Reason::InvalidPayload),
        ("other payee", "permit2Authorization.witness.to", zero(), Reason::RecipientMismatch),
        ("other witness", "permit2Authorization.witness.facilitator", zero(), Reason::UptoFacilitatorMismatch),
        ("other payer", "permit2Authorization.from", stranger().address(), Reason::Signature),
    ] {
        let mut request = stock_request("upto");
        set(&mut request.payment_payload.payload, path, value.to_string());
        assert_eq!(reason(row, verify(&request)), expected, "{row}");
    }
    let mut request = stock_request("upto");
    set(&mut request.payment_payload.payload, "permit2Authorization.permitted.amount", "4999");
    assert_eq!(reason("permits less", verify(&request)), Reason::AuthorizationValueMismatch);
}

#[test]
fn a_channel_is_the_one_that_the_offer_asks_for() {
    let with = |change: &dyn Fn(&mut agora_types::channel::ChannelConfig)| {
        let mut config = config();
        change(&mut config);
        let voucher = Voucher::sign(&network(), config.id(&network()), atoms(100), &payer());
        verify(&batch_request(&voucher_payload(config, &voucher)))
    };
    assert!(with(&|_| {}).is_ok());
    assert!(with(&|c| c.salt = Hash::new([9; 32])).is_ok(), "the salt is the buyer's");
    assert_eq!(reason("token", with(&|c| c.token = zero())), Reason::TokenMismatch);
    assert_eq!(reason("receiver", with(&|c| c.receiver = zero())), Reason::ReceiverMismatch);
    let authorizer = with(&|c| c.receiver_authorizer = payer().address());
    assert_eq!(reason("authorizer", authorizer), Reason::ReceiverAuthorizerMismatch);
    let nobody = with(&|c| c.receiver_authorizer = zero());
    assert_eq!(reason("no authorizer", nobody), Reason::ReceiverAuthorizerMismatch);
    assert_eq!(reason("delay", with(&|c| c.withdraw_delay = 901)), Reason::WithdrawDelayMismatch);
    let signer = with(&|c| c.payer_authorizer = stranger().address());
    assert_eq!(reason("signer", signer), Reason::VoucherSignature);
    let unsigned = with(&|c| c.payer_authorizer = zero());
    assert_eq!(reason("a contract wallet", unsigned), Reason::VoucherSignature);

    let mut voucher = voucher(100);
    voucher.channel_id = agora_types::ChannelId::ZERO;
    let result = verify(&batch_request(&voucher_payload(config(), &voucher)));
    assert_eq!(reason("another channel's voucher", result), Reason::ChannelIdMismatch);

    let short = {
        let mut request = batch_request(&voucher_payload(config(), &voucher));
        for side in [&mut request.payment_requirements.extra, &mut request.payment_payload.accepted.extra] {
            set(side, "withdrawDelay", 899);
        }
        set(&mut request.payment_payload.payload, "channelConfig.withdrawDelay", 899);
        verify(&request)
    };
    assert_eq!(reason("a delay out of range", short), Reason::WithdrawDelayOutOfRange);

    let mut request = stock_request("batch-settlement");
    let permit = serde_json::json!({"permit2Authorization": {"from": payer().address()}});
    set(&mut request.payment_payload.payload, "deposit.authorization", permit);
    assert_eq!(reason("a Permit2 deposit", verify(&request)), Reason::Erc3009AuthorizationRequired);
    let mut request = stock_request("batch-settlement");
    set(&mut request.payment_payload.payload, "deposit.amount", "1001");
    assert_eq!(reason("another amount", verify(&request)), Reason::ReceiveAuthorizationSignature);
    let poor = Terms { deposit_min: atoms(1_001), ..terms() };
    let result = check::payment(&poor, Purpose::Verify, &stock_request("batch-settlement"), now());
    assert_eq!(reason("below the minimum", result), Reason::DepositBelowMinDeposit);
    let mut request = stock_request("voucher");
    set(&mut request.payment_payload.payload, "type", "withdraw");
    assert_eq!(reason("an unknown type", verify(&request)), Reason::PayloadType);
}

#[test]
fn a_voucher_buys_only_above_what_was_claimed_and_within_the_balance() {
    let payment = verify(&stock_request("voucher")).unwrap(); // for 137
    let against = |balance: u128, claimed: u128| payment.against(&network(), |_| Some(view(balance, claimed)));
    assert_eq!(against(137, 136), Ok(()));
    assert_eq!(reason("claimed already", against(1_000, 137)), Reason::CumulativeBelowClaimed);
    // A drained channel that is opened again keeps `total_claimed`, so yesterday's vouchers buy nothing.
    assert_eq!(reason("opened again", against(5_000, 4_000)), Reason::CumulativeBelowClaimed);
    assert_eq!(reason("over the balance", against(136, 0)), Reason::CumulativeExceedsBalance);
    assert_eq!(reason("empty", against(0, 0)), Reason::ChannelInsufficientBalance);
    assert_eq!(reason("unknown", payment.against(&network(), |_| None)), Reason::ChannelNotFound);

    let deposit = verify(&stock_request("batch-settlement")).unwrap(); // 1000, voucher for 100
    assert_eq!(deposit.against(&network(), |_| None), Ok(()), "a deposit opens the channel");
    let again = deposit.against(&network(), |_| Some(view(500, 100)));
    assert_eq!(reason("an old voucher with a new deposit", again), Reason::CumulativeBelowClaimed);
    let overflow = deposit.against(&network(), |_| Some(view(u128::MAX, 0)));
    assert_eq!(reason("beyond 128 bits", overflow).to_string(), "agora_amount_overflow");
}

fn seller_request(payload: &BatchPayload) -> VerifyRequest {
    // As the stock channel manager writes it: an empty extra, no timeout.
    let mut request = batch_request(payload);
    for side in [&mut request.payment_requirements, &mut request.payment_payload.accepted] {
        side.extra.clear();
        side.max_timeout_seconds = 0;
        side.amount = atoms(0);
    }
    request
}

fn claim_of(max: u128, total: u128) -> VoucherClaim {
    VoucherClaim {
        config: config(),
        max_claimable: atoms(max),
        voucher_signature: voucher(max).signature,
        total_claimed: atoms(total),
    }
}

#[test]
fn claims_are_the_authorizers_and_within_their_vouchers() {
    let words = Claim { claims: vec![claim_of(137, 37)] };
    let digest = command_digest(&network(), &Command::Claim(words.clone()));
    let payload = |signature: Option<String>, fields: Vec<ClaimFields>| {
        BatchPayload::Claim(ClaimPayload { claims: fields, claim_authorizer_signature: signature })
    };
    let fields = || words.claims.iter().map(ClaimFields::write).collect::<Vec<_>>();
    let signed = payload(Some(facilitator().sign(&digest).to_string()), fields());
    let good = settle(&seller_request(&signed)).unwrap();
    assert_eq!(good.channels(&network()), [config().id(&network())]);
    assert_eq!(good.against(&network(), |_| Some(view(1_000, 0))), Ok(()));
    assert_eq!(good.against(&network(), |_| Some(view(1_000, 37))), Ok(()), "a repeat");
    let below = good.against(&network(), |_| Some(view(1_000, 38)));
    assert_eq!(reason("below claimed", below), Reason::CumulativeBelowClaimed);
    let over = good.against(&network(), |_| Some(view(36, 0)));
    assert_eq!(reason("over the balance", over), Reason::CumulativeExceedsBalance);
    assert!(settle(&seller_request(&payload(None, fields()))).is_ok(), "the facilitator is the authorizer");

    let third = payload(Some(stranger().sign(&digest).to_string()), fields());
    assert_eq!(reason("a third party", settle(&seller_request(&third))), Reason::AuthorizerAddressMismatch);
    let elsewhere = Terms { facilitator: stranger().address(), ..terms() };
    let unsigned = check::payment(&elsewhere, Purpose::Settle, &seller_request(&payload(None, fields())), now());
    assert_eq!(reason("unsigned, and not the authorizer", unsigned), Reason::AuthorizerAddressMismatch);
    let over = payload(None, vec![ClaimFields::write(&claim_of(137, 138))]);
    assert_eq!(reason("over its voucher", settle(&seller_request(&over))), Reason::ChargeExceedsSignedCumulative);
    let forged = VoucherClaim { max_claimable: atoms(999), ..claim_of(137, 37) };
    let forged = payload(None, vec![ClaimFields::write(&forged)]);
    assert_eq!(reason("another voucher", settle(&seller_request(&forged))), Reason::VoucherSignature);
    let none = settle(&seller_request(&payload(None, vec![])));
    assert_eq!(reason("no claims", none).to_string(), "agora_channel_claim_count");
    let many = payload(None, vec![ClaimFields::write(&claim_of(137, 37)); 101]);
    assert_eq!(reason("101 claims", settle(&seller_request(&many))).to_string(), "agora_channel_claim_count");
    assert_eq!(reason("verified", verify(&seller_request(&signed))), Reason::PayloadType);

    let pays = |receiver: Address| BatchPayload::Settle(SettlePayload { receiver, token: network().asset });
    assert!(matches!(settle(&seller_request(&pays(seller().address()))), Ok(Payment::Settle(_))));
    let other = settle(&seller_request(&pays(stranger().address())));
    assert_eq!(reason("another receiver", other), Reason::ReceiverMismatch);
}

fn refund_of(nonce: u64, amount: u128, signer: &agora_types::key::WalletKey) -> RefundPayload {
    let refund = Refund { config: config(), nonce, amount: atoms(amount) };
    let signature = signer.sign(&command_digest(&network(), &Command::Refund(refund))).to_string();
    RefundPayload {
        channel_config: config(),
        voucher: VoucherFields::write(&voucher(137)),
        amount: Some(atoms(amount)),
        refund_nonce: Some(Seconds(nonce)),
        claims: Some(vec![ClaimFields::write(&claim_of(137, 137))]),
        refund_authorizer_signature: Some(signature),
        claim_authorizer_signature: None,
    }
}

#[test]
fn a_refund_is_the_authorizers_and_its_nonce_counts_once() {
    let good = settle(&seller_request(&BatchPayload::Refund(refund_of(3, 863, &facilitator())))).unwrap();
    let at = |nonce: u64| {
        let view = check::ChannelView { refund_nonce: nonce, ..view(1_000, 0) };
        good.against(&network(), move |_| Some(view))
    };
    assert_eq!(at(3), Ok(()));
    assert_eq!(good.commands().len(), 2, "the claim, then the refund");
    assert_eq!(reason("replayed", at(4)), Reason::RefundPayload);
    assert_eq!(reason("early", at(2)), Reason::RefundPayload);
    let settled = |payload| settle(&seller_request(&BatchPayload::Refund(payload)));
    let third = settled(refund_of(3, 863, &stranger()));
    assert_eq!(reason("a third party", third), Reason::AuthorizerAddressMismatch);
    let more = settled(refund_of(3, 864, &facilitator())).unwrap();
    let view_3 = check::ChannelView { refund_nonce: 3, ..view(1_000, 0) };
    assert_eq!(reason("more than is left", more.against(&network(), |_| Some(view_3))), Reason::RefundAmountInvalid);
    let half = RefundPayload { claims: None, ..refund_of(3, 863, &facilitator()) };
    assert_eq!(reason("half a seller's", settled(half)), Reason::RefundPayload);
    let foreign = {
        let mut other = claim_of(137, 137);
        other.config.salt = Hash::new([1; 32]);
        RefundPayload { claims: Some(vec![ClaimFields::write(&other)]), ..refund_of(3, 863, &facilitator()) }
    };
    assert_eq!(reason("another channel's claim", settled(foreign)), Reason::RefundPayload);

    let buyers = RefundPayload {
        amount: None,
        refund_nonce: None,
        claims: None,
        refund_authorizer_signature: None,
        ..refund_of(3, 1, &facilitator())
    };
    let asked: Result<Payment, Refusal> = verify(&batch_request(&BatchPayload::Refund(buyers.clone())));
    let asked = asked.unwrap();
    assert_eq!(asked.against(&network(), |_| Some(view(1_000, 137))), Ok(()));
    let below = asked.against(&network(), |_| Some(view(1_000, 138)));
    assert_eq!(reason("below claimed", below), Reason::CumulativeBelowClaimed);
    assert_eq!(reason("nothing left", asked.against(&network(), |_| Some(view(137, 0)))), Reason::RefundNoBalance);
    let alone = settle(&batch_request(&BatchPayload::Refund(buyers)));
    assert_eq!(reason("settled without the seller", alone), Reason::RefundPayload);
}

#[test]
fn replays_are_keyed_by_payer_and_nonce_never_by_signature() {
    let Ok(Payment::Exact(one)) = verify(&stock_request("exact")) else { panic!("refused") };
    let Ok(Payment::Upto(other)) = verify(&stock_request("upto")) else { panic!("refused") };
    let Authorization::Upto(words) = &other.authorization else { panic!("not upto") };
    assert_eq!(one.authorization.key(), one.authorization.nonce());
    assert_ne!(other.authorization.key(), words.nonce, "Permit2 counts its nonces apart");
}
