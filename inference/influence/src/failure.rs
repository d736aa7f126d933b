//! Why an index cannot be built, opened or asked.

use std::path::PathBuf;

use agora_inference_api::EngineError;
use agora_types::Code;

/// Why an index cannot be built, opened or asked.
#[derive(Debug, thiserror::Error)]
pub enum InfluenceError {
    /// The model could not compute it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Something breaks a bound, or is not what the spec commits to.
    #[error("{code}: {what}; {}", .code.meaning())]
    Refused {
        /// The stable code.
        code: Code,
        /// What.
        what: String,
    },
    /// A file of the index cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// What the data taught is explained no better than what it did not: the adapter learnt nothing that could be paid for.
    #[error("queries that nothing taught are explained to {null_p95}/2^32, the data's own to {own_median}/2^32 only")]
    Calibration {
        /// 95th percentile of the explained part over what the data did not teach.
        null_p95: u64,
        /// Median over what it did.
        own_median: u64,
    },
}

impl InfluenceError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Engine(error) => error.code,
            Self::Refused { code, .. } => *code,
            Self::File { .. } => Code::AttributionMatrix,
            Self::Calibration { .. } => Code::AttributionInput,
        }
    }
}

/// What breaks a bound of what was handed in.
pub(crate) fn bad_input(what: impl Into<String>) -> InfluenceError {
    InfluenceError::Refused { code: Code::AttributionInput, what: what.into() }
}

/// A file that is not what the spec commits to.
pub(crate) fn altered(what: impl Into<String>) -> InfluenceError {
    InfluenceError::Refused { code: Code::AttributionMatrix, what: what.into() }
}

/// A refusal by the integer part, with what it was about.
pub(crate) fn refused(what: &'static str) -> impl Fn(Code) -> InfluenceError {
    move |code| InfluenceError::Refused { code, what: what.to_owned() }
}
