//! The control port, over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agora_types::Code;
use agora_web::{Answer, Bounds, Control, Face, OpenError, Token};
use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::{FutureExt as _, SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn secret() -> String {
    "5a".repeat(32)
}

/// Answers with the body's length, and asks with the lines that a test sends through.
struct Echo {
    lines: Mutex<Option<mpsc::Receiver<Vec<u8>>>>,
}

impl Control for Echo {
    fn answer(&self, body: Vec<u8>) -> BoxFuture<'_, Answer> {
        let json = format!("{{\"bytes\":{}}}", body.len()).into_bytes();
        async { Answer::Whole { status: 200, json } }.boxed()
    }

    fn ask(&self, _: Vec<u8>) -> BoxFuture<'_, Answer> {
        async {
            let lines = self.lines.lock().await.take().expect("a test asks once");
            Answer::Lines(lines.boxed())
        }
        .boxed()
    }
}

fn open(bounds: Bounds) -> (Face, mpsc::Sender<Vec<u8>>) {
    let (sender, receiver) = mpsc::channel(1);
    let echo = Arc::new(Echo { lines: Mutex::new(Some(receiver)) });
    let token = Token::new(&secret()).unwrap();
    (Face::open(LOOPBACK, true, token, echo, bounds).unwrap(), sender)
}

/// A request's bytes: the usual head, with lines added and replaced.
fn head(path: &str, length: usize, host: &str, token: &str, more: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\nContent-Length: {length}\r\n{more}\r\n"
    )
}

/// Sends bytes, closes nothing, and reads until the server closes or says how long its answer is.
async fn exchange(address: SocketAddr, request: &[u8]) -> (u16, serde_json::Value) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // A server that refuses early may close before it has everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk).await.unwrap_or(0);
        answer.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase();
            let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.parse().ok());
            if length == Some(body.len()) {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return (status, serde_json::from_str(body).unwrap_or_default());
            }
        }
        assert_ne!(count, 0, "the answer ends early: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_with_the_token_is_answered() {
    let (face, _) = open(Bounds::default());
    let host = face.address().to_string();
    let request = head("/control/v1/request", 5, &host, &secret(), "") + "12345";
    let (status, answer) = exchange(face.address(), request.as_bytes()).await;
    assert_eq!((status, &answer["bytes"]), (200, &5.into()));
    face.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_or_is_a_web_page_is_refused_with_the_error_document() {
    let (face, _) = open(Bounds::default());
    let host = face.address().to_string();
    let (path, right, wrong) = ("/control/v1/request", secret(), "00".repeat(32));
    let cases = [
        ("wrong token", head(path, 0, &host, &wrong, ""), 401),
        ("no token", head(path, 0, &host, "", ""), 401),
        ("two tokens", head(path, 0, &host, &right, &format!("Authorization: Bearer {right}\r\n")), 401),
        ("origin", head(path, 0, &host, &right, "Origin: http://127.0.0.1\r\n"), 403),
        ("opaque origin", head(path, 0, &host, &right, "Origin: null\r\n"), 403),
        ("rebound name", head(path, 0, "evil.example:7402", &right, ""), 403),
        ("wrong token elsewhere", head("/", 0, &host, &wrong, ""), 401),
        ("elsewhere", head("/control/v2/request", 0, &host, &right, ""), 404),
        ("ask without token", head("/control/v1/ask", 0, &host, &wrong, ""), 401),
    ];
    for (name, request, wanted) in cases {
        let (status, answer) = exchange(face.address(), request.as_bytes()).await;
        assert_eq!(status, wanted, "{name}: {answer}");
        assert_eq!(answer["$type"], "agora/error/v1", "{name}");
        let code = if wanted == 404 { Code::WireUnsupported } else { Code::NodeUnauthorized };
        assert_eq!((&answer["code"], &answer["number"]), (&code.text().into(), &code.number().into()), "{name}");
        assert!(answer["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{name}");
    }
    face.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_or_too_slow_is_refused() {
    let bounds =
        Bounds { request_max: 1_000, ask_max: 10, body_timeout: Duration::from_millis(200), ..Bounds::default() };
    let (face, _) = open(bounds);
    let host = face.address().to_string();
    for (path, length, status) in
        [("/control/v1/request", 1_000, 200), ("/control/v1/request", 1_001, 413), ("/control/v1/ask", 11, 413)]
    {
        let request = head(path, length, &host, &secret(), "") + &"x".repeat(length);
        let (found, answer) = exchange(face.address(), request.as_bytes()).await;
        assert_eq!(found, status, "{path} {length} {answer}");
        assert!(status == 200 || answer["code"] == "wire.too_large", "{answer}");
    }
    let never_sent = head("/control/v1/request", 1_000, &host, &secret(), "");
    let (status, answer) = exchange(face.address(), never_sent.as_bytes()).await;
    assert_eq!((status, &answer["code"]), (408, &"wire.malformed".into()));
    face.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_arrive_one_by_one_as_they_are_made() {
    let (face, mut lines) = open(Bounds::default());
    let host = face.address().to_string();
    let mut stream = TcpStream::connect(face.address()).await.unwrap();
    stream.write_all(head("/control/v1/ask", 0, &host, &secret(), "").as_bytes()).await.unwrap();
    let mut seen = String::new();
    for line in ["{\"n\":1}\n", "{\"n\":2}\n"] {
        // The next line is made only after the one before was read here.
        lines.send(line.into()).await.unwrap();
        while !seen.contains(line) {
            let mut chunk = [0; 512];
            let count = stream.read(&mut chunk).await.unwrap();
            assert_ne!(count, 0, "{seen}");
            seen.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    }
    assert!(seen.starts_with("HTTP/1.1 200") && seen.contains("application/x-ndjson"), "{seen}");
    drop(lines);
    face.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_leaves_ends_the_lines() {
    let (face, mut lines) = open(Bounds::default());
    let host = face.address().to_string();
    let mut stream = TcpStream::connect(face.address()).await.unwrap();
    stream.write_all(head("/control/v1/ask", 0, &host, &secret(), "").as_bytes()).await.unwrap();
    lines.send(b"{}\n".to_vec()).await.unwrap();
    stream.read_u8().await.unwrap();
    drop(stream);
    // Sending fails once the port has dropped its end; until then the port takes what nobody reads.
    while lines.send(b"{}\n".to_vec()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    face.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_a_public_address_are_told_apart_by_code() {
    let (face, _) = open(Bounds::default());
    let (_, lines) = mpsc::channel(1);
    let echo = Arc::new(Echo { lines: Mutex::new(Some(lines)) });
    let again = |address| {
        let token = Token::new(&secret()).unwrap();
        Face::open(address, true, token, echo.clone(), Bounds::default()).map(|_| ()).unwrap_err()
    };
    let taken = again(face.address());
    assert!(matches!(taken, OpenError::InUse(address) if address == face.address()), "{taken}");
    assert_eq!(taken.code(), Code::NodePortInUse);
    assert_eq!(again("0.0.0.0:0".parse().unwrap()).code(), Code::NodeNotLoopback);
    // A port that was closed is free again at once.
    let address = face.address();
    face.close().await;
    let token = Token::new(&secret()).unwrap();
    let face = Face::open(address, true, token, echo, Bounds::default()).unwrap();
    face.close().await;
}
