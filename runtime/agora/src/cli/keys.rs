//! The user's keys of a network: names, addresses, and how a key is opened.

use agora_shell::keystore::{Cost, KeyInfo, KeyKind, KeyList, KeyStore};
use agora_shell::secret::Terminal;
use agora_shell::{Failure, Outcome, SecretSource};
use agora_types::key::{StatementSigner, WalletKey};
use agora_types::{Address, Code};

use super::context::Context;
use crate::node::network;

/// The keys of a context's network.
#[derive(Debug)]
pub struct Keys<'a> {
    context: &'a Context,
    store: KeyStore,
}

impl<'a> Keys<'a> {
    /// The keys in the network's folder.
    ///
    /// # Errors
    /// `node.no_network`.
    pub fn of(context: &'a Context) -> Outcome<Self> {
        context.folder()?;
        Ok(Self { context, store: KeyStore::at(context.paths.keys(context.network())) })
    }

    /// Makes a key; never over another.
    ///
    /// # Errors
    /// `keystore.exists`, `keystore.bad_passphrase`, `node.bad_config` for the name, `node.io`.
    pub fn create(&self, name: &str) -> Outcome<KeyInfo> {
        // Asked before the passphrase is: nobody should type one twice in vain.
        if self.store.contains(name)? {
            return Err(Failure::new(Code::KeystoreExists, format!("there is a wallet `{name}` already")));
        }
        let (source, cost) = self.passphrase()?;
        let passphrase = source.read_new(&format!("a passphrase for wallet `{name}`"), &self.terminal())?;
        self.store.create(name, KeyKind::Secp256k1, &passphrase, cost)
    }

    /// Opens a wallet.
    ///
    /// # Errors
    /// As [`KeyStore::open_wallet`], and what reading the passphrase says.
    pub fn open(&self, name: &str) -> Outcome<WalletKey> {
        self.info(name)?;
        let (source, _) = self.passphrase()?;
        let passphrase = source.read(&format!("the passphrase of wallet `{name}`"), &self.terminal())?;
        self.store.open_wallet(name, &passphrase)
    }

    /// The key that signs a wallet's statements, such as listings; made when it is missing.
    ///
    /// # Errors
    /// The keystore's refusals, and what reading the passphrase says.
    pub fn statements(&self, name: &str) -> Outcome<StatementSigner> {
        let (source, cost) = self.passphrase()?;
        let passphrase = source.read(&format!("the passphrase of wallet `{name}`"), &self.terminal())?;
        self.store.statement_or_new(&format!("{name}-statements"), &passphrase, cost)
    }

    /// Every key.
    ///
    /// # Errors
    /// `node.io`.
    pub fn list(&self) -> Outcome<KeyList> {
        self.store.list()
    }

    fn info(&self, name: &str) -> Outcome<KeyInfo> {
        self.store.info(name).map_err(|failure| match failure.code {
            Code::KeystoreMissing => Failure::new(Code::KeystoreMissing, format!("there is no wallet `{name}`"))
                .advise(format!("make it with `agora wallet new {name}`; `agora wallet list` shows those that are")),
            _ => failure,
        })
    }

    /// The address of a wallet, without its passphrase where the file says it.
    ///
    /// # Errors
    /// `keystore.not_found`; as [`Self::open`] for a file that does not say it.
    pub fn address(&self, name: &str) -> Outcome<Address> {
        match self.info(name)? {
            KeyInfo { address: Some(address), .. } => Ok(address),
            KeyInfo { .. } => self.open(name).map(|key| key.address()),
        }
    }

    /// An account as people write it: an address, or the name of a wallet.
    ///
    /// # Errors
    /// `node.bad_config` for a malformed address; `keystore.not_found`.
    pub fn account(&self, text: &str) -> Outcome<Address> {
        if text.starts_with("0x") { address(text) } else { self.address(text) }
    }

    fn passphrase(&self) -> Outcome<(SecretSource, Cost)> {
        let context = self.context;
        let keys = context.paths.keys(context.network());
        network::passphrase(&context.settings, &keys, || Ok(context.genesis()?.dev))
    }

    fn terminal(&self) -> Terminal {
        Terminal { silent: !self.context.interactive }
    }
}

/// Reads an address.
///
/// # Errors
/// `node.bad_config`.
pub fn address(text: &str) -> Outcome<Address> {
    text.parse().map_err(|error: agora_types::HexError| {
        Failure::usage(error.to_string()).advise("write 0x and 40 hexadecimal digits, or the name of a wallet")
    })
}
