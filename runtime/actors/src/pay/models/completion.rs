//! A completion on its way: paid by a stranger's payment or an API key, and what its payer is told.

use std::sync::Arc;

use agora_economy::ports::pay::{Completion, Ended, Kept, Pending, Piece, ReceiptRef, Trouble};
use agora_receipts::Receipt;
use agora_types::merkle::leaf_hash;
use agora_types::{Address, Amount, CallId, Code, Signed};
use agora_x402::wire::{Object, SettleResponse, SettledAmount};

use super::super::flights::Flight;
use super::super::keys::Spender;
use super::Inner;
use super::judge::Paid;
use crate::error::CallError;
use crate::purchase::{Arrived, Purchase};

/// What the payer of a completion learns about its payment.
pub(super) enum Told {
    /// Paid by an API key.
    Nothing,
    /// A single payment.
    Single { transaction: String },
    /// A channel.
    Channel(Box<ToldChannel>),
}

pub(super) struct ToldChannel {
    pub(super) paid: Paid,
    /// What the buyer was told before this request.
    pub(super) before: Amount,
    /// What it is told before the body of a stream.
    pub(super) announced: Option<Amount>,
}

pub(super) struct NodeCompletion {
    pub(super) models: Arc<Inner>,
    /// `None` once it ended.
    pub(super) purchase: Option<Purchase>,
    pub(super) first: Option<Arrived>,
    pub(super) call: CallId,
    pub(super) payer: Address,
    pub(super) told: Told,
    pub(super) spender: Option<Spender>,
    pub(super) flight: Option<Flight>,
    /// True where the call had ended before, and the host says its answer again.
    pub(super) replayed: bool,
    /// What its payer was told at the end.
    pub(super) response: Option<SettleResponse>,
}

impl NodeCompletion {
    async fn advance(&mut self) -> Result<Piece, CallError> {
        let over = || CallError::new(Code::CallNoAnswer, "the completion has ended");
        let arrived = match self.first.take() {
            Some(first) => first,
            None => self.purchase.as_mut().ok_or_else(over)?.next().await?,
        };
        match arrived {
            Arrived::Text { text, likelihoods, .. } => Ok(Piece::Text { text, likelihoods }),
            Arrived::Receipt(receipt) => {
                let purchase = self.purchase.take().ok_or_else(over)?;
                let (salt, usage) = (purchase.salt(), purchase.usage());
                let is_cut = usage.output >= purchase.quote().caps.output;
                let response = self.models.end(&self.told, self.spender.as_ref(), purchase, &receipt).await?;
                self.response.clone_from(&response);
                let said = receipt.payload();
                let leaf = leaf_hash(&receipt.to_bytes());
                let receipt = ReceiptRef { leaf, call: self.call, payer: self.payer, charge: said.charge, salt };
                Ok(Piece::End(Box::new(Ended { usage: said.usage, is_cut, receipt, response })))
            }
        }
    }
}

impl Completion for NodeCompletion {
    fn announced(&self) -> Option<SettleResponse> {
        match &self.told {
            Told::Channel(told) => Some(self.models.response_channel(told, told.announced?)),
            Told::Nothing | Told::Single { .. } => None,
        }
    }

    fn call(&self) -> CallId {
        self.call
    }

    fn replayed(&self) -> bool {
        self.replayed
    }

    fn keep(&mut self, kept: Kept) -> Pending<'_, ()> {
        Box::pin(async move {
            let Some(response) = &self.response else { return Ok(()) };
            self.models.keep(self.payer, self.call, kept, response).await
        })
    }

    fn next(&mut self) -> Pending<'_, Piece> {
        Box::pin(async move { self.advance().await.map_err(Trouble::from) })
    }
}

/// A reader that went away: the host is told to stop, and what was delivered is paid.
impl Drop for NodeCompletion {
    fn drop(&mut self) {
        let Some(mut purchase) = self.purchase.take() else { return };
        let (flight, spender) = (self.flight.take(), self.spender.take());
        let models = Arc::clone(&self.models);
        let Ok(executor) = tokio::runtime::Handle::try_current() else { return };
        executor.spawn(async move {
            let ended = async {
                purchase.stop().await?;
                let receipt = purchase.drain().await?;
                if let Some(spender) = &spender {
                    models.keys.finish(spender, purchase, receipt.payload().charge).await?;
                }
                Ok::<_, CallError>(())
            };
            if let Err(error) = ended.await {
                tracing::debug!(%error, "a completion that nobody reads ends without its receipt");
            }
            drop(flight);
        });
    }
}

impl Inner {
    /// Ends a completion after its receipt; answers with what a payer over HTTP 402 is told.
    async fn end(
        &self,
        told: &Told,
        spender: Option<&Spender>,
        purchase: Purchase,
        receipt: &Signed<Receipt>,
    ) -> Result<Option<SettleResponse>, CallError> {
        if let Some(spender) = spender {
            self.keys.finish(spender, purchase, receipt.payload().charge).await?;
        }
        Ok(self.told(told, receipt.payload()))
    }

    /// What the payer of an ended call is told, `None` for an API key.
    pub(super) fn told(&self, told: &Told, said: &Receipt) -> Option<SettleResponse> {
        match told {
            Told::Nothing => None,
            Told::Single { transaction } => {
                let amount = SettledAmount::Atoms(said.charge);
                Some(self.response(said.payer, transaction.clone(), amount, Object::new()))
            }
            Told::Channel(told) => {
                // Without a stream nobody was told yet: the claim itself says how far it goes.
                let cumulative = told.announced.unwrap_or(said.cumulative.max(told.before));
                Some(self.response_channel(told, cumulative))
            }
        }
    }
}
