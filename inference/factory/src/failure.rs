//! Why a training cannot begin or go on.

use std::path::PathBuf;

use agora_inference_api::EngineError;
use agora_types::{Code, Hash};

use crate::checkpoint::CheckpointError;
use crate::settings::SettingsError;

/// Why a training cannot begin or go on. What a checkpoint kept is not lost by any of them.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The settings break a bound.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// There are no examples to learn from, or too many.
    #[error("{found} examples; {bounds}")]
    Count {
        /// How many.
        found: usize,
        /// What is possible.
        bounds: String,
    },
    /// An example that cannot be learnt from.
    #[error("example {at} ({id}): {reason}")]
    Example {
        /// Its place.
        at: usize,
        /// Its id.
        id: Hash,
        /// Why.
        reason: String,
    },
    /// The checkpoint cannot be read or written.
    #[error("checkpoint {path}: {source}")]
    Checkpoint {
        /// Where it lies.
        path: PathBuf,
        /// Why.
        source: CheckpointError,
    },
    /// The model could not compute it.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The numbers grew out of all bounds.
    #[error("the gradient of step {step} is not a number; a lower learning rate or a bound on the gradient may help")]
    Diverged {
        /// Steps that were made before.
        step: u32,
    },
    /// The adapter's files cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl TrainError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Settings(_) => Code::FactorySettings,
            Self::Count { .. } | Self::Example { .. } => Code::FactoryExamples,
            Self::Checkpoint { .. } => Code::FactoryCheckpoint,
            Self::Engine(error) => error.code,
            Self::Diverged { .. } => Code::FactoryDiverged,
            Self::File { .. } => Code::NodeIo,
        }
    }
}
