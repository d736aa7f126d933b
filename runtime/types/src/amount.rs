//! Amounts of OPEN in atoms: unsigned integers with checked arithmetic and an exact decimal text form.

use std::fmt;
use std::str::FromStr;

use minicbor::data::{IanaTag, Type};
use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::{Deserialize, Serialize};

/// Decimal places of OPEN.
pub const DECIMALS: u32 = 18;

/// The most atoms of OPEN that can ever exist: 1,000,000,000 OPEN, 10^27 atoms.
pub const CAP: Amount = Amount(1_000_000_000 * ATOMS_PER_OPEN);

const ATOMS_PER_OPEN: u128 = 10u128.pow(DECIMALS);

/// A number of atoms (10^-18 OPEN).
///
/// Text given by people goes through [`FromStr`], which refuses more than [`CAP`]; running totals (everything an
/// account was ever debited) may pass the cap, so arithmetic is bounded by u128 only and always checked.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Amount(u128);

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Signs, exponents, separators, blanks, or nothing at all.
    #[error("`{0}` is not an amount: write digits and at most one point, such as `12.5` (no sign, no exponent)")]
    NotDecimal(String),
    /// More than 18 digits behind the point.
    #[error("`{0}` has more than 18 decimal places; one atom is 0.000000000000000001 OPEN")]
    TooPrecise(String),
    /// Above the cap of 10^27 atoms.
    #[error("`{0}` is more than the 1000000000 OPEN that can ever exist")]
    AboveCap(String),
}

impl AmountError {
    /// The stable code.
    pub fn code(&self) -> crate::Code {
        match self {
            Self::NotDecimal(_) => crate::Code::AmountNotDecimal,
            Self::TooPrecise(_) => crate::Code::AmountTooPrecise,
            Self::AboveCap(_) => crate::Code::AmountAboveCap,
        }
    }
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount of `atoms`.
    pub const fn from_atoms(atoms: u128) -> Self {
        Self(atoms)
    }

    /// An amount of whole OPEN; `None` above u128.
    pub const fn from_open(open: u64) -> Self {
        // u64::MAX * 10^18 < 2^124: cannot overflow.
        Self(open as u128 * ATOMS_PER_OPEN)
    }

    /// The atoms.
    pub const fn atoms(self) -> u128 {
        self.0
    }

    /// True for nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, or `None` above u128.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(atoms) => Some(Self(atoms)),
            None => None,
        }
    }

    /// The difference, or `None` below zero.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(atoms) => Some(Self(atoms)),
            None => None,
        }
    }

    /// The product with a count, or `None` above u128.
    pub const fn checked_mul(self, count: u128) -> Option<Self> {
        match self.0.checked_mul(count) {
            Some(atoms) => Some(Self(atoms)),
            None => None,
        }
    }

    /// The difference, or nothing where the other is larger.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The checked sum of many; `None` above u128.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// The atoms as decimal text: the form of JSON and of machines.
    pub fn to_atoms_text(self) -> String {
        self.0.to_string()
    }

    /// Reads the machine form: decimal atoms, no sign, no leading zero, at most 39 digits.
    pub fn from_atoms_text(text: &str) -> Result<Self, AmountError> {
        let bad = || AmountError::NotDecimal(shorten(text));
        let plain = !text.is_empty() && text.len() <= 39 && text.bytes().all(|b| b.is_ascii_digit());
        if !plain || (text.len() > 1 && text.starts_with('0')) {
            return Err(bad());
        }
        text.parse().map(Self).map_err(|_| bad())
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Decimal OPEN with at most 18 places, as people write it: `12.5`.
impl FromStr for Amount {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, AmountError> {
        let bad = || AmountError::NotDecimal(shorten(text));
        let (whole, fraction) = match text.split_once('.') {
            Some((_, "")) => return Err(bad()),
            Some(parts) => parts,
            None => (text, ""),
        };
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(fraction) {
            return Err(bad());
        }
        if fraction.len() > DECIMALS as usize {
            return Err(AmountError::TooPrecise(shorten(text)));
        }
        let above = || AmountError::AboveCap(shorten(text));
        let whole = whole.trim_start_matches('0');
        if whole.len() > 10 {
            return Err(above());
        }
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
        let fraction: u128 = format!("{fraction:0<18}").parse().map_err(|_| bad())?;
        let atoms = whole * ATOMS_PER_OPEN + fraction;
        if atoms > CAP.0 { Err(above()) } else { Ok(Self(atoms)) }
    }
}

/// Decimal OPEN without trailing zeros and without the unit.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / ATOMS_PER_OPEN, self.0 % ATOMS_PER_OPEN);
        let text = if fraction == 0 {
            whole.to_string()
        } else {
            format!("{whole}.{}", format!("{fraction:018}").trim_end_matches('0'))
        };
        f.pad(&text)
    }
}

impl fmt::Debug for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} OPEN")
    }
}

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::from_atoms_text(&text).map_err(serde::de::Error::custom)
    }
}

impl schemars::JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string", "pattern": "^(0|[1-9][0-9]{0,38})$", "description": "atoms (10^-18 OPEN), decimal"
        })
    }
}

/// A CBOR unsigned integer up to 2^64-1, above that a tag 2 bignum without leading zeros (RFC 8949 section 3.4.3).
impl<C> Encode<C> for Amount {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match u64::try_from(self.0) {
            Ok(small) => e.u64(small)?.ok(),
            Err(_) => {
                let bytes = self.0.to_be_bytes();
                let zeros = bytes.iter().take_while(|b| **b == 0).count();
                e.tag(IanaTag::PosBignum)?.bytes(&bytes[zeros..])?.ok()
            }
        }
    }
}

impl<'b, C> Decode<'b, C> for Amount {
    fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let position = d.position();
        let bad = |text: &'static str| minicbor::decode::Error::message(text).at(position);
        if d.datatype()? != Type::Tag {
            return d.u64().map(|small| Self(u128::from(small)));
        }
        if d.tag()? != minicbor::data::Tag::from(IanaTag::PosBignum) {
            return Err(bad("an amount is an unsigned integer"));
        }
        let bytes = d.bytes()?;
        if !(9..=16).contains(&bytes.len()) || bytes[0] == 0 {
            return Err(bad("an amount above 2^64 has 9 to 16 bytes without leading zeros"));
        }
        Ok(Self(bytes.iter().fold(0, |value, byte| (value << 8) | u128::from(*byte))))
    }
}
