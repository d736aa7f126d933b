//! The bus between peers: publish, request, subscribe, join a queue group, and watch keys.
//!
//! Delivery is at most once and nothing is believed because it came over the bus: listings, quotes, vouchers and
//! receipts carry signatures of their own. Every queue is bounded; what did not fit shows as [`Received::Gap`]. Nobody
//! retries inside. The frames of a paid stream stand in [`frame`], its flow control in [`flow`].

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use agora_types::Code;

pub mod ask;
pub mod flow;
pub mod frame;
mod subject;

pub use subject::{Key, Pattern, Subject};

/// Most bytes of one message or one value of a key.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// Most messages that wait in one subscription.
pub const QUEUE_MAX: usize = 1_024;
/// Longest wait of one call, in milliseconds: ten minutes.
pub const TIMEOUT_MS_MAX: u32 = 600_000;

/// An answer that is still on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, BusError>> + Send + 'a>>;

/// Why the bus could not do it; nothing was delivered unless the code is `bus.timeout`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {what}; {}", .code.meaning())]
pub struct BusError {
    /// The stable code.
    pub code: Code,
    /// Which subject, key or size.
    pub what: String,
}

impl BusError {
    /// An error with its code and what it is about.
    pub fn new(code: Code, what: impl Into<String>) -> Self {
        Self { code, what: what.into() }
    }
}

/// Refuses a frame that is over [`FRAME_BYTES_MAX`].
pub fn check_size(frame: &[u8]) -> Result<(), BusError> {
    if frame.len() > FRAME_BYTES_MAX {
        return Err(BusError::new(Code::BusFrameTooLarge, format!("{} bytes", frame.len())));
    }
    Ok(())
}

/// One message as it arrives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub subject: Subject,
    /// Where an answer is awaited.
    pub reply: Option<Subject>,
    /// The bytes, at most [`FRAME_BYTES_MAX`].
    pub frame: Arc<[u8]>,
}

/// What became of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It has this value now.
    Put(Arc<[u8]>),
    /// It is gone.
    Deleted,
}

/// A change of a watched key. Revisions rise over the whole bus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyChange {
    /// The key.
    pub key: Key,
    /// The number of the change.
    pub revision: u64,
    /// What happened.
    pub change: Change,
}

/// The next thing out of a bounded queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received<T> {
    /// An item, in order.
    Item(T),
    /// At this place so many items did not fit and are lost. After a gap in a watch, watch anew.
    Gap {
        /// How many.
        missed: u64,
    },
}

/// The reading end of a subscription or a watch. Dropping it ends the subscription.
pub trait Inbox<T>: Send {
    /// Waits at most `timeout_ms` (clamped to [`TIMEOUT_MS_MAX`]) for what comes next. A caller that drops the future
    /// loses nothing.
    fn next(&mut self, timeout_ms: u32) -> Pending<'_, Received<T>>;
}

/// Messages between peers. Callable from many threads and tasks at once.
///
/// A message is delivered when it stands in the receiver's queue; nothing is durable. Messages that one caller
/// publishes one after the other arrive in that order.
pub trait Bus: Send + Sync {
    /// Delivers to each matching subscription and to one member of each matching queue group. Never waits for a slow
    /// reader: what does not fit becomes a gap there. Succeeds when nobody listens.
    fn publish<'a>(&'a self, subject: &'a Subject, reply: Option<&'a Subject>, frame: &'a [u8]) -> Pending<'a, ()>;

    /// Publishes with a fresh reply subject and waits at most `timeout_ms` for the first answer. `bus.no_responders` at
    /// once when nobody listens; after `bus.timeout` the other side may or may not have acted.
    fn request<'a>(&'a self, subject: &'a Subject, frame: &'a [u8], timeout_ms: u32) -> Pending<'a, Message>;

    /// Receives every message that matches, holding at most `capacity` (1 to [`QUEUE_MAX`], clamped).
    fn subscribe<'a>(&'a self, pattern: &'a Pattern, capacity: usize) -> Pending<'a, Box<dyn Inbox<Message>>>;

    /// Joins a queue group: each matching message goes to one member.
    fn join<'a>(
        &'a self,
        pattern: &'a Pattern,
        group: &'a str,
        capacity: usize,
    ) -> Pending<'a, Box<dyn Inbox<Message>>>;

    /// Sets a key; answers with the revision.
    fn put<'a>(&'a self, key: &'a Key, value: &'a [u8]) -> Pending<'a, u64>;

    /// Removes a key; removing what is not there changes nothing and tells no watcher.
    fn delete<'a>(&'a self, key: &'a Key) -> Pending<'a, ()>;

    /// A key's value.
    fn get<'a>(&'a self, key: &'a Key) -> Pending<'a, Option<Arc<[u8]>>>;

    /// First every present key of the bucket, in order of keys, then each change. The present keys always fit; changes
    /// wait up to `capacity`.
    fn watch<'a>(&'a self, bucket: &'a str, capacity: usize) -> Pending<'a, Box<dyn Inbox<KeyChange>>>;
}
