//! Sell answers over HTTP. The manifest says on which terms, in `[serve]`.

use crate::{Agent, Error};

pub use crate::seller_bindings::agora::agent::service::{Request, Response};

/// An agent that sells its work.
pub trait Seller: Agent {
    /// Answers one paid request; a status of 400 and above is not charged. The same request again, after a crash, brings
    /// the same id.
    ///
    /// # Errors
    /// Whatever the agent says; the request is not charged.
    fn serve(request: Request) -> Result<Response, Error>;
}

impl Response {
    /// An answer of this status and media type.
    pub fn new(status: u16, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self { status, content_type: content_type.to_owned(), body: body.into() }
    }
}
