//! Single payments: `exact` and `upto`.

use agora_types::authorization::Authorization;
use agora_types::command::{Head, Hold};
use agora_types::key::WalletSignature;
use agora_types::{Amount, Timestamp};

use super::{Terms, window};
use crate::reason::{Reason, Refusal};
use crate::scheme::exact::ExactPayload;
use crate::scheme::upto::UptoPayload;
use crate::wire::{Object, PaymentRequirements};

/// A single payment that its payer signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SinglePayment {
    /// What the payer signed. The payment's key is `(payer, key())`, never the signature.
    pub authorization: Authorization,
    /// By the payer; checked.
    pub signature: WalletSignature,
    /// What is to move: all of it for `exact`, the settled amount for `upto`.
    pub amount: Amount,
}

impl SinglePayment {
    /// The command that reserves it.
    pub fn hold(&self, head: Head, timeout_s: u32) -> Hold {
        Hold { head, authorization: self.authorization.clone(), signature: self.signature, timeout_s }
    }

    fn checked(
        terms: &Terms,
        (authorization, signature): (Authorization, WalletSignature),
        requirements: &PaymentRequirements,
        now: Timestamp,
    ) -> Result<Self, Refusal> {
        if authorization.payee() != requirements.pay_to {
            let message = format!("it pays {}, not {}", authorization.payee(), requirements.pay_to);
            return Err(Refusal::new(Reason::RecipientMismatch, message));
        }
        let (after, before) = authorization.window();
        window(after, before, now)?;
        authorization.verify(&terms.network, &signature).map_err(|_| {
            let message =
                "the signature is not the payer's over these words on this network (65 bytes, low s, v 27 or 28)";
            Refusal::new(Reason::Signature, message)
        })?;
        Ok(Self { authorization, signature, amount: requirements.amount })
    }
}

pub(super) fn exact(
    terms: &Terms,
    requirements: &PaymentRequirements,
    payload: &Object,
    now: Timestamp,
) -> Result<SinglePayment, Refusal> {
    let words = ExactPayload::read(payload)?.words()?;
    if words.0.max() != requirements.amount {
        let message = format!("it is worth {} atoms, not {}", words.0.max().atoms(), requirements.amount.atoms());
        return Err(Refusal::new(Reason::AuthorizationValueMismatch, message));
    }
    SinglePayment::checked(terms, words, requirements, now)
}

pub(super) fn upto(
    terms: &Terms,
    accepted: &PaymentRequirements,
    requirements: &PaymentRequirements,
    payload: &Object,
    now: Timestamp,
) -> Result<SinglePayment, Refusal> {
    let extra = requirements
        .upto_extra()
        .map_err(|error| Refusal::new(Reason::InvalidPaymentRequirements, error.to_string()))?;
    let payload = UptoPayload::read(payload)?;
    for named in [extra.facilitator_address, payload.permit2_authorization.witness.facilitator] {
        if named != terms.facilitator {
            let message = format!("the facilitator here is {}, not {named}", terms.facilitator);
            return Err(Refusal::new(Reason::UptoFacilitatorMismatch, message));
        }
    }
    let words = payload.words(&terms.network)?;
    // What is settled is at most what was accepted (`offer_taken`), so this bounds it too.
    if words.0.max() < accepted.amount {
        let message = format!("it permits {} atoms, not {}", words.0.max().atoms(), accepted.amount.atoms());
        return Err(Refusal::new(Reason::AuthorizationValueMismatch, message));
    }
    SinglePayment::checked(terms, words, requirements, now)
}
