//! The rules of a seller: which payment is for which request, and how far a channel may be charged.
//!
//! The seller asks in this order. [`Offers::taken`]: is it one of my offers, and for this resource?
//! [`decide`]: have I seen this payment, and for which request? Then the facilitator reserves it, the handler
//! answers, and the facilitator settles. Channels are kept as [`ChannelRecord`]s: one request at a time each.

mod channel;
mod offer;
mod request;

pub use channel::{ChannelRecord, Charged, InFlight, RefundPlan};
pub use offer::{Offers, batch_offer, exact_offer, upto_offer};
pub use request::{Decision, PaymentKey, Progress, Seen, bound_nonce, decide, fingerprint};
