//! A network's folder and keys: opened, or made for a dev network.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use agora_actors::CallError;
use agora_actors::clock::{Clock as _, Random as _, fresh_head};
use agora_economy::ports::log::LogFault;
use agora_shell::files::{self, Existing};
use agora_shell::keystore::{Cost, Key, KeyKind, KeyStore};
use agora_shell::secret::Terminal;
use agora_shell::settings::Source;
use agora_shell::{Failure, NetworkName, Outcome, Paths, SecretSource, Settings};
use agora_store::{DataFolder, FORMAT};
use agora_types::command::{Command, KeyKind as Work, KeyProof, KeyStatement, PublicKey, RegisterKey};
use agora_types::genesis::{Allocation, CHAIN_ID_LIMIT, Genesis, Parameters};
use agora_types::key::{StatementSigner, WalletKey};
use agora_types::{Amount, Canonical as _, Code};
use zeroize::Zeroizing;

use super::system::System;

/// Names of the node's keys in the network's keystore.
pub const HOST: &str = "host";
/// Signs quotes and receipts.
pub const HOST_RECEIPT: &str = "host-receipt";
/// Signs checkpoints of the receipt log.
pub const CHECKPOINT: &str = "checkpoint";
/// The network's operator.
pub const OPERATOR: &str = "operator";
/// The wallet of whoever made the network.
pub const MAIN: &str = "main";
/// The file of a dev network's passphrase.
const DEV_PASSPHRASE: &str = "dev.passphrase";
/// What the first wallet of a dev network holds, in OPEN.
const MAIN_OPEN: u64 = 1_000_000;
/// Until when a host's receipt key acts, in seconds: ten years.
const KEY_LIFE_S: u64 = 315_360_000;

/// An opened network: nobody else has its folder while this lives.
pub struct Network {
    /// The folder.
    pub folder: DataFolder,
    /// Opens its keys.
    pub passphrase: Zeroizing<String>,
    /// What making further keys costs.
    pub cost: Cost,
}

/// The keys that a node works with.
pub struct NodeKeys {
    /// Settles calls, is paid.
    pub host: Arc<WalletKey>,
    /// Signs quotes and receipts.
    pub receipt: Arc<StatementSigner>,
    /// Signs checkpoints.
    pub checkpoint: Arc<StatementSigner>,
    /// Holds and posts payments as a facilitator.
    pub operator: Arc<WalletKey>,
}

/// A fault as a command says it.
pub fn failure(fault: &LogFault, path: &Path) -> Failure {
    advise(Failure::new(fault.code(), format!("{}: {fault}", path.display())))
}

/// What to do about a data folder that cannot be used.
pub(super) fn advise(failure: Failure) -> Failure {
    match failure.code {
        Code::StoreLocked => failure.advise("stop the other node (`agora network stop`), or choose another --home"),
        Code::StoreDamaged => failure.advise(
            "nothing was changed: copy the folder away, then restore it from a backup, or start a new network in another \
             --home",
        ),
        _ => failure,
    }
}

/// What an actor or a port answered, as a command says it.
pub fn refused(error: CallError) -> Failure {
    Failure::new(error.code, error.what)
}

/// Opens a network's folder, without its keys.
///
/// # Errors
/// `node.no_network`, `store.locked`, `store.damaged`, `node.folder_format`.
pub fn open_folder(paths: &Paths, name: &NetworkName) -> Outcome<DataFolder> {
    let path = paths.network(name);
    if !path.join("FORMAT").is_file() {
        return Err(Failure::new(Code::NodeNoNetwork, format!("no network `{name}` at {}", path.display())));
    }
    let format = std::fs::read_to_string(path.join("FORMAT")).map_err(Failure::io(&path.join("FORMAT")))?;
    if format != FORMAT {
        let format: String = format.trim().chars().take(40).collect();
        let what = format!("{} has the format `{format}`, this release reads `{}`", path.display(), FORMAT.trim());
        return Err(Failure::new(Code::NodeFormat, what));
    }
    DataFolder::open(&path).map_err(|fault| failure(&fault, &path))
}

/// Opens a network, or makes a dev network of this name when there is none.
///
/// # Errors
/// As [`open_folder`]; the keystore's refusals; `node.io`.
pub fn open_or_make(paths: &Paths, settings: &Settings) -> Outcome<Network> {
    let name = &settings.network.value;
    let path = paths.network(name);
    if path.join("FORMAT").is_file() {
        let folder = open_folder(paths, name)?;
        let (source, cost) = passphrase(settings, &folder.keys_folder(), || Ok(folder.genesis().dev))?;
        let passphrase = source.read("the passphrase of the node's keys", &Terminal { silent: false })?;
        return Ok(Network { folder, passphrase, cost });
    }
    make_dev(&path, name)
}

/// The passphrase of a dev network's keys, in its folder of keys: money there is worth nothing, and the demo must run
/// unattended.
///
/// # Errors
/// What `is_dev` says; it is asked only when the file is there.
pub fn dev_passphrase(keys: &Path, is_dev: impl FnOnce() -> Outcome<bool>) -> Outcome<Option<SecretSource>> {
    let file = keys.join(DEV_PASSPHRASE);
    Ok(if file.is_file() && is_dev()? { Some(SecretSource::Path(file)) } else { None })
}

/// Where the passphrase of a network's keys comes from, and what making further keys costs. A source that somebody set
/// goes before the dev network's file.
///
/// # Errors
/// As [`dev_passphrase`].
pub fn passphrase(
    settings: &Settings,
    keys: &Path,
    is_dev: impl FnOnce() -> Outcome<bool>,
) -> Outcome<(SecretSource, Cost)> {
    let setting = &settings.passphrase;
    let dev = if setting.source == Source::Default { dev_passphrase(keys, is_dev)? } else { None };
    Ok(dev.map_or_else(|| (setting.value.clone(), Cost::Standard), |source| (source, Cost::Light)))
}

/// A passphrase that everything of a dev network is locked with: it stands beside the keys, money there is worth nothing.
fn make_dev(path: &Path, name: &NetworkName) -> Outcome<Network> {
    let mut bytes = Zeroizing::new([0; 24]);
    System.fill(&mut *bytes);
    let passphrase = Zeroizing::new(hex::encode(*bytes));
    let folder = DataFolder::create_with(path, |keys| make_genesis(keys, name, &passphrase).map_err(Making::Refused));
    let folder = folder.map_err(|error| match error {
        Making::Fault(fault) => failure(&fault, path),
        Making::Refused(failure) => failure,
    })?;
    Ok(Network { folder, passphrase, cost: Cost::Light })
}

enum Making {
    Fault(LogFault),
    Refused(Failure),
}

impl From<LogFault> for Making {
    fn from(fault: LogFault) -> Self {
        Self::Fault(fault)
    }
}

fn make_genesis(keys: &Path, name: &NetworkName, passphrase: &str) -> Outcome<Genesis> {
    let file: PathBuf = keys.join(DEV_PASSPHRASE);
    files::write_private(&file, passphrase.as_bytes(), Existing::Replace)?;
    let store = KeyStore::at(keys);
    let wallet = |name: &str| {
        let info = store.create(name, KeyKind::Secp256k1, passphrase, Cost::Light)?;
        info.address.ok_or_else(|| Failure::new(Code::KeystoreMalformed, name))
    };
    let (operator, main) = (wallet(OPERATOR)?, wallet(MAIN)?);
    wallet(HOST)?;
    store.create(HOST_RECEIPT, KeyKind::Ed25519, passphrase, Cost::Light)?;
    let checkpoint = StatementSigner::from_bytes(&{
        let mut secret = Zeroizing::new([0; 32]);
        System.fill(&mut *secret);
        *secret
    });
    let checkpoint_key = checkpoint.public();
    store.store(CHECKPOINT, &Key::Statement(checkpoint), passphrase, Cost::Light)?;
    let mut number = [0; 8];
    System.fill(&mut number);
    let genesis = Genesis {
        version: 1,
        name: name.as_str().to_owned(),
        chain_id: (u64::from_be_bytes(number) % (CHAIN_ID_LIMIT - 1)) + 1,
        time: System.now(),
        dev: true,
        operator,
        checkpoint_key,
        parameters: Parameters::default(),
        allocations: vec![Allocation { account: main, amount: Amount::from_open(MAIN_OPEN), vesting: None }],
    };
    genesis.check().map_err(|rule| Failure::new(Code::GenesisInvalid, rule))?;
    Ok(genesis)
}

impl Network {
    /// The keystore.
    pub fn store(&self) -> KeyStore {
        KeyStore::at(self.folder.keys_folder())
    }

    /// Opens the node's keys.
    ///
    /// # Errors
    /// The keystore's refusals.
    pub fn keys(&self) -> Outcome<NodeKeys> {
        let store = self.store();
        Ok(NodeKeys {
            host: Arc::new(store.open_wallet(HOST, &self.passphrase)?),
            receipt: Arc::new(store.open_statement(HOST_RECEIPT, &self.passphrase)?),
            checkpoint: Arc::new(store.open_statement(CHECKPOINT, &self.passphrase)?),
            operator: Arc::new(store.open_wallet(OPERATOR, &self.passphrase)?),
        })
    }
}

/// The command by which a host's receipt key speaks for its account.
pub fn register_receipt_key(genesis: &Genesis, host: &WalletKey, receipt: &StatementSigner) -> Command {
    let head = fresh_head(&System, &System, host.address());
    let statement = KeyStatement {
        chain_id: genesis.chain_id,
        owner: host.address(),
        kind: Work::Receipt,
        key: PublicKey::Statement(receipt.public()),
    };
    Command::RegisterKey(RegisterKey {
        head,
        kind: statement.kind,
        key: statement.key,
        valid_until: System.now().plus_secs(KEY_LIFE_S),
        proof: KeyProof::Statement(receipt.sign(&statement.tagged())),
    })
}
