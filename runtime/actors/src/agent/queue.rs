//! An agent's events in the order of arrival: which wait, which are over, which go.
//!
//! A cache over the rows on disk, so that a new event, and a stranger's request above all, costs no look at all the others.
//! It holds nothing of value: whoever cannot know whether a write happened drops it, and it is read anew.

use std::collections::BTreeMap;

use agora_economy::ports::state::{Table, Write};
use agora_types::{Amount, Code, Timestamp};

use super::actor::AgentActor;
use super::book::{event, event_row, events};
use super::record::{EventRow, EventState, key};
use super::request::SERVE;
use crate::error::CallError;

/// Events that are kept, with the waiting ones; as many requests beside them.
const EVENTS_MAX: usize = 512;

#[derive(Debug, Default)]
pub(super) struct Queue(BTreeMap<(Timestamp, String), Slot>);

#[derive(Debug, Clone, Copy)]
struct Slot {
    sold: bool,
    waits: bool,
}

impl Queue {
    fn add(&mut self, event: &str, row: &EventRow) {
        let slot = Slot { sold: row.kind == SERVE, waits: row.state == EventState::Waiting };
        self.0.insert((row.received_at, event.to_owned()), slot);
    }

    /// How many wait: requests that are sold, or the owner's events.
    pub(super) fn waiting(&self, sold: bool) -> usize {
        self.0.values().filter(|slot| slot.sold == sold && slot.waits).count()
    }

    fn oldest_waiting(&self) -> Option<String> {
        self.0.iter().find(|(_, slot)| slot.waits).map(|((_, event), _)| event.clone())
    }

    /// Later than every other, also within a millisecond and by a clock that fell back: the order of time is the order of
    /// arrival.
    fn arrival(&self, now: Timestamp) -> Timestamp {
        self.0.last_key_value().map_or(now, |((latest, _), _)| now.max(latest.plus_nanos(1_000_000)))
    }

    fn end(&mut self, event: &str) {
        if let Some((_, slot)) = self.0.iter_mut().find(|((_, known), _)| known == event) {
            slot.waits = false;
        }
    }

    /// Takes out the oldest that are over, beyond the bound: of requests and of the owner's events each, so that strangers
    /// who ask much push out no event of the owner's.
    fn take_surplus(&mut self) -> Vec<String> {
        let surplus = |sold: bool| {
            let own = || self.0.iter().filter(move |(_, slot)| slot.sold == sold);
            own().filter(|(_, slot)| !slot.waits).take(own().count().saturating_sub(EVENTS_MAX))
        };
        let gone: Vec<_> = surplus(true).chain(surplus(false)).map(|(at, _)| at.clone()).collect();
        self.0.retain(|at, _| !gone.contains(at));
        gone.into_iter().map(|(_, event)| event).collect()
    }
}

impl AgentActor {
    pub(super) async fn queue(&mut self) -> Result<&mut Queue, CallError> {
        if self.queue.is_none() {
            let mut queue = Queue::default();
            for (event, row) in events(&self.work.book.ports, &self.work.book.name).await? {
                queue.add(&event, &row);
            }
            self.queue = Some(queue);
        }
        Ok(self.queue.get_or_insert_default())
    }

    /// A new event that arrives now.
    pub(super) async fn arrived(&mut self, kind: &str, payload: Vec<u8>) -> Result<EventRow, CallError> {
        let now = self.work.book.ports.buyer.clock.now();
        let received_at = self.queue().await?.arrival(now);
        let (state, calls, spent) = (EventState::Waiting, Vec::new(), Amount::ZERO);
        Ok(EventRow { kind: kind.to_owned(), payload, received_at, state, calls, spent })
    }

    /// Writes an event down.
    pub(super) async fn write_down(&mut self, event: &str, row: &EventRow) -> Result<(), CallError> {
        let write = event_row(&self.work.book.name, event, row);
        self.commit(vec![write]).await?;
        self.queue().await?.add(event, row);
        Ok(())
    }

    /// The oldest event that waits.
    pub(super) async fn oldest_waiting(&mut self) -> Result<Option<(String, EventRow)>, CallError> {
        let Some(oldest) = self.queue().await?.oldest_waiting() else { return Ok(None) };
        let row = event(&self.work.book.ports, &self.work.book.name, &oldest).await?;
        let row = row.ok_or_else(|| CallError::new(Code::StoreDamaged, format!("event {oldest} is gone")))?;
        Ok(Some((oldest, row)))
    }

    /// An event is over; the oldest beyond the bound are forgotten.
    pub(super) async fn over(&mut self, event: &str) -> Result<(), CallError> {
        let queue = self.queue().await?;
        queue.end(event);
        let surplus = queue.take_surplus();
        if surplus.is_empty() {
            return Ok(());
        }
        let name = &self.work.book.name;
        let gone = |event: &String| Write { table: Table::AgentEvents, key: key(name, event.as_bytes()), value: None };
        let writes = surplus.iter().map(gone).collect();
        self.commit(writes).await
    }

    async fn commit(&mut self, writes: Vec<Write>) -> Result<(), CallError> {
        let done = self.work.book.ports.buyer.journal.commit(writes).await;
        if done.is_err() {
            self.queue = None;
        }
        Ok(done?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: &str, at: Timestamp) -> EventRow {
        let (payload, calls, spent) = (Vec::new(), Vec::new(), Amount::ZERO);
        EventRow { kind: kind.to_owned(), payload, received_at: at, state: EventState::Waiting, calls, spent }
    }

    /// A queue to which so many requests came, and then so many events of the owner's.
    fn queue(requests: usize, events: usize) -> Queue {
        let mut queue = Queue::default();
        let kinds = std::iter::repeat_n(SERVE, requests).chain(std::iter::repeat_n("message", events));
        for (number, kind) in kinds.enumerate() {
            let at = queue.arrival(Timestamp::from_nanos(0));
            queue.add(&format!("{number}"), &row(kind, at));
        }
        queue
    }

    #[test]
    fn events_wait_in_the_order_of_arrival_whatever_the_clock_and_their_ids_say() {
        let mut queue = queue(3, 2);
        assert_eq!((queue.waiting(true), queue.waiting(false)), (3, 2));
        for number in 0..5 {
            assert_eq!(queue.oldest_waiting(), Some(number.to_string()));
            queue.end(&number.to_string());
        }
        assert_eq!((queue.oldest_waiting(), queue.waiting(true), queue.waiting(false)), (None, 0, 0));
    }

    #[test]
    fn strangers_push_out_no_event_of_the_owners_and_nothing_that_waits() {
        let mut queue = queue(EVENTS_MAX + 3, EVENTS_MAX);
        assert!(queue.take_surplus().is_empty(), "all wait");
        for number in [0, 2, 7, 9, EVENTS_MAX + 3] {
            queue.end(&number.to_string());
        }
        assert_eq!(queue.take_surplus(), ["0", "2", "7"]);
        assert!(queue.take_surplus().is_empty());
        queue.add("newest", &row("message", queue.arrival(Timestamp::from_nanos(0))));
        assert_eq!(queue.take_surplus(), [(EVENTS_MAX + 3).to_string()]);
    }
}
