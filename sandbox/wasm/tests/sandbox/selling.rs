//! Guests that sell: what reaches them, what may leave them, and what their failures are called.

use std::sync::Arc;

use agora_sandbox_api::{AgentError, Program, Sandbox as _, ServeRequest, ServeResponse};
use agora_types::{Address, Amount, Code, Hash};
use serde_json::{Value, json};

use super::host::FakeHost;
use super::{Hostile, component, manifest, message, sandbox};

fn request(body: &str) -> ServeRequest {
    ServeRequest {
        id: "request-1".to_owned(),
        payer: Some(Address::ZERO),
        price_paid: Amount::from_atoms(5_000),
        method: "POST".to_owned(),
        path: "/".to_owned(),
        query: String::new(),
        content_type: "text/plain".to_owned(),
        body: body.as_bytes().to_vec(),
    }
}

async fn served(hostile: &Hostile, request: ServeRequest) -> Result<ServeResponse, AgentError> {
    hostile.program.serve(request, hostile.host.clone()).await
}

/// The order ends in this error, and the next request is served as if nothing had been.
async fn check(order: &str, code: Code, words: &str) {
    let hostile = Hostile::new();
    let error = served(&hostile, request(order)).await.expect_err(order);
    assert!(error.code == code && error.to_string().contains(words), "{order}: {error}");
    assert_eq!(served(&hostile, request("status 200")).await.expect("the next request").status, 200);
}

#[tokio::test]
async fn a_guest_sees_all_of_a_request_and_its_answer_arrives_whole() {
    let hostile = Hostile::new();
    let asked = ServeRequest { path: "/a/b".to_owned(), query: "c=d".to_owned(), ..request("echo") };
    let answer = served(&hostile, asked.clone()).await.expect("an answer");
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "text/plain"));
    let payer = Address::ZERO.to_string();
    assert_eq!(String::from_utf8_lossy(&answer.body), format!("request-1|{payer}|5000|POST|/a/b|c=d|text/plain"));
    let free = served(&hostile, ServeRequest { payer: None, ..asked }).await.expect("an answer");
    assert!(String::from_utf8_lossy(&free.body).starts_with("request-1||5000|"));
}

#[tokio::test]
async fn an_answer_has_a_status_of_its_own_a_media_type_and_64_kib() {
    let hostile = Hostile::new();
    for status in [200, 204, 402, 599] {
        assert_eq!(served(&hostile, request(&format!("status {status}"))).await.expect("it fits").status, status);
    }
    assert_eq!(served(&hostile, request("body 65536")).await.expect("it fits").body.len(), 65_536);
    for status in [0, 100, 199, 600, 65_535] {
        check(&format!("status {status}"), Code::AgentFailed, "status").await;
    }
    check("body 65537", Code::AgentTooLarge, "65536").await;
    check("body 8000000", Code::AgentTooLarge, "").await;
    // A second header, in the value of the first.
    check("type text/plain~set-cookie: a=b", Code::AgentFailed, "media type").await;
    check(&format!("type {}", "t".repeat(200)), Code::AgentFailed, "media type").await;
}

#[tokio::test]
async fn a_seller_that_fails_says_why_and_nothing_is_left_of_it() {
    check("fail 3", Code::AgentFailed, "hostile.failed: xxx").await;
    check("trap", Code::AgentTrapped, "unreachable").await;
    check("loop", Code::AgentOutOfTime, "compute_ms").await;
    check("nonsense", Code::AgentFailed, "hostile.unknown").await;
}

#[tokio::test]
async fn a_request_ends_with_its_own_time_and_its_streams_are_closed() {
    let mut hostile = Hostile::with(|manifest| {
        manifest.limits.event_s = 300;
        manifest.serve.as_mut().expect("it sells").timeout_s = 1;
    });
    let host = Arc::get_mut(&mut hostile.host).expect("nobody else has it");
    host.silent = true;
    let error = served(&hostile, request("wait")).await.expect_err("nothing ever arrives");
    assert!(error.code == Code::AgentOutOfTime && error.what.contains("serve.timeout_s, 1 s"), "{error}");
    assert_eq!(hostile.host.seen().closed.len(), 1);
}

#[tokio::test]
async fn a_request_over_its_bounds_reaches_no_guest() {
    let hostile = Hostile::new();
    let refused = async |request| served(&hostile, request).await.expect_err("over a bound").code;
    // `serve.input_kib` is 1.
    assert!(served(&hostile, request(&format!("status {:>1017}", 200))).await.is_err(), "1,024 bytes, and no number");
    assert_eq!(refused(request(&"x".repeat(1_025))).await, Code::AgentTooLarge);
    for bad in [
        ServeRequest { id: String::new(), ..request("echo") },
        ServeRequest { id: "i".repeat(129), ..request("echo") },
        ServeRequest { id: "a b".to_owned(), ..request("echo") },
        ServeRequest { method: "get".to_owned(), ..request("echo") },
        ServeRequest { path: "elsewhere".to_owned(), ..request("echo") },
        ServeRequest { path: "/a\nb".to_owned(), ..request("echo") },
        ServeRequest { query: "q".repeat(2_049), ..request("echo") },
        ServeRequest { content_type: "a\r\nb".to_owned(), ..request("echo") },
    ] {
        assert_eq!(refused(bad).await, Code::AgentBadRequest);
    }
}

#[tokio::test]
async fn an_agent_whose_manifest_sells_nothing_serves_nothing() {
    let hostile = Hostile::with(|manifest| manifest.serve = None);
    assert!(hostile.program.sells());
    let error = served(&hostile, request("echo")).await.expect_err("it sells nothing");
    assert_eq!(error.code, Code::AgentSellsNothing);
    let researcher = sandbox().load(&component("researcher"), &manifest("researcher")).expect("the researcher");
    assert!(!researcher.sells());
}

#[tokio::test]
async fn a_seller_buys_while_it_serves() {
    let hostile = Hostile::new();
    let answer = served(&hostile, request("fetch https://api.example.com/paid=70")).await.expect("an answer");
    assert_eq!(String::from_utf8_lossy(&answer.body), format!("200 bought 70 to {}", Address::ZERO));
}

fn summariser() -> Arc<dyn Program> {
    sandbox().load(&component("summariser"), &manifest("summariser")).expect("the summariser")
}

#[tokio::test]
async fn the_summariser_sells_what_the_cheapest_model_writes_and_names_its_receipt() {
    let host = Arc::new(FakeHost::new());
    let answer = summariser().serve(request(r#"{"text": "A long story.", "words": 9}"#), host.clone()).await;
    let answer = answer.expect("a summary");
    assert_eq!((answer.status, answer.content_type.as_str()), (200, "application/json"));
    let told: Value = serde_json::from_slice(&answer.body).expect("JSON");
    let receipt = Hash::sha256(b"receipt").to_string();
    assert_eq!(told["receipt"], json!(receipt));
    assert_eq!(told["summary"], json!("Ethanol boils at 78 °C."));
    let seen = host.seen();
    assert_eq!(seen.asks[0].1.output_max, 18);
    assert_eq!(seen.asks[0].1.messages[1].1, "A long story.");
    assert_eq!(seen.opened.len(), 1, "one bought answer for one summary");
}

#[tokio::test]
async fn the_summariser_never_pays_more_for_a_summary_than_it_was_paid() {
    let host = Arc::new(FakeHost::new());
    let poor = ServeRequest { price_paid: Amount::from_atoms(10), ..request("A long story.") };
    let error = summariser().serve(poor, host.clone()).await.expect_err("at a loss");
    assert!(error.code == Code::AgentFailed && error.what.starts_with("summariser.too_dear"), "{error}");
    assert!(host.seen().opened.is_empty());
}

#[tokio::test]
async fn the_summariser_refuses_a_bad_order_without_buying_and_works_for_its_owner_too() {
    let host = Arc::new(FakeHost::new());
    for (bad, status) in [
        (request(""), 400),
        (request(r#"{"text": "a", "words": 1000}"#), 400),
        (ServeRequest { method: "GET".to_owned(), ..request("text") }, 405),
    ] {
        let answer = summariser().serve(bad, host.clone()).await.expect("a refusal is an answer");
        assert_eq!(answer.status, status, "{}", String::from_utf8_lossy(&answer.body));
    }
    assert!(host.seen().asks.is_empty());
    let answer = summariser().handle(message("A long story."), host.clone()).await.expect("a summary");
    assert!(String::from_utf8_lossy(&answer).contains("Ethanol boils"));
}
