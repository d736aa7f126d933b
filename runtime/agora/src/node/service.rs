//! The node as a [`Service`]: each request reads top to bottom, over the handles of the actors.

use std::sync::Arc;
use std::time::Instant;

use agora_actors::agent::{self, AgentsHandle};
use agora_actors::call;
use agora_actors::datanets::Keeper;
use agora_actors::node::Handles;
use agora_catalog::Listing;
use agora_economy::ports::ledger::Ledger as _;
use agora_economy::ports::log::Index;
use agora_inference_api::AdapterInfo;
use agora_receipts::checkpoint::verifier_key;
use agora_receipts::envelope::{Disclosure, Opening};
use agora_receipts::{Envelope, Receipt, State};
use agora_shell::{Failure, Outcome};
use agora_types::batch::Entry;
use agora_types::genesis::Genesis;
use agora_types::key::StatementKey;
use agora_types::{Address, CallId, Canonical as _, Code, Hash, Signed};
use base64::Engine as _;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;

use super::adapters::Adapters;
use super::datanets;
use super::engine::Loaded;
use super::follow::follow;
use super::network::refused;
use super::passages::passages;
use super::shops::Shops;
use super::view;
use crate::control::{
    Account, AgentLogs, AgentStopped, Agents, Committed, Deployed, EarnedView, Earnings, EarningsClaimed, Listings,
    LogPage, Measured, ModelView, Models, Passages, ReceiptPage, ReceiptRow, Request, Service, Status, Steps, Stopping,
};

/// Entries of one commit.
const ENTRIES_MAX: usize = 16;
/// Rows of one page.
const PAGE_MAX: u32 = 1_000;
/// Bytes of batches of one page.
const PAGE_BYTES_MAX: usize = 8 << 20;
/// Runs of one question where tokens stand.
const RUNS_MAX: usize = 1_024;
/// Receipts that are looked through for those of one payer.
const SCAN_MAX: u64 = 100_000;
/// Listings of one answer.
const LISTINGS_MAX: u32 = 256;

/// Who answers: a running node, or an opened folder.
pub(super) struct NodeService {
    /// The actors.
    pub(super) handles: Handles,
    /// The network.
    pub(super) genesis: Arc<Genesis>,
    /// The host's account and the key of its receipts.
    pub(super) host: (Address, StatementKey),
    /// Keeps this node's datanets.
    pub(super) keeper: Arc<Keeper>,
    /// What answers questions and measures the answers, on a running node.
    pub(super) loaded: Option<Loaded>,
    /// The process, of a running node.
    pub(super) pid: Option<u32>,
    /// Since when.
    pub(super) since: Instant,
    /// What is sold over HTTP, on a running node.
    pub(super) shops: Option<Arc<Shops>>,
    /// Rung by a request to stop.
    pub(super) stop: Arc<Notify>,
}

fn json<T: Serialize>(answer: &T) -> Outcome<Value> {
    Ok(serde_json::to_value(answer).expect("answers are plain JSON"))
}

fn says(leaf: &[u8], what: impl FnOnce(&Receipt) -> bool) -> bool {
    Signed::<Receipt>::from_bytes(leaf).is_ok_and(|receipt| what(receipt.payload()))
}

fn failed(code: Code, what: String) -> Failure {
    Failure::new(code, what)
}

impl From<agora_economy::ports::ledger::LedgerFailure> for super::Refusal {
    fn from(failure: agora_economy::ports::ledger::LedgerFailure) -> Self {
        Self(Failure::new(failure.code, failure.what))
    }
}

type Answered<T> = Result<T, super::Refusal>;

impl NodeService {
    async fn status(&self) -> Answered<Status> {
        let (receipts, supply, listings) = self
            .handles
            .ledger
            .query(|economy| {
                let state = economy.state();
                (state.receipts.size(), state.ledger.supply(), state.listings.iter().count() as u64)
            })
            .await?;
        let genesis = &self.genesis;
        Ok(Status {
            network: genesis.name.clone(),
            chain_id: genesis.chain_id,
            genesis: genesis.hash(),
            dev: genesis.dev,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: self.pid,
            uptime_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
            batches: self.handles.ledger.size().await?,
            receipts,
            supply,
            listings,
            agents: agent::count(self.handles.buyer.journal.as_ref()).await? as u64,
            http: self.shops.as_ref().and_then(|shops| shops.address()),
            host: self.host.0,
            host_key: self.host.1,
            checkpoint_key: verifier_key(genesis.chain_id, genesis.checkpoint_key).to_string(),
        })
    }

    async fn seller(&self) -> Answered<Arc<call::Seller>> {
        let host = self.handles.host.as_ref();
        let host = host
            .ok_or_else(|| failed(Code::NodeNotRunning, "no node serves here; start one with `agora up`".to_owned()))?;
        Ok(host.seller().await.map_err(refused)?)
    }

    async fn earnings(&self, account: Option<Address>) -> Answered<Earnings> {
        let seller = self.seller().await?;
        let host = seller.account();
        let known = self.handles.ledger.distributor(host).await?.unwrap_or_default();
        let mut rows = match known.epoch {
            0 => Vec::new(),
            _ => call::published(&seller).await.map_err(refused)?.rows,
        };
        rows.retain(|(row, _)| account.is_none_or(|account| account == *row));
        let count = rows.len() as u64;
        rows.truncate(PAGE_MAX as usize);
        let accounts = self.handles.ledger.query(move |economy| {
            let claimed = |account| economy.state().claimed.get(&(host, account)).copied().unwrap_or_default();
            let view = |(account, earned)| EarnedView { account, earned, claimed: claimed(account) };
            rows.into_iter().map(view).collect()
        });
        let accounts = accounts.await?;
        let (epoch, funded, published, claimed) = (known.epoch, known.funded, known.published, known.claimed);
        Ok(Earnings { host, epoch, funded, published, claimed, accounts, count })
    }

    async fn commit(&self, entries: Vec<String>) -> Answered<Committed> {
        if !(1..=ENTRIES_MAX).contains(&entries.len()) {
            return Err(failed(Code::WireTooLarge, format!("a group has 1 to {ENTRIES_MAX} entries")).into());
        }
        let read = |text: &String| {
            let bytes = hex::decode(text.trim_start_matches("0x"));
            let bytes = bytes.map_err(|error| failed(Code::WireMalformed, format!("an entry: {error}")))?;
            Entry::from_bytes(&bytes).map_err(|error| failed(Code::WireMalformed, format!("an entry: {error}")))
        };
        let group = entries.iter().map(read).collect::<Outcome<Vec<_>>>()?;
        let answers = self.handles.ledger.commit(group).await?;
        Ok(Committed { refused: answers.into_iter().map(|answer| answer.err().map(Code::number)).collect() })
    }

    async fn account(&self, address: Address) -> Answered<Account> {
        let (found, available) = self
            .handles
            .ledger
            .query(move |economy| (economy.state().ledger.accounts.get(&address).cloned(), economy.available(&address)))
            .await?;
        let balance = found.as_ref().map_or(agora_types::Amount::ZERO, |account| account.balance());
        Ok(Account { address, exists: found.is_some(), balance, available })
    }

    async fn batches(&self, from: u64, limit: u32) -> Answered<LogPage> {
        let mut batches = Vec::new();
        let mut bytes = 0;
        for batch in self.handles.ledger.batches(from, limit.min(PAGE_MAX) as usize).await? {
            let batch = batch.to_bytes();
            bytes += batch.len();
            // One always fits, so that a reader gets on.
            if bytes > PAGE_BYTES_MAX && !batches.is_empty() {
                break;
            }
            batches.push(hex::encode(batch));
        }
        Ok(LogPage { batches, size: self.handles.ledger.size().await? })
    }

    /// Receipts below an index that fit, newest first, out of the newest [`SCAN_MAX`] below it.
    async fn newest(&self, before: Option<u64>, wanted: usize, fits: impl Fn(&[u8]) -> bool) -> Answered<ReceiptPage> {
        let size = self.handles.ledger.query(|economy| economy.state().receipts.size()).await?;
        let mut end = before.unwrap_or(size).min(size);
        let last = end.saturating_sub(SCAN_MAX);
        let mut receipts = Vec::new();
        while end > last && receipts.len() < wanted {
            let from = end.saturating_sub(u64::from(PAGE_MAX)).max(last);
            let count = usize::try_from(end - from).unwrap_or(usize::MAX);
            let rows = self.handles.ledger.rows(Index::Receipt, from.to_be_bytes().to_vec(), count).await?;
            let rows: Vec<_> = (from..).zip(rows).filter(|(_, (_, leaf))| fits(leaf)).collect();
            let rows = rows.into_iter().rev().take(wanted - receipts.len());
            receipts.extend(rows.map(|(index, (_, leaf))| ReceiptRow { index, leaf: hex::encode(leaf) }));
            end = from;
        }
        Ok(ReceiptPage { receipts, size })
    }

    async fn receipts(&self, payer: Option<Address>, before: Option<u64>, limit: u32) -> Answered<ReceiptPage> {
        let wanted = limit.min(PAGE_MAX) as usize;
        self.newest(before, wanted, |leaf| payer.is_none_or(|payer| says(leaf, |receipt| receipt.payer == payer))).await
    }

    async fn receipt_of(&self, call: CallId) -> Answered<ReceiptPage> {
        let first = |receipt: &Receipt| receipt.call_id == call && receipt.state == State::Provisional;
        let page = self.newest(None, 1, |leaf| says(leaf, first)).await?;
        match page.receipts.is_empty() {
            true => Err(failed(Code::ReceiptUnknown, format!("call {call}")).into()),
            false => Ok(page),
        }
    }

    async fn export(&self, index: u64, disclose: bool) -> Answered<Envelope> {
        let log = self
            .handles
            .log
            .as_ref()
            .ok_or_else(|| failed(Code::NodeNotRunning, "the receipt log's key is not opened".to_owned()))?;
        let mut envelope = log.export(index).await?;
        if disclose {
            let (first, _) = envelope.receipts().map_err(|code| failed(code, format!("receipt {index}")))?;
            let said = first.payload();
            let opening = self.handles.buyer.opening(said.payer, said.call_id).await?;
            let opening = opening.ok_or_else(|| {
                failed(Code::ReceiptUnknown, format!("call {} was not bought by this node", said.call_id))
                    .advise("only the buyer can reveal what was asked and answered; leave --disclose out")
            })?;
            envelope.disclosure = Some(Disclosure {
                request: Some(Opening::new(&opening.salt, &opening.request)),
                response: Some(Opening::new(&opening.salt, &opening.response)),
            });
        }
        Ok(envelope)
    }

    async fn evidence(&self, index: u64) -> Answered<Measured> {
        let unknown = |what: String| failed(Code::ReceiptUnknown, what);
        let leaf = self.handles.ledger.receipt(index).await?;
        let leaf = leaf.ok_or_else(|| unknown(format!("receipt {index}")))?;
        let signed =
            Signed::<Receipt>::from_bytes(&leaf).map_err(|error| failed(Code::ReceiptInvalid, error.to_string()))?;
        let said = signed.payload();
        let seller = self.seller().await?;
        let evidence = call::evidence(&seller, said.payer, said.call_id).await?;
        let evidence = evidence.ok_or_else(|| {
            unknown(format!("this node did not measure call {}", said.call_id))
                .advise("only the host that served a call has its evidence, once it has measured it")
        })?;
        let attributor = self.loaded.as_ref().and_then(|loaded| loaded.attributor.as_ref());
        let spec = attributor.and_then(|attributor| attributor.spec(&evidence.summary.spec));
        Ok(Measured { spec: spec.map(|spec| hex::encode(spec.to_bytes())), evidence: hex::encode(evidence.to_bytes()) })
    }

    fn passages(&self, tokenizer: Hash, text: &str, runs: &[(u32, u32)]) -> Passages {
        let weights = self.loaded.as_ref().and_then(|loaded| loaded.weights.as_ref());
        let weights = weights.filter(|weights| weights.base().tokenizer_hash == tokenizer);
        let found = weights.and_then(|weights| passages(weights, text, &runs[..runs.len().min(RUNS_MAX)]));
        let bytes = |bytes: std::ops::Range<usize>| (bytes.start as u64, bytes.end as u64);
        Passages { bytes: found.map(|found| found.into_iter().map(bytes).collect()) }
    }

    async fn listings(&self, words: &str, limit: u32) -> Answered<Listings> {
        let found = self.handles.buyer.directory.find(words, limit.min(LISTINGS_MAX) as usize).await?;
        Ok(Listings { listings: found.iter().map(|listing| view::offered(listing.payload())).collect() })
    }

    /// Takes an adapter up or out, on a thread that may block; how it stood while it was served.
    async fn adapter(&self, name: String, work: fn(&Adapters, &str) -> Outcome<AdapterInfo>) -> Answered<ModelView> {
        let absent = || failed(Code::NodeNotRunning, format!("network {} has no running node", self.genesis.name));
        let loaded = self.loaded.as_ref().ok_or_else(absent)?;
        let adapters = loaded.adapters.clone().ok_or_else(|| {
            failed(Code::EngineUnsupported, "this node's engine takes up no adapters".to_owned())
                .advise("start the node with a model: `agora up --model`")
        })?;
        let done = tokio::task::spawn_blocking(move || work(&adapters, &name)).await;
        let done = done.map_err(|error| failed(Code::EngineStopped, format!("an adapter: {error}")))?;
        Ok(view::adapter(loaded, done?))
    }

    fn shops(&self) -> Outcome<&Shops> {
        let absent = || failed(Code::NodeNotRunning, format!("network {} has no running node", self.genesis.name));
        self.shops.as_deref().ok_or_else(absent)
    }

    /// Announces a listing that the ledger names.
    async fn publish(&self, text: &str) -> Answered<Listings> {
        let malformed = |what: String| failed(Code::WireMalformed, format!("the listing: {what}"));
        let bytes = hex::decode(text.trim_start_matches("0x")).map_err(|error| malformed(error.to_string()))?;
        let signed = Signed::<Listing>::from_bytes(&bytes).map_err(|error| malformed(error.to_string()))?;
        let offered = view::offered(signed.payload());
        self.handles.directory.publish(signed).await?;
        Ok(Listings { listings: vec![offered] })
    }

    fn agents_handle(&self) -> Outcome<&AgentsHandle> {
        let absent = || failed(Code::NodeNotRunning, format!("network {} has no running node", self.genesis.name));
        self.handles.agents.as_ref().ok_or_else(absent)
    }

    async fn deploy(&self, manifest: String, component: &str, owner: Address) -> Answered<Deployed> {
        let bytes = base64::engine::general_purpose::STANDARD.decode(component);
        let bytes = bytes.map_err(|error| failed(Code::WireMalformed, format!("the component: {error}")))?;
        let agents = self.agents_handle()?;
        let view = agents.deploy(manifest, bytes, owner).await?;
        let left = view.budget.saturating_sub(view.used);
        let has = view.balance.checked_add(agents.in_channels(&view.name).await?).unwrap_or(view.balance);
        Ok(Deployed { missing: left.saturating_sub(has), agent: view::agent(view) })
    }

    async fn agents(&self) -> Answered<Agents> {
        let all = agent::agents(&self.handles.buyer).await?;
        Ok(Agents { agents: all.into_iter().map(view::agent).collect() })
    }

    async fn logs(&self, name: &str, after: Option<u64>, limit: u32) -> Answered<AgentLogs> {
        let journal = self.handles.buyer.journal.as_ref();
        let lines = agent::lines(journal, name, after, limit.min(PAGE_MAX) as usize).await?;
        Ok(AgentLogs { lines: lines.into_iter().map(view::line).collect() })
    }

    async fn stop_agent(&self, name: &str) -> Answered<AgentStopped> {
        let (agent, stopped) = self.agents_handle()?.stop(name).await?;
        let agent::Stopped { refunded, returned, waiting, until } = stopped;
        Ok(AgentStopped { agent: view::agent(agent), refunded, returned, waiting, until })
    }

    fn shutdown(&self) -> Outcome<Stopping> {
        let absent = || failed(Code::NodeNotRunning, "nothing runs that could stop".to_owned());
        let pid = self.pid.ok_or_else(absent)?;
        self.stop.notify_one();
        Ok(Stopping { pid })
    }

    async fn respond(&self, request: Request) -> Answered<Value> {
        Ok(match request {
            Request::Status => json(&self.status().await?)?,
            Request::Commit { entries } => json(&self.commit(entries).await?)?,
            Request::Account { address } => json(&self.account(address).await?)?,
            Request::Payment { payer, nonce } => {
                json(&view::payment(self.handles.ledger.payment(payer, nonce).await?))?
            }
            Request::Batches { from, limit } => json(&self.batches(from, limit).await?)?,
            Request::Receipts { payer, before, limit } => json(&self.receipts(payer, before, limit).await?)?,
            Request::ReceiptOf { call } => json(&self.receipt_of(call).await?)?,
            Request::Export { index, disclose } => json(&self.export(index, disclose).await?)?,
            Request::Evidence { index } => json(&self.evidence(index).await?)?,
            Request::Passages { tokenizer, text, runs } => json(&self.passages(tokenizer, &text, &runs))?,
            Request::Listings { words, limit } => json(&self.listings(&words, limit).await?)?,
            Request::Publish { listing } => json(&self.publish(&listing).await?)?,
            Request::SellerAdd { name, receiver } => json(&self.shops()?.add_seller(name, receiver).await?)?,
            Request::Sellers => json(&self.shops()?.sellers().await?)?,
            Request::SellerRemove { name } => json(&self.shops()?.remove_seller(&name).await?)?,
            Request::ApiKeyAdd { name, budget } => json(&self.shops()?.add_key(name, budget).await?)?,
            Request::ApiKeys => json(&self.shops()?.keys().await?)?,
            Request::ApiKeyRemove { name, to } => json(&self.shops()?.remove_key(name, to).await?)?,
            Request::Earnings { account } => json(&self.earnings(account).await?)?,
            Request::EarningsPublish => {
                call::publish_earnings(&*self.seller().await?).await.map_err(refused)?;
                json(&self.earnings(None).await?)?
            }
            Request::EarningsClaim { account } => {
                let paid = call::claim_earnings(&*self.seller().await?, account).await.map_err(refused)?;
                let (amount, proof) = paid;
                json(&EarningsClaimed { account, amount, earned: proof.cumulative, epoch: proof.epoch })?
            }
            Request::Datanet { ask } => datanets::answer(&self.keeper, ask).await?,
            Request::Models => {
                let models = self.loaded.as_ref().map_or_else(Vec::new, view::models);
                json(&Models { models })?
            }
            Request::AdapterLoad { name } => json(&self.adapter(name, Adapters::load).await?)?,
            Request::AdapterRemove { name } => json(&self.adapter(name, Adapters::unload).await?)?,
            Request::AgentDeploy { manifest, component, owner } => {
                json(&self.deploy(manifest, &component, owner).await?)?
            }
            Request::Agents => json(&self.agents().await?)?,
            Request::AgentLogs { name, after, limit } => json(&self.logs(&name, after, limit).await?)?,
            Request::AgentStop { name } => json(&self.stop_agent(&name).await?)?,
            Request::Shutdown => json(&self.shutdown()?)?,
        })
    }

    async fn ask(&self, name: String, message: String) -> Answered<Steps> {
        let agents = self.agents_handle()?.clone();
        // Followed first, so that no step is missed.
        let steps = agents.feed().follow();
        let event = agents.tell(&name, "message", message.into_bytes()).await?;
        Ok(follow(agents, name, event, steps))
    }
}

impl Service for NodeService {
    fn answer(&self, request: Request) -> BoxFuture<'_, Outcome<Value>> {
        async move { self.respond(request).await.map_err(|refusal| refusal.0) }.boxed()
    }

    fn ask_agent(&self, name: String, message: String) -> BoxFuture<'_, Outcome<Steps>> {
        async move { self.ask(name, message).await.map_err(|refusal| refusal.0) }.boxed()
    }
}

impl From<agora_actors::CallError> for super::Refusal {
    fn from(error: agora_actors::CallError) -> Self {
        Self(refused(error))
    }
}
