//! A connection under watch: counted, perhaps behind TLS, and closed when its client neither sends a head in time nor
//! takes what is sent to it.
//!
//! actix-http times a connection's first head and its idle time; it times neither a later head nor a write.

use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_http::error::DispatchError;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::Shared;
use crate::clients::Counted;

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// How many requests of a connection are being answered.
pub(super) type Busy = Arc<AtomicUsize>;

/// A connection.
pub(super) struct Watched {
    io: Io,
    busy: Busy,
    head_timeout: Duration,
    stall_timeout: Duration,
    /// Set while a head is on its way.
    head: Option<Pin<Box<Sleep>>>,
    /// Set while the client takes nothing.
    stall: Option<Pin<Box<Sleep>>>,
    _counted: Counted,
}

/// Lets a connection in, and finishes its handshake.
pub(super) async fn accept(
    io: TcpStream,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) -> Result<(Watched, Option<SocketAddr>), DispatchError> {
    let peer = io.peer_addr().map_err(DispatchError::Io)?;
    let crowded = || DispatchError::Io(io::Error::new(io::ErrorKind::ConnectionRefused, "too many connections"));
    let counted = shared.clients.connect(peer.ip(), Instant::now()).ok_or_else(crowded)?;
    // Without it a small chunk waits for the acknowledgement of the one before.
    io.set_nodelay(true).map_err(DispatchError::Io)?;
    let head_timeout = shared.bounds.head_timeout;
    let io = match acceptor {
        None => Io::Plain(io),
        Some(acceptor) => {
            let shaken = tokio::time::timeout(head_timeout, acceptor.accept(io)).await;
            let stream = shaken.map_err(|_| DispatchError::SlowRequestTimeout)?.map_err(DispatchError::Io)?;
            Io::Tls(Box::new(stream))
        }
    };
    let stall_timeout = shared.bounds.stall_timeout;
    let busy = Busy::default();
    Ok((Watched { io, busy, head_timeout, stall_timeout, head: None, stall: None, _counted: counted }, Some(peer)))
}

impl Watched {
    /// Handed to each request of the connection.
    pub(super) fn busy(&self) -> Busy {
        Arc::clone(&self.busy)
    }

    fn io(&mut self) -> Pin<&mut (dyn Stream + 'static)> {
        match &mut self.io {
            Io::Plain(io) => Pin::new(io),
            Io::Tls(io) => Pin::new(io.as_mut()),
        }
    }

    /// A write that makes no progress for too long fails.
    fn watch<T>(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stall = None;
            return result;
        }
        let timeout = self.stall_timeout;
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = self.io().poll_read(cx, buffer);
        if self.busy.load(Ordering::Relaxed) > 0 {
            self.head = None;
            return result;
        }
        if buffer.filled().len() > before && self.head.is_none() {
            self.head = Some(Box::pin(sleep(self.head_timeout)));
        }
        if let Some(head) = &mut self.head
            && head.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head did not arrive in time")));
        }
        result
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = self.io().poll_write(cx, bytes);
        self.watch(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.io().poll_flush(cx);
        self.watch(cx, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = self.io().poll_shutdown(cx);
        self.watch(cx, result)
    }
}
