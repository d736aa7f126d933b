//! HTTP from inside the sandbox: what an agent may ask, whom, and what it may pay for the answer.

use agora_types::{Address, Amount, Code};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::AgentError;
use crate::target::{Pattern, Target};

/// Largest body of a request, bytes.
pub const HTTP_BODY_MAX: usize = 64 * 1024;
/// Largest body of an answer that a manifest can grant, KiB.
const RESPONSE_KIB_MAX: u32 = 256;
/// Most headers of a request or an answer, and their bytes together.
pub const HTTP_HEADERS_MAX: usize = 64;
/// Bytes of all headers of a request or an answer together.
pub const HTTP_HEADER_BYTES_MAX: usize = 16 * 1024;
/// Most hosts and most payees of a grant.
const GRANTED_MAX: usize = 64;

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/// Headers that the node sets itself: they say where the request goes, where it ends, and what is paid.
const OWN_HEADERS: [&str; 16] = [
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "keep-alive",
    "expect",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "via",
    "payment-signature",
    "payment-response",
    "x-payment",
];

/// A request of a guest. The guest never sees a key; the node pays for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// `GET`, `HEAD`, `POST`, `PUT`, `PATCH` or `DELETE`.
    pub method: String,
    /// As [`Target::parse`] takes it.
    pub url: String,
    /// In this order.
    pub headers: Vec<(String, String)>,
    /// At most 64 KiB.
    pub body: Vec<u8>,
    /// The most that may be paid for the answer; zero: nothing is ever paid.
    pub max_spend: Amount,
}

/// An answer that came over HTTP, paid or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpResponse {
    /// 100 to 599.
    pub status: u16,
    /// In the order of arrival; names in lower case.
    pub headers: Vec<(String, String)>,
    /// At most what is granted.
    pub body: Vec<u8>,
    /// What was paid for it.
    pub paid: Option<Paid>,
}

/// What was paid over HTTP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// How much.
    pub amount: Amount,
    /// Whom.
    pub payee: Address,
    /// The network that it was paid on, as x402 names it; absent: the node's own.
    pub network: Option<String>,
    /// What the payee's side calls the payment; may be empty.
    pub transaction: String,
    /// Where a receipt is to be had, or its hash, as the payee says.
    pub receipt: Option<String>,
}

/// Whom an agent may ask over HTTP. Paying needs `[grants.wallet]` too, whose budget, `per_call` and expiry hold here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HttpGrant {
    /// 1 to 64 hosts: `"api.example.com"`, `"127.0.0.1:8402"`, `"*.example.com"` (names below it, not itself). Without a
    /// port: 443, and 80 for this machine.
    pub hosts: Vec<String>,
    /// Most OPEN of one request; absent: `per_call` of the wallet.
    #[serde(default, with = "crate::manifest::open::option")]
    #[schemars(with = "Option<String>")]
    pub max_per_call: Option<Amount>,
    /// Accounts that may be paid; empty: whoever answers.
    #[serde(default)]
    pub payees: Vec<Address>,
    /// Largest body of an answer, 1 to 256 KiB.
    #[serde(default = "response_kib")]
    pub response_kib: u32,
}

const fn response_kib() -> u32 {
    64
}

impl HttpGrant {
    /// Checks every bound.
    ///
    /// # Errors
    /// Which bound.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.hosts.is_empty() || self.hosts.len() > GRANTED_MAX || self.payees.len() > GRANTED_MAX {
            return Err("grants.http: 1 to 64 hosts and at most 64 payees".to_owned());
        }
        for host in &self.hosts {
            Pattern::parse(host).map_err(|why| format!("grants.http.hosts: {host:?}: {why}"))?;
        }
        match (1..=RESPONSE_KIB_MAX).contains(&self.response_kib) {
            true => Ok(()),
            false => Err(format!("grants.http.response_kib: 1 to {RESPONSE_KIB_MAX}")),
        }
    }

    /// Largest body of an answer, bytes.
    pub fn response_bytes_max(&self) -> usize {
        self.response_kib as usize * 1_024
    }

    /// Checks a request and whether its host is granted; answers with where it goes.
    ///
    /// # Errors
    /// `agent.bad_request`, `agent.too_large`, and `agent.denied` for a host that is not granted.
    pub fn target(&self, request: &HttpRequest) -> Result<Target, AgentError> {
        let target = request.check()?;
        let granted = self.hosts.iter().filter_map(|host| Pattern::parse(host).ok()).any(|host| host.grants(&target));
        match granted {
            true => Ok(target),
            false => Err(AgentError::new(Code::AgentDenied, format!("grants.http.hosts has no {}", target.host()))),
        }
    }
}

impl HttpRequest {
    /// Checks everything but the grant; answers with where it goes.
    ///
    /// # Errors
    /// `agent.bad_request`, `agent.too_large`.
    pub fn check(&self) -> Result<Target, AgentError> {
        let bad = |what: String| AgentError::new(Code::AgentBadRequest, what);
        if !METHODS.contains(&self.method.as_str()) {
            return Err(bad(format!("the method is one of {}", METHODS.join(", "))));
        }
        let large = |what: &str| AgentError::new(Code::AgentTooLarge, what);
        if self.body.len() > HTTP_BODY_MAX {
            return Err(large("a request's body has at most 65536 bytes"));
        }
        let size: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        if self.headers.len() > HTTP_HEADERS_MAX || size > HTTP_HEADER_BYTES_MAX {
            return Err(large("a request has at most 64 headers, of 16384 bytes together"));
        }
        for (name, value) in &self.headers {
            header(name, value).map_err(|why| bad(format!("the header {name:?}: {why}")))?;
        }
        Target::parse(&self.url).map_err(|why| bad(why.to_owned()))
    }
}

fn header(name: &str, value: &str) -> Result<(), &'static str> {
    let token = |c: u8| c.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&c);
    if name.is_empty() || !name.bytes().all(token) {
        return Err("its name is no word of HTTP");
    }
    let lower = name.to_ascii_lowercase();
    if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("proxy-") {
        return Err("the node sets it");
    }
    match value.bytes().all(|c| c.is_ascii_graphic() || c == b' ' || c == b'\t') {
        true => Ok(()),
        false => Err("its value is visible ASCII, spaces and tabs"),
    }
}
