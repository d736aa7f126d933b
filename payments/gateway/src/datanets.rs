//! Datanets: `/v1/datanets` lists them, `/v1/datanets/NAME` shows one, and who has an API key gives it files by
//! `POST /v1/datanets/NAME/contributions`.
//!
//! The contributor is the key's account: it is paid when its data is used, and its budget pays the datanet's fee. A file is
//! held in memory, so few are worked on at once ([`crate::Bounds::uploads_at_once`]), and a stranger's is not read at all.
//! What has begun goes on when its sender leaves; the same file sent again says how it ended, and costs nothing more.
//! Errors have the form of everything below `/v1`.

use std::sync::Arc;

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap};
use actix_web::web::{self, Data, Path, Payload, Query, ServiceConfig};
use actix_web::{FromRequest as _, HttpRequest, HttpResponse};
use agora_economy::ports::datanets::{Columns, Contribution, Datanets, Document, Format};
use agora_types::{Code, ContributionKind, Hash};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::body;
use crate::door::Shared;
use crate::errors::{Failure, Style};

/// Most datanets of one answer.
pub(crate) const PAGE_MAX: u32 = 256;
/// What each item counts where its contributor does not say it, and the most that it may say.
const WEIGHT: u32 = 100;
pub(crate) const WEIGHT_MAX: u32 = 10_000;
/// Seconds after which a place among the uploads is worth another try.
const BUSY_RETRY_S: u32 = 5;
/// What can be sent.
const KINDS: &str = "application/jsonl, application/x-ndjson, application/json (an object a line), text/csv, text/plain, \
                     text/markdown, application/vnd.apache.parquet";
/// Longest word of a parser in a refusal: it may repeat what was sent.
const REASON_MAX: usize = 200;

/// Adds the routes.
pub(crate) fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/datanets", web::get().to(list))
        .route("/v1/datanets/{datanet}", web::get().to(show))
        .route("/v1/datanets/{datanet}/contributions", web::post().to(contribute))
        .route("/v1/datanets/{datanet}/contributions/{content}", web::delete().to(withdraw));
}

async fn list(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let answer = async {
        let datanets = port(&shared)?;
        let page: Page = query(request.query_string())?;
        let (skip, limit) = (page.skip.unwrap_or(0), page.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX));
        Ok(found(shared.finish(async move { datanets.list(skip, limit).await }).await?))
    };
    answer.await.unwrap_or_else(|failure: Failure| failure.answer(Style::OpenAi))
}

async fn show(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let answer = async {
        let datanets = port(&shared)?;
        let name: String = path(&request).await?;
        Ok(found(shared.finish(async move { datanets.show(&name).await }).await?))
    };
    answer.await.unwrap_or_else(|failure: Failure| failure.answer(Style::OpenAi))
}

async fn contribute(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> HttpResponse {
    let answer = given(&request, payload, &shared).await;
    answer.unwrap_or_else(|failure| failure.answer(Style::OpenAi))
}

async fn given(request: &HttpRequest, payload: Payload, shared: &Shared) -> Result<HttpResponse, Failure> {
    let datanets = port(shared)?;
    let key = key(request.headers())?;
    let format = format(request.headers())?;
    let said = said(request.query_string())?;
    let datanet: String = path(request).await?;
    let (asked, text) = (Arc::clone(&datanets), key.clone());
    shared.finish(async move { asked.admit(&text).await }).await?;
    let busy = |_| Failure::new(Code::NodeBusy, "other files are being worked on").retry(BUSY_RETRY_S);
    let place = Arc::clone(&shared.uploads).try_acquire_owned().map_err(busy)?;
    let (max, timeout) = (shared.bounds.upload_body_max, shared.bounds.upload_timeout);
    let body = body::read(request.headers(), &mut payload.into_inner(), max, timeout).await?;
    let contribution = Contribution { datanet, format, body: body.into(), ..said };
    let work = async move {
        let given = datanets.contribute(&key, contribution).await;
        // Not before the end, whoever still waits for it.
        drop(place);
        given
    };
    Ok(found(shared.finish(work).await?))
}

async fn withdraw(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let answer = async {
        let datanets = port(&shared)?;
        let key = key(request.headers())?;
        let (datanet, content): (String, String) = path(&request).await?;
        let bad = |_| Failure::new(Code::WireMalformed, "a content hash is 0x and 64 hexadecimal digits");
        let content: Hash = content.parse().map_err(bad)?;
        Ok(found(shared.finish(async move { datanets.withdraw(&key, &datanet, content).await }).await?))
    };
    answer.await.unwrap_or_else(|failure: Failure| failure.answer(Style::OpenAi))
}

fn port(shared: &Shared) -> Result<Arc<dyn Datanets>, Failure> {
    let absent = || Failure::with(404, Code::WireUnsupported, "no datanets are kept here");
    shared.services.datanets.clone().ok_or_else(absent)
}

fn found(document: Document) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).content_type("application/json").body(document.0)
}

/// Whose the data is. There is no other way to give any: a payment of a stranger names nobody to be paid for it.
fn key(headers: &HeaderMap) -> Result<String, Failure> {
    let message = "contributions need an API key: Authorization: Bearer agora-…";
    body::token(headers)?.ok_or_else(|| Failure::new(Code::ApiKeyUnknown, message).at("Authorization"))
}

/// How the body holds its items.
pub(crate) fn format(headers: &HeaderMap) -> Result<Format, Failure> {
    let given = body::only(headers, &CONTENT_TYPE)?.unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/jsonl" | "application/jsonlines" | "application/x-jsonlines" | "application/json-lines" => {
            Ok(Format::Jsonl)
        }
        "application/x-ndjson" | "application/ndjson" | "application/json" => Ok(Format::Jsonl),
        "text/csv" => Ok(Format::Csv),
        "text/plain" | "text/markdown" => Ok(Format::Text),
        "application/vnd.apache.parquet" => Ok(Format::Parquet),
        _ => Err(Failure::with(415, Code::WireUnsupported, format!("send the file as one of: {KINDS}"))),
    }
}

/// Which datanets.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    skip: Option<u32>,
    limit: Option<u32>,
}

/// What a query says of a file. A word that is not known is refused: one that was meant to be `dry_run` must not pay.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Fields {
    text: Option<String>,
    prompt: Option<String>,
    response: Option<String>,
    messages: Option<String>,
    whole: bool,
    licence: Option<String>,
    title: Option<String>,
    kind: Option<ContributionKind>,
    weight: Option<u32>,
    skip_bad: bool,
    dry_run: bool,
}

fn query<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    let read = Query::<T>::from_query(text).map_err(|error| malformed("the query", &error));
    read.map(Query::into_inner)
}

async fn path<T: DeserializeOwned + 'static>(request: &HttpRequest) -> Result<T, Failure> {
    let read = Path::<T>::extract(request).await.map_err(|error| malformed("the path", &error));
    read.map(Path::into_inner)
}

fn malformed(what: &str, error: &dyn std::fmt::Display) -> Failure {
    let reason: String = error.to_string().chars().take(REASON_MAX).collect();
    Failure::new(Code::WireMalformed, format!("{what}: {reason}"))
}

/// What a query says of a file, without the file.
pub(crate) fn said(text: &str) -> Result<Contribution, Failure> {
    let fields: Fields = query(text)?;
    let columns = match (fields.text, fields.prompt, fields.response, fields.messages) {
        (None, None, None, None) => Columns::Usual,
        (Some(text), None, None, None) => Columns::Text(text),
        (None, Some(prompt), Some(response), None) => Columns::Pair(prompt, response),
        (None, None, None, Some(messages)) => Columns::Messages(messages),
        _ => {
            let message = "name the fields of an item: text, or prompt and response, or messages";
            return Err(Failure::new(Code::WireMalformed, message));
        }
    };
    let weight = fields.weight.unwrap_or(WEIGHT);
    if !(1..=WEIGHT_MAX).contains(&weight) {
        let message = format!("a weight is 1 to {WEIGHT_MAX}");
        return Err(Failure::new(Code::WireMalformed, message).at("weight"));
    }
    Ok(Contribution {
        datanet: String::new(),
        format: Format::Jsonl,
        columns,
        whole: fields.whole,
        licence: fields.licence,
        title: fields.title,
        kind: fields.kind.unwrap_or(ContributionKind::Source),
        weight,
        skip_bad: fields.skip_bad,
        dry_run: fields.dry_run,
        body: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_what_the_command_line_says() {
        let usual = said("").unwrap();
        assert_eq!((usual.columns, usual.kind, usual.weight), (Columns::Usual, ContributionKind::Source, 100));
        assert!(!usual.whole && !usual.skip_bad && !usual.dry_run);
        let all = "prompt=Frage&response=Antwort&whole=true&licence=CC0-1.0&title=a%20b&kind=translation&weight=7\
                   &skip_bad=true&dry_run=true";
        let all = said(all).unwrap();
        assert_eq!(all.columns, Columns::Pair("Frage".to_owned(), "Antwort".to_owned()));
        assert_eq!((all.kind, all.weight, all.title.as_deref()), (ContributionKind::Translation, 7, Some("a b")));
        assert_eq!((all.licence.as_deref(), all.whole, all.skip_bad, all.dry_run), (Some("CC0-1.0"), true, true, true));
    }

    #[test]
    fn what_is_meant_otherwise_is_refused_and_not_overlooked() {
        for text in [
            "dryrun=true",
            "dry_run=yes",
            "dry_run",
            "dry_run=true&dry_run=false",
            "weight=0",
            "weight=10001",
            "weight=-1",
            "kind=poem",
            "prompt=a",
            "text=a&messages=b",
            "text=a&prompt=b&response=c",
        ] {
            assert_eq!(said(text).map_err(|failure| failure.status), Err(400), "{text}");
        }
    }

    #[test]
    fn a_type_is_read_whole_and_without_its_parameters() {
        let of = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, kind.parse().unwrap());
            format(&headers).map_err(|failure| (failure.status, failure.message))
        };
        assert_eq!(of("Application/X-NDJSON; charset=utf-8"), Ok(Format::Jsonl));
        assert_eq!(of("text/csv"), Ok(Format::Csv));
        assert_eq!(of("text/markdown;variant=GFM"), Ok(Format::Text));
        assert_eq!(of("application/vnd.apache.parquet"), Ok(Format::Parquet));
        for kind in ["", "text/html", "application/x-www-form-urlencoded", "text/csvx", "multipart/form-data"] {
            let (status, message) = of(kind).unwrap_err();
            assert!(status == 415 && message.contains("application/vnd.apache.parquet"), "{kind}: {message}");
        }
        let none = format(&HeaderMap::new());
        assert_eq!(none.map_err(|failure| failure.status), Err(415));
    }
}
