//! Fields of a request as OpenAI's clients write them: absent, `null`, or of the right type.

use serde_json::{Map, Value};

use agora_types::Code;

use crate::errors::Failure;

/// The request's object.
pub(super) struct Given(Map<String, Value>);

impl Given {
    /// From a body.
    ///
    /// Read with less rigour than money is: clients send fractions such as `1e-05`, and the bytes are bound to the
    /// payment whatever they mean.
    pub(super) fn read(body: &[u8]) -> Result<Self, Failure> {
        let bad = |what: String| Failure::new(Code::WireMalformed, what);
        match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(bad("the body is no JSON object".to_owned())),
            Err(error) => Err(bad(format!("the body is no JSON: {error}"))),
        }
    }

    /// A field's value; `null` is none.
    pub(super) fn get(&self, name: &'static str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn text(&self, name: &'static str) -> Result<Option<&str>, Failure> {
        self.get(name).map(|value| value.as_str().ok_or_else(|| wrong(name, "a string"))).transpose()
    }

    pub(super) fn truth(&self, name: &'static str) -> Result<bool, Failure> {
        let value = self.get(name).map(|value| value.as_bool().ok_or_else(|| wrong(name, "true or false")));
        Ok(value.transpose()?.unwrap_or(false))
    }

    pub(super) fn count(&self, name: &'static str) -> Result<Option<u64>, Failure> {
        self.get(name).map(|value| value.as_u64().ok_or_else(|| wrong(name, "a whole number"))).transpose()
    }

    /// A fraction from 0 to 10, in thousandths.
    pub(super) fn milli(&self, name: &'static str) -> Result<Option<u32>, Failure> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_f64().filter(|number| (0.0..=10.0).contains(number));
        let number = number.ok_or_else(|| wrong(name, "a number from 0 to 10"))?;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10,000")]
        Ok(Some((number * 1_000.0).round() as u32))
    }
}

/// A field of the wrong type.
pub(super) fn wrong(name: &'static str, wanted: &str) -> Failure {
    Failure::new(Code::WireMalformed, format!("`{name}` must be {wanted}")).at(name)
}

/// A field that asks for what cannot be done.
pub(super) fn unsupported(name: &'static str, what: &str) -> Failure {
    Failure::new(Code::WireUnsupported, format!("`{name}`: {what}")).at(name)
}
