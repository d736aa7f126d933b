//! Time and randomness as ports: production brings the system's, simulation its own.

use agora_types::command::Head;
use agora_types::{Address, CommandId, Timestamp};

/// How long a command may take to enter the log, in seconds.
const COMMAND_LIFE_S: u64 = 120;

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

/// The head of a command that is signed now.
pub fn fresh_head(clock: &dyn Clock, entropy: &dyn Random, signer: Address) -> Head {
    let now = clock.now();
    Head { signer, id: CommandId::ordered(now, random(entropy)), expires_at: now.plus_secs(COMMAND_LIFE_S) }
}
