//! `upto`: Permit2 `PermitWitnessTransferFrom` with the protocol's witness; at most an amount, by one facilitator.

use agora_types::authorization::{Authorization, Upto};
use agora_types::eip712::{Network, UPTO_SPENDER};
use agora_types::key::{WalletKey, WalletSignature};
use agora_types::{Address, Amount};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::reason::{Reason, Refusal};
use crate::wire::{Nonce, Object, Seconds, object};

/// `payload` of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UptoPayload {
    /// By `permit2Authorization.from`: 0x and 130 hexadecimal digits.
    pub signature: String,
    /// What is signed.
    pub permit2_authorization: UptoAuthorization,
}

/// The signed words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UptoAuthorization {
    /// Pays.
    pub from: Address,
    /// What may move.
    pub permitted: TokenPermissions,
    /// Always the protocol's `upto` proxy.
    pub spender: Address,
    /// Each once for a payer.
    pub nonce: Nonce,
    /// Unix seconds.
    pub deadline: Seconds,
    /// Where it goes.
    pub witness: Witness,
}

/// What may move.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TokenPermissions {
    /// The asset.
    pub token: Address,
    /// Most atoms.
    pub amount: Amount,
}

/// Where it goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Witness {
    /// Is paid.
    pub to: Address,
    /// Who alone may settle.
    pub facilitator: Address,
    /// Unix seconds.
    pub valid_after: Seconds,
}

impl UptoPayload {
    /// Out of a payment's `payload`.
    ///
    /// # Errors
    /// `invalid_payload`.
    pub fn read(payload: &Object) -> Result<Self, Refusal> {
        super::read("upto payload", payload)
    }

    /// Signed with the payer's key.
    pub fn sign(network: &Network, words: Upto, key: &WalletKey) -> Self {
        let permit2_authorization = UptoAuthorization {
            from: words.from,
            permitted: TokenPermissions { token: network.asset, amount: words.max },
            spender: UPTO_SPENDER,
            nonce: Nonce(words.nonce),
            deadline: Seconds(words.deadline),
            witness: Witness { to: words.to, facilitator: words.facilitator, valid_after: Seconds(words.valid_after) },
        };
        let signature = key.sign(&Authorization::Upto(words).digest(network)).to_string();
        Self { signature, permit2_authorization }
    }

    /// As the map of a payment.
    pub fn to_object(&self) -> Object {
        object(self)
    }

    /// As our ledger's words, which have no place for spender and token: both are checked here. The signature is not
    /// checked yet.
    ///
    /// # Errors
    /// `invalid_payload` for another spender or token, `invalid_exact_evm_signature` for a signature in another form
    /// than 65 bytes.
    pub fn words(&self, network: &Network) -> Result<(Authorization, WalletSignature), Refusal> {
        let one = &self.permit2_authorization;
        if one.spender != UPTO_SPENDER {
            let message = format!("the spender of an upto permit is {UPTO_SPENDER}");
            return Err(Refusal::new(Reason::InvalidPayload, message));
        }
        if one.permitted.token != network.asset {
            let message = format!("the permit is for the token {}, not {}", one.permitted.token, network.asset);
            return Err(Refusal::new(Reason::InvalidPayload, message));
        }
        let words = Upto {
            from: one.from,
            to: one.witness.to,
            max: one.permitted.amount,
            facilitator: one.witness.facilitator,
            valid_after: one.witness.valid_after.0,
            deadline: one.deadline.0,
            nonce: one.nonce.0,
        };
        Ok((Authorization::Upto(words), super::signature(&self.signature, Reason::Signature)?))
    }
}
