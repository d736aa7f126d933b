//! Streams behind a paywall: passed on as they come, settled before the last chunk.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix_web::body::SizedStream;
use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use agora_economy::ports::pay::Till;
use agora_gateway::{Meter, Origin, Paywall, PaywallOptions, PublicPort, Routes};
use agora_types::Amount;
use futures::StreamExt as _;
use futures::channel::mpsc;
use serde_json::{Value, json};

use crate::client::{Client, PATIENCE, request};
use crate::fakes::{Fakes, bounds, paid, payment};

type Chunk = Result<Bytes, actix_web::Error>;
type Said = Result<&'static str, &'static str>;

struct Stage {
    fakes: Arc<Fakes>,
    port: PublicPort,
    chunks: mpsc::UnboundedSender<Said>,
}

/// A shop whose one handler streams what the test sends it.
fn stage(hold: Option<Duration>) -> Stage {
    let fakes = Fakes::new();
    let options = PaywallOptions { hold, ..PaywallOptions::new(Origin::fixed("https://shop.example").unwrap()) };
    let paywall = Paywall::new(Arc::clone(&fakes) as Arc<dyn Till>, options);
    let (chunks, receiver) = mpsc::unbounded();
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let routes: Routes = Arc::new(move |config: &mut ServiceConfig| {
        let receiver = Arc::clone(&receiver);
        let handler = move |request: HttpRequest| {
            let receiver = receiver.lock().unwrap().take().expect("a test streams once");
            async move { answer(&request, receiver) }
        };
        config.service(web::scope("/paid").wrap(paywall.clone()).route("/{kind}", web::to(handler)));
    });
    let port = fakes.open(bounds(), Some(routes));
    Stage { fakes, port, chunks }
}

fn answer(request: &HttpRequest, receiver: mpsc::UnboundedReceiver<Said>) -> HttpResponse {
    let meter = Meter::of(request).unwrap();
    let metered = request.match_info().get("kind") == Some("metered");
    let mut sent = 0;
    let chunks = receiver.map(move |chunk| -> Chunk {
        sent += 1;
        if metered {
            meter.charge(Amount::from_atoms(sent * 10));
        }
        chunk.map(|text| Bytes::from_static(text.as_bytes())).map_err(actix_web::error::ErrorInternalServerError)
    });
    match request.match_info().get("kind") {
        Some("events") => HttpResponse::Ok().content_type("text/event-stream").streaming(chunks),
        Some("sized") => HttpResponse::Ok().body(SizedStream::new(1_000_000, chunks)),
        Some(_) | None => HttpResponse::Ok().streaming(chunks),
    }
}

impl Stage {
    async fn ask(&self, kind: &str, asks: Value) -> Client {
        let mut client = Client::connect(self.port.address()).await;
        let path = format!("/paid/{kind}");
        client.send(request("GET", &path, &[("PAYMENT-SIGNATURE", &payment(&asks))], b"")).await;
        client
    }

    fn say(&self, chunk: &'static str) {
        self.chunks.unbounded_send(Ok(chunk)).unwrap();
    }

    async fn close(self) {
        self.port.close(PATIENCE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_chunk_arrives_while_the_handler_still_waits() {
    let stage = stage(Some(Duration::from_millis(1)));
    let mut client = stage.ask("plain", json!({"announce": true})).await;
    stage.say("one");
    let head = client.head().await;
    assert_eq!((head.status, head.get("cache-control")), (200, Some("private, no-store")));
    assert_eq!(paid(head.get("payment-response").unwrap())["amount"], "100");
    assert_eq!(client.chunk().await, Ok(Some("one".to_owned())));
    assert_eq!(stage.fakes.log.count("settling"), 0, "nothing is settled, and the handler has not gone on");
    stage.say("two");
    assert_eq!(client.chunk().await, Ok(Some("two".to_owned())));
    stage.chunks.close_channel();
    assert_eq!(client.chunk().await, Ok(None));
    assert_eq!(stage.fakes.log.count("settled 100 kept nothing"), 1);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_chunk_waits_for_the_settlement() {
    let stage = stage(None);
    let mut client = stage.ask("plain", json!({"gated": true})).await;
    stage.say("one");
    stage.say("two");
    stage.say("last");
    stage.chunks.close_channel();
    assert_eq!(client.head().await.get("payment-response"), None, "money has still to move");
    assert_eq!(client.chunk().await, Ok(Some("one".to_owned())));
    assert_eq!(client.chunk().await, Ok(Some("two".to_owned())));
    stage.fakes.log.until("settling").await;
    assert!(tokio::time::timeout(Duration::from_millis(100), client.more()).await.is_err(), "the last chunk is held");
    stage.fakes.gate.add_permits(1);
    assert_eq!(client.rest().await, Ok(vec!["last".to_owned()]));
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_end_with_what_was_paid() {
    let stage = stage(None);
    let mut client = stage.ask("events", json!({})).await;
    stage.say("data: 1\n\n");
    stage.say("data: [DONE]\n\n");
    stage.chunks.close_channel();
    assert_eq!(client.head().await.get("payment-response"), None);
    let chunks = client.rest().await.unwrap();
    assert_eq!(chunks[..2], ["data: 1\n\n", "data: [DONE]\n\n"]);
    let said = chunks[2].strip_prefix("event: payment-response\ndata: ").and_then(|rest| rest.strip_suffix("\n\n"));
    assert_eq!(paid(said.expect(&chunks[2]))["amount"], "100");
    assert_eq!(chunks.len(), 3);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_fails_is_cut_off_and_costs_nothing() {
    let stage = stage(Some(Duration::from_millis(1)));
    let mut client = stage.ask("metered", json!({})).await;
    stage.say("one");
    client.head().await;
    assert_eq!(client.chunk().await, Ok(Some("one".to_owned())));
    stage.chunks.unbounded_send(Err("broken")).unwrap();
    assert_eq!(client.chunk().await, Err(()));
    stage.fakes.log.until("cancelled").await;
    assert_eq!(stage.fakes.log.count("settling"), 0);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_that_fails_keeps_the_last_chunk_back() {
    for how in ["refuse", "trouble"] {
        let stage = stage(None);
        let mut client = stage.ask("plain", json!({"settle": how, "gated": true})).await;
        stage.say("one");
        stage.say("last");
        stage.chunks.close_channel();
        client.head().await;
        assert_eq!(client.chunk().await, Ok(Some("one".to_owned())));
        stage.fakes.gate.add_permits(1);
        assert_eq!(client.chunk().await, Err(()), "{how}");
        stage.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_a_stream_pays_what_was_metered_or_nothing() {
    for (kind, left) in [("plain", "cancelled"), ("metered", "settled 20 kept nothing")] {
        let stage = stage(Some(Duration::from_millis(1)));
        let mut client = stage.ask(kind, json!({})).await;
        stage.say("one");
        stage.say("two");
        client.head().await;
        assert_eq!(client.chunk().await, Ok(Some("one".to_owned())));
        assert_eq!(client.chunk().await, Ok(Some("two".to_owned())));
        drop(client);
        stage.fakes.log.until(left).await;
        stage.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_answer_of_known_length_streams_too() {
    let stage = stage(None);
    let mut client = stage.ask("sized", json!({"announce": true})).await;
    let piece: &'static str = Box::leak("x".repeat(100_000).into_boxed_str());
    for _ in 0..10 {
        stage.say(piece);
    }
    stage.chunks.close_channel();
    let answer = client.whole().await;
    assert_eq!((answer.status(), answer.body.len()), (200, 1_000_000));
    assert!(answer.get("payment-response").is_some());
    stage.fakes.log.until("settled 100 kept nothing").await;
    stage.close().await;
}
