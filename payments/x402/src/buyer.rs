//! The rules of a buyer: which offer to take, what to sign, and when to stop signing.
//!
//! [`Policy::choose`] picks one offer out of a 402. [`pay_exact`] and [`pay_upto`] sign single payments;
//! [`BuyerChannel`] signs vouchers and believes an answer only as far as its own record and its own signatures reach.
//! The caller keeps the record durable before a payment leaves.

mod answer;
mod channel;
mod pay;
mod policy;

pub use answer::{Answer, StopSigning};
pub use channel::{BuyerChannel, CORRECTIONS_MAX, ChannelKeys, DEPOSIT_MULTIPLE, Draw, Fresh, Sent};
pub use pay::{PaymentContext, pay_exact, pay_upto};
pub use policy::{Policy, PolicyError, Unwanted};
