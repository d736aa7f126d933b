//! Agents that sell their work: any method at `/agents/{name}` and below.
//!
//! The agent's answer is a stranger's document on this origin, so browsers are told to give it no rights.

use std::time::Duration;

use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use agora_economy::ports::pay::{Done, ReceiptRef, Work};
use agora_types::{CallId, Code};

use crate::admission::{self, Turned};
use crate::body;
use crate::door::Shared;
use crate::errors::Failure;
use crate::runtime::finish;

/// Longest name of an agent.
const NAME_MAX: usize = 32;
/// How much longer than the agent's own bound an answer may take: payment and settlement.
const MARGIN: Duration = Duration::from_secs(10);

/// Adds the routes.
pub(crate) fn routes(config: &mut ServiceConfig) {
    config.route("/agents/{name}", web::route().to(call)).route("/agents/{name}/{tail:.*}", web::route().to(call));
}

async fn call(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> HttpResponse {
    match done(&request, payload, &shared).await {
        Ok(done) => answer(done),
        Err(turned) => turned.answer(admission::style_of(request.headers())),
    }
}

async fn done(request: &HttpRequest, payload: Payload, shared: &Shared) -> Result<Done, Turned> {
    let absent = || Failure::with(404, Code::WireUnsupported, "no agent sells its work here");
    let workers = shared.services.workers.clone().ok_or_else(absent)?;
    let payment = admission::payment(request.headers())?;
    let (agent, path) = target(request.uri().path())?;
    let (body_max, seconds) = {
        let (workers, agent) = (workers.clone(), agent.clone());
        shared.finish(async move { workers.bounds(&agent).await }).await?
    };
    let body_max = body_max.min(shared.bounds.agent_body_max);
    let body = body::read(request.headers(), &mut payload.into_inner(), body_max, shared.bounds.body_timeout).await?;
    let priced = shared.origin.priced(request, &body)?;
    let work = Work {
        agent,
        method: request.method().as_str().to_owned(),
        path,
        query: request.query_string().to_owned(),
        content_type: body::only(request.headers(), &CONTENT_TYPE)?.unwrap_or_default().to_owned(),
        body: body.to_vec(),
    };
    // It goes on when its client leaves or grows tired: the same payment then finds the answer.
    let within = Duration::from_secs(u64::from(seconds)) + MARGIN;
    let call = async move {
        let admission = workers.call(&work, &priced, payment.as_ref()).await?;
        Ok(admission::sort(admission))
    };
    finish(&shared.runtime, within, call).await?
}

/// Name and rest out of a path. The rest is passed on as it stands; what it means is the agent's business.
pub(crate) fn target(path: &str) -> Result<(String, String), Failure> {
    let rest = path.strip_prefix("/agents/").unwrap_or_default();
    let (name, tail) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(1..=NAME_MAX).contains(&name.len()) || !name.bytes().all(letter) {
        return Err(Failure::new(Code::AgentNotFound, "an agent's name has 1 to 32 of a-z 0-9 -"));
    }
    Ok((name.to_owned(), if tail.is_empty() { "/".to_owned() } else { tail.to_owned() }))
}

fn answer(done: Done) -> HttpResponse {
    let is_final = (200..=599).contains(&done.answer.status);
    let mut answer = if is_final {
        admission::whole(done.answer)
    } else {
        // It is paid all the same: the agent worked, and the receipt says so.
        Failure::with(502, Code::AgentFailed, "the agent answered with no HTTP status")
            .answer(crate::errors::Style::Document)
    };
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    admission::paid(headers, done.response.as_ref());
    if let Some(receipt) = &done.receipt {
        receipted(headers, receipt);
    }
    answer
}

/// What names a call and its receipt.
pub(crate) fn receipted(headers: &mut HeaderMap, receipt: &ReceiptRef) {
    called(headers, receipt.call);
    let texts = [
        ("agora-receipt", receipt.leaf.to_string()),
        ("agora-charge", receipt.charge.to_atoms_text()),
        ("agora-receipt-salt", salt_text(&receipt.salt)),
    ];
    for (name, text) in texts {
        // Digits and hexadecimal digits always are a header's value.
        if let Ok(value) = HeaderValue::from_str(&text) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// What names a call.
pub(crate) fn called(headers: &mut HeaderMap, call: CallId) {
    if let Ok(value) = HeaderValue::from_str(&call.to_string()) {
        headers.insert(HeaderName::from_static("agora-call"), value);
    }
}

/// The salt as receipts' files write it.
pub(crate) fn salt_text(salt: &[u8; 16]) -> String {
    CallId::new(*salt).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_names_an_agent_and_passes_the_rest_on() {
        let of = |path: &str| target(path).map(|(name, rest)| format!("{name} {rest}")).ok();
        assert_eq!(of("/agents/researcher").as_deref(), Some("researcher /"));
        assert_eq!(of("/agents/researcher/").as_deref(), Some("researcher /"));
        assert_eq!(of("/agents/a-1/x/../y%2f").as_deref(), Some("a-1 /x/../y%2f"));
        for path in ["/agents/", "/agents//x", "/agents/A", "/agents/a%62", &format!("/agents/{}", "a".repeat(33))] {
            assert_eq!(of(path), None, "{path}");
        }
    }
}
