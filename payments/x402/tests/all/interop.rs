//! An independent reading: crate `x402-types` reads what we write, and we read what it writes.
//!
//! Its `SettleResponse` is left out: it writes `error_reason` and drops amount and extra.

use crate::common;

use agora_x402::wire::{self, Kind, NetworkId, PaymentPayload, PaymentRequired, Scheme, Supported, VerifyRequest};
use common::*;
use serde_json::Value;
use x402_types::proto::v1::VerifyResponse as TheirVerifyResponse;
use x402_types::proto::{SupportedResponse, v2};

/// Ours to theirs and back, without loss.
#[track_caller]
fn there_and_back<Ours, Theirs>(ours: &Ours)
where
    Ours: wire::Document + PartialEq + std::fmt::Debug,
    Theirs: serde::Serialize + serde::de::DeserializeOwned,
{
    let theirs: Theirs = serde_json::from_slice(&wire::write(ours).unwrap()).unwrap();
    let back = serde_json::to_vec(&theirs).unwrap();
    assert_eq!(wire::read::<Ours>(&back).as_ref(), Ok(ours));
}

type TheirPayload = v2::PaymentPayload<v2::PaymentRequirements, Value>;

#[test]
fn offers_payments_and_requests_are_read_alike() {
    let mut required = offers().required(None);
    // Their resource has three fields.
    (required.resource.service_name, required.resource.tags) = (None, None);
    there_and_back::<PaymentRequired, v2::PaymentRequired>(&required);
    for kind in ["exact", "upto", "batch-settlement", "voucher"] {
        let mut request = stock_request(kind);
        request.payment_payload.resource = Some(required.resource.clone());
        there_and_back::<PaymentPayload, TheirPayload>(&request.payment_payload);
        there_and_back::<VerifyRequest, v2::VerifyRequest<TheirPayload, v2::PaymentRequirements>>(&request);
    }
}

#[test]
fn what_a_facilitator_supports_is_read_alike() {
    let network = NetworkId::Eip155(network().chain_id);
    let supported = Supported {
        kinds: vec![
            Kind::new(Scheme::Exact, &network, serde_json::Map::new()),
            Kind::new(Scheme::Upto, &network, upto().extra),
        ],
        extensions: vec!["payment-identifier".to_owned()],
        signers: [("eip155:*".to_owned(), vec![facilitator().address().to_string()])].into(),
    };
    there_and_back::<Supported, SupportedResponse>(&supported);
}

#[test]
fn a_verdict_of_ours_is_a_verdict_to_them() {
    for (valid, text) in [
        (true, serde_json::json!({"isValid": true, "payer": payer().address()})),
        (
            false,
            serde_json::json!({"isValid": false, "invalidReason": "insufficient_funds", "payer": payer().address()}),
        ),
    ] {
        let ours: wire::VerifyResponse = wire::read(text.to_string().as_bytes()).unwrap();
        assert_eq!(ours.is_valid, valid);
        there_and_back::<wire::VerifyResponse, TheirVerifyResponse>(&ours);
    }
}
