//! One mapping of everything that goes wrong to HTTP: a status, a stable code, the error document.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, RETRY_AFTER};
use actix_web::{HttpResponse, HttpResponseBuilder};
use agora_economy::ports::pay::Trouble;
use agora_types::Code;
use agora_x402::wire::WireError;
use agora_x402::{Reason, Refusal};

/// Which form an answer takes that is not what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// JSON documents of ours and of x402.
    Document,
    /// The same, but a person reads it: an offer is a page.
    Page,
    /// OpenAI's error object, for its clients.
    OpenAi,
}

/// A request that is not answered as asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// HTTP status.
    pub(crate) status: u16,
    /// Stable code.
    pub(crate) code: Code,
    /// For people.
    pub(crate) message: String,
    /// Seconds until another try makes sense.
    pub(crate) retry_after_s: Option<u32>,
    /// x402's own word for it.
    pub(crate) reason: Option<Reason>,
    /// The field of the request that is wrong.
    pub(crate) param: Option<&'static str>,
}

impl Failure {
    /// With the code's usual status.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::with(code.http_status(), code, message)
    }

    /// Where HTTP has a better status than the code's usual one.
    pub(crate) fn with(status: u16, code: Code, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after_s: None, reason: None, param: None }
    }

    /// With the field that is wrong.
    pub(crate) fn at(self, param: &'static str) -> Self {
        Self { param: Some(param), ..self }
    }

    /// With the time of another try.
    pub(crate) fn retry(self, seconds: u32) -> Self {
        Self { retry_after_s: Some(seconds), ..self }
    }

    /// A refusal of x402's rules; `usual` is the code where the reason is not one of ours.
    pub(crate) fn refusal(status: u16, refusal: &Refusal, usual: Code) -> Self {
        let code = code_of(refusal.reason).unwrap_or(usual);
        Self { reason: Some(refusal.reason), ..Self::with(status, code, refusal.message.clone()) }
    }

    /// As an answer.
    pub(crate) fn answer(&self, style: Style) -> HttpResponse {
        let document = match style {
            Style::Document | Style::Page => self.document(),
            Style::OpenAi => self.openai(),
        };
        self.builder().content_type("application/json").body(document.to_string())
    }

    fn builder(&self) -> HttpResponseBuilder {
        let mut answer = HttpResponse::build(status(self.status));
        answer.insert_header((CACHE_CONTROL, "no-store"));
        if let Some(seconds) = self.retry_after_s {
            answer.insert_header((RETRY_AFTER, seconds.to_string()));
        }
        answer
    }

    fn document(&self) -> serde_json::Value {
        let mut document = serde_json::json!({
            "$type": "agora/error/v1",
            "code": self.code.text(),
            "number": self.code.number(),
            "message": self.message,
            "hint": self.code.meaning(),
        });
        if let Some(reason) = self.reason {
            document["reason"] = reason.to_string().into();
        }
        document
    }

    /// OpenAI's error object, whose code is ours.
    pub(crate) fn openai(&self) -> serde_json::Value {
        let kind = match self.status {
            401 => "authentication_error",
            402 => "payment_required",
            403 => "permission_error",
            409 => "conflict_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            ..=499 => "invalid_request_error",
        };
        serde_json::json!({"error": {
            "message": self.message, "type": kind, "param": self.param, "code": self.code.text(),
        }})
    }
}

impl From<&Trouble> for Failure {
    fn from(trouble: &Trouble) -> Self {
        let failure = Self::new(trouble.code, trouble.what.clone());
        Self { retry_after_s: trouble.retry_after_s, ..failure }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Self::from(&trouble)
    }
}

/// Of a header or body that is no document of x402.
pub(crate) fn malformed(what: &str, error: &WireError) -> Failure {
    let code = match error {
        WireError::TooLarge { .. } => Code::WireTooLarge,
        WireError::Version => Code::WireUnsupported,
        WireError::Missing | WireError::Repeated | WireError::Base64 | WireError::Json(_) | WireError::Shape { .. } => {
            Code::WireMalformed
        }
    };
    Failure::new(code, format!("{what}: {error}"))
}

/// A status from its number; what is none becomes 500.
pub(crate) fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Our code for a reason: several codes may share a text, the first is the one, save for money that is too little.
pub(crate) fn code_of(reason: Reason) -> Option<Code> {
    match reason {
        Reason::Agora(code) => return Some(code),
        Reason::InsufficientFunds => return Some(Code::ExceedsCredits),
        _ => {}
    }
    let text = reason.to_string();
    Code::ALL.iter().copied().find(|code| code.x402() == Some(text.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_has_the_status_of_its_code_and_says_when_to_come_back() {
        for code in Code::ALL {
            let trouble = Trouble { retry_after_s: Some(7), ..Trouble::new(*code, "something") };
            let answer = Failure::from(&trouble).answer(Style::Document);
            assert_eq!(answer.status().as_u16(), code.http_status(), "{code}");
            assert_eq!(answer.headers().get(RETRY_AFTER).unwrap(), "7");
            assert_eq!(answer.headers().get(CACHE_CONTROL).unwrap(), "no-store");
        }
    }

    #[test]
    fn a_reason_of_the_protocol_finds_our_code() {
        let busy = Refusal::new(Reason::ChannelBusy, "wait");
        assert_eq!(Failure::refusal(409, &busy, Code::CallInProgress).code, Code::ChannelBusy);
        assert_eq!(code_of(Reason::InsufficientFunds), Some(Code::ExceedsCredits));
        let other = Refusal::new(Reason::UnexpectedVerifyError, "?");
        assert_eq!(Failure::refusal(409, &other, Code::CallInProgress).code, Code::CallInProgress);
    }
}
