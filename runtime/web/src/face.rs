//! The port itself: opened on one address, bounded in every way, closed once open answers have ended.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::ServerHandle;
use actix_web::web::{self, Data, Payload};
use actix_web::{App, HttpRequest, HttpResponse, HttpServer};
use agora_types::Code;
use futures::StreamExt as _;
use tokio::task::JoinHandle;

use crate::answer::{Answer, refusal, refusal_with};
use crate::guard::{self, Token};
use crate::{ASK_PATH, Control, REQUEST_PATH};

/// Most bytes of a request: a component of 64 MiB in base64, and its manifest.
pub const REQUEST_MAX: usize = 96 * 1024 * 1024;
/// Most bytes of a question.
pub const ASK_MAX: usize = 1024 * 1024;
/// Most connections at once; more wait in the system's queue.
pub const CONNECTIONS_MAX: usize = 64;

/// What a request may take of the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of a request's body.
    pub request_max: usize,
    /// Bytes of a question's body.
    pub ask_max: usize,
    /// A request's head must arrive within this.
    pub head_timeout: Duration,
    /// A body must arrive within this.
    pub body_timeout: Duration,
    /// Open answers may take so long after [`Face::close`].
    pub close_timeout: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            request_max: REQUEST_MAX,
            ask_max: ASK_MAX,
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(60),
            close_timeout: Duration::from_secs(10),
        }
    }
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
}

impl OpenError {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::NotLoopback(_) => Code::NodeNotLoopback,
            Self::InUse(_) => Code::NodePortInUse,
            Self::Io(..) => Code::NodeIo,
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLoopback(address) => write!(f, "{address} can be reached from other machines"),
            Self::InUse(address) => write!(f, "{address} is taken"),
            Self::Io(address, error) => write!(f, "{address}: {error}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// An open port. Dropped without [`Face::close`], it is cut off at once.
#[derive(Debug)]
pub struct Face {
    address: SocketAddr,
    handle: ServerHandle,
    task: JoinHandle<io::Result<()>>,
}

struct Behind {
    control: Arc<dyn Control>,
    token: Token,
    bounds: Bounds,
    bound: IpAddr,
}

impl Face {
    /// Listens at `address`; port 0 takes any free one. `loopback_only` is what a dev network demands.
    ///
    /// # Errors
    /// `node.not_loopback`, `node.port_in_use`, `node.io`.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn open(
        address: SocketAddr,
        loopback_only: bool,
        token: Token,
        control: Arc<dyn Control>,
        bounds: Bounds,
    ) -> Result<Self, OpenError> {
        if loopback_only && !address.ip().is_loopback() {
            return Err(OpenError::NotLoopback(address));
        }
        let failed = |error: io::Error| match error.kind() {
            io::ErrorKind::AddrInUse => OpenError::InUse(address),
            _ => OpenError::Io(address, error),
        };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let behind = Data::new(Behind { control, token, bounds, bound: address.ip() });
        let app = move || {
            App::new()
                .app_data(behind.clone())
                .route(REQUEST_PATH, web::post().to(request))
                .route(ASK_PATH, web::post().to(ask))
                .default_service(web::to(elsewhere))
        };
        let server = HttpServer::new(app)
            .workers(1)
            .max_connections(CONNECTIONS_MAX)
            .client_request_timeout(bounds.head_timeout)
            .client_disconnect_timeout(Duration::from_secs(2))
            .keep_alive(Duration::from_secs(15))
            .tcp_nodelay(true)
            .shutdown_timeout(bounds.close_timeout.as_secs())
            .disable_signals()
            .listen(listener)
            .map_err(failed)?
            .run();
        let handle = server.handle();
        Ok(Self { address, handle, task: tokio::spawn(server) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, lets open answers end within [`Bounds::close_timeout`], then cuts them off.
    pub async fn close(mut self) {
        self.handle.stop(true).await;
        // The server's own failure would have been one of its address, which no longer matters.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Face {
    fn drop(&mut self) {
        if !self.task.is_finished() {
            // The command is in the channel once the future exists; nobody waits for its answer here.
            drop(self.handle.stop(false));
        }
    }
}

async fn request(request: HttpRequest, body: Payload, behind: Data<Behind>) -> HttpResponse {
    let limit = behind.bounds.request_max;
    match admitted(&request, body, &behind, limit).await {
        Ok(body) => behind.control.answer(body).await.into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn ask(request: HttpRequest, body: Payload, behind: Data<Behind>) -> HttpResponse {
    let limit = behind.bounds.ask_max;
    match admitted(&request, body, &behind, limit).await {
        Ok(body) => behind.control.ask(body).await.into_response(),
        Err(refused) => refused.into_response(),
    }
}

/// Another path or method: of another release, or no command of ours.
async fn elsewhere(request: HttpRequest, behind: Data<Behind>) -> HttpResponse {
    let refused = guard::admit(&request, &behind.token, behind.bound).err();
    let unknown = || refusal_with(404, Code::WireUnsupported, "there is nothing at this path and method");
    refused.unwrap_or_else(unknown).into_response()
}

/// The body of a request that may be answered.
async fn admitted(request: &HttpRequest, body: Payload, behind: &Behind, limit: usize) -> Result<Vec<u8>, Answer> {
    guard::admit(request, &behind.token, behind.bound)?;
    let read = read(body, limit);
    let late = |_| refusal_with(408, Code::WireMalformed, "the request's body did not arrive in time");
    tokio::time::timeout(behind.bounds.body_timeout, read).await.map_err(late)?
}

async fn read(mut body: Payload, limit: usize) -> Result<Vec<u8>, Answer> {
    let mut bytes = Vec::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| refusal(Code::WireMalformed, &format!("the request's body: {error}")))?;
        if bytes.len() + chunk.len() > limit {
            return Err(refusal(Code::WireTooLarge, &format!("a request here has at most {limit} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}
