//! An agent that fetches what a URL has, and pays for it when the server asks for money.
//!
//! The event `message` carries a URL as plain text, or JSON
//! `{"url": "…", "text": "what to POST", "pay_at_most": "10000000000000000"}` with the amount in atoms. Without an amount
//! it pays what its budget allows for one call.

use agora_sdk::{Agent, Amount, Error, Event, http, log, wallet};
use serde::{Deserialize, Serialize};

struct Courier;

impl Agent for Courier {
    fn handle(event: Event) -> Result<Vec<u8>, Error> {
        log::panics();
        match event.kind.as_str() {
            "message" => {
                let told = fetch(&errand(&event.payload)?)?;
                serde_json::to_vec(&told).map_err(|error| Error::new("courier.json", error.to_string()))
            }
            // Nothing to prepare, and no timer is asked for.
            _ => Ok(Vec::new()),
        }
    }
}

agora_sdk::export!(Courier);

/// What is asked.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Errand {
    url: String,
    /// Posted, when there is one.
    text: Option<String>,
    /// Atoms.
    pay_at_most: Option<String>,
}

/// What is told.
#[derive(Debug, Serialize)]
struct Told {
    status: u16,
    content_type: String,
    /// The answer as text; bytes that are none are replaced.
    text: String,
    /// Atoms, as decimal text.
    paid: String,
    /// Whom.
    #[serde(skip_serializing_if = "Option::is_none")]
    payee: Option<String>,
    /// What the seller says of a receipt.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
}

fn errand(payload: &[u8]) -> Result<Errand, Error> {
    let bad = |why: &str| Error::new("courier.bad_errand", why);
    let text = core::str::from_utf8(payload).map_err(|_| bad("the errand is not UTF-8"))?.trim();
    match text.starts_with('{') {
        true => serde_json::from_str(text).map_err(|error| bad(&error.to_string())),
        false => Ok(Errand { url: text.to_owned(), text: None, pay_at_most: None }),
    }
}

fn fetch(errand: &Errand) -> Result<Told, Error> {
    let most = match &errand.pay_at_most {
        Some(atoms) => atoms.parse()?,
        None => wallet::budget()?.next_call(),
    };
    let request = match &errand.text {
        Some(text) => http::Request::post(&errand.url, "text/plain; charset=utf-8", text.as_bytes()),
        None => http::Request::get(&errand.url),
    };
    let answer = request.pay_at_most(most).send()?;
    let paid = answer.paid.as_ref();
    let charge = paid.map_or_else(|| Amount::default().to_string(), |paid| paid.amount.clone());
    log::info(&format!("{} answered {} for {charge} atoms", errand.url, answer.status));
    let content_type = answer.headers.iter().find(|(name, _)| name == "content-type");
    Ok(Told {
        status: answer.status,
        content_type: content_type.map(|(_, value)| value.clone()).unwrap_or_default(),
        payee: paid.map(|paid| paid.payee.clone()),
        receipt: paid.and_then(|paid| paid.receipt.clone()),
        paid: charge,
        text: String::from_utf8_lossy(&answer.body).into_owned(),
    })
}
