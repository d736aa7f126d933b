//! The keys of agents, in the network's keystore: an account and a session key for each, which no agent ever sees.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use agora_actors::CallError;
use agora_actors::agent::KeyRing;
use agora_actors::purchase::{Payer, Pending};
use agora_shell::keystore::{Cost, KeyStore};
use agora_shell::{Failure, Outcome};
use agora_types::key::StatementSigner;
use zeroize::Zeroizing;

/// The ring over a keystore; opened keys are kept, since opening one is made to be slow.
pub(super) struct Ring(Arc<Inner>);

struct Inner {
    store: KeyStore,
    passphrase: Zeroizing<String>,
    cost: Cost,
    opened: Mutex<BTreeMap<String, Payer>>,
    signers: Mutex<BTreeMap<String, Arc<StatementSigner>>>,
}

impl Ring {
    /// Keys in this store, under this passphrase.
    pub(super) fn new(store: KeyStore, passphrase: Zeroizing<String>, cost: Cost) -> Self {
        Self(Arc::new(Inner { store, passphrase, cost, opened: Mutex::default(), signers: Mutex::default() }))
    }
}

impl Inner {
    /// One at a time, so that two callers do not make two keys of one name.
    fn payer(&self, agent: &str) -> Outcome<Payer> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(payer) = opened.get(agent) {
            return Ok(payer.clone());
        }
        let key = |name: &str| self.store.wallet_or_new(name, &self.passphrase, self.cost);
        let account = key(&format!("agent-{agent}"))?;
        // Words before the name keep them apart: an agent may be called `x-session`.
        let session = key(&format!("session-{agent}"))?;
        let payer = Payer { account: Arc::new(account), session: Arc::new(session) };
        opened.insert(agent.to_owned(), payer.clone());
        Ok(payer)
    }
}

impl Inner {
    fn receipt_key(&self, name: &str) -> Outcome<Arc<StatementSigner>> {
        let mut signers = self.signers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(signer) = signers.get(name) {
            return Ok(Arc::clone(signer));
        }
        let signer = Arc::new(self.store.statement_or_new(name, &self.passphrase, self.cost)?);
        signers.insert(name.to_owned(), Arc::clone(&signer));
        Ok(signer)
    }
}

impl KeyRing for Ring {
    fn receipt_key<'a>(&'a self, agent: &'a str) -> Pending<'a, Arc<StatementSigner>> {
        let (inner, name) = (Arc::clone(&self.0), format!("receipt-{agent}"));
        Box::pin(async move {
            let opened = tokio::task::spawn_blocking(move || inner.receipt_key(&name)).await;
            let opened = opened.unwrap_or_else(|error| {
                Err(Failure::new(agora_types::Code::NodeIo, format!("opening a key: {error}")))
            });
            opened.map_err(|failure| CallError::new(failure.code, failure.what))
        })
    }

    fn payer<'a>(&'a self, agent: &'a str) -> Pending<'a, Payer> {
        let (inner, agent) = (Arc::clone(&self.0), agent.to_owned());
        Box::pin(async move {
            let opened = tokio::task::spawn_blocking(move || inner.payer(&agent)).await;
            let opened = opened.unwrap_or_else(|error| {
                Err(Failure::new(agora_types::Code::NodeIo, format!("opening a key: {error}")))
            });
            opened.map_err(|failure| CallError::new(failure.code, failure.what))
        })
    }
}
