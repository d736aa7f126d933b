//! Every bound of a guest that its manifest does not set.

use std::time::Duration;

/// Largest component, if the settings do not say.
pub(crate) const COMPONENT_SIZE_MAX: usize = 64 << 20;
/// Core modules and components inside one component; a Python guest has about thirty.
pub(crate) const INNER_MAX: usize = 256;
/// How deep components may stand in one another: each level multiplies what an instantiation expands to.
pub(crate) const DEPTH_MAX: usize = 3;

/// Stack of a guest. Deeper recursion traps.
pub(crate) const STACK_MAX: usize = 512 << 10;
/// Stack of a guest with the host's calls above it.
pub(crate) const STACK_WITH_HOST: usize = 2 << 20;
/// Core instances of one event.
pub(crate) const INSTANCES_MAX: usize = 256;
/// Linear memories of one event; together they have the manifest's `memory_mib`.
pub(crate) const MEMORIES_MAX: usize = 16;
/// Tables of one event.
pub(crate) const TABLES_MAX: usize = 64;
/// Elements of all tables together, a pointer each.
pub(crate) const TABLE_ELEMENTS_MAX: usize = 1 << 18;
/// Handles that the component model keeps for a guest, its own resources included.
pub(crate) const HANDLES_MAX: usize = 4_096;
/// Bytes that one host call may carry out of the guest. Above it the event ends before the host copies anything.
pub(crate) const CALL_BYTES_MAX: usize = 1 << 20;

/// One beat of the clock that interrupts guests.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// Quotes that a guest holds at once.
pub(crate) const QUOTES_MAX: usize = 64;
/// Streams that a guest has open at once.
pub(crate) const STREAMS_MAX: usize = 16;

/// Bytes of an event's payload and of its answer.
pub(crate) const PAYLOAD_MAX: usize = 64 << 10;
/// Bytes of an event's id and kind.
pub(crate) const EVENT_WORD_MAX: usize = 256;
/// Bytes of a query.
pub(crate) const QUERY_MAX: usize = 4 << 10;
/// Offers of one answer.
pub(crate) const OFFERS_MAX: u32 = 64;
/// Bytes of all messages of a question together.
pub(crate) const MESSAGES_MAX: usize = 32 << 10;
/// Messages of a question.
pub(crate) const MESSAGE_COUNT_MAX: usize = 256;
/// Texts that end an answer, and the bytes of each.
pub(crate) const STOPS_MAX: usize = 16;
/// Bytes of a text that ends an answer.
pub(crate) const STOP_SIZE_MAX: usize = 256;
/// Bytes of a key.
pub(crate) const KEY_MAX: usize = 256;
/// Keys of one answer.
pub(crate) const KEYS_MAX: u32 = 1_024;
/// Bytes of a value.
pub(crate) const VALUE_MAX: usize = 256 << 10;
/// Bytes of a log line.
pub(crate) const LOG_LINE_MAX: usize = 8 << 10;
/// Tokens of one batch.
pub(crate) const BATCH_MAX: u32 = 256;
/// Bytes of a guest's own words that are passed on.
pub(crate) const WORDS_MAX: usize = 2 << 10;
