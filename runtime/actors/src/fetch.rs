//! Paying over HTTP: what agents need of a client that answers 402 by itself. The client hangs behind [`PaidFetch`].

use agora_sandbox_api::{HttpRequest, Paid, Target};
use agora_types::{Address, Amount, CallId, Timestamp};

use crate::error::CallError;
use crate::purchase::{Payer, Pending};

/// What a fetch may cost and bring, and where it may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpendLimits {
    /// The most that may be paid; zero: a 402 is an answer like others.
    pub max: Amount,
    /// Accounts that may be paid; empty: any.
    pub payees: Vec<Address>,
    /// Largest body of the answer, bytes. More is not read.
    pub body_bytes_max: usize,
    /// Where the request goes, checked: its `url` is what is sent, and its `may_reach` is asked of every address before a
    /// connection is made to it.
    pub target: Target,
}

/// What came of a fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// What was paid in the end, whether or not there is an answer.
    pub paid: Option<Paid>,
    /// The answer; or why there is none: `agent.too_large` for a body over the limit, or whatever broke after paying.
    pub reply: Result<Reply, CallError>,
}

/// An answer without its payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// 100 to 599.
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// At most [`SpendLimits::body_bytes_max`].
    pub body: Vec<u8>,
}

/// What comes back from channels with sellers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Withdrawn {
    /// Came back now, to the payer's account.
    pub back: Amount,
    /// Comes back later.
    pub waiting: Amount,
    /// When all of it can be had.
    pub until: Option<Timestamp>,
}

/// Sends requests over HTTP and pays for their answers. Callable from many tasks.
///
/// A fetch is known by payer and id. The caller has made id and request durable before it asks, and repeats the same
/// fetch with the same id after a crash on either side; whoever implements this writes down what it signed before it
/// sends it. Time limits are the implementer's; dropping a future abandons the wait, not what was paid.
///
/// Redirects are answers and not followed: their targets were never granted.
pub trait PaidFetch: Send + Sync {
    /// Sends the request, pays what the server asks for within the limits, and answers once the payment's end is known.
    /// Never pays twice under one id, and never more than `limits.max`, whatever is repeated and whatever a server says.
    /// A server that asks for more is answered by not paying: its 402 is the reply.
    ///
    /// # Errors
    /// An error for which [`CallError::is_fault`] holds: it is not known whether something was paid; the same fetch may be
    /// repeated. Any other: nothing was paid under this id, and nothing will be.
    fn fetch<'a>(
        &'a self,
        payer: &'a Payer,
        id: CallId,
        request: &'a HttpRequest,
        limits: &'a SpendLimits,
    ) -> Pending<'a, HttpAnswer>;

    /// Gives a fetch up, durably: nothing more is paid under this id, also when it is fetched again, which is refused from
    /// now on. Answers with what was paid; nothing for an id that is not known. May be repeated.
    ///
    /// # Errors
    /// Faults: what was paid is not known yet; ask again later. Until then the caller counts the maximum.
    fn give_up<'a>(&'a self, payer: &'a Payer, id: CallId) -> Pending<'a, Option<Paid>>;

    /// Takes back what lies in the payer's channels with sellers: a withdrawal is begun on each, and ended where the
    /// channel's delay is over. To be repeated until nothing waits. Sellers may claim meanwhile what they have vouchers for,
    /// and nothing is paid out of these channels until their withdrawals have ended.
    ///
    /// # Errors
    /// Faults; what was begun stays begun.
    fn withdraw<'a>(&'a self, payer: &'a Payer) -> Pending<'a, Withdrawn>;
}
