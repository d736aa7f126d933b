//! A reserved payment that is always settled or released, whichever way its request ends.

use agora_economy::ports::pay::{Kept, Ticket, Trouble};
use agora_x402::wire::SettleResponse;
use tokio::runtime::Handle;

use super::Meter;
use crate::runtime::{PATIENCE, finish};

/// A ticket under guard. Dropped, it is released; or, once the answer flows, settled for what was metered.
pub(super) struct Reserved {
    ticket: Option<Box<dyn Ticket>>,
    meter: Meter,
    flows: bool,
    runtime: Handle,
}

impl Reserved {
    pub(super) fn new(ticket: Box<dyn Ticket>, runtime: Handle) -> Self {
        let meter = Meter::new(ticket.payer(), ticket.max());
        Self { ticket: Some(ticket), meter, flows: false, runtime }
    }

    pub(super) fn meter(&self) -> &Meter {
        &self.meter
    }

    /// See [`Ticket::announced`].
    pub(super) fn announced(&self) -> Option<SettleResponse> {
        self.ticket.as_ref().and_then(|ticket| ticket.announced())
    }

    /// From now on the client has some of the answer.
    pub(super) fn flows(&mut self) {
        self.flows = true;
    }

    /// Charges what was metered, or else all. Goes on to its end when nobody waits for it any more.
    pub(super) async fn settle(mut self, kept: Option<Kept>) -> Result<SettleResponse, Trouble> {
        let charge = self.meter.said().unwrap_or(self.meter.max());
        let ticket = self.ticket.take().expect("the ticket leaves only with what consumes its guard");
        finish(&self.runtime, PATIENCE, async move { ticket.settle(charge, kept).await }).await
    }

    /// Charges nothing. The payment is free again when this returns; where that failed, once its hold ends.
    pub(super) async fn cancel(mut self) {
        if let Some(ticket) = self.ticket.take() {
            drop(finish(&self.runtime, PATIENCE, async move { ticket.cancel().await }).await);
        }
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        match self.meter.said().filter(|_| self.flows) {
            Some(charge) => drop(self.runtime.spawn(async move { ticket.settle(charge, None).await })),
            None => drop(self.runtime.spawn(async move { ticket.cancel().await })),
        }
    }
}
