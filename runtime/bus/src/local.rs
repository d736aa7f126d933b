//! The in-process bus: one table of subscriptions and keys behind one short lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use agora_economy::ports::bus::{
    Bus, BusError, Change, Inbox, Key, KeyChange, Message, Pattern, Pending, Received, Subject, check_size,
};
use agora_types::Code;

use crate::queue::{Queue, Reader};

/// How much one bus holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most subscriptions, group members and watches together; a running request counts as one.
    pub subscriptions_max: usize,
    /// Most keys over all buckets.
    pub keys_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { subscriptions_max: 16_384, keys_max: 16_384 }
    }
}

/// A bus within this process; clones speak on the same one. When the last is dropped, readers get what waits and then
/// `bus.closed`.
#[derive(Clone, Default)]
pub struct LocalBus {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    limits: Limits,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    last_number: u64,
    last_revision: u64,
    /// In the order of subscribing, so that delivery has one order in a simulation.
    subscriptions: BTreeMap<u64, Subscription>,
    watches: BTreeMap<u64, (String, Arc<Queue<KeyChange>>)>,
    keys: BTreeMap<Key, (u64, Arc<[u8]>)>,
}

struct Subscription {
    pattern: Pattern,
    group: Option<String>,
    queue: Arc<Queue<Message>>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let table = self.table.get_mut().unwrap_or_else(PoisonError::into_inner);
        table.subscriptions.values().for_each(|subscription| subscription.queue.close());
        table.watches.values().for_each(|(_, queue)| queue.close());
    }
}

impl Shared {
    /// Nothing is left half done under this lock, so a panic elsewhere does not spoil it.
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number for one more subscription or watch, if there is room.
    fn admit(&self, table: &mut Table) -> Result<u64, BusError> {
        let max = self.limits.subscriptions_max;
        if table.subscriptions.len() + table.watches.len() >= max {
            return Err(BusError::new(Code::BusFull, format!("{max} subscriptions")));
        }
        table.last_number += 1;
        Ok(table.last_number)
    }
}

impl Table {
    /// Hands a message out and says whether anybody listens.
    fn deliver(&mut self, message: &Message) -> bool {
        let mut groups: BTreeMap<&str, Vec<&Subscription>> = BTreeMap::new();
        let mut heard = false;
        for subscription in self.subscriptions.values().filter(|one| one.pattern.matches(&message.subject)) {
            heard = true;
            match &subscription.group {
                None => subscription.queue.push(message.clone()),
                Some(group) => groups.entry(group).or_default().push(subscription),
            }
        }
        self.last_number += u64::from(!groups.is_empty());
        for members in groups.values() {
            // Turn by turn, but rather to a member that has room.
            let turn = usize::try_from(self.last_number % members.len() as u64).unwrap_or(0);
            let order = || members.iter().cycle().skip(turn).take(members.len());
            let member = order().find(|one| one.queue.has_room()).or_else(|| order().next());
            if let Some(member) = member {
                member.queue.push(message.clone());
            }
        }
        heard
    }

    /// Stamps a change and tells the bucket's watchers.
    fn tell(&mut self, key: &Key, change: &Change) -> u64 {
        self.last_revision += 1;
        let revision = self.last_revision;
        for (_, queue) in self.watches.values().filter(|(bucket, _)| bucket == key.bucket()) {
            queue.push(KeyChange { key: key.clone(), revision, change: change.clone() });
        }
        revision
    }
}

impl LocalBus {
    /// A bus with limits of its own.
    pub fn new(limits: Limits) -> Self {
        Self { shared: Arc::new(Shared { limits, table: Mutex::default() }) }
    }

    fn listen(&self, pattern: &Pattern, group: Option<&str>, capacity: usize) -> Result<Reader<Message>, BusError> {
        let mut table = self.shared.table();
        let number = self.shared.admit(&mut table)?;
        let queue = Queue::new(capacity, []);
        let subscription =
            Subscription { pattern: pattern.clone(), group: group.map(str::to_owned), queue: queue.clone() };
        table.subscriptions.insert(number, subscription);
        Ok(self.reader(queue, move |table| drop(table.subscriptions.remove(&number))))
    }

    fn reader<T>(&self, queue: Arc<Queue<T>>, leave: impl FnOnce(&mut Table) + Send + 'static) -> Reader<T> {
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        Reader::new(queue, move || {
            if let Some(shared) = shared.upgrade() {
                leave(&mut shared.table());
            }
        })
    }

    fn send(&self, subject: &Subject, reply: Option<&Subject>, frame: &[u8]) -> Result<bool, BusError> {
        check_size(frame)?;
        let message = Message { subject: subject.clone(), reply: reply.cloned(), frame: frame.into() };
        Ok(self.shared.table().deliver(&message))
    }

    async fn ask(&self, subject: &Subject, frame: &[u8], timeout_ms: u32) -> Result<Message, BusError> {
        check_size(frame)?;
        let reply = {
            let mut table = self.shared.table();
            table.last_number += 1;
            Subject::new(subject.network(), "_reply", &table.last_number.to_string())?
        };
        let mut inbox = self.listen(&Pattern::from(&reply), None, 1)?;
        if !self.send(subject, Some(&reply), frame)? {
            return Err(BusError::new(Code::BusNoResponders, subject.to_string()));
        }
        match inbox.next(timeout_ms).await {
            Ok(Received::Item(answer)) => Ok(answer),
            Ok(Received::Gap { .. }) => Err(BusError::new(Code::BusGap, subject.to_string())),
            Err(error) => Err(BusError::new(error.code, format!("{subject}, {}", error.what))),
        }
    }

    fn change(&self, key: &Key, value: &[u8]) -> Result<u64, BusError> {
        check_size(value)?;
        let mut table = self.shared.table();
        let max = self.shared.limits.keys_max;
        if !table.keys.contains_key(key) && table.keys.len() >= max {
            return Err(BusError::new(Code::BusFull, format!("{max} keys")));
        }
        let value: Arc<[u8]> = value.into();
        let revision = table.tell(key, &Change::Put(value.clone()));
        table.keys.insert(key.clone(), (revision, value));
        Ok(revision)
    }

    fn observe(&self, bucket: &str, capacity: usize) -> Result<Reader<KeyChange>, BusError> {
        Key::new(bucket, "any")?;
        let mut table = self.shared.table();
        let number = self.shared.admit(&mut table)?;
        let present: Vec<KeyChange> = table
            .keys
            .iter()
            .filter(|(key, _)| key.bucket() == bucket)
            .map(|(key, (revision, value))| KeyChange {
                key: key.clone(),
                revision: *revision,
                change: Change::Put(value.clone()),
            })
            .collect();
        let queue = Queue::new(capacity, present);
        table.watches.insert(number, (bucket.to_owned(), queue.clone()));
        Ok(self.reader(queue, move |table| drop(table.watches.remove(&number))))
    }
}

impl Bus for LocalBus {
    fn publish<'a>(&'a self, subject: &'a Subject, reply: Option<&'a Subject>, frame: &'a [u8]) -> Pending<'a, ()> {
        Box::pin(async move { self.send(subject, reply, frame).map(|_heard| ()) })
    }

    fn request<'a>(&'a self, subject: &'a Subject, frame: &'a [u8], timeout_ms: u32) -> Pending<'a, Message> {
        Box::pin(self.ask(subject, frame, timeout_ms))
    }

    fn subscribe<'a>(&'a self, pattern: &'a Pattern, capacity: usize) -> Pending<'a, Box<dyn Inbox<Message>>> {
        Box::pin(async move { Ok(Box::new(self.listen(pattern, None, capacity)?) as Box<dyn Inbox<Message>>) })
    }

    fn join<'a>(
        &'a self,
        pattern: &'a Pattern,
        group: &'a str,
        capacity: usize,
    ) -> Pending<'a, Box<dyn Inbox<Message>>> {
        Box::pin(async move {
            Key::new("group", group)?;
            Ok(Box::new(self.listen(pattern, Some(group), capacity)?) as Box<dyn Inbox<Message>>)
        })
    }

    fn put<'a>(&'a self, key: &'a Key, value: &'a [u8]) -> Pending<'a, u64> {
        Box::pin(async move { self.change(key, value) })
    }

    fn delete<'a>(&'a self, key: &'a Key) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut table = self.shared.table();
            if table.keys.remove(key).is_some() {
                table.tell(key, &Change::Deleted);
            }
            Ok(())
        })
    }

    fn get<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<Arc<[u8]>>> {
        Box::pin(async move { Ok(self.shared.table().keys.get(key).map(|(_, value)| value.clone())) })
    }

    fn watch<'a>(&'a self, bucket: &'a str, capacity: usize) -> Pending<'a, Box<dyn Inbox<KeyChange>>> {
        Box::pin(async move { Ok(Box::new(self.observe(bucket, capacity)?) as Box<dyn Inbox<KeyChange>>) })
    }
}
