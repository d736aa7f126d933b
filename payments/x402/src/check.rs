//! What a facilitator asks about a payment before it touches the ledger.
//!
//! Two steps, cheap questions first. [`payment`] needs the request and the time: version, scheme, network, the offer
//! that was taken, amounts, windows, signatures. [`Payment::against`] then needs the channels that the payment names.
//! What passes both is a typed value that says what to do on the ledger; the ledger asks everything once more.

mod channel;
mod single;
mod view;

pub use channel::{ClaimPayment, DepositPayment, RefundPayment, VoucherPayment};
pub use single::SinglePayment;
pub use view::ChannelView;

use agora_types::command::Command;
use agora_types::eip712::Network;
use agora_types::key::WalletSignature;
use agora_types::{Address, Amount, ChannelId, Code, Timestamp};
use serde_json::Value;

use crate::reason::{Reason, Refusal};
use crate::scheme::batch::{BatchPayload, SettlePayload};
use crate::wire::{NetworkId, Object, PaymentRequirements, Scheme, VerifyRequest};

/// Name and version of the token's EIP-712 domain.
pub const TOKEN_DOMAIN: (&str, &str) = ("OPEN", "1");
/// How far ahead an authorization may end, in seconds: nonces are remembered that long.
pub const WINDOW_MAX_S: u64 = 3_600;
/// Keys of `extra` that a corrective 402 adds to an offer: a buyer may echo them or not.
pub const DYNAMIC_EXTRA: [&str; 2] = ["channelState", "voucherState"];

/// Whose facilitator this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Where it settles.
    pub network: Network,
    /// The account that it settles with: `upto` permits name it, and claims without a signature are signed by it.
    pub facilitator: Address,
    /// Smallest deposit, as the ledger's parameters say.
    pub deposit_min: Amount,
}

/// Which question the seller asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `POST /verify`.
    Verify,
    /// `POST /settle`.
    Settle,
}

/// A payment that is good as far as it can be known without the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payment {
    /// Reserve it when verified; move its amount when settled.
    Exact(SinglePayment),
    /// Reserve its most when verified; move the settled amount, which may be zero, and release the rest.
    Upto(SinglePayment),
    /// Verified: nothing to do. Settled: submit the deposit.
    Deposit(Box<DepositPayment>),
    /// Nothing to do either way: the seller keeps the voucher.
    Voucher(VoucherPayment),
    /// Verified: nothing to do. Settled: submit the claim, then the refund, linked.
    Refund(Box<RefundPayment>),
    /// Submit the claim.
    Claim(ClaimPayment),
    /// Submit a `Settle` for the receiver.
    Settle(SettlePayload),
}

/// Everything that can be asked without the ledger.
///
/// # Errors
/// [`Refusal`] with the first reason, in the order: scheme, network, offer, payload, words, window, signature.
pub fn payment(terms: &Terms, purpose: Purpose, request: &VerifyRequest, now: Timestamp) -> Result<Payment, Refusal> {
    let requirements = &request.payment_requirements;
    let accepted = &request.payment_payload.accepted;
    if let Scheme::Other(name) = &requirements.scheme {
        return Err(unsupported(name));
    }
    if accepted.scheme != requirements.scheme {
        return Err(Refusal::new(Reason::InvalidScheme, "the payment is of another scheme than the requirements"));
    }
    let ours = NetworkId::Eip155(terms.network.chain_id);
    if requirements.network != ours || accepted.network != ours {
        return Err(Refusal::new(Reason::InvalidNetwork, format!("payments are settled on {ours} only")));
    }
    offer_taken(purpose, accepted, requirements)?;
    if requirements.asset != terms.network.asset {
        let reason = match requirements.scheme {
            Scheme::BatchSettlement => Reason::TokenMismatch,
            Scheme::Exact | Scheme::Upto | Scheme::Other(_) => Reason::InvalidPaymentRequirements,
        };
        return Err(Refusal::new(reason, format!("the asset here is {}", terms.network.asset)));
    }
    token_domain(&requirements.extra)?;
    requirements.payment_flow().map_err(|error| Refusal::new(Reason::InvalidPaymentRequirements, error.to_string()))?;
    let payload = &request.payment_payload.payload;
    match &requirements.scheme {
        Scheme::Exact => single::exact(terms, requirements, payload, now).map(Payment::Exact),
        Scheme::Upto => single::upto(terms, accepted, requirements, payload, now).map(Payment::Upto),
        Scheme::BatchSettlement => channel::batch(terms, purpose, requirements, &BatchPayload::read(payload)?, now),
        Scheme::Other(name) => Err(unsupported(name)),
    }
}

fn unsupported(name: &str) -> Refusal {
    Refusal::new(Reason::UnsupportedScheme, format!("the scheme `{name}` is not settled here"))
}

/// The taken offer is the seller's own. While settling, the amount may be lower where less is charged than was signed.
fn offer_taken(
    purpose: Purpose,
    accepted: &PaymentRequirements,
    requirements: &PaymentRequirements,
) -> Result<(), Refusal> {
    let charged_later = purpose == Purpose::Settle && requirements.scheme != Scheme::Exact;
    match difference(accepted, requirements) {
        None => Ok(()),
        Some("amount") if charged_later && requirements.amount < accepted.amount => {
            let same = PaymentRequirements { amount: accepted.amount, ..requirements.clone() };
            offer_taken(Purpose::Verify, accepted, &same)
        }
        Some("amount") if charged_later && requirements.scheme == Scheme::Upto => {
            let message = "the amount to settle is above the amount that was offered";
            Err(Refusal::new(Reason::UptoSettlementExceedsAmount, message))
        }
        Some(field) => {
            let message = format!("`accepted.{field}` is not what the requirements say");
            Err(Refusal::new(Reason::InvalidPaymentRequirements, message))
        }
    }
}

/// The first field in which a taken offer differs from the seller's own.
pub fn difference(accepted: &PaymentRequirements, own: &PaymentRequirements) -> Option<&'static str> {
    let dynamic = own.scheme == Scheme::BatchSettlement;
    let same_extra = comparable(&accepted.extra, dynamic) == comparable(&own.extra, dynamic);
    [
        ("scheme", accepted.scheme == own.scheme),
        ("network", accepted.network == own.network),
        ("asset", accepted.asset == own.asset),
        ("payTo", accepted.pay_to == own.pay_to),
        ("maxTimeoutSeconds", accepted.max_timeout_seconds == own.max_timeout_seconds),
        ("extra", same_extra),
        // Last, so that "amount" means: nothing but the amount.
        ("amount", accepted.amount == own.amount),
    ]
    .into_iter()
    .find_map(|(field, same)| (!same).then_some(field))
}

/// `extra` without what a correction added, and with addresses in one case: readers that know them write EIP-55 anew.
fn comparable(extra: &Object, dynamic: bool) -> Object {
    let kept = extra.iter().filter(|(key, _)| !dynamic || !DYNAMIC_EXTRA.contains(&key.as_str()));
    let lower = |value: &Value| match value.as_str().and_then(|text| text.parse::<Address>().ok()) {
        Some(address) => Value::String(address.to_string()),
        None => value.clone(),
    };
    kept.map(|(key, value)| (key.clone(), lower(value))).collect()
}

/// Stock channel managers send no domain with claims; an offer that names another domain than ours is wrong.
pub(crate) fn token_domain(extra: &Object) -> Result<(), Refusal> {
    for (key, ours) in [("name", TOKEN_DOMAIN.0), ("version", TOKEN_DOMAIN.1)] {
        if extra.get(key).is_some_and(|value| value.as_str() != Some(ours)) {
            let message = format!("extra.{key} of the token is \"{ours}\"");
            return Err(Refusal::new(Reason::InvalidPaymentRequirements, message));
        }
    }
    Ok(())
}

/// Valid when `after <= now < before`, and not for longer than nonces are remembered.
fn window(after: u64, before: u64, now: Timestamp) -> Result<(), Refusal> {
    let now = now.as_secs();
    if now < after {
        let message = format!("the authorization is valid from {after}; it is {now}");
        return Err(Refusal::new(Reason::AuthorizationValidAfter, message));
    }
    if before <= now {
        let message = format!("the authorization was valid until {before}; it is {now}");
        return Err(Refusal::new(Reason::AuthorizationValidBefore, message));
    }
    if before - now > WINDOW_MAX_S {
        return Err(Refusal::from(Code::AuthorizationTooLate));
    }
    Ok(())
}

impl Payment {
    /// Who pays; the receiver where a seller asks.
    pub fn payer(&self) -> Address {
        match self {
            Self::Exact(one) | Self::Upto(one) => one.authorization.payer(),
            Self::Deposit(one) => one.deposit.config.payer,
            Self::Voucher(one) => one.config.payer,
            Self::Refund(one) => one.config.payer,
            Self::Claim(one) => one.claim.claims.first().map_or(Address::ZERO, |claim| claim.config.payer),
            Self::Settle(one) => one.receiver,
        }
    }

    /// The channels that [`Payment::against`] will ask for.
    pub fn channels(&self, network: &Network) -> Vec<ChannelId> {
        match self {
            Self::Exact(_) | Self::Upto(_) | Self::Settle(_) => Vec::new(),
            Self::Deposit(one) => vec![one.voucher.channel_id],
            Self::Voucher(one) => vec![one.voucher.channel_id],
            Self::Refund(one) => vec![one.voucher.channel_id],
            Self::Claim(one) => one.claim.claims.iter().map(|claim| claim.config.id(network)).collect(),
        }
    }

    /// The channel commands to submit when this is settled, in order and linked; without a signature, the
    /// facilitator signs. Single payments and `Settle` are not here: they need a head of the facilitator's own.
    pub fn commands(&self) -> Vec<(Command, Option<WalletSignature>)> {
        match self {
            Self::Exact(_) | Self::Upto(_) | Self::Voucher(_) | Self::Settle(_) => Vec::new(),
            Self::Deposit(one) => vec![(Command::Deposit(one.deposit.clone()), Some(one.signature))],
            Self::Claim(one) => vec![(Command::Claim(one.claim.clone()), one.signature)],
            Self::Refund(one) => {
                let Some(words) = &one.seller else { return Vec::new() };
                let claim = words.claim.iter().map(|(claim, signature)| (Command::Claim(claim.clone()), *signature));
                claim.chain([(Command::Refund(words.refund.clone()), words.signature)]).collect()
            }
        }
    }
}
