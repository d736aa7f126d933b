//! Deterministic CBOR: one value, one sequence of bytes.
//!
//! Decoding is strict by construction: what was read is encoded again and must give the very same bytes, so
//! unsorted or repeated keys, longer-than-needed integers, indefinite lengths, unknown fields and trailing bytes are
//! all refused without a rule for each.

use minicbor::{Decode, Encode};

use crate::Hash;

/// Why bytes are not the canonical form of a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborError {
    /// Not this kind of value.
    #[error("not a well-formed {kind}: {reason}")]
    Malformed {
        /// The kind that was expected.
        kind: &'static str,
        /// What the decoder found.
        reason: String,
    },
    /// Readable, but not in the one canonical form.
    #[error("a {kind} must be in canonical CBOR (RFC 8949 section 4.2)")]
    NotCanonical {
        /// The kind that was expected.
        kind: &'static str,
    },
    /// Longer than this kind may be.
    #[error("a {kind} has at most {limit} bytes, this one has {size}")]
    TooLarge {
        /// The kind that was expected.
        kind: &'static str,
        /// The bound in bytes.
        limit: usize,
        /// What arrived, in bytes.
        size: usize,
    },
}

/// Encodes into memory, which cannot fail.
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    minicbor::encode(value, &mut bytes).expect("writing to memory cannot fail");
    bytes
}

/// Decodes one value and refuses any bytes but its canonical form.
pub fn decode<T: Encode<()> + for<'b> Decode<'b, ()>>(
    kind: &'static str,
    limit: usize,
    bytes: &[u8],
) -> Result<T, CborError> {
    if bytes.len() > limit {
        return Err(CborError::TooLarge { kind, limit, size: bytes.len() });
    }
    let value: T = minicbor::decode(bytes).map_err(|error| CborError::Malformed { kind, reason: error.to_string() })?;
    if encode(&value) == bytes { Ok(value) } else { Err(CborError::NotCanonical { kind }) }
}

/// A kind of value with a domain tag, a bound and one canonical byte form.
pub trait Canonical: Sized + Encode<()> + for<'b> Decode<'b, ()> {
    /// The domain tag, `agora/<kind>/v1`; part of everything hashed or signed.
    const TAG: &'static str;
    /// The most bytes a value of this kind may have.
    const SIZE_MAX: usize;

    /// Its canonical bytes, without the tag.
    fn to_bytes(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads canonical bytes; never panics on hostile ones.
    fn from_bytes(bytes: &[u8]) -> Result<Self, CborError> {
        decode(Self::TAG, Self::SIZE_MAX, bytes)
    }

    /// The bytes that are hashed and signed: the CBOR array `[tag, value]`.
    fn tagged(&self) -> Vec<u8> {
        encode(&(Self::TAG, self))
    }

    /// SHA-256 of [`Canonical::tagged`].
    fn hash(&self) -> Hash {
        Hash::sha256(self.tagged())
    }
}
