//! Sellers that a facilitator knows: whoever has a seller's token speaks for the account that is paid.

use std::sync::Arc;

use agora_economy::ports::state::{Journal, Table, Write};
use agora_types::{Address, Canonical, Code, Hash, Timestamp};
use minicbor::{Decode, Encode};

use crate::clock::{Clock, Random, random};
use crate::error::CallError;

/// Most sellers.
const SELLERS_MAX: usize = 4_096;
/// Longest name in bytes.
const NAME_MAX: usize = 64;

/// A seller, `agora/seller/v1`, by the SHA-256 of its token.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SellerRow {
    /// For people; each once.
    #[n(0)]
    pub name: String,
    /// The account that it is paid to.
    #[n(1)]
    pub receiver: Address,
    /// Since when.
    #[n(2)]
    pub since: Timestamp,
}

impl Canonical for SellerRow {
    const TAG: &'static str = "agora/seller/v1";
    const SIZE_MAX: usize = 256;
}

/// The book of sellers. Tokens are shown once and kept as hashes only.
#[derive(Clone)]
pub struct Sellers {
    journal: Arc<dyn Journal>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Random>,
    /// One change at a time: names are looked up before they are taken.
    changes: Arc<futures::lock::Mutex<()>>,
}

/// 256 random bits need no slow hash.
fn key(token: &str) -> Vec<u8> {
    Hash::sha256(token).as_bytes().to_vec()
}

impl Sellers {
    /// Over the node's journal.
    pub fn new(journal: Arc<dyn Journal>, clock: Arc<dyn Clock>, entropy: Arc<dyn Random>) -> Self {
        Self { journal, clock, entropy, changes: Arc::default() }
    }

    /// Every seller, by name.
    ///
    /// # Errors
    /// The journal's faults.
    pub async fn list(&self) -> Result<Vec<SellerRow>, CallError> {
        let rows = self.rows().await?;
        let mut sellers: Vec<SellerRow> = rows.into_iter().map(|(_, row)| row).collect();
        sellers.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(sellers)
    }

    async fn rows(&self) -> Result<Vec<(Vec<u8>, SellerRow)>, CallError> {
        let rows = self.journal.list(Table::Sellers, Vec::new(), SELLERS_MAX).await?;
        let read = |(key, bytes): (Vec<u8>, Vec<u8>)| Some((key, SellerRow::from_bytes(&bytes).ok()?));
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Makes a token for a seller; it is not shown again.
    ///
    /// # Errors
    /// `payment.seller_exists`, `wire.malformed` for a bad name, `wire.too_large` when there are too many, and faults.
    pub async fn add(&self, name: &str, receiver: Address) -> Result<String, CallError> {
        let fits = (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(|b| (b' '..=b'~').contains(&b));
        if !fits {
            return Err(CallError::new(Code::WireMalformed, "a seller's name has 1 to 64 printable ASCII characters"));
        }
        let _turn = self.changes.lock().await;
        let rows = self.rows().await?;
        if rows.iter().any(|(_, row)| row.name == name) {
            return Err(CallError::new(Code::SellerExists, name));
        }
        if rows.len() >= SELLERS_MAX {
            return Err(CallError::new(
                Code::WireTooLarge,
                format!("a facilitator knows at most {SELLERS_MAX} sellers"),
            ));
        }
        let token = format!("agora-seller-{}", hex::encode(random::<32>(self.entropy.as_ref())));
        let row = SellerRow { name: name.to_owned(), receiver, since: self.clock.now() };
        let write = Write { table: Table::Sellers, key: key(&token), value: Some(row.to_bytes()) };
        self.journal.commit(vec![write]).await?;
        Ok(token)
    }

    /// Ends a seller's token at once.
    ///
    /// # Errors
    /// `payment.seller_not_found`, and faults.
    pub async fn remove(&self, name: &str) -> Result<SellerRow, CallError> {
        let _turn = self.changes.lock().await;
        let rows = self.rows().await?;
        let found = rows.into_iter().find(|(_, row)| row.name == name);
        let (key, row) = found.ok_or_else(|| CallError::new(Code::SellerNotFound, name))?;
        self.journal.commit(vec![Write { table: Table::Sellers, key, value: None }]).await?;
        Ok(row)
    }

    /// True when the token is that of a seller who is paid at `receiver`.
    ///
    /// # Errors
    /// The journal's faults.
    pub async fn speaks_for(&self, token: Option<&str>, receiver: &Address) -> Result<bool, CallError> {
        let Some(token) = token else { return Ok(false) };
        let row = self.journal.get(Table::Sellers, key(token)).await?;
        Ok(row.and_then(|bytes| SellerRow::from_bytes(&bytes).ok()).is_some_and(|row| row.receiver == *receiver))
    }
}
