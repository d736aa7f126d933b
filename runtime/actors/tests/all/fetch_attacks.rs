//! Servers that cheat a buyer of 402, one test for each way: none gets more than what one request may cost.

use crate::street;
use crate::world;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use agora_actors::fetch::{HttpAnswer, PaidFetch as _};
use agora_actors::pay::spend::PaidClient;
use agora_economy::testkit::*;
use agora_types::eip712::Network;
use agora_types::{Address, Amount, CallId, Code};
use agora_x402::header;
use agora_x402::scheme::batch::BatchPayload;
use agora_x402::seller::{Offers, batch_offer, exact_offer};
use agora_x402::wire::{
    BatchExtra, ChannelState, NetworkId, Object, PartialChannelState, PaymentRequired, PaymentRequirements, Resource,
    Scheme, Seconds, SettleResponse, SettleResponseExtra, SettledAmount, VoucherState,
};
use street::*;
use world::{Fuse, World, founded, payer};

const ID: CallId = CallId::new([1; 16]);
const NEXT: CallId = CallId::new([2; 16]);

fn network() -> Network {
    Kit::default().network()
}

fn exact(price: u128) -> PaymentRequirements {
    exact_offer(&network(), shop(), Amount::from_atoms(price), 60)
}

fn batch(price: u128) -> PaymentRequirements {
    batch_offer(&network(), shop(), Amount::from_atoms(price), 60, shop(), 900, None)
}

fn required(accepts: Vec<PaymentRequirements>) -> PaymentRequired {
    let resource = Resource { url: URL.into(), ..Resource::default() };
    Offers { resource, accepts, extensions: Object::new() }.required(None)
}

fn response(amount: Option<u128>, extra: Object) -> SettleResponse {
    SettleResponse {
        success: true,
        error_reason: None,
        error_message: None,
        payer: Some(key(PAYER).address()),
        transaction: "0xpaid".into(),
        network: NetworkId::Eip155(network().chain_id),
        amount: amount.map(|atoms| SettledAmount::Atoms(Amount::from_atoms(atoms))),
        extra,
        extensions: Object::new(),
    }
}

/// A server that answers 402 with this, and, where it gets a payment, what `paid` says.
fn seller(first: PaymentRequired, paid: impl Fn(&Asked) -> Answered + Send + Sync + 'static) -> Arc<Street> {
    Street::to(move |asked| {
        let answer = if asked.header.is_some() { paid(&asked) } else { Ok(unpaid(&first)) };
        async move { answer }
    })
}

async fn world(folder: &tempfile::TempDir) -> World {
    World::open(folder.path(), Fuse::new(None, false), 0).await
}

async fn buy(client: &PaidClient, id: CallId) -> HttpAnswer {
    client.fetch(&payer(), id, &request(), &limits()).await.unwrap()
}

fn status(answer: &HttpAnswer) -> u16 {
    answer.reply.as_ref().unwrap().status
}

fn cost(answer: &HttpAnswer) -> u128 {
    answer.paid.as_ref().map_or(0, |paid| paid.amount.atoms())
}

/// Every payment of this street is worth nothing: a till takes none of them, now or ever.
async fn check_worthless(world: &World, street: &Street) {
    let till = till(world, &[Scheme::Exact], PRICE);
    for asked in street.asked().into_iter().filter(|asked| asked.header.is_some()) {
        assert_eq!(sell(&till, &asked, Some(PRICE)).await.status, 402, "a payment that was taken back is taken");
    }
    assert_eq!(world.balance(&shop()), 0);
    world.audit();
}

#[tokio::test]
async fn an_offer_that_is_not_within_the_limits_is_an_answer_like_others() {
    type Change = fn(&mut PaymentRequired, &mut PaymentRequirements);
    let stranger: Address = key(61).address();
    let rows: &[(&str, Change)] = &[
        ("dearer than the limit", |_, offer| offer.amount = Amount::from_atoms(MOST + 1)),
        ("for nothing", |_, offer| offer.amount = Amount::ZERO),
        ("another network", |_, offer| offer.network = NetworkId::Eip155(1)),
        ("another asset", |_, offer| offer.asset = key(61).address()),
        ("a payee that is not granted", |_, offer| offer.pay_to = key(61).address()),
        ("the buyer itself", |_, offer| offer.pay_to = key(PAYER).address()),
        ("valid for a day", |_, offer| offer.max_timeout_seconds = 86_400),
        ("an unknown scheme", |_, offer| offer.scheme = Scheme::Other("free".into())),
        ("another host's resource", |all, _| all.resource.url = "http://evil.example/tea".into()),
        ("another resource of the host", |all, _| all.resource.url = "http://127.0.0.1:8402/coffee".into()),
        ("another port", |all, _| all.resource.url = "http://127.0.0.1:8403/tea".into()),
        ("a user in the resource", |all, _| all.resource.url = "http://127.0.0.1:8402@evil.example/tea".into()),
    ];
    let folder = founded();
    let world = world(&folder).await;
    for (row, change) in rows {
        let (mut first, mut offer) = (required(vec![exact(PRICE)]), exact(PRICE));
        change(&mut first, &mut offer);
        first.accepts = vec![offer.into()];
        let street = seller(first, |_| panic!("paid"));
        let mut limits = limits();
        if *row != "the buyer itself" {
            limits.payees = vec![shop()];
        }
        assert!(!limits.payees.contains(&stranger));
        let answer = client(&world, &street, None).fetch(&payer(), ID, &request(), &limits).await.unwrap();
        assert_eq!((status(&answer), cost(&answer), street.asked().len()), (402, 0, 1), "{row}");
    }
}

#[tokio::test]
async fn an_offer_that_two_readers_may_read_differently_is_not_read() {
    let good = header::encode(&required(vec![exact(PRICE)])).unwrap();
    let name = "payment-required";
    let rows: Vec<(&str, Vec<(&str, String)>)> = vec![
        ("absent", vec![]),
        ("twice", vec![(name, good.clone()), (name, good.clone())]),
        ("twice, in other case", vec![(name, good.clone()), ("Payment-Required", good.clone())]),
        ("no base64", vec![(name, format!("{good}!"))]),
        ("huge", vec![(name, "A".repeat(20_000))]),
        ("a list", vec![(name, "W10=".into())]),
        ("the header of version 1", vec![("x-payment-required", good.clone())]),
    ];
    let folder = founded();
    let world = world(&folder).await;
    for (row, headers) in rows {
        let answer = heard(402, &headers, "pay first");
        let street = Street::to(move |asked| {
            assert!(asked.header.is_none(), "paid");
            let answer = answer.clone();
            async move { Ok(answer) }
        });
        let answer = buy(&client(&world, &street, None), ID).await;
        assert_eq!((status(&answer), cost(&answer), street.asked().len()), (402, 0, 1), "{row}");
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed_with_or_without_a_payment() {
    let folder = founded();
    let world = world(&folder).await;
    let away = || heard(307, &[("location", "http://evil.example/".into())], "");
    let street = Street::to(move |_| async move { Ok(away()) });
    assert_eq!(status(&buy(&client(&world, &street, None), ID).await), 307);
    assert_eq!(street.asked().len(), 1);
    let street = seller(required(vec![exact(PRICE)]), move |_| Ok(away()));
    let answer = buy(&client(&world, &street, None), NEXT).await;
    assert_eq!((status(&answer), cost(&answer)), (307, 0));
    assert!(street.asked().iter().all(|asked| asked.url == URL));
    check_worthless(&world, &street).await;
}

#[tokio::test]
async fn a_402_without_end_gets_one_payment_and_that_is_worth_nothing() {
    let folder = founded();
    let world = world(&folder).await;
    let again = required(vec![exact(PRICE)]);
    let street = seller(again.clone(), move |_| Ok(unpaid(&again)));
    let answer = buy(&client(&world, &street, None), ID).await;
    assert_eq!((status(&answer), cost(&answer), street.asked().len()), (402, 0, 2));
    assert_eq!(buy(&client(&world, &street, None), ID).await, answer, "the id buys nothing more");
    assert_eq!(street.asked().len(), 2);
    check_worthless(&world, &street).await;
}

#[tokio::test]
async fn a_server_that_says_paid_and_takes_nothing_is_not_believed() {
    let folder = founded();
    let world = world(&folder).await;
    let street = seller(required(vec![exact(PRICE)]), |_| Ok(served(&response(Some(10 * PRICE), Object::new()))));
    let answer = buy(&client(&world, &street, None), ID).await;
    assert_eq!((status(&answer), cost(&answer)), (200, 0), "the ledger says what was paid");
    check_worthless(&world, &street).await;
}

#[tokio::test]
async fn a_server_that_overstates_what_it_took_changes_nothing() {
    let folder = founded();
    let world = world(&folder).await;
    let till = till(&world, &[Scheme::Exact], PRICE);
    let street = Street::to(move |asked| {
        let till = Arc::clone(&till);
        async move {
            let answer = sell(&till, &asked, Some(PRICE)).await;
            let lie = served(&response(Some(10 * PRICE), Object::new()));
            Ok(if asked.header.is_some() { lie } else { answer })
        }
    });
    let answer = buy(&client(&world, &street, None), ID).await;
    assert_eq!((cost(&answer), world.balance(&shop())), (PRICE, PRICE));
    assert_eq!(answer.paid.unwrap().transaction, "0xpaid", "the payee's own word, no more");
}

#[tokio::test]
async fn a_payment_that_is_lost_on_its_way_is_sent_again_byte_for_byte() {
    let folder = founded();
    let world = world(&folder).await;
    let till = till(&world, &[Scheme::Exact], PRICE);
    let count = Arc::new(AtomicUsize::new(0));
    let street = Street::to(move |asked| {
        let (till, count) = (Arc::clone(&till), Arc::clone(&count));
        async move {
            let answer = sell(&till, &asked, Some(PRICE)).await;
            match (asked.header.is_some(), count.fetch_add(1, Ordering::SeqCst)) {
                (true, 1) => Err(lost()),
                (true, 2) => Ok(heard(503, &[], "busy")),
                (true | false, _) => Ok(answer),
            }
        }
    });
    let answer = buy(&client(&world, &street, None), ID).await;
    assert_eq!((status(&answer), cost(&answer), world.balance(&shop())), (200, PRICE, PRICE));
    let paid = street.paid();
    assert_eq!(paid.len(), 3);
    assert!(paid.iter().all(|payment| *payment == paid[0]));
}

#[tokio::test]
async fn silence_after_a_payment_is_a_doubt_that_giving_up_ends() {
    let folder = founded();
    let world = world(&folder).await;
    let street = seller(required(vec![exact(PRICE)]), |_| Err(lost()));
    let client = client(&world, &street, None);
    for _ in 0..2 {
        let doubt = client.fetch(&payer(), ID, &request(), &limits()).await.unwrap_err();
        assert_eq!((doubt.code, doubt.is_fault()), (Code::PaymentUncertain, true));
    }
    let paid = street.paid();
    assert!(paid.len() == 6 && paid.iter().all(|payment| *payment == paid[0]), "one payment, whatever is repeated");
    assert_eq!(client.give_up(&payer(), ID).await, Ok(None));
    check_worthless(&world, &street).await;
}

#[tokio::test]
async fn a_payment_whose_time_is_over_makes_place_for_another_no_dearer() {
    let folder = founded();
    let world = world(&folder).await;
    let price = Arc::new(Mutex::new(PRICE));
    let asked_price = Arc::clone(&price);
    let street = Street::to(move |asked| {
        let first = required(vec![exact(*asked_price.lock().unwrap())]);
        async move { if asked.header.is_some() { Err(lost()) } else { Ok(unpaid(&first)) } }
    });
    let client = client(&world, &street, None);
    client.fetch(&payer(), ID, &request(), &limits()).await.unwrap_err();
    world.clock.skip_secs(61);
    *price.lock().unwrap() = PRICE + 1;
    let dearer = buy(&client, ID).await;
    assert_eq!((status(&dearer), cost(&dearer)), (402, 0), "the price has risen under this id");
    *price.lock().unwrap() = PRICE;
    client.fetch(&payer(), ID, &request(), &limits()).await.unwrap_err();
    let paid = street.paid();
    assert_eq!(paid.iter().collect::<std::collections::BTreeSet<_>>().len(), 2);
    client.give_up(&payer(), ID).await.unwrap();
    check_worthless(&world, &street).await;
}

/// The height and signature of the voucher that a request carries.
fn voucher(asked: &Asked) -> (agora_types::ChannelId, VoucherState) {
    let payload = BatchPayload::read(&asked.payment().unwrap().payload).unwrap();
    let fields = match payload {
        BatchPayload::Deposit(one) => one.voucher,
        BatchPayload::Voucher(one) => one.voucher,
        other => panic!("{other:?}"),
    };
    let signature = fields.signature.parse().unwrap();
    (fields.channel_id, VoucherState { signed_max_claimable: fields.max_claimable_amount, signature })
}

/// A corrective 402 that names this voucher as charged in full.
fn correction(asked: &Asked, price: u128, charged: Amount) -> PaymentRequired {
    let (channel_id, state) = voucher(asked);
    let mut offer = batch(price);
    let extra = BatchExtra {
        channel_state: Some(ChannelState {
            channel_id,
            balance: Amount::from_atoms(10 * MOST),
            total_claimed: Amount::ZERO,
            withdraw_requested_at: 0,
            refund_nonce: Seconds(0),
            charged_cumulative_amount: Some(charged),
        }),
        voucher_state: Some(state),
        ..offer.batch_extra().unwrap()
    };
    offer.extra = extra.to_object();
    let error = Some("invalid_batch_settlement_evm_cumulative_amount_mismatch".into());
    PaymentRequired { error, ..required(vec![offer]) }
}

#[tokio::test]
async fn a_correction_that_calls_this_very_voucher_an_earlier_charge_is_forged() {
    let folder = founded();
    let world = world(&folder).await;
    let street = seller(required(vec![batch(PRICE)]), |asked| {
        let (_, state) = voucher(asked);
        Ok(unpaid(&correction(asked, PRICE, state.signed_max_claimable)))
    });
    let answer = buy(&client(&world, &street, None), ID).await;
    assert_eq!((status(&answer), cost(&answer), street.paid().len()), (402, 0, 1), "no second voucher");
}

#[tokio::test]
async fn a_correction_is_followed_once_and_never_to_a_higher_price() {
    let folder = founded();
    let world = world(&folder).await;
    for (id, price, sent) in [(ID, PRICE + 1, 1), (NEXT, PRICE, 2)] {
        let street =
            seller(required(vec![batch(PRICE)]), move |asked| Ok(unpaid(&correction(asked, price, Amount::ZERO))));
        let answer = buy(&client(&world, &street, None), id).await;
        assert_eq!((status(&answer), cost(&answer), street.paid().len()), (402, 0, sent), "{price}");
        for asked in street.asked().iter().filter(|asked| asked.header.is_some()) {
            assert_eq!(voucher(asked).1.signed_max_claimable.atoms(), PRICE, "never more than one request");
        }
    }
}

#[tokio::test]
async fn an_overcharge_ends_the_channel_and_counts_as_what_was_signed() {
    type Lie = fn(&mut SettleResponseExtra);
    let rows: &[(&str, Lie)] = &[
        ("more than offered", |extra| extra.charged_amount = Some(Amount::from_atoms(PRICE + 1))),
        ("another sum", |extra| {
            let charged_cumulative_amount = Some(Amount::from_atoms(7 * PRICE));
            extra.channel_state = Some(PartialChannelState { charged_cumulative_amount, ..Default::default() });
        }),
        ("nothing said", |extra| extra.charged_amount = None),
    ];
    for (row, lie) in rows {
        let folder = founded();
        let world = world(&folder).await;
        let mut extra =
            SettleResponseExtra { charged_amount: Some(Amount::from_atoms(PRICE)), ..SettleResponseExtra::default() };
        lie(&mut extra);
        let answer = response(None, extra.to_object());
        let street = seller(required(vec![batch(PRICE)]), move |_| Ok(served(&answer)));
        let client = client(&world, &street, None);
        let answer = buy(&client, ID).await;
        assert_eq!((status(&answer), cost(&answer)), (200, PRICE), "{row}");
        let next = buy(&client, NEXT).await;
        assert_eq!((status(&next), cost(&next), street.paid().len()), (402, 0, 1), "{row}: nothing more is signed");
    }
}

#[tokio::test]
async fn an_account_that_cannot_pay_signs_nothing() {
    let folder = founded();
    let world = world(&folder).await;
    let poor = agora_actors::purchase::Payer { account: Arc::new(key(77)), session: Arc::new(key(78)) };
    let street = seller(required(vec![exact(PRICE)]), |_| panic!("paid"));
    let error = client(&world, &street, None).fetch(&poor, ID, &request(), &limits()).await.unwrap_err();
    assert_eq!((error.code, error.is_fault()), (Code::ExceedsCredits, false));
}

#[tokio::test]
async fn another_request_under_a_paid_id_is_not_sent() {
    let folder = founded();
    let world = world(&folder).await;
    let street = shop_street(&till(&world, &[Scheme::Exact], PRICE), Some(PRICE));
    let client = client(&world, &street, None);
    buy(&client, ID).await;
    let mut other = request();
    other.body = b"black".to_vec();
    assert!(client.fetch(&payer(), ID, &other, &limits()).await.unwrap_err().is_fault());
    let mut dearer = limits();
    dearer.max = Amount::from_atoms(2 * MOST);
    assert!(client.fetch(&payer(), ID, &request(), &dearer).await.unwrap_err().is_fault());
    assert_eq!(street.asked().len(), 2);
}

#[tokio::test]
async fn a_body_over_the_limit_is_paid_and_of_no_use() {
    let folder = founded();
    let world = world(&folder).await;
    let till = till(&world, &[Scheme::Exact], PRICE);
    let street = Street::to(move |asked| {
        let till = Arc::clone(&till);
        async move {
            let mut answer = sell(&till, &asked, Some(PRICE)).await;
            answer.cut = asked.header.is_some();
            Ok(answer)
        }
    });
    let client = client(&world, &street, None);
    for _ in 0..2 {
        let answer = buy(&client, ID).await;
        assert_eq!((cost(&answer), answer.reply.unwrap_err().code), (PRICE, Code::AgentTooLarge));
    }
    assert_eq!(street.asked().len(), 2);
}
