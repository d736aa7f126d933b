//! A whole node: the supervision tree over the ports that a program brings.
//!
//! ```text
//! NodeSupervisor
//! ├── LedgerActor      own thread; sole owner of state and log
//! ├── DirectoryActor   listings
//! ├── HostActor        serves calls, where there is an engine
//! ├── AgentSupervisor  one AgentActor per running agent
//! └── LogActor         tiles and signed checkpoints
//! ```
//! Asks go one way: agents and host ask directory and ledger, nobody is asked back. A child that fails is started from its
//! first arguments, which hold no state of value; one that keeps failing takes the node down, because what cannot be
//! written cannot be paid.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use agora_economy::ports::attribution::Attributor;
use agora_economy::ports::bus::Bus;
use agora_economy::ports::http::HttpExchange;
use agora_economy::ports::log::{LogFault, LogStore};
use agora_economy::ports::state::{Blobs, Journal};
use agora_economy::ports::tiles::TileStore;
use agora_inference_api::Engine;
use agora_sandbox_api::Sandbox;
use agora_types::Code;
use agora_types::genesis::Genesis;
use agora_types::key::{StatementSigner, WalletKey};
use kameo::actor::{Actor, ActorId, ActorRef, Spawn as _, WeakActorRef};
use kameo::error::ActorStopReason;
use kameo::supervision::RestartPolicy;
use tokio::sync::watch;

use crate::agent::{AgentPorts, AgentSupervisor, AgentsHandle, Feed, KeyRing};
use crate::call::SellerParts;
use crate::clock::{Clock, Random};
use crate::directory::{DirectoryActor, DirectoryHandle, DirectorySettings};
use crate::error::CallError;
use crate::fetch::PaidFetch;
use crate::host::{HostActor, HostHandle, HostSettings};
use crate::ledger::{LedgerActor, LedgerHandle, LedgerSettings};
use crate::log::{LogActor, LogHandle, LogSettings};
use crate::pay::spend::{PaidClient, Patience, SpendParts, usual_schemes};
use crate::purchase::Buyer;

/// How often a child may be started from disk within [`RESTART_WINDOW`] before the node gives up.
const RESTARTS_MAX: u32 = 5;
const RESTART_WINDOW: Duration = Duration::from_secs(30);
/// How long a child's orderly stop may take.
const STOP: Duration = Duration::from_secs(10);

/// Opens the log; called at every start of the ledger actor.
pub type OpenLog = Arc<dyn Fn() -> Result<Box<dyn LogStore>, LogFault> + Send + Sync>;

/// What sells answers: an engine, and the host's keys.
#[derive(Clone)]
pub struct HostParts {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// Settles calls, is paid.
    pub account: Arc<WalletKey>,
    /// Signs quotes and receipts; registered on the ledger.
    pub receipt_key: Arc<StatementSigner>,
    /// Seconds that a cut-off sale waits for its buyer.
    pub grace_s: u64,
    /// Measures answers, where the node has what that needs.
    pub attributor: Option<Arc<dyn Attributor>>,
    /// Seconds between two publications of what contributors have earned.
    pub epoch_s: u64,
}

/// What publishes the receipt log.
#[derive(Clone)]
pub struct LogParts {
    /// Where it is published.
    pub tiles: Arc<dyn TileStore>,
    /// Milliseconds between publications.
    pub every_ms: u64,
    /// Signs its checkpoints.
    pub checkpoint_key: Arc<StatementSigner>,
}

/// What runs agents.
#[derive(Clone)]
pub struct AgentParts {
    /// Components.
    pub blobs: Arc<dyn Blobs>,
    /// Runs them.
    pub sandbox: Arc<dyn Sandbox>,
    /// Keeps the agents' keys.
    pub keys: Arc<dyn KeyRing>,
    /// What asks other people's servers for them; `None`: `fetch` is denied to every agent.
    pub http: Option<Arc<dyn HttpExchange>>,
}

/// What a node is made of.
#[derive(Clone)]
pub struct NodeParts {
    /// The network.
    pub genesis: Arc<Genesis>,
    /// The ledger's log.
    pub open_log: OpenLog,
    /// Batches between snapshots.
    pub snapshot_every: u64,
    /// Small state.
    pub journal: Arc<dyn Journal>,
    /// The bus.
    pub bus: Arc<dyn Bus>,
    /// `None`: this node publishes no receipt log.
    pub log: Option<LogParts>,
    /// `None`: this node sells nothing.
    pub host: Option<HostParts>,
    /// `None`: this node runs no agents.
    pub agents: Option<AgentParts>,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Ids, salts.
    pub random: Arc<dyn Random>,
}

/// The handles of a running node.
#[derive(Clone)]
pub struct Handles {
    /// The ledger.
    pub ledger: LedgerHandle,
    /// The listings.
    pub directory: DirectoryHandle,
    /// The agents, on a node that runs some.
    pub agents: Option<AgentsHandle>,
    /// The published receipt log, on a node that publishes it.
    pub log: Option<LogHandle>,
    /// The host, on a node that serves.
    pub host: Option<HostHandle>,
    /// The buyer's side.
    pub buyer: Arc<Buyer>,
}

/// The root of the tree.
pub struct NodeSupervisor {
    children: Vec<(ActorId, &'static str)>,
    fallen: watch::Sender<Option<String>>,
}

/// A running node.
pub struct Node {
    root: ActorRef<NodeSupervisor>,
    handles: Handles,
    stop: StopOrder,
    fallen: watch::Receiver<Option<String>>,
}

/// Children in the order in which they are stopped.
struct StopOrder {
    agents: Option<ActorRef<AgentSupervisor>>,
    host: Option<ActorRef<HostActor>>,
    log: Option<ActorRef<LogActor>>,
    directory: ActorRef<DirectoryActor>,
    ledger: ActorRef<LedgerActor>,
}

impl Actor for NodeSupervisor {
    type Args = watch::Sender<Option<String>>;
    type Error = CallError;

    async fn on_start(fallen: Self::Args, _: ActorRef<Self>) -> Result<Self, CallError> {
        Ok(Self { children: Vec::new(), fallen })
    }

    async fn on_link_died(
        &mut self,
        _: WeakActorRef<Self>,
        id: ActorId,
        reason: ActorStopReason,
    ) -> Result<ControlFlow<ActorStopReason>, CallError> {
        if !matches!(reason, ActorStopReason::Normal) {
            let who =
                self.children.iter().find(|(child, _)| *child == id).map_or("a part of the node", |(_, name)| name);
            tracing::error!(%reason, "{who} keeps failing");
            self.fallen.send_replace(Some(format!("{who} keeps failing: {reason}")));
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Remembers a child's name, for the message when it falls.
struct Named(ActorId, &'static str);

impl kameo::message::Message<Named> for NodeSupervisor {
    type Reply = ();

    async fn handle(&mut self, Named(id, name): Named, _: &mut kameo::message::Context<Self, Self::Reply>) {
        self.children.push((id, name));
    }
}

async fn started<A: Actor<Error = E>, E: Clone + std::fmt::Display>(
    root: &ActorRef<NodeSupervisor>,
    child: &ActorRef<A>,
    name: &'static str,
    code: impl FnOnce(&E) -> Code,
) -> Result<(), CallError> {
    let _ = root.tell(Named(child.id(), name)).await;
    match child.wait_for_startup_result().await {
        Ok(()) => Ok(()),
        Err(kameo::error::HookError::Error(error)) => Err(CallError::new(code(&error), format!("{name}: {error}"))),
        Err(kameo::error::HookError::Panicked(panic)) => {
            Err(CallError::new(Code::NodeBusy, format!("{name} fell while it started: {panic}")))
        }
    }
}

/// Starts a child that the root starts anew when it fails, and waits until it stands.
async fn child<A: Actor<Error = CallError>>(
    root: &ActorRef<NodeSupervisor>,
    settings: A::Args,
    name: &'static str,
) -> Result<ActorRef<A>, CallError>
where
    A::Args: Clone + Sync,
{
    let actor = A::supervise(root, settings)
        .restart_policy(RestartPolicy::Transient)
        .restart_limit(RESTARTS_MAX, RESTART_WINDOW)
        .spawn()
        .await;
    started(root, &actor, name, |error| error.code).await?;
    Ok(actor)
}

impl Node {
    /// Starts every part, in the order of need.
    ///
    /// # Errors
    /// The first part that does not start, with its code: `store.locked`, `store.damaged`, …
    pub async fn start(parts: NodeParts) -> Result<Self, CallError> {
        let (fallen, watched) = watch::channel(None);
        let root = NodeSupervisor::spawn(fallen);
        let settings = LedgerSettings {
            genesis: Arc::clone(&parts.genesis),
            open: Arc::clone(&parts.open_log),
            clock: Arc::clone(&parts.clock),
            snapshot_every: parts.snapshot_every,
        };
        let ledger_actor = LedgerActor::supervise(&root, settings)
            .restart_policy(RestartPolicy::Transient)
            .restart_limit(RESTARTS_MAX, RESTART_WINDOW)
            .spawn_in_thread()
            .await;
        started(&root, &ledger_actor, "the ledger", |fault| fault.code()).await?;
        let ledger = LedgerHandle::new(ledger_actor.clone(), &parts.genesis);
        let port: Arc<dyn agora_economy::ports::ledger::Ledger> = Arc::new(ledger.clone());

        let settings = DirectorySettings {
            ledger: Arc::clone(&port),
            bus: Arc::clone(&parts.bus),
            journal: Arc::clone(&parts.journal),
        };
        let directory_actor = child::<DirectoryActor>(&root, settings, "the directory").await?;
        let directory = DirectoryHandle::new(directory_actor.clone());

        let host = match &parts.host {
            None => None,
            Some(host) => Some(start_host(&root, &parts, host, &port, &directory).await?),
        };
        let buyer = Arc::new(Buyer {
            ledger: port,
            journal: Arc::clone(&parts.journal),
            bus: Arc::clone(&parts.bus),
            directory: Arc::new(directory.clone()),
            clock: Arc::clone(&parts.clock),
            random: Arc::clone(&parts.random),
        });
        let agents = match &parts.agents {
            None => None,
            Some(agents) => Some(start_agents(&root, agents, &buyer).await?),
        };
        let log = match &parts.log {
            None => None,
            Some(log) => Some(start_log(&root, &parts, log, &ledger).await?),
        };
        let handles = Handles {
            ledger,
            directory,
            agents: agents.as_ref().map(|(actor, ports)| AgentsHandle::new(actor.clone(), Arc::clone(ports))),
            log: log.clone().map(LogHandle::new),
            host: host.clone().map(HostHandle::new),
            buyer,
        };
        let agents = agents.map(|(actor, _)| actor);
        let stop = StopOrder { agents, host, log, directory: directory_actor, ledger: ledger_actor };
        Ok(Self { root, handles, stop, fallen: watched })
    }

    /// The handles.
    pub fn handles(&self) -> &Handles {
        &self.handles
    }

    /// Waits until a part keeps failing, and says which; such a node must be started anew.
    pub async fn fallen(&self) -> String {
        let mut fallen = self.fallen.clone();
        match fallen.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_) => "the root of the node is gone".to_owned(),
        }
    }

    /// Stops every part, agents first. Whatever is under way stands on disk and goes on at the next start.
    pub async fn stop(self) {
        async fn end<A: Actor>(actor: &ActorRef<A>) {
            if actor.stop_gracefully().await.is_ok()
                && tokio::time::timeout(STOP, actor.wait_for_shutdown()).await.is_err()
            {
                actor.kill();
                actor.wait_for_shutdown().await;
            }
        }
        if let Some(agents) = &self.stop.agents {
            end(agents).await;
        }
        if let Some(host) = &self.stop.host {
            end(host).await;
        }
        if let Some(log) = &self.stop.log {
            end(log).await;
        }
        end(&self.stop.directory).await;
        end(&self.stop.ledger).await;
        end(&self.root).await;
    }
}

async fn start_host(
    root: &ActorRef<NodeSupervisor>,
    parts: &NodeParts,
    host: &HostParts,
    ledger: &Arc<dyn agora_economy::ports::ledger::Ledger>,
    directory: &DirectoryHandle,
) -> Result<ActorRef<HostActor>, CallError> {
    let seller = SellerParts {
        account: Arc::clone(&host.account),
        receipt_key: Arc::clone(&host.receipt_key),
        ledger: Arc::clone(ledger),
        engine: Arc::clone(&host.engine),
        journal: Arc::clone(&parts.journal),
        bus: Arc::clone(&parts.bus),
        clock: Arc::clone(&parts.clock),
        random: Arc::clone(&parts.random),
        attributor: host.attributor.clone(),
    };
    let settings = HostSettings {
        parts: seller,
        directory: Arc::new(directory.clone()),
        grace_s: host.grace_s,
        epoch_s: host.epoch_s,
    };
    child(root, settings, "the host").await
}

/// What pays over HTTP for agents, each with its own keys.
fn paying(buyer: &Buyer, http: Arc<dyn HttpExchange>) -> Arc<dyn PaidFetch> {
    Arc::new(PaidClient::new(SpendParts {
        http,
        ledger: Arc::clone(&buyer.ledger),
        journal: Arc::clone(&buyer.journal),
        clock: Arc::clone(&buyer.clock),
        random: Arc::clone(&buyer.random),
        schemes: usual_schemes(),
        patience: Patience::default(),
        consent: None,
    }))
}

async fn start_agents(
    root: &ActorRef<NodeSupervisor>,
    parts: &AgentParts,
    buyer: &Arc<Buyer>,
) -> Result<(ActorRef<AgentSupervisor>, Arc<AgentPorts>), CallError> {
    let ports = Arc::new(AgentPorts {
        buyer: Arc::clone(buyer),
        blobs: Arc::clone(&parts.blobs),
        sandbox: Arc::clone(&parts.sandbox),
        keys: Arc::clone(&parts.keys),
        fetch: parts.http.clone().map(|http| paying(buyer, http)),
        feed: Feed::default(),
    });
    let actor = child::<AgentSupervisor>(root, Arc::clone(&ports), "the supervisor of agents").await?;
    Ok((actor, ports))
}

async fn start_log(
    root: &ActorRef<NodeSupervisor>,
    parts: &NodeParts,
    log: &LogParts,
    ledger: &LedgerHandle,
) -> Result<ActorRef<LogActor>, CallError> {
    let settings = LogSettings {
        genesis: Arc::clone(&parts.genesis),
        ledger: ledger.clone(),
        signer: Arc::clone(&log.checkpoint_key),
        tiles: Arc::clone(&log.tiles),
        every_ms: log.every_ms,
    };
    child(root, settings, "the receipt log").await
}
