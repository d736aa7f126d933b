//! What the stock SDK writes is read, is good, and is written as the SDK reads it.

use crate::common;

use agora_types::authorization::Authorization;
use agora_types::{Hash, eip712};
use agora_x402::buyer::{Answer, BuyerChannel, ChannelKeys, Fresh, PaymentContext, pay_exact};
use agora_x402::check::{ChannelView, Payment, difference};
use agora_x402::extensions::statement::{OfferPayload, ReceiptPayload, SignedOffer, SignedReceipt};
use agora_x402::header;
use agora_x402::scheme::batch::BatchPayload;
use agora_x402::wire::{PaymentRequired, SettleResponse, SettledAmount};
use common::*;

#[test]
fn offers_of_the_stock_sdk_are_ours() {
    for (scheme, own) in [("exact", exact()), ("upto", upto()), ("batch-settlement", batch())] {
        let text = stock()["required"][scheme].as_str().unwrap().to_owned();
        let required: PaymentRequired = header::decode([&text]).unwrap();
        assert_eq!(required.resource, offers().resource);
        let theirs = required.accepts[0].known().unwrap();
        assert_eq!(difference(theirs, &own), None, "{scheme}");
        let again = header::encode(&required).unwrap();
        assert_eq!(header::decode::<PaymentRequired>([again]), Ok(required));
    }
}

#[test]
fn payments_of_the_stock_sdk_are_taken_and_verified() {
    for kind in ["exact", "upto", "batch-settlement", "voucher"] {
        let payment = stock_payment(kind);
        let own = offers().taken(&payment).unwrap().clone();
        let checked = verify(&request(payment, own)).unwrap_or_else(|refusal| panic!("{kind}: {refusal}"));
        assert_eq!(checked.payer(), payer().address(), "{kind}");
        let answer = checked.against(&network(), |_| Some(view(1_000, 0)));
        assert_eq!(answer, Ok(()), "{kind}");
    }
}

#[test]
fn words_of_the_stock_sdk_are_the_ledgers_words() {
    let Ok(Payment::Exact(one)) = verify(&stock_request("exact")) else { panic!("not exact") };
    assert_eq!(one.amount, atoms(1_000));
    assert_eq!(one.authorization.nonce(), Hash::new([0x11; 32]));
    let Ok(Payment::Upto(one)) = verify(&stock_request("upto")) else { panic!("not upto") };
    let Authorization::Upto(words) = &one.authorization else { panic!("not upto") };
    assert_eq!((words.max, words.nonce, words.deadline), (atoms(5_000), Hash::new([0x12; 32]), NOW_S + 300));
    let Ok(Payment::Deposit(one)) = verify(&stock_request("batch-settlement")) else { panic!("no deposit") };
    assert_eq!(one.voucher.channel_id, config().id(&network()));
    assert_eq!((one.deposit.amount, one.voucher.max_claimable), (atoms(1_000), atoms(100)));
    let commands = settle(&stock_request("batch-settlement")).unwrap().commands();
    assert_eq!(commands[0].0.signer(), Some(payer().address()));
}

#[test]
fn what_we_sign_is_what_the_stock_sdk_signs() {
    let mut required = offers().required(None);
    required.error = Some("Payment required".to_owned());
    let offer = batch();
    let (network, owner) = (network(), payer());
    let context = PaymentContext { network: &network, required: &required, offer: &offer, now: now() };
    let keys = ChannelKeys { owner: &owner, session: &owner };
    let mut channel = BuyerChannel::new(config(), &ChannelView::default());
    let payment = channel.pay(&context, keys, atoms(10_000), Fresh { salt: Hash::new([0x13; 32]) }).unwrap();
    let theirs = stock_payment("batch-settlement");
    let (Ok(BatchPayload::Deposit(ours)), Ok(BatchPayload::Deposit(stock))) =
        (BatchPayload::read(&payment.payload), BatchPayload::read(&theirs.payload))
    else {
        panic!("no deposits")
    };
    // We begin ten minutes early, the SDK at the beginning of time: the deposit's signature differs, the rest does not.
    assert_eq!((ours.voucher, ours.channel_config), (stock.voucher, stock.channel_config));
    assert_eq!(ours.deposit.amount, stock.deposit.amount);

    let response: SettleResponse = header::decode([stock_text("response")]).unwrap();
    assert_eq!(response.amount, Some(SettledAmount::Atoms(atoms(1_000))));
    assert_eq!(channel.answered(&network, &response), Ok(Answer::Charged(atoms(37))));
    let next = channel.pay(&context, keys, atoms(10_000), Fresh { salt: Hash::ZERO }).unwrap();
    assert_eq!(next.payload, normal(&stock_payment("voucher").payload), "the second payment is a voucher for 137");
    assert_eq!(difference(&next.accepted, &stock_payment("voucher").accepted), None);

    let offer = exact();
    let context = PaymentContext { network: &network, required: &required, offer: &offer, now: now() };
    assert!(verify(&request(pay_exact(&context, &owner, Hash::new([1; 32])), offer.clone())).is_ok());
}

/// Addresses in lower case, as we write them.
fn normal(payload: &agora_x402::wire::Object) -> agora_x402::wire::Object {
    BatchPayload::read(payload).unwrap().to_object()
}

fn stock_text(key: &str) -> String {
    stock()[key].as_str().unwrap().to_owned()
}

#[test]
fn digests_are_those_of_an_independent_library() {
    let config = config();
    assert_eq!(config.id(&network()).to_string(), "0x105bee45b4b1a9209db98b602822dd6a4e27c8ef6760685aa7451dfd0e1ecbe0");
    let mut salt = [0; 32];
    salt[31] = 0x22;
    assert_eq!(
        eip712::deposit_nonce(&config.id(&network()), &Hash::new(salt)).to_string(),
        "0xbd10f907365960f1e53c2c6bc3c62b8541974a29216eee7179b3b64b3bd5a4eb"
    );
}

#[test]
fn statements_of_an_independent_library_verify() {
    // Checksummed addresses: the text is what is signed.
    let offer = OfferPayload {
        asset: "0x4F50454E00000000000000000000000000000001".to_owned(),
        pay_to: "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC".to_owned(),
        ..OfferPayload::of(URL, &exact(), NOW_S + 300)
    };
    let signature = stock()["offer"]["signature"].as_str().unwrap().to_owned();
    let signed = SignedOffer::Eip712 { accept_index: Some(0), payload: offer.clone(), signature: signature.clone() };
    assert_eq!(signed.verify(&seller().address(), URL, &exact(), now()), Ok(()));
    assert_eq!(SignedOffer::sign(offer, Some(0), &seller()), signed, "signatures are deterministic");

    let receipt = ReceiptPayload {
        version: 1,
        network: "eip155:4020711".to_owned(),
        resource_url: URL.to_owned(),
        payer: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".to_owned(),
        issued_at: NOW_S,
        transaction: String::new(),
    };
    let signed = SignedReceipt::sign(receipt, &seller());
    assert_eq!(
        serde_json::to_value(&signed).unwrap()["signature"],
        stock()["receipt"]["signature"],
        "receipts are signed alike"
    );
    assert_eq!(signed.verify(&seller().address(), &exact().network, URL, &payer().address()), Ok(()));
}
