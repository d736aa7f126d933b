//! Fixed-size byte words: addresses, hashes and ids, written as 0x-hex by people and as byte strings in CBOR.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// Why a text is not one of the fixed-size words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: write 0x and {digits} hexadecimal digits")]
pub struct HexError {
    text: String,
    what: &'static str,
    digits: usize,
}

macro_rules! word {
    ($(#[$doc:meta])* $name:ident, $size:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; $size]);

        impl $name {
            /// Length in bytes.
            pub const SIZE: usize = $size;
            /// All bytes zero.
            pub const ZERO: Self = Self([0; $size]);

            /// From its bytes.
            pub const fn new(bytes: [u8; $size]) -> Self {
                Self(bytes)
            }

            /// Its bytes.
            pub const fn as_bytes(&self) -> &[u8; $size] {
                &self.0
            }

            /// From a slice of exactly the right length.
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                bytes.try_into().ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&format!("0x{}", hex::encode(self.0)))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{self}")
            }
        }

        impl FromStr for $name {
            type Err = HexError;
            fn from_str(text: &str) -> Result<Self, HexError> {
                let bad = || HexError {
                    text: text.chars().take(80).collect(),
                    what: $what,
                    digits: 2 * $size,
                };
                let digits = text.strip_prefix("0x").ok_or_else(bad)?;
                let mut bytes = [0; $size];
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| bad())?;
                Ok(Self(bytes))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
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

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let position = d.position();
                Self::from_slice(d.bytes()?).ok_or_else(|| {
                    minicbor::decode::Error::message(concat!("wrong length for ", $what)).at(position)
                })
            }
        }
    };
}

word!(
    /// A 20-byte account address: the last 20 bytes of keccak-256 of an uncompressed secp256k1 public key.
    Address, 20, "an address"
);
word!(
    /// A 32-byte SHA-256 (or, where said, keccak-256) hash.
    Hash, 32, "a hash"
);
word!(
    /// The 128-bit id of a command, unique per signer and time-ordered (big-endian milliseconds first).
    CommandId, 16, "a command id"
);
word!(
    /// The 128-bit id of one paid call, chosen by the payer; unique per payer, never global.
    CallId, 16, "a call id"
);
word!(
    /// The 128-bit id of a quote, unique per host.
    QuoteId, 16, "a quote id"
);
word!(
    /// The 32-byte id of a channel: the EIP-712 digest of its x402 ChannelConfig.
    ChannelId, 32, "a channel id"
);
word!(
    /// The 32-byte id of a listing: bound to owner and name, stable when its price changes.
    ListingId, 32, "a listing id"
);
word!(
    /// The 32-byte id of a Datanet: bound to owner and name, stable over its versions.
    DatanetId, 32, "a datanet id"
);

impl Hash {
    /// SHA-256 of `bytes`.
    pub fn sha256(bytes: impl AsRef<[u8]>) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// SHA-256 over several pieces, one after another.
    pub fn sha256_of(pieces: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for piece in pieces {
            hasher.update(piece);
        }
        Self(hasher.finalize().into())
    }

    /// SHA-256 of bytes that arrive in pieces.
    pub fn stream() -> HashStream {
        HashStream(Sha256::new())
    }

    /// keccak-256 of `bytes` (Ethereum's).
    pub fn keccak256(bytes: impl AsRef<[u8]>) -> Self {
        Self(alloy_primitives::keccak256(bytes).0)
    }
}

/// SHA-256 on its way: for files too large to hold.
#[derive(Debug, Clone)]
pub struct HashStream(Sha256);

impl HashStream {
    /// The next bytes.
    pub fn update(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.update(bytes);
    }

    /// The next piece, behind its length: pieces cannot slide into one another.
    pub fn piece(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    /// The hash of everything so far.
    pub fn finish(self) -> Hash {
        Hash(self.0.finalize().into())
    }
}

impl Address {
    /// The account of a system role: the last 20 bytes of keccak256("agora/system/" || name). No key exists for it.
    pub fn system(name: &str) -> Self {
        Self::from_hash(&Hash::keccak256(format!("agora/system/{name}")))
    }

    /// The account a listing is paid into; only `SettleCall` moves what arrives there.
    pub fn listing(listing: &ListingId) -> Self {
        Self::system(&format!("listing/{listing}"))
    }

    /// The last 20 bytes of a hash.
    pub fn from_hash(hash: &Hash) -> Self {
        let mut bytes = [0; 20];
        bytes.copy_from_slice(&hash.0[12..]);
        Self(bytes)
    }
}

macro_rules! named_id {
    ($name:ident, $tag:literal) => {
        impl $name {
            /// The id of `owner`'s thing called `name`: SHA-256 of the canonical CBOR `[tag, owner, name]`.
            pub fn derive(owner: &Address, name: &str) -> Self {
                Self(*Hash::sha256(crate::cbor::encode(&($tag, owner, name))).as_bytes())
            }
        }
    };
}
named_id!(ListingId, "agora/listing-id/v1");
named_id!(DatanetId, "agora/datanet-id/v1");

macro_rules! ordered_id {
    ($($name:ident),*) => {$(
        impl $name {
            /// A time-ordered id: 48 bits of milliseconds, then 80 of the given random bits.
            pub fn ordered(at: crate::Timestamp, random: [u8; 10]) -> Self {
                let mut bytes = [0; 16];
                bytes[..6].copy_from_slice(&at.as_millis().to_be_bytes()[2..]);
                bytes[6..].copy_from_slice(&random);
                Self(bytes)
            }

            /// As a number, big-endian: the form of EIP-712's uint128.
            pub const fn as_u128(&self) -> u128 {
                u128::from_be_bytes(self.0)
            }
        }
    )*};
}
ordered_id!(CommandId, CallId, QuoteId);
