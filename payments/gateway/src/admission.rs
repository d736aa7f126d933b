//! What stands before priced work, whoever sells it: the payment in a request, and the answers that are not the work.

use actix_web::HttpResponse;
use actix_web::http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, VARY};
use agora_economy::ports::pay::{Admission, Answered, Kept};
use agora_types::Code;
use agora_x402::header::{self, HeaderDocument};
use agora_x402::wire::{PaymentPayload, PaymentRequired, SettleResponse, WireError};

use crate::agents::{called, receipted};
use crate::errors::{Failure, Style, code_of, malformed, status};

/// The protocol's headers, as HTTP libraries spell them.
pub(crate) const PAYMENT_SIGNATURE: HeaderName = HeaderName::from_static("payment-signature");
const PAYMENT_REQUIRED: HeaderName = HeaderName::from_static("payment-required");
const PAYMENT_RESPONSE: HeaderName = HeaderName::from_static("payment-response");
/// `true` on an answer that was given before: nothing is charged for it.
const REPLAYED: HeaderName = HeaderName::from_static("agora-replayed");
/// Seconds after which a request that is being answered is worth another try.
const BUSY_RETRY_S: u32 = 1;

/// An answer that is not the work.
pub(crate) enum Turned {
    /// It failed.
    Failed(Failure),
    /// 402: what it costs, and, where a settlement failed, that it moved nothing.
    Unpaid(Box<PaymentRequired>, Option<Box<SettleResponse>>),
    /// The answer that was given before.
    Replayed(Box<Answered>),
    /// A refund was made.
    Refunded(Box<SettleResponse>),
}

impl From<Failure> for Turned {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<agora_economy::ports::pay::Trouble> for Turned {
    fn from(trouble: agora_economy::ports::pay::Trouble) -> Self {
        Self::Failed(trouble.into())
    }
}

/// The payment in a request's header, if there is one.
pub(crate) fn payment(headers: &HeaderMap) -> Result<Option<PaymentPayload>, Failure> {
    match header::decode(headers.get_all(PAYMENT_SIGNATURE).map(HeaderValue::as_bytes)) {
        Ok(payment) => Ok(Some(payment)),
        Err(WireError::Missing) => Ok(None),
        Err(error) => Err(malformed("the header PAYMENT-SIGNATURE", &error)),
    }
}

/// What is to be done, or the answer that stands instead.
pub(crate) fn sort<T>(admission: Admission<T>) -> Result<T, Turned> {
    match admission {
        Admission::Serve(work) => Ok(work),
        Admission::Answered(answered) => Err(Turned::Replayed(answered)),
        Admission::Refunded(response) => Err(Turned::Refunded(response)),
        Admission::Busy(refusal) => {
            Err(Failure::refusal(409, &refusal, Code::CallInProgress).retry(BUSY_RETRY_S).into())
        }
        Admission::Conflict(refusal) => Err(Failure::refusal(409, &refusal, Code::NonceUsed).into()),
        // Without `PAYMENT-RESPONSE`: where that stands, stock clients look no further, and would not learn the channel's
        // state from a corrective 402.
        Admission::Refused(required) => Err(Turned::Unpaid(required, None)),
    }
}

/// Which form a request wants its offers in: a person's browser gets a page.
pub(crate) fn style_of(headers: &HeaderMap) -> Style {
    let accepted = headers.get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    let page = accepted
        .flat_map(|value| value.split(','))
        .any(|range| range.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html")));
    if page { Style::Page } else { Style::Document }
}

impl Turned {
    /// As an answer.
    pub(crate) fn answer(self, style: Style) -> HttpResponse {
        match self {
            Self::Failed(failure) => failure.answer(style),
            Self::Unpaid(required, response) => unpaid(&required, response.as_deref(), style),
            Self::Replayed(answered) => replayed(*answered, style),
            Self::Refunded(response) => {
                let mut answer = HttpResponse::Ok().content_type("application/json").body("{}");
                paid(answer.headers_mut(), Some(&response));
                answer
            }
        }
    }
}

fn unpaid(required: &PaymentRequired, response: Option<&SettleResponse>, style: Style) -> HttpResponse {
    // An offer that fits no header would be read by nobody: the seller's error.
    let offer = match value(required) {
        Ok(offer) => offer,
        Err(error) => return Failure::with(500, Code::WireTooLarge, format!("the offer: {error}")).answer(style),
    };
    let mut answer = HttpResponse::PaymentRequired();
    let mut answer = match style {
        Style::Document => answer.json(required),
        Style::Page => answer.content_type("text/html; charset=utf-8").body(page(required)),
        Style::OpenAi => {
            let why = required.error.as_deref();
            let code = why.and_then(|why| why.parse().ok()).and_then(code_of).unwrap_or(Code::PaymentRequired);
            let why = why.unwrap_or("no payment was sent");
            let message = format!("payment required ({why}): pay with HTTP 402 (x402), or give an API key");
            answer.json(Failure::with(402, code, message).openai())
        }
    };
    let headers = answer.headers_mut();
    headers.insert(PAYMENT_REQUIRED, offer);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(response) = response.and_then(|response| value(response).ok()) {
        headers.insert(PAYMENT_RESPONSE, response);
    }
    answer
}

fn replayed(answered: Answered, style: Style) -> HttpResponse {
    let mut answer = match answered.kept {
        Some(kept) => whole(kept),
        // Longer than what is kept, or a stream: it cannot be said again, and the payment buys nothing more.
        None => {
            let message =
                "this request was answered and paid; its answer is not kept, PAYMENT-RESPONSE says what it cost";
            Failure::new(Code::PendingPosted, message).answer(style)
        }
    };
    repeated(answer.headers_mut());
    paid(answer.headers_mut(), Some(&answered.response));
    if let Some(receipt) = &answered.receipt {
        receipted(answer.headers_mut(), receipt);
        called(answer.headers_mut(), receipt.call);
    }
    answer
}

/// Marks an answer as said before.
pub(crate) fn repeated(headers: &mut HeaderMap) {
    headers.insert(REPLAYED, HeaderValue::from_static("true"));
}

/// A kept answer, as it was.
pub(crate) fn whole(kept: Kept) -> HttpResponse {
    let kind = HeaderValue::from_str(&kept.content_type);
    let mut answer = HttpResponse::build(status(kept.status)).body(kept.body);
    if kept.content_type.is_empty() {
        answer.headers_mut().remove(CONTENT_TYPE);
    } else {
        let plain = HeaderValue::from_static("application/octet-stream");
        answer.headers_mut().insert(CONTENT_TYPE, kind.unwrap_or(plain));
    }
    answer
}

/// Marks an answer as paid: for its payer alone, and with what it cost.
pub(crate) fn paid(headers: &mut HeaderMap, response: Option<&SettleResponse>) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    headers.append(VARY, HeaderValue::from_static("PAYMENT-SIGNATURE"));
    // Work that is done and paid is not withheld because the news of it fits no header.
    if let Some(response) = response.and_then(|response| value(response).ok()) {
        headers.insert(PAYMENT_RESPONSE, response);
    }
}

fn value<T: HeaderDocument>(document: &T) -> Result<HeaderValue, WireError> {
    let text = header::encode(document)?;
    HeaderValue::from_str(&text).map_err(|_| WireError::Base64)
}

/// What a person sees who opens a priced address.
fn page(required: &PaymentRequired) -> String {
    let what = required.resource.description.as_deref().unwrap_or(&required.resource.url);
    let offers = required.accepts.iter().filter_map(|accept| accept.known()).map(|offer| {
        format!(
            "<li>{} OPEN, {} on {}</li>",
            offer.amount,
            escape(offer.scheme.name()),
            escape(&offer.network.to_string())
        )
    });
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Payment required</title></head><body>\
         <h1>Payment required</h1><p>{}</p><ul>{}</ul>\
         <p>Pay with any x402 client, for instance <code>agora call URL --max-spend X</code>.</p></body></html>",
        escape(what),
        offers.collect::<String>(),
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
