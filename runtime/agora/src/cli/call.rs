//! `agora call`: one request over HTTP, paid with the user's own key if the answer costs something.
//!
//! The key never leaves the command: it signs single payments only, writes them down under the network's folder, and asks
//! the node what became of them. See decision 0020.

mod ledger;
mod notebook;

use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;

use agora_actors::CallError;
use agora_actors::clock::{Clock as _, random};
use agora_actors::fetch::{HttpAnswer, PaidFetch as _, Reply, SpendLimits};
use agora_actors::pay::spend::{Consent, PaidClient, Patience, SpendParts};
use agora_actors::purchase::Payer;
use agora_client::HttpClient;
use agora_sandbox_api::{HttpRequest, Paid};
use agora_shell::output::{Document, Style};
use agora_shell::{Failure, Outcome, files, text};
use agora_types::{Address, Amount, CallId, Code};
use agora_x402::header;
use agora_x402::wire::{PaymentRequired, PaymentRequirements, Resource, Scheme};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::Call;
use super::context::Context;
use super::documents::safe_lines;
use super::keys::Keys;
use crate::control::Service;
use crate::node::System;
use ledger::RemoteLedger;
use notebook::Notebook;

/// Largest body of an answer that is read, bytes.
const BODY_MAX: usize = 8 << 20;
/// Largest file that is sent.
const DATA_MAX: usize = agora_sandbox_api::HTTP_BODY_MAX;
/// Under the network's folder: what was signed.
const FOLDER: &str = "calls";

/// A payment, as the ledger says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Payment {
    /// How much.
    pub amount: Amount,
    /// Whom.
    pub payee: Address,
    /// What the payee's side calls it.
    pub transaction: String,
    /// Where a receipt is, as the payee says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}

/// An answer over HTTP, and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Answer {
    /// The call's id: given again with `--id`, it pays nothing twice.
    #[schemars(with = "String")]
    pub id: CallId,
    /// What was asked.
    pub url: String,
    /// HTTP status.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, where it is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The body, where it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// What was paid; absent for nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paid: Option<Payment>,
    /// The body's bytes.
    #[serde(skip)]
    pub body: Vec<u8>,
}

impl Document for Answer {
    const TYPE: &'static str = "agora/http-answer/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        // Other programs get the bytes, a terminal nothing that steers it.
        if !io::stdout().is_terminal() {
            return out.write_all(&self.body);
        }
        writeln!(out, "{}", safe_lines(&String::from_utf8_lossy(&self.body)))
    }
}

/// What is sent, once it is known to be well formed.
#[derive(Debug)]
pub struct Asking {
    id: CallId,
    request: HttpRequest,
    limits: SpendLimits,
}

fn bad(error: agora_sandbox_api::AgentError) -> Failure {
    Failure::new(error.code, error.what)
}

/// What is wrong with a call before anybody is asked.
///
/// # Errors
/// `node.bad_config`, `agent.bad_request`, `agent.too_large`, `node.file_not_found`, `node.io`.
pub fn prepare(context: &Context, call: &Call) -> Outcome<Asking> {
    let id = match &call.id {
        Some(text) => text.parse().map_err(|error: agora_types::HexError| Failure::usage(format!("--id: {error}")))?,
        None => CallId::ordered(System.now(), random(&System)),
    };
    let body = match call.data.as_deref().map(|data| data.strip_prefix('@').ok_or(data)) {
        None => Vec::new(),
        Some(Err(text)) => text.as_bytes().to_vec(),
        Some(Ok(path)) => {
            let path = std::path::Path::new(path);
            let bytes = files::read_bounded(files::open(path)?, path, DATA_MAX)?;
            bytes.ok_or_else(|| Failure::new(Code::AgentTooLarge, format!("{}: over 64 KiB", path.display())))?
        }
    };
    let pair = |text: &String| {
        let (name, value) =
            text.split_once(':').ok_or_else(|| Failure::usage(format!("--header {text:?}: write NAME:VALUE")))?;
        Ok((name.trim().to_owned(), value.trim().to_owned()))
    };
    let headers = call.headers.iter().map(pair).collect::<Outcome<Vec<_>>>()?;
    let usual = if call.data.is_some() { "POST" } else { "GET" };
    let method = call.method.clone().unwrap_or_else(|| usual.to_owned()).to_ascii_uppercase();
    let max = context.settings.max_spend.value.0;
    let request = HttpRequest { method, url: call.url.clone(), headers, body, max_spend: max };
    let target = request.check().map_err(bad)?;
    Ok(Asking { id, request, limits: SpendLimits { max, payees: Vec::new(), body_bytes_max: BODY_MAX, target } })
}

/// `agora call`. The second part is why the command fails although there is an answer.
///
/// # Errors
/// `keystore.*`; `call.no_answer`; `ledger.exceeds_credits`; `agent.too_large`; `payment.uncertain` with the id to repeat.
pub async fn call(
    context: &Context,
    service: Arc<dyn Service>,
    asking: Asking,
    call: &Call,
) -> Outcome<(Answer, Option<Failure>)> {
    let key = Arc::new(Keys::of(context)?.open(&call.paying.from)?);
    let payer = Payer { account: Arc::clone(&key), session: key };
    let client = client(context, service, call)?;
    let Asking { id, request, limits } = asking;
    let answered = client.fetch(&payer, id, &request, &limits).await;
    let HttpAnswer { paid, reply } = answered.map_err(|error| failure(id, error))?;
    if let Some(paid) = &paid {
        context.printer.note(&paid_note(paid));
    }
    let Reply { status, headers, body } = reply.map_err(|error| failure(id, error))?;
    let unpaid = (status == 402 && paid.is_none()).then(|| unpaid(&headers, limits.max));
    let text = std::str::from_utf8(&body).ok().map(str::to_owned);
    let base64 = text.is_none().then(|| STANDARD.encode(&body));
    let paid =
        paid.map(|Paid { amount, payee, transaction, receipt, .. }| Payment { amount, payee, transaction, receipt });
    let failed = unpaid.or_else(|| bad_status(status));
    Ok((Answer { id, url: limits.target.url(), status, headers, text, base64, paid, body }, failed))
}

fn client(context: &Context, service: Arc<dyn Service>, call: &Call) -> Outcome<PaidClient> {
    let http = HttpClient::new().map_err(|error| Failure::new(Code::NodeIo, error.to_string()))?;
    let (asking, said) = (context.clone(), call.paying.yes || call.paying.max_spend.is_some());
    let consent: Consent = Arc::new(move |offer: &PaymentRequirements, resource: &Resource| {
        let price = price(offer, resource);
        asking.printer.note(&price);
        // A limit that was typed is the consent.
        let agreed = asking.confirm(&format!("{price}: pay?"), said);
        agreed.map_err(|failure| CallError::new(failure.code, failure.what))
    });
    Ok(PaidClient::new(SpendParts {
        http: Arc::new(http),
        ledger: Arc::new(RemoteLedger { service, genesis: context.genesis()? }),
        journal: Arc::new(Notebook::at(context.folder()?.join(FOLDER))?),
        clock: Arc::new(System),
        random: Arc::new(System),
        // No channel: what a command deposits, nobody would bring back.
        schemes: vec![Scheme::Exact, Scheme::Upto],
        patience: Patience::default(),
        consent: Some(consent),
    }))
}

fn price(offer: &PaymentRequirements, resource: &Resource) -> String {
    let most = match offer.scheme {
        Scheme::Exact => "",
        Scheme::Upto | Scheme::BatchSettlement | Scheme::Other(_) => "at most ",
    };
    let what = text::plain(&resource.url);
    format!("{what} costs {most}{} OPEN, paid to {}", offer.amount, offer.pay_to)
}

fn paid_note(paid: &Paid) -> String {
    let receipt = paid.receipt.as_ref().map(|receipt| format!(", receipt {}", text::plain(receipt)));
    let transaction = text::plain(&paid.transaction);
    format!("paid {} OPEN to {}, transaction {transaction}{}", paid.amount, paid.payee, receipt.unwrap_or_default())
}

fn failure(id: CallId, error: CallError) -> Failure {
    let (doubt, failure) = (error.is_fault(), Failure::new(error.code, format!("call {id}: {}", error.what)));
    if doubt {
        return failure.advise(format!("repeat the same call with --id {id}: it never pays twice"));
    }
    failure
}

/// Why nothing was paid, as far as the offers tell.
fn unpaid(headers: &[(String, String)], max: Amount) -> Failure {
    let values = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(header::PAYMENT_REQUIRED));
    let Ok(required) = header::decode::<PaymentRequired>(values.map(|(_, value)| value)) else {
        return Failure::new(Code::SpendLimit, "the answer is 402, and its offer cannot be read; nothing was paid");
    };
    let known: Vec<_> = required.accepts.iter().filter_map(|accept| accept.known()).collect();
    let offers: Vec<String> = known
        .iter()
        .take(4)
        .map(|one| format!("{} of {} on {} to {}", one.amount, one.asset, one.network, one.pay_to))
        .collect();
    let why = required.error.map(|why| format!(" ({})", text::plain(&why))).unwrap_or_default();
    let what = format!("no offer fits a limit of {max} OPEN{why}: {}; nothing was paid", offers.join(", "));
    Failure::new(Code::SpendLimit, what).advise("raise --max-spend if the price is above it; else see what is offered")
}

/// The failure that a status stands for; its exit code says which kind.
fn bad_status(status: u16) -> Option<Failure> {
    let code = match status {
        0..=399 => return None,
        401 | 403 => Code::AgentDenied,
        402 => Code::SpendLimit,
        404 | 410 => Code::FileMissing,
        408 | 425 | 429 | 500..=599 => Code::CallNoAnswer,
        400..=499 | 600.. => Code::AgentBadRequest,
    };
    Some(Failure::new(code, format!("the server answered {status}")))
}
