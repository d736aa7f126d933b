//! `exact`: EIP-3009 `TransferWithAuthorization` in the token's domain.

use agora_types::authorization::{Authorization, Exact};
use agora_types::eip712::Network;
use agora_types::key::{WalletKey, WalletSignature};
use agora_types::{Address, Amount, Hash};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reason::{Reason, Refusal};
use crate::wire::{Object, Seconds, object};

/// `payload` of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExactPayload {
    /// What is signed.
    pub authorization: ExactAuthorization,
    /// By `authorization.from`: 0x and 130 hexadecimal digits.
    pub signature: String,
}

/// The signed words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ExactAuthorization {
    /// Pays.
    pub from: Address,
    /// Is paid.
    pub to: Address,
    /// Atoms.
    pub value: Amount,
    /// Unix seconds.
    pub valid_after: Seconds,
    /// Unix seconds.
    pub valid_before: Seconds,
    /// Any 32 bytes, each once for a payer.
    pub nonce: Hash,
}

impl ExactPayload {
    /// Out of a payment's `payload`.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn read(payload: &Object) -> Result<Self, Refusal> {
        super::read("exact payload", payload)
    }

    /// Signed with the payer's key.
    pub fn sign(network: &Network, words: Exact, key: &WalletKey) -> Self {
        let words = Authorization::Exact(words);
        let signature = key.sign(&words.digest(network));
        Self::write(words, &signature)
    }

    fn write(words: Authorization, signature: &WalletSignature) -> Self {
        let (valid_after, valid_before) = words.window();
        let authorization = ExactAuthorization {
            from: words.payer(),
            to: words.payee(),
            value: words.max(),
            valid_after: Seconds(valid_after),
            valid_before: Seconds(valid_before),
            nonce: words.nonce(),
        };
        Self { authorization, signature: signature.to_string() }
    }

    /// As the map of a payment.
    pub fn to_object(&self) -> Object {
        object(self)
    }

    /// As our ledger's words; the signature is not checked yet.
    ///
    /// # Errors
    /// `invalid_exact_evm_signature` for a signature in another form than 65 bytes.
    pub fn words(&self) -> Result<(Authorization, WalletSignature), Refusal> {
        let one = &self.authorization;
        let words = Exact {
            from: one.from,
            to: one.to,
            value: one.value,
            valid_after: one.valid_after.0,
            valid_before: one.valid_before.0,
            nonce: one.nonce,
        };
        Ok((Authorization::Exact(words), super::signature(&self.signature, Reason::Signature)?))
    }
}
