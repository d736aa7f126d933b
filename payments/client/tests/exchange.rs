//! What a buyer can rely on when it asks servers over real sockets, whatever they answer.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agora_client::HttpClient;
use agora_economy::ports::http::{HttpAsk, HttpExchange as _, HttpFault, HttpHeard, MayReach, Reached};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server on this machine that says the same to everybody, after it has read a request's head.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn saying(answer: impl Into<Vec<u8>>) -> Self {
        Self::pausing(answer, Duration::ZERO, true).await
    }

    /// Waits before the answer, and leaves the connection open where it does not close it.
    async fn pausing(answer: impl Into<Vec<u8>>, pause: Duration, closes: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, answer, connections) = (listener.local_addr().unwrap(), answer.into(), Arc::default());
        let counted: Arc<AtomicUsize> = Arc::clone(&connections);
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                        let mut byte = [0];
                        if socket.read(&mut byte).await.unwrap_or(0) == 0 {
                            return;
                        }
                        head.push(byte[0]);
                    }
                    tokio::time::sleep(pause).await;
                    // A client that has heard enough closes before everything is sent.
                    let _ = socket.write_all(&answer).await;
                    if !closes {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        Self { address, connections }
    }

    fn url(&self) -> String {
        format!("http://{}/tea", self.address)
    }
}

const ANYWHERE: MayReach<'static> = &|_| true;

async fn ask(
    url: &str,
    body_bytes_max: usize,
    timeout_ms: u64,
    may_reach: MayReach<'_>,
) -> Result<HttpHeard, HttpFault> {
    let headers = [("x-cup".to_owned(), "one".to_owned()), ("x-cup".to_owned(), "two".to_owned())];
    let ask = HttpAsk { method: "GET", url, headers: &headers, body: b"", body_bytes_max, timeout_ms, may_reach };
    HttpClient::new().unwrap().exchange(ask).await
}

async fn heard(server: &Server) -> HttpHeard {
    ask(&server.url(), 1_000, 5_000, ANYWHERE).await.unwrap()
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_nobody_goes_there() {
    let other = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let moved = format!("HTTP/1.1 307 Moved\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", other.url());
    let answer = heard(&Server::saying(moved).await).await;
    assert_eq!((answer.status, answer.values("Location").next()), (307, Some(other.url().as_str())));
    assert_eq!(other.connections.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_header_that_stands_twice_is_heard_twice() {
    let answer = "HTTP/1.1 402 Pay\r\nPayment-Required: a\r\npayment-required: b\r\ncontent-length: 2\r\n\r\nno";
    let answer = heard(&Server::saying(answer).await).await;
    assert_eq!(answer.values("PAYMENT-REQUIRED").collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((answer.body.as_slice(), answer.cut), (&b"no"[..], false));
}

#[tokio::test]
async fn a_body_is_cut_at_its_bound_and_no_byte_earlier() {
    let body = |size: usize| format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(size));
    let whole = heard(&Server::saying(body(1_000)).await).await;
    assert_eq!((whole.body.len(), whole.cut), (1_000, false));
    for size in [1_001, 5_000_000] {
        let cut = heard(&Server::saying(body(size)).await).await;
        assert_eq!((cut.body.len(), cut.cut), (1_000, true), "{size}");
    }
    // A length that is a lie is a broken answer.
    let short = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort").await;
    assert_eq!(ask(&short.url(), 1_000, 5_000, ANYWHERE).await.unwrap_err().reached, Reached::Perhaps);
}

#[tokio::test]
async fn headers_without_end_are_no_answer() {
    let many = "x-tea: green\r\n".repeat(20_000);
    let server = Server::saying(format!("HTTP/1.1 200 OK\r\n{many}content-length: 0\r\n\r\n")).await;
    assert_eq!(ask(&server.url(), 10, 5_000, ANYWHERE).await.unwrap_err().reached, Reached::Perhaps);
    let long = "y".repeat(70_000);
    let server = Server::saying(format!("HTTP/1.1 200 OK\r\nx-tea: {long}\r\ncontent-length: 0\r\n\r\n")).await;
    assert_eq!(ask(&server.url(), 10, 5_000, ANYWHERE).await.unwrap_err().reached, Reached::Perhaps);
}

#[tokio::test]
async fn an_address_that_may_not_be_reached_hears_nothing() {
    let server = Server::saying("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let port = server.address.port();
    let public = |address: IpAddr| !address.is_loopback();
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let fault = ask(&format!("http://{host}:{port}/"), 10, 5_000, &public).await.unwrap_err();
        assert_eq!(fault.reached, Reached::Nobody, "{host}");
        assert!(fault.what.contains("no address that may be reached"), "{}", fault.what);
    }
    // An IPv4 address inside an IPv6 one is asked about as what it is.
    let only_v4 = |address: IpAddr| address.is_ipv4();
    let mapped = format!("http://[::ffff:127.0.0.1]:{port}/");
    assert_eq!(ask(&mapped, 10, 5_000, &only_v4).await.unwrap_err().reached, Reached::Nobody);
    assert_eq!(server.connections.load(Ordering::SeqCst), 0);
    // A name goes to the addresses that passed, and to no other of its own.
    assert_eq!(ask(&format!("http://localhost:{port}/"), 10, 5_000, &only_v4).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_slow_server_is_given_up_at_the_deadline_whatever_it_has_sent() {
    let late = Server::pausing("HTTP/1.1 200 OK\r\n\r\n", Duration::from_secs(60), true).await;
    let stuck = Server::pausing("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nsix", Duration::ZERO, false).await;
    for server in [late, stuck] {
        let fault = ask(&server.url(), 10, 200, ANYWHERE).await.unwrap_err();
        assert!(fault.reached == Reached::Perhaps && fault.what.contains("in time"), "{}", fault.what);
    }
}

#[tokio::test]
async fn nobody_there_means_that_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/?key=secret", listener.local_addr().unwrap());
    drop(listener);
    let fault = ask(&url, 10, 5_000, ANYWHERE).await.unwrap_err();
    assert_eq!(fault.reached, Reached::Nobody);
    assert!(!fault.what.contains("secret"), "{}", fault.what);
}

#[tokio::test]
async fn a_server_without_a_certificate_hears_no_request() {
    let server = Server::saying("HTTP/1.1 200 OK\r\n\r\n").await;
    let fault = ask(&format!("https://{}/", server.address), 10, 2_000, ANYWHERE).await.unwrap_err();
    assert!(fault.what.contains("127.0.0.1"), "{}", fault.what);
}
