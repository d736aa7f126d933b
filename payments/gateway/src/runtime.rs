//! Work that must not be dropped half way: begun where it is waited for, ended on the runtime that opened the port.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use agora_economy::ports::pay::Trouble;
use agora_types::Code;
use tokio::runtime::Handle;

/// So long is waited for what stands behind the port; stock sellers give a facilitator 90 seconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(80);
/// Seconds until it is worth asking how such work ended.
const RETRY_S: u32 = 1;

/// Runs work to its end, even when nobody waits for it any more: a client that goes away while its payment is settled
/// must not leave the settlement in the middle. Who waits is told after `within` that it is still going on.
///
/// Who waits does the work itself, which costs no change of thread; `runtime` takes over what is left when the wait ends.
pub(crate) async fn finish<T, F>(runtime: &Handle, within: Duration, work: F) -> Result<T, Trouble>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Trouble>> + Send + 'static,
{
    let work = Guarded { work: Some(Box::pin(work)), runtime: runtime.clone() };
    match tokio::time::timeout(within, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(panic)) => {
            let words = panic.downcast_ref::<&str>().copied();
            let words = words.or(panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it panicked");
            Err(Trouble::new(Code::NodeIo, format!("the work was not finished: {words}")))
        }
        Err(_) => {
            let what = "this takes too long and goes on; send the same again to learn how it ended";
            Err(Trouble { retry_after_s: Some(RETRY_S), ..Trouble::new(Code::NodeBusy, what) })
        }
    }
}

/// Work that goes to its runtime when it is dropped before its end.
struct Guarded<F: Future<Output: Send> + Send + 'static> {
    /// `None` once it has ended.
    work: Option<Pin<Box<F>>>,
    runtime: Handle,
}

impl<F: Future<Output: Send> + Send + 'static> Future for Guarded<F> {
    type Output = Result<F::Output, Box<dyn Any + Send>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { work, runtime } = &mut *self;
        let future = work.as_mut().expect("polled after its end");
        // Its timers and tasks must outlive the worker that polls here.
        let _inside = runtime.enter();
        let polled = catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context)));
        let ended = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        *work = None;
        Poll::Ready(ended)
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Guarded<F> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.runtime.spawn(work);
        }
    }
}
