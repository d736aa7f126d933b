//! The seller's side of a node: its keys, its ports, and which call has which channel.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use agora_catalog::{Listing, Quotes};
use agora_economy::ports::attribution::Attributor;
use agora_economy::ports::bus::{Bus, ask};
use agora_economy::ports::ledger::Ledger;
use agora_economy::ports::state::{Journal, Table, Write};
use agora_inference_api::Engine;
use agora_types::command::Head;
use agora_types::eip712::Network;
use agora_types::key::{StatementSigner, WalletKey};
use agora_types::{Address, CallId, ChannelId, Code, ListingId, Signed, Timestamp};

use super::line::Line;
use crate::clock::{Clock, Random, fresh_head};
use crate::error::CallError;

/// Outstanding quotes of one payer, and of all.
const QUOTES_PER_PAYER: usize = 16;
const QUOTES_MAX: usize = 16_384;
/// Key of the host's count of calls in [`Table::Seller`], apart from heads and chunks.
const SEQ_KEY: &[u8] = b"n";

/// What a seller is made of.
#[derive(Clone)]
pub struct SellerParts {
    /// The host's account: settles calls, is paid.
    pub account: Arc<WalletKey>,
    /// Signs quotes and receipts; registered on the ledger.
    pub receipt_key: Arc<StatementSigner>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Where sales are written down.
    pub journal: Arc<dyn Journal>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Ids.
    pub random: Arc<dyn Random>,
    /// Measures the answers of listings that name an attribution spec; without one, they are not quoted.
    pub attributor: Option<Arc<dyn Attributor>>,
}

/// A host that sells answers. Shared by all its calls.
pub struct Seller {
    pub(crate) parts: SellerParts,
    listings: Mutex<BTreeMap<ListingId, Signed<Listing>>>,
    quotes: Mutex<Quotes>,
    busy: Mutex<BTreeMap<ChannelId, CallId>>,
    /// The number that the next receipt carries; held while it is written down.
    next_seq: futures::lock::Mutex<u64>,
    /// Held while calls are measured, or their earnings published.
    pub(super) measuring: futures::lock::Mutex<()>,
}

/// A channel's turn: while it lives, no other call runs on the channel.
pub(crate) struct Turn<'a> {
    seller: &'a Seller,
    channel: ChannelId,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.seller.busy).remove(&self.channel);
    }
}

/// Nothing is left half done under these locks, so a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seller {
    /// Opens the seller and reads its count of calls.
    ///
    /// # Errors
    /// The journal's faults.
    pub async fn open(parts: SellerParts) -> Result<Self, CallError> {
        let stored = parts.journal.get(Table::Seller, SEQ_KEY.to_vec()).await?;
        let next_seq = stored.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes);
        Ok(Self {
            parts,
            listings: Mutex::default(),
            quotes: Mutex::new(Quotes::new(QUOTES_PER_PAYER, QUOTES_MAX)),
            busy: Mutex::default(),
            next_seq: futures::lock::Mutex::new(next_seq),
            measuring: futures::lock::Mutex::default(),
        })
    }

    /// Serves this listing from now on; its terms must be those on the ledger when a quote is asked for.
    pub fn list(&self, listing: Signed<Listing>) {
        lock(&self.listings).insert(listing.payload().id(), listing);
    }

    /// The host's account.
    pub fn account(&self) -> Address {
        self.parts.account.address()
    }

    /// Chain id and asset.
    pub fn network(&self) -> Network {
        self.parts.ledger.network()
    }

    /// The engine.
    pub fn engine(&self) -> &dyn Engine {
        self.parts.engine.as_ref()
    }

    /// True where listings that name an attribution spec may be served.
    pub(crate) fn measures(&self) -> bool {
        self.parts.attributor.is_some()
    }

    /// Calls that run now.
    pub fn running(&self) -> usize {
        lock(&self.busy).len()
    }

    /// True while the call runs.
    pub(crate) fn serves(&self, call: &CallId) -> bool {
        lock(&self.busy).values().any(|running| running == call)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    pub(crate) fn ledger(&self) -> &dyn Ledger {
        self.parts.ledger.as_ref()
    }

    pub(crate) fn listing(&self, id: &ListingId) -> Result<Signed<Listing>, CallError> {
        let found = lock(&self.listings).get(id).cloned();
        found.ok_or_else(|| CallError::new(Code::ListingNotFound, id.to_string()))
    }

    pub(crate) fn quotes(&self) -> MutexGuard<'_, Quotes> {
        lock(&self.quotes)
    }

    /// A fresh head for a command of this host.
    pub(crate) fn head(&self) -> Head {
        fresh_head(self.parts.clock.as_ref(), self.parts.random.as_ref(), self.account())
    }

    /// The host's end of a stream.
    pub(crate) async fn line(&self, payer: &Address, call: CallId) -> Result<Line, CallError> {
        let network = self.network().chain_id;
        let (up, down) = (ask::stream_up(network, payer, &call)?, ask::stream_down(network, payer, &call)?);
        Ok(Line::open(Arc::clone(&self.parts.bus), call, up, down).await?)
    }

    /// Takes the channel's turn for a call.
    pub(crate) fn enter(&self, channel: ChannelId, call: CallId) -> Result<Turn<'_>, CallError> {
        let mut busy = lock(&self.busy);
        match busy.get(&channel) {
            Some(running) if *running == call => Err(CallError::new(Code::CallInProgress, call.to_string())),
            Some(_) => Err(CallError::new(Code::ChannelBusy, channel.to_string())),
            None => {
                busy.insert(channel, call);
                Ok(Turn { seller: self, channel })
            }
        }
    }

    /// Writes `writes` down together with the number of the receipt in them, which `make` puts there.
    pub(crate) async fn number(&self, make: impl FnOnce(u64) -> Write) -> Result<(), CallError> {
        let mut next = self.next_seq.lock().await;
        let number = *next;
        let count =
            Write { table: Table::Seller, key: SEQ_KEY.to_vec(), value: Some((number + 1).to_be_bytes().into()) };
        // Whatever the answer is, this number may be on disk: it is not given again.
        *next += 1;
        Ok(self.parts.journal.commit(vec![make(number), count]).await?)
    }
}
