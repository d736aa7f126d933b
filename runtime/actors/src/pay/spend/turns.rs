//! One at a time by name: two tasks never work on one purchase, or on one channel, at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Gate, OwnedMutexGuard};

/// Names whose turn is taken or waited for.
#[derive(Default)]
pub(super) struct Turns(Mutex<BTreeMap<Vec<u8>, Arc<Gate<()>>>>);

/// A turn; it ends when this is dropped.
pub(super) struct Turn {
    _guard: OwnedMutexGuard<()>,
}

impl Turns {
    /// Waits for the turn of a name.
    pub(super) async fn take(&self, name: Vec<u8>) -> Turn {
        let gate = {
            let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // Nobody else holds or awaits what only the map knows.
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
            Arc::clone(gates.entry(name).or_default())
        };
        Turn { _guard: gate.lock_owned().await }
    }
}
