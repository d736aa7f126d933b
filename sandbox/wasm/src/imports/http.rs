//! Requests over HTTP: checked before the host sees them, and their answers before the guest does.

use agora_sandbox_api::{AgentError, HttpRequest, HttpResponse, Paid};
use agora_types::{Amount, Code};

use super::atoms;
use crate::bindings::agora::agent::http;
use crate::failure::{Refusal, bounded, within};
use crate::guest::Guest;

/// Digits of the largest amount.
const AMOUNT_MAX: usize = 39;

impl http::Host for Guest {
    async fn fetch(&mut self, request: http::Request) -> Result<http::Response, Refusal> {
        self.begin_call()?;
        let grant = self.http.as_ref().ok_or_else(|| AgentError::new(Code::AgentDenied, "http"))?;
        within("an amount, digits", request.max_spend.len(), AMOUNT_MAX)?;
        let max_spend = Amount::from_atoms_text(&request.max_spend)
            .map_err(|error| AgentError::new(Code::AgentBadRequest, format!("max-spend: {error}")))?;
        let request = HttpRequest {
            method: request.method,
            url: request.url,
            headers: request.headers,
            body: request.body,
            max_spend,
        };
        grant.target(&request).map_err(|error| AgentError { what: bounded(&error.what), ..error })?;
        let body_max = grant.response_bytes_max();
        let response = self.host.fetch(&request).await?;
        within("an answer's body, bytes", response.body.len(), body_max)?;
        Ok(translated(response))
    }
}

fn translated(response: HttpResponse) -> http::Response {
    let paid = |paid: Paid| http::Paid {
        amount: atoms(paid.amount),
        payee: paid.payee.to_string(),
        network: paid.network,
        transaction: paid.transaction,
        receipt: paid.receipt,
    };
    let HttpResponse { status, headers, body, paid: payment } = response;
    http::Response { status, headers, body, paid: payment.map(paid) }
}
