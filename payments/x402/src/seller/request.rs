//! One payment, one request: what a seller does when it meets a payment again.

use agora_types::{Address, Amount, ChannelId, Hash, QuoteId};

use crate::check::Payment;
use crate::reason::{Reason, Refusal};

/// What names a payment in a seller's records: words that its payer signed, never the signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PaymentKey {
    /// A single payment: payer and nonce.
    Single(Address, Hash),
    /// A voucher: channel and cumulative amount. The channel's record keeps order among them.
    Voucher(ChannelId, Amount),
}

impl PaymentKey {
    /// Of a payment; `None` for what buys nothing.
    pub fn of(payment: &Payment) -> Option<Self> {
        match payment {
            Payment::Exact(one) | Payment::Upto(one) => {
                Some(Self::Single(one.authorization.payer(), one.authorization.key()))
            }
            Payment::Deposit(one) => Some(Self::Voucher(one.voucher.channel_id, one.voucher.max_claimable)),
            Payment::Voucher(one) => Some(Self::Voucher(one.voucher.channel_id, one.voucher.max_claimable)),
            Payment::Refund(_) | Payment::Claim(_) | Payment::Settle(_) => None,
        }
    }
}

/// What one request is: method, URL with its query, and the SHA-256 of its body.
///
/// Stock clients choose their nonces themselves, so this is kept beside the payment's key: the same payment with
/// another method, URL or body is another request.
pub fn fingerprint(method: &str, url: &str, body: &Hash) -> Hash {
    let mut stream = Hash::stream();
    stream.piece("agora/x402-request/v1");
    stream.piece(method);
    stream.piece(url);
    stream.piece(body.as_bytes());
    stream.finish()
}

/// A nonce that says what it was signed for: buyers of ours choose it so, and can show it with `random`.
pub fn bound_nonce(quote: &QuoteId, fingerprint: &Hash, random: &[u8; 32]) -> Hash {
    Hash::keccak256([quote.as_bytes().as_slice(), fingerprint.as_bytes(), random].concat())
}

/// How far the request of a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// It is being answered.
    InFlight,
    /// It was answered, and the answer is kept.
    Answered,
    /// It was not answered and not charged.
    Voided,
}

/// A payment in a seller's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// How far.
    pub progress: Progress,
    /// Of the request that it came with first.
    pub fingerprint: Hash,
}

/// What to do with a request and its payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Reserve the payment and handle the request.
    Serve,
    /// 409: the same request is being answered; ask again later.
    Busy,
    /// The answer that was given before.
    Cached,
    /// 409: the payment was sent with another request.
    Refuse(Refusal),
}

/// The table. The record is read and written in one step with this, or two requests are served for one payment.
pub fn decide(seen: Option<&Seen>, fingerprint: &Hash) -> Decision {
    let Some(seen) = seen else { return Decision::Serve };
    match (seen.progress, seen.fingerprint == *fingerprint) {
        (Progress::InFlight, true) => Decision::Busy,
        (Progress::Answered, true) => Decision::Cached,
        // Nothing was charged, and the hold is gone: the same request may try again with the same payment.
        (Progress::Voided, true) => Decision::Serve,
        (Progress::InFlight | Progress::Answered | Progress::Voided, false) => Decision::Refuse(Refusal::new(
            Reason::NonceAlreadyUsed,
            "this payment was sent with another request; sign a new one",
        )),
    }
}

impl Decision {
    /// The HTTP status, where it is an answer already.
    pub const fn http_status(&self) -> Option<u16> {
        match self {
            Self::Serve | Self::Cached => None,
            Self::Busy | Self::Refuse(_) => Some(409),
        }
    }
}
