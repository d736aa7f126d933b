//! Keys and signatures behind small types: secp256k1 where money moves, Ed25519 where statements are made.
//!
//! One rule per curve, everywhere. secp256k1: 65 bytes r || s || v, v 27 or 28, low s only, the signer is recovered.
//! Ed25519: `verify_strict` (RFC 8032 with small-order keys refused); batch verification is never used, because it
//! may disagree with it and replicas would fork.

use std::fmt;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use minicbor::{Decode, Encode};
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, SecretKey};
use zeroize::Zeroizing;

use crate::{Address, Hash};

/// Why a key or signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Zero or not below the group order.
    #[error("these bytes are no private key")]
    BadSecret,
    /// Not a point, or of small order.
    #[error("these bytes are no public key")]
    BadPublic,
    /// Malformed, high s, wrong v, or made by another key or over other bytes.
    #[error("the signature does not match")]
    BadSignature,
}

/// A secp256k1 signature over a 32-byte digest: r || s || v.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WalletSignature([u8; 65]);

impl WalletSignature {
    /// From its 65 bytes; checked only when the signer is recovered.
    pub const fn new(bytes: [u8; 65]) -> Self {
        Self(bytes)
    }

    /// Its 65 bytes.
    pub const fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }

    /// The address whose key signed `digest`.
    ///
    /// # Errors
    /// [`KeyError::BadSignature`] for v other than 27 or 28, zero or overlarge r or s, and high s.
    pub fn recover(&self, digest: &Hash) -> Result<Address, KeyError> {
        let id = match self.0[64] {
            27 => RecoveryId::Zero,
            28 => RecoveryId::One,
            _ => return Err(KeyError::BadSignature),
        };
        let signature = RecoverableSignature::from_compact(&self.0[..64], id).map_err(|_| KeyError::BadSignature)?;
        let standard = signature.to_standard();
        let mut low = standard;
        low.normalize_s();
        if low != standard {
            return Err(KeyError::BadSignature);
        }
        let key = signature.recover(Message::from_digest(*digest.as_bytes())).map_err(|_| KeyError::BadSignature)?;
        Ok(address_of(&key))
    }

    /// Succeeds when `signer` signed `digest`.
    pub fn verify(&self, digest: &Hash, signer: &Address) -> Result<(), KeyError> {
        if self.recover(digest)? == *signer { Ok(()) } else { Err(KeyError::BadSignature) }
    }
}

fn address_of(key: &secp256k1::PublicKey) -> Address {
    Address::from_hash(&Hash::keccak256(&key.serialize_uncompressed()[1..]))
}

impl fmt::Debug for WalletSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

/// A secp256k1 private key: an owner, an agent account or a session key that signs vouchers.
pub struct WalletKey {
    secret: SecretKey,
    /// Computed once: it costs as much as a signature, and every offer names one.
    address: Address,
}

impl WalletKey {
    /// From 32 secret bytes.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let secret = SecretKey::from_secret_bytes(*bytes).map_err(|_| KeyError::BadSecret)?;
        Ok(Self { address: address_of(&secret.public_key()), secret })
    }

    /// Its secret bytes, wiped when dropped.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.secret.to_secret_bytes())
    }

    /// The address its signatures recover to.
    pub fn address(&self) -> Address {
        self.address
    }

    /// Signs a digest deterministically (RFC 6979), low s.
    pub fn sign(&self, digest: &Hash) -> WalletSignature {
        let signature =
            RecoverableSignature::sign_ecdsa_recoverable(Message::from_digest(*digest.as_bytes()), &self.secret);
        let (id, compact) = signature.serialize_compact();
        let mut bytes = [0; 65];
        bytes[..64].copy_from_slice(&compact);
        bytes[64] = 27 + u8::from(id);
        WalletSignature(bytes)
    }
}

impl Drop for WalletKey {
    fn drop(&mut self) {
        self.secret.non_secure_erase();
    }
}

impl fmt::Debug for WalletKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WalletKey({})", self.address())
    }
}

/// An Ed25519 public key: it names a host's receipt key or an operator's checkpoint key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatementKey([u8; 32]);

impl StatementKey {
    /// From its 32 bytes; checked when a signature is verified.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Succeeds when this key signed `message`, under the one strict rule.
    pub fn verify(&self, message: &[u8], signature: &StatementSignature) -> Result<(), KeyError> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| KeyError::BadPublic)?;
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(message, &signature).map_err(|_| KeyError::BadSignature)
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct StatementSignature([u8; 64]);

impl StatementSignature {
    /// From its 64 bytes.
    pub const fn new(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// Its 64 bytes.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }
}

/// An Ed25519 private key that signs statements (receipts, quotes, listings, checkpoints), wiped when dropped.
pub struct StatementSigner(SigningKey);

impl StatementSigner {
    /// From 32 secret bytes; every value is a key.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// Its secret bytes, wiped when dropped.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> StatementKey {
        StatementKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> StatementSignature {
        StatementSignature(self.0.sign(message).to_bytes())
    }
}

impl fmt::Debug for StatementSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StatementSigner({})", self.public())
    }
}

macro_rules! bytes_form {
    ($name:ident, $size:literal, $what:literal) => {
        impl<C> Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let position = d.position();
                let bytes = d.bytes()?.try_into();
                bytes.map(Self).map_err(|_| {
                    minicbor::decode::Error::message(concat!("wrong length for ", $what)).at(position)
                })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl std::str::FromStr for $name {
            type Err = KeyError;
            fn from_str(text: &str) -> Result<Self, KeyError> {
                let mut bytes = [0; $size];
                let digits = text.strip_prefix("0x").ok_or(KeyError::BadPublic)?;
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| KeyError::BadPublic)?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&format!("0x{}", hex::encode(self.0)))
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(|_| serde::de::Error::custom(concat!("not ", $what)))
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let digits = 2 * $size;
                schemars::json_schema!({"type": "string", "pattern": format!("^0x[0-9a-fA-F]{{{digits}}}$")})
            }
        }
    };
}
bytes_form!(WalletSignature, 65, "a secp256k1 signature");
bytes_form!(StatementKey, 32, "an Ed25519 key");
bytes_form!(StatementSignature, 64, "an Ed25519 signature");

impl fmt::Debug for StatementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Debug for StatementSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
