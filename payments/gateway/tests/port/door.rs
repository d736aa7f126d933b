//! The port's own bounds: heads, bodies, readers, crowds, and its end.

use std::net::SocketAddr;
use std::time::Duration;

use agora_economy::ports::pay::Piece;
use agora_gateway::{Bounds, OpenError, PublicPort, Services};
use serde_json::json;
use tokio::net::TcpListener;

use crate::client::{Client, PATIENCE, ask, request};
use crate::fakes::{Fakes, LOOPBACK, bounds, ended};

const KEY: (&str, &str) = ("Authorization", "Bearer good");
const JSON: (&str, &str) = ("Content-Type", "application/json");

fn stream() -> Vec<u8> {
    let body = json!({"model": "small", "messages": [{"role": "user", "content": "hi"}], "stream": true}).to_string();
    request("POST", "/v1/chat/completions", &[KEY, JSON], body.as_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_opens_where_it_may_and_says_why_not() {
    let open = |address, services| PublicPort::open(address, true, None, services, bounds()).err();
    let public: SocketAddr = "0.0.0.0:0".parse().unwrap();
    assert!(matches!(open(public, Services::default()), Some(OpenError::NotLoopback(_))));
    let taken = TcpListener::bind(LOOPBACK).await.unwrap();
    assert!(matches!(open(taken.local_addr().unwrap(), Services::default()), Some(OpenError::InUse(_))));
    let wrong = Services { base_url: Some("shop".to_owned()), ..Services::default() };
    assert_eq!(open(LOOPBACK, wrong).unwrap().code().text(), "node.bad_config");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_served_is_not_found() {
    let port = PublicPort::open(LOOPBACK, true, None, Services::default(), bounds()).unwrap();
    for path in ["/supported", "/v1/models", "/agents/researcher", "/"] {
        let answer = ask(port.address(), "GET", path, &[], b"").await;
        assert_eq!((answer.status(), &answer.json()["code"]), (404, &"wire.unsupported_version".into()), "{path}");
    }
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn urls_are_built_from_the_host_that_a_request_names() {
    let fakes = Fakes::new();
    let services = Services { base_url: None, ..fakes.services() };
    let port = PublicPort::open(LOOPBACK, true, None, services, bounds()).unwrap();
    for (host, url) in [
        ("Host: Other.Example:81\r\n", Some("http://other.example:81/agents/researcher")),
        ("", Some("http://BOUND/agents/researcher")),
        ("Host: a/b\r\n", None),
        ("Host: u@a\r\n", None),
        ("Host: a\r\nHost: b\r\n", None),
    ] {
        let mut client = Client::connect(port.address()).await;
        let version = if host.is_empty() { "1.0" } else { "1.1" };
        client.send(format!("GET /agents/researcher HTTP/{version}\r\n{host}\r\n")).await;
        let answer = client.whole().await;
        assert_eq!(answer.status(), if url.is_some() { 402 } else { 400 }, "{host:?}");
        if let Some(url) = url {
            let url = url.replace("BOUND", &port.address().to_string());
            assert_eq!(answer.json()["resource"]["url"], url, "{host:?}");
        }
    }
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_over_the_bound_is_refused_and_one_of_the_longest_payment_passes() {
    let port = Fakes::new().open(bounds(), None);
    let longest = "A".repeat(16 * 1024);
    let answer = ask(port.address(), "GET", "/agents/researcher", &[("PAYMENT-SIGNATURE", &longest)], b"").await;
    assert_eq!((answer.status(), &answer.json()["code"]), (400, &"wire.malformed".into()), "read, and no payment");
    let large = "x".repeat(33 * 1024);
    let answer = ask(port.address(), "GET", "/supported", &[("X-Large", &large)], b"").await;
    assert_eq!((answer.status(), answer.get("connection")), (431, Some("close")));
    let many: Vec<_> = (0..97).map(|_| ("X-Many", "1")).collect();
    assert!([400, 431].contains(&ask(port.address(), "GET", "/supported", &many, b"").await.status()));
    let huge = "x".repeat(200 * 1024);
    let mut client = Client::connect(port.address()).await;
    client.send(request("GET", "/supported", &[("X-Huge", &huge)], b"")).await;
    let text = client.until_closed().await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 4"), "{text}");
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_never_ends_is_cut_off_the_first_and_the_second_time() {
    let port = Fakes::new().open(Bounds { head_timeout: Duration::from_secs(1), ..bounds() }, None);
    let mut client = Client::connect(port.address()).await;
    client.send("GET /supported HTTP/1.1\r\nHost: a").await;
    let text = client.until_closed().await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 408"), "{text}");
    let mut client = Client::connect(port.address()).await;
    client.send(request("GET", "/supported", &[], b"")).await;
    assert_eq!(client.whole().await.status(), 200);
    client.send("GET /supported HTTP/1.1\r\nHost: a").await;
    client.until_closed().await;
    // A connection without a request goes too.
    let port_idle = Fakes::new().open(Bounds { idle_timeout: Duration::from_secs(1), ..bounds() }, None);
    let mut client = Client::connect(port_idle.address()).await;
    client.send(request("GET", "/supported", &[], b"")).await;
    assert_eq!(client.whole().await.status(), 200);
    client.until_closed().await;
    port.close(PATIENCE).await;
    port_idle.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_stops_is_cut_off_and_the_work_with_it() {
    let fakes = Fakes::new();
    let port = fakes.open(Bounds { stall_timeout: Duration::from_millis(300), ..bounds() }, None);
    let pieces = fakes.pieces();
    let mut client = Client::connect(port.address()).await;
    client.send(stream()).await;
    client.head().await;
    // More than the system's buffers hold; the port stops taking pieces long before.
    let flood = async {
        let large = "x".repeat(1024 * 1024);
        while pieces.send(Ok(Piece::text(large.clone()))).await.is_ok() {}
    };
    tokio::time::timeout(PATIENCE, flood).await.expect("the completion is dropped");
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_is_told_to_wait() {
    let port = Fakes::new().open(Bounds { rate_per_s: 1, rate_burst: 3, ..bounds() }, None);
    for _ in 0..3 {
        assert_eq!(ask(port.address(), "GET", "/supported", &[], b"").await.status(), 200);
    }
    let refused = ask(port.address(), "GET", "/supported", &[], b"").await;
    assert_eq!((refused.status(), &refused.json()["code"]), (429, &"node.busy".into()));
    let wait: u32 = refused.get("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&wait));
    port.close(PATIENCE).await;

    let fakes = Fakes::new();
    let port = fakes.open(Bounds { requests_per_client: 1, ..bounds() }, None);
    let pieces = fakes.pieces();
    let mut client = Client::connect(port.address()).await;
    client.send(stream()).await;
    client.head().await;
    assert_eq!(ask(port.address(), "GET", "/supported", &[], b"").await.status(), 429, "an open stream counts");
    pieces.send(Ok(ended(false, false))).await.unwrap();
    client.rest().await.unwrap();
    assert_eq!(ask(port.address(), "GET", "/supported", &[], b"").await.status(), 200);
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_beyond_the_bound_are_closed() {
    let port = Fakes::new().open(Bounds { connections_per_client: 1, ..bounds() }, None);
    let mut first = Client::connect(port.address()).await;
    first.send(request("GET", "/supported", &[], b"")).await;
    assert_eq!(first.whole().await.status(), 200);
    let mut second = Client::connect(port.address()).await;
    second.send(request("GET", "/supported", &[], b"")).await;
    assert_eq!(second.until_closed().await, "");
    port.close(PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closing_port_finishes_open_streams_and_takes_nothing_new() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let address = port.address();
    let pieces = fakes.pieces();
    let mut idle = Client::connect(address).await;
    idle.send(request("GET", "/supported", &[], b"")).await;
    idle.whole().await;
    let mut client = Client::connect(address).await;
    client.send(stream()).await;
    client.head().await;
    let closed = tokio::spawn(port.close(PATIENCE));
    idle.until_closed().await;
    let mut new = Client::connect(address).await;
    new.send(request("GET", "/supported", &[], b"")).await;
    let text = new.until_closed().await;
    assert!(text.is_empty() || text.starts_with("HTTP/1.1 503"), "{text}");
    assert!(!closed.is_finished());
    pieces.send(Ok(Piece::text("still here"))).await.unwrap();
    pieces.send(Ok(ended(false, false))).await.unwrap();
    let rest = client.rest().await.expect("the stream ends well").concat();
    assert!(rest.contains("still here") && rest.ends_with("data: [DONE]\n\n"), "{rest}");
    tokio::time::timeout(PATIENCE, closed).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_open_after_the_grace_is_cut_off() {
    let fakes = Fakes::new();
    let port = fakes.open(bounds(), None);
    let pieces = fakes.pieces();
    let mut client = Client::connect(port.address()).await;
    client.send(stream()).await;
    client.head().await;
    let closing = tokio::time::timeout(PATIENCE, port.close(Duration::from_millis(100)));
    closing.await.expect("the port does not wait for ever");
    assert_eq!(client.rest().await, Err(()));
    tokio::time::timeout(PATIENCE, pieces.closed()).await.expect("the completion is dropped");
    fakes.log.until("completion dropped").await;
}
