//! Paying over HTTP 402 as a web server sees it: facilitators, tills before priced routes, and what a node sells.
//!
//! The server knows HTTP and nothing of money; these traits know x402's documents and nothing of sockets. Answers that
//! the protocol has (a refusal, a 402) are values; [`Trouble`] is for everything else.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;

use agora_inference_api::{Likelihoods, Request};
use agora_types::{Address, Amount, CallId, Code, Hash, Usage};
use agora_x402::Refusal;
use agora_x402::seller::Offers;
use agora_x402::wire::{
    DiscoveryPage, NetworkId, PaymentPayload, PaymentRequired, SettleRequest, SettleResponse, Supported, VerifyRequest,
    VerifyResponse,
};

/// Why a question has no answer of the protocol: the stable code, words for people, and when to try again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {what}; {}", .code.meaning())]
pub struct Trouble {
    /// The stable code.
    pub code: Code,
    /// What it is about.
    pub what: String,
    /// Seconds until another try makes sense.
    pub retry_after_s: Option<u32>,
}

impl Piece {
    /// More text, of whose likelihood nobody asks.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into(), likelihoods: None }
    }
}

impl Trouble {
    /// A trouble with its code and what it is about.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), retry_after_s: None }
    }
}

/// An answer that is still on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Trouble>> + Send + 'a>>;

/// Who asks a facilitator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caller {
    /// The seller's token, out of `Authorization: Bearer`.
    pub token: Option<String>,
}

/// What a seller or an auditor may ask about a single payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PaymentStatus {
    /// Nothing is known; it was never held here, or its hold ended unpaid and is forgotten.
    Unknown,
    /// Reserved.
    Held {
        /// The most that may move.
        max: Amount,
        /// It ends by itself, unix seconds.
        until_s: u64,
    },
    /// Released unpaid.
    Released,
    /// Money moved.
    Settled {
        /// What moved.
        amount: Amount,
        /// To whom.
        payee: Address,
        /// Its id on the ledger.
        transaction: String,
    },
}

/// What to look for in a facilitator's catalogue. Texts are compared whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiscoveryQuery {
    /// `http` or `mcp`.
    pub kind: Option<String>,
    /// Who is paid.
    pub pay_to: Option<Address>,
    /// The scheme's name.
    pub scheme: Option<String>,
    /// The network.
    pub network: Option<NetworkId>,
    /// Most items.
    pub limit: Option<u32>,
    /// Items to pass over.
    pub offset: u32,
}

/// Settles payments for sellers. Callable from many tasks; every question may be repeated.
pub trait Facilitator: Send + Sync {
    /// Is the payment good, and is it reserved for this seller from now on?
    fn verify<'a>(&'a self, caller: &'a Caller, request: &'a VerifyRequest) -> Pending<'a, VerifyResponse>;

    /// Moves the money; success only once it is durable.
    fn settle<'a>(&'a self, caller: &'a Caller, request: &'a SettleRequest) -> Pending<'a, SettleResponse>;

    /// What it settles.
    fn supported(&self) -> Supported;

    /// What became of a single payment. `permit2` tells an `upto` nonce from an `exact` one.
    fn payment(&self, payer: Address, nonce: Hash, permit2: bool) -> Pending<'_, PaymentStatus>;

    /// What is for sale, as the sellers themselves signed it.
    fn resources<'a>(&'a self, query: &'a DiscoveryQuery) -> Pending<'a, DiscoveryPage>;
}

/// A request for something priced, as far as its payment is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PricedRequest {
    /// `GET`, `POST`, …
    pub method: String,
    /// The resource's absolute URL with its query; payments name it.
    pub url: String,
    /// SHA-256 of the body.
    pub body: Hash,
}

/// What a till makes of a payment.
pub enum Admission<T> {
    /// Reserved for this request alone: do the work.
    Serve(T),
    /// This very payment and request were answered before: the same answer, nothing is charged.
    Answered(Box<Answered>),
    /// A refund was asked for and made; there is nothing to serve.
    Refunded(Box<SettleResponse>),
    /// 409: this payment's request is being answered.
    Busy(Refusal),
    /// 409: this payment is for another request.
    Conflict(Refusal),
    /// 402: the payment is refused, or there is none.
    Refused(Box<PaymentRequired>),
}

/// An answer that is kept for a repeat of its request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// HTTP status.
    pub status: u16,
    /// Its type.
    pub content_type: String,
    /// At most [`KEPT_BODY_MAX`] bytes.
    pub body: Vec<u8>,
}

/// Longest body that is kept for a repeat.
pub const KEPT_BODY_MAX: usize = 256 * 1024;

/// A kept answer and what its request cost. Without the body (too long, or a stream) a repeat learns only the latter.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// The answer.
    pub kept: Option<Kept>,
    /// What the first answer's `PAYMENT-RESPONSE` said.
    pub response: SettleResponse,
    /// The first answer's receipt, where it has one.
    pub receipt: Option<ReceiptRef>,
}

/// Takes payments for priced routes. Callable from many tasks.
pub trait Till: Send + Sync {
    /// What the request costs, in every way that is taken.
    fn offers<'a>(&'a self, request: &'a PricedRequest) -> Pending<'a, Offers>;

    /// Judges a payment and reserves it for this request. At most one of many equal payments is served.
    fn admit<'a>(
        &'a self,
        request: &'a PricedRequest,
        payment: &'a PaymentPayload,
    ) -> Pending<'a, Admission<Box<dyn Ticket>>>;
}

/// A reserved payment. Dropped without [`Ticket::settle`], it is released as by [`Ticket::cancel`], at the latest when
/// its hold ends.
pub trait Ticket: Send {
    /// Who pays.
    fn payer(&self) -> Address;

    /// The most that may be charged.
    fn max(&self) -> Amount;

    /// `PAYMENT-RESPONSE` for a stream, to be sent before its body: where a voucher is signed already, the whole amount
    /// counts as charged, and what is not used becomes credit of the channel. `None` where money still has to move.
    fn announced(&self) -> Option<SettleResponse>;

    /// The work is done, its last byte not sent: charges, and keeps the answer for a repeat.
    ///
    /// A failure leaves it unknown whether money moved; the same payment may be sent again to learn it.
    fn settle(self: Box<Self>, charge: Amount, kept: Option<Kept>) -> Pending<'static, SettleResponse>;

    /// The work failed: nothing is charged.
    fn cancel(self: Box<Self>) -> Pending<'static, ()>;
}

/// A model that is sold here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelCard {
    /// The listing's name, what OpenAI clients put into `model`.
    pub id: String,
    /// Unix seconds.
    pub created_s: u64,
    /// The listing's owner.
    pub owned_by: String,
    /// One line.
    pub title: String,
    /// Atoms per input token.
    pub input: Amount,
    /// Atoms per output token.
    pub output: Amount,
    /// Most tokens of prompt and answer.
    pub context_max: u64,
    /// Most tokens of an answer.
    pub output_max: u64,
}

/// How a completion is paid.
#[derive(Debug, Clone, PartialEq)]
pub enum Means {
    /// Not yet: the answer is the offers.
    Nothing,
    /// HTTP 402.
    Payment(Box<PaymentPayload>),
    /// An API key with a prepaid budget.
    Key(String),
}

/// A receipt in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiptRef {
    /// Its leaf hash in the receipt log.
    pub leaf: Hash,
    /// The payer's id of the call.
    pub call: CallId,
    /// Who paid.
    pub payer: Address,
    /// What it cost.
    pub charge: Amount,
    /// The salt that opens its commitments, for the buyer alone.
    pub salt: [u8; 16],
}

/// What arrives of a completion.
#[derive(Debug, Clone, PartialEq)]
pub enum Piece {
    /// More text.
    Text {
        /// What can be shown now; it may be empty.
        text: String,
        /// How likely its token was, where the request asks for it.
        likelihoods: Option<Box<Likelihoods>>,
    },
    /// The end.
    End(Box<Ended>),
}

/// The end of a completion.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// What was delivered.
    pub usage: Usage,
    /// True when the answer was cut by its token limit.
    pub is_cut: bool,
    /// The receipt of the call.
    pub receipt: ReceiptRef,
    /// `PAYMENT-RESPONSE`, for a payment over HTTP 402.
    pub response: Option<SettleResponse>,
}

/// A completion on its way. Dropped before its end, it is stopped: what was delivered is charged, nothing else.
pub trait Completion: Send {
    /// As [`Ticket::announced`].
    fn announced(&self) -> Option<SettleResponse>;

    /// The call.
    fn call(&self) -> CallId;

    /// True where the call ended before, and its answer is said again: nothing is charged for it.
    fn replayed(&self) -> bool {
        false
    }

    /// Waits for more. After [`Piece::End`] and after a failure there is nothing more.
    fn next(&mut self) -> Pending<'_, Piece>;

    /// After [`Piece::End`]: the whole answer as it is sent, for a repeat of the same payment. What does not keep answers
    /// leaves this as it is.
    fn keep(&mut self, _answer: Kept) -> Pending<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// Sells completions of models. Callable from many tasks.
pub trait Models: Send + Sync {
    /// What is sold.
    fn models(&self) -> Pending<'_, Vec<ModelCard>>;

    /// For a request that asks a model for nothing, as clients send before they ask for a refund: what the dearest call
    /// costs, or the refund. `model` may be left out where the payment says it, or only one is sold.
    fn probe<'a>(
        &'a self,
        model: Option<&'a str>,
        request: &'a PricedRequest,
        payment: Option<&'a PaymentPayload>,
    ) -> Pending<'a, Admission<Infallible>>;

    /// Opens a completion of a model for a request. `stream` asks for [`Completion::announced`].
    fn open<'a>(
        &'a self,
        model: &'a str,
        ask: &'a Request,
        request: &'a PricedRequest,
        means: &'a Means,
        stream: bool,
    ) -> Pending<'a, Admission<Box<dyn Completion>>>;
}

/// A request to an agent that sells its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Work {
    /// The agent's name.
    pub agent: String,
    /// `GET`, `POST`, …
    pub method: String,
    /// What follows the agent's name in the path, beginning with `/`.
    pub path: String,
    /// Without the question mark.
    pub query: String,
    /// Of the body.
    pub content_type: String,
    /// The body.
    pub body: Vec<u8>,
}

/// An agent's answer, paid.
#[derive(Debug, Clone, PartialEq)]
pub struct Done {
    /// The answer.
    pub answer: Kept,
    /// What it cost; nothing for free work and for an agent's own refusal.
    pub response: Option<SettleResponse>,
    /// Its service receipt.
    pub receipt: Option<ReceiptRef>,
}

/// Agents that sell their work. Callable from many tasks.
pub trait Workers: Send + Sync {
    /// The bounds of a request to an agent: bytes of its body, seconds until it is answered.
    fn bounds<'a>(&'a self, agent: &'a str) -> Pending<'a, (usize, u32)>;

    /// Takes the payment, has the agent answer, settles, and answers; or says what it costs.
    fn call<'a>(
        &'a self,
        work: &'a Work,
        request: &'a PricedRequest,
        payment: Option<&'a PaymentPayload>,
    ) -> Pending<'a, Admission<Done>>;
}
