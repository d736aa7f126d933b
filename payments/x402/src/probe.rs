//! What fuzzers and the mutation test call: any bytes go in, and whatever is read must come out the same.
//!
//! A probe returns true when the bytes were read. It panics when reading and writing disagree: that is a bug, and the
//! reason why nothing but tests calls this module. `cargo xtask fuzz` runs each for as long as one likes, `tests/hostile.rs`
//! for a moment.

mod buyer;
pub mod mutate;
mod seller;

use std::fmt::{Debug, Display};
use std::str::FromStr;

use agora_types::eip712::Network;
use agora_types::{Address, Amount, Timestamp};

use crate::check::{self, Purpose, Terms};
use crate::extensions::bazaar::Bazaar;
use crate::extensions::identifier::PaymentIdentifier;
use crate::extensions::statement::{SignedOffers, SignedReceipt};
use crate::header::{self, HeaderDocument};
use crate::scheme::batch::BatchPayload;
use crate::scheme::exact::ExactPayload;
use crate::scheme::upto::UptoPayload;
use crate::wire::{
    self, DiscoveryPage, Document, NetworkId, Nonce, Object, PaymentPayload, PaymentRequired, Seconds, SettleResponse,
    SettleResponseExtra, SettledAmount, Supported, VerifyRequest, VerifyResponse,
};
use crate::{Reason, signature, strict};

pub use buyer::{buyer_answer, buyer_corrected, buyer_host, buyer_offer};
pub use seller::seller_payment;

/// A probe and its name, which is also the name of its fuzz target and of its corpus.
pub type Probe = (&'static str, fn(&[u8]) -> bool);

/// Every probe.
pub const PROBES: &[Probe] = &[
    ("header_required", header_required),
    ("header_payment", header_payment),
    ("header_response", header_response),
    ("body_required", body_required),
    ("body_payment", body_payment),
    ("body_request", body_request),
    ("body_verified", body_verified),
    ("body_settled", body_settled),
    ("body_supported", body_supported),
    ("body_discovery", body_discovery),
    ("text_signature", text_signature),
    ("text_words", text_words),
    ("seller_payment", seller_payment),
    ("buyer_host", buyer_host),
    ("buyer_offer", buyer_offer),
    ("buyer_answer", buyer_answer),
    ("buyer_corrected", buyer_corrected),
];

fn header<T: HeaderDocument + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let document: T = header::decode([bytes]).ok()?;
    // Written anew, defaults are spelled out: at the very bound that can be too long.
    if let Ok(text) = header::encode(&document) {
        assert_eq!(header::decode::<T>([text]).as_ref(), Ok(&document), "a header changed on its way");
    }
    Some(document)
}

fn body<T: Document + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let document: T = wire::read(bytes).ok()?;
    if let Ok(text) = wire::write(&document) {
        assert_eq!(wire::read::<T>(&text).as_ref(), Ok(&document), "a document changed on its way");
    }
    Some(document)
}

/// `PAYMENT-REQUIRED`.
pub fn header_required(bytes: &[u8]) -> bool {
    header::<PaymentRequired>(bytes).is_some_and(|document| required(&document))
}

/// `PAYMENT-SIGNATURE`.
pub fn header_payment(bytes: &[u8]) -> bool {
    header::<PaymentPayload>(bytes).is_some_and(|document| payment(&document))
}

/// `PAYMENT-RESPONSE`.
pub fn header_response(bytes: &[u8]) -> bool {
    header::<SettleResponse>(bytes).is_some_and(|document| response(&document))
}

/// A 402, as JSON.
pub fn body_required(bytes: &[u8]) -> bool {
    body::<PaymentRequired>(bytes).is_some_and(|document| required(&document))
}

/// A payment, as JSON.
pub fn body_payment(bytes: &[u8]) -> bool {
    body::<PaymentPayload>(bytes).is_some_and(|document| payment(&document))
}

/// The body of `/verify` and `/settle`, and every check behind it.
pub fn body_request(bytes: &[u8]) -> bool {
    let Some(request) = body::<VerifyRequest>(bytes) else { return false };
    let accepted = &request.payment_requirements;
    let terms = Terms {
        network: Network { chain_id: accepted.network.chain_id().unwrap_or(1), asset: accepted.asset },
        facilitator: accepted.upto_extra().map_or(Address::ZERO, |extra| extra.facilitator_address),
        deposit_min: Amount::ZERO,
    };
    let now = Timestamp::from_secs(1_800_000_000).unwrap_or(Timestamp::ZERO);
    for purpose in [Purpose::Verify, Purpose::Settle] {
        if let Ok(payment) = check::payment(&terms, purpose, &request, now) {
            let _ = payment.against(&terms.network, |_| Some(check::ChannelView::default()));
            let _ = payment.commands();
        }
    }
    true
}

/// The answer of `/verify`.
pub fn body_verified(bytes: &[u8]) -> bool {
    body::<VerifyResponse>(bytes).is_some()
}

/// The answer of `/settle`.
pub fn body_settled(bytes: &[u8]) -> bool {
    body::<SettleResponse>(bytes).is_some_and(|document| response(&document))
}

/// The answer of `/supported`.
pub fn body_supported(bytes: &[u8]) -> bool {
    body::<Supported>(bytes).is_some()
}

/// A page of a catalogue.
pub fn body_discovery(bytes: &[u8]) -> bool {
    let Some(page) = body::<DiscoveryPage>(bytes) else { return false };
    page.items.iter().for_each(|item| extensions(&item.extensions));
    true
}

/// A signature, and JSON of any kind.
pub fn text_signature(bytes: &[u8]) -> bool {
    if let Ok(value) = strict::value(bytes) {
        let text = value.to_string();
        assert_eq!(strict::value(text.as_bytes()).as_ref(), Ok(&value), "JSON changed on its way");
    }
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(signature) = signature::parse(text) else { return false };
    assert_eq!(signature.to_string(), text.to_ascii_lowercase(), "a signature changed on its way");
    let _ = signature.recover(&agora_types::Hash::ZERO);
    true
}

/// Single words, as they stand in paths, queries and fields.
pub fn text_words(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    /// Some words have two spellings; read and written once more they stay.
    fn again<T: FromStr + Display + PartialEq + Debug>(text: &str) -> Option<String> {
        let word = text.parse::<T>().ok()?;
        let written = word.to_string();
        assert_eq!(written.parse::<T>().ok().as_ref(), Some(&word), "a word changed on its way");
        Some(written)
    }
    let alike = [again::<NetworkId>(text), again::<Nonce>(text), again::<Seconds>(text), again::<Reason>(text)];
    for written in alike.iter().flatten() {
        assert_eq!(written, text, "a word has two spellings");
    }
    let amount = Amount::from_atoms_text(text).map(|amount| amount.to_atoms_text());
    assert!(amount.as_ref().is_ok_and(|written| written == text) || amount.is_err(), "an amount has two spellings");
    let other = [again::<Address>(text), again::<SettledAmount>(text)];
    amount.is_ok() || alike.iter().chain(&other).any(Option::is_some)
}

fn required(document: &PaymentRequired) -> bool {
    if let (Ok(Some(signed)), Some(first)) = (SignedOffers::read(&document.extensions), document.accepts.first()) {
        let verified = signed.verify(&Address::ZERO, &document.resource.url, first, Timestamp::ZERO);
        assert!(verified.is_err(), "an offer that nobody signed");
    }
    for offer in document.accepts.iter().filter_map(wire::Accept::known) {
        let _ = (offer.exact_extra(), offer.upto_extra(), offer.batch_extra(), offer.payment_flow());
    }
    extensions(&document.extensions);
    true
}

fn payment(document: &PaymentPayload) -> bool {
    scheme(&document.payload);
    extensions(&document.extensions);
    let _ = crate::extensions::identifier::decide(true, document, |_| None);
    true
}

fn response(document: &SettleResponse) -> bool {
    let _ = SettleResponseExtra::read(&document.extra);
    if let Ok(Some(receipt)) = SignedReceipt::read(&document.extensions) {
        let verified = receipt.verify(&Address::ZERO, &document.network, "", &Address::ZERO);
        assert!(verified.is_err(), "a receipt that nobody signed");
    }
    extensions(&document.extensions);
    true
}

fn extensions(extensions: &Object) {
    let _ = PaymentIdentifier::read(extensions);
    let _ = SignedOffers::read(extensions);
    let _ = SignedReceipt::read(extensions);
    let _ = Bazaar::read(extensions);
}

fn scheme(payload: &Object) {
    if let Ok(exact) = ExactPayload::read(payload) {
        assert_eq!(ExactPayload::read(&exact.to_object()), Ok(exact.clone()));
        let _ = exact.words();
    }
    if let Ok(upto) = UptoPayload::read(payload) {
        assert_eq!(UptoPayload::read(&upto.to_object()), Ok(upto.clone()));
        let network = Network { chain_id: 1, asset: upto.permit2_authorization.permitted.token };
        let _ = upto.words(&network);
    }
    if let Ok(batch) = BatchPayload::read(payload) {
        assert_eq!(BatchPayload::read(&batch.to_object()), Ok(batch.clone()));
        match &batch {
            BatchPayload::Deposit(one) => drop((one.words(), one.voucher.words())),
            BatchPayload::Voucher(one) => drop(one.voucher.words()),
            BatchPayload::Refund(one) => drop(one.words()),
            BatchPayload::Claim(one) => drop(one.words()),
            BatchPayload::Settle(_) => {}
        }
    }
}
