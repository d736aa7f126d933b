//! The system's clock and randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use agora_actors::clock::{Clock, Random};
use agora_types::Timestamp;

/// The machine's clock and its source of random bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct System;

impl Clock for System {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp::from_nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Random for System {
    fn fill(&self, bytes: &mut [u8]) {
        // Without randomness no id, salt or key can be made: nothing sensible is left to do.
        getrandom::fill(bytes).expect("the system gives random bytes");
    }
}
