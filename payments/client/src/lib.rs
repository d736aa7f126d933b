//! Requests to other people's servers over HTTP: one at a time, to addresses that were asked about, with a bound on
//! everything that comes back.
//!
//! A client is built for each request, over shared TLS settings: its only addresses are those that passed the caller's
//! check, and no connection, cookie or redirect of one request serves another.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agora_economy::ports::http::{HttpAsk, HttpExchange, HttpFault, HttpHeard, Pending, Reached};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, Url, redirect};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout_at};

/// How long one address may take to accept a connection, TLS included.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// Addresses of one name that are tried.
const ADDRESSES_MAX: usize = 8;
/// Headers of an answer, and their bytes together.
const HEADERS_MAX: usize = 100;
/// Bytes of names and values of an answer's headers together. More is no answer.
const HEADER_BYTES_MAX: usize = 64 * 1_024;
/// The same for HTTP/2, which bounds the list itself; 32 bytes of each entry count more there.
const HEADER_LIST_MAX: u32 = 96 * 1_024;
/// What is said of this program to servers.
const USER_AGENT: &str = concat!("agora/", env!("CARGO_PKG_VERSION"));

/// Sends requests over TCP and TLS.
pub struct HttpClient {
    tls: ClientConfig,
}

/// The client could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoClient(String);

impl std::fmt::Display for NoClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TLS: {}", self.0)
    }
}

impl std::error::Error for NoClient {}

impl HttpClient {
    /// A client that trusts the certificate authorities of Mozilla.
    ///
    /// # Errors
    /// [`NoClient`].
    pub fn new() -> Result<Self, NoClient> {
        Self::trusting(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
    }

    /// A client that trusts these authorities only.
    ///
    /// # Errors
    /// [`NoClient`].
    pub fn trusting(roots: RootCertStore) -> Result<Self, NoClient> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = versions.map_err(|error| NoClient(error.to_string()))?;
        let mut tls = builder.with_root_certificates(roots).with_no_client_auth();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { tls })
    }

    /// A client of one request, whose host has these addresses only.
    fn client(&self, host: &str, addresses: &[SocketAddr]) -> Result<Client, HttpFault> {
        let builder = Client::builder()
            .use_preconfigured_tls(self.tls.clone())
            .redirect(redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .user_agent(USER_AGENT)
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            .http2_max_header_list_size(HEADER_LIST_MAX)
            .connect_timeout(CONNECT_MAX)
            .resolve_to_addrs(host, addresses);
        builder.build().map_err(|error| nobody(words(&error)))
    }
}

impl HttpExchange for HttpClient {
    fn exchange<'a>(&'a self, ask: HttpAsk<'a>) -> Pending<'a, HttpHeard> {
        Box::pin(async move {
            let until = Instant::now() + Duration::from_millis(ask.timeout_ms);
            let url = Url::parse(ask.url).map_err(|error| nobody(format!("the URL: {error}")))?;
            let host = url.host_str().ok_or_else(|| nobody("the URL has no host".to_owned()))?.to_owned();
            let found = timeout_at(until, addresses(&url, &host)).await;
            let found = found.map_err(|_| nobody(format!("{host} was not resolved in time")))??;
            let checked: Vec<SocketAddr> = found.into_iter().filter(|one| (ask.may_reach)(one.ip())).collect();
            if checked.is_empty() {
                return Err(nobody(format!("{host} has no address that may be reached")));
            }
            let client = self.client(&host, &checked)?;
            let method = Method::from_bytes(ask.method.as_bytes()).map_err(|error| nobody(error.to_string()))?;
            let mut request = client.request(method, url).headers(headers(ask.headers)?);
            if !ask.body.is_empty() {
                request = request.body(ask.body.to_vec());
            }
            let request = request.build().map_err(|error| nobody(words(&error)))?;
            let answer = timeout_at(until, client.execute(request)).await;
            let answer = answer.map_err(|_| perhaps(format!("{host} did not answer in time")))?;
            let answer = answer.map_err(|error| HttpFault {
                reached: if error.is_connect() { Reached::Nobody } else { Reached::Perhaps },
                what: format!("{host}: {}", words(&error)),
            })?;
            let heard = timeout_at(until, read(answer, ask.body_bytes_max)).await;
            heard.map_err(|_| perhaps(format!("{host} did not end its answer in time")))?
        })
    }
}

/// What the host's name stands for; an address stands for itself.
async fn addresses(url: &Url, host: &str) -> Result<Vec<SocketAddr>, HttpFault> {
    let port = url.port_or_known_default().ok_or_else(|| nobody("the URL has no port".to_owned()))?;
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = literal.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::net::lookup_host((host, port)).await;
    let found = found.map_err(|error| nobody(format!("{host} is not resolved: {error}")))?;
    Ok(found.take(ADDRESSES_MAX).collect())
}

fn headers(list: &[(String, String)]) -> Result<HeaderMap, HttpFault> {
    let mut map = HeaderMap::new();
    for (name, value) in list {
        let bad = || nobody(format!("the header {name:?} cannot be sent"));
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad())?;
        let value = HeaderValue::from_str(value).map_err(|_| bad())?;
        map.try_append(name, value).map_err(|_| nobody("too many headers".to_owned()))?;
    }
    Ok(map)
}

async fn read(mut answer: Response, body_bytes_max: usize) -> Result<HttpHeard, HttpFault> {
    let size: usize = answer.headers().iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if answer.headers().len() > HEADERS_MAX || size > HEADER_BYTES_MAX {
        return Err(perhaps(format!("more than {HEADERS_MAX} headers, or than {HEADER_BYTES_MAX} bytes of them")));
    }
    let status = answer.status().as_u16();
    let heard = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let headers = answer.headers().iter().map(heard).collect();
    let (mut body, mut cut) = (Vec::new(), false);
    while let Some(chunk) = answer.chunk().await.map_err(|error| perhaps(words(&error)))? {
        let room = body_bytes_max - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            cut = true;
            break;
        }
    }
    Ok(HttpHeard { status, headers, body, cut })
}

fn nobody(what: String) -> HttpFault {
    HttpFault { reached: Reached::Nobody, what }
}

fn perhaps(what: String) -> HttpFault {
    HttpFault { reached: Reached::Perhaps, what }
}

/// An error with its causes, without the URL: a query may hold what is nobody else's business.
fn words(error: &reqwest::Error) -> String {
    let mut text = if error.is_connect() { "no connection".to_owned() } else { "no answer".to_owned() };
    let mut cause = std::error::Error::source(error);
    while let Some(one) = cause {
        text.push_str(": ");
        text.push_str(&one.to_string());
        cause = one.source();
    }
    text
}
