//! The host of a node: hears questions and opened streams, serves each in a task of its own, and ends what a crash left.
//!
//! The actor holds nothing of value: quotes are short promises, sales stand in [`Table::Seller`]. After a crash, buyers
//! come back for their calls; sales that nobody comes back for are settled once they have been idle for a grace time.
//!
//! [`Table::Seller`]: agora_economy::ports::state::Table::Seller

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agora_economy::ports::bus::ask::{Ask, Reply, host_ask, host_open, stream_down};
use agora_economy::ports::bus::frame::{Body, Failed, Frame, Open};
use agora_economy::ports::bus::{Inbox, Message as BusMessage, Pattern, Received, TIMEOUT_MS_MAX};
use agora_types::{Address, CallId, Canonical as _, Code, ListingId, Timestamp};
use kameo::Actor;
use kameo::actor::ActorRef;
use kameo::message::{Context, Message};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use crate::call::{
    Phase, Seller, SellerParts, measure_call, measure_waiting, publish_earnings, serve_call, settle_abandoned, sweep,
    unfinished,
};
use crate::error::CallError;
use crate::purchase::Directory;

/// Streams that are served at once; further ones are turned away with `engine.busy`.
pub const STREAMS_MAX: usize = 256;
/// Questions that are answered at once.
const ASKS_MAX: usize = 64;
/// Messages that wait on one subject.
const WAITING_MAX: usize = 1_024;
/// How long the actor may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two rounds of housekeeping.
const ROUND: Duration = Duration::from_secs(15);
/// A closed sale is kept so long for a buyer that missed the end.
const CLOSED_KEPT_S: u64 = 600;
/// A sale that was cut off waits so long for its buyer.
pub const GRACE_S: u64 = 60;
/// What contributors have earned is published so often.
pub const EPOCH_S: u64 = 600;

/// What the actor starts from, also after a crash.
#[derive(Clone)]
pub struct HostSettings {
    /// Keys and ports of the seller.
    pub parts: SellerParts,
    /// Where the terms of listings are found.
    pub directory: Arc<dyn Directory>,
    /// Seconds that a cut-off sale waits for its buyer; [`GRACE_S`] unless a test is in a hurry.
    pub grace_s: u64,
    /// Seconds between two publications of earnings; [`EPOCH_S`] unless somebody is in a hurry.
    pub epoch_s: u64,
}

/// Serves calls.
pub struct HostActor {
    settings: HostSettings,
    seller: Arc<Seller>,
    streams: Arc<Semaphore>,
    asks: Arc<Semaphore>,
    /// Since when a sale was seen cut off.
    idle: BTreeMap<(Address, CallId), Timestamp>,
    ears: Vec<AbortHandle>,
    /// What measures calls that were left, and publishes earnings.
    measuring: Option<AbortHandle>,
    /// When earnings are published next.
    epoch_at: Timestamp,
    /// Calls and questions at work: they end with the actor, and buyers come back.
    tasks: JoinSet<()>,
}

/// The host of a node, for who asks what contributors have earned.
#[derive(Clone)]
pub struct HostHandle(ActorRef<HostActor>);

impl HostHandle {
    pub(crate) fn new(actor: ActorRef<HostActor>) -> Self {
        Self(actor)
    }

    /// The seller of the actor's present life.
    ///
    /// # Errors
    /// `node.busy` while the host is being started again.
    pub async fn seller(&self) -> Result<Arc<Seller>, CallError> {
        let asked = self.0.ask(TheSeller).reply_timeout(ANSWER).await;
        asked.map_err(|error| CallError::new(Code::NodeBusy, format!("the host: {error}")))
    }
}

/// Asks for the seller.
struct TheSeller;

impl Message<TheSeller> for HostActor {
    type Reply = Arc<Seller>;

    async fn handle(&mut self, _: TheSeller, _: &mut Context<Self, Self::Reply>) -> Arc<Seller> {
        Arc::clone(&self.seller)
    }
}

/// What the host hears.
enum Heard {
    /// A question.
    Asked(BusMessage),
    /// An opening.
    Opened(BusMessage),
    /// The bus has ended.
    Nothing(CallError),
}

/// Time for housekeeping.
struct Round;

impl Actor for HostActor {
    type Args = HostSettings;
    type Error = CallError;

    async fn on_start(settings: HostSettings, myself: ActorRef<Self>) -> Result<Self, CallError> {
        let seller = Arc::new(Seller::open(settings.parts.clone()).await?);
        let (network, account) = (seller.network().chain_id, seller.account());
        let bus = &settings.parts.bus;
        let asks = bus.subscribe(&Pattern::from(&host_ask(network, &account)?), WAITING_MAX).await?;
        let opens = bus.subscribe(&Pattern::from(&host_open(network, &account)?), WAITING_MAX).await?;
        let ears = vec![
            tokio::spawn(listen(asks, myself.clone(), Heard::Asked)).abort_handle(),
            tokio::spawn(listen(opens, myself.clone(), Heard::Opened)).abort_handle(),
            tokio::spawn(tick(myself.clone())).abort_handle(),
        ];
        Ok(Self {
            settings,
            seller,
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            asks: Arc::new(Semaphore::new(ASKS_MAX)),
            idle: BTreeMap::new(),
            ears,
            measuring: None,
            epoch_at: Timestamp::ZERO,
            tasks: JoinSet::new(),
        })
    }
}

impl Drop for HostActor {
    fn drop(&mut self) {
        self.ears.iter().for_each(AbortHandle::abort);
    }
}

// The ears hold the actor itself: after a restart, nobody else does. They end with it.
async fn listen(mut inbox: Box<dyn Inbox<BusMessage>>, host: ActorRef<HostActor>, make: fn(BusMessage) -> Heard) {
    loop {
        let heard = inbox.next(TIMEOUT_MS_MAX).await;
        match heard {
            Ok(Received::Item(message)) => {
                if host.tell(make(message)).await.is_err() {
                    return;
                }
            }
            Ok(Received::Gap { missed }) => tracing::warn!(missed, "the host was too busy to hear; buyers ask again"),
            Err(error) if error.code == Code::BusTimeout => {}
            Err(error) => {
                let _ = host.tell(Heard::Nothing(error.into())).await;
                return;
            }
        }
    }
}

async fn tick(host: ActorRef<HostActor>) {
    let mut every = tokio::time::interval(ROUND);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if host.tell(Round).await.is_err() {
            return;
        }
    }
}

impl Message<Heard> for HostActor {
    type Reply = ();

    async fn handle(&mut self, heard: Heard, _: &mut Context<Self, Self::Reply>) {
        match heard {
            Heard::Asked(message) => self.asked(message).await,
            Heard::Opened(message) => self.opened(message).await,
            // Not a bug: the way in which an actor hands a fault to its supervisor.
            Heard::Nothing(error) => {
                std::panic::resume_unwind(Box::new(format!("the host hears nothing any more: {error}")))
            }
        }
    }
}

impl Message<Round> for HostActor {
    type Reply = ();

    async fn handle(&mut self, _: Round, _: &mut Context<Self, Self::Reply>) {
        if let Err(error) = self.keep_house().await {
            tracing::warn!(%error, "housekeeping goes on in the next round");
        }
    }
}

impl HostActor {
    async fn asked(&mut self, message: BusMessage) {
        let Some(subject) = message.reply else { return };
        let bus = Arc::clone(&self.settings.parts.bus);
        let Ok(permit) = Arc::clone(&self.asks).try_acquire_owned() else {
            let reply = Reply::failed(Code::EngineBusy, "the host answers as many questions as it can");
            let _ = bus.publish(&subject, None, &reply.to_bytes()).await;
            return;
        };
        let (seller, directory) = (Arc::clone(&self.seller), Arc::clone(&self.settings.directory));
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(async move {
            let reply = match Ask::from_wire(&message.frame) {
                Ok(ask) => answer(&seller, directory.as_ref(), &ask).await,
                Err(error) => Err(error.into()),
            };
            let reply = reply.unwrap_or_else(|error| Reply::failed(error.code, &error.what));
            // The asker may be gone; it asks again.
            let _ = bus.publish(&subject, None, &reply.to_bytes()).await;
            drop(permit);
        });
    }

    async fn opened(&mut self, message: BusMessage) {
        let (call, open) = match Frame::from_wire(&message.frame) {
            Ok(Frame { stream, body: Body::Open(open), .. }) => (stream, open),
            Ok(_) | Err(_) => return tracing::debug!("not an opening frame"),
        };
        let Ok(permit) = Arc::clone(&self.streams).try_acquire_owned() else {
            return self.turn_away(call, &open).await;
        };
        let seller = Arc::clone(&self.seller);
        while self.tasks.try_join_next().is_some() {}
        self.tasks.spawn(async move {
            match serve_call(&seller, call, &open).await {
                Ok(_) => tracing::debug!(%call, "served"),
                Err(error) => tracing::info!(%call, %error, "a call ended early"),
            }
            drop(permit);
            if seller.measures()
                && let Err(error) = measure_call(&seller, open.channel.payer, call).await
            {
                tracing::debug!(%call, %error, "a call is attributed in the next round");
            }
        });
    }

    async fn turn_away(&self, call: CallId, open: &Open) {
        let failed = Failed::new(Code::EngineBusy, "the host serves as many streams as it can");
        let frame = Frame::new(call, Body::Failed(failed)).to_wire();
        let to = stream_down(self.seller.network().chain_id, &open.channel.payer, &call);
        if let (Ok(frame), Ok(to)) = (frame, to) {
            let _ = self.settings.parts.bus.publish(&to, None, &frame).await;
        }
    }

    /// Measures what waits, and publishes earnings when their time has come, beside the actor.
    fn measure(&mut self, now: Timestamp) {
        if !self.seller.measures() || self.measuring.as_ref().is_some_and(|task| !task.is_finished()) {
            return;
        }
        let due = now >= self.epoch_at;
        if due {
            self.epoch_at = now.plus_secs(self.settings.epoch_s);
        }
        let seller = Arc::clone(&self.seller);
        self.measuring = Some(self.tasks.spawn(async move {
            if let Err(error) = measure_waiting(&seller).await {
                tracing::warn!(%error, "calls wait for their attribution");
            }
            if !due {
                return;
            }
            match publish_earnings(&seller).await {
                Ok(Some(epoch)) => tracing::info!(epoch, "published what contributors have earned"),
                Ok(None) => {}
                Err(error) => tracing::warn!(%error, "earnings are not published yet"),
            }
        }));
    }

    /// Settles sales with a signed receipt at once, cut-off ones after the grace time, and forgets old closed ones.
    async fn keep_house(&mut self) -> Result<(), CallError> {
        let now = self.settings.parts.clock.now();
        let mut idle = BTreeMap::new();
        for (payer, call, record) in unfinished(&self.seller, None).await? {
            if self.seller.serves(&call) {
                continue;
            }
            let since = self.idle.get(&(payer, call)).copied().unwrap_or(now);
            let due = record.phase != Phase::Streaming || now >= since.plus_secs(self.settings.grace_s);
            match due {
                true => match settle_abandoned(&self.seller, payer, call).await {
                    Ok(()) => tracing::info!(%call, "a call that was cut off is settled"),
                    Err(error) => {
                        idle.insert((payer, call), since);
                        tracing::warn!(%call, %error, "a call that was cut off is not settled yet");
                    }
                },
                false => {
                    idle.insert((payer, call), since);
                }
            }
        }
        self.idle = idle;
        self.measure(now);
        sweep(&self.seller, now.minus_secs(CLOSED_KEPT_S)).await?;
        Ok(())
    }
}

async fn answer(seller: &Seller, directory: &dyn Directory, ask: &Ask) -> Result<Reply, CallError> {
    match ask {
        Ask::Quote(ask) => {
            serves(seller, directory, ask.listing).await?;
            seller.quote(ask).await.map(|quote| Reply::Quote(quote.to_bytes()))
        }
        Ask::Refund(ask) => seller.refund(ask).await.map(Reply::Refunded),
        Ask::Count(ask) => {
            serves(seller, directory, ask.listing).await?;
            seller.count(ask).await.map(Reply::Counted)
        }
    }
}

/// Takes the newest terms of a listing that this host serves.
async fn serves(seller: &Seller, directory: &dyn Directory, id: ListingId) -> Result<(), CallError> {
    let listing = directory.get(id).await?;
    let listing = listing.ok_or_else(|| CallError::new(Code::ListingNotFound, id.to_string()))?;
    if !listing.payload().hosts.iter().any(|host| host.account == seller.account()) {
        return Err(CallError::new(Code::HostNotListed, id.to_string()));
    }
    seller.list(listing);
    Ok(())
}
