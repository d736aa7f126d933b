//! Agents whose programs are closures of a test; ledger, journal, bus, host and keys are those of [`World`].
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agora_actors::CallError;
use agora_actors::agent::record::{EventRow, EventState};
use agora_actors::agent::{
    AgentPorts, AgentSupervisor, AgentView, AgentsHandle, Feed, KeyRing, Progress, Step, agents,
};
use agora_actors::fetch::PaidFetch;
use agora_actors::purchase::{Payer, Pending as PayerPending};
use agora_economy::ports::ledger::Ledger;
use agora_economy::ports::state::{Journal as _, Table};
use agora_economy::testkit::*;
use agora_inference_api::{FakeEngine, Request};
use agora_sandbox_api::{
    AgentError, AgentHost, Ask, Event, Level, Manifest, Pending, Program, QuoteTerms, Sandbox, ServeRequest,
    ServeResponse, StreamHandle, Turn,
};
use agora_store::FolderBlobs;
use agora_types::batch::Entry;
use agora_types::command::{Command, Head, Transfer};
use agora_types::key::StatementSigner;
use agora_types::{Address, Amount, Canonical as _, Code, CommandId, Hash, Timestamp};
use kameo::actor::{ActorRef, Spawn as _};
use tokio::sync::broadcast;

use crate::world::{Fuse, World};

/// The agent of most tests, and the program that it runs.
pub(crate) const READER: &str = "reader";
/// What an agent is given to spend.
pub(crate) const FUND: Amount = Amount::from_open(10);
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// What a guest answers.
pub(crate) type Answer = Result<Vec<u8>, AgentError>;
/// A guest.
pub(crate) type Script = Arc<dyn Fn(Event, Arc<dyn AgentHost>) -> Running + Send + Sync>;
type Running = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What a guest answers to a request.
pub(crate) type Served = Result<ServeResponse, AgentError>;
/// A guest's `serve`.
pub(crate) type Seller = Arc<dyn Fn(ServeRequest, Arc<dyn AgentHost>) -> Serving + Send + Sync>;
type Serving = Pin<Box<dyn Future<Output = Served> + Send>>;

/// A sandbox whose components are names of scripts.
#[derive(Clone, Default)]
pub(crate) struct Scripts(Arc<Mutex<BTreeMap<String, Guest>>>);

/// A script's two exports.
#[derive(Clone)]
struct Guest {
    handle: Script,
    serve: Option<Seller>,
}

impl Scripts {
    /// With the program of [`READER`].
    pub(crate) fn reader<F>(program: impl Fn(Event, Arc<dyn AgentHost>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let scripts = Self::default();
        scripts.put(READER, program);
        scripts
    }

    pub(crate) fn put<F>(&self, name: &str, program: impl Fn(Event, Arc<dyn AgentHost>) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let script: Script = Arc::new(move |event, host| Box::pin(program(event, host)));
        self.0.lock().unwrap().insert(name.to_owned(), Guest { handle: script, serve: None });
    }

    /// [`READER`], which repeats every event and serves as told.
    pub(crate) fn seller<F>(serve: impl Fn(ServeRequest, Arc<dyn AgentHost>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Served> + Send + 'static,
    {
        let scripts = Self::reader(|event, _| async move { Ok(event.payload) });
        let seller: Seller = Arc::new(move |request, host| Box::pin(serve(request, host)));
        scripts.0.lock().unwrap().get_mut(READER).unwrap().serve = Some(seller);
        scripts
    }
}

impl Sandbox for Scripts {
    fn load(&self, component: &[u8], _: &Manifest) -> Result<Arc<dyn Program>, AgentError> {
        let name = String::from_utf8_lossy(component).into_owned();
        let guest = self.0.lock().unwrap().get(&name).cloned();
        let guest = guest.ok_or_else(|| AgentError::new(Code::AgentBadComponent, name))?;
        Ok(Arc::new(Loaded(Hash::sha256(component), guest)))
    }
}

struct Loaded(Hash, Guest);

impl Program for Loaded {
    fn hash(&self) -> Hash {
        self.0
    }
    fn sells(&self) -> bool {
        self.1.serve.is_some()
    }
    fn handle(&self, event: Event, host: Arc<dyn AgentHost>) -> Pending<'_, Vec<u8>> {
        (self.1.handle)(event, host)
    }
    fn serve(&self, request: ServeRequest, host: Arc<dyn AgentHost>) -> Pending<'_, ServeResponse> {
        match &self.1.serve {
            Some(seller) => seller(request, host),
            None => Box::pin(async { Err(AgentError::new(Code::AgentSellsNothing, READER)) }),
        }
    }
}

/// Keys by name, the same in every life.
pub(crate) struct Ring;

impl Ring {
    pub(crate) fn keys(agent: &str) -> Payer {
        let number = 100 + agent.bytes().fold(0, u8::wrapping_add) % 50;
        Payer { account: key(number).into(), session: key(number + 50).into() }
    }
}

impl KeyRing for Ring {
    fn payer<'a>(&'a self, agent: &'a str) -> PayerPending<'a, Payer> {
        Box::pin(async move { Ok(Self::keys(agent)) })
    }

    fn receipt_key<'a>(&'a self, agent: &'a str) -> PayerPending<'a, Arc<StatementSigner>> {
        let number = agent.bytes().fold(0, u8::wrapping_add);
        Box::pin(async move { Ok(Arc::new(StatementSigner::from_bytes(&[number; 32]))) })
    }
}

/// The account of [`READER`].
pub(crate) fn reader() -> Address {
    Ring::keys(READER).account.address()
}

pub(crate) fn owner() -> Address {
    key(OWNER).address()
}

/// A manifest with every grant; `wallet` are the lines of its wallet.
pub(crate) fn manifest(wallet: &str) -> String {
    format!(
        "name = \"{READER}\"\ncomponent = \"reader.wasm\"\n{SELLS}[grants.market]\n[grants.inference]\n[grants.log]\n\
         [grants.clock]\n[grants.http]\nhosts = [\"127.0.0.1:8402\"]\nresponse_kib = 256\n\
         [grants.key_value]\nmax_kib = 4\n[grants.wallet]\n{wallet}"
    )
}

/// What the agent of most tests sells.
pub(crate) const SELLS: &str = "[serve]\nprice = \"0.001\"\ndescription = \"An answer.\"\nmime_type = \"text/plain\"\ntimeout_s = 60\ninput_kib = 1\n";

pub(crate) const PLENTY: &str = "budget = \"5\"\nper_call = \"1\"\n";

fn question(words: &str, tokens: u64) -> Ask {
    Ask {
        messages: vec![(Turn::User, words.to_owned())],
        temperature_milli: 0,
        top_k: 0,
        top_p_milli: 1_000,
        seed: 0,
        output_max: tokens,
        stops: Vec::new(),
    }
}

/// What the engine says to it.
pub(crate) fn answer(words: &str, tokens: u64) -> String {
    FakeEngine::answer(&Request::ask(words, tokens)).concat()
}

/// A guest's way to a price.
pub(crate) async fn quote(host: &dyn AgentHost, words: &str, tokens: u64) -> Result<QuoteTerms, AgentError> {
    let offers = host.find("wreck", 3).await?;
    host.quote(&offers[0].listing, &question(words, tokens)).await
}

/// A guest's way to the end of a stream.
pub(crate) async fn read(host: &dyn AgentHost, stream: StreamHandle) -> Result<String, AgentError> {
    let mut text = String::new();
    loop {
        let batch = host.next_batch(stream, 16).await?;
        text.push_str(&batch.text);
        match batch.ended {
            None => {}
            Some(ended) if ended.receipt.is_some() => return Ok(text),
            Some(ended) => return Err(AgentError::new(Code::AgentFailed, ended.interrupted.unwrap_or_default())),
        }
    }
}

/// A guest's way to a paid answer.
pub(crate) async fn buy(host: &dyn AgentHost, words: &str, tokens: u64) -> Result<String, AgentError> {
    let terms = quote(host, words, tokens).await?;
    let stream = host.open(terms.handle).await?;
    read(host, stream).await
}

/// Answers the payload's question in so many tokens, and counts its answers.
pub(crate) async fn reading(event: Event, host: Arc<dyn AgentHost>, tokens: u64) -> Answer {
    let words = String::from_utf8(event.payload).unwrap();
    host.now().await?;
    let text = buy(host.as_ref(), &words, tokens).await?;
    let before = host.get("answers").await?.map_or(0, |bytes| bytes[0]);
    host.set("answers", &[before + 1]).await?;
    host.log(Level::Info, &format!("answered {words}")).await?;
    Ok(text.into_bytes())
}

/// A node's agents, its host and its ledger on one folder, for one life.
pub(crate) struct Office {
    pub(crate) world: World,
    pub(crate) agents: AgentsHandle,
    supervisor: ActorRef<AgentSupervisor>,
    steps: broadcast::Receiver<Progress>,
}

impl Office {
    pub(crate) async fn open(folder: &Path, fuse: Arc<Fuse>, round: u64, scripts: &Scripts) -> Self {
        Self::with(folder, fuse, round, scripts, |_| None).await
    }

    /// With a client for HTTP that stands on the same ledger and journal.
    pub(crate) async fn with(
        folder: &Path,
        fuse: Arc<Fuse>,
        round: u64,
        scripts: &Scripts,
        client: impl FnOnce(&World) -> Option<Arc<dyn PaidFetch>>,
    ) -> Self {
        let world = World::open(folder, fuse, round).await;
        let fetch = client(&world);
        let ports = Arc::new(AgentPorts {
            buyer: Arc::clone(&world.buyer),
            blobs: Arc::new(FolderBlobs::open(&folder.join("blobs")).unwrap()),
            sandbox: Arc::new(scripts.clone()),
            keys: Arc::new(Ring),
            fetch,
            feed: Feed::default(),
        });
        // Before the agents start: what they do by themselves is heard too.
        let steps = ports.feed.follow();
        let supervisor = AgentSupervisor::spawn(Arc::clone(&ports));
        let agents = AgentsHandle::new(supervisor.clone(), ports);
        Self { world, agents, supervisor, steps }
    }

    /// In a life without accidents.
    pub(crate) async fn whole(folder: &Path, round: u64, scripts: &Scripts) -> Self {
        Self::open(folder, Fuse::new(None, false), round, scripts).await
    }

    /// Gives the agent its money and runs it.
    pub(crate) async fn deploy(&self, wallet: &str) -> AgentView {
        fund(self.world.ledger.as_ref(), reader(), self.world.buyer.clock.now()).await;
        self.deploy_again(wallet).await.unwrap()
    }

    pub(crate) async fn deploy_again(&self, wallet: &str) -> Result<AgentView, CallError> {
        self.agents.deploy(manifest(wallet), READER.into(), owner()).await
    }

    pub(crate) async fn tell(&self, payload: &str) -> Result<String, CallError> {
        self.agents.tell(READER, "message", payload.into()).await
    }

    /// Tells it, and waits for its end.
    pub(crate) async fn handle(&mut self, payload: &str) -> EventRow {
        let event = self.tell(payload).await.unwrap();
        self.ended(Some(&event)).await
    }

    /// Waits for the end of an event, or of the next one.
    pub(crate) async fn ended(&mut self, event: Option<&str>) -> EventRow {
        let wait = async {
            loop {
                let progress = self.steps.recv().await.unwrap();
                match progress.step {
                    Step::Ended(row) if event.is_none_or(|event| *event == *progress.event) => return *row,
                    _ => {}
                }
            }
        };
        tokio::time::timeout(LONG, wait).await.expect("the event ends")
    }

    pub(crate) async fn view(&self) -> AgentView {
        agents(&self.world.buyer).await.unwrap().into_iter().find(|view| view.name == READER).expect("deployed")
    }

    /// Every event of the agent, as it stands.
    pub(crate) async fn events(&self) -> Vec<EventRow> {
        let rows = self.world.journal.list(Table::AgentEvents, Vec::new(), 10_000).await.unwrap();
        rows.into_iter().map(|(_, bytes)| EventRow::from_bytes(&bytes).unwrap()).collect()
    }

    pub(crate) async fn kept(&self, name: &str) -> Option<Vec<u8>> {
        let key = [READER.as_bytes(), &[0], name.as_bytes()].concat();
        self.world.journal.get(Table::AgentState, key).await.unwrap()
    }

    pub(crate) async fn rows(&self, table: Table) -> usize {
        self.world.journal.list(table, Vec::new(), 10_000).await.unwrap().len()
    }

    /// Waits until the agent owes nothing and the host has ended its calls.
    pub(crate) async fn quiet(&self) {
        let wait = async {
            while self.world.seller.running() > 0 || self.rows(Table::Buyer).await > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LONG, wait).await.expect("every call is settled");
    }

    /// Every atom that the agent was given is on its account, in its channel, with its owner, or paid.
    pub(crate) fn check_money(&self, spent: Amount, returned: Amount) {
        let channel = self.world.channel();
        let deposited = channel.as_ref().map_or(Amount::ZERO, agora_channels::Channel::unclaimed);
        let claimed = channel.map_or(Amount::ZERO, |channel| channel.total_claimed);
        assert_eq!(claimed, spent, "the channel paid what the agent counts");
        let all = self.world.balance(&reader()) + deposited.atoms() + spent.atoms() + returned.atoms();
        assert_eq!(all, FUND.atoms(), "an atom is missing");
        self.world.audit();
    }

    /// Ends the life in order.
    pub(crate) async fn end(self) {
        self.supervisor.stop_gracefully().await.unwrap();
        self.supervisor.wait_for_shutdown().await;
        self.world.end().await;
    }
}

/// Sends the agent's money.
pub(crate) async fn fund(ledger: &dyn Ledger, to: Address, now: Timestamp) {
    let id = CommandId::new([0xf0; 16]);
    let head = Head { signer: key(PAYER).address(), id, expires_at: now.plus_secs(60) };
    let transfer = Transfer { head, credit: to, amount: FUND, pending: None, reference: 0, receipt: None };
    let entry = Entry::sign(&ledger.network(), Command::Transfer(transfer), &key(PAYER));
    ledger.commit_one(entry).await.unwrap();
}

pub(crate) fn done(row: &EventRow) -> String {
    match &row.state {
        EventState::Done(bytes) => String::from_utf8(bytes.clone()).unwrap(),
        other => panic!("the event ended as {other:?}"),
    }
}

pub(crate) fn failed(row: &EventRow) -> Code {
    match &row.state {
        EventState::Failed { code, .. } => Code::from_number(*code).unwrap(),
        other => panic!("the event ended as {other:?}"),
    }
}

/// One life of a process: whatever it began ends with it, wherever it stood.
pub(crate) fn life<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

pub(crate) fn copy(from: &Path) -> tempfile::TempDir {
    fn into(from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                std::fs::create_dir(&target).unwrap();
                into(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    into(from, to.path());
    to
}
