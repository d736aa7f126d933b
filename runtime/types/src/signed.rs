//! Statements: a canonical value, the Ed25519 key that vouches for it, and the signature over its tagged bytes.

use minicbor::{Decode, Encode};
use serde::Serialize;

use crate::cbor::CborError;
use crate::key::{KeyError, StatementKey, StatementSignature, StatementSigner};
use crate::{Canonical, Hash};

/// A value whose signature was checked: there is no way to hold an unverified one.
///
/// Bytes: the CBOR array `[tag, value, key, signature]`; signed: the CBOR array `[tag, value]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signed<T> {
    payload: T,
    key: StatementKey,
    signature: StatementSignature,
}

/// Why a statement is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// The bytes are not a statement of this kind.
    #[error(transparent)]
    Bytes(#[from] CborError),
    /// The tag names another kind.
    #[error("this statement is of another kind than {0}")]
    Tag(&'static str),
    /// The signature does not fit.
    #[error(transparent)]
    Key(#[from] KeyError),
}

#[derive(Encode, Decode)]
struct Wire<T>(#[n(0)] String, #[n(1)] T, #[n(2)] StatementKey, #[n(3)] StatementSignature);

impl<T: Canonical + Clone> Signed<T> {
    /// Signs a value.
    pub fn sign(payload: T, signer: &StatementSigner) -> Self {
        let signature = signer.sign(&payload.tagged());
        Self { payload, key: signer.public(), signature }
    }

    /// Puts together and verifies.
    pub fn verify(payload: T, key: StatementKey, signature: StatementSignature) -> Result<Self, SignedError> {
        key.verify(&payload.tagged(), &signature)?;
        Ok(Self { payload, key, signature })
    }

    /// The value.
    pub fn payload(&self) -> &T {
        &self.payload
    }

    /// The key that signed; whether it may speak is the reader's question.
    pub fn key(&self) -> &StatementKey {
        &self.key
    }

    /// The signature.
    pub fn signature(&self) -> &StatementSignature {
        &self.signature
    }

    /// The canonical bytes of the statement.
    pub fn to_bytes(&self) -> Vec<u8> {
        crate::cbor::encode(&Wire(T::TAG.to_owned(), self.payload.clone(), self.key, self.signature))
    }

    /// Reads and verifies; refuses anything but canonical bytes of at most `T::SIZE_MAX` + 256.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignedError> {
        let Wire(tag, payload, key, signature) = crate::cbor::decode::<Wire<T>>(T::TAG, T::SIZE_MAX + 256, bytes)?;
        if tag != T::TAG {
            return Err(SignedError::Tag(T::TAG));
        }
        Self::verify(payload, key, signature)
    }

    /// SHA-256 of the statement's bytes: its content address.
    pub fn hash(&self) -> Hash {
        Hash::sha256(self.to_bytes())
    }
}
