//! Listings as buyers find them: every one signed, and the one that the ledger names.
//!
//! What comes over the bus is checked like everything else; listings of this node are kept in [`Table::Catalog`] and
//! announced again at every start. A crash leaves rows that are announced again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agora_catalog::{Listing, find};
use agora_economy::ports::bus::{Bus, Change, Inbox, Key, KeyChange, Received, TIMEOUT_MS_MAX};
use agora_economy::ports::ledger::Ledger;
use agora_economy::ports::state::{Journal, Table, Write};
use agora_types::{Code, ListingId, Signed};
use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::message::{Context, Message};

use crate::ask::ask;
use crate::error::CallError;
use crate::purchase::{Directory, Pending};

/// Most listings that are known at once.
pub const LISTINGS_MAX: usize = 65_536;
/// Most listings of one answer.
const FOUND_MAX: usize = 256;
/// The bus's bucket.
const BUCKET: &str = "listings";
/// First byte of a listing's key in [`Table::Catalog`].
const LISTING_KEY: u8 = b'l';
/// Changes that wait.
const CHANGES: usize = 1_024;
/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(10);

/// What the actor starts from, also after a crash.
#[derive(Clone)]
pub struct DirectorySettings {
    /// Says which terms count.
    pub ledger: Arc<dyn Ledger>,
    /// Where listings are announced.
    pub bus: Arc<dyn Bus>,
    /// Where this node's own listings are kept.
    pub journal: Arc<dyn Journal>,
}

/// Owner of what is known.
pub struct DirectoryActor {
    settings: DirectorySettings,
    known: BTreeMap<ListingId, Signed<Listing>>,
    watch: tokio::task::AbortHandle,
}

/// Keeps and announces a listing of this node.
struct Publish(Signed<Listing>);

/// A listing, or its end, heard on the bus.
struct Heard(KeyChange);

/// The bus's watch has ended.
struct WatchEnded;

struct Find(String, usize);

struct Get(ListingId);

impl Actor for DirectoryActor {
    type Args = DirectorySettings;
    type Error = CallError;

    async fn on_start(settings: DirectorySettings, myself: ActorRef<Self>) -> Result<Self, CallError> {
        let mut known = BTreeMap::new();
        for (_, bytes) in settings.journal.list(Table::Catalog, vec![LISTING_KEY], LISTINGS_MAX).await? {
            // One that the ledger no longer names is passed over, not lost.
            if let Ok(listing) = checked(settings.ledger.as_ref(), &bytes).await {
                announce(settings.bus.as_ref(), &listing).await?;
                known.insert(listing.payload().id(), listing);
            }
        }
        let changes = settings.bus.watch(BUCKET, CHANGES).await?;
        let watch = tokio::spawn(listen(changes, myself)).abort_handle();
        Ok(Self { settings, known, watch })
    }
}

impl Drop for DirectoryActor {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

// It holds the actor itself: after a restart, nobody else does. It ends with the actor.
async fn listen(mut changes: Box<dyn Inbox<KeyChange>>, directory: ActorRef<DirectoryActor>) {
    loop {
        let heard = changes.next(TIMEOUT_MS_MAX).await;
        let told = match heard {
            Ok(Received::Item(change)) => directory.tell(Heard(change)).await.is_ok(),
            Err(error) if error.code == Code::BusTimeout => true,
            // After a gap nobody knows what is missing: the actor starts anew and watches from the beginning.
            Ok(Received::Gap { .. }) | Err(_) => {
                let _ = directory.tell(WatchEnded).await;
                return;
            }
        };
        if !told {
            return;
        }
    }
}

/// A listing whose bytes are exactly those that its owner put on the ledger by hash.
async fn checked(ledger: &dyn Ledger, bytes: &[u8]) -> Result<Signed<Listing>, CallError> {
    let refuse = |what: &str| CallError::new(Code::ListingTerms, what);
    let listing = Signed::<Listing>::from_bytes(bytes).map_err(|error| refuse(&error.to_string()))?;
    let terms = listing.payload();
    terms.check().map_err(|code| CallError::new(code, "the listing"))?;
    let id = terms.id();
    let known = ledger.listing(id).await?.ok_or_else(|| CallError::new(Code::ListingNotFound, id.to_string()))?;
    let same = known.record.terms == listing.hash() && terms.network == ledger.network().chain_id;
    if same { Ok(listing) } else { Err(refuse("the ledger has other terms for this listing")) }
}

async fn announce(bus: &dyn Bus, listing: &Signed<Listing>) -> Result<(), CallError> {
    bus.put(&bus_key(&listing.payload().id())?, &listing.to_bytes()).await?;
    Ok(())
}

fn bus_key(id: &ListingId) -> Result<Key, CallError> {
    Ok(Key::new(BUCKET, id.to_string().trim_start_matches("0x"))?)
}

impl Message<Publish> for DirectoryActor {
    type Reply = Result<(), CallError>;

    async fn handle(&mut self, Publish(listing): Publish, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let listing = checked(self.settings.ledger.as_ref(), &listing.to_bytes()).await?;
        let id = listing.payload().id();
        if self.known.len() >= LISTINGS_MAX && !self.known.contains_key(&id) {
            return Err(CallError::new(Code::BusFull, format!("{LISTINGS_MAX} listings are known")));
        }
        let key = [&[LISTING_KEY], id.as_bytes().as_slice()].concat();
        let row = Write { table: Table::Catalog, key, value: Some(listing.to_bytes()) };
        self.settings.journal.commit(vec![row]).await?;
        announce(self.settings.bus.as_ref(), &listing).await?;
        self.known.insert(id, listing);
        Ok(())
    }
}

impl Message<Heard> for DirectoryActor {
    type Reply = ();

    async fn handle(&mut self, Heard(change): Heard, _: &mut Context<Self, Self::Reply>) {
        match change.change {
            Change::Put(bytes) => match checked(self.settings.ledger.as_ref(), &bytes).await {
                Ok(listing) if bus_key(&listing.payload().id()).is_ok_and(|key| key == change.key) => {
                    let id = listing.payload().id();
                    if self.known.len() < LISTINGS_MAX || self.known.contains_key(&id) {
                        self.known.insert(id, listing);
                    }
                }
                Ok(_) => tracing::debug!(key = change.key.name(), "a listing under another's name"),
                Err(error) => tracing::debug!(key = change.key.name(), %error, "not a listing"),
            },
            Change::Deleted => {
                self.known.retain(|id, _| !bus_key(id).is_ok_and(|key| key == change.key));
            }
        }
    }
}

impl Message<WatchEnded> for DirectoryActor {
    type Reply = ();

    async fn handle(&mut self, _: WatchEnded, _: &mut Context<Self, Self::Reply>) {
        // Not a bug: the way in which an actor hands a fault to its supervisor, which starts it anew.
        std::panic::resume_unwind(Box::new("the directory lost changes of the bus and starts anew".to_owned()));
    }
}

impl Message<Find> for DirectoryActor {
    type Reply = Result<Vec<Signed<Listing>>, CallError>;

    async fn handle(&mut self, Find(words, limit): Find, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        let listings = self.known.values().map(Signed::payload);
        let found = find(listings, &words, limit.min(FOUND_MAX));
        Ok(found.into_iter().filter_map(|listing| self.known.get(&listing.id()).cloned()).collect())
    }
}

impl Message<Get> for DirectoryActor {
    type Reply = Result<Option<Signed<Listing>>, CallError>;

    async fn handle(&mut self, Get(id): Get, _: &mut Context<Self, Self::Reply>) -> Self::Reply {
        Ok(self.known.get(&id).cloned())
    }
}

/// The directory, for callers in the same process.
#[derive(Clone)]
pub struct DirectoryHandle(ActorRef<DirectoryActor>);

impl DirectoryHandle {
    /// Speaks to this actor, which keeps its place over restarts.
    pub fn new(actor: ActorRef<DirectoryActor>) -> Self {
        Self(actor)
    }

    /// Keeps and announces a listing, whose terms are on the ledger. May be repeated.
    ///
    /// # Errors
    /// `listing.not_found`, `listing.bad_terms`, and faults.
    pub async fn publish(&self, listing: Signed<Listing>) -> Result<(), CallError> {
        ask(&self.0, Publish(listing), ANSWER, "the directory").await
    }
}

impl Directory for DirectoryHandle {
    fn find<'a>(&'a self, words: &'a str, limit: usize) -> Pending<'a, Vec<Signed<Listing>>> {
        Box::pin(ask(&self.0, Find(words.to_owned(), limit), ANSWER, "the directory"))
    }

    fn get(&self, listing: ListingId) -> Pending<'_, Option<Signed<Listing>>> {
        Box::pin(ask(&self.0, Get(listing), ANSWER, "the directory"))
    }
}
