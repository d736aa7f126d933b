//! What a till need not remember any longer, and how its rows are read without holding them all in memory.

use agora_economy::ports::log::Row;
use agora_economy::ports::state::{Journal, Table, Write};
use agora_types::{Canonical as _, Timestamp};
use agora_x402::check::WINDOW_MAX_S;

use super::super::rows::{IDENTIFIER, NamedRow, PAID, PaidRow};
use super::Desk;
use crate::error::CallError;

/// Answers and identifiers are kept at least so long, in seconds: an hour past any window in which a payment can be sent
/// again.
pub const KEEP_S: u64 = WINDOW_MAX_S + 3_600;
/// Rows of one page; each may hold an answer of a quarter of a MiB.
const PAGE_ROWS: usize = 64;
/// Rows that one sweep looks at, about.
const SWEEP_ROWS: usize = 4_096;

/// A walk over rows, page by page: a prefix with more rows than a page is split by its next byte.
#[derive(Default)]
pub(super) struct Walk {
    prefixes: Vec<Vec<u8>>,
}

impl Walk {
    /// Over all keys with these prefixes, the last first.
    pub(super) fn over(prefixes: Vec<Vec<u8>>) -> Self {
        Self { prefixes }
    }

    fn is_done(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// The next page, perhaps an empty one; `None` at the end. Keys of one kind have one length, so that none is a prefix
    /// of another and a split misses no row. After a fault the walk goes on with the same page.
    pub(super) async fn next(&mut self, journal: &dyn Journal) -> Result<Option<Vec<Row>>, CallError> {
        let Some(prefix) = self.prefixes.last().cloned() else { return Ok(None) };
        let rows = journal.list(Table::Till, prefix.clone(), PAGE_ROWS).await?;
        self.prefixes.pop();
        if rows.len() < PAGE_ROWS {
            return Ok(Some(rows));
        }
        let deeper = |byte: u8| [prefix.as_slice(), &[byte]].concat();
        self.prefixes.extend((0..=u8::MAX).rev().map(deeper));
        Ok(Some(Vec::new()))
    }
}

/// When a row was written; a damaged one has no time, and stays to be seen.
fn written_at((key, bytes): &Row) -> Option<Timestamp> {
    match key.first() {
        Some(&PAID) => PaidRow::from_bytes(bytes).ok().map(|row| row.at),
        Some(&IDENTIFIER) => NamedRow::from_bytes(bytes).ok().map(|row| row.at),
        Some(_) | None => None,
    }
}

impl Desk {
    pub(super) async fn sweep(&self, before: Timestamp) -> Result<usize, CallError> {
        let mut walk = self.sweep.lock().await;
        let youngest = self.parts.clock.now();
        let is_old = |at: Timestamp| at < before && at.plus_secs(KEEP_S) <= youngest;
        if walk.is_done() {
            *walk = Walk::over(vec![vec![IDENTIFIER], vec![PAID]]);
        }
        let (mut seen, mut swept) = (0, 0);
        while seen < SWEEP_ROWS
            && let Some(page) = walk.next(self.parts.journal.as_ref()).await?
        {
            // An empty page is work, too.
            seen += page.len().max(1);
            let old: Vec<Write> = page
                .into_iter()
                .filter(|row| written_at(row).is_some_and(is_old))
                .map(|(key, _)| Write { table: Table::Till, key, value: None })
                .collect();
            if !old.is_empty() {
                swept += old.len();
                self.parts.journal.commit(old).await?;
            }
        }
        Ok(swept)
    }
}
