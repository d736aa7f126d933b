//! Small state for actors: the disk's work is done on threads that may block.

use std::sync::Arc;

use agora_economy::ports::log::{LogFault, Row};
use agora_economy::ports::state::{Journal, Pending, StateStore, Table, Write};
use futures::channel::oneshot;

/// A [`StateStore`] as a [`Journal`] that blocks no executor.
#[derive(Clone)]
pub struct ThreadedJournal(Arc<dyn StateStore>);

impl ThreadedJournal {
    /// Works on this store.
    pub fn new(store: Arc<dyn StateStore>) -> Self {
        Self(store)
    }
}

async fn elsewhere<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogFault> + Send + 'static,
) -> Result<T, LogFault> {
    let done = tokio::task::spawn_blocking(work).await;
    let stopped = |error: tokio::task::JoinError| LogFault::Failed { doing: "wrote state", reason: error.to_string() };
    done.map_err(stopped)?
}

impl Journal for ThreadedJournal {
    fn commit(&self, writes: Vec<Write>) -> Pending<'_, ()> {
        let store = Arc::clone(&self.0);
        Box::pin(async move {
            // Most often the store's own writer takes it at once: a thread that waits would cost more than the write.
            let (done, told) = oneshot::channel();
            match store.begin(writes, Box::new(move |result| drop(done.send(result)))) {
                Ok(()) => told.await.unwrap_or_else(|_| {
                    let reason = "its writer stopped; open it again".to_owned();
                    Err(LogFault::Failed { doing: "wrote state", reason })
                }),
                Err((writes, _)) => elsewhere(move || store.commit(&writes)).await,
            }
        })
    }

    fn get(&self, table: Table, key: Vec<u8>) -> Pending<'_, Option<Vec<u8>>> {
        let store = Arc::clone(&self.0);
        Box::pin(elsewhere(move || store.get(table, &key)))
    }

    fn list(&self, table: Table, prefix: Vec<u8>, limit: usize) -> Pending<'_, Vec<Row>> {
        let store = Arc::clone(&self.0);
        Box::pin(elsewhere(move || store.list(table, &prefix, limit)))
    }
}
