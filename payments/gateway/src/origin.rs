//! The address of this port as the world sees it: resource URLs are built on it, and payments name those.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use actix_web::HttpRequest;
use actix_web::http::Uri;
use actix_web::http::header::{HOST, HeaderMap};
use agora_economy::ports::pay::PricedRequest;
use agora_types::{Code, Hash};

use crate::body;
use crate::errors::Failure;

/// Longest URL of a resource: payments carry no longer one.
pub(crate) const URL_MAX: usize = 2_048;
/// Longest `Host`.
const HOST_MAX: usize = 255;

/// Scheme, host and port of resource URLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Always the same; what stands behind a proxy needs this.
    Fixed(String),
    /// As the request names it in `Host`, else the address that the port is bound to.
    Host {
        /// True behind TLS.
        secure: bool,
        /// Where the port listens.
        bound: SocketAddr,
    },
}

/// The text is no origin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginError(String);

impl fmt::Display for OriginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no origin: write http:// or https://, a host, and perhaps a port, without a path", self.0)
    }
}

impl std::error::Error for OriginError {}

impl Origin {
    /// A fixed origin; one slash at its end is dropped.
    ///
    /// # Errors
    /// For anything but a scheme, a host and a port.
    pub fn fixed(text: &str) -> Result<Self, OriginError> {
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        let host = trimmed.strip_prefix("https://").or_else(|| trimmed.strip_prefix("http://"));
        match host {
            Some(host) if is_host(host) => Ok(Self::Fixed(trimmed.to_owned())),
            Some(_) | None => Err(OriginError(text.chars().take(80).collect())),
        }
    }

    /// The absolute URL of a request, with its query.
    pub(crate) fn url(&self, request: &HttpRequest) -> Result<String, Failure> {
        self.join(request.headers(), request.uri())
    }

    /// Of the target of a request line.
    pub(crate) fn join(&self, headers: &HeaderMap, target: &Uri) -> Result<String, Failure> {
        let path = target.path_and_query().map_or("/", |path| path.as_str());
        // `OPTIONS *` would grow into the host's name.
        if !path.starts_with(['/', '?']) {
            return Err(Failure::new(Code::WireMalformed, "the request line names no path"));
        }
        let url = match self {
            Self::Fixed(origin) => format!("{origin}{path}"),
            Self::Host { secure, bound } => {
                let scheme = if *secure { "https" } else { "http" };
                let host = match body::only(headers, &HOST)? {
                    None => bound.to_string(),
                    Some(host) if is_host(host) => host.to_ascii_lowercase(),
                    Some(_) => return Err(Failure::new(Code::WireMalformed, "the header Host names no host")),
                };
                format!("{scheme}://{host}{path}")
            }
        };
        if url.len() > URL_MAX {
            return Err(Failure::with(414, Code::WireTooLarge, format!("a URL here has at most {URL_MAX} bytes")));
        }
        Ok(url)
    }

    /// A request as its payment sees it.
    pub(crate) fn priced(&self, request: &HttpRequest, body: &[u8]) -> Result<PricedRequest, Failure> {
        let url = self.url(request)?;
        Ok(PricedRequest { method: request.method().as_str().to_owned(), url, body: Hash::sha256(body) })
    }
}

/// A name or address, and perhaps a port: nothing that would end the host in a URL, and no user.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, after)) if address.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) => {
                ("ip6", after.strip_prefix(':').or(after.is_empty().then_some("0")))
            }
            Some(_) | None => return false,
        },
        None => text.split_once(':').map_or((text, Some("0")), |(name, port)| (name, Some(port))),
    };
    let letter = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.' || b == b'_';
    let port_fits = port.is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok());
    (1..=HOST_MAX).contains(&text.len()) && !name.is_empty() && name.bytes().all(letter) && port_fits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_hosts_build_urls() {
        for host in ["a.example", "a.example:443", "127.0.0.1:80", "[::1]:8080", "[::1]", "localhost"] {
            assert!(is_host(host), "{host}");
        }
        for host in [
            "", ":80", "a/b", "a?b", "a#b", "a@b", "a b", "a:", "a:65536", "a:+1", "[::1", "[x]", "[::1]x", "ä", "a\\b",
        ] {
            assert!(!is_host(host), "{host}");
        }
    }

    // `OPTIONS *` was a resource at `http://127.0.0.1:8402*`, which is a URL of nobody.
    #[test]
    fn a_target_without_a_path_never_grows_into_the_host() {
        let origin = Origin::Host { secure: false, bound: SocketAddr::from(([127, 0, 0, 1], 8402)) };
        let url = |target: &str| origin.join(&HeaderMap::new(), &target.parse().unwrap()).ok();
        assert_eq!(url("/a?b").as_deref(), Some("http://127.0.0.1:8402/a?b"));
        assert_eq!(url("http://b.example?c").as_deref(), Some("http://127.0.0.1:8402?c"));
        assert_eq!(url("b.example:443").as_deref(), Some("http://127.0.0.1:8402/"));
        assert_eq!(url("*"), None);
    }

    #[test]
    fn an_origin_has_no_path() {
        assert_eq!(Origin::fixed("https://a.example/"), Ok(Origin::Fixed("https://a.example".to_owned())));
        for text in ["a.example", "ftp://a", "https://", "https://a/b", "https://u@a", "https://a?x", "https://a//"] {
            assert!(Origin::fixed(text).is_err(), "{text}");
        }
    }
}
