//! Names on the bus, checked where they are made.

use std::fmt;

use agora_types::Code;

use super::BusError;

/// Most characters of one part of a subject.
const PART_MAX: usize = 64;

fn part(text: &str) -> Result<(), BusError> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'_' || c == b'-';
    if text.is_empty() || text.len() > PART_MAX || !text.bytes().all(allowed) {
        let shown: String = text.chars().take(PART_MAX).collect();
        return Err(BusError::new(Code::BusBadSubject, format!("`{}`", shown.escape_debug())));
    }
    Ok(())
}

/// Where a message goes: `agora.v1.<network>.<peer>.<verb>`. The network is its chain id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subject {
    network: u64,
    peer: String,
    verb: String,
}

impl Subject {
    /// A subject of its parts; peer and verb have 1 to 64 characters of `A-Z a-z 0-9 _ -`.
    pub fn new(network: u64, peer: &str, verb: &str) -> Result<Self, BusError> {
        part(peer)?;
        part(verb)?;
        Ok(Self { network, peer: peer.to_owned(), verb: verb.to_owned() })
    }

    /// Reads the dotted form; refuses wildcards, foreign prefixes and a network with leading zeros.
    pub fn parse(text: &str) -> Result<Self, BusError> {
        let wrong = || {
            let shown: String = text.chars().take(4 * PART_MAX).collect();
            BusError::new(Code::BusBadSubject, format!("`{}`", shown.escape_debug()))
        };
        let parts: Vec<&str> = text.splitn(6, '.').collect();
        let ["agora", "v1", network, peer, verb] = parts[..] else { return Err(wrong()) };
        let number: u64 = network.parse().map_err(|_| wrong())?;
        if number.to_string() != network {
            return Err(wrong());
        }
        Self::new(number, peer, verb)
    }

    /// The network's chain id.
    pub fn network(&self) -> u64 {
        self.network
    }

    /// The peer that is spoken to, or speaks.
    pub fn peer(&self) -> &str {
        &self.peer
    }

    /// What is asked.
    pub fn verb(&self) -> &str {
        &self.verb
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agora.v1.{}.{}.{}", self.network, self.peer, self.verb)
    }
}

/// Subjects of one network, with peer or verb left open; no pattern spans networks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern {
    network: u64,
    peer: Option<String>,
    verb: Option<String>,
}

impl Pattern {
    /// `None` matches any peer or any verb.
    pub fn new(network: u64, peer: Option<&str>, verb: Option<&str>) -> Result<Self, BusError> {
        peer.map_or(Ok(()), part)?;
        verb.map_or(Ok(()), part)?;
        Ok(Self { network, peer: peer.map(str::to_owned), verb: verb.map(str::to_owned) })
    }

    /// True when the subject belongs to it.
    pub fn matches(&self, subject: &Subject) -> bool {
        self.network == subject.network
            && self.peer.as_ref().is_none_or(|peer| *peer == subject.peer)
            && self.verb.as_ref().is_none_or(|verb| *verb == subject.verb)
    }
}

impl From<&Subject> for Pattern {
    fn from(subject: &Subject) -> Self {
        Self { network: subject.network, peer: Some(subject.peer.clone()), verb: Some(subject.verb.clone()) }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = |part: &Option<String>| part.clone().unwrap_or_else(|| "*".to_owned());
        write!(f, "agora.v1.{}.{}.{}", self.network, open(&self.peer), open(&self.verb))
    }
}

/// A key in a bucket; both have 1 to 64 characters of `A-Z a-z 0-9 _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    bucket: String,
    name: String,
}

impl Key {
    /// A key of its parts.
    pub fn new(bucket: &str, name: &str) -> Result<Self, BusError> {
        part(bucket)?;
        part(name)?;
        Ok(Self { bucket: bucket.to_owned(), name: name.to_owned() })
    }

    /// The bucket.
    pub fn bucket(&self) -> &str {
        &self.bucket
    }

    /// The name in it.
    pub fn name(&self) -> &str {
        &self.name
    }
}
