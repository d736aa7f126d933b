//! A bounded channel from the engine's thread to one reader, of no particular executor.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use agora_inference_api::{EngineError, Pending, Piece, TokenStream};
use agora_types::Code;

use super::desk::Doorbell;

/// What both ends share.
#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Piece>,
    /// The last piece or the failure; it stands outside the bound, so that an ended row can go.
    last: Option<Result<Piece, EngineError>>,
    ended: bool,
    cancelled: bool,
    /// The writer waits for room.
    full: bool,
    waker: Option<Waker>,
}

type Shared = Arc<Mutex<Inner>>;

fn lock(shared: &Shared) -> MutexGuard<'_, Inner> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The writing end; if it is dropped before the end, the reader learns that the engine stopped.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Shared,
    ahead_max: usize,
}

/// The reading end.
#[derive(Debug)]
pub(super) struct Reader {
    shared: Shared,
    doorbell: Arc<Doorbell>,
}

/// Two ends of one answer.
pub(super) fn pair(ahead_max: usize, doorbell: &Arc<Doorbell>) -> (Writer, Reader) {
    let shared = Shared::default();
    let reader = Reader { shared: Arc::clone(&shared), doorbell: Arc::clone(doorbell) };
    (Writer { shared, ahead_max: ahead_max.max(1) }, reader)
}

impl Writer {
    /// Nobody reads any more.
    pub(super) fn is_cancelled(&self) -> bool {
        lock(&self.shared).cancelled
    }

    /// Whether one more piece may wait. If not, the reader rings when it has taken one.
    pub(super) fn has_room(&self) -> bool {
        let mut inner = lock(&self.shared);
        inner.full = inner.waiting.len() >= self.ahead_max;
        !inner.full
    }

    /// The next piece.
    pub(super) fn push(&self, piece: Piece) {
        self.change(|inner| inner.waiting.push_back(piece));
    }

    /// The last piece, or why there is none.
    pub(super) fn end(&self, last: Result<Piece, EngineError>) {
        self.change(|inner| {
            inner.last = Some(last);
            inner.ended = true;
        });
    }

    fn change(&self, change: impl FnOnce(&mut Inner)) {
        let mut inner = lock(&self.shared);
        change(&mut inner);
        let waker = inner.waker.take();
        drop(inner);
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !lock(&self.shared).ended {
            self.end(Err(EngineError::new(Code::EngineStopped, "the engine ended during the answer")));
        }
    }
}

impl TokenStream for Reader {
    fn next(&mut self) -> Pending<'_, Option<Piece>> {
        Box::pin(std::future::poll_fn(|context| {
            let mut inner = lock(&self.shared);
            if let Some(piece) = inner.waiting.pop_front() {
                let was_full = std::mem::take(&mut inner.full);
                drop(inner);
                if was_full {
                    self.doorbell.ring();
                }
                return Poll::Ready(Ok(Some(piece)));
            }
            if let Some(last) = inner.last.take() {
                return Poll::Ready(last.map(Some));
            }
            if inner.ended {
                return Poll::Ready(Ok(None));
            }
            inner.waker = Some(context.waker().clone());
            Poll::Pending
        }))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        lock(&self.shared).cancelled = true;
        self.doorbell.ring();
    }
}
