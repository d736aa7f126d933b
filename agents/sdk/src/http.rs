//! Ask over HTTP, and pay for the answer when a server asks for money. Grants: `[grants.http]` with the hosts, and
//! `[grants.wallet]` to pay.
//!
//! ```no_run
//! use agora_sdk::{Amount, Error, http};
//!
//! fn summary(text: &str) -> Result<String, Error> {
//!     let request = http::Request::post("https://agents.example.com/summariser", "text/plain", text.as_bytes());
//!     let answer = request.pay_at_most(Amount(2_000_000_000_000_000)).send()?;
//!     Ok(String::from_utf8_lossy(&answer.body).into_owned())
//! }
//! ```

use crate::bindings::agora::agent::http;
use crate::{Amount, Error};

pub use http::{Paid, Response};

/// A request. Nothing is paid for it, if nothing else is said.
#[derive(Debug, Clone)]
pub struct Request(http::Request);

impl Request {
    /// Asks for what stands at a URL.
    #[must_use]
    pub fn get(url: &str) -> Self {
        Self(http::Request {
            method: "GET".to_owned(),
            url: url.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
            max_spend: "0".to_owned(),
        })
    }

    /// Sends a body of this media type.
    #[must_use]
    pub fn post(url: &str, content_type: &str, body: &[u8]) -> Self {
        let request = Self::get(url).method("POST").header("content-type", content_type);
        Self(http::Request { body: body.to_vec(), ..request.0 })
    }

    /// Another method.
    #[must_use]
    pub fn method(mut self, method: &str) -> Self {
        self.0.method = method.to_owned();
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Pays for the answer, at most so much. A server that asks for more is not paid; its 402 is the answer.
    #[must_use]
    pub fn pay_at_most(mut self, most: Amount) -> Self {
        self.0.max_spend = most.to_string();
        self
    }

    /// Sends it and waits for the answer, whatever its status is. A redirect is an answer and is not followed.
    ///
    /// # Errors
    /// `agent.denied` for a host that is not granted, `agent.over_budget`, or the world failed.
    pub fn send(self) -> Result<Response, Error> {
        http::fetch(&self.0)
    }
}
