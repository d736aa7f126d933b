//! Numbers as the protocol writes them: decimal strings without sign, leading zero, exponent, hex or blank.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use agora_types::{Amount, Hash};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Digits of the largest uint256.
const UINT256_DIGITS_MAX: usize = 78;

/// Why a text is not such a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("write digits only: no sign, no leading zero, no exponent, no 0x, and not more than the field can hold")]
pub struct NumberError;

fn plain(text: &str, digits_max: usize) -> Result<(), NumberError> {
    let digits = !text.is_empty() && text.len() <= digits_max && text.bytes().all(|b| b.is_ascii_digit());
    if digits && (text.len() == 1 || !text.starts_with('0')) { Ok(()) } else { Err(NumberError) }
}

macro_rules! text_form {
    ($name:ident, $pattern:literal, $description:literal) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({"type": "string", "pattern": $pattern, "description": $description})
            }
        }
    };
}

/// A count of at most 64 bits, most often unix seconds, as a decimal string.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u64);
text_form!(Seconds, "^(0|[1-9][0-9]{0,19})$", "at most 2^64 - 1, decimal");

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Seconds {
    type Err = NumberError;
    fn from_str(text: &str) -> Result<Self, NumberError> {
        plain(text, 20)?;
        text.parse().map(Self).map_err(|_| NumberError)
    }
}

/// A Permit2 nonce: a uint256 as a decimal string, kept as 32 bytes, big-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nonce(pub Hash);
text_form!(Nonce, "^(0|[1-9][0-9]{0,77})$", "a uint256, decimal");

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = *self.0.as_bytes();
        let mut digits = Vec::with_capacity(UINT256_DIGITS_MAX);
        loop {
            // Long division by ten, one byte at a time: the carry stays below ten.
            let mut carry = 0u16;
            for byte in &mut rest {
                let value = carry * 256 + u16::from(*byte);
                *byte = u8::try_from(value / 10).unwrap_or(u8::MAX);
                carry = value % 10;
            }
            digits.push(char::from(b'0' + u8::try_from(carry).unwrap_or(0)));
            if rest.iter().all(|byte| *byte == 0) {
                break;
            }
        }
        f.write_str(&digits.iter().rev().collect::<String>())
    }
}

impl FromStr for Nonce {
    type Err = NumberError;
    fn from_str(text: &str) -> Result<Self, NumberError> {
        plain(text, UINT256_DIGITS_MAX)?;
        let mut bytes = [0u8; 32];
        for digit in text.bytes() {
            let mut carry = u16::from(digit - b'0');
            for byte in bytes.iter_mut().rev() {
                let value = u16::from(*byte) * 10 + carry;
                *byte = value.to_be_bytes()[1];
                carry = value >> 8;
            }
            if carry != 0 {
                return Err(NumberError);
            }
        }
        Ok(Self(Hash::new(bytes)))
    }
}

/// What a settlement moved: an amount, or the empty string where nothing moves now (a voucher, a claim).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettledAmount {
    /// `""`.
    Unsaid,
    /// Atoms.
    Atoms(Amount),
}
text_form!(SettledAmount, "^(|0|[1-9][0-9]{0,38})$", "atoms, decimal; empty where nothing moves now");

impl fmt::Display for SettledAmount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsaid => Ok(()),
            Self::Atoms(amount) => f.write_str(&amount.to_atoms_text()),
        }
    }
}

impl FromStr for SettledAmount {
    type Err = NumberError;
    fn from_str(text: &str) -> Result<Self, NumberError> {
        if text.is_empty() {
            return Ok(Self::Unsaid);
        }
        Amount::from_atoms_text(text).map(Self::Atoms).map_err(|_| NumberError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uint256_keeps_its_value_as_text() {
        for text in
            ["0", "1", "255", "256", "115792089237316195423570985008687907853269984665640564039457584007913129639935"]
        {
            assert_eq!(text.parse::<Nonce>().unwrap().to_string(), text);
        }
        assert_eq!("256".parse::<Nonce>().unwrap().0.as_bytes()[30..], [1, 0]);
        let above = "115792089237316195423570985008687907853269984665640564039457584007913129639936";
        assert_eq!(above.parse::<Nonce>(), Err(NumberError));
    }

    #[test]
    fn only_plain_digits_are_numbers() {
        for text in ["", "00", "01", "+1", "-1", " 1", "1 ", "1e3", "0x1", "1_0", "1.0", "١", "18446744073709551616"] {
            assert!(text.parse::<Seconds>().is_err(), "{text:?}");
        }
        assert_eq!("18446744073709551615".parse(), Ok(Seconds(u64::MAX)));
        assert_eq!("".parse(), Ok(SettledAmount::Unsaid));
    }
}
