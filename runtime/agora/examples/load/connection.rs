//! One kept-alive HTTP/1.1 connection, one request at a time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use crate::Failure;

/// An answer that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest answer.
const ANSWER_MAX: usize = 1 << 20;

pub(crate) struct Connection {
    stream: TcpStream,
    authority: String,
    path: String,
    buffer: Vec<u8>,
}

/// An answer, in the connection's buffer.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    head: &'a str,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    /// The first header of this name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    /// Anything but the goods, with word of the payment where there is one, fails the whole measurement.
    pub(crate) fn expect_sold(&self, is_paid: bool) -> Result<(), Failure> {
        if self.status == 200 && (!is_paid || self.header("payment-response").is_some()) {
            return Ok(());
        }
        let why = self.header("payment-required").and_then(reason).unwrap_or_default();
        Err(format!("answered {}: {}{why}", self.status, String::from_utf8_lossy(self.body)).into())
    }
}

/// Why a 402 refused a payment.
fn reason(value: &str) -> Option<String> {
    let required: agora_x402::wire::PaymentRequired = agora_x402::header::decode([value]).ok()?;
    required.error
}

impl Connection {
    /// Of an address like `http://127.0.0.1:8402/weather`.
    pub(crate) fn open(url: &str) -> Result<Self, Failure> {
        let rest = url.strip_prefix("http://").ok_or("an address begins with http://")?;
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let stream = TcpStream::connect(authority)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, authority: authority.to_owned(), path: format!("/{path}"), buffer: Vec::new() })
    }

    /// A GET of the address, with a payment.
    pub(crate) fn request(&self, payment: Option<&str>) -> Vec<u8> {
        let payment = payment.map(|payment| format!("payment-signature: {payment}\r\n")).unwrap_or_default();
        format!("GET {} HTTP/1.1\r\nhost: {}\r\naccept: */*\r\n{payment}\r\n", self.path, self.authority).into_bytes()
    }

    /// A POST of JSON to the address.
    pub(crate) fn post(&self, body: &[u8]) -> Vec<u8> {
        let (path, host, length) = (&self.path, &self.authority, body.len());
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    }

    /// Sends a request and waits for its whole answer.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>, Failure> {
        self.stream.write_all(request)?;
        self.buffer.clear();
        let head = loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            self.more()?;
        };
        let text = std::str::from_utf8(&self.buffer[..head])?;
        let answer = Answer { status: 0, head: text, body: &[] };
        let length: usize = answer.header("content-length").ok_or("an answer without a length")?.parse()?;
        while self.buffer.len() < head + length {
            self.more()?;
        }
        let text = std::str::from_utf8(&self.buffer[..head])?;
        let status = text.split(' ').nth(1).ok_or("an answer without a status")?.parse()?;
        Ok(Answer { status, head: text, body: &self.buffer[head..head + length] })
    }

    fn more(&mut self) -> Result<(), Failure> {
        let mut piece = [0; 8 * 1024];
        let read = self.stream.read(&mut piece)?;
        if read == 0 || self.buffer.len() + read > ANSWER_MAX {
            return Err("the answer broke off, or has no end".into());
        }
        self.buffer.extend_from_slice(&piece[..read]);
        Ok(())
    }
}
