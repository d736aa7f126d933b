//! Paid token streams: every stream that is opened is read to its end or closed, also when the guest falls.

use agora_sandbox_api::{Batch, ReceiptView};
use wasmtime::component::Resource;

use super::atoms;
use crate::bindings::agora::agent::inference;
use crate::failure::{Refusal, bounded, within};
use crate::guest::{Guest, HeldQuote, HeldStream};
use crate::limits;

impl inference::Host for Guest {
    /// Takes the quote: it opens one call, or none.
    async fn open(&mut self, quote: Resource<HeldQuote>) -> Result<Resource<HeldStream>, Refusal> {
        let quote = self.table.delete(quote).map_err(wasmtime::Error::from)?;
        self.quotes -= 1;
        self.begin_call()?;
        within("streams open at once", self.open.len() + 1, limits::STREAMS_MAX)?;
        let handle = self.host.open(quote.terms.handle).await?;
        self.open.insert(handle);
        Ok(self.table.push(HeldStream { handle }).map_err(wasmtime::Error::from)?)
    }
}

impl inference::HostTokenStream for Guest {
    async fn next_batch(&mut self, stream: Resource<HeldStream>, max: u32) -> Result<inference::Batch, Refusal> {
        self.begin_call()?;
        let handle = self.table.get(&stream).map_err(wasmtime::Error::from)?.handle;
        let batch = self.host.next_batch(handle, max.clamp(1, limits::BATCH_MAX)).await?;
        if batch.ended.is_some() {
            self.open.remove(&handle);
        }
        Ok(translated(batch))
    }

    /// A stream that has ended has nothing to close.
    async fn drop(&mut self, stream: Resource<HeldStream>) -> wasmtime::Result<()> {
        let handle = self.table.delete(stream)?.handle;
        if self.open.remove(&handle) {
            // The node knows when this fails; a guest cannot be told by a drop.
            let _ = self.host.close(handle).await;
        }
        Ok(())
    }
}

fn translated(batch: Batch) -> inference::Batch {
    let receipt = |receipt: ReceiptView| inference::Receipt {
        leaf: receipt.leaf.to_string(),
        input_tokens: receipt.input_tokens,
        output_tokens: receipt.output_tokens,
        charge: atoms(receipt.charge),
    };
    let ended = batch.ended.map(|ended| inference::Ended {
        receipt: ended.receipt.map(receipt),
        interrupted: ended.interrupted.map(|why| bounded(&why)),
    });
    inference::Batch { text: batch.text, tokens: batch.tokens, ended }
}
