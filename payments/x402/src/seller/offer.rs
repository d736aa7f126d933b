//! Offers of a resource, and the payment that takes one.

use agora_types::eip712::Network;
use agora_types::{Address, Amount};

use super::ChannelRecord;
use crate::check::{TOKEN_DOMAIN, difference};
use crate::reason::{Reason, Refusal};
use crate::wire::{
    BatchExtra, ExactExtra, NetworkId, Object, PaymentPayload, PaymentRequired, PaymentRequirements, Resource, Scheme,
    UptoExtra, Version,
};

/// What a resource costs, in every way that its seller takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Offers {
    /// What is sold; its URL is what payments name.
    pub resource: Resource,
    /// The seller's favourite first; at least one, at most 32.
    pub accepts: Vec<PaymentRequirements>,
    /// By name.
    pub extensions: Object,
}

impl Offers {
    /// The answer 402, with the reason when a payment was refused.
    pub fn required(&self, refused: Option<&Refusal>) -> PaymentRequired {
        PaymentRequired {
            x402_version: Version,
            error: refused.map(|refusal| refusal.reason.to_string()),
            resource: self.resource.clone(),
            accepts: self.accepts.iter().cloned().map(Into::into).collect(),
            extensions: self.extensions.clone(),
        }
    }

    /// The 402 from which a buyer learns the channel's state: with the two corrective reasons only, because a stock
    /// client adopts it then and tries again.
    pub fn corrective(&self, refusal: &Refusal, record: &ChannelRecord, network: &Network) -> PaymentRequired {
        if !refusal.reason.is_corrective() {
            return self.required(Some(refusal));
        }
        let accepts = self.accepts.iter().map(|own| match (&own.scheme, own.batch_extra()) {
            (Scheme::BatchSettlement, Ok(extra)) => {
                let extra = BatchExtra {
                    channel_state: Some(record.state(network)),
                    voucher_state: record.voucher_state(),
                    ..extra
                };
                // Unknown keys of the offer stay: the buyer echoes all of them.
                let mut kept = own.extra.clone();
                kept.extend(extra.to_object());
                PaymentRequirements { extra: kept, ..own.clone() }
            }
            (Scheme::Exact | Scheme::Upto | Scheme::BatchSettlement | Scheme::Other(_), Ok(_) | Err(_)) => own.clone(),
        });
        PaymentRequired { accepts: accepts.map(Into::into).collect(), ..self.required(Some(refusal)) }
    }

    /// The own offer that a payment takes.
    ///
    /// # Errors
    /// `invalid_payment_requirements` when it takes none, field by field; `invalid_payload` when it names another
    /// resource: a signature for one URL must not buy another.
    pub fn taken(&self, payment: &PaymentPayload) -> Result<&PaymentRequirements, Refusal> {
        if let Some(resource) = &payment.resource
            && resource.url != self.resource.url
        {
            let message = format!("the payment is for {}, not for {}", resource.url, self.resource.url);
            return Err(Refusal::new(Reason::InvalidPayload, message));
        }
        let mut nearest = None;
        for own in &self.accepts {
            match difference(&payment.accepted, own) {
                None => return Ok(own),
                Some(field) => nearest = nearest.or((own.scheme == payment.accepted.scheme).then_some(field)),
            }
        }
        let message = match nearest {
            Some(field) => format!("`accepted.{field}` is not what is offered; take an offer as it stands"),
            None => format!("the scheme {} is not offered", payment.accepted.scheme),
        };
        Err(Refusal::new(Reason::InvalidPaymentRequirements, message))
    }
}

fn offer(scheme: Scheme, network: &Network, pay_to: Address, amount: Amount, timeout_s: u64) -> PaymentRequirements {
    PaymentRequirements {
        scheme,
        network: NetworkId::Eip155(network.chain_id),
        amount,
        asset: network.asset,
        pay_to,
        max_timeout_seconds: timeout_s,
        extra: domain().to_object(),
    }
}

fn domain() -> ExactExtra {
    ExactExtra { name: TOKEN_DOMAIN.0.to_owned(), version: TOKEN_DOMAIN.1.to_owned() }
}

/// One payment of exactly `amount`.
pub fn exact_offer(network: &Network, pay_to: Address, amount: Amount, timeout_s: u64) -> PaymentRequirements {
    offer(Scheme::Exact, network, pay_to, amount, timeout_s)
}

/// One payment of at most `amount`, settled by `facilitator`.
pub fn upto_offer(
    network: &Network,
    pay_to: Address,
    amount: Amount,
    timeout_s: u64,
    facilitator: Address,
) -> PaymentRequirements {
    let mut offer = offer(Scheme::Upto, network, pay_to, amount, timeout_s);
    offer.extra.extend(UptoExtra { facilitator_address: facilitator }.to_object());
    offer
}

/// Payments out of a channel of at most `amount` a request.
pub fn batch_offer(
    network: &Network,
    pay_to: Address,
    amount: Amount,
    timeout_s: u64,
    receiver_authorizer: Address,
    withdraw_delay: u32,
    min_deposit: Option<Amount>,
) -> PaymentRequirements {
    let mut offer = offer(Scheme::BatchSettlement, network, pay_to, amount, timeout_s);
    let ExactExtra { name, version } = domain();
    let extra = BatchExtra {
        receiver_authorizer,
        withdraw_delay,
        name,
        version,
        asset_transfer_method: None,
        min_deposit,
        channel_state: None,
        voucher_state: None,
    };
    offer.extra.extend(extra.to_object());
    offer
}
