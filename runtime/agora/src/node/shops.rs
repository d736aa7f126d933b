//! What a node sells over HTTP, and who may: facilitator, models, agents, sellers' tokens, API keys.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use agora_actors::agent::KeyRing;
use agora_actors::clock::{Clock as _, Random as _};
use agora_actors::node::Handles;
use agora_actors::pay::{
    AgentWorkers, ApiKeys, Catalogue, FacilitatorParts, LedgerFacilitator, NodeModels, Sellers, WorkersParts,
};
use agora_actors::purchase::Directory as _;
use agora_economy::ports::pay::{Pending, Trouble};
use agora_economy::ports::state::{Journal, Table, Write};
use agora_gateway::Services;
use agora_shell::Outcome;
use agora_types::key::WalletKey;
use agora_types::{Address, Amount};
use agora_x402::seller::{exact_offer, upto_offer};
use agora_x402::wire::{Accept, DiscoveryItem, Object};
use tokio::task::JoinHandle;

use super::System;
use super::network::refused;
use crate::control;

/// Where the node's secret for salts stands.
const SECRET_KEY: &[u8] = b"k";
/// Between two rounds of ending what was cut off.
const ROUND: Duration = Duration::from_secs(60);
/// Most items of the catalogue.
const ITEMS_MAX: usize = 1_000;

/// The shops of a running node.
pub(super) struct Shops {
    sellers: Sellers,
    keys: Arc<ApiKeys>,
    workers: Option<Arc<AgentWorkers>>,
    models: Arc<NodeModels>,
    facilitator: Arc<LedgerFacilitator>,
    shown: Arc<Shown>,
}

/// The public address, once it is known.
struct Shown {
    handles: Handles,
    workers: Option<Arc<AgentWorkers>>,
    base: OnceLock<String>,
}

type Answered<T> = Result<T, super::Refusal>;

impl Shops {
    /// Opens the shops and ends what a crash cut off, before anybody asks for anything.
    ///
    /// # Errors
    /// The journal's faults.
    pub(super) async fn open(handles: &Handles, operator: Arc<WalletKey>, ring: Arc<dyn KeyRing>) -> Outcome<Self> {
        let (clock, random) = (Arc::new(System), Arc::new(System));
        let journal = Arc::clone(&handles.buyer.journal);
        let secret = secret(journal.as_ref()).await?;
        let sellers = Sellers::new(Arc::clone(&journal), clock.clone(), random.clone());
        let keys = Arc::new(ApiKeys::new(Arc::clone(&handles.buyer), Arc::clone(&ring)));
        keys.recover().await.map_err(refused)?;
        let workers = handles.agents.as_ref().map(|agents| {
            Arc::new(AgentWorkers::new(WorkersParts {
                agents: agents.clone(),
                ring,
                ledger: Arc::clone(&handles.buyer.ledger),
                journal: Arc::clone(&journal),
                clock: clock.clone(),
                random: random.clone(),
                secret,
            }))
        });
        if let Some(workers) = &workers {
            workers.recover().await.map_err(refused)?;
        }
        let shown = Arc::new(Shown { handles: handles.clone(), workers: workers.clone(), base: OnceLock::new() });
        let facilitator = Arc::new(LedgerFacilitator::new(FacilitatorParts {
            ledger: Arc::clone(&handles.buyer.ledger),
            account: operator,
            sellers: sellers.clone(),
            clock,
            random,
            catalogue: Arc::clone(&shown) as Arc<dyn Catalogue>,
        }));
        let models = Arc::new(NodeModels::new(Arc::clone(&handles.buyer), Arc::clone(&keys), secret));
        Ok(Self { sellers, keys, workers, models, facilitator, shown })
    }

    /// What the public port serves.
    pub(super) fn services(&self, base_url: Option<String>) -> Services {
        Services {
            facilitator: Some(Arc::clone(&self.facilitator) as _),
            models: Some(Arc::clone(&self.models) as _),
            workers: self.workers.as_ref().map(|workers| Arc::clone(workers) as _),
            // They speak to the node's service, which has the shops: `ports.rs` joins them.
            datanets: None,
            base_url,
            routes: None,
        }
    }

    /// The book of API keys.
    pub(super) fn api_keys(&self) -> Arc<ApiKeys> {
        Arc::clone(&self.keys)
    }

    /// Notes where the port is, for the catalogue and for commands.
    pub(super) fn opened(&self, address: SocketAddr, secure: bool, base_url: Option<&str>) -> String {
        let own = || format!("{}://{address}", if secure { "https" } else { "http" });
        self.shown.base.get_or_init(|| base_url.map_or_else(own, |url| url.trim_end_matches('/').to_owned())).clone()
    }

    /// Where the port is.
    pub(super) fn address(&self) -> Option<String> {
        self.shown.base.get().cloned()
    }

    /// Ends now and then what was cut off: settlements that failed, final receipts, old rows.
    pub(super) fn keep_house(self: &Arc<Self>) -> JoinHandle<()> {
        let shops = Arc::clone(self);
        tokio::spawn(async move {
            let mut every = tokio::time::interval(ROUND);
            every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                if let Err(error) = shops.models.sweep().await {
                    tracing::warn!(%error, "old answers are forgotten in the next round");
                }
                if let Some(workers) = &shops.workers
                    && let Err(error) = workers.recover().await
                {
                    tracing::warn!(%error, "sold requests are looked after in the next round");
                }
                if let Some(agents) = &shops.shown.handles.agents
                    && let Err(error) = agents.collect().await
                {
                    tracing::warn!(%error, "what stopped agents left in channels is fetched in the next round");
                }
            }
        })
    }

    pub(super) async fn add_seller(&self, name: String, receiver: Address) -> Answered<control::Secret> {
        let secret = self.sellers.add(&name, receiver).await?;
        Ok(control::Secret { name, secret, account: receiver })
    }

    pub(super) async fn sellers(&self) -> Answered<control::Sellers> {
        let view = |row: agora_actors::pay::SellerRow| control::SellerView { name: row.name, receiver: row.receiver };
        Ok(control::Sellers { sellers: self.sellers.list().await?.into_iter().map(view).collect() })
    }

    pub(super) async fn remove_seller(&self, name: &str) -> Answered<control::Sellers> {
        let row = self.sellers.remove(name).await?;
        Ok(control::Sellers { sellers: vec![control::SellerView { name: row.name, receiver: row.receiver }] })
    }

    pub(super) async fn add_key(&self, name: String, budget: Amount) -> Answered<control::Secret> {
        let (secret, row) = self.keys.add(&name, budget).await?;
        Ok(control::Secret { name, secret, account: row.account })
    }

    pub(super) async fn keys(&self) -> Answered<control::ApiKeys> {
        let view = |(row, used): (agora_actors::pay::ApiKeyRow, Amount)| control::ApiKeyView {
            name: row.name,
            account: row.account,
            budget: row.budget,
            used,
        };
        Ok(control::ApiKeys { keys: self.keys.list().await?.into_iter().map(view).collect() })
    }

    pub(super) async fn remove_key(&self, name: String, to: Address) -> Answered<control::ApiKeyRemoved> {
        let (refunded, returned) = self.keys.close(&name, to).await?;
        Ok(control::ApiKeyRemoved { name, refunded, returned })
    }
}

/// The secret that makes salts, made once for a network's folder.
async fn secret(journal: &dyn Journal) -> Outcome<[u8; 32]> {
    let fault = |fault: agora_economy::ports::log::LogFault| refused(fault.into());
    let known = journal.get(Table::Till, SECRET_KEY.to_vec()).await.map_err(fault)?;
    if let Some(secret) = known.and_then(|bytes| bytes.try_into().ok()) {
        return Ok(secret);
    }
    let mut secret = [0; 32];
    System.fill(&mut secret);
    let write = Write { table: Table::Till, key: SECRET_KEY.to_vec(), value: Some(secret.to_vec()) };
    journal.commit(vec![write]).await.map_err(fault)?;
    Ok(secret)
}

impl Catalogue for Shown {
    fn resources(&self) -> Pending<'_, Vec<DiscoveryItem>> {
        Box::pin(async move {
            let Some(base) = self.base.get() else { return Ok(Vec::new()) };
            let network = self.handles.buyer.ledger.network();
            let now = System.now().as_secs();
            let item = |resource: String, accepts: Vec<Accept>| DiscoveryItem {
                resource,
                kind: "http".to_owned(),
                x402_version: agora_x402::wire::X402_VERSION,
                accepts,
                last_updated: now.into(),
                extensions: Object::new(),
            };
            let mut items = Vec::new();
            let listings = self.handles.directory.find("", ITEMS_MAX).await.map_err(Trouble::from)?;
            for signed in listings {
                let listing = signed.payload();
                let Some(host) = listing.hosts.first() else { continue };
                // The dearest call there can be: what one costs is said when it is asked for.
                let Some(most) = listing.charge_max() else { continue };
                let receiver = Address::listing(&listing.id());
                let accepts = vec![
                    upto_offer(&network, receiver, most, 300, host.account).into(),
                    exact_offer(&network, receiver, most, 300).into(),
                ];
                items.push(item(format!("{base}/v1/chat/completions"), accepts));
            }
            if let Some(workers) = &self.workers {
                for offer in workers.offers().await.map_err(Trouble::from)? {
                    let accepts = workers.accepts(&offer).into_iter().map(Into::into).collect();
                    items.push(item(format!("{base}/agents/{}/", offer.name), accepts));
                }
            }
            items.truncate(ITEMS_MAX);
            Ok(items)
        })
    }
}
