//! A bounded queue that never blocks its writers: what does not fit becomes a gap at that place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agora_economy::ports::bus::{BusError, Inbox, Pending, QUEUE_MAX, Received, TIMEOUT_MS_MAX};
use agora_types::Code;
use tokio::sync::Notify;

/// One queue: many writers, one reader.
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    news: Notify,
    capacity: usize,
}

struct Inner<T> {
    waiting: VecDeque<Received<T>>,
    items: usize,
    closed: bool,
}

impl<T> Queue<T> {
    /// Holds `capacity` items (1 to [`QUEUE_MAX`], clamped), and besides these the `first` ones.
    pub(crate) fn new(capacity: usize, first: impl IntoIterator<Item = T>) -> Arc<Self> {
        let waiting: VecDeque<_> = first.into_iter().map(Received::Item).collect();
        let capacity = capacity.clamp(1, QUEUE_MAX) + waiting.len();
        let inner = Inner { items: waiting.len(), waiting, closed: false };
        Arc::new(Self { inner: Mutex::new(inner), news: Notify::new(), capacity })
    }

    /// Nothing is left half done under this lock, so a panic elsewhere does not spoil it.
    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// True while one more item would fit.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().items < self.capacity
    }

    /// Puts an item at the end, or counts it in the gap at the end.
    pub(crate) fn push(&self, item: T) {
        let mut inner = self.lock();
        if inner.items < self.capacity {
            inner.items += 1;
            inner.waiting.push_back(Received::Item(item));
        } else if let Some(Received::Gap { missed }) = inner.waiting.back_mut() {
            *missed += 1;
        } else {
            // Between two gaps stands at least one item, so there are at most as many gaps as items.
            inner.waiting.push_back(Received::Gap { missed: 1 });
        }
        drop(inner);
        self.news.notify_one();
    }

    /// The reader gets what waits, then `bus.closed`.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.news.notify_one();
    }

    fn pop(&self) -> Result<Option<Received<T>>, BusError> {
        let mut inner = self.lock();
        let next = inner.waiting.pop_front();
        match &next {
            Some(Received::Item(_)) => inner.items -= 1,
            Some(Received::Gap { .. }) => {}
            None if inner.closed => return Err(BusError::new(Code::BusClosed, "the bus")),
            None => {}
        }
        Ok(next)
    }
}

/// The reading end; `on_drop` takes the queue off the bus.
pub(crate) struct Reader<T> {
    queue: Arc<Queue<T>>,
    on_drop: Option<Box<dyn FnOnce() + Send>>,
}

impl<T> Reader<T> {
    pub(crate) fn new(queue: Arc<Queue<T>>, on_drop: impl FnOnce() + Send + 'static) -> Self {
        Self { queue, on_drop: Some(Box::new(on_drop)) }
    }
}

impl<T: Send> Inbox<T> for Reader<T> {
    fn next(&mut self, timeout_ms: u32) -> Pending<'_, Received<T>> {
        Box::pin(async move {
            let wait = async {
                loop {
                    if let Some(next) = self.queue.pop()? {
                        return Ok(next);
                    }
                    // News that came since the look above is kept as a permit, so none is slept through.
                    self.queue.news.notified().await;
                }
            };
            let limit = Duration::from_millis(timeout_ms.min(TIMEOUT_MS_MAX).into());
            let late = |_| Err(BusError::new(Code::BusTimeout, format!("waited {} ms", limit.as_millis())));
            tokio::time::timeout(limit, wait).await.unwrap_or_else(late)
        })
    }
}

impl<T> Drop for Reader<T> {
    fn drop(&mut self) {
        if let Some(on_drop) = self.on_drop.take() {
            on_drop();
        }
    }
}
