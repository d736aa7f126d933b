//! A host's book of outstanding quotes: bounded per payer, used once, forgotten when they expire.

use std::collections::BTreeMap;

use agora_types::{Address, Code, Hash, QuoteId, Timestamp};

use crate::quote::Quote;

/// The quotes that a host has given and that were neither used nor ran out.
#[derive(Debug)]
pub struct Quotes {
    open: BTreeMap<QuoteId, Quote>,
    due: BTreeMap<(Timestamp, QuoteId), Address>,
    by_payer: BTreeMap<Address, usize>,
    per_payer_max: usize,
    max: usize,
}

impl Quotes {
    /// At most `per_payer_max` outstanding for one payer and `max` in all.
    pub fn new(per_payer_max: usize, max: usize) -> Self {
        Self { open: BTreeMap::new(), due: BTreeMap::new(), by_payer: BTreeMap::new(), per_payer_max, max }
    }

    /// Number of outstanding quotes.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// True without outstanding quotes.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Writes a quote down before it is sent.
    ///
    /// # Errors
    /// What [`Quote::check`] says; `quote.too_many_outstanding`; `quote.used` for an id that is taken.
    pub fn issue(&mut self, quote: Quote, now: Timestamp) -> Result<(), Code> {
        self.forget(now);
        quote.check(now)?;
        let count = self.by_payer.get(&quote.payer).copied().unwrap_or(0);
        if count >= self.per_payer_max || self.open.len() >= self.max {
            return Err(Code::QuoteTooMany);
        }
        if self.open.contains_key(&quote.id) {
            return Err(Code::QuoteUsed);
        }
        self.by_payer.insert(quote.payer, count + 1);
        self.due.insert((quote.expires_at, quote.id), quote.payer);
        self.open.insert(quote.id, quote);
        Ok(())
    }

    /// An outstanding quote.
    pub fn get(&self, id: &QuoteId) -> Option<&Quote> {
        self.open.get(id)
    }

    /// Takes a quote out of the book: it opens one call.
    ///
    /// # Errors
    /// `quote.unknown` for one that was never given, was used, or ran out; `quote.mismatch` for one with other content.
    pub fn consume(&mut self, quote: &Quote, now: Timestamp) -> Result<(), Code> {
        self.forget(now);
        let known = self.open.get(&quote.id).ok_or(Code::QuoteUnknown)?;
        if known != quote {
            return Err(Code::QuoteMismatch);
        }
        self.remove(quote.id);
        Ok(())
    }

    /// Takes back what `payer` was quoted for a request: nothing is opened with it any more.
    pub fn void(&mut self, payer: &Address, request_commit: &Hash) {
        let given = |quote: &&Quote| quote.payer == *payer && quote.request_commit == *request_commit;
        let ids: Vec<QuoteId> = self.open.values().filter(given).map(|quote| quote.id).collect();
        ids.into_iter().for_each(|id| self.remove(id));
    }

    fn remove(&mut self, id: QuoteId) {
        let Some(quote) = self.open.remove(&id) else { return };
        self.due.remove(&(quote.expires_at, id));
        let left = self.by_payer.get(&quote.payer).map_or(0, |count| count.saturating_sub(1));
        match left {
            0 => self.by_payer.remove(&quote.payer),
            left => self.by_payer.insert(quote.payer, left),
        };
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some(((expires_at, id), _)) = self.due.first_key_value()
            && *expires_at <= now
        {
            let id = *id;
            self.remove(id);
        }
    }
}
