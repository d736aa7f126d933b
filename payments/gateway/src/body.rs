//! Reading a request: its body within bounds of bytes and time, its headers where one must stand alone.

use std::time::Duration;

use actix_web::HttpRequest;
use actix_web::dev::Payload;
use actix_web::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName};
use actix_web::web::{Bytes, BytesMut};
use agora_types::Code;
use futures::StreamExt as _;

use crate::errors::Failure;

/// The whole body.
pub(crate) async fn read(
    headers: &HeaderMap,
    payload: &mut Payload,
    max: usize,
    timeout: Duration,
) -> Result<Bytes, Failure> {
    let large = || Failure::new(Code::WireTooLarge, format!("a body here has at most {max} bytes"));
    // What announces itself as too long is refused before any of it is read.
    if let Some(length) = headers.get(CONTENT_LENGTH) {
        let read = length.to_str().ok().and_then(|text| text.parse::<u64>().ok());
        let length = read.ok_or_else(|| Failure::new(Code::WireMalformed, "Content-Length is no length"))?;
        if usize::try_from(length).map_or(true, |length| length > max) {
            return Err(large());
        }
    }
    let whole = async {
        let mut bytes = BytesMut::new();
        while let Some(chunk) = payload.next().await {
            let chunk = chunk.map_err(|error| Failure::new(Code::WireMalformed, format!("the body: {error}")))?;
            if bytes.len() + chunk.len() > max {
                return Err(large());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes.freeze())
    };
    let late = |_| Failure::with(408, Code::WireMalformed, "the body did not arrive in time");
    tokio::time::timeout(timeout, whole).await.map_err(late)?
}

/// Refuses a body that is not JSON, and one that does not say so.
pub(crate) fn must_be_json(headers: &HeaderMap) -> Result<(), Failure> {
    let given = only(headers, &CONTENT_TYPE)?.unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    Err(Failure::with(415, Code::WireUnsupported, "send the body as application/json"))
}

/// A header that stands there once or not at all, as text.
pub(crate) fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Failure> {
    let mut values = headers.get_all(name);
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Failure::new(Code::WireMalformed, format!("the header {name} appears more than once")));
    }
    let text =
        first.to_str().map_err(|_| Failure::new(Code::WireMalformed, format!("the header {name} is no text")))?;
    Ok(Some(text))
}

/// The token of `Authorization: Bearer`; any other kind of authorization is none.
pub(crate) fn bearer(request: &HttpRequest) -> Result<Option<String>, Failure> {
    token(request.headers())
}

/// The same, of the headers alone.
pub(crate) fn token(headers: &HeaderMap) -> Result<Option<String>, Failure> {
    let value = only(headers, &actix_web::http::header::AUTHORIZATION)?;
    let Some((kind, token)) = value.and_then(|value| value.split_once(' ')) else { return Ok(None) };
    let token = token.trim();
    let is_token = kind.eq_ignore_ascii_case("bearer") && !token.is_empty();
    Ok(is_token.then(|| token.to_owned()))
}
