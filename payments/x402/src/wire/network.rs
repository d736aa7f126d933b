//! Networks as CAIP-2 names them: ours is `eip155:` and the chain id.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The largest chain id: JavaScript's largest safe integer, because stock clients read it as a number.
pub const CHAIN_ID_MAX: u64 = (1 << 53) - 1;

/// Why a text is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a network is `namespace:reference` (CAIP-2); ours is eip155: and a chain id from 1 to 2^53 - 1")]
pub struct NetworkError;

/// A network.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NetworkId {
    /// `eip155:<chain id>`.
    Eip155(u64),
    /// Another namespace, such as `solana:…`: offers name them beside ours, nobody here pays there.
    Foreign(String),
}

impl NetworkId {
    /// The chain id, where it has one.
    pub const fn chain_id(&self) -> Option<u64> {
        match self {
            Self::Eip155(id) => Some(*id),
            Self::Foreign(_) => None,
        }
    }
}

impl fmt::Display for NetworkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Eip155(id) => write!(f, "eip155:{id}"),
            Self::Foreign(name) => f.write_str(name),
        }
    }
}

impl FromStr for NetworkId {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Self, NetworkError> {
        let (namespace, reference) = text.split_once(':').ok_or(NetworkError)?;
        let namespace_fits = (3..=8).contains(&namespace.len())
            && namespace.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let reference_fits = (1..=32).contains(&reference.len())
            && reference.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if !namespace_fits || !reference_fits {
            return Err(NetworkError);
        }
        if namespace != "eip155" {
            return Ok(Self::Foreign(text.to_owned()));
        }
        if reference.starts_with('0') || !reference.bytes().all(|b| b.is_ascii_digit()) {
            return Err(NetworkError);
        }
        let id = reference.parse().map_err(|_| NetworkError)?;
        if id > CHAIN_ID_MAX { Err(NetworkError) } else { Ok(Self::Eip155(id)) }
    }
}

impl Serialize for NetworkId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NetworkId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for NetworkId {
    fn schema_name() -> Cow<'static, str> {
        "NetworkId".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "pattern": "^[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}$", "description": "CAIP-2"
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_id_is_a_safe_integer_without_ornaments() {
        assert_eq!("eip155:4020711".parse(), Ok(NetworkId::Eip155(4_020_711)));
        assert_eq!("eip155:9007199254740991".parse::<NetworkId>().unwrap().chain_id(), Some(CHAIN_ID_MAX));
        assert!(matches!("solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp".parse(), Ok(NetworkId::Foreign(_))));
        for text in
            ["eip155:9007199254740992", "eip155:0", "eip155:01", "eip155:0x1", "eip155:+1", "eip155:", "base", "", ":1"]
        {
            assert!(text.parse::<NetworkId>().is_err(), "{text}");
        }
    }
}
