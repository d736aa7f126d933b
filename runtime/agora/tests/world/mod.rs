//! A home folder with a dev network, a node of memory only behind a real control port, and the real binary.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part")]

pub mod buyer;
pub mod dice;
pub mod ground;
mod node;
mod schema;
pub mod taught;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use agora::control::beacon::{Beacon, fresh_token};
use agora::control::serve::serve;
use agora_economy::testkit::{PAYER, key};
use agora_shell::files::{self, Existing};
use agora_shell::keystore::{Cost, Key, KeyStore};
use agora_shell::{Paths, Settings};
use agora_types::{Address, Canonical as _, Code};
use agora_web::{Bounds, Face};
use serde_json::Value;

#[allow(unused_imports, reason = "each test program uses its part")]
pub use node::{FakeNode, host_address, main_address, steps};
#[allow(unused_imports, reason = "each test program uses its part")]
pub use schema::validate;

/// An exported receipt of another network, with the file that pins that network's keys.
pub const RECEIPT: &str = include_str!("../../../../payments/receipts/tests/data/call.receipt.json");
pub const TRUST: &str = include_str!("../../../../payments/receipts/tests/data/trust.toml");
pub const RECEIPT_TEXT: &str = include_str!("../../../../payments/receipts/tests/data/call.txt");
const PASSPHRASE: &str = "correct horse";

/// A home folder.
pub struct Home(pub tempfile::TempDir);

impl Home {
    /// Nothing in it.
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With a real network `dev`, made as the first `agora up` makes it, and no node at it.
    pub fn dev() -> Self {
        let home = Self::empty();
        let network = agora::node::network::open_or_make(&Paths::below(home.path()), &Settings::defaults());
        drop(network.unwrap_or_else(|failure| panic!("{failure}")));
        home
    }

    /// With what commands read of a network `dev` themselves, and a wallet `main`; the ledger is the fake node's.
    pub fn with_network(genesis: &agora_types::genesis::Genesis) -> Self {
        let home = Self::empty();
        let keys = home.network().join("keys");
        std::fs::create_dir_all(&keys).unwrap();
        std::fs::write(home.network().join("genesis.cbor"), genesis.to_bytes()).unwrap();
        std::fs::write(home.network().join("FORMAT"), "1\n").unwrap();
        files::write_private(&keys.join("dev.passphrase"), PASSPHRASE.as_bytes(), Existing::Refuse).unwrap();
        KeyStore::at(keys).store("main", &Key::Wallet(key(PAYER)), PASSPHRASE, Cost::Light).unwrap();
        home
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn network(&self) -> PathBuf {
        self.path().join("data/dev")
    }

    /// The binary in this home, with nobody to ask.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agora"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AGORA_") {
                command.env_remove(name);
            }
        }
        let folder = self.path().join("project");
        std::fs::create_dir_all(&folder).unwrap();
        command.current_dir(folder).stdin(Stdio::null()).arg("--home").arg(self.path()).args(arguments);
        command
    }

    /// Runs it.
    pub fn agora(&self, arguments: &[&str]) -> Done {
        Done::of(self.command(arguments).output().unwrap(), arguments)
    }
}

/// How the binary ended.
pub struct Done {
    pub code: i32,
    pub out: String,
    pub err: String,
    what: String,
}

impl Done {
    fn of(output: Output, arguments: &[&str]) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            err: text(output.stderr),
            what: format!("agora {}", arguments.join(" ")),
        }
    }

    /// stdout, of a command that must succeed.
    #[track_caller]
    pub fn good(&self) -> &str {
        assert_eq!(self.code, 0, "{}\n{}\n{}", self.what, self.out, self.err);
        &self.out
    }

    /// The one document on stdout.
    #[track_caller]
    pub fn document(&self) -> Value {
        serde_json::from_str(self.good()).unwrap_or_else(|error| panic!("{}: {error}\n{}", self.what, self.out))
    }

    /// Asserts a failure's exit code and stable code, from the document on the last line of stderr.
    #[track_caller]
    pub fn failed(&self, code: Code) -> Value {
        let line = self.err.lines().last().unwrap_or_default();
        let document: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("{}: {}", self.what, self.err));
        assert_eq!(document["code"], code.text(), "{}: {document}", self.what);
        assert_eq!(document["$type"], "agora/error/v1");
        assert_eq!(self.code, i32::from(code.exit_code()), "{}", self.what);
        assert!(document["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{document}");
        document
    }
}

/// A home, and the node behind its beacon.
pub struct World {
    pub home: Home,
    pub node: Arc<FakeNode>,
    pub face: Option<Face>,
    pub runtime: tokio::runtime::Runtime,
}

impl World {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let node = Arc::new(FakeNode::new());
        let home = Home::with_network(&node.kit.lock().unwrap().genesis);
        let (face, beacon) = {
            let _inside = runtime.enter();
            let token = fresh_token().unwrap();
            let any = SocketAddr::from(([127, 0, 0, 1], 0));
            let face = Face::open(any, true, token.clone(), serve(node.clone()), Bounds::default()).unwrap();
            let beacon = Beacon::of_process(face.address(), token);
            (face, beacon)
        };
        beacon.write(&home.network()).unwrap();
        Self { home, node, face: Some(face), runtime }
    }

    pub fn agora(&self, arguments: &[&str]) -> Done {
        self.home.agora(arguments)
    }

    pub fn balance(&self, address: &Address) -> u128 {
        self.node.kit.lock().unwrap().balance(address)
    }

    /// Ends the node and leaves its beacon, as a crash does.
    pub fn crash(&mut self) {
        let face = self.face.take().unwrap();
        self.runtime.block_on(face.close());
    }
}
