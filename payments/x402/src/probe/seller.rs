//! What a seller reads of a buyer that wishes it ill: whatever is taken is signed, to this seller, for all that is sold.

use std::sync::LazyLock;

use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::Command;
use agora_types::eip712::{Network, command_digest};
use agora_types::{Address, Amount, Hash, Timestamp};

use crate::check::{self, ChannelView, Payment, Purpose, SinglePayment, Terms};
use crate::seller::{ChannelRecord, Offers, PaymentKey, batch_offer, exact_offer, upto_offer};
use crate::wire::{self, Object, PaymentPayload, PaymentRequirements, Resource, VerifyRequest, Version};

/// A seller with the offers of the tests, so that the stock SDK's payments to those are its seeds.
struct Seller {
    offers: Offers,
    terms: Terms,
    now: Timestamp,
}

static SELLER: LazyLock<Option<Seller>> = LazyLock::new(|| {
    let network = Network { chain_id: 4_020_711, asset: "0x4F50454E00000000000000000000000000000001".parse().ok()? };
    let pay_to: Address = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC".parse().ok()?;
    let facilitator: Address = "0x90F79bf6EB2c4f870365E785982E1f101E93b906".parse().ok()?;
    let atoms = Amount::from_atoms;
    let resource = Resource {
        url: "https://seller.example/v1/chat".to_owned(),
        description: None,
        mime_type: None,
        service_name: None,
        tags: None,
        icon_url: None,
    };
    let accepts = vec![
        exact_offer(&network, pay_to, atoms(1_000), 300),
        upto_offer(&network, pay_to, atoms(5_000), 300, facilitator),
        batch_offer(&network, pay_to, atoms(100), 300, facilitator, 900, Some(atoms(1_000))),
    ];
    let offers = Offers { resource, accepts, extensions: Object::new() };
    let terms = Terms { network, facilitator, deposit_min: atoms(1) };
    Some(Seller { offers, terms, now: Timestamp::from_secs(1_800_000_000)? })
});

/// A payment that is to buy something.
pub fn seller_payment(bytes: &[u8]) -> bool {
    let Ok(payload) = wire::read::<PaymentPayload>(bytes) else { return false };
    assert!(SELLER.is_some(), "the probe's seller has a network and an address");
    let Some(Seller { offers, terms, now }) = SELLER.as_ref() else { return false };
    let Ok(own) = offers.taken(&payload) else { return false };
    let request = VerifyRequest { x402_version: Version, payment_payload: payload, payment_requirements: own.clone() };
    let Ok(payment) = check::payment(terms, Purpose::Verify, &request, *now) else { return false };
    match &payment {
        Payment::Exact(one) | Payment::Upto(one) => single(terms, own, one, *now),
        Payment::Deposit(one) => {
            let digest = command_digest(&terms.network, &Command::Deposit(one.deposit.clone()));
            assert_eq!(
                one.signature.verify(&digest, &one.deposit.config.payer),
                Ok(()),
                "a deposit that nobody signed"
            );
            charge(terms, own, &one.deposit.config, &one.voucher);
        }
        Payment::Voucher(one) => charge(terms, own, &one.config, &one.voucher),
        Payment::Refund(one) => {
            assert_eq!(one.config.receiver, own.pay_to, "a refund of another seller's channel");
            assert_eq!(one.voucher.verify(&terms.network, &one.config.payer_authorizer), Ok(()));
        }
        Payment::Claim(_) | Payment::Settle(_) => unreachable!("what only sellers send bought something"),
    }
    let buys = !matches!(payment, Payment::Refund(_));
    assert_eq!(PaymentKey::of(&payment).is_some(), buys, "what buys something has a key that it buys under once");
    true
}

fn single(terms: &Terms, own: &PaymentRequirements, one: &SinglePayment, now: Timestamp) {
    let words = &one.authorization;
    assert_eq!((words.payee(), words.max(), one.amount), (own.pay_to, own.amount, own.amount), "paid too little");
    assert_eq!(one.signature.verify(&words.digest(&terms.network), &words.payer()), Ok(()), "nobody signed it");
    let (after, before) = words.window();
    assert!(after <= now.as_secs() && now.as_secs() < before, "paid with words out of their time");
}

/// On a channel that was charged so far that the voucher fits: the request is paid in full, and not one atom more.
fn charge(terms: &Terms, own: &PaymentRequirements, config: &ChannelConfig, voucher: &Voucher) {
    assert_eq!((config.receiver, config.token), (own.pay_to, own.asset), "a channel that pays another");
    assert_eq!(config.id(&terms.network), voucher.channel_id, "a voucher of another channel");
    assert_eq!(voucher.verify(&terms.network, &config.payer_authorizer), Ok(()), "a voucher that nobody signed");
    let Some(charged) = voucher.max_claimable.checked_sub(own.amount) else { return };
    let request = Hash::ZERO;
    let view = ChannelView { balance: voucher.max_claimable, total_claimed: charged, ..ChannelView::default() };
    let mut record = ChannelRecord::open(config.clone(), view);
    assert_eq!(record.accept_voucher(voucher.clone(), own.amount, request), Ok(()), "a good voucher is refused");
    assert!(record.accept_voucher(voucher.clone(), own.amount, request).is_err(), "two requests for one voucher");
    let more = own.amount.checked_add(Amount::from_atoms(1));
    assert!(more.is_none_or(|more| record.commit(&request, more).is_err()), "more was charged than was signed");
    assert!(record.commit(&request, own.amount).is_ok(), "what was signed cannot be charged");
    assert_eq!(record.charged, voucher.max_claimable);
    let claimed = record.claim().map(|claim| claim.total_claimed);
    assert_eq!(claimed, Some(voucher.max_claimable), "what was charged cannot be claimed");
    assert!(record.accept_voucher(voucher.clone(), own.amount, request).is_err(), "a voucher buys twice");
}
