//! A node in this process: a network's folder, the actors over it, and the control port in front.

pub(crate) mod adapters;
mod contributions;
mod datanets;
pub(crate) mod engine;
mod follow;
pub mod network;
pub(crate) mod passages;
mod ports;
mod ring;
mod service;
mod shops;
mod system;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use agora_actors::agent::KeyRing;
use agora_actors::datanets::Keeper;
use agora_actors::journal::ThreadedJournal;
use agora_actors::node::{AgentParts, HostParts, LogParts, Node, NodeParts, OpenLog};
use agora_bus::LocalBus;
use agora_client::HttpClient;
use agora_economy::ports::ledger::Ledger as _;
use agora_economy::ports::log::{LogFault, LogStore};
use agora_economy::ports::state::Journal;
use agora_gateway::{PublicPort, Tls};
use agora_inference_api::Engine;
use agora_sandbox_wasm::{Settings as SandboxSettings, WasmSandbox};
use agora_shell::secret::Terminal;
use agora_shell::settings::{HttpPort, Source};
use agora_shell::{Failure, NetworkName, Outcome, Paths};
use agora_store::{DataFolder, FolderBlobs, FolderTiles, RedbLog, RedbState};
use agora_types::batch::Entry;
use agora_types::genesis::Genesis;
use agora_types::key::{StatementKey, StatementSigner};
use agora_types::{Canonical as _, Code};
use tokio::sync::Notify;

use crate::cli::args::Up;
use crate::cli::context::Context;
use crate::control::Service;
use engine::Loaded;
use network::{Network, NodeKeys, failure, refused};
pub use ports::{Control, PUBLIC_GRACE, Public};
use ring::Ring;
use service::NodeService;
use shops::Shops;
pub use system::System;

/// Batches between snapshots of the state.
const SNAPSHOT_EVERY: u64 = 1_024;
/// Where a network keeps the adapters that its node serves.
pub(crate) const ADAPTERS: &str = "adapters";
/// Milliseconds between publications of the receipt log.
const PUBLISH_EVERY_MS: u64 = 1_000;

/// Why a request was refused, from whatever part it comes.
pub(crate) struct Refusal(Failure);

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

/// A node that runs in this process.
pub struct Running {
    node: Node,
    service: Arc<NodeService>,
    keys: NodeKeys,
    network: Network,
    shops: Arc<Shops>,
    house: tokio::task::JoinHandle<()>,
    stop: Arc<Notify>,
}

fn opener(folder: &DataFolder) -> OpenLog {
    let (path, genesis) = (folder.ledger_file(), folder.genesis().hash());
    Arc::new(move || -> Result<Box<dyn LogStore>, LogFault> { Ok(Box::new(RedbLog::open(&path, &genesis)?)) })
}

fn parts(folder: &DataFolder) -> Outcome<NodeParts> {
    let fault = |fault: LogFault| failure(&fault, folder.path());
    let state = RedbState::open(&folder.state_file()).map_err(fault)?;
    let journal: Arc<dyn Journal> = Arc::new(ThreadedJournal::new(Arc::new(state)));
    Ok(NodeParts {
        genesis: Arc::new(folder.genesis().clone()),
        open_log: opener(folder),
        snapshot_every: SNAPSHOT_EVERY,
        journal,
        bus: Arc::new(LocalBus::default()),
        log: None,
        host: None,
        agents: None,
        clock: Arc::new(System),
        random: Arc::new(System),
    })
}

/// Keeps datanets beside the actors: no value that they guard passes through it. What a crash left under way ends first.
async fn keeper(handles: &agora_actors::node::Handles) -> Arc<Keeper> {
    let keeper = Arc::new(Keeper::new(Arc::clone(&handles.buyer.journal), handles.ledger.clone()));
    let recovering = Arc::clone(&keeper);
    let recovered = tokio::task::spawn_blocking(move || recovering.recover()).await;
    let told = recovered.map_err(|error| error.to_string()).and_then(|done| done.map_err(|error| error.to_string()));
    if let Err(error) = told {
        // All else goes on without it, and the next version of that datanet begins with it.
        tracing::warn!(%error, "a datanet's version stays on its way to the ledger");
    }
    keeper
}

fn log_parts(folder: &DataFolder, checkpoint_key: Arc<StatementSigner>) -> Outcome<LogParts> {
    let tiles = FolderTiles::open(&folder.tiles_folder()).map_err(|fault| failure(&fault, folder.path()))?;
    Ok(LogParts { tiles: Arc::new(tiles), every_ms: PUBLISH_EVERY_MS, checkpoint_key })
}

/// A start that failed, with what to do where the folder is the reason.
fn not_started(error: agora_actors::CallError, folder: &DataFolder) -> Failure {
    let failure = refused(error);
    network::advise(match failure.code {
        Code::StoreDamaged => Failure::new(failure.code, format!("{}: {}", folder.path().display(), failure.what)),
        _ => failure,
    })
}

impl Running {
    /// Starts a node on an opened network. Without an engine it sells no models; all else is there.
    ///
    /// # Errors
    /// The keystore's, the store's and the sandbox's refusals.
    pub async fn start(network: Network, engine: Option<Arc<dyn Engine>>, paths: &Paths) -> Outcome<Self> {
        Self::start_with(network, engine.map(Loaded::alone), paths).await
    }

    /// The same with what measures the engine's answers.
    pub(crate) async fn start_with(network: Network, loaded: Option<Loaded>, paths: &Paths) -> Outcome<Self> {
        let since = Instant::now();
        let folder = &network.folder;
        let keys = network.keys()?;
        let sandbox =
            WasmSandbox::new(SandboxSettings { cache_folder: Some(paths.aot()), ..SandboxSettings::default() });
        let sandbox = sandbox.map_err(|error| Failure::new(error.code, error.what))?;
        let ring: Arc<dyn KeyRing> = Arc::new(Ring::new(network.store(), network.passphrase.clone(), network.cost));
        let http = HttpClient::new().map_err(|error| Failure::new(Code::NodeIo, error.to_string()))?;
        let blobs = FolderBlobs::open(&folder.blobs_folder()).map_err(|fault| failure(&fault, folder.path()))?;
        let parts = NodeParts {
            log: Some(log_parts(folder, Arc::clone(&keys.checkpoint))?),
            host: loaded.clone().map(|Loaded { engine, attributor, .. }| HostParts {
                engine,
                account: Arc::clone(&keys.host),
                receipt_key: Arc::clone(&keys.receipt),
                grace_s: agora_actors::host::GRACE_S,
                attributor,
                epoch_s: agora_actors::host::EPOCH_S,
            }),
            agents: Some(AgentParts {
                blobs: Arc::new(blobs),
                sandbox: Arc::new(sandbox),
                keys: Arc::clone(&ring),
                http: Some(Arc::new(http)),
            }),
            ..parts(folder)?
        };
        let genesis = Arc::clone(&parts.genesis);
        let node = Node::start(parts).await.map_err(|error| not_started(error, folder))?;
        let stop = Arc::new(Notify::new());
        let shops = Arc::new(Shops::open(node.handles(), Arc::clone(&keys.operator), ring).await?);
        let house = shops.keep_house();
        let service = Arc::new(NodeService {
            handles: node.handles().clone(),
            keeper: keeper(node.handles()).await,
            shops: Some(Arc::clone(&shops)),
            genesis,
            host: (keys.host.address(), keys.receipt.public()),
            loaded,
            pid: Some(std::process::id()),
            since,
            stop: Arc::clone(&stop),
        });
        let running = Self { node, service, keys, network, shops, house, stop };
        running.introduce_host().await?;
        Ok(running)
    }

    /// The receipt key speaks for the host's account, once that stands on the ledger.
    async fn introduce_host(&self) -> Outcome<()> {
        let ledger = &self.node.handles().ledger;
        let known = ledger.statement_key(self.keys.receipt.public()).await;
        if known.map_err(|error| refused(error.into()))?.is_some() {
            return Ok(());
        }
        let command = network::register_receipt_key(self.genesis(), &self.keys.host, &self.keys.receipt);
        let entry = Entry::sign(&self.genesis().network(), command, &self.keys.host);
        let ledger: &dyn agora_economy::ports::ledger::Ledger = ledger;
        ledger.commit_one(entry).await.map_err(|error| refused(error.into()))
    }

    /// The network's genesis file.
    pub fn genesis(&self) -> &Genesis {
        self.network.folder.genesis()
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The host's account and the key of its receipts.
    pub fn host(&self) -> (agora_types::Address, StatementKey) {
        self.service.host
    }

    /// The actors' handles.
    pub fn handles(&self) -> &agora_actors::node::Handles {
        self.node.handles()
    }

    /// Answers requests, in this process.
    pub fn service(&self) -> Arc<dyn Service> {
        Arc::clone(&self.service) as Arc<dyn Service>
    }

    /// Waits until somebody asks the node to stop, a signal comes, or a part keeps failing.
    ///
    /// # Errors
    /// The part that keeps failing.
    pub async fn wait(&self) -> Outcome<()> {
        let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
            .map_err(Failure::io("signals".as_ref()))?;
        tokio::select! {
            () = self.stop.notified() => Ok(()),
            _ = tokio::signal::ctrl_c() => Ok(()),
            _ = terminate.recv() => Ok(()),
            why = self.node.fallen() => Err(Failure::new(Code::NodeBusy, why)
                .advise("start the node again; what was under way goes on")),
        }
    }

    /// Stops the actors; what is under way stands on disk.
    pub async fn stop(self) {
        self.house.abort();
        self.node.stop().await;
    }
}

/// Starts a node in the foreground, until it is told to stop, Ctrl-C or SIGTERM.
///
/// # Errors
/// Everything that keeps a node from starting, each with its code.
pub async fn up(context: &Context, options: &Up) -> Outcome<()> {
    start_log(context);
    let (settings, printer) = (&context.settings, &context.printer);
    let address = SocketAddr::new(settings.bind.value, settings.port.value);
    let network = network::open_or_make(&context.paths, settings)?;
    let genesis = network.folder.genesis().clone();
    if genesis.dev && !address.ip().is_loopback() {
        return Err(Failure::new(Code::NodeNotLoopback, format!("{address} is not on this machine only")));
    }
    // A port in use is said before a model is loaded.
    drop(std::net::TcpListener::bind(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::AddrInUse => Failure::new(Code::NodePortInUse, format!("{address} is taken")),
        _ => Failure::io(address.to_string().as_ref())(error),
    })?);
    let engine = load_engine(context, genesis.dev).await?;
    let folder = network.folder.path().to_path_buf();
    let running = Running::start_with(network, Some(engine), &context.paths).await?;
    let public = match open_public(&running, context, options) {
        Ok(public) => public,
        Err(failure) => {
            running.stop().await;
            return Err(failure);
        }
    };
    // Last, since whoever reads its beacon may ask for everything.
    let control = match running.open_control(address).await {
        Ok(control) => control,
        Err(failure) => {
            if let Some(public) = public {
                public.close(PUBLIC_GRACE).await;
            }
            running.stop().await;
            return Err(failure);
        }
    };
    printer.note(&format!("network   {} (chain id {})", genesis.name, genesis.chain_id));
    printer.note(&format!("data      {}", folder.display()));
    printer.note(&format!("model     {}", settings.model.value));
    printer.note(&format!("listening http://{}  (Ctrl-C stops)", control.address()));
    if let (Some(url), Some(port)) = (running.public_address(), &public) {
        let at = port.address();
        let what = "models and datanets at /v1, agents at /agents, facilitator at /supported";
        printer.note(&format!("paying    {url}  (at {at}; {what})"));
    }
    let ended = running.wait().await;
    printer.note("stopping; open streams have ten seconds, then what was delivered is settled");
    if let Some(public) = public {
        public.close(PUBLIC_GRACE).await;
    }
    let closed = control.close().await;
    running.stop().await;
    ended.and(closed)
}

/// Opens the public port as settings and flags say. Where the usual port is taken and nobody named it, any free one does.
fn open_public(running: &Running, context: &Context, options: &Up) -> Outcome<Option<PublicPort>> {
    let settings = &context.settings;
    let HttpPort::Port(number) = settings.http.value else { return Ok(None) };
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => Some(Tls { certificates: certificate.clone(), key: key.clone() }),
        (Some(_), None) | (None, Some(_)) | (None, None) => None,
    };
    let (url, reader) = (options.public_url.clone(), std::env::current_exe().ok());
    let public = Public { tls, url, reader, ..Public::default() };
    let open = |number: u16| running.open_public(SocketAddr::new(settings.bind.value, number), public.clone());
    let opened = match open(number) {
        Err(failure) if failure.code == Code::NodePortInUse && settings.http.source == Source::Default => open(0),
        other => other,
    };
    opened.map(Some).map_err(|failure| match failure.code {
        Code::NodePortInUse => failure.advise("stop the other program, or give another port with --http (or off)"),
        _ => failure,
    })
}

/// Loads the engine on a thread that may block.
///
/// # Errors
/// As [`engine::load`].
pub(crate) async fn load_engine(context: &Context, dev: bool) -> Outcome<Loaded> {
    let context = context.clone();
    let load = move || {
        let settings = &context.settings;
        let place = (settings.device.value, settings.threads.value.count());
        let adapters = context.paths.network(&settings.network.value).join(ADAPTERS);
        let folders = (&context.paths, adapters.as_path());
        engine::load(&settings.model.value, place, dev, folders, &context.printer).map_err(engine::advise)
    };
    let loaded = tokio::task::spawn_blocking(load).await;
    loaded.map_err(|error| Failure::new(Code::EngineStopped, format!("loading the model: {error}")))?
}

/// The node's own log goes to stderr, by the setting `log` or, where given, RUST_LOG.
pub(crate) fn start_log(context: &Context) {
    let level = context.settings.log.value.name();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        tracing_subscriber::EnvFilter::new(format!("{level},kameo=error,actix_server=warn,wasmtime=warn"))
    });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    // A second start in one process keeps the first log.
    let _ = log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init();
}

/// Opens a network's folder without starting a node: what needs no agents and no model is answered.
///
/// # Errors
/// `node.no_network`, `store.locked` while a node runs that does not answer, `store.damaged`.
pub async fn open_offline(paths: &Paths, name: &NetworkName) -> Outcome<Arc<dyn Service>> {
    let folder = network::open_folder(paths, name)?;
    let store = agora_shell::keystore::KeyStore::at(folder.keys_folder());
    // The keys of a dev network open without asking; without them everything but exports is answered.
    let log = match network::dev_passphrase(&folder.keys_folder(), || Ok(folder.genesis().dev))? {
        Some(source) => {
            let passphrase = source.read("the dev network's passphrase", &Terminal { silent: true })?;
            Some(log_parts(&folder, Arc::new(store.open_statement(network::CHECKPOINT, &passphrase)?))?)
        }
        None => None,
    };
    let host = store.info(network::HOST)?.address.unwrap_or(agora_types::Address::ZERO);
    let public = store.info(network::HOST_RECEIPT)?.public;
    let public = public.ok_or_else(|| Failure::new(Code::KeystoreMalformed, network::HOST_RECEIPT))?;
    let parts = NodeParts { log, ..parts(&folder)? };
    let genesis = Arc::clone(&parts.genesis);
    let node = Node::start(parts).await.map_err(|error| not_started(error, &folder))?;
    let service = NodeService {
        handles: node.handles().clone(),
        keeper: keeper(node.handles()).await,
        genesis,
        host: (host, public),
        loaded: None,
        shops: None,
        pid: None,
        since: Instant::now(),
        stop: Arc::new(Notify::new()),
    };
    Ok(Arc::new(Offline { service, _node: node, _folder: folder }))
}

/// An opened folder; it is let go with the service.
struct Offline {
    service: NodeService,
    _node: Node,
    _folder: DataFolder,
}

impl Service for Offline {
    fn answer(&self, request: crate::control::Request) -> futures::future::BoxFuture<'_, Outcome<serde_json::Value>> {
        self.service.answer(request)
    }

    fn ask_agent(
        &self,
        name: String,
        message: String,
    ) -> futures::future::BoxFuture<'_, Outcome<crate::control::Steps>> {
        self.service.ask_agent(name, message)
    }
}
