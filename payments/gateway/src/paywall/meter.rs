//! What a handler knows of its payment, and where it says what the work really cost.

use std::sync::{Arc, Mutex, PoisonError};

use actix_web::{HttpMessage as _, HttpRequest};
use agora_types::{Address, Amount};

/// Stands in the extensions of a request behind a [`crate::Paywall`]. Without a word from the handler the whole amount
/// is charged.
#[derive(Debug, Clone)]
pub struct Meter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    payer: Address,
    max: Amount,
    charge: Mutex<Option<Amount>>,
}

impl Meter {
    pub(super) fn new(payer: Address, max: Amount) -> Self {
        Self { inner: Arc::new(Inner { payer, max, charge: Mutex::new(None) }) }
    }

    /// Of a request; `None` where no paywall stands before it.
    pub fn of(request: &HttpRequest) -> Option<Self> {
        request.extensions().get::<Self>().cloned()
    }

    /// Who pays.
    pub fn payer(&self) -> Address {
        self.inner.payer
    }

    /// The most that may be charged.
    pub fn max(&self) -> Amount {
        self.inner.max
    }

    /// Says what the work costs, from now on; more than the most is the most. A fixed price stays what it is.
    ///
    /// In a stream it may be said again and again: a client that leaves before the end pays what was said last.
    pub fn charge(&self, amount: Amount) {
        let mut charge = self.inner.charge.lock().unwrap_or_else(PoisonError::into_inner);
        *charge = Some(amount.min(self.inner.max));
    }

    /// What was said.
    pub(super) fn said(&self) -> Option<Amount> {
        *self.inner.charge.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
