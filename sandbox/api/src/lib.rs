//! The sandbox port: agents, their manifests and grants, and what a guest may call.
//!
//! An agent is a program without state of its own: it handles one event at a time, and what it wants to remember it
//! writes through [`AgentHost`]. Backends (wasmtime) hang behind [`Sandbox`]; the node's side of every host call is
//! [`AgentHost`].

mod host;
mod http;
mod manifest;
mod program;
mod serve;
mod target;

pub use host::{
    AgentError, AgentHost, Ask, Batch, Budget, Ended, Level, Offer, Pending, QuoteHandle, QuoteTerms, ReceiptView,
    StreamHandle, Turn,
};
pub use http::{HTTP_BODY_MAX, HTTP_HEADER_BYTES_MAX, HTTP_HEADERS_MAX, HttpGrant, HttpRequest, HttpResponse, Paid};
pub use manifest::{Grants, KeyValueGrant, Limits, Manifest, Unlimited, WalletGrant};
pub use program::{Event, Program, Sandbox};
pub use serve::{PaymentScheme, SERVE_BODY_MAX, ServeRequest, ServeResponse, ServeTerms};
pub use target::Target;
