//! The offer: what a resource costs and how it may be paid.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use agora_types::{Address, Amount};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::{Document, NetworkId, Object, Version, or_default};

/// Most offers of one resource.
pub const ACCEPTS_MAX: usize = 32;
const URL_MAX: usize = 2_048;
const TEXT_MAX: usize = 1_024;
const NAME_MAX: usize = 32;
const TAGS_MAX: usize = 5;
const SCHEME_MAX: usize = 64;

/// The body-less answer 402: header `PAYMENT-REQUIRED`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequired {
    /// 2.
    pub x402_version: Version,
    /// Why the payment that was sent is refused; absent when none was.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded_text::<TEXT_MAX, _>")]
    #[schemars(length(max = 1024))]
    pub error: Option<String>,
    /// What is sold.
    pub resource: Resource,
    /// The ways to pay, the seller's favourite first; 1 to 32.
    #[serde(deserialize_with = "offers")]
    #[schemars(length(min = 1, max = 32))]
    pub accepts: Vec<Accept>,
    /// By name.
    #[serde(default, skip_serializing_if = "Object::is_empty", deserialize_with = "or_default")]
    pub extensions: Object,
}

impl Document for PaymentRequired {
    const NAME: &'static str = "PaymentRequired";
}

/// What is sold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// At most 2,048 bytes.
    #[serde(deserialize_with = "url")]
    #[schemars(length(max = 2048))]
    pub url: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded_text::<TEXT_MAX, _>")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
    /// Of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded_text::<TEXT_MAX, _>")]
    #[schemars(length(max = 1024))]
    pub mime_type: Option<String>,
    /// 1 to 32 printable ASCII characters.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "short_name")]
    #[schemars(length(min = 1, max = 32))]
    pub service_name: Option<String>,
    /// At most 5, each like a name.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "tags")]
    #[schemars(length(max = 5))]
    pub tags: Option<Vec<String>>,
    /// Never fetched here: whoever shows it decides whether it may be.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "bounded_text::<URL_MAX, _>")]
    #[schemars(length(max = 2048))]
    pub icon_url: Option<String>,
}

/// One way to pay.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Accept {
    /// In words that are known here: an EVM asset and payee, whatever the scheme.
    Known(Box<PaymentRequirements>),
    /// Anything else, such as an offer on Solana: kept as it came, never chosen.
    Foreign(Object),
}

impl Accept {
    /// The requirements, where they are in known words.
    pub fn known(&self) -> Option<&PaymentRequirements> {
        match self {
            Self::Known(requirements) => Some(requirements),
            Self::Foreign(_) => None,
        }
    }
}

impl From<PaymentRequirements> for Accept {
    fn from(requirements: PaymentRequirements) -> Self {
        Self::Known(Box::new(requirements))
    }
}

impl<'de> Deserialize<'de> for Accept {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let object = Object::deserialize(deserializer)?;
        match serde_json::from_value(Value::Object(object.clone())) {
            Ok(requirements) => Ok(Self::Known(requirements)),
            Err(_) => Ok(Self::Foreign(object)),
        }
    }
}

/// What one payment must be, field by field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequirements {
    /// How it is signed and settled.
    pub scheme: Scheme,
    /// Where.
    pub network: NetworkId,
    /// Atoms; the most of them for `upto`, those of one request for `batch-settlement`.
    pub amount: Amount,
    /// The token.
    pub asset: Address,
    /// Who is paid.
    pub pay_to: Address,
    /// How long the payment must stay valid; 0 only in requests between seller and facilitator.
    pub max_timeout_seconds: u64,
    /// What the scheme needs beyond that.
    #[serde(default, deserialize_with = "or_default")]
    pub extra: Object,
}

/// How a payment is signed and settled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// One payment of an exact amount.
    Exact,
    /// One payment of at most an amount.
    Upto,
    /// Many payments out of a channel.
    BatchSettlement,
    /// One that is not spoken here.
    Other(String),
}

impl Scheme {
    /// Its name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Exact => "exact",
            Self::Upto => "upto",
            Self::BatchSettlement => "batch-settlement",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Why a text names no scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a scheme's name has 1 to 64 of a-z 0-9 and -")]
pub struct SchemeError;

impl FromStr for Scheme {
    type Err = SchemeError;
    fn from_str(text: &str) -> Result<Self, SchemeError> {
        let fits = (1..=SCHEME_MAX).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        match text {
            "exact" => Ok(Self::Exact),
            "upto" => Ok(Self::Upto),
            "batch-settlement" => Ok(Self::BatchSettlement),
            other if fits => Ok(Self::Other(other.to_owned())),
            _ => Err(SchemeError),
        }
    }
}

impl Serialize for Scheme {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Scheme {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl JsonSchema for Scheme {
    fn schema_name() -> Cow<'static, str> {
        "Scheme".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^[-a-z0-9]{1,64}$"})
    }
}

fn offers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Accept>, D::Error> {
    let offers = Vec::<Accept>::deserialize(deserializer)?;
    if (1..=ACCEPTS_MAX).contains(&offers.len()) {
        Ok(offers)
    } else {
        Err(serde::de::Error::custom(format!("1 to {ACCEPTS_MAX} offers")))
    }
}

fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > URL_MAX { Err(serde::de::Error::custom("a URL of more than 2048 bytes")) } else { Ok(text) }
}

pub(super) fn bounded_text<'de, const MAX: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    if text.as_ref().is_some_and(|text| text.len() > MAX) {
        return Err(serde::de::Error::custom(format!("a text of more than {MAX} bytes")));
    }
    Ok(text)
}

fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b))
}

fn short_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    if text.as_ref().is_some_and(|text| !is_name(text)) {
        return Err(serde::de::Error::custom("a name has 1 to 32 printable ASCII characters"));
    }
    Ok(text)
}

fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<String>>, D::Error> {
    let tags = Option::<Vec<String>>::deserialize(deserializer)?;
    if tags.as_ref().is_some_and(|tags| tags.len() > TAGS_MAX || !tags.iter().all(|tag| is_name(tag))) {
        return Err(serde::de::Error::custom("at most 5 tags of 1 to 32 printable ASCII characters"));
    }
    Ok(tags)
}
