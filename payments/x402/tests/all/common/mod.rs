//! The parties of the tests, and what the stock SDK wrote for them (`tests/data/stock.mjs`).

#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of them")]

use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::eip712::Network;
use agora_types::key::WalletKey;
use agora_types::{Address, Amount, Hash, Timestamp};
use agora_x402::check::{self, ChannelView, Payment, Purpose, Terms};
use agora_x402::header;
use agora_x402::scheme::batch::{BatchPayload, VoucherFields, VoucherPayload};
use agora_x402::seller::{ChannelRecord, Offers, batch_offer, exact_offer, upto_offer};
use agora_x402::wire::{
    Object, PaymentPayload, PaymentRequired, PaymentRequirements, Resource, VerifyRequest, Version,
};
use agora_x402::{Reason, Refusal};
use serde_json::Value;

pub const NOW_S: u64 = 1_800_000_000;
pub const URL: &str = "https://seller.example/v1/chat";

pub fn now() -> Timestamp {
    Timestamp::from_secs(NOW_S).unwrap()
}

pub fn network() -> Network {
    Network { chain_id: 4_020_711, asset: "0x4F50454E00000000000000000000000000000001".parse().unwrap() }
}

/// The well-known development keys of Ethereum tools.
pub fn payer() -> WalletKey {
    key("0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d")
}
pub fn seller() -> WalletKey {
    key("0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a")
}
pub fn facilitator() -> WalletKey {
    key("0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6")
}
pub fn stranger() -> WalletKey {
    WalletKey::from_bytes(&[0x42; 32]).unwrap()
}

fn key(text: &str) -> WalletKey {
    WalletKey::from_bytes(text.parse::<Hash>().unwrap().as_bytes()).unwrap()
}

pub fn atoms(atoms: u128) -> Amount {
    Amount::from_atoms(atoms)
}

pub fn terms() -> Terms {
    Terms { network: network(), facilitator: facilitator().address(), deposit_min: atoms(1) }
}

pub fn config() -> ChannelConfig {
    ChannelConfig {
        payer: payer().address(),
        payer_authorizer: payer().address(),
        receiver: seller().address(),
        receiver_authorizer: facilitator().address(),
        token: network().asset,
        withdraw_delay: 900,
        salt: Hash::ZERO,
    }
}

pub fn voucher(max: u128) -> Voucher {
    Voucher::sign(&network(), config().id(&network()), atoms(max), &payer())
}

pub fn view(balance: u128, total_claimed: u128) -> ChannelView {
    ChannelView { balance: atoms(balance), total_claimed: atoms(total_claimed), ..ChannelView::default() }
}

/// The seller's offers, equal to those of `stock.mjs`.
pub fn offers() -> Offers {
    let (network, pay_to) = (network(), seller().address());
    let facilitator = facilitator().address();
    Offers {
        resource: Resource {
            url: URL.to_owned(),
            description: Some("an answer".to_owned()),
            mime_type: Some("application/json".to_owned()),
            service_name: Some("Agora".to_owned()),
            tags: Some(vec!["llm".to_owned()]),
            icon_url: None,
        },
        accepts: vec![
            exact_offer(&network, pay_to, atoms(1_000), 300),
            upto_offer(&network, pay_to, atoms(5_000), 300, facilitator),
            batch_offer(&network, pay_to, atoms(100), 300, facilitator, 900, Some(atoms(1_000))),
        ],
        extensions: Object::new(),
    }
}

pub fn exact() -> PaymentRequirements {
    offers().accepts[0].clone()
}
pub fn upto() -> PaymentRequirements {
    offers().accepts[1].clone()
}
pub fn batch() -> PaymentRequirements {
    offers().accepts[2].clone()
}

pub fn stock() -> Value {
    serde_json::from_str(include_str!("../../data/stock.json")).unwrap()
}

/// The payment of a kind as the stock SDK sent it.
pub fn stock_payment(kind: &str) -> PaymentPayload {
    header::decode([stock()["payloads"][kind].as_str().unwrap()]).unwrap()
}

pub fn request(payment: PaymentPayload, requirements: PaymentRequirements) -> VerifyRequest {
    VerifyRequest { x402_version: Version, payment_payload: payment, payment_requirements: requirements }
}

/// The request that the stock SDK's payment makes of a seller with its own offer.
pub fn stock_request(kind: &str) -> VerifyRequest {
    let payment = stock_payment(kind);
    let own = payment.accepted.clone();
    request(payment, own)
}

/// A request with a channel payload on the batch offer.
pub fn batch_request(payload: &BatchPayload) -> VerifyRequest {
    let mut payment = stock_payment("voucher");
    payment.payload = payload.to_object();
    request(payment, batch())
}

pub fn voucher_payload(config: ChannelConfig, voucher: &Voucher) -> BatchPayload {
    BatchPayload::Voucher(VoucherPayload { channel_config: config, voucher: VoucherFields::write(voucher) })
}

pub fn verify(request: &VerifyRequest) -> Result<Payment, Refusal> {
    check::payment(&terms(), Purpose::Verify, request, now())
}

pub fn settle(request: &VerifyRequest) -> Result<Payment, Refusal> {
    check::payment(&terms(), Purpose::Settle, request, now())
}

/// The reason of a refusal; panics with the row's name when it was accepted.
#[track_caller]
pub fn reason<T: std::fmt::Debug>(row: &str, result: Result<T, Refusal>) -> Reason {
    match result {
        Ok(accepted) => panic!("{row}: accepted {accepted:?}"),
        Err(refusal) => refusal.reason,
    }
}

/// Changes a value at a path such as `authorization.value`.
pub fn set(object: &mut Object, path: &str, value: impl Into<Value>) {
    let (last, parents) = path.rsplit_once('.').map_or((path, None), |(parents, last)| (last, Some(parents)));
    let mut at = object;
    for key in parents.iter().flat_map(|parents| parents.split('.')) {
        at = at.get_mut(key).and_then(Value::as_object_mut).unwrap_or_else(|| panic!("no {key} in {path}"));
    }
    at.insert(last.to_owned(), value.into());
}

pub fn zero() -> Address {
    Address::ZERO
}

/// The corrective 402 of a seller that charged 37 of the first 100.
pub fn correction() -> PaymentRequired {
    let mut record = ChannelRecord::open(config(), view(0, 0));
    let request = Hash::new([1; 32]);
    record.accept_deposit(atoms(1_000), atoms(1), voucher(100), atoms(100), request).unwrap();
    record.refresh(view(1_000, 0));
    record.commit(&request, atoms(37)).unwrap();
    let refusal: Refusal = record.clone().accept_voucher(voucher(100), atoms(100), request).unwrap_err();
    offers().corrective(&refusal, &record, &network())
}
