//! The payment, and what a seller asks its facilitator about one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Document, Object, PaymentRequirements, Resource, Version, or_default};

/// The request's header `PAYMENT-SIGNATURE`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentPayload {
    /// 2.
    pub x402_version: Version,
    /// What is bought, as the offer named it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<Resource>,
    /// The offer that is taken: equal to the seller's own, field by field.
    pub accepted: PaymentRequirements,
    /// What the scheme signs; see [`crate::scheme`].
    pub payload: Object,
    /// By name; echoed from the offer, unauthenticated.
    #[serde(default, skip_serializing_if = "Object::is_empty", deserialize_with = "or_default")]
    pub extensions: Object,
}

impl Document for PaymentPayload {
    const NAME: &'static str = "PaymentPayload";
}

/// Body of `POST /verify`: would this payment be good, and is it kept for this seller?
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerifyRequest {
    /// 2.
    pub x402_version: Version,
    /// The payment.
    pub payment_payload: PaymentPayload,
    /// The seller's own requirements.
    pub payment_requirements: PaymentRequirements,
}

impl Document for VerifyRequest {
    const NAME: &'static str = "VerifyRequest";
    /// 100 claims of a batch are about 80 KiB.
    const SIZE_MAX: usize = 128 * 1024;
}

/// Body of `POST /settle`: the same words as [`VerifyRequest`].
pub type SettleRequest = VerifyRequest;
