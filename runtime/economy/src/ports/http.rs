//! HTTP as a buyer needs it: one request, one answer, no redirect followed, nothing paid.
//!
//! Whoever asks decides about every address before a connection is made to it, and gets the answer as it came: a header
//! that stands twice is there twice, since which one counts is the buyer's question.

use core::net::IpAddr;
use std::future::Future;
use std::pin::Pin;

/// An answer that is still on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, HttpFault>> + Send + 'a>>;

/// May a connection be made to this address?
pub type MayReach<'a> = &'a (dyn Fn(IpAddr) -> bool + Send + Sync);

/// A request.
#[derive(Clone, Copy)]
pub struct HttpAsk<'a> {
    /// `GET`, `POST`, …
    pub method: &'a str,
    /// An absolute http(s) URL, checked by the caller; sent as it stands.
    pub url: &'a str,
    /// In this order, after those that HTTP itself needs.
    pub headers: &'a [(String, String)],
    /// The body; empty for none.
    pub body: &'a [u8],
    /// Bytes of the answer's body that are read; more is cut off.
    pub body_bytes_max: usize,
    /// Milliseconds for everything, from the name's resolution to the body's last byte.
    pub timeout_ms: u64,
    /// Asked of every address that the host's name is resolved to, and of an address that stands in the URL. The address
    /// that was asked about is the one that is connected to.
    pub may_reach: MayReach<'a>,
}

/// An answer, redirects included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpHeard {
    /// 200 to 599.
    pub status: u16,
    /// Names in lower case, in the order of arrival, one entry for each time that a name stands there.
    pub headers: Vec<(String, String)>,
    /// At most [`HttpAsk::body_bytes_max`].
    pub body: Vec<u8>,
    /// True: more followed and was not read.
    pub cut: bool,
}

impl HttpHeard {
    /// Every value of a header; `name` in any case.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// How far a request came that has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reached {
    /// Not a byte of it was sent.
    Nobody,
    /// The server may have read it and acted on it.
    Perhaps,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct HttpFault {
    /// How far the request came.
    pub reached: Reached,
    /// The world's words, without anything that was sent.
    pub what: String,
}

/// Sends requests. Callable from many tasks; keeps nothing from one request for the next, no cookie and no redirect;
/// nobody retries inside. A dropped future closes its connection.
pub trait HttpExchange: Send + Sync {
    /// Sends the request once and reads its answer.
    ///
    /// # Errors
    /// [`HttpFault`], with how far the request came.
    fn exchange<'a>(&'a self, ask: HttpAsk<'a>) -> Pending<'a, HttpHeard>;
}
