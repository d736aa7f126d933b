//! A client that sees bytes: nothing is retried, reused or decoded behind a test's back.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for anything; a test that needs it has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// A connection.
pub(crate) struct Client {
    wire: Box<dyn Wire>,
    read: Vec<u8>,
}

/// An answer's head.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(crate) struct Whole {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Whole {
    pub(crate) fn status(&self) -> u16 {
        self.head.status
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).await.unwrap())
    }

    pub(crate) fn over(wire: impl Wire + 'static) -> Self {
        Self { wire: Box::new(wire), read: Vec::new() }
    }

    /// Sends bytes; a server that refuses early may have closed before it has everything.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        drop(self.wire.write_all(bytes.as_ref()).await);
        drop(self.wire.flush().await);
    }

    /// More bytes; false at the end.
    pub(crate) async fn more(&mut self) -> bool {
        let mut chunk = [0; 16 * 1024];
        let read = tokio::time::timeout(PATIENCE, self.wire.read(&mut chunk)).await;
        let count = read.expect("the server neither answers nor closes").unwrap_or(0);
        self.read.extend_from_slice(&chunk[..count]);
        count > 0
    }

    /// Everything until the server closes.
    pub(crate) async fn until_closed(&mut self) -> String {
        while self.more().await {}
        String::from_utf8_lossy(&self.read).into_owned()
    }

    pub(crate) async fn head(&mut self) -> Head {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                break at;
            }
            assert!(self.more().await, "no head: {:?}", String::from_utf8_lossy(&self.read));
        };
        let text = String::from_utf8_lossy(&self.read[..end]).into_owned();
        self.read.drain(..end + 4);
        let mut lines = text.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).expect("a status line");
        let headers = lines.filter_map(|line| line.split_once(": "));
        Head { status, headers: headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect() }
    }

    /// One chunk of a chunked body, as it was sent; `None` at its end, `Err` when it was cut off.
    pub(crate) async fn chunk(&mut self) -> Result<Option<String>, ()> {
        let (at, size) = loop {
            if let Some(at) = self.read.windows(2).position(|window| window == b"\r\n") {
                let text = std::str::from_utf8(&self.read[..at]).unwrap();
                break (at + 2, usize::from_str_radix(text, 16).unwrap());
            }
            if !self.more().await {
                return Err(());
            }
        };
        while self.read.len() < at + size + 2 {
            if !self.more().await {
                return Err(());
            }
        }
        let chunk = String::from_utf8_lossy(&self.read[at..at + size]).into_owned();
        self.read.drain(..at + size + 2);
        Ok((size > 0).then_some(chunk))
    }

    /// All chunks that are left.
    pub(crate) async fn rest(&mut self) -> Result<Vec<String>, ()> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            all.push(chunk);
        }
        Ok(all)
    }

    pub(crate) async fn whole(&mut self) -> Whole {
        let head = self.head().await;
        let mut body = Vec::new();
        match head.get("content-length").map(|length| length.parse::<usize>().unwrap()) {
            Some(length) => {
                while self.read.len() < length {
                    assert!(self.more().await, "the body ends early");
                }
                body.extend(self.read.drain(..length));
            }
            None if head.get("transfer-encoding") == Some("chunked") => {
                body = self.rest().await.expect("the body is cut off").concat().into_bytes();
            }
            None => {}
        }
        Whole { head, body }
    }
}

/// A request's bytes.
pub(crate) fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {path} HTTP/1.1\r\nHost: shop.example\r\n");
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() || method == "POST" {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    let mut bytes = (text + "\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// One request on a connection of its own.
pub(crate) async fn ask(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Whole {
    let mut client = Client::connect(address).await;
    client.send(request(method, path, headers, body)).await;
    client.whole().await
}
