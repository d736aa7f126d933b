//! API keys with a prepaid budget: each has an account of its own, whose channels pay its calls.
//!
//! A key cannot spend more than its budget, and never more than its account holds: money is moved there when the key is
//! made, and what is left comes back when it is removed. Keys are shown once and kept as hashes only. Fees for what a key
//! gives to datanets are counted in `keys/fees.rs`.

mod fees;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use agora_economy::ports::state::{Table, Write};
use agora_types::batch::Entry;
use agora_types::command::{Command, Transfer};
use agora_types::{Address, Amount, Canonical, Code, Hash, Timestamp};
use minicbor::{Decode, Encode};

use crate::agent::KeyRing;
use crate::clock::{fresh_head, random};
use crate::error::CallError;
use crate::purchase::{Buyer, Payer, Purchase};

pub use fees::{Contributor, Fee, FeeRow};

/// Most keys.
const KEYS_MAX: usize = 4_096;
/// Longest name in bytes: the ring's names are built from it.
const NAME_MAX: usize = 32;

/// A key, `agora/api-key/v1`, by the SHA-256 of its text.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ApiKeyRow {
    /// 1 to 32 of `a-z 0-9 -`; each once.
    #[n(0)]
    pub name: String,
    /// Holds its money.
    #[n(1)]
    pub account: Address,
    /// Most that its calls and fees may cost, all together.
    #[n(2)]
    pub budget: Amount,
    /// What its finished calls and its fees cost.
    #[n(3)]
    pub spent: Amount,
    /// Since when.
    #[n(4)]
    pub since: Timestamp,
}

impl Canonical for ApiKeyRow {
    const TAG: &'static str = "agora/api-key/v1";
    const SIZE_MAX: usize = 256;
}

/// The book of keys.
pub struct ApiKeys {
    buyer: Arc<Buyer>,
    ring: Arc<dyn KeyRing>,
    turns: Mutex<BTreeMap<Vec<u8>, Arc<futures::lock::Mutex<()>>>>,
}

/// A key that may pay a call, and its turn: budgets are counted by one call at a time.
pub(super) struct Spender {
    key: Vec<u8>,
    pub(super) row: ApiKeyRow,
    pub(super) payer: Payer,
}

fn hash(text: &str) -> Vec<u8> {
    // 256 random bits need no slow hash.
    Hash::sha256(text).as_bytes().to_vec()
}

/// The name of its keys in the ring: none that an agent can have, since those begin with a letter.
fn ring_name(name: &str) -> String {
    format!("0-{name}")
}

impl ApiKeys {
    /// Over the node's buyer and keys.
    pub fn new(buyer: Arc<Buyer>, ring: Arc<dyn KeyRing>) -> Self {
        Self { buyer, ring, turns: Mutex::default() }
    }

    async fn rows(&self) -> Result<Vec<(Vec<u8>, ApiKeyRow)>, CallError> {
        let rows = self.buyer.journal.list(Table::ApiKeys, Vec::new(), KEYS_MAX).await?;
        let read = |(key, bytes): (Vec<u8>, Vec<u8>)| Some((key, ApiKeyRow::from_bytes(&bytes).ok()?));
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Every key, by name, with what it has spent or set aside.
    ///
    /// # Errors
    /// The journal's faults.
    pub async fn list(&self) -> Result<Vec<(ApiKeyRow, Amount)>, CallError> {
        let mut keys = Vec::new();
        for (key, row) in self.rows().await? {
            let used = self.used(&key, &row).await?;
            keys.push((row, used));
        }
        keys.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        Ok(keys)
    }

    /// Makes a key; its text is not shown again. The account that it answers with must be funded.
    ///
    /// # Errors
    /// `wire.malformed` for a bad name, `payment.key_exists`, `wire.too_large` when there are too many, and faults.
    pub async fn add(&self, name: &str, budget: Amount) -> Result<(String, ApiKeyRow), CallError> {
        let fits = (1..=NAME_MAX).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if !fits {
            return Err(CallError::new(Code::WireMalformed, "a key's name has 1 to 32 of a-z 0-9 -"));
        }
        let rows = self.rows().await?;
        if rows.iter().any(|(_, row)| row.name == name) {
            return Err(CallError::new(Code::ApiKeyExists, name));
        }
        if rows.len() >= KEYS_MAX {
            return Err(CallError::new(Code::WireTooLarge, format!("a node has at most {KEYS_MAX} keys")));
        }
        let payer = self.ring.payer(&ring_name(name)).await?;
        let text = format!("agora-{}", hex::encode(random::<32>(self.buyer.random.as_ref())));
        let since = self.buyer.clock.now();
        let row =
            ApiKeyRow { name: name.to_owned(), account: payer.account.address(), budget, spent: Amount::ZERO, since };
        self.write(hash(&text), &row, Vec::new()).await?;
        Ok((text, row))
    }

    /// Ends a key at once and answers with its row and payer, so that what is left can be given back.
    ///
    /// # Errors
    /// `payment.key_unknown`, and faults.
    pub async fn remove(&self, name: &str) -> Result<(ApiKeyRow, Payer), CallError> {
        let found = self.rows().await?.into_iter().find(|(_, row)| row.name == name);
        let (key, row) = found.ok_or_else(|| CallError::new(Code::ApiKeyUnknown, name))?;
        let payer = self.ring.payer(&ring_name(name)).await?;
        let fees = self.fees(&key).await?.into_iter();
        let mut writes: Vec<_> = fees.map(|(at, _)| Write { table: Table::Till, key: at, value: None }).collect();
        writes.push(Write { table: Table::ApiKeys, key, value: None });
        self.buyer.journal.commit(writes).await?;
        Ok((row, payer))
    }

    /// Ends a key, settles its calls, takes unspent deposits back, and gives its balance to `to`: what came back from
    /// channels, and what was given back in all. The key's money stays its account's until everything is back: after a
    /// failure it is made and removed again under the same name.
    ///
    /// # Errors
    /// `payment.key_unknown`, the first host's refusal to refund after everything else is back, and faults.
    pub async fn close(&self, name: &str, to: Address) -> Result<(Amount, Amount), CallError> {
        let (row, payer) = self.remove(name).await?;
        for (call, _) in self.buyer.all_unfinished(row.account).await? {
            if let Some(mut purchase) = Purchase::settle(&self.buyer, payer.clone(), call).await? {
                purchase.drain().await?;
                purchase.finish(Vec::new()).await?;
            }
        }
        let (mut refunded, mut refused) = (Amount::ZERO, None);
        for listing in self.buyer.directory.find("", usize::MAX).await? {
            for host in &listing.payload().hosts {
                match self.buyer.refund(&payer, listing.payload().id(), host.account).await {
                    Ok(amount) => refunded = refunded.checked_add(amount).unwrap_or(refunded),
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
        }
        let left = self.buyer.ledger.available(row.account).await?;
        if !left.is_zero() && row.account != to {
            let head = fresh_head(self.buyer.clock.as_ref(), self.buyer.random.as_ref(), row.account);
            let transfer = Transfer { head, credit: to, amount: left, pending: None, reference: 0, receipt: None };
            let entry = Entry::sign(&self.buyer.ledger.network(), Command::Transfer(transfer), &payer.account);
            self.buyer.ledger.commit_one(entry).await?;
        }
        match refused {
            Some(error) => Err(error),
            None => Ok((refunded, left)),
        }
    }

    async fn write(&self, key: Vec<u8>, row: &ApiKeyRow, mut with: Vec<Write>) -> Result<(), CallError> {
        with.push(Write { table: Table::ApiKeys, key, value: Some(row.to_bytes()) });
        Ok(self.buyer.journal.commit(with).await?)
    }

    /// Settles what calls and fees of an earlier life left behind. To be called at the start; what cannot be settled stays.
    ///
    /// # Errors
    /// The journal's faults.
    pub async fn recover(&self) -> Result<(), CallError> {
        for (key, row) in self.rows().await? {
            let payer = self.ring.payer(&ring_name(&row.name)).await?;
            for (call, _) in self.buyer.all_unfinished(row.account).await? {
                let ended = async {
                    let Some(mut purchase) = Purchase::settle(&self.buyer, payer.clone(), call).await? else {
                        return Ok(());
                    };
                    let receipt = purchase.drain().await?;
                    let spender = Spender { key: key.clone(), row: row.clone(), payer: payer.clone() };
                    self.finish(&spender, purchase, receipt.payload().charge).await
                };
                if let Err(error) = ended.await {
                    tracing::warn!(key = %row.name, %call, %error, "an unfinished call of an API key stays");
                }
            }
        }
        if let Err(error) = self.settle_fees(&[], true).await {
            tracing::warn!(%error, "fees of API keys are settled with their next ones");
        }
        Ok(())
    }

    /// A key's row; `None` for one that was never made, or was removed.
    async fn row(&self, key: &[u8]) -> Result<Option<ApiKeyRow>, CallError> {
        let row = self.buyer.journal.get(Table::ApiKeys, key.to_vec()).await?;
        Ok(row.and_then(|bytes| ApiKeyRow::from_bytes(&bytes).ok()))
    }

    /// Who may spend with this key.
    ///
    /// # Errors
    /// `payment.key_unknown`, and faults.
    pub(super) async fn spender(&self, text: &str) -> Result<Spender, CallError> {
        let key = hash(text);
        let row = self.row(&key).await?.ok_or_else(|| CallError::new(Code::ApiKeyUnknown, "the API key"))?;
        let payer = self.ring.payer(&ring_name(&row.name)).await?;
        Ok(Spender { key, row, payer })
    }

    /// The turn of a key: between asking what is used and writing a purchase down, no other call of it comes in between.
    pub(super) fn turn(&self, spender: &Spender) -> Arc<futures::lock::Mutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(turns.entry(spender.key.clone()).or_default())
    }

    /// Succeeds when the budget covers a call of at most `most`. To be asked in the key's turn.
    pub(super) async fn covers(&self, spender: &Spender, most: Amount) -> Result<(), CallError> {
        let row = self.current(spender).await?;
        let used = self.used(&spender.key, &row).await?;
        let left = row.budget.saturating_sub(used);
        if most > left {
            let what = format!("key {}: {most} OPEN at most, {left} OPEN left", row.name);
            return Err(CallError::new(Code::ApiKeyOverBudget, what));
        }
        Ok(())
    }

    /// What a key has spent or set aside: its finished calls and fees, the most that its unfinished calls can cost, and the
    /// fees of which nobody knows yet.
    async fn used(&self, key: &[u8], row: &ApiKeyRow) -> Result<Amount, CallError> {
        let open = self.buyer.all_unfinished(row.account).await?;
        let most = open.iter().filter_map(|(_, call)| call.quote.charge_max());
        let fees = self.fees(key).await?.into_iter().map(|(_, fee)| fee.amount);
        Ok(Amount::checked_sum(most.chain(fees).chain([row.spent])).unwrap_or(Amount::from_atoms(u128::MAX)))
    }

    async fn current(&self, spender: &Spender) -> Result<ApiKeyRow, CallError> {
        let row = self.row(&spender.key).await?;
        row.ok_or_else(|| CallError::new(Code::ApiKeyUnknown, spender.row.name.clone()))
    }

    /// Ends a call of a key: its charge is counted in one durable step with the purchase's end.
    pub(super) async fn finish(&self, spender: &Spender, purchase: Purchase, charge: Amount) -> Result<(), CallError> {
        let turn = self.turn(spender);
        let _turn = turn.lock().await;
        let writes = match self.current(spender).await {
            Ok(row) => {
                let spent = row.spent.checked_add(charge).unwrap_or(Amount::from_atoms(u128::MAX));
                let value = Some(ApiKeyRow { spent, ..row }.to_bytes());
                vec![Write { table: Table::ApiKeys, key: spender.key.clone(), value }]
            }
            // Removed in the meantime: nothing is left to count.
            Err(_) => Vec::new(),
        };
        purchase.finish(writes).await
    }
}
