//! Channel payments, as far as they can be judged without the channel.

use agora_types::channel::{ChannelConfig, Voucher, WITHDRAW_DELAY_MAX_S, WITHDRAW_DELAY_MIN_S};
use agora_types::command::{Claim, Command, Deposit};
use agora_types::eip712::{Network, command_digest};
use agora_types::key::WalletSignature;
use agora_types::{Address, Amount, Code, Timestamp};

use super::{Payment, Purpose, Terms, window};
use crate::reason::{Reason, Refusal};
use crate::scheme::batch::{
    BatchPayload, ClaimPayload, DepositPayload, RefundPayload, RefundWords, SettlePayload, VoucherFields,
};
use crate::wire::PaymentRequirements;

/// A deposit with the voucher that pays for this request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DepositPayment {
    /// The command.
    pub deposit: Deposit,
    /// By the payer; checked.
    pub signature: WalletSignature,
    /// By the payer's authorizer; checked.
    pub voucher: Voucher,
}

/// A voucher on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoucherPayment {
    /// The channel.
    pub config: ChannelConfig,
    /// By the payer's authorizer; checked.
    pub voucher: Voucher,
}

/// A refund, as a buyer asks for it or as a seller settles it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundPayment {
    /// The channel.
    pub config: ChannelConfig,
    /// By the payer's authorizer; checked.
    pub voucher: Voucher,
    /// Atoms that are asked for; absent: all that is left.
    pub amount: Option<Amount>,
    /// What the seller added; its signatures are checked.
    pub seller: Option<RefundWords>,
}

/// A batch of claims.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPayment {
    /// The command; its vouchers are checked.
    pub claim: Claim,
    /// By the receivers' authorizer; checked. Absent: the facilitator is that authorizer and signs.
    pub signature: Option<WalletSignature>,
}

pub(super) fn batch(
    terms: &Terms,
    purpose: Purpose,
    requirements: &PaymentRequirements,
    payload: &BatchPayload,
    now: Timestamp,
) -> Result<Payment, Refusal> {
    match (purpose, payload) {
        (Purpose::Verify | Purpose::Settle, BatchPayload::Deposit(payload)) => {
            deposit(terms, requirements, payload, now).map(|one| Payment::Deposit(Box::new(one)))
        }
        (Purpose::Verify | Purpose::Settle, BatchPayload::Voucher(payload)) => {
            let voucher = voucher(terms, requirements, &payload.channel_config, &payload.voucher, Whose::Buyer)?;
            Ok(Payment::Voucher(VoucherPayment { config: payload.channel_config.clone(), voucher }))
        }
        (Purpose::Verify | Purpose::Settle, BatchPayload::Refund(payload)) => {
            refund(terms, purpose, requirements, payload).map(|one| Payment::Refund(Box::new(one)))
        }
        (Purpose::Settle, BatchPayload::Claim(payload)) => claim(terms, requirements, payload).map(Payment::Claim),
        (Purpose::Settle, BatchPayload::Settle(payload)) => settle(terms, requirements, payload),
        (Purpose::Verify, BatchPayload::Claim(_) | BatchPayload::Settle(_)) => {
            Err(Refusal::new(Reason::PayloadType, "claims and settlements are settled, not verified"))
        }
    }
}

/// Who wrote the payload: a buyer took an offer with all of `extra`; stock sellers send an empty one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Buyer,
    Seller,
}

/// The channel is one that the offer allows.
fn config_fits(
    terms: &Terms,
    requirements: &PaymentRequirements,
    config: &ChannelConfig,
    whose: Whose,
) -> Result<(), Refusal> {
    if config.token != terms.network.asset {
        return Err(Refusal::from(Code::TokenMismatch));
    }
    if config.receiver != requirements.pay_to {
        let message = format!("the channel pays {}, not {}", config.receiver, requirements.pay_to);
        return Err(Refusal::new(Reason::ReceiverMismatch, message));
    }
    if config.receiver_authorizer == Address::ZERO {
        return Err(Refusal::new(Reason::ReceiverAuthorizerMismatch, "a channel names a receiver's authorizer"));
    }
    if whose == Whose::Buyer {
        let extra = requirements
            .batch_extra()
            .map_err(|error| Refusal::new(Reason::InvalidPaymentRequirements, error.to_string()))?;
        if extra.asset_transfer_method.as_ref().is_some_and(|method| method != "eip3009") {
            return Err(Refusal::new(Reason::Erc3009AuthorizationRequired, "deposits are EIP-3009 here"));
        }
        if config.receiver_authorizer != extra.receiver_authorizer {
            let message = format!("the receiver's authorizer is {}", extra.receiver_authorizer);
            return Err(Refusal::new(Reason::ReceiverAuthorizerMismatch, message));
        }
        if config.withdraw_delay != extra.withdraw_delay {
            let message = format!("the withdraw delay is {} seconds", extra.withdraw_delay);
            return Err(Refusal::new(Reason::WithdrawDelayMismatch, message));
        }
    }
    if !(WITHDRAW_DELAY_MIN_S..=WITHDRAW_DELAY_MAX_S).contains(&config.withdraw_delay) {
        return Err(Refusal::from(Code::DelayRange));
    }
    Ok(())
}

fn voucher(
    terms: &Terms,
    requirements: &PaymentRequirements,
    config: &ChannelConfig,
    fields: &VoucherFields,
    whose: Whose,
) -> Result<Voucher, Refusal> {
    config_fits(terms, requirements, config, whose)?;
    if config.id(&terms.network) != fields.channel_id {
        return Err(Refusal::from(Code::ChannelIdMismatch));
    }
    let voucher = fields.words()?;
    voucher.verify(&terms.network, &config.payer_authorizer).map_err(|_| Refusal::from(Code::VoucherSignature))?;
    Ok(voucher)
}

fn deposit(
    terms: &Terms,
    requirements: &PaymentRequirements,
    payload: &DepositPayload,
    now: Timestamp,
) -> Result<DepositPayment, Refusal> {
    let (deposit, signature) = payload.words()?;
    if deposit.amount < terms.deposit_min || deposit.amount.is_zero() {
        return Err(Refusal::from(Code::DepositBelowMin));
    }
    window(deposit.valid_after, deposit.valid_before, now)?;
    let voucher = voucher(terms, requirements, &deposit.config, &payload.voucher, Whose::Buyer)?;
    let digest = command_digest(&terms.network, &Command::Deposit(deposit.clone()));
    signature.verify(&digest, &deposit.config.payer).map_err(|_| {
        let message = "the deposit is not signed by the channel's payer for this network";
        Refusal::new(Reason::ReceiveAuthorizationSignature, message)
    })?;
    Ok(DepositPayment { deposit, signature, voucher })
}

fn refund(
    terms: &Terms,
    purpose: Purpose,
    requirements: &PaymentRequirements,
    payload: &RefundPayload,
) -> Result<RefundPayment, Refusal> {
    let seller = payload.words()?;
    let whose = match (purpose, &seller) {
        (Purpose::Verify | Purpose::Settle, None) => Whose::Buyer,
        (Purpose::Verify | Purpose::Settle, Some(_)) => Whose::Seller,
    };
    if purpose == Purpose::Settle && seller.is_none() {
        let message = "to settle a refund, the seller adds amount, refundNonce and claims";
        return Err(Refusal::new(Reason::RefundPayload, message));
    }
    let config = &payload.channel_config;
    let voucher = voucher(terms, requirements, config, &payload.voucher, whose)?;
    if let Some(words) = &seller {
        let digest = command_digest(&terms.network, &Command::Refund(words.refund.clone()));
        authorized(terms, words.signature.as_ref(), &digest, &config.receiver_authorizer)?;
        if let Some((claim, signature)) = &words.claim {
            if claim.claims.iter().any(|one| one.config != *config) {
                return Err(Refusal::new(Reason::RefundPayload, "a refund claims from its own channel only"));
            }
            claims_fit(&terms.network, claim)?;
            let digest = command_digest(&terms.network, &Command::Claim(claim.clone()));
            authorized(terms, signature.as_ref(), &digest, &config.receiver_authorizer)?;
        }
    }
    Ok(RefundPayment { config: config.clone(), voucher, amount: payload.amount, seller })
}

fn claim(terms: &Terms, requirements: &PaymentRequirements, payload: &ClaimPayload) -> Result<ClaimPayment, Refusal> {
    let (claim, signature) = payload.words()?;
    for one in &claim.claims {
        config_fits(terms, requirements, &one.config, Whose::Seller)?;
    }
    let authorizer = claim.claims.first().map_or(Address::ZERO, |one| one.config.receiver_authorizer);
    if claim.claims.iter().any(|one| one.config.receiver_authorizer != authorizer) {
        return Err(Refusal::from(Code::AuthorizerMismatch));
    }
    let digest = command_digest(&terms.network, &Command::Claim(claim.clone()));
    authorized(terms, signature.as_ref(), &digest, &authorizer)?;
    claims_fit(&terms.network, &claim)?;
    Ok(ClaimPayment { claim, signature })
}

/// The receiver's authorizer signed; without a signature it is the facilitator itself.
///
/// Whoever may post to `/settle` cannot claim or refund for a seller that keeps its own key.
fn authorized(
    terms: &Terms,
    signature: Option<&WalletSignature>,
    digest: &agora_types::Hash,
    authorizer: &Address,
) -> Result<(), Refusal> {
    let signed = match signature {
        Some(signature) => signature.verify(digest, authorizer).is_ok(),
        None => *authorizer == terms.facilitator,
    };
    if signed {
        return Ok(());
    }
    let message = format!("{authorizer}, the receiver's authorizer, did not sign this");
    Err(Refusal::new(Reason::AuthorizerAddressMismatch, message))
}

fn claims_fit(network: &Network, claim: &Claim) -> Result<(), Refusal> {
    for one in &claim.claims {
        if one.total_claimed > one.max_claimable {
            return Err(Refusal::from(Code::ChargeExceedsVoucher));
        }
        let voucher = Voucher {
            channel_id: one.config.id(network),
            max_claimable: one.max_claimable,
            signature: one.voucher_signature,
        };
        voucher.verify(network, &one.config.payer_authorizer).map_err(|_| Refusal::from(Code::VoucherSignature))?;
    }
    Ok(())
}

fn settle(terms: &Terms, requirements: &PaymentRequirements, payload: &SettlePayload) -> Result<Payment, Refusal> {
    if payload.token != terms.network.asset {
        return Err(Refusal::from(Code::TokenMismatch));
    }
    if payload.receiver != requirements.pay_to {
        return Err(Refusal::new(Reason::ReceiverMismatch, "the receiver is not who the requirements pay"));
    }
    Ok(Payment::Settle(payload.clone()))
}
