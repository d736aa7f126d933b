//! Work that must not be dropped half way: it runs on the runtime that opened the port.

use std::future::Future;
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
pub(crate) async fn finish<T, F>(runtime: &Handle, within: Duration, work: F) -> Result<T, Trouble>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Trouble>> + Send + 'static,
{
    match tokio::time::timeout(within, runtime.spawn(work)).await {
        Ok(Ok(result)) => result,
        Ok(Err(error)) => Err(Trouble::new(Code::NodeIo, format!("the work was not finished: {error}"))),
        Err(_) => {
            let what = "this takes too long and goes on; send the same again to learn how it ended";
            Err(Trouble { retry_after_s: Some(RETRY_S), ..Trouble::new(Code::NodeBusy, what) })
        }
    }
}
