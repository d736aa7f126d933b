//! OpenAI's API over the models that are sold here: `/v1/models`, `/v1/chat/completions`, `/v1/completions`.
//!
//! A completion is paid with HTTP 402 or with an API key; without either the answer is what it costs. Errors are
//! OpenAI's error objects, whose `code` is our stable code. Receipts stand in headers, and in a field `agora` of a
//! stream's last chunk.

mod answer;
mod ask;
mod events;
mod given;
pub(crate) mod probe;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use actix_web::web::{self, Data, Payload, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use agora_economy::ports::pay::{Completion, Ended, Kept, Means, ModelCard, Models};
use agora_types::Code;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::admission::{self, Turned};
use crate::agents::{called, receipted};
use crate::body;
use crate::door::Shared;
use crate::errors::{Failure, Style};
use answer::{Kind, Shape};
use ask::Ask;

/// Adds the routes.
pub(crate) fn routes(config: &mut ServiceConfig) {
    config
        .route("/v1/models", web::get().to(models))
        .route("/v1/models/{id:.*}", web::get().to(model))
        .service(web::resource("/v1/chat/completions").route(web::post().to(chat)).route(web::get().to(probe)))
        .service(web::resource("/v1/completions").route(web::post().to(text)).route(web::get().to(probe)));
}

async fn models(shared: Data<Shared>) -> HttpResponse {
    match cards(&shared).await {
        Ok(cards) => {
            let data: Vec<Value> = cards.iter().map(card_document).collect();
            found(&json!({"object": "list", "data": data}))
        }
        Err(failure) => failure.answer(Style::OpenAi),
    }
}

async fn model(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    let id = request.match_info().get("id").unwrap_or_default().to_owned();
    match card(&shared, &id).await {
        Ok(card) => found(&card_document(&card)),
        Err(failure) => failure.answer(Style::OpenAi),
    }
}

async fn chat(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> HttpResponse {
    complete(Kind::Chat, &request, payload, &shared).await.unwrap_or_else(|turned| turned.answer(Style::OpenAi))
}

async fn text(request: HttpRequest, payload: Payload, shared: Data<Shared>) -> HttpResponse {
    complete(Kind::Text, &request, payload, &shared).await.unwrap_or_else(|turned| turned.answer(Style::OpenAi))
}

/// A completion's price depends on its request, so a GET tells what the dearest one costs. Stock clients ask in this way
/// before they ask for a channel's refund.
async fn probe(request: HttpRequest, shared: Data<Shared>) -> HttpResponse {
    match probed(&request, &shared).await {
        Ok(nothing) => match nothing {},
        Err(turned) => turned.answer(admission::style_of(request.headers())),
    }
}

async fn probed(request: &HttpRequest, shared: &Shared) -> Result<Infallible, Turned> {
    let models = port(shared)?;
    let payment = admission::payment(request.headers())?;
    let model = named(request.query_string())?;
    let priced = shared.origin.priced(request, &[])?;
    let work = async move {
        let admission = models.probe(model.as_deref(), &priced, payment.as_ref()).await?;
        Ok(admission::sort(admission))
    };
    shared.finish(work).await?
}

/// The model that a query names; other words of it are ignored.
pub(crate) fn named(query: &str) -> Result<Option<String>, Failure> {
    #[derive(Deserialize)]
    struct Named {
        model: Option<String>,
    }
    let read = web::Query::<Named>::from_query(query);
    let bad = |error| Failure::new(Code::WireMalformed, format!("the query: {error}; at most one model=NAME"));
    Ok(read.map_err(bad)?.into_inner().model)
}

fn port(shared: &Shared) -> Result<Arc<dyn Models>, Failure> {
    let absent = || Failure::with(404, Code::WireUnsupported, "no models are sold here");
    shared.services.models.clone().ok_or_else(absent)
}

async fn cards(shared: &Shared) -> Result<Vec<ModelCard>, Failure> {
    let models = port(shared)?;
    Ok(shared.finish(async move { models.models().await }).await?)
}

async fn card(shared: &Shared, id: &str) -> Result<ModelCard, Failure> {
    let absent = || Failure::new(Code::ListingNotFound, "no model of this name is sold here").at("model");
    cards(shared).await?.into_iter().find(|card| card.id == id).ok_or_else(absent)
}

fn found(document: &Value) -> HttpResponse {
    HttpResponse::Ok().insert_header((CACHE_CONTROL, "no-store")).json(document)
}

/// OpenAI's fields, and what they do not have: a price.
fn card_document(card: &ModelCard) -> Value {
    json!({
        "id": card.id,
        "object": "model",
        "created": card.created_s,
        "owned_by": card.owned_by,
        "agora": {
            "title": card.title,
            "pricePerInputToken": card.input,
            "pricePerOutputToken": card.output,
            "contextMax": card.context_max,
            "outputMax": card.output_max,
        },
    })
}

async fn complete(
    kind: Kind,
    request: &HttpRequest,
    payload: Payload,
    shared: &Shared,
) -> Result<HttpResponse, Turned> {
    let models = port(shared)?;
    let means = means(request)?;
    body::must_be_json(request.headers())?;
    let body = body::read(
        request.headers(),
        &mut payload.into_inner(),
        shared.bounds.openai_body_max,
        shared.bounds.body_timeout,
    )
    .await?;
    let read = Ask::read(kind, &body)?;
    let card = card(shared, &read.model).await?;
    let ask = read.request(&card, &seed(request, &body))?;
    let priced = shared.origin.priced(request, &body)?;
    let stream = read.stream;
    let opening = async move {
        let admission = models.open(&card.id, &ask, &priced, &means, stream).await?;
        Ok(admission::sort(admission))
    };
    let completion = shared.finish(opening).await??;
    let shape = Shape { kind, call: completion.call(), created_s: now_s(), model: read.model, usage: read.usage };
    if stream { Ok(events::answer(completion, shape, shared)) } else { whole(completion, shape, &shared.runtime).await }
}

/// The answer in one piece. The completion lives on the port's runtime, and ends there when the client leaves.
async fn whole(completion: Box<dyn Completion>, shape: Shape, runtime: &Handle) -> Result<HttpResponse, Turned> {
    let replayed = completion.replayed();
    let (sender, answer) = oneshot::channel();
    runtime.spawn(write(completion, shape.clone(), sender));
    let stopped = |_| Failure::new(Code::CallSilent, "the answer stopped");
    let (kept, ended) = answer.await.map_err(stopped)??;
    let mut answer = admission::whole(kept);
    if replayed {
        admission::repeated(answer.headers_mut());
    }
    admission::paid(answer.headers_mut(), ended.response.as_ref());
    receipted(answer.headers_mut(), &ended.receipt);
    called(answer.headers_mut(), shape.call);
    Ok(answer)
}

async fn write(
    mut completion: Box<dyn Completion>,
    shape: Shape,
    mut sender: oneshot::Sender<Result<(Kept, Ended), Failure>>,
) {
    let collected = tokio::select! {
        collected = answer::collect(completion.as_mut()) => collected,
        () = sender.closed() => return,
    };
    let written = match collected {
        Err(failure) => Err(failure),
        Ok(whole) => {
            let body = shape.whole(&whole).to_string().into_bytes();
            let kept = Kept { status: 200, content_type: "application/json".to_owned(), body };
            // Paid work is handed out whether or not it could be kept for a repeat.
            drop(completion.keep(kept.clone()).await);
            Ok((kept, whole.ended))
        }
    };
    // It has ended by the time the client hears of it, so that the next call finds its channel free.
    drop(completion);
    drop(sender.send(written));
}

/// How the request is paid; both ways at once are refused, since one of them would be charged by surprise.
fn means(request: &HttpRequest) -> Result<Means, Failure> {
    match (admission::payment(request.headers())?, body::bearer(request)?) {
        (Some(_), Some(_)) => {
            Err(Failure::new(Code::WireMalformed, "send an API key or a payment, not both").at("Authorization"))
        }
        (Some(payment), None) => Ok(Means::Payment(Box::new(payment))),
        (None, Some(key)) => Ok(Means::Key(key)),
        (None, None) => Ok(Means::Nothing),
    }
}

/// Where the client chooses no seed: the same for a repeat of the same paid request, which must be the same request.
fn seed(request: &HttpRequest, body: &[u8]) -> [u8; 8] {
    let mut seed = [0; 8];
    match request.headers().get(admission::PAYMENT_SIGNATURE) {
        Some(payment) => {
            let hash = agora_types::Hash::sha256_of(&[body, payment.as_bytes()]);
            seed.copy_from_slice(&hash.as_bytes()[..8]);
        }
        // A system without randomness still answers: the same question then has the same answer.
        None => drop(getrandom::fill(&mut seed)),
    }
    seed
}

fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Marks an answer as an event stream that no proxy gathers.
fn streaming(answer: &mut HttpResponse) {
    use actix_web::http::header::{HeaderName, HeaderValue};
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream; charset=utf-8"));
    answer.headers_mut().insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
}
