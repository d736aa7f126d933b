//! Whole answers behind a paywall: every judgement of the till, every way of the handler.

use std::sync::Arc;

use actix_web::web::{self, Bytes, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse};
use agora_economy::ports::pay::{Kept, Till};
use agora_gateway::{Meter, Origin, Paywall, PaywallOptions, PublicPort, Routes};
use agora_types::Amount;
use agora_x402::header;
use agora_x402::wire::{PaymentRequired, PaymentRequirements};
use serde_json::json;

use crate::client::{Client, Whole, ask, request};
use crate::fakes::{Fakes, MAX, bounds, offer, paid, payment};

fn routes(fakes: &Arc<Fakes>) -> Routes {
    let options = PaywallOptions {
        body_max: 1_000,
        body_timeout: std::time::Duration::from_millis(300),
        ..PaywallOptions::new(Origin::fixed("https://shop.example").unwrap())
    };
    let paywall = Paywall::new(Arc::clone(fakes) as Arc<dyn Till>, options);
    let fakes = Arc::clone(fakes);
    Arc::new(move |config: &mut ServiceConfig| {
        let (log, gate) = (Arc::clone(&fakes.log), Arc::clone(&fakes.gate));
        let wait = move || {
            let (log, gate) = (Arc::clone(&log), Arc::clone(&gate));
            async move {
                log.say("working");
                gate.acquire().await.unwrap().forget();
                "done"
            }
        };
        let scope = web::scope("/paid")
            .wrap(paywall.clone())
            .route(
                "/echo",
                web::to(|body: Bytes| async move { HttpResponse::Created().content_type("text/plain").body(body) }),
            )
            .route("/fail", web::to(|| async { HttpResponse::NotFound().body("no such thing") }))
            .route("/error", web::to(|| async { Err::<&str, _>(actix_web::error::ErrorBadGateway("broken")) }))
            .route("/meter", web::to(meter))
            .route("/large", web::to(|| async { "x".repeat(300 * 1024) }))
            .route("/wait", web::to(wait));
        config.service(scope);
    })
}

async fn meter(request: HttpRequest) -> HttpResponse {
    let meter = Meter::of(&request).expect("the paywall puts it there");
    meter.charge(Amount::from_atoms(7));
    HttpResponse::Ok().body(format!("{} {}", meter.payer(), meter.max().atoms()))
}

fn shop() -> (Arc<Fakes>, PublicPort) {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), Some(routes(&fakes)));
    (fakes, port)
}

async fn pay(port: &PublicPort, path: &str, asks: serde_json::Value) -> Whole {
    ask(port.address(), "POST", path, &[("PAYMENT-SIGNATURE", &payment(&asks))], b"hello").await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_payment_the_answer_is_the_offer() {
    let (fakes, port) = shop();
    let answer = ask(port.address(), "POST", "/paid/echo?a=b", &[], b"hello").await;
    assert_eq!((answer.status(), answer.get("cache-control")), (402, Some("no-store")));
    let required: PaymentRequired = header::decode([answer.get("payment-required").unwrap()]).unwrap();
    assert_eq!(required.resource.url, "https://shop.example/paid/echo?a=b");
    assert_eq!(required.accepts[0].known(), Some(&offer()));
    assert_eq!(answer.json(), json!(required));
    assert_eq!(answer.get("payment-response"), None);

    let page = ask(port.address(), "GET", "/paid/echo", &[("Accept", "text/html,*/*;q=0.8")], b"").await;
    assert_eq!((page.status(), page.get("content-type")), (402, Some("text/html; charset=utf-8")));
    assert!(page.get("payment-required").is_some() && page.text().contains("&lt;b&gt;work"), "{}", page.text());
    assert!(fakes.log.lines().is_empty());
    port.close(crate::client::PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paid_answer_is_settled_before_it_is_sent_and_kept() {
    let (fakes, port) = shop();
    let asks = json!({"gated": true});
    let mut client = Client::connect(port.address()).await;
    client.send(request("POST", "/paid/echo", &[("PAYMENT-SIGNATURE", &payment(&asks))], b"hello")).await;
    fakes.log.until("settling").await;
    assert_eq!(fakes.log.count("settled 100 kept 201 5"), 0);
    fakes.gate.add_permits(1);
    let answer = client.whole().await;
    assert_eq!((answer.status(), answer.text().as_str()), (201, "hello"));
    assert_eq!(
        (answer.get("cache-control"), answer.get("vary")),
        (Some("private, no-store"), Some("PAYMENT-SIGNATURE"))
    );
    assert_eq!(paid(answer.get("payment-response").unwrap())["amount"], MAX.to_string());
    let url = "admit POST https://shop.example/paid/echo";
    assert_eq!(fakes.log.lines(), [url, "settling", "settled 100 kept 201 5"]);
    port.close(crate::client::PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_fails_costs_nothing() {
    let (fakes, port) = shop();
    for (path, status, text) in
        [("/paid/fail", 404, "no such thing"), ("/paid/error", 502, "broken"), ("/paid/x", 404, "there is nothing")]
    {
        let answer = pay(&port, path, json!({})).await;
        assert_eq!(answer.status(), status, "{path}");
        assert!(answer.text().contains(text), "{path}: {}", answer.text());
        assert_eq!(answer.get("payment-response"), None);
    }
    // Each was released before its answer left: the next request would otherwise find its payment busy.
    assert_eq!(fakes.log.count("cancelled"), 3);
    assert_eq!(fakes.log.count("settling"), 0);
    port.close(crate::client::PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_may_charge_less_and_a_long_answer_is_not_kept() {
    let (fakes, port) = shop();
    let answer = pay(&port, "/paid/meter", json!({})).await;
    assert_eq!(answer.text(), format!("{} {MAX}", crate::fakes::PAYER));
    assert_eq!(paid(answer.get("payment-response").unwrap())["amount"], "7");
    let answer = pay(&port, "/paid/large", json!({})).await;
    assert_eq!((answer.status(), answer.body.len()), (200, 300 * 1024));
    assert!(answer.get("payment-response").is_some());
    assert_eq!(fakes.log.count("settled 100 kept nothing"), 1, "{:?}", fakes.log.lines());
    port.close(crate::client::PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_settlement_keeps_the_answer_back() {
    let (_, port) = shop();
    let refused = pay(&port, "/paid/echo", json!({"settle": "refuse"})).await;
    assert_eq!(refused.status(), 402);
    assert_eq!(paid(refused.get("payment-response").unwrap())["success"], false);
    let required: PaymentRequired = header::decode([refused.get("payment-required").unwrap()]).unwrap();
    assert_eq!(required.error.as_deref(), Some("insufficient_funds"));
    assert!(!refused.text().contains("hello"));

    let trouble = pay(&port, "/paid/echo", json!({"settle": "trouble"})).await;
    assert_eq!((trouble.status(), trouble.get("retry-after")), (503, Some("3")));
    assert_eq!((&trouble.json()["$type"], &trouble.json()["code"]), (&"agora/error/v1".into(), &"store.busy".into()));
    assert!(!trouble.text().contains("hello"));
    port.close(crate::client::PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_judgement_of_the_till_has_its_answer() {
    let (fakes, port) = shop();
    let of = |what: &'static str| pay(&port, "/paid/echo", json!({"ask": what}));
    let busy = of("busy").await;
    assert_eq!((busy.status(), busy.get("retry-after")), (409, Some("1")));
    assert_eq!(busy.json()["code"], "channel.busy");
    let conflict = of("conflict").await;
    assert_eq!((conflict.status(), conflict.get("retry-after")), (409, None));
    assert_eq!(conflict.json()["reason"], "invalid_exact_evm_nonce_already_used");
    let refund = of("refund").await;
    assert_eq!((refund.status(), refund.text().as_str()), (200, "{}"));
    assert_eq!(paid(refund.get("payment-response").unwrap())["amount"], "9");
    let refused = of("refused").await;
    assert_eq!(refused.status(), 402);
    // Where PAYMENT-RESPONSE stands, stock clients look no further: they would not learn their channel's state.
    assert_eq!(refused.get("payment-response"), None);
    let required: PaymentRequired = header::decode([refused.get("payment-required").unwrap()]).unwrap();
    assert_eq!(required.error.as_deref(), Some("insufficient_funds"));
    let trouble = of("trouble").await;
    assert_eq!((trouble.status(), trouble.get("retry-after")), (503, Some("3")));
    let replay = of("replay").await;
    assert_eq!((replay.status(), replay.get("agora-replayed")), (409, Some("true")));
    assert_eq!(paid(replay.get("payment-response").unwrap())["amount"], "8");
    assert_eq!(fakes.log.count("settling"), 0);

    fakes.keep("a", Kept { status: 203, content_type: "text/x".to_owned(), body: b"as before".to_vec() });
    let again = pay(&port, "/paid/echo", json!({"id": "a"})).await;
    assert_eq!((again.status(), again.text().as_str()), (203, "as before"));
    assert_eq!((again.get("agora-replayed"), again.get("content-type")), (Some("true"), Some("text/x")));
    assert!(again.get("payment-response").is_some());
    port.close(crate::client::PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_payment_is_a_bad_request() {
    let (fakes, port) = shop();
    let good = payment(&json!({}));
    let encode = |text: &str| base64(text.as_bytes());
    let large = "A".repeat(16 * 1024 + 4);
    let accepted = serde_json::to_string::<PaymentRequirements>(&offer()).unwrap();
    let twice = encode(&format!(r#"{{"x402Version":2,"accepted":{accepted},"payload":{{"a":1,"a":2}}}}"#));
    let other = encode(&format!(r#"{{"x402Version":1,"accepted":{accepted},"payload":{{}}}}"#));
    let cases: [(&str, Vec<&str>, u16); 8] = [
        ("repeated", vec![&good, &good], 400),
        ("empty", vec![""], 400),
        ("no base64", vec!["%%%"], 400),
        ("unpadded", vec!["e30"], 400),
        ("no payment", vec!["e30="], 400),
        ("a key twice", vec![&twice], 400),
        ("another version", vec![&other], 400),
        ("too long", vec![&large], 413),
    ];
    for (name, values, status) in cases {
        let headers: Vec<_> = values.into_iter().map(|value| ("PAYMENT-SIGNATURE", value)).collect();
        let answer = ask(port.address(), "POST", "/paid/echo", &headers, b"hello").await;
        assert_eq!((answer.status(), &answer.json()["$type"]), (status, &"agora/error/v1".into()), "{name}");
    }
    assert!(fakes.log.lines().is_empty());
    port.close(crate::client::PATIENCE).await;
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let group = three.iter().fold(0u32, |sum, byte| sum << 8 | u32::from(*byte)) << (8 * (3 - three.len()));
        for at in 0..4 {
            let digit = DIGITS[(group >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_bound_or_too_slow_is_refused_before_the_till_is_asked() {
    let (fakes, port) = shop();
    let signature = payment(&json!({}));
    let headers = [("PAYMENT-SIGNATURE", signature.as_str())];
    let answer = ask(port.address(), "POST", "/paid/echo", &headers, &[b'x'; 1_001]).await;
    assert_eq!((answer.status(), &answer.json()["code"]), (413, &"wire.too_large".into()));
    let mut client = Client::connect(port.address()).await;
    let chunked = format!(
        "POST /paid/echo HTTP/1.1\r\nHost: a\r\nPAYMENT-SIGNATURE: {signature}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    client.send(chunked + "401\r\n" + &"x".repeat(0x401) + "\r\n0\r\n\r\n").await;
    assert_eq!(client.whole().await.status(), 413);
    let mut client = Client::connect(port.address()).await;
    client.send(&request("POST", "/paid/echo", &headers, b"hello")[..]).await;
    assert_eq!(client.whole().await.status(), 201);
    let mut bytes = request("POST", "/paid/echo", &headers, b"hello");
    bytes.pop();
    client.send(bytes).await;
    assert_eq!(client.whole().await.status(), 408);
    assert_eq!(fakes.log.count("settling"), 1);
    port.close(crate::client::PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_hundred_equal_requests_one_is_served() {
    let (fakes, port) = shop();
    let asks = json!({"id": "the same", "gated": true});
    let signature = payment(&asks);
    let (address, bytes) =
        (port.address(), request("POST", "/paid/echo", &[("PAYMENT-SIGNATURE", &signature)], b"hello"));
    let all: Vec<_> = (0..100)
        .map(|_| {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let mut client = Client::connect(address).await;
                client.send(bytes).await;
                client.whole().await
            })
        })
        .collect();
    fakes.log.until("settling").await;
    // The one that is served waits until all others have their answer.
    while fakes.log.count("admit POST https://shop.example/paid/echo") < 100 {
        tokio::task::yield_now().await;
    }
    fakes.gate.add_permits(1);
    let mut served = 0;
    for one in all {
        let answer = one.await.unwrap();
        match answer.status() {
            201 => served += 1,
            other => assert_eq!((other, answer.get("retry-after")), (409, Some("1"))),
        }
    }
    assert_eq!((served, fakes.log.count("settling")), (1, 1));
    port.close(crate::client::PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_the_handler_runs_pays_nothing() {
    let (fakes, port) = shop();
    let mut client = Client::connect(port.address()).await;
    client.send(request("POST", "/paid/wait", &[("PAYMENT-SIGNATURE", &payment(&json!({})))], b"")).await;
    fakes.log.until("working").await;
    drop(client);
    fakes.log.until("cancelled").await;
    assert_eq!(fakes.log.count("settling"), 0);
    port.close(crate::client::PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_while_its_payment_is_settled_finds_it_settled() {
    let (fakes, port) = shop();
    let mut client = Client::connect(port.address()).await;
    let asks = json!({"gated": true});
    client.send(request("POST", "/paid/echo", &[("PAYMENT-SIGNATURE", &payment(&asks))], b"hello")).await;
    fakes.log.until("settling").await;
    drop(client);
    // The connection is gone once a new one is served by the same worker, which also saw the end of the first.
    assert_eq!(pay(&port, "/paid/fail", json!({})).await.status(), 404);
    fakes.gate.add_permits(1);
    fakes.log.until("settled 100 kept 201 5").await;
    assert_eq!(fakes.log.count("ticket lost"), 0);
    port.close(crate::client::PATIENCE).await;
}
