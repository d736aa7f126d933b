//! The clock as a port: production brings the system's, simulation its own.

use agora_types::Timestamp;

/// Tells the time. Callable from any thread, never blocks; may stand still or fall back.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}
