//! What stock sellers ask a facilitator.

use agora_economy::ports::pay::Facilitator as _;
use agora_x402::wire::{VerifyRequest, Version};
use serde_json::{Value, json};

use crate::client::{Client, PATIENCE, ask, request};
use crate::fakes::{Fakes, PAYER, bounds, offer, payload};

const JSON: (&str, &str) = ("Content-Type", "application/json; charset=utf-8");

/// Its name, headers and body, and the status of its answer.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], u16);

fn body(asks: &Value) -> Vec<u8> {
    let request =
        VerifyRequest { x402_version: Version, payment_payload: payload(asks), payment_requirements: offer() };
    serde_json::to_vec(&request).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_answers_and_trouble_is_an_error() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let post = |path: &'static str, asks: Value| {
        let address = port.address();
        async move { ask(address, "POST", path, &[JSON, ("Authorization", "Bearer s3cret")], &body(&asks)).await }
    };
    let good = post("/verify", json!({})).await;
    assert_eq!((good.status(), &good.json()["isValid"]), (200, &true.into()));
    assert_eq!(good.get("cache-control"), Some("no-store"));
    let bad = post("/verify", json!({"ask": "refused"})).await;
    assert_eq!((bad.status(), &bad.json()["isValid"]), (200, &false.into()));
    assert_eq!(bad.json()["invalidReason"], "insufficient_funds");
    let good = post("/settle", json!({})).await;
    assert_eq!((good.status(), &good.json()["success"], &good.json()["amount"]), (200, &true.into(), &"5".into()));
    let bad = post("/settle", json!({"ask": "refused"})).await;
    assert_eq!((bad.status(), &bad.json()["success"], &bad.json()["transaction"]), (200, &false.into(), &"".into()));
    let trouble = post("/verify", json!({"ask": "trouble"})).await;
    assert_eq!((trouble.status(), trouble.get("retry-after")), (503, Some("3")));
    assert_eq!(trouble.json()["code"], "store.busy");
    let token = r#"Some("s3cret")"#;
    assert_eq!(fakes.log.lines().iter().filter(|line| line.ends_with(token)).count(), 5);
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_with_the_error_document() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let good = body(&json!({}));
    let text = String::from_utf8(good.clone()).unwrap();
    let twice = text.replacen("{\"x402Version\":2", "{\"x402Version\":2,\"x402Version\":2", 1);
    let first = text.replacen("\"x402Version\":2", "\"x402Version\":1", 1);
    let authorization = ("Authorization", "Bearer a");
    let cases: [Case<'_>; 9] = [
        ("no type", &[], &good, 415),
        ("another type", &[("Content-Type", "text/plain")], &good, 415),
        ("two types", &[JSON, JSON], &good, 400),
        ("two tokens", &[JSON, authorization, authorization], &good, 400),
        ("empty", &[JSON], b"", 400),
        ("no document", &[JSON], b"{}", 400),
        ("a key twice", &[JSON], twice.as_bytes(), 400),
        ("another version", &[JSON], first.as_bytes(), 400),
        ("too long", &[JSON], &[b' '; 128 * 1024 + 1], 413),
    ];
    for (name, headers, body, status) in cases {
        for path in ["/verify", "/settle"] {
            let answer = ask(port.address(), "POST", path, headers, body).await;
            assert_eq!((answer.status(), &answer.json()["$type"]), (status, &"agora/error/v1".into()), "{name}");
            assert_eq!(answer.get("cache-control"), Some("no-store"), "{name}");
        }
    }
    for (method, path) in [("GET", "/verify"), ("DELETE", "/settle"), ("GET", "/nothing"), ("POST", "/supported")] {
        let answer = ask(port.address(), method, path, &[], b"").await;
        assert!([404, 405].contains(&answer.status()), "{method} {path}: {}", answer.status());
    }
    assert!(fakes.log.lines().is_empty(), "{:?}", fakes.log.lines());
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_settlement_goes_on_when_its_seller_leaves() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let mut client = Client::connect(port.address()).await;
    client.send(request("POST", "/settle", &[JSON], &body(&json!({"gated": true})))).await;
    fakes.log.until("settle None").await;
    drop(client);
    // The only worker serves this after it saw the end of the first connection.
    ask(port.address(), "GET", "/supported", &[], b"").await;
    fakes.gate.add_permits(1);
    fakes.log.until("settled at last").await;
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_settles_and_lists_can_be_read() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let supported = ask(port.address(), "GET", "/supported", &[], b"").await;
    assert_eq!((supported.status(), supported.json()), (200, json!(fakes.supported())));
    let path = format!("/discovery/resources?type=http&payTo={PAYER}&scheme=exact&network=eip155:1&limit=7&offset=0");
    let page = ask(port.address(), "GET", &path, &[], b"").await;
    assert_eq!((page.status(), &page.json()["pagination"]["limit"]), (200, &7.into()), "{}", page.text());
    assert!(fakes.log.lines()[0].contains("limit: Some(7)"), "{:?}", fakes.log.lines());
    for query in ["limit=x", "limit=1&limit=2", "payTo=me", "network=nowhere"] {
        let answer = ask(port.address(), "GET", &format!("/discovery/resources?{query}"), &[], b"").await;
        assert_eq!(answer.status(), 400, "{query}");
    }
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payment_can_be_asked_for() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let of = |nonce: String| {
        let address = port.address();
        async move { ask(address, "GET", &format!("/payments/{PAYER}/{nonce}"), &[], b"").await }
    };
    for (last, wanted) in [
        (0, json!({"$type": "agora/payment/v1", "status": "unknown"})),
        (1, json!({"$type": "agora/payment/v1", "status": "held", "max": "100", "until": 1_900_000_000})),
        (2, json!({"$type": "agora/payment/v1", "status": "released"})),
        (
            3,
            json!({"$type": "agora/payment/v1", "status": "settled", "amount": "7", "payTo": PAYER, "transaction": "0xabc"}),
        ),
    ] {
        let nonce = format!("0x{:064x}", last);
        for nonce in [nonce.clone(), format!("permit2:{nonce}"), format!("permit2:{last}")] {
            let answer = of(nonce.clone()).await;
            assert_eq!((answer.status(), answer.json()), (200, wanted.clone()), "{nonce}");
        }
    }
    assert_eq!(fakes.log.lines().iter().filter(|line| line.ends_with("true")).count(), 8);
    for nonce in ["0x1", "7", "permit2:x", "permit2%3A"] {
        assert_eq!(of(nonce.to_owned()).await.status(), 400, "{nonce}");
    }
    assert_eq!(ask(port.address(), "GET", "/payments/0x1/0x1", &[], b"").await.status(), 400);
    port.close(PATIENCE).await;
}
