//! Selling: what an agent is asked for money, what it answers, and on which terms.

use agora_types::{Address, Amount, Code};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::AgentError;

/// Largest body of a request that is served, and of its answer, bytes.
pub const SERVE_BODY_MAX: usize = 64 * 1024;
/// Longest id, method, path, query and media type, bytes.
const ID_SIZE_MAX: usize = 128;
const METHOD_SIZE_MAX: usize = 16;
const PATH_SIZE_MAX: usize = 1_024;
const QUERY_SIZE_MAX: usize = 2_048;
const MIME_SIZE_MAX: usize = 128;
/// Longest description of what is sold, bytes.
const DESCRIPTION_SIZE_MAX: usize = 512;

/// One paid request to an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeRequest {
    /// Whoever asks chooses it; the same id again is the same request. 1 to 128 of visible ASCII.
    pub id: String,
    /// Who pays; absent when the request is free or the payer is not known.
    pub payer: Option<Address>,
    /// What was authorised for it.
    pub price_paid: Amount,
    /// In capitals.
    pub method: String,
    /// Below the agent's own address; begins with `/`.
    pub path: String,
    /// After the `?`; may be empty.
    pub query: String,
    /// The body's media type; may be empty.
    pub content_type: String,
    /// At most 64 KiB, and what `serve.input_kib` allows.
    pub body: Vec<u8>,
}

/// What an agent answers to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServeResponse {
    /// 200 to 599.
    pub status: u16,
    /// The body's media type; may be empty.
    pub content_type: String,
    /// At most 64 KiB.
    pub body: Vec<u8>,
}

/// `[serve]`: what an agent sells, to whom it may concern.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServeTerms {
    /// OPEN for one request (`"0.002"`); `"0"`: free.
    #[serde(with = "crate::manifest::open")]
    #[schemars(with = "String")]
    pub price: Amount,
    /// What a buyer gets, in a sentence or two; at most 512 bytes.
    pub description: String,
    /// Media type of the answers.
    #[serde(default = "mime_type")]
    pub mime_type: String,
    /// Time of one request with everything it waits for, 1 to 600 s.
    #[serde(default = "timeout_s")]
    pub timeout_s: u32,
    /// Largest body of a request, 1 to 64 KiB.
    #[serde(default = "input_kib")]
    pub input_kib: u32,
    /// How a buyer may pay; each once.
    #[serde(default = "schemes")]
    pub schemes: Vec<PaymentScheme>,
}

/// A payment scheme of x402.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PaymentScheme {
    /// The price, by one signed transfer.
    Exact,
    /// At most the price, by a signed permit.
    Upto,
    /// Vouchers on a channel.
    BatchSettlement,
}

impl PaymentScheme {
    /// Its name in x402.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Upto => "upto",
            Self::BatchSettlement => "batch-settlement",
        }
    }
}

fn mime_type() -> String {
    "application/json".to_owned()
}

const fn timeout_s() -> u32 {
    60
}

const fn input_kib() -> u32 {
    64
}

fn schemes() -> Vec<PaymentScheme> {
    vec![PaymentScheme::Exact, PaymentScheme::Upto, PaymentScheme::BatchSettlement]
}

impl ServeTerms {
    /// Checks every bound.
    ///
    /// # Errors
    /// Which bound.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.description.trim().is_empty() || self.description.len() > DESCRIPTION_SIZE_MAX {
            return Err(format!("serve.description: 1 to {DESCRIPTION_SIZE_MAX} bytes"));
        }
        if self.mime_type.is_empty() || !is_header_value(&self.mime_type, MIME_SIZE_MAX) {
            return Err(format!("serve.mime_type: a media type of at most {MIME_SIZE_MAX} bytes"));
        }
        if !(1..=600).contains(&self.timeout_s) {
            return Err("serve.timeout_s: 1 to 600".to_owned());
        }
        if !(1..=64).contains(&self.input_kib) {
            return Err("serve.input_kib: 1 to 64".to_owned());
        }
        let twice = (1..self.schemes.len()).any(|end| self.schemes[..end].contains(&self.schemes[end]));
        match self.schemes.is_empty() || twice {
            true => Err("serve.schemes: exact, upto, batch-settlement, each at most once".to_owned()),
            false => Ok(()),
        }
    }

    /// Largest body of a request, bytes.
    pub fn input_bytes_max(&self) -> usize {
        self.input_kib as usize * 1_024
    }
}

impl ServeRequest {
    /// Checks every bound but the manifest's own.
    ///
    /// # Errors
    /// `agent.bad_request`, `agent.too_large`.
    pub fn check(&self) -> Result<(), AgentError> {
        let bad = |what: &str| Err(AgentError::new(Code::AgentBadRequest, what));
        let graphic = |text: &str, max: usize| text.len() <= max && text.bytes().all(|c| c.is_ascii_graphic());
        if self.id.is_empty() || !graphic(&self.id, ID_SIZE_MAX) {
            return bad("an id has 1 to 128 bytes of visible ASCII");
        }
        let capitals = self.method.bytes().all(|c| c.is_ascii_uppercase());
        if self.method.is_empty() || self.method.len() > METHOD_SIZE_MAX || !capitals {
            return bad("a method has 1 to 16 capitals");
        }
        if !self.path.starts_with('/') || !graphic(&self.path, PATH_SIZE_MAX) || !graphic(&self.query, QUERY_SIZE_MAX) {
            return bad("a path begins with / and has at most 1024 bytes, a query 2048, of visible ASCII");
        }
        if !is_header_value(&self.content_type, MIME_SIZE_MAX) {
            return bad("a media type has at most 128 bytes of visible ASCII and spaces");
        }
        match self.body.len() > SERVE_BODY_MAX {
            true => Err(AgentError::new(Code::AgentTooLarge, format!("a body has at most {SERVE_BODY_MAX} bytes"))),
            false => Ok(()),
        }
    }
}

impl ServeResponse {
    /// Checks what a guest answered.
    ///
    /// # Errors
    /// `agent.failed` for an answer that is none, `agent.too_large`.
    pub fn check(&self) -> Result<(), AgentError> {
        if !(200..=599).contains(&self.status) {
            return Err(AgentError::new(Code::AgentFailed, format!("it answered with status {}", self.status)));
        }
        if !is_header_value(&self.content_type, MIME_SIZE_MAX) {
            return Err(AgentError::new(Code::AgentFailed, "its media type is no header's value of at most 128 bytes"));
        }
        match self.body.len() > SERVE_BODY_MAX {
            true => Err(AgentError::new(Code::AgentTooLarge, format!("an answer has at most {SERVE_BODY_MAX} bytes"))),
            false => Ok(()),
        }
    }
}

/// It may stand in a header: whatever is written there must not begin another.
fn is_header_value(text: &str, max: usize) -> bool {
    text.len() <= max && text.bytes().all(|c| c.is_ascii_graphic() || c == b' ')
}
