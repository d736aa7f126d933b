//! `offer-receipt`: offers and receipts that a seller signs, in their EIP-712 form.
//!
//! The JWS form is recognised and not verified: its `kid` is a DID URL that somebody would have to fetch.

mod attach;

use agora_types::eip712::statement::{OfferWords, ReceiptWords, offer_digest, receipt_digest};
use agora_types::key::{KeyError, WalletKey};
use agora_types::{Address, Hash, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::signature;
use crate::wire::{NetworkId, PaymentRequirements};

/// Its key in `extensions`.
pub const NAME: &str = "offer-receipt";
/// The one version of both statements.
pub const VERSION: u64 = 1;
/// Most signed offers of one 402: as many as it may have offers.
pub const OFFERS_MAX: usize = crate::wire::ACCEPTS_MAX;

/// `info` of a 402: one signed offer for each of `accepts`, or for some.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignedOffers {
    /// At most 32.
    #[schemars(length(max = 32))]
    pub offers: Vec<SignedOffer>,
}

/// `info` of a paid answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SignedReceiptInfo {
    /// The receipt.
    pub receipt: SignedReceipt,
}

/// A signed offer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "format", rename_all = "lowercase")]
pub enum SignedOffer {
    /// Verified here.
    Eip712 {
        /// Which of `accepts` it is about: a hint, checked against the words.
        #[serde(default, skip_serializing_if = "Option::is_none", rename = "acceptIndex")]
        accept_index: Option<u32>,
        /// The words.
        payload: OfferPayload,
        /// 0x and 130 hexadecimal digits.
        signature: String,
    },
    /// Not verified here.
    Jws {
        /// Which of `accepts` it is about.
        #[serde(default, skip_serializing_if = "Option::is_none", rename = "acceptIndex")]
        accept_index: Option<u32>,
        /// Compact JWS.
        signature: String,
    },
}

/// A signed receipt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "format", rename_all = "lowercase")]
pub enum SignedReceipt {
    /// Verified here.
    Eip712 {
        /// The words.
        payload: ReceiptPayload,
        /// 0x and 130 hexadecimal digits.
        signature: String,
    },
    /// Not verified here.
    Jws {
        /// Compact JWS.
        signature: String,
    },
}

/// The words of an offer, as text: the text is what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfferPayload {
    /// 1.
    pub version: u64,
    /// What is sold.
    pub resource_url: String,
    /// How it is paid.
    pub scheme: String,
    /// Where.
    pub network: String,
    /// In which token.
    pub asset: String,
    /// To whom.
    pub pay_to: String,
    /// Atoms.
    pub amount: String,
    /// Unix seconds.
    pub valid_until: u64,
}

/// The words of a receipt, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReceiptPayload {
    /// 1.
    pub version: u64,
    /// Where.
    pub network: String,
    /// What was sold.
    pub resource_url: String,
    /// Who paid.
    pub payer: String,
    /// Unix seconds.
    pub issued_at: u64,
    /// Its id on the ledger, or nothing.
    #[serde(default)]
    pub transaction: String,
}

/// Why a statement proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// JWS.
    #[error("only statements in EIP-712 form are verified here")]
    Form,
    /// Not 1.
    #[error("an unknown version of the statement")]
    Version,
    /// Malformed, or not over these words.
    #[error("the signature does not fit the statement")]
    Signature,
    /// By somebody else than expected.
    #[error("signed by {0}, not by the expected key")]
    Signer(Address),
    /// It says something else than the offer or payment at hand.
    #[error("the statement is about another {0}")]
    Other(&'static str),
    /// Its time is over.
    #[error("the offer is no longer valid")]
    Expired,
}

impl From<KeyError> for StatementError {
    fn from(_: KeyError) -> Self {
        Self::Signature
    }
}

impl OfferPayload {
    /// The words of one of our offers.
    pub fn of(resource_url: &str, offer: &PaymentRequirements, valid_until: u64) -> Self {
        Self {
            version: VERSION,
            resource_url: resource_url.to_owned(),
            scheme: offer.scheme.to_string(),
            network: offer.network.to_string(),
            asset: offer.asset.to_string(),
            pay_to: offer.pay_to.to_string(),
            amount: offer.amount.to_atoms_text(),
            valid_until,
        }
    }

    fn digest(&self) -> Hash {
        offer_digest(&OfferWords {
            resource_url: &self.resource_url,
            scheme: &self.scheme,
            network: &self.network,
            asset: &self.asset,
            pay_to: &self.pay_to,
            amount: &self.amount,
            valid_until: self.valid_until,
        })
    }
}

impl ReceiptPayload {
    fn digest(&self) -> Hash {
        receipt_digest(&ReceiptWords {
            network: &self.network,
            resource_url: &self.resource_url,
            payer: &self.payer,
            issued_at: self.issued_at,
            transaction: &self.transaction,
        })
    }
}

fn signer(version: u64, digest: &Hash, text: &str) -> Result<Address, StatementError> {
    if version != VERSION {
        return Err(StatementError::Version);
    }
    Ok(signature::parse(text).map_err(|_| StatementError::Signature)?.recover(digest)?)
}

impl SignedOffer {
    /// Signs an offer.
    pub fn sign(payload: OfferPayload, accept_index: Option<u32>, key: &WalletKey) -> Self {
        let signature = key.sign(&payload.digest()).to_string();
        Self::Eip712 { accept_index, payload, signature }
    }

    /// Succeeds when `expected` signed exactly this offer of this resource, and it still stands.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn verify(
        &self,
        expected: &Address,
        resource_url: &str,
        offer: &PaymentRequirements,
        now: Timestamp,
    ) -> Result<(), StatementError> {
        let Self::Eip712 { payload, signature, .. } = self else { return Err(StatementError::Form) };
        let by = signer(payload.version, &payload.digest(), signature)?;
        if by != *expected {
            return Err(StatementError::Signer(by));
        }
        let address = |text: &str, own: Address| text.parse::<Address>() == Ok(own);
        for (what, same) in [
            ("resource", payload.resource_url == resource_url),
            ("scheme", payload.scheme == offer.scheme.name()),
            ("network", payload.network == offer.network.to_string()),
            ("asset", address(&payload.asset, offer.asset)),
            ("payee", address(&payload.pay_to, offer.pay_to)),
            ("amount", payload.amount == offer.amount.to_atoms_text()),
        ] {
            if !same {
                return Err(StatementError::Other(what));
            }
        }
        if payload.valid_until < now.as_secs() { Err(StatementError::Expired) } else { Ok(()) }
    }
}

impl SignedReceipt {
    /// Signs a receipt.
    pub fn sign(payload: ReceiptPayload, key: &WalletKey) -> Self {
        let signature = key.sign(&payload.digest()).to_string();
        Self::Eip712 { payload, signature }
    }

    /// Succeeds when `expected` signed a receipt of this payer for this resource on this network.
    ///
    /// # Errors
    /// [`StatementError`].
    pub fn verify(
        &self,
        expected: &Address,
        network: &NetworkId,
        resource_url: &str,
        payer: &Address,
    ) -> Result<(), StatementError> {
        let Self::Eip712 { payload, signature } = self else { return Err(StatementError::Form) };
        let by = signer(payload.version, &payload.digest(), signature)?;
        if by != *expected {
            return Err(StatementError::Signer(by));
        }
        for (what, same) in [
            ("network", payload.network == network.to_string()),
            ("resource", payload.resource_url == resource_url),
            ("payer", payload.payer.parse::<Address>() == Ok(*payer)),
        ] {
            if !same {
                return Err(StatementError::Other(what));
            }
        }
        Ok(())
    }
}
