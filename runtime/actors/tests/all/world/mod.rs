//! A host and a buyer on real stores in a temporary folder, with a fuse that stops the world at any step.
#![allow(dead_code)]

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use agora_actors::CallError;
use agora_actors::call::{Seller, SellerParts, serve_call};
use agora_actors::clock::{Clock, Random};
use agora_actors::ledger::LedgerNode;
use agora_actors::purchase::{Arrived, Buyer, Directory, Payer, Pending as DirectoryPending, Purchase, Quoted};
use agora_bus::LocalBus;
use agora_catalog::{DatanetPart, Listing, ListingHost};
use agora_channels::Channel;
use agora_economy::ports::attribution::Attributor;
use agora_economy::ports::bus::ask::{Ask, Reply, host_ask, host_open};
use agora_economy::ports::bus::frame::{Body, Frame};
use agora_economy::ports::bus::{Bus, Received};
use agora_economy::ports::ledger::{Ledger, LedgerFailure, ListingTerms, Payment, Pending};
use agora_economy::ports::log::{Index, Row, call_key, payment_key};
use agora_economy::ports::state::{Journal, Pending as JournalPending, StateStore, Table, Write};
use agora_economy::testkit::*;
use agora_economy::{CallRecord, CommitRecord, Distributor, Economy, KeyRecord, OpenCall, PaymentRecord, Verified};
use agora_inference_api::{Engine, FakeEngine, Request};
use agora_receipts::Receipt;
use agora_receipts::receipt::DatanetRef;
use agora_store::{RedbLog, RedbState};
use agora_types::batch::Entry;
use agora_types::command::{Command, PublicKey};
use agora_types::eip712::Network;
use agora_types::genesis::Parameters;
use agora_types::key::{StatementKey, StatementSigner};
use agora_types::{
    Address, Amount, CallId, Canonical as _, ChannelId, Code, DatanetId, Hash, ListingId, Prices, Signed, Timestamp,
};
use tokio::sync::Notify;

/// Lets so many durable steps happen, then stops the world: before the step, or after it but before the answer.
pub(crate) struct Fuse {
    left: AtomicI64,
    persists: bool,
    pub(crate) blown: Notify,
}

impl Fuse {
    pub(crate) fn new(steps: Option<i64>, persists: bool) -> Arc<Self> {
        Arc::new(Self { left: AtomicI64::new(steps.unwrap_or(i64::MAX)), persists, blown: Notify::new() })
    }

    async fn step<T>(&self, work: impl AsyncFnOnce() -> T) -> T {
        let left = self.left.fetch_sub(1, Ordering::SeqCst);
        if left > 0 {
            return work().await;
        }
        if left == 0 && self.persists {
            work().await;
        }
        self.blown.notify_one();
        std::future::pending().await
    }
}

/// Time and randomness that are the same in every run.
pub(crate) struct Steady {
    now: AtomicU64,
    count: AtomicU64,
}

impl Clock for Steady {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(self.now.fetch_add(1_000, Ordering::SeqCst))
    }
}

impl Random for Steady {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(32) {
            let number = self.count.fetch_add(1, Ordering::SeqCst);
            chunk.copy_from_slice(&Hash::sha256(number.to_be_bytes()).as_bytes()[..chunk.len()]);
        }
    }
}

impl Steady {
    /// `count` keeps the random values of different lives apart.
    pub(crate) fn new(now: Timestamp, count: u64) -> Arc<Self> {
        Arc::new(Self { now: AtomicU64::new(now.as_nanos()), count: AtomicU64::new(count) })
    }

    pub(crate) fn skip_secs(&self, secs: u64) {
        self.now.fetch_add(secs * 1_000_000_000, Ordering::SeqCst);
    }

    /// The time, for who signs.
    pub(crate) fn told(&self) -> Timestamp {
        Timestamp::from_nanos(self.now.load(Ordering::SeqCst))
    }
}

/// The ledger without an actor.
pub(crate) struct DirectLedger {
    pub(crate) node: Mutex<LedgerNode>,
    network: Network,
    parameters: Parameters,
    clock: Arc<Steady>,
    fuse: Arc<Fuse>,
}

impl DirectLedger {
    fn ask<R: Send + 'static>(&self, question: impl FnOnce(&Economy) -> R + Send + 'static) -> Pending<'_, R> {
        let answer = question(self.node.lock().unwrap().economy());
        Box::pin(async move { Ok(answer) })
    }

    fn lookup(&self, index: Index, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerFailure> {
        Ok(self.node.lock().unwrap().store().record(index, key).expect("the test's disk is good"))
    }
}

impl Ledger for DirectLedger {
    fn network(&self) -> Network {
        self.network
    }
    fn parameters(&self) -> &Parameters {
        &self.parameters
    }
    fn commit(&self, group: Vec<Entry>) -> Pending<'_, Vec<Result<(), Code>>> {
        Box::pin(self.fuse.step(async move || {
            let checked: Result<Vec<_>, Code> =
                group.into_iter().map(|entry| Verified::check(&self.network, entry)).collect();
            match checked {
                Err(code) => Ok(vec![Err(code)]),
                Ok(group) => {
                    let mut node = self.node.lock().unwrap();
                    Ok(node.commit(self.clock.now(), vec![group]).expect("the test's disk is good").remove(0))
                }
            }
        }))
    }
    fn available(&self, account: Address) -> Pending<'_, Amount> {
        self.ask(move |economy| economy.available(&account))
    }
    fn channel(&self, channel: ChannelId) -> Pending<'_, Option<Channel>> {
        self.ask(move |economy| economy.channel(&channel).cloned())
    }
    fn listing(&self, listing: ListingId) -> Pending<'_, Option<ListingTerms>> {
        self.ask(move |economy| {
            let record = economy.listing(&listing)?.clone();
            let datanets = record.datanets.iter().map(|share| {
                let known = economy.datanet(&share.datanet).expect("registered");
                DatanetRef { id: share.datanet, root: known.root, tree_size: known.tree_size }
            });
            let datanets = datanets.collect();
            Some(ListingTerms { record, datanets })
        })
    }
    fn statement_key(&self, key: StatementKey) -> Pending<'_, Option<KeyRecord>> {
        self.ask(move |economy| economy.state().keys.get(&PublicKey::Statement(key)).copied())
    }
    fn call(&self, payer: Address, call: CallId) -> Pending<'_, Option<CallRecord>> {
        let bytes = self.lookup(Index::Call, &call_key(&payer, &call));
        Box::pin(async move { Ok(bytes?.map(|bytes| CallRecord::from_bytes(&bytes).expect("our own"))) })
    }
    fn open_call(&self, payer: Address, call: CallId) -> Pending<'_, Option<OpenCall>> {
        self.ask(move |economy| economy.open_call(payer, call).cloned())
    }
    fn payment(&self, payer: Address, nonce: Hash) -> Pending<'_, Option<Payment>> {
        let bytes = self.lookup(Index::Payment, &payment_key(&payer, &nonce));
        Box::pin(async move {
            Ok(match bytes? {
                Some(bytes) => Some(Payment::Posted(PaymentRecord::from_bytes(&bytes).expect("our own"))),
                None => self.ask(move |economy| economy.held_payment(payer, nonce)).await?.map(Payment::Held),
            })
        })
    }
    fn unsettled(&self, receiver: Address) -> Pending<'_, Amount> {
        self.ask(move |economy| economy.state().channels.unsettled.get(&receiver).copied().unwrap_or_default())
    }

    fn distributor(&self, host: Address) -> Pending<'_, Option<Distributor>> {
        self.ask(move |economy| economy.distributor(&host).copied())
    }
    fn claimed(&self, host: Address, account: Address) -> Pending<'_, Amount> {
        self.ask(move |economy| economy.claimed(host, account))
    }
    fn commitment(&self, datanet: DatanetId, contributor: Address, root: Hash) -> Pending<'_, Option<CommitRecord>> {
        self.ask(move |economy| economy.commitment(datanet, contributor, root).copied())
    }

    fn receipt(&self, index: u64) -> Pending<'_, Option<Vec<u8>>> {
        let bytes = self.lookup(Index::Receipt, &index.to_be_bytes());
        Box::pin(async move { bytes })
    }
}

/// The journal behind the fuse.
pub(crate) struct FusedJournal(RedbState, Arc<Fuse>);

impl Journal for FusedJournal {
    fn commit(&self, writes: Vec<Write>) -> JournalPending<'_, ()> {
        Box::pin(self.1.step(async move || StateStore::commit(&self.0, &writes)))
    }
    fn get(&self, table: Table, key: Vec<u8>) -> JournalPending<'_, Option<Vec<u8>>> {
        Box::pin(async move { StateStore::get(&self.0, table, &key) })
    }
    fn list(&self, table: Table, prefix: Vec<u8>, limit: usize) -> JournalPending<'_, Vec<Row>> {
        Box::pin(async move { StateStore::list(&self.0, table, &prefix, limit) })
    }
}

struct OneListing(Signed<Listing>);

impl Directory for OneListing {
    fn find<'a>(&'a self, _: &'a str, _: usize) -> DirectoryPending<'a, Vec<Signed<Listing>>> {
        Box::pin(async move { Ok(vec![self.0.clone()]) })
    }
    fn get(&self, _: ListingId) -> DirectoryPending<'_, Option<Signed<Listing>>> {
        Box::pin(async move { Ok(Some(self.0.clone())) })
    }
}

/// A node's two sides on one folder.
pub(crate) struct World {
    pub(crate) ledger: Arc<DirectLedger>,
    pub(crate) journal: Arc<FusedJournal>,
    pub(crate) bus: Arc<LocalBus>,
    pub(crate) clock: Arc<Steady>,
    pub(crate) seller: Arc<Seller>,
    pub(crate) buyer: Arc<Buyer>,
    pub(crate) listing: Signed<Listing>,
    pub(crate) fuse: Arc<Fuse>,
    pub(crate) parts: SellerParts,
    host: Option<tokio::task::JoinHandle<()>>,
}

pub(crate) fn prices() -> Prices {
    Prices {
        input: atoms(1_000_000_000),
        output: atoms(7_000_000_001),
        hidden: atoms(3_000_000_007),
        ..Prices::default()
    }
}

pub(crate) fn payer() -> Payer {
    Payer { account: Arc::new(key(PAYER)), session: Arc::new(key(SESSION)) }
}

/// The listing of every world.
pub(crate) fn listing(kit: &Kit) -> Signed<Listing> {
    let listing = Listing {
        network: kit.genesis.chain_id,
        owner: key(OWNER).address(),
        name: "smollm2-maritime".into(),
        title: "Answers about wrecks".into(),
        description: "A test's model.".into(),
        topics: vec!["wreck".into()],
        model_owner: key(OWNER).address(),
        hosts: vec![ListingHost { account: key(HOST).address(), key: Kit::host_signer().public() }],
        base_hash: Hash::sha256("base"),
        adapter_hash: None,
        datanets: vec![DatanetPart { datanet: Kit::datanet(), weight: 1 }],
        prices: prices(),
        context_max: 4_096,
        output_max: 1_024,
        time: kit.genesis.time,
        measure: None,
    };
    Signed::sign(listing, &StatementSigner::from_bytes(&[OWNER; 32]))
}

/// Creates the folder: host key, datanet and listing are on the ledger.
pub(crate) fn found(folder: &Path) {
    found_with(folder, &listing(&Kit::default()));
}

/// The same with another listing of the owner.
pub(crate) fn found_with(folder: &Path, listing: &Signed<Listing>) {
    let mut kit = Kit::default();
    let log = RedbLog::open(&folder.join("ledger.redb"), &kit.genesis.hash()).unwrap();
    let mut node = LedgerNode::open(&kit.genesis, Box::new(log), 5).unwrap();
    let head = kit.head(OWNER);
    let registration = Command::RegisterListing(listing.payload().registration(head, listing.hash()));
    for (number, command) in [(HOST, kit.register_key()), (OWNER, kit.register_datanet(1)), (OWNER, registration)] {
        let entry = Verified::check(&kit.network(), kit.sign(number, command)).unwrap();
        let answers = node.commit(kit.now, vec![vec![entry]]).unwrap();
        assert_eq!(answers, vec![vec![Ok(())]]);
        kit.now = kit.now.plus_nanos(1_000);
    }
}

/// A folder of its own in which everything is founded.
pub(crate) fn founded() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    found(folder.path());
    folder
}

/// Ends the first life of a folder's world in the middle of a call, after so many chunks were read of 400 tokens.
pub(crate) async fn cut_off(folder: &Path, call: CallId, chunks: usize) -> Quoted {
    let world = World::open(folder, Fuse::new(None, false), 0).await;
    let quoted = world.quote(400).await.unwrap();
    let mut purchase = Purchase::open(&world.buyer, payer(), call, &quoted).await.unwrap();
    for _ in 0..chunks {
        purchase.next().await.unwrap();
    }
    drop(purchase);
    world.end().await;
    quoted
}

impl World {
    /// Opens the folder, as a start does. `round` keeps ids of different lives apart.
    pub(crate) async fn open(folder: &Path, fuse: Arc<Fuse>, round: u64) -> Self {
        Self::open_with(folder, fuse, round, Arc::new(FakeEngine::new(Hash::sha256("base"), &[]))).await
    }

    /// The same with an engine of the base model that the listing names.
    pub(crate) async fn open_with(folder: &Path, fuse: Arc<Fuse>, round: u64, engine: Arc<dyn Engine>) -> Self {
        Self::open_selling(folder, fuse, round, engine, listing(&Kit::default()), None).await
    }

    /// The same with the listing that the folder was founded with, and what measures its answers.
    pub(crate) async fn open_selling(
        folder: &Path,
        fuse: Arc<Fuse>,
        round: u64,
        engine: Arc<dyn Engine>,
        listing: Signed<Listing>,
        attributor: Option<Arc<dyn Attributor>>,
    ) -> Self {
        let kit = Kit::default();
        let log = RedbLog::open(&folder.join("ledger.redb"), &kit.genesis.hash()).unwrap();
        let node = LedgerNode::open(&kit.genesis, Box::new(log), 5).unwrap();
        let clock = Steady::new(kit.now.plus_secs(1 + round * 20), round << 32);
        let ledger = Arc::new(DirectLedger {
            node: Mutex::new(node),
            network: kit.network(),
            parameters: kit.genesis.parameters.clone(),
            clock: Arc::clone(&clock),
            fuse: Arc::clone(&fuse),
        });
        let state = RedbState::open(&folder.join("state.redb")).unwrap();
        let journal = Arc::new(FusedJournal(state, Arc::clone(&fuse)));
        let bus = Arc::new(LocalBus::default());
        let parts = SellerParts {
            account: Arc::new(key(HOST)),
            receipt_key: Arc::new(Kit::host_signer()),
            ledger: ledger.clone(),
            engine,
            journal: journal.clone(),
            bus: bus.clone(),
            clock: clock.clone(),
            random: clock.clone(),
            attributor,
        };
        let seller = Arc::new(Seller::open(parts.clone()).await.unwrap());
        seller.list(listing.clone());
        let buyer = Arc::new(Buyer {
            ledger: ledger.clone(),
            journal: journal.clone(),
            bus: bus.clone(),
            directory: Arc::new(OneListing(listing.clone())),
            clock: clock.clone(),
            random: clock.clone(),
        });
        let mut world = Self { ledger, journal, bus, clock, seller, buyer, listing, fuse, parts, host: None };
        world.listen().await;
        world
    }

    /// What the host actor does: answers questions, serves opened streams.
    pub(crate) async fn listen(&mut self) {
        let network = self.ledger.network.chain_id;
        let account = key(HOST).address();
        let asks = host_ask(network, &account).unwrap();
        let opens = host_open(network, &account).unwrap();
        let mut asks = self.bus.subscribe(&(&asks).into(), 64).await.unwrap();
        let mut opens = self.bus.subscribe(&(&opens).into(), 64).await.unwrap();
        let (bus, seller) = (Arc::clone(&self.bus), Arc::clone(&self.seller));
        self.host = Some(tokio::spawn(async move {
            let mut calls = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    asked = asks.next(600_000) => {
                        let Ok(Received::Item(message)) = asked else { break };
                        let reply = match Ask::from_wire(&message.frame).unwrap() {
                            Ask::Quote(ask) => seller.quote(&ask).await.map(|quote| Reply::Quote(quote.to_bytes())),
                            Ask::Refund(ask) => seller.refund(&ask).await.map(Reply::Refunded),
                            Ask::Count(ask) => seller.count(&ask).await.map(Reply::Counted),
                        };
                        let reply = reply.unwrap_or_else(|error| Reply::failed(error.code, &error.what));
                        bus.publish(&message.reply.unwrap(), None, &reply.to_bytes()).await.unwrap();
                    }
                    opened = opens.next(600_000) => {
                        let Ok(Received::Item(message)) = opened else { break };
                        let frame = Frame::from_wire(&message.frame).unwrap();
                        let Body::Open(open) = frame.body else { continue };
                        let seller = Arc::clone(&seller);
                        calls.spawn(async move { serve_call(&seller, frame.stream, &open).await });
                    }
                    _ = calls.join_next(), if !calls.is_empty() => {}
                }
            }
        }));
    }

    /// Asks for a quote and buys the whole answer; answers with its text and the receipt.
    pub(crate) async fn buy(&self, call: CallId, tokens: u64) -> Result<(String, Signed<Receipt>), CallError> {
        let resumed = Purchase::resume(&self.buyer, payer(), call).await?;
        let mut purchase = match resumed {
            Some(purchase) => purchase,
            // The row is gone: the purchase was finished, and the receipt is in the log for ever.
            None if self.ledger.call(key(PAYER).address(), call).await.unwrap().is_some() => {
                let record = self.ledger.call(key(PAYER).address(), call).await.unwrap().unwrap();
                let bytes = self.ledger.receipt(record.index).await.unwrap().unwrap();
                let text = FakeEngine::answer(&Request::ask("who owns a wreck", tokens)).concat();
                return Ok((text, Signed::from_bytes(&bytes).unwrap()));
            }
            None => {
                let quoted = self.quote(tokens).await?;
                Purchase::open(&self.buyer, payer(), call, &quoted).await?
            }
        };
        let mut text = String::new();
        loop {
            match purchase.next().await? {
                Arrived::Text { text: more, .. } => text.push_str(&more),
                Arrived::Receipt(receipt) => {
                    purchase.finish(Vec::new()).await?;
                    return Ok((text, *receipt));
                }
            }
        }
    }

    pub(crate) async fn quote(&self, tokens: u64) -> Result<Quoted, CallError> {
        self.buyer.quote(&payer(), &self.listing, &Request::ask("who owns a wreck", tokens)).await
    }

    /// Ends the process, as far as a test can: nothing runs on, files are closed.
    pub(crate) async fn end(mut self) {
        self.silence().await;
    }

    /// Nobody answers any more on the host's side, until it listens again.
    pub(crate) async fn silence(&mut self) {
        if let Some(host) = self.host.take() {
            host.abort();
            let _ = host.await;
        }
    }

    pub(crate) fn balance(&self, account: &Address) -> u128 {
        let node = self.ledger.node.lock().unwrap();
        node.economy().state().ledger.accounts.get(account).map_or(0, |account| account.balance().atoms())
    }

    pub(crate) fn receipts(&self) -> u64 {
        self.ledger.node.lock().unwrap().economy().state().receipts.size()
    }

    /// What is unclaimed in all channels of a payer, and what was claimed of them.
    pub(crate) fn channels_of(&self, payer: &Address) -> (u128, u128) {
        let node = self.ledger.node.lock().unwrap();
        let channels = node.economy().state().channels.channels.iter().map(|(_, channel)| channel);
        let own = channels.filter(|channel| channel.config.payer == *payer);
        own.fold((0, 0), |(rest, claimed), channel| {
            (rest + channel.unclaimed().atoms(), claimed + channel.total_claimed.atoms())
        })
    }

    pub(crate) fn channel(&self) -> Option<Channel> {
        let node = self.ledger.node.lock().unwrap();
        node.economy().state().channels.channels.iter().next().map(|(_, channel)| channel.clone())
    }

    /// The independent recount of the whole log.
    pub(crate) fn audit(&self) {
        let node = self.ledger.node.lock().unwrap();
        let mut batches = Vec::new();
        loop {
            let more = node.store().read_from(batches.len() as u64, 1_024).unwrap();
            if more.is_empty() {
                break;
            }
            batches.extend(more);
        }
        let report = agora_audit::audit(&Kit::default().genesis, batches.iter());
        report.unwrap_or_else(|finding| panic!("the audit finds: {finding:?}"));
    }
}
