//! The port itself: opened on one address, bounded in every way, closed once open answers have ended.

mod gate;
mod tls;
mod wire;

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::HttpService;
use actix_server::{Server, ServerHandle};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::dev::AppConfig;
use actix_web::middleware::from_fn;
use actix_web::web::{Data, ServiceConfig};
use actix_web::{App, Error};
use agora_economy::ports::datanets::Datanets;
use agora_economy::ports::pay::{Facilitator, Models, Trouble, Workers};
use agora_types::Code;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use tls::Tls;

use crate::bounds::Bounds;
use crate::clients::Clients;
use crate::origin::{Origin, OriginError};
use crate::{agents, datanets, facilitator, openai, runtime};

/// Finished answers may take so long to leave.
const FLUSH_S: u64 = 2;

/// More routes, such as ones behind a [`crate::Paywall`]; called once by each worker.
pub type Routes = Arc<dyn Fn(&mut ServiceConfig) + Send + Sync>;

/// What is served. What is absent is answered 404.
#[derive(Clone, Default)]
pub struct Services {
    /// `/verify`, `/settle`, `/supported`, `/discovery/resources`, `/payments/…`.
    pub facilitator: Option<Arc<dyn Facilitator>>,
    /// `/v1/models`, `/v1/chat/completions`, `/v1/completions`.
    pub models: Option<Arc<dyn Models>>,
    /// `/v1/datanets…`.
    pub datanets: Option<Arc<dyn Datanets>>,
    /// `/agents/…`.
    pub workers: Option<Arc<dyn Workers>>,
    /// The origin of resource URLs, where a proxy stands before the port; else each request's `Host`.
    pub base_url: Option<String>,
    /// Anything else.
    pub routes: Option<Routes>,
}

/// Why the port did not open.
#[derive(Debug)]
pub enum OpenError {
    /// The network is of this machine only, the address is not.
    NotLoopback(SocketAddr),
    /// Another program listens there.
    InUse(SocketAddr),
    /// The system refused otherwise.
    Io(SocketAddr, io::Error),
    /// Certificate or key; says which file and what is wrong with it.
    Tls(String),
    /// `base_url`.
    Origin(OriginError),
}

impl OpenError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NotLoopback(_) => Code::NodeNotLoopback,
            Self::InUse(_) => Code::NodePortInUse,
            Self::Io(..) => Code::NodeIo,
            Self::Tls(_) | Self::Origin(_) => Code::NodeConfig,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoopback(address) => write!(f, "{address} can be reached from other machines"),
            Self::InUse(address) => write!(f, "{address} is taken"),
            Self::Io(address, error) => write!(f, "{address}: {error}"),
            Self::Tls(what) => f.write_str(what),
            Self::Origin(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for OpenError {}

/// What every request can reach.
pub(crate) struct Shared {
    pub(crate) services: Services,
    pub(crate) bounds: Bounds,
    pub(crate) origin: Origin,
    pub(crate) clients: Arc<Clients>,
    /// Places for files that are read and worked on.
    pub(crate) uploads: Arc<Semaphore>,
    /// Requests that are being answered.
    pub(crate) open: watch::Sender<usize>,
    /// True from [`PublicPort::close`] on.
    pub(crate) closing: watch::Sender<bool>,
    /// Where work runs that must come to its end.
    pub(crate) runtime: Handle,
}

impl Shared {
    /// See [`runtime::finish`].
    pub(crate) async fn finish<T, F>(&self, work: F) -> Result<T, Trouble>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Trouble>> + Send + 'static,
    {
        runtime::finish(&self.runtime, runtime::PATIENCE, work).await
    }
}

/// An open port. Dropped without [`PublicPort::close`], it is cut off at once.
pub struct PublicPort {
    address: SocketAddr,
    shared: Arc<Shared>,
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

impl PublicPort {
    /// Listens at `address`; port 0 takes any free one. `loopback_only` is what a dev network demands. With `tls` the
    /// port speaks nothing else.
    ///
    /// # Errors
    /// `node.not_loopback`, `node.port_in_use`, `node.io`, `node.bad_config`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(
        address: SocketAddr,
        loopback_only: bool,
        tls: Option<&Tls>,
        services: Services,
        bounds: Bounds,
    ) -> Result<Self, OpenError> {
        if loopback_only && !address.ip().is_loopback() {
            return Err(OpenError::NotLoopback(address));
        }
        let acceptor = tls.map(Tls::acceptor).transpose().map_err(OpenError::Tls)?;
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => OpenError::InUse(address),
            _ => OpenError::Io(address, error),
        };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let origin = match &services.base_url {
            Some(text) => Origin::fixed(text).map_err(OpenError::Origin)?,
            None => Origin::Host { secure: acceptor.is_some(), bound: address },
        };
        let shared = Arc::new(Shared {
            clients: Clients::new(&bounds),
            uploads: Arc::new(Semaphore::new(bounds.uploads_at_once)),
            services,
            bounds,
            origin,
            open: watch::Sender::new(0),
            closing: watch::Sender::new(false),
            runtime: Handle::current(),
        });
        let server = serve(listener, acceptor, Arc::clone(&shared)).map_err(failed)?;
        let handle = server.handle();
        Ok(Self { address, shared, handle, task: tokio::spawn(server) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, lets open answers end within `grace`, then cuts them off: what is cut off is settled or
    /// released as if its client had gone.
    ///
    /// Settlements that have begun go on after that: let the runtime live until what stands behind the port is closed.
    pub async fn close(mut self, grace: Duration) {
        self.shared.closing.send_replace(true);
        let mut open = self.shared.open.subscribe();
        let ended = tokio::time::timeout(grace, open.wait_for(|open| *open == 0)).await.is_ok();
        // What was answered may still be on its way out; a cut-off need not wait.
        self.handle.stop(ended).await;
        // The server's own failure would have been one of its address, which no longer matters.
        let _ = (&mut self.task).await;
    }
}

impl Drop for PublicPort {
    fn drop(&mut self) {
        if !self.task.is_finished() {
            // The command is in the channel once the future exists; nobody waits for its answer here.
            drop(self.handle.stop(false));
        }
    }
}

/// The server: each connection passes the watch of `wire.rs`, each request the gate of `gate.rs`.
fn serve(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) -> io::Result<Server> {
    let bounds = shared.bounds.clone();
    let server = Server::build()
        .workers(bounds.workers.max(1))
        .max_concurrent_connections(bounds.connections_per_worker)
        .shutdown_timeout(FLUSH_S)
        .disable_signals()
        .listen("public", listener, move || {
            let app = App::new()
                .app_data(Data::from(Arc::clone(&shared)))
                .configure(|config| routes(&shared, config))
                .default_service(actix_web::web::to(gate::elsewhere))
                .wrap(from_fn(gate::pass))
                .into_factory()
                .map_err(|error: Error| error.error_response());
            let closing = shared.closing.subscribe();
            let http = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let mut closing = closing.clone();
                    // The sender lives as long as the server; its end is an end too.
                    async move { drop(closing.wait_for(|closing| *closing).await) }
                })
                .keep_alive(shared.bounds.idle_timeout)
                .client_request_timeout(shared.bounds.head_timeout)
                .client_disconnect_timeout(Duration::from_secs(FLUSH_S))
                // Who closes its half has gone: what it asked for is dropped, so that its payment is released.
                .h1_allow_half_closed(false)
                .on_connect_ext(|io: &wire::Watched, data| _ = data.insert(io.busy()))
                .h1(map_config(app, |_| AppConfig::default()));
            let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
            fn_service(move |io: TcpStream| wire::accept(io, acceptor.clone(), Arc::clone(&shared))).and_then(http)
        })?;
    Ok(server.run())
}

fn routes(shared: &Shared, config: &mut ServiceConfig) {
    if shared.services.facilitator.is_some() {
        facilitator::routes(config);
    }
    if shared.services.models.is_some() {
        openai::routes(config);
    }
    if shared.services.datanets.is_some() {
        datanets::routes(config);
    }
    if shared.services.workers.is_some() {
        agents::routes(config);
    }
    if let Some(more) = &shared.services.routes {
        more(config);
    }
}
