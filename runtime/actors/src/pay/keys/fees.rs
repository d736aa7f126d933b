//! Fees that API keys pay for what they give to datanets, counted against their budgets once, whatever fails in between.
//!
//! Fee and commitment are one linked step on the ledger, and an account commits to a root in a datanet once: so the money
//! moves at most once, and the ledger says whether it did. The count stands in the key's own row. What a crash leaves:
//!
//! | it ends | on disk | the money | what happens next |
//! |---|---|---|---|
//! | after the fee is set aside | its row, which the budget counts | untouched | the start finds no commitment, and the row goes |
//! | after the commitment, before the count | its row; commitment and fee on the ledger | moved, once | the start, or the key's next fee, finds the commitment: one step counts the fee and ends its row |
//! | after the count | the key's row | moved, once | the same items again find their commitment, and nothing is paid |
//!
//! Where a node lives on and does not know what became of a commitment, the row stays until the ledger has it, or until
//! the command has run out: then at the latest it is known that no money moves.

use std::sync::Arc;

use agora_economy::ports::log::READ_ROWS_MAX;
use agora_economy::ports::state::{Table, Write};
use agora_types::batch::Entry;
use agora_types::key::{StatementSigner, WalletKey};
use agora_types::{Amount, Canonical, Code, DatanetId, Hash, Timestamp};
use minicbor::{Decode, Encode};

use super::{ApiKeyRow, ApiKeys, Spender, ring_name};
use crate::error::CallError;

/// First byte of a fee's key in [`Table::Till`].
const FEE: u8 = b'f';
/// A command has run out after this, whatever clocks say: it lives two minutes.
const LIFE_S: u64 = 600;
/// Most fees of a key of which nobody knows whether they were paid.
const WAITING_MAX: usize = 64;

/// A fee that is set aside, `agora/api-fee/v1`, by `f` ‖ SHA-256 of the API key ‖ datanet ‖ root. Written before the
/// commitment is given to the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FeeRow {
    /// What is set aside.
    #[n(0)]
    pub amount: Amount,
    /// No command that moves it is good any more after this.
    #[n(1)]
    pub until: Timestamp,
}

impl Canonical for FeeRow {
    const TAG: &'static str = "agora/api-fee/v1";
    const SIZE_MAX: usize = 128;
}

/// What is paid for a commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fee {
    /// The datanet.
    pub datanet: DatanetId,
    /// What is committed to.
    pub root: Hash,
    /// How much.
    pub amount: Amount,
}

/// Who gives data with an API key.
pub struct Contributor {
    spender: Spender,
    signer: Arc<StatementSigner>,
}

impl Contributor {
    /// The key's account: the contributor, who is paid.
    pub fn account(&self) -> &WalletKey {
        &self.spender.payer.account
    }

    /// What signs its statements.
    pub fn signer(&self) -> &StatementSigner {
        &self.signer
    }
}

type Waiting = Vec<(Vec<u8>, FeeRow)>;

fn place(key: &[u8], fee: &Fee) -> Vec<u8> {
    [&[FEE], key, fee.datanet.as_bytes().as_slice(), fee.root.as_bytes()].concat()
}

/// Key, datanet and root of a fee's place.
fn parts(place: &[u8]) -> Option<(&[u8], DatanetId, Hash)> {
    let (key, rest) = place.get(1..)?.split_at_checked(32)?;
    let (datanet, root) = rest.split_at_checked(32)?;
    Some((key, DatanetId::from_slice(datanet)?, Hash::from_slice(root)?))
}

fn damaged(what: impl std::fmt::Display) -> CallError {
    CallError::new(Code::StoreDamaged, format!("the row of a fee: {what}"))
}

impl ApiKeys {
    /// Who gives with this key.
    ///
    /// # Errors
    /// `payment.key_unknown`; the keystore's refusals, and faults.
    pub async fn contributor(&self, text: &str) -> Result<Contributor, CallError> {
        let spender = self.spender(text).await?;
        let signer = self.ring.receipt_key(&ring_name(&spender.row.name)).await?;
        Ok(Contributor { spender, signer })
    }

    /// Commits entries of a contributor as one step, by which it commits to `fee.root` and pays `fee.amount`: true where
    /// they did so now, false where the commitment stood already and nothing moved.
    ///
    /// # Errors
    /// `payment.key_over_budget` before anything moves; the ledger's refusals; `payment.key_unknown` for a key that was
    /// removed meanwhile; faults, after which the same again goes on.
    pub async fn pay_fee(&self, by: &Contributor, fee: &Fee, entries: Vec<Entry>) -> Result<bool, CallError> {
        let spender = &by.spender;
        let turn = self.turn(spender);
        let _turn = turn.lock().await;
        let waiting = self.settle_fees(&spender.key, false).await?;
        let account = spender.row.account;
        if self.buyer.ledger.commitment(fee.datanet, account, fee.root).await?.is_some() {
            return Ok(false);
        }
        let place = place(&spender.key, fee);
        let aside = waiting.iter().find(|(at, _)| *at == place).map(|(_, row)| *row);
        self.set_aside(spender, fee, (&place, aside), waiting.len()).await?;
        let asked = entries.len();
        let answers = self.buyer.ledger.commit(entries).await?;
        match refusal(asked, &answers)? {
            // Where it stands by now, an entry of an earlier try came first: it paid what is set aside.
            None | Some(Code::DatanetCommitted) => {
                let most = aside.map_or(fee.amount, |row| row.amount.max(fee.amount));
                if !most.is_zero() {
                    self.count(&spender.key, place, most).await?;
                }
                Ok(true)
            }
            Some(code) => {
                // An entry of an earlier try may still come.
                if aside.is_none() && !fee.amount.is_zero() {
                    self.forget(place).await?;
                }
                Err(CallError::new(code, "the ledger refused the commitment"))
            }
        }
    }

    /// Makes the fee durable before it can move, as far as the budget covers it.
    async fn set_aside(
        &self,
        spender: &Spender,
        fee: &Fee,
        (place, aside): (&[u8], Option<FeeRow>),
        waiting: usize,
    ) -> Result<(), CallError> {
        let before = aside.map_or(Amount::ZERO, |row| row.amount);
        if fee.amount.is_zero() {
            return Ok(());
        }
        if aside.is_none() && waiting >= WAITING_MAX {
            let what = format!("key {}: {waiting} fees are on their way to the ledger", spender.row.name);
            return Err(CallError::new(Code::LedgerBusy, what));
        }
        // What an earlier try set aside counts as used already.
        self.covers(spender, fee.amount.saturating_sub(before)).await?;
        let row = FeeRow { amount: before.max(fee.amount), until: self.buyer.clock.now().plus_secs(LIFE_S) };
        let write = Write { table: Table::Till, key: place.to_vec(), value: Some(row.to_bytes()) };
        Ok(self.buyer.journal.commit(vec![write]).await?)
    }

    /// The fees of a key of which nobody knows yet; without a key those of all.
    pub(super) async fn fees(&self, key: &[u8]) -> Result<Waiting, CallError> {
        let rows = self.buyer.journal.list(Table::Till, [&[FEE], key].concat(), READ_ROWS_MAX).await?;
        let read = |(at, bytes): (Vec<u8>, Vec<u8>)| Ok((at, FeeRow::from_bytes(&bytes).map_err(damaged)?));
        rows.into_iter().map(read).collect()
    }

    /// Counts the fees that the ledger has, forgets those that it cannot have any more, and gives the others. In the key's
    /// turn; or at the start, when nothing is on its way.
    pub(super) async fn settle_fees(&self, of: &[u8], starting: bool) -> Result<Waiting, CallError> {
        let now = self.buyer.clock.now();
        let mut waiting = Vec::new();
        for (at, fee) in self.fees(of).await? {
            let (key, datanet, root) = parts(&at).ok_or_else(|| damaged("its place"))?;
            let key = key.to_vec();
            let Some(row) = self.row(&key).await? else {
                // The key was removed: nothing is left to count.
                self.forget(at).await?;
                continue;
            };
            match self.buyer.ledger.commitment(datanet, row.account, root).await? {
                Some(_) => self.count(&key, at, fee.amount).await?,
                None if starting || fee.until <= now => self.forget(at).await?,
                None => waiting.push((at, fee)),
            }
        }
        Ok(waiting)
    }

    /// Counts a fee that was paid, and ends its row, in one durable step.
    async fn count(&self, key: &[u8], place: Vec<u8>, amount: Amount) -> Result<(), CallError> {
        let ended = vec![Write { table: Table::Till, key: place, value: None }];
        match self.row(key).await? {
            Some(row) => {
                let spent = row.spent.checked_add(amount).unwrap_or(Amount::from_atoms(u128::MAX));
                self.write(key.to_vec(), &ApiKeyRow { spent, ..row }, ended).await
            }
            // Removed in the meantime.
            None => Ok(self.buyer.journal.commit(ended).await?),
        }
    }

    async fn forget(&self, place: Vec<u8>) -> Result<(), CallError> {
        Ok(self.buyer.journal.commit(vec![Write { table: Table::Till, key: place, value: None }]).await?)
    }
}

/// Why a linked group was refused, if it was: of one entry it is the reason, the others only fell with it.
fn refusal(asked: usize, answers: &[Result<(), Code>]) -> Result<Option<Code>, CallError> {
    if answers.len() != asked {
        let what = format!("the ledger gave {} answers to {asked} commands", answers.len());
        return Err(CallError::new(Code::StoreFailed, what));
    }
    let refused: Vec<Code> = answers.iter().filter_map(|answer| answer.err()).collect();
    Ok(refused.iter().find(|code| **code != Code::LinkedFailed).or(refused.first()).copied())
}
