//! Why a call, a purchase or an actor's work ended without success: one stable code and the words to it.

use agora_economy::ports::bus::BusError;
use agora_economy::ports::ledger::LedgerFailure;
use agora_economy::ports::log::LogFault;
use agora_inference_api::EngineError;
use agora_sandbox_api::AgentError;
use agora_types::Code;

/// A refusal or a fault on the way of a call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {what}; {}", .code.meaning())]
pub struct CallError {
    /// The stable code.
    pub code: Code,
    /// Which value, peer or file.
    pub what: String,
}

impl CallError {
    /// An error with its code and what it is about.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into() }
    }

    /// True when the world failed and the same step, repeated with the same id, may succeed.
    pub fn is_fault(&self) -> bool {
        matches!(
            self.code,
            Code::StoreFailed
                | Code::StoreDamaged
                | Code::StoreFenced
                | Code::LedgerBusy
                | Code::BusClosed
                | Code::BusNoResponders
                | Code::BusTimeout
                | Code::CallInProgress
                | Code::ChannelBusy
                | Code::PaymentUncertain
        )
    }
}

impl From<BusError> for CallError {
    fn from(error: BusError) -> Self {
        Self { code: error.code, what: error.what }
    }
}

impl From<AgentError> for CallError {
    fn from(error: AgentError) -> Self {
        Self { code: error.code, what: error.what }
    }
}

impl From<CallError> for AgentError {
    fn from(error: CallError) -> Self {
        Self::new(error.code, error.what)
    }
}

impl From<EngineError> for CallError {
    fn from(error: EngineError) -> Self {
        let what = match error.retry_ms {
            Some(wait) => format!("{}; try again in about {wait} ms", error.what),
            None => error.what,
        };
        Self { code: error.code, what }
    }
}

impl From<LedgerFailure> for CallError {
    fn from(error: LedgerFailure) -> Self {
        Self { code: error.code, what: error.what }
    }
}

impl From<LogFault> for CallError {
    fn from(fault: LogFault) -> Self {
        Self { code: fault.code(), what: fault.to_string() }
    }
}
