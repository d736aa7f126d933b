//! What fuzzers and the mutation test call: every reader of this port, without a socket before it.
//!
//! A probe returns true when the bytes were read. It panics when what was read is not what was written: that is a bug, and
//! the reason why nothing but tests calls this module. Payments and the facilitator's bodies are read by `agora-x402`, which
//! has probes of its own.

use std::time::Duration;

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use actix_web::http::Uri;
use actix_web::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
};
use actix_web::web::Bytes;
use agora_x402::header;

use crate::errors::{Failure, Style};
use crate::{Origin, admission, agents, body, datanets, facilitator, openai, origin};

/// A probe and its name, which is also the name of its fuzz target and of its corpus.
pub type Probe = (&'static str, fn(&[u8]) -> bool);

/// Every probe.
pub const PROBES: &[Probe] = &[
    ("openai_chat", openai_chat),
    ("openai_text", openai_text),
    ("http_host", http_host),
    ("http_origin", http_origin),
    ("http_bearer", http_bearer),
    ("http_payment", http_payment),
    ("http_kinds", http_kinds),
    ("http_agent", http_agent),
    ("http_query", http_query),
    ("http_nonce", http_nonce),
    ("http_model", http_model),
    ("http_body", http_body),
    ("http_upload", http_upload),
];

/// Longest message of a failure: it must not carry the request back.
const MESSAGE_MAX: usize = 1_024;

/// A failure whose cause is the request says so, in few words.
pub(crate) fn refused(failure: &Failure) -> bool {
    assert!((400..500).contains(&failure.status), "a request is no trouble of ours: {failure:?}");
    assert!(failure.message.len() <= MESSAGE_MAX, "a refusal of {} bytes", failure.message.len());
    assert_eq!(failure.answer(Style::OpenAi).status().as_u16(), failure.status);
    false
}

/// The body of `/v1/chat/completions`.
pub fn openai_chat(bytes: &[u8]) -> bool {
    openai::probe::chat(bytes)
}

/// The body of `/v1/completions`.
pub fn openai_text(bytes: &[u8]) -> bool {
    openai::probe::text(bytes)
}

fn headers(name: HeaderName, bytes: &[u8]) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_bytes(bytes).ok()?);
    Some(headers)
}

fn lines(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n');
    end.map_or((bytes, b"/".as_slice()), |end| (&bytes[..end], &bytes[end + 1..]))
}

/// `Host`, a line break, and the target of the request line: the URL that payments are bound to.
pub fn http_host(bytes: &[u8]) -> bool {
    let (host, target) = lines(bytes);
    let Some(headers) = headers(HOST, host) else { return false };
    let Ok(target) = Uri::try_from(target) else { return false };
    let bound = std::net::SocketAddr::from(([127, 0, 0, 1], 8402));
    let url = match (Origin::Host { secure: true, bound }).join(&headers, &target) {
        Ok(url) => url,
        Err(failure) => return refused(&failure),
    };
    assert!(url.len() <= origin::URL_MAX, "a URL that no payment carries");
    // An independent reader finds the same host and the same path in it.
    let read = url.parse::<Uri>();
    assert!(read.is_ok(), "{url} is no URL");
    let read = read.unwrap_or_default();
    let given = String::from_utf8_lossy(host).trim().to_ascii_lowercase();
    assert_eq!(read.scheme_str(), Some("https"), "{url}");
    assert_eq!(read.authority().map(ToString::to_string), Some(given), "{url} names another host");
    // A target without a path, as that of CONNECT, is read as the root.
    let path = if target.path().is_empty() { "/" } else { target.path() };
    assert_eq!(read.path(), path, "{url} names another path");
    assert_eq!(read.query(), target.query(), "{url} names another query");
    true
}

/// The origin that an operator names.
pub fn http_origin(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(origin) = Origin::fixed(text) else { return false };
    let Origin::Fixed(written) = &origin else { unreachable!("a fixed origin is fixed") };
    assert_eq!(Origin::fixed(written).as_ref(), Ok(&origin), "an origin changed on its way");
    let read = written.parse::<Uri>();
    assert!(read.as_ref().is_ok_and(|read| read.path() == "/" && read.query().is_none()), "{written} is no origin");
    true
}

/// `Authorization`: an API key or a seller's token.
pub fn http_bearer(bytes: &[u8]) -> bool {
    let Some(given) = headers(AUTHORIZATION, bytes) else { return false };
    let token = match body::token(&given) {
        Ok(token) => token,
        Err(failure) => return refused(&failure),
    };
    let Some(token) = token else { return false };
    assert!(!token.is_empty() && token.trim() == token && token.len() < bytes.len());
    let again = headers(AUTHORIZATION, format!("Bearer {token}").as_bytes());
    assert_eq!(again.map(|headers| body::token(&headers)), Some(Ok(Some(token))), "a token changed on its way");
    true
}

/// `PAYMENT-SIGNATURE`, once on each line: of two payments none is taken, and what is read is read by all alike.
pub fn http_payment(bytes: &[u8]) -> bool {
    let mut given = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else { return false };
        given.append(admission::PAYMENT_SIGNATURE, value);
    }
    let payment = match admission::payment(&given) {
        Ok(payment) => payment,
        Err(failure) => return refused(&failure),
    };
    assert_eq!(given.len(), 1, "one of several payments was taken");
    let Some(payment) = payment else { panic!("a payment was overlooked") };
    assert_eq!(header::decode([bytes]).as_ref(), Ok(&payment), "another payment was read");
    true
}

/// `Content-Type` and `Accept`.
pub fn http_kinds(bytes: &[u8]) -> bool {
    let (Some(sent), Some(accepted)) = (headers(CONTENT_TYPE, bytes), headers(ACCEPT, bytes)) else { return false };
    let is_page = admission::style_of(&accepted) == Style::Page;
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    assert!(!is_page || text.contains("text/html"));
    match body::must_be_json(&sent) {
        Ok(()) => assert!(text.trim_start().starts_with("application/json"), "{text} passed as JSON"),
        Err(failure) => drop(refused(&failure)),
    }
    true
}

/// The path of an agent.
pub fn http_agent(bytes: &[u8]) -> bool {
    let Ok(path) = std::str::from_utf8(bytes) else { return false };
    let (name, rest) = match agents::target(path) {
        Ok(target) => target,
        Err(failure) => return refused(&failure),
    };
    assert!(rest.starts_with('/') && !name.contains(['/', '%', '.']), "{name} {rest}");
    let written = format!("/agents/{name}{rest}");
    assert!(written == path || written == format!("{path}/"), "{path} became {written}");
    true
}

/// The query of `/discovery/resources`.
pub fn http_query(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let query = match facilitator::query(text) {
        Ok(query) => query,
        Err(failure) => return refused(&failure),
    };
    for word in [&query.kind, &query.scheme].into_iter().flatten() {
        assert!(word.len() <= facilitator::TEXT_MAX, "a text of {} bytes", word.len());
    }
    true
}

/// The nonce in `/payments/PAYER/NONCE`.
pub fn http_nonce(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let (nonce, permit2) = match facilitator::single(text) {
        Ok(nonce) => nonce,
        Err(failure) => return refused(&failure),
    };
    let written = if permit2 { format!("permit2:{nonce}") } else { nonce.to_string() };
    assert_eq!(facilitator::single(&written), Ok((nonce, permit2)), "a nonce changed on its way");
    true
}

/// The query of a GET on a completion route.
pub fn http_model(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let model = match openai::named(text) {
        Ok(model) => model,
        Err(failure) => return refused(&failure),
    };
    let Some(model) = model else { return false };
    assert!(model.len() <= text.len(), "a name grew on its way");
    let escaped: String = model.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(openai::named(&format!("model={escaped}")), Ok(Some(model)), "a name changed on its way");
    true
}

/// `Content-Type`, a line break, and the query of a file for a datanet.
pub fn http_upload(bytes: &[u8]) -> bool {
    let (kind, query) = lines(bytes);
    let Some(headers) = headers(CONTENT_TYPE, kind) else { return false };
    if let Err(failure) = datanets::format(&headers) {
        return refused(&failure);
    }
    let Ok(text) = std::str::from_utf8(query) else { return false };
    let said = match datanets::said(text) {
        Ok(said) => said,
        Err(failure) => return refused(&failure),
    };
    assert!((1..=datanets::WEIGHT_MAX).contains(&said.weight), "a weight of {}", said.weight);
    assert!(said.body.is_empty() && said.datanet.is_empty());
    true
}

/// Longest body in [`http_body`].
const BODY_MAX: usize = 64;

/// A body: what `Content-Length` announces, a line break, and its chunks, one on each line; an empty one is where the
/// client broke off.
pub fn http_body(bytes: &[u8]) -> bool {
    let (announced, rest) = lines(bytes);
    let Some(headers) = headers(CONTENT_LENGTH, announced) else { return false };
    let chunks: Vec<_> = rest.split(|byte| *byte == b'\n').map(Bytes::copy_from_slice).collect();
    let whole: Vec<u8> = chunks.concat();
    let is_cut = chunks.iter().any(Bytes::is_empty);
    let given =
        chunks.into_iter().map(|chunk| if chunk.is_empty() { Err(PayloadError::Incomplete(None)) } else { Ok(chunk) });
    let mut payload: Payload = Payload::Stream { payload: Box::pin(futures::stream::iter(given)) };
    // Every chunk is there already, so nothing waits for time.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime of one thread");
    let read = runtime.block_on(body::read(&headers, &mut payload, BODY_MAX, Duration::from_secs(60)));
    let announced = std::str::from_utf8(announced).ok().and_then(|text| text.parse::<u64>().ok());
    let is_large = whole.len() > BODY_MAX || announced.is_none_or(|length| length > BODY_MAX as u64);
    match read {
        Ok(body) => {
            assert_eq!(body, whole, "a body changed on its way");
            assert!(!is_large && !is_cut, "a body out of its bounds was read");
            true
        }
        Err(failure) => {
            assert!(is_large || is_cut, "a good body was refused: {failure:?}");
            refused(&failure)
        }
    }
}
