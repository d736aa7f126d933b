//! A sold request and its answer, as they stand in the row of their event.

use agora_sandbox_api::{ServeRequest, ServeResponse};
use agora_types::{Address, Amount, Canonical, Hash};
use minicbor::{Decode, Encode};

/// The kind of event that carries a sold request. Nobody can tell an agent an event of this kind.
pub const SERVE: &str = "serve";

/// What is asked, `agora/agent-request/v1`: the content of an event of kind [`SERVE`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RequestRow {
    /// Chosen by whoever asks.
    #[n(0)]
    pub id: String,
    /// Who pays, where somebody does.
    #[n(1)]
    pub payer: Option<Address>,
    /// What was authorised.
    #[n(2)]
    pub price_paid: Amount,
    /// In capitals.
    #[n(3)]
    pub method: String,
    /// Begins with `/`.
    #[n(4)]
    pub path: String,
    /// After the `?`.
    #[n(5)]
    pub query: String,
    /// The body's media type.
    #[n(6)]
    pub content_type: String,
    /// At most 64 KiB.
    #[cbor(n(7), with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

/// What is answered, `agora/agent-response/v1`: the answer of an event of kind [`SERVE`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ResponseRow {
    /// 200 to 599.
    #[n(0)]
    pub status: u16,
    /// The body's media type.
    #[n(1)]
    pub content_type: String,
    /// At most 64 KiB.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

impl Canonical for RequestRow {
    const TAG: &'static str = "agora/agent-request/v1";
    const SIZE_MAX: usize = 72 * 1024;
}

impl Canonical for ResponseRow {
    const TAG: &'static str = "agora/agent-response/v1";
    const SIZE_MAX: usize = 66 * 1024;
}

impl From<ServeRequest> for RequestRow {
    fn from(request: ServeRequest) -> Self {
        let ServeRequest { id, payer, price_paid, method, path, query, content_type, body } = request;
        Self { id, payer, price_paid, method, path, query, content_type, body }
    }
}

impl From<RequestRow> for ServeRequest {
    fn from(row: RequestRow) -> Self {
        let RequestRow { id, payer, price_paid, method, path, query, content_type, body } = row;
        Self { id, payer, price_paid, method, path, query, content_type, body }
    }
}

impl From<ServeResponse> for ResponseRow {
    fn from(response: ServeResponse) -> Self {
        let ServeResponse { status, content_type, body } = response;
        Self { status, content_type, body }
    }
}

impl From<ResponseRow> for ServeResponse {
    fn from(row: ResponseRow) -> Self {
        let ResponseRow { status, content_type, body } = row;
        Self { status, content_type, body }
    }
}

/// The event of a request's id: `s` and 64 hex digits, so that it is never taken for another event's.
pub(crate) fn event_of(id: &str) -> String {
    format!("s{}", hex::encode(Hash::sha256(id).as_bytes()))
}
