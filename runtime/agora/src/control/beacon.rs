//! The beacon: the file `control.json` by which commands find the running node of a network, and its token.
//!
//! Written whole by the node once its port is open, removed when it stops. A node that was killed leaves one behind;
//! then nobody answers there, or somebody who does not know the token.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use agora_shell::files::{self, Existing};
use agora_shell::{Failure, Outcome};
use agora_types::Code;
use agora_web::Token;
use serde::{Deserialize, Serialize};

/// Its name in the network's data folder.
pub const FILE: &str = "control.json";
const SIZE_MAX: usize = 4 * 1024;

/// Where a node answers, and to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Beacon {
    /// Its control port.
    pub address: SocketAddr,
    /// What a command must know.
    pub token: Token,
    /// Its process.
    pub pid: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    address: SocketAddr,
    token: String,
    pid: u32,
}

/// A new random token.
///
/// # Errors
/// `node.io` when the system has no randomness.
pub fn fresh_token() -> Outcome<Token> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::new(Code::NodeIo, format!("the system gives no random bytes: {error}")))?;
    Ok(Token::new(&hex::encode(bytes)).expect("64 hexadecimal digits are a token"))
}

impl Beacon {
    /// That of this process. A port that listens at every address is reached by loopback.
    pub fn of_process(mut address: SocketAddr, token: Token) -> Self {
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            IpAddr::V4(_) | IpAddr::V6(_) => {}
        }
        Self { address, token, pid: std::process::id() }
    }

    /// The file in a network's data folder.
    pub fn path(folder: &Path) -> PathBuf {
        folder.join(FILE)
    }

    /// Writes the file, whole and private, over the one of an earlier node.
    ///
    /// # Errors
    /// `node.io`.
    pub fn write(&self, folder: &Path) -> Outcome<()> {
        let wire = Wire { address: self.address, token: self.token.secret().to_owned(), pid: self.pid };
        let text = serde_json::to_string(&wire).expect("a beacon is plain JSON") + "\n";
        files::write_private(&Self::path(folder), text.as_bytes(), Existing::Replace).map(|_| ())
    }

    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// `keystore.permissions` when others can read or write it: whoever can write it could take a command's place;
    /// `node.bad_config` for anything but a beacon; `node.io`.
    pub fn read(folder: &Path) -> Outcome<Option<Self>> {
        let path = Self::path(folder);
        let file = match std::fs::File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(Failure::io(&path))?,
        };
        files::require_private(&file, &path)?;
        let bytes = files::read_bounded(file, &path, SIZE_MAX)?;
        let wrong = |what: &dyn fmt::Display| {
            Failure::new(Code::NodeConfig, format!("{}: {what}", path.display()))
                .advise("stop the node and start it anew; it writes this file itself")
        };
        let bytes = bytes.ok_or_else(|| wrong(&"too long for a beacon"))?;
        // The parser's own words could repeat the token.
        let wire: Wire = serde_json::from_slice(&bytes).map_err(|_| wrong(&"not a beacon"))?;
        let token = Token::new(&wire.token).map_err(|error| wrong(&error))?;
        Ok(Some(Self { address: wire.address, token, pid: wire.pid }))
    }

    /// Removes the file, unless it is another node's by now.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn remove(&self, folder: &Path) -> Outcome<()> {
        let path = Self::path(folder);
        if Self::read(folder)?.as_ref() != Some(self) {
            return Ok(());
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::io(&path)(error)),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beacon(port: u16) -> Beacon {
        Beacon::of_process(SocketAddr::from(([127, 0, 0, 1], port)), fresh_token().unwrap())
    }

    #[test]
    fn what_a_node_writes_a_command_reads_and_only_its_own_node_removes() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Beacon::read(folder.path()).unwrap(), None);
        let (first, second) = (beacon(1), beacon(2));
        first.write(folder.path()).unwrap();
        second.write(folder.path()).unwrap();
        first.remove(folder.path()).unwrap();
        assert_eq!(Beacon::read(folder.path()).unwrap().as_ref(), Some(&second));
        second.remove(folder.path()).unwrap();
        assert_eq!(Beacon::read(folder.path()).unwrap(), None);
        second.remove(folder.path()).unwrap();
    }

    #[test]
    fn a_port_at_every_address_is_reached_by_loopback() {
        for (bound, named) in [("0.0.0.0:7", "127.0.0.1:7"), ("[::]:7", "[::1]:7"), ("10.0.0.1:7", "10.0.0.1:7")] {
            let beacon = Beacon::of_process(bound.parse().unwrap(), fresh_token().unwrap());
            assert_eq!(beacon.address, named.parse().unwrap());
        }
    }

    #[test]
    #[cfg(unix)]
    fn a_beacon_that_others_can_read_or_write_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        beacon(1).write(folder.path()).unwrap();
        let path = Beacon::path(folder.path());
        for (mode, fine) in [(0o600, true), (0o640, false), (0o620, false), (0o604, false), (0o602, false)] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            match Beacon::read(folder.path()) {
                Ok(found) => assert!(fine && found.is_some(), "{mode:o}"),
                Err(failure) => assert!(!fine && failure.code == Code::KeystorePermissions, "{mode:o} {failure}"),
            }
        }
    }

    #[test]
    fn another_file_of_this_name_is_refused_and_its_token_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let secret = "5a".repeat(32);
        for text in [
            "".to_owned(),
            "{}".to_owned(),
            format!("{{\"address\":\"127.0.0.1:1\",\"token\":\"{secret}x\",\"pid\":1}}"),
            format!("{{\"address\":\"127.0.0.1:1\",\"token\":[\"{secret}\"],\"pid\":1}}"),
            " ".repeat(SIZE_MAX + 1),
        ] {
            files::write_private(&Beacon::path(folder.path()), text.as_bytes(), Existing::Replace).unwrap();
            let failure = Beacon::read(folder.path()).unwrap_err();
            assert_eq!(failure.code, Code::NodeConfig);
            assert!(!failure.to_string().contains(&secret), "{failure}");
        }
    }
}
