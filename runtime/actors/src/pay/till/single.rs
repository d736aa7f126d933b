//! A single payment at a till: held while the work is done, written down with its answer, posted.

use std::sync::Arc;

use agora_economy::ports::pay::{Admission, Answered, Kept, Pending, Ticket, Trouble};
use agora_types::authorization::Authorization;
use agora_types::{Address, Amount, Canonical as _, Code, Hash};
use agora_x402::check::SinglePayment;
use agora_x402::wire::{Object, PaymentRequirements, SettleResponse, SettledAmount};

use super::super::flights::Flight;
use super::super::rows::{KeptRow, PaidRow, load, paid_key, put};
use super::super::single::Stop;
use super::{Inner, Judged, Named, busy, other};
use crate::error::CallError;

impl Inner {
    pub(super) async fn judge_single(
        self: &Arc<Self>,
        single: SinglePayment,
        own: &PaymentRequirements,
        print: Hash,
        named: Option<Named>,
    ) -> Judged {
        let (payer, nonce) = (single.authorization.payer(), single.authorization.key());
        let key = paid_key(&payer, &nonce);
        let flight = match self.desk.flights.take(key.clone(), print) {
            Ok(flight) => flight,
            Err(taken) if taken == print => return Ok(Admission::Busy(busy())),
            Err(_) => return Ok(Admission::Conflict(other())),
        };
        if let Some(row) = load::<PaidRow>(self.desk.parts.journal.as_ref(), key).await? {
            if row.fingerprint != print {
                return Ok(Admission::Conflict(other()));
            }
            // Done before: perhaps not posted, when a crash came in between.
            let amount = self.desk.singles.post(&SinglePayment { amount: row.charge, ..single.clone() }).await?;
            let response = self.response_single(&single, amount);
            let kept = row.kept.as_ref().map(KeptRow::kept);
            return Ok(Admission::Answered(Box::new(Answered { kept, response, receipt: None })));
        }
        self.desk.singles.hold_or_adopt(&single, own.max_timeout_seconds, self.desk.since).await?;
        let ticket = SingleTicket { till: Arc::clone(self), single, print, named, flight, open: true };
        Ok(Admission::Serve(Box::new(ticket)))
    }

    fn response_single(&self, single: &SinglePayment, amount: Amount) -> SettleResponse {
        let digest = single.authorization.digest(&self.desk.parts.ledger.network());
        self.response(single.authorization.payer(), digest.to_string(), SettledAmount::Atoms(amount), Object::new())
    }
}

struct SingleTicket {
    till: Arc<Inner>,
    single: SinglePayment,
    print: Hash,
    named: Option<Named>,
    flight: Flight,
    /// False once it was settled or cancelled.
    open: bool,
}

impl Ticket for SingleTicket {
    fn payer(&self) -> Address {
        self.single.authorization.payer()
    }

    fn max(&self) -> Amount {
        self.single.amount
    }

    fn announced(&self) -> Option<SettleResponse> {
        None
    }

    fn settle(mut self: Box<Self>, charge: Amount, kept: Option<Kept>) -> Pending<'static, SettleResponse> {
        Box::pin(async move {
            let charge = match self.single.authorization {
                // Exactly what was signed, or nothing at all.
                Authorization::Exact(_) => self.single.authorization.max(),
                Authorization::Upto(_) => charge.min(self.single.amount),
            };
            let (payer, nonce) = (self.single.authorization.payer(), self.single.authorization.key());
            let (kept, at) = (KeptRow::of(kept), self.till.desk.parts.clock.now());
            let row = PaidRow { fingerprint: self.print, charge, kept, at };
            let mut writes = Named::write(self.named.as_ref(), at);
            writes.push(put(paid_key(&payer, &nonce), row.to_bytes()));
            // From here on a repeat answers from the row.
            self.open = false;
            self.till.desk.parts.journal.commit(writes).await.map_err(CallError::from)?;
            self.single.amount = charge;
            match self.till.desk.singles.post(&self.single).await {
                Ok(amount) => Ok(self.till.response_single(&self.single, amount)),
                Err(Stop::Refused(refusal)) => Ok(self.till.refused(&refusal)),
                Err(Stop::Trouble(trouble)) => Err(Trouble { code: Code::PaymentUncertain, ..trouble }),
            }
        })
    }

    fn cancel(mut self: Box<Self>) -> Pending<'static, ()> {
        Box::pin(async move {
            self.open = false;
            match self.till.desk.singles.release(&self.single).await {
                Ok(()) => Ok(()),
                Err(Stop::Refused(refusal)) => Err(Trouble::new(Code::PaymentUncertain, refusal.to_string())),
                Err(Stop::Trouble(trouble)) => Err(trouble),
            }
        })
    }
}

impl Drop for SingleTicket {
    fn drop(&mut self) {
        // The hold ends by itself; whoever has an executor calls `cancel`.
        if self.open {
            tracing::debug!(key = %hex::encode(self.flight.key_bytes()), "a held payment was dropped");
        }
    }
}
