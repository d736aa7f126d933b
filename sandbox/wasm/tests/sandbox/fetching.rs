//! Guests that ask over HTTP: nothing leaves for a host that is not granted, and nothing comes in over its bound.

use std::sync::Arc;

use agora_sandbox_api::Sandbox as _;
use agora_types::{Address, Amount};
use serde_json::{Value, json};

use super::host::FakeHost;
use super::{Hostile, component, manifest, message, sandbox};

#[tokio::test]
async fn a_granted_host_is_asked_and_the_answer_arrives_with_what_was_paid() {
    let hostile = Hostile::new();
    hostile.check("fetch https://api.example.com/free", "200 free nothing").await;
    hostile.check("fetch https://a.shop.example.com/paid=9", &format!("200 bought 9 to {}", Address::ZERO)).await;
    hostile.check("fetch http://127.0.0.1:8402/paid=1001", "402 pay first nothing").await;
    let seen = hostile.host.seen();
    assert_eq!(seen.fetched[0].max_spend, Amount::from_atoms(1_000));
    assert_eq!(seen.fetched.len(), 3);
}

#[tokio::test]
async fn a_redirect_is_an_answer() {
    let hostile = Hostile::new();
    hostile.check("fetch https://api.example.com/moved", "302  nothing").await;
    assert_eq!(hostile.host.seen().fetched.len(), 1);
}

#[tokio::test]
async fn a_host_that_is_not_granted_is_never_asked() {
    let hostile = Hostile::new();
    for url in [
        "https://example.com/",
        "https://shop.example.com/",
        "https://api.example.com.evil.com/",
        "https://api.example.com@evil.com/",
        "https://api.example.com:8443/",
        "http://api.example.com/",
        "http://127.0.0.1/",
        "http://127.1:8402/",
        "http://localhost:8402/",
        "https://169.254.169.254/",
        "ftp://api.example.com/",
        "file:///etc/passwd",
        "",
    ] {
        let error = hostile.told(&format!("fetch {url}")).await.expect_err(url);
        let (denied, bad) = (error.what.starts_with("agent.denied"), error.what.starts_with("agent.bad_request"));
        assert!(denied || bad, "{url}: {error}");
    }
    assert!(hostile.host.seen().fetched.is_empty());
}

#[tokio::test]
async fn requests_over_their_bounds_are_refused_before_the_host_sees_them() {
    let hostile = Hostile::new();
    for (fits, too_large) in [
        ("fetch-body 65536", "fetch-body 65537"),
        ("fetch-headers 64", "fetch-headers 65"),
        ("fetch-url 2024", "fetch-url 2025"),
        ("fetch-value 0", "fetch-value 1"),
    ] {
        hostile.check(fits, "200").await;
        let count = hostile.host.seen().fetched.len();
        let error = hostile.told(too_large).await.expect_err(too_large);
        let words = ["agent.too_large", "agent.bad_request"];
        assert!(words.iter().any(|word| error.what.starts_with(word)), "{too_large}: {error}");
        assert_eq!(hostile.host.seen().fetched.len(), count, "{too_large}");
    }
    hostile.check("fetch-body 2000000", "agent.too_large").await;
}

#[tokio::test]
async fn an_answer_over_the_grant_never_reaches_the_guest() {
    let hostile = Hostile::new();
    let answer = hostile.told("fetch https://api.example.com/large=1024").await.expect("it fits");
    assert!(answer.len() > 1_024);
    let error = hostile.told("fetch https://api.example.com/large=1025").await.expect_err("too large");
    assert!(error.what.starts_with("agent.too_large: an answer's body"), "{error}");
}

#[tokio::test]
async fn a_refusal_is_a_value_that_the_guest_may_live_with() {
    let error = Hostile::new().told("fetch https://api.example.com/refused").await.expect_err("it passes it on");
    assert!(error.what.starts_with("agent.over_budget: the budget"), "{error}");
}

#[tokio::test]
async fn the_courier_pays_what_a_url_costs_within_its_budget() {
    let program = sandbox().load(&component("courier"), &manifest("courier")).expect("the courier");
    let host = Arc::new(FakeHost::new());
    let told = async |order: &str| {
        let answer = program.handle(message(order), host.clone()).await.expect("an answer");
        serde_json::from_slice::<Value>(&answer).expect("JSON")
    };
    let bought = told("http://127.0.0.1:8402/paid=4999").await;
    let expected = json!({
        "status": 200, "content_type": "text/plain", "text": "bought", "paid": "4999",
        "payee": Address::ZERO.to_string(), "receipt": "leaf",
    });
    assert_eq!(bought, expected);
    let dear = told(r#"{"url": "http://127.0.0.1:8402/paid=9", "text": "a story", "pay_at_most": "8"}"#).await;
    assert_eq!((&dear["status"], &dear["paid"]), (&json!(402), &json!("0")));
    let seen = host.seen();
    // The whole of its budget for one call, when the order does not say.
    assert_eq!(seen.fetched[0].max_spend, Amount::from_atoms(5_000));
    assert_eq!((seen.fetched[1].method.as_str(), seen.fetched[1].body.as_slice()), ("POST", &b"a story"[..]));
}
