//! Time and randomness as ports: production brings the system's, simulation its own.

use agora_types::Timestamp;

/// Tells the time. Callable from any thread, never blocks; may stand still or fall back.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Unpredictable bytes for ids, salts and keys. Callable from any thread.
pub trait Random: Send + Sync {
    /// Fills `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// So many random bytes.
pub fn random<const N: usize>(random: &dyn Random) -> [u8; N] {
    let mut bytes = [0; N];
    random.fill(&mut bytes);
    bytes
}
