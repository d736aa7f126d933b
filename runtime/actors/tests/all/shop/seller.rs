//! What a seller sends to a facilitator beside its buyers' payments: claims, refunds, and less than the most.

use agora_economy::testkit::*;
use agora_types::channel::Voucher;
use agora_types::command::{Claim, Command, Refund, VoucherClaim};
use agora_types::eip712::command_digest;
use agora_x402::scheme::batch::{BatchPayload, ClaimFields, ClaimPayload, RefundPayload, SettlePayload, VoucherFields};
use agora_x402::wire::{Object, PaymentPayload, PaymentRequirements, Scheme, Seconds, SettleRequest, Version};

use super::{Channels, PRICE, asked, network, offer, question, shop};

/// What a seller sends to `/settle` for channels: stock sellers copy the offer and leave `extra` empty.
pub(crate) fn sellers_request(payload: &BatchPayload) -> SettleRequest {
    let mut own = offer(&Scheme::BatchSettlement, 0);
    own.extra.clear();
    let payment = PaymentPayload {
        x402_version: Version,
        resource: None,
        accepted: own.clone(),
        payload: payload.to_object(),
        extensions: Object::new(),
    };
    asked(&payment, &own)
}

/// A claim of `total` with the newest voucher of a channel; signed by the authorizer's key, or left to the facilitator.
pub(crate) fn claim(channels: &Channels, total: u128, signed_by: Option<u8>) -> SettleRequest {
    let config = channels.buyer.config.clone();
    let max_claimable = channels.buyer.signed_max;
    let voucher = Voucher::sign(&network(), channels.id(), max_claimable, &key(SESSION));
    let claim =
        VoucherClaim { config, max_claimable, voucher_signature: voucher.signature, total_claimed: atoms(total) };
    let digest = command_digest(&network(), &Command::Claim(Claim { claims: vec![claim.clone()] }));
    sellers_request(&BatchPayload::Claim(ClaimPayload {
        claims: vec![ClaimFields::write(&claim)],
        claim_authorizer_signature: signed_by.map(|number| key(number).sign(&digest).to_string()),
    }))
}

/// A refund of `back` atoms with a nonce, of which `charged` were charged.
pub(crate) fn refund(
    channels: &Channels,
    charged: u128,
    back: u128,
    nonce: u64,
    signed_by: Option<u8>,
) -> SettleRequest {
    let config = channels.buyer.config.clone();
    let voucher = Voucher::sign(&network(), channels.id(), atoms(charged), &key(SESSION));
    let refund = Refund { config: config.clone(), nonce, amount: atoms(back) };
    let digest = command_digest(&network(), &Command::Refund(refund));
    sellers_request(&BatchPayload::Refund(RefundPayload {
        channel_config: config,
        voucher: VoucherFields::write(&voucher),
        amount: Some(atoms(back)),
        refund_nonce: Some(Seconds(nonce)),
        claims: Some(Vec::new()),
        refund_authorizer_signature: signed_by.map(|number| key(number).sign(&digest).to_string()),
        claim_authorizer_signature: None,
    }))
}

pub(crate) fn pay_out() -> SettleRequest {
    sellers_request(&BatchPayload::Settle(SettlePayload { receiver: shop(), token: network().asset }))
}

/// The payment of the next request of a channel, asked about.
pub(crate) fn next(channels: &mut Channels, own: &PaymentRequirements, salt: u8) -> SettleRequest {
    let request = asked(&channels.pay(salt), own);
    // Answered: the next request is paid on top.
    channels.buyer.sent = None;
    channels.buyer.charged = channels.buyer.signed_max;
    channels.buyer.deposited = channels.buyer.deposited.max(atoms(5 * PRICE));
    request
}

/// A payment of the most, and what the seller settles of it.
pub(crate) fn upto(nonce: u8, settled: u128) -> SettleRequest {
    let mut question = question(&Scheme::Upto, PRICE, nonce);
    question.payment_requirements.amount = atoms(settled);
    question
}
