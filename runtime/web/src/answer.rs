//! What goes back over the wire: one JSON document, or one line of JSON after another.

use std::pin::Pin;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Bytes;
use agora_types::Code;
use futures::{Stream, StreamExt as _};

/// Lines of JSON, each with its line break. Pulled as fast as the reader reads.
pub type Lines = Pin<Box<dyn Stream<Item = Vec<u8>> + Send>>;

/// One answer.
pub enum Answer {
    /// A JSON document.
    Whole {
        /// The HTTP status.
        status: u16,
        /// Its bytes.
        json: Vec<u8>,
    },
    /// Status 200, then `application/x-ndjson`.
    Lines(Lines),
}

impl Answer {
    pub(crate) fn into_response(self) -> HttpResponse {
        match self {
            Self::Whole { status, json } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                HttpResponse::build(status).content_type("application/json").body(json)
            }
            Self::Lines(lines) => {
                let bytes = lines.map(|line| Ok::<_, actix_web::Error>(Bytes::from(line)));
                HttpResponse::Ok().content_type("application/x-ndjson").streaming(bytes)
            }
        }
    }
}

/// An answer that refuses: the error document of a code, as every command prints it.
pub fn refusal(code: Code, message: &str) -> Answer {
    refusal_with(code.http_status(), code, message)
}

/// The same where HTTP has a better status than the code's usual one.
pub(crate) fn refusal_with(status: u16, code: Code, message: &str) -> Answer {
    let document = serde_json::json!({
        "$type": "agora/error/v1",
        "code": code.text(),
        "number": code.number(),
        "message": message,
        "hint": code.meaning(),
    });
    Answer::Whole { status, json: document.to_string().into_bytes() }
}
