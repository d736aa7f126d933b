//! The payloads of `batch-settlement` as our ledger's words, and back.

use agora_types::channel::Voucher;
use agora_types::command::{Claim, Deposit, Refund, VoucherClaim};
use agora_types::eip712::{Network, command_digest};
use agora_types::key::{WalletKey, WalletSignature};

use super::{
    CLAIMS_MAX, ClaimFields, ClaimPayload, ClaimVoucher, DepositAuthorization, DepositFields, DepositPayload,
    Erc3009Authorization, RefundPayload, VoucherFields,
};
use crate::reason::{Reason, Refusal};
use crate::scheme::signature;
use crate::wire::Seconds;

impl VoucherFields {
    /// As it is sent.
    pub fn write(voucher: &Voucher) -> Self {
        Self {
            channel_id: voucher.channel_id,
            max_claimable_amount: voucher.max_claimable,
            signature: voucher.signature.to_string(),
        }
    }

    /// As our word; the signature is not checked yet.
    ///
    /// # Errors
    /// `…voucher_signature` for a signature in another form than 65 bytes.
    pub fn words(&self) -> Result<Voucher, Refusal> {
        Ok(Voucher {
            channel_id: self.channel_id,
            max_claimable: self.max_claimable_amount,
            signature: signature(&self.signature, Reason::VoucherSignature)?,
        })
    }
}

impl DepositPayload {
    /// Signed with the owner's key (the deposit) and the session key (the voucher, given).
    pub fn sign(network: &Network, deposit: Deposit, voucher: &Voucher, owner: &WalletKey) -> Self {
        let command = agora_types::command::Command::Deposit(deposit.clone());
        let signature = owner.sign(&command_digest(network, &command)).to_string();
        let authorization = Erc3009Authorization {
            valid_after: Seconds(deposit.valid_after),
            valid_before: Seconds(deposit.valid_before),
            salt: deposit.salt,
            signature,
        };
        Self {
            channel_config: deposit.config,
            voucher: VoucherFields::write(voucher),
            deposit: DepositFields {
                amount: deposit.amount,
                authorization: DepositAuthorization {
                    erc3009_authorization: Some(authorization),
                    permit2_authorization: None,
                },
            },
        }
    }

    /// As our command with its signature; not checked yet.
    ///
    /// # Errors
    /// `…erc3009_authorization_required` for Permit2, `…receive_authorization_signature` for a signature in another
    /// form than 65 bytes.
    pub fn words(&self) -> Result<(Deposit, WalletSignature), Refusal> {
        let authorization = &self.deposit.authorization;
        let (Some(one), None) = (&authorization.erc3009_authorization, &authorization.permit2_authorization) else {
            let message = "a deposit is signed as EIP-3009 ReceiveWithAuthorization; Permit2 is not accepted";
            return Err(Refusal::new(Reason::Erc3009AuthorizationRequired, message));
        };
        let deposit = Deposit {
            config: self.channel_config.clone(),
            amount: self.deposit.amount,
            valid_after: one.valid_after.0,
            valid_before: one.valid_before.0,
            salt: one.salt,
        };
        Ok((deposit, signature(&one.signature, Reason::ReceiveAuthorizationSignature)?))
    }
}

impl ClaimFields {
    /// As it is sent.
    pub fn write(claim: &VoucherClaim) -> Self {
        Self {
            voucher: ClaimVoucher { channel: claim.config.clone(), max_claimable_amount: claim.max_claimable },
            signature: claim.voucher_signature.to_string(),
            total_claimed: claim.total_claimed,
        }
    }

    fn words(&self) -> Result<VoucherClaim, Refusal> {
        Ok(VoucherClaim {
            config: self.voucher.channel.clone(),
            max_claimable: self.voucher.max_claimable_amount,
            voucher_signature: signature(&self.signature, Reason::VoucherSignature)?,
            total_claimed: self.total_claimed,
        })
    }
}

fn claim(claims: &[ClaimFields]) -> Result<Claim, Refusal> {
    if claims.len() > CLAIMS_MAX {
        return Err(Refusal::from(agora_types::Code::ClaimCount));
    }
    Ok(Claim { claims: claims.iter().map(ClaimFields::words).collect::<Result<_, _>>()? })
}

fn authorizer(text: Option<&String>) -> Result<Option<WalletSignature>, Refusal> {
    text.map(|text| signature(text, Reason::AuthorizerAddressMismatch)).transpose()
}

impl ClaimPayload {
    /// As our command and its signature, where the seller signed it.
    ///
    /// # Errors
    /// `agora_channel_claim_count`, or the reason of a malformed signature.
    pub fn words(&self) -> Result<(Claim, Option<WalletSignature>), Refusal> {
        if self.claims.is_empty() {
            return Err(Refusal::from(agora_types::Code::ClaimCount));
        }
        Ok((claim(&self.claims)?, authorizer(self.claim_authorizer_signature.as_ref())?))
    }
}

/// What a seller adds to a buyer's refund.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundWords {
    /// The refund.
    pub refund: Refund,
    /// Its signature, where the seller signed.
    pub signature: Option<WalletSignature>,
    /// What is claimed first, and the signature over it.
    pub claim: Option<(Claim, Option<WalletSignature>)>,
}

impl RefundPayload {
    /// What the seller asks for; `None` while only the buyer has written.
    ///
    /// # Errors
    /// `…refund_payload` when some of the seller's fields are missing, or the reason of a malformed signature.
    pub fn words(&self) -> Result<Option<RefundWords>, Refusal> {
        let (Some(nonce), Some(claims), Some(amount)) = (self.refund_nonce, &self.claims, self.amount) else {
            if self.refund_nonce.is_none() && self.claims.is_none() {
                return Ok(None);
            }
            let message = "a seller's refund has amount, refundNonce and claims";
            return Err(Refusal::new(Reason::RefundPayload, message));
        };
        let refund = Refund { config: self.channel_config.clone(), nonce: nonce.0, amount };
        let claim = match claims.as_slice() {
            [] => None,
            claims => Some((claim(claims)?, authorizer(self.claim_authorizer_signature.as_ref())?)),
        };
        Ok(Some(RefundWords { refund, signature: authorizer(self.refund_authorizer_signature.as_ref())?, claim }))
    }
}
