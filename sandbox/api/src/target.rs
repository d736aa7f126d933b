//! Where an agent's HTTP request goes: a URL that no two readers understand differently, and the hosts that are granted.
//!
//! An address that two parsers read in two ways is how a request leaves for a host that nobody granted. So only the
//! plain form is taken (`https://host[:port]/path?query`, ASCII); what libraries would repair is refused, and what is
//! sent is the form written by [`Target::url`], not the guest's.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Longest URL, bytes.
const URL_SIZE_MAX: usize = 2_048;
/// Longest host name and longest part of one, bytes (RFC 1035).
const NAME_SIZE_MAX: usize = 253;
const LABEL_SIZE_MAX: usize = 63;

/// Why a URL or a host is not taken.
type Refused = &'static str;

/// A checked URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    https: bool,
    host: Host,
    port: u16,
    /// Path and query; begins with `/`.
    rest: String,
}

/// A host. Names are in lower case; names in other scripts are written as they travel (`xn--…`).
#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Name(String),
    V4(Ipv4Addr),
    V6(Ipv6Addr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => write!(f, "[{address}]"),
        }
    }
}

impl Host {
    /// This machine: by its name or an address of its loopback network.
    fn is_loopback(&self) -> bool {
        match self {
            Self::Name(name) => name == "localhost",
            Self::V4(address) => address.is_loopback(),
            Self::V6(address) => *address == Ipv6Addr::LOCALHOST,
        }
    }
}

impl Target {
    /// Reads a URL.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub fn parse(url: &str) -> Result<Self, Refused> {
        if url.len() > URL_SIZE_MAX {
            return Err("a URL has at most 2048 bytes");
        }
        if !url.bytes().all(|c| c.is_ascii_graphic() && c != b'\\') {
            return Err("a URL is ASCII without spaces and backslashes; escape other bytes, and write hosts as xn--…");
        }
        let (scheme, after) = url.split_once("://").ok_or("a URL begins with https://")?;
        let https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("a URL begins with https://"),
        };
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (named, rest) = after.split_at(end);
        if rest.contains('#') {
            return Err("a fragment is not sent; leave it out");
        }
        if named.contains('@') {
            return Err("a URL carries no user and no password");
        }
        let (host, port) = authority(named)?;
        if !https && !host.is_loopback() {
            return Err("https:// is required, except to this machine");
        }
        let slash = if rest.starts_with('/') { "" } else { "/" };
        let port = port.unwrap_or(default_port(https));
        Ok(Self { https, host, port, rest: format!("{slash}{rest}") })
    }

    /// The URL to send: scheme and host in lower case, addresses in their shortest form, no default port.
    pub fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        match self.port == default_port(self.https) {
            true => format!("{scheme}://{}{}", self.host, self.rest),
            false => format!("{scheme}://{}:{}{}", self.host, self.port, self.rest),
        }
    }

    /// Host and port, for people.
    pub fn host(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// May the request go to this address, which the host's name was resolved to? Whoever connects asks before each
    /// connection: a granted name that points into a private network must not open it to the agent.
    pub fn may_reach(&self, address: IpAddr) -> bool {
        match (&self.host, address) {
            (Host::V4(granted), IpAddr::V4(address)) => *granted == address,
            (Host::V6(granted), IpAddr::V6(address)) => *granted == address,
            (Host::V4(_), IpAddr::V6(_)) | (Host::V6(_), IpAddr::V4(_)) => false,
            (Host::Name(name), address) if name == "localhost" => address.is_loopback(),
            (Host::Name(_), IpAddr::V4(address)) => is_public_v4(address),
            (Host::Name(_), IpAddr::V6(address)) => is_public_v6(address),
        }
    }
}

/// A host of a grant: `api.example.com`, `127.0.0.1:8402`, `[::1]:8402`, or `*.example.com` for all names below one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern {
    below: bool,
    host: Host,
    /// Absent: the default port of the URL's scheme.
    port: Option<u16>,
}

impl Pattern {
    /// Reads a host of a grant.
    ///
    /// # Errors
    /// Which rule it breaks.
    pub(crate) fn parse(text: &str) -> Result<Self, Refused> {
        let (below, named) = match text.strip_prefix("*.") {
            Some(named) => (true, named),
            None => (false, text),
        };
        let (host, port) = authority(named)?;
        match &host {
            Host::Name(name) if below && !name.contains('.') => Err("*. stands before a name of two parts or more"),
            Host::V4(_) | Host::V6(_) if below => Err("*. stands before a name, not an address"),
            Host::Name(_) | Host::V4(_) | Host::V6(_) => Ok(Self { below, host, port }),
        }
    }

    /// Does it grant this? An address is granted only as itself, never by a name that leads to it.
    pub(crate) fn grants(&self, target: &Target) -> bool {
        let named = match (&self.host, &target.host) {
            (Host::Name(above), Host::Name(name)) if self.below => {
                name.strip_suffix(above.as_str()).is_some_and(|rest| rest.ends_with('.'))
            }
            (granted, asked) => granted == asked,
        };
        named && target.port == self.port.unwrap_or(default_port(target.https))
    }
}

const fn default_port(https: bool) -> u16 {
    if https { 443 } else { 80 }
}

/// `host[:port]`.
fn authority(text: &str) -> Result<(Host, Option<u16>), Refused> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, after) = rest.split_once(']').ok_or("a [ without its ]")?;
            // Zones (`%eth0`) do not parse: they name an interface of this machine.
            let address = address.parse().map_err(|_| "no IPv6 address stands between [ and ]")?;
            let port = after.strip_prefix(':');
            if port.is_none() && !after.is_empty() {
                return Err("only a port stands after a ]");
            }
            (Host::V6(address), port)
        }
        None => match text.split_once(':') {
            Some((host, port)) => (named(host)?, Some(port)),
            None => (named(text)?, None),
        },
    };
    Ok((host, port.map(port_number).transpose()?))
}

fn port_number(text: &str) -> Result<u16, Refused> {
    let digits = !text.starts_with('0') && text.bytes().all(|c| c.is_ascii_digit());
    let number = if digits { text.parse().ok() } else { None };
    number.ok_or("a port is a number from 1 to 65535")
}

/// A name, or an IPv4 address in the one form that everybody reads alike.
fn named(text: &str) -> Result<Host, Refused> {
    let name = text.to_ascii_lowercase();
    let part = |label: &str| {
        (1..=LABEL_SIZE_MAX).contains(&label.len())
            && label.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > NAME_SIZE_MAX || !name.split('.').all(part) {
        return Err("a host has parts of a-z 0-9 - with single dots between them, and none at the end");
    }
    // Readers take a name whose last part is a number for an address, in octal, hexadecimal or with parts left out.
    let last = name.rsplit('.').next().unwrap_or_default();
    let hexadecimal = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|c| c.is_ascii_hexdigit()));
    if hexadecimal || last.bytes().all(|c| c.is_ascii_digit()) {
        let address = name.parse().map_err(|_| "an IPv4 address is four decimal numbers without leading zeros")?;
        return Ok(Host::V4(address));
    }
    Ok(Host::Name(name))
}

/// An address of the open internet: no network of its own, no machine itself, no crowd.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let own = address.is_private() || address.is_loopback() || address.is_link_local() || (a == 100 && b & 0xc0 == 64);
    let reserved = a == 0 || a >= 224 || (a == 192 && b == 0 && c == 0) || (a == 198 && b & 0xfe == 18);
    !own && !reserved && !address.is_documentation()
}

/// The same; forms that carry an IPv4 address (mapped, 6to4, Teredo) are not public, whatever they carry.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, ..] = address.segments();
    let carries = a == 0x2002 || (a == 0x2001 && b < 0x0200);
    a & 0xe000 == 0x2000 && !carries && !(a == 0x2001 && b == 0x0db8)
}
