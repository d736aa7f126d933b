//! Single payments, signed.

use agora_types::authorization::{Exact, Upto};
use agora_types::eip712::Network;
use agora_types::key::WalletKey;
use agora_types::{Hash, Timestamp};

use crate::check::WINDOW_MAX_S;
use crate::scheme::exact::ExactPayload;
use crate::scheme::upto::UptoPayload;
use crate::wire::{Object, PaymentPayload, PaymentRequired, PaymentRequirements, Version, WireError};

/// How much earlier than now an authorization begins, in seconds: clocks differ.
const CLOCK_SKEW_S: u64 = 600;

/// What a payment answers.
#[derive(Debug, Clone, Copy)]
pub struct PaymentContext<'a> {
    /// The network of the chosen offer.
    pub network: &'a Network,
    /// The 402; its resource and extensions are echoed.
    pub required: &'a PaymentRequired,
    /// The chosen offer of it.
    pub offer: &'a PaymentRequirements,
    /// The buyer's clock.
    pub now: Timestamp,
}

impl PaymentContext<'_> {
    /// First and last-but-one valid second.
    pub(super) fn window(&self) -> (u64, u64) {
        let now = self.now.as_secs();
        let length = self.offer.max_timeout_seconds.min(WINDOW_MAX_S);
        (now.saturating_sub(CLOCK_SKEW_S), now.saturating_add(length))
    }

    pub(super) fn payment(&self, payload: Object) -> PaymentPayload {
        PaymentPayload {
            x402_version: Version,
            resource: Some(self.required.resource.clone()),
            accepted: self.offer.clone(),
            payload,
            extensions: self.required.extensions.clone(),
        }
    }
}

/// Signs an `exact` payment; `nonce` is 32 random bytes, or a [`crate::seller::bound_nonce`].
pub fn pay_exact(context: &PaymentContext<'_>, key: &WalletKey, nonce: Hash) -> PaymentPayload {
    let (valid_after, valid_before) = context.window();
    let words = Exact {
        from: key.address(),
        to: context.offer.pay_to,
        value: context.offer.amount,
        valid_after,
        valid_before,
        nonce,
    };
    context.payment(ExactPayload::sign(context.network, words, key).to_object())
}

/// Signs an `upto` payment; `nonce` is 32 random bytes.
///
/// # Errors
/// [`WireError`] when the offer names no facilitator.
pub fn pay_upto(context: &PaymentContext<'_>, key: &WalletKey, nonce: Hash) -> Result<PaymentPayload, WireError> {
    let (valid_after, deadline) = context.window();
    let words = Upto {
        from: key.address(),
        to: context.offer.pay_to,
        max: context.offer.amount,
        facilitator: context.offer.upto_extra()?.facilitator_address,
        valid_after,
        deadline,
        nonce,
    };
    Ok(context.payment(UptoPayload::sign(context.network, words, key).to_object()))
}
