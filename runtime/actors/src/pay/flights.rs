//! Which payment is being served now, and for which request: at most one of many equal payments gets through.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use agora_types::Hash;

/// What is in flight, by a key that names the payment.
#[derive(Clone, Default)]
pub(super) struct Flights(Arc<Mutex<BTreeMap<Vec<u8>, Hash>>>);

/// A payment's turn; it ends when this is dropped.
pub(super) struct Flight {
    flights: Flights,
    key: Vec<u8>,
}

impl Flights {
    /// Takes the turn, or says for which request it is taken.
    pub(super) fn take(&self, key: Vec<u8>, fingerprint: Hash) -> Result<Flight, Hash> {
        let mut map = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match map.get(&key) {
            Some(taken) => Err(*taken),
            None => {
                map.insert(key.clone(), fingerprint);
                Ok(Flight { flights: self.clone(), key })
            }
        }
    }

    /// How many run.
    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Flight {
    /// What names the payment.
    pub(super) fn key_bytes(&self) -> &[u8] {
        &self.key
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.flights.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
