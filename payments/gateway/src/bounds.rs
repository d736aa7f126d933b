//! What a stranger may take of the port: bytes, time, connections, requests.

use std::time::Duration;

/// Bounds of the port. What happens at each is said beside it; a refusal is the error document with a stable code.
///
/// A client is who opens the connection: behind a proxy all clients are one, and the proxy must do the counting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Threads that serve connections.
    pub workers: usize,
    /// Connections of one worker; more wait in the system's queue.
    pub connections_per_worker: usize,
    /// Connections in all; more are closed at once.
    pub connections_max: usize,
    /// Connections of one client address; more are closed at once.
    pub connections_per_client: usize,
    /// Requests of one client address at the same time, open streams among them; more are answered 429.
    pub requests_per_client: usize,
    /// Requests of one client address a second, in the long run; more are answered 429 with `Retry-After`.
    pub rate_per_s: u32,
    /// Requests that a client address may send at once before the rate counts.
    pub rate_burst: u32,
    /// Client addresses that are told apart; all others share one place.
    pub clients_max: usize,
    /// Bytes of a request's line and headers; more are answered 431. A `PAYMENT-SIGNATURE` has 16 KiB of them at most. The
    /// parser itself takes no more than 96 headers and 128 KiB.
    pub head_max: usize,
    /// A head, and a TLS handshake, must arrive within this; then the connection is closed. The server's clock lags by
    /// up to half a second, so that less than a second makes no sense here and for [`Bounds::idle_timeout`].
    pub head_timeout: Duration,
    /// A body must arrive within this; then the request is answered 408.
    pub body_timeout: Duration,
    /// A connection without a request is closed after this.
    pub idle_timeout: Duration,
    /// A client that takes nothing of what is sent to it is cut off after this.
    pub stall_timeout: Duration,
    /// Bytes of a body that asks a model; more are answered 413. Facilitator requests have the bound of their document,
    /// agents their own.
    pub openai_body_max: usize,
    /// Bytes of a file for a datanet; more are answered 413. It is held in memory while it is worked on.
    pub upload_body_max: usize,
    /// A file for a datanet must arrive within this; then the request is answered 408.
    pub upload_timeout: Duration,
    /// Files for datanets that are read and worked on at once, of all clients; more are answered 503 with `Retry-After`.
    pub uploads_at_once: usize,
    /// Most bytes of a body to an agent, whatever the agent itself allows.
    pub agent_body_max: usize,
    /// While an event stream has nothing to say, a comment is sent this often.
    pub comment_every: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            workers: 2,
            connections_per_worker: 4_096,
            connections_max: 8_192,
            connections_per_client: 512,
            requests_per_client: 256,
            rate_per_s: 200,
            rate_burst: 400,
            clients_max: 65_536,
            head_max: 32 * 1024,
            head_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            openai_body_max: 256 * 1024,
            upload_body_max: 32 * 1024 * 1024,
            upload_timeout: Duration::from_secs(120),
            uploads_at_once: 2,
            agent_body_max: 1024 * 1024,
            comment_every: Duration::from_secs(10),
        }
    }
}
