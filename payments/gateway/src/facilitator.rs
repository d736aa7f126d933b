//! The facilitator's routes: what stock x402 sellers call, and a page to ask what became of a payment.
//!
//! A payment that is refused is an answer (200); only a request that is not understood, and trouble, are errors.

use std::sync::Arc;

use actix_web::http::header::CACHE_CONTROL;
use actix_web::web::{self, Data, Path, Payload, Query, ServiceConfig};
use actix_web::{FromRequest as _, HttpRequest, HttpResponse};
use agora_economy::ports::pay::{Caller, DiscoveryQuery, Facilitator, PaymentStatus};
use agora_types::{Address, Code, Hash};
use agora_x402::wire::{self, Document, NetworkId, Nonce, VerifyRequest};
use serde::{Deserialize, Serialize};

use crate::body;
use crate::door::Shared;
use crate::errors::{Failure, Style, malformed};

/// Longest text of a query's field.
pub(crate) const TEXT_MAX: usize = 128;

/// Adds the routes.
pub(crate) fn routes(config: &mut ServiceConfig) {
    config
        .route("/verify", web::post().to(verify))
        .route("/settle", web::post().to(settle))
        .route("/supported", web::get().to(supported))
        .route("/discovery/resources", web::get().to(resources))
        .route("/payments/{payer}/{nonce}", web::get().to(payment));
}

async fn verify(request: HttpRequest, body: Payload, shared: Data<Shared>) -> HttpResponse {
    let answer = async {
        let (facilitator, caller, asked) = asked(&request, body, &shared).await?;
        let answer = shared.finish(async move { facilitator.verify(&caller, &asked).await }).await?;
        Ok(json(&answer))
    };
    answer.await.unwrap_or_else(|failure: Failure| failure.answer(Style::Document))
}

async fn settle(request: HttpRequest, body: Payload, shared: Data<Shared>) -> HttpResponse {
    let answer = async {
        let (facilitator, caller, asked) = asked(&request, body, &shared).await?;
        let answer = shared.finish(async move { facilitator.settle(&caller, &asked).await }).await?;
        Ok(json(&answer))
    };
    answer.await.unwrap_or_else(|failure: Failure| failure.answer(Style::Document))
}

async fn supported(shared: Data<Shared>) -> HttpResponse {
    match facilitator(&shared) {
        Ok(facilitator) => json(&facilitator.supported()),
        Err(failure) => failure.answer(Style::Document),
    }
}

async fn resources(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let answer = async {
        let facilitator = facilitator(&shared)?;
        let query = query(request.query_string())?;
        let page = shared.finish(async move { facilitator.resources(&query).await }).await?;
        Ok(json(&page))
    };
    answer.await.unwrap_or_else(|failure: Failure| failure.answer(Style::Document))
}

async fn payment(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let answer = async {
        let facilitator = facilitator(&shared)?;
        let path = Path::<(String, String)>::extract(&request).await;
        let path = path.map_err(|error| Failure::new(Code::WireMalformed, error.to_string()))?;
        let (payer, nonce) = (path.0.as_str(), path.1.as_str());
        let payer: Address = payer.parse().map_err(|error| Failure::new(Code::WireMalformed, format!("{error}")))?;
        let (nonce, permit2) = single(nonce)?;
        let status = shared.finish(async move { facilitator.payment(payer, nonce, permit2).await }).await?;
        Ok(json(&status_document(&status)))
    };
    answer.await.unwrap_or_else(|failure: Failure| failure.answer(Style::Document))
}

fn facilitator(shared: &Shared) -> Result<Arc<dyn Facilitator>, Failure> {
    let absent = || Failure::with(404, Code::WireUnsupported, "there is no facilitator here");
    shared.services.facilitator.clone().ok_or_else(absent)
}

/// Who asks what.
async fn asked(
    request: &HttpRequest,
    payload: Payload,
    shared: &Shared,
) -> Result<(Arc<dyn Facilitator>, Caller, VerifyRequest), Failure> {
    let facilitator = facilitator(shared)?;
    let caller = Caller { token: body::bearer(request)? };
    body::must_be_json(request.headers())?;
    let max = VerifyRequest::SIZE_MAX;
    let bytes = body::read(request.headers(), &mut payload.into_inner(), max, shared.bounds.body_timeout).await?;
    let asked = wire::read(&bytes).map_err(|error| malformed("the request", &error))?;
    Ok((facilitator, caller, asked))
}

/// The nonce of a single payment: hexadecimal for `exact`; behind `permit2:` in decimal or hexadecimal for `upto`.
pub(crate) fn single(text: &str) -> Result<(Hash, bool), Failure> {
    let bad = || {
        let message = "a nonce is 0x and 64 hexadecimal digits; one of Permit2 is permit2: and a number or the same";
        Failure::new(Code::WireMalformed, message)
    };
    let Some(number) = text.strip_prefix("permit2:") else {
        return Ok((text.parse().map_err(|_| bad())?, false));
    };
    let hash = number.parse::<Hash>().or_else(|_| number.parse::<Nonce>().map(|nonce| nonce.0));
    Ok((hash.map_err(|_| bad())?, true))
}

/// A query as it stands in a URL; unknown fields are ignored, repeated ones refused.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    r#type: Option<String>,
    pay_to: Option<String>,
    scheme: Option<String>,
    network: Option<String>,
    limit: Option<u32>,
    offset: Option<u32>,
}

pub(crate) fn query(text: &str) -> Result<DiscoveryQuery, Failure> {
    let bad = |what: &str| Failure::new(Code::WireMalformed, format!("the query: {what}"));
    let fields = Query::<Fields>::from_query(text).map_err(|error| bad(&error.to_string()))?.into_inner();
    let texts = [&fields.r#type, &fields.pay_to, &fields.scheme, &fields.network];
    if texts.into_iter().flatten().any(|text| text.len() > TEXT_MAX) {
        return Err(bad("a text is too long"));
    }
    let pay_to =
        fields.pay_to.map(|text| text.parse::<Address>()).transpose().map_err(|error| bad(&error.to_string()))?;
    let network = fields.network.map(|text| text.parse::<NetworkId>()).transpose();
    Ok(DiscoveryQuery {
        kind: fields.r#type,
        pay_to,
        scheme: fields.scheme,
        network: network.map_err(|error| bad(&error.to_string()))?,
        limit: fields.limit,
        offset: fields.offset.unwrap_or(0),
    })
}

fn status_document(status: &PaymentStatus) -> serde_json::Value {
    let mut document = match status {
        PaymentStatus::Unknown => serde_json::json!({"status": "unknown"}),
        PaymentStatus::Held { max, until_s } => serde_json::json!({"status": "held", "max": max, "until": until_s}),
        PaymentStatus::Released => serde_json::json!({"status": "released"}),
        PaymentStatus::Settled { amount, payee, transaction } => {
            serde_json::json!({"status": "settled", "amount": amount, "payTo": payee, "transaction": transaction})
        }
    };
    document["$type"] = "agora/payment/v1".into();
    document
}

fn json<T: Serialize>(document: &T) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_says_of_which_kind_it_is() {
        let hex = format!("0x{}", "11".repeat(32));
        assert_eq!(single(&hex).unwrap(), (Hash::new([0x11; 32]), false));
        assert_eq!(single(&format!("permit2:{hex}")).unwrap(), (Hash::new([0x11; 32]), true));
        let mut seven = [0; 32];
        seven[31] = 7;
        assert_eq!(single("permit2:7").unwrap(), (Hash::new(seven), true));
        for text in ["7", "", "0x11", "permit2:", "permit2:-1", "permit2:07", "permit2:0x1"] {
            assert!(single(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_query_is_read_whole_or_refused() {
        let good = query("type=http&scheme=exact&network=eip155%3A4020711&limit=5&offset=2&more=x").unwrap();
        assert_eq!((good.limit, good.offset, good.network), (Some(5), 2, Some(NetworkId::Eip155(4_020_711))));
        for text in ["limit=-1", "limit=1&limit=2", "payTo=0x1", "network=x", "offset=1e3", "limit="] {
            assert!(query(text).is_err(), "{text}");
        }
    }
}
