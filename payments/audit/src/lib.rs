//! An independent recount of the ledger from its log alone, sharing no code with `apply`.
//!
//! The auditor believes nothing that was not signed: it checks the chain of batches and every signature, moves the
//! money of each accepted command through books of its own, and compares what the log claims (outcomes, receipt tree,
//! splits) with what the books say. It does not judge refusals: a sequencer that refuses too much is unfair, not
//! insolvent.

mod books;
mod calls;
mod channels;
mod earnings;
mod registry;
mod signatures;

use std::collections::BTreeMap;

use agora_types::batch::{Batch, Entry, Outcome};
use agora_types::genesis::Genesis;
use agora_types::merkle::Frontier;
use agora_types::{Address, Amount, Canonical as _, Hash, Timestamp};
use serde::Serialize;

use crate::books::Books;

/// The sums are taken after each of the first batches, later now and then, and always at the end.
const CHECK_ALWAYS: u64 = 1_024;
const CHECK_INTERVAL: u64 = 1_024;

/// The first thing that does not add up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[error("batch {seq}{}: {what}", entry.map(|at| format!(", entry {at}")).unwrap_or_default())]
pub struct Finding {
    /// The batch; the number of batches when it is about the whole.
    pub seq: u64,
    /// The entry inside the batch.
    pub entry: Option<usize>,
    /// What is wrong.
    pub what: String,
}

/// What a clean log adds up to. Amounts in atoms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// `agora.audit/v1`.
    #[serde(rename = "$type")]
    pub kind: &'static str,
    /// Hash of the genesis file.
    pub genesis: Hash,
    /// Batches read.
    pub batches: u64,
    /// Commands that were accepted.
    pub accepted: u64,
    /// Commands that were refused.
    pub refused: u64,
    /// Hash of the newest header, of the genesis file before the first.
    pub head: Hash,
    /// Everything that exists.
    pub supply: Amount,
    /// Reserved by pending transfers.
    pub reserved: Amount,
    /// Unclaimed in channels.
    pub escrow: Amount,
    /// Claimed and not settled.
    pub unsettled: Amount,
    /// Contributor parts that wait for final receipts.
    pub suspense: Amount,
    /// In the commons pot.
    pub commons: Amount,
    /// Set aside for contributors whose shares are measured, and not claimed yet.
    pub earnings: Amount,
    /// Channels that ever were.
    pub channels: u64,
    /// Leaves of the receipt log.
    pub receipts: u64,
    /// Their RFC 6962 root.
    pub receipts_root: Hash,
    /// Calls settled: each has one provisional receipt.
    pub calls: u64,
    /// Calls with a final receipt.
    pub finalized: u64,
    /// Calls whose deadline passed without one.
    pub lapsed: u64,
    /// Every account's balance, to compare with what a node says.
    pub balances: BTreeMap<Address, Amount>,
}

/// An audit under way: feed it batches in order, then ask for the report.
#[derive(Debug)]
pub struct Audit {
    books: Books,
    genesis: Hash,
    next_seq: u64,
    prev: Hash,
    accepted: u64,
    refused: u64,
    tree: Frontier,
}

impl Audit {
    /// Begins with the genesis file.
    ///
    /// # Errors
    /// A finding when the file breaks a rule.
    pub fn new(genesis: &Genesis) -> Result<Self, Finding> {
        let finding = |what: &str| Finding { seq: 0, entry: None, what: what.to_owned() };
        genesis.check().map_err(finding)?;
        let books = Books::new(genesis).map_err(|what| finding(&what))?;
        let hash = genesis.hash();
        let tree = Frontier::default();
        Ok(Self { books, genesis: hash, next_seq: 0, prev: hash, accepted: 0, refused: 0, tree })
    }

    /// Recounts the next batch.
    ///
    /// # Errors
    /// The first finding; the audit is over then.
    pub fn batch(&mut self, batch: &Batch) -> Result<(), Finding> {
        let seq = self.next_seq;
        let finding = |entry: Option<usize>, what: String| Finding { seq, entry, what };
        let whole = |what: &str| finding(None, what.to_owned());
        let body = batch.open().map_err(|error| finding(None, error.to_string()))?;
        let header = &batch.header;
        if header.seq != seq || header.prev != self.prev {
            return Err(whole("it does not follow the batch before"));
        }
        if header.time <= self.books.now {
            return Err(whole("its time does not rise"));
        }
        self.books.pass_time(header.time).map_err(|what| finding(None, what))?;
        let mut at = 0;
        while at < body.entries.len() {
            let linked = body.entries[at..].iter().take_while(|entry| entry.linked).count();
            let end = body.entries.len().min(at + linked + 1);
            let chain: Vec<(&Entry, Outcome)> =
                body.entries[at..end].iter().zip(body.outcomes[at..end].iter().copied()).collect();
            self.chain(&chain).map_err(|(inside, what)| finding(Some(at + inside), what))?;
            at = end;
        }
        if seq < CHECK_ALWAYS || seq.is_multiple_of(CHECK_INTERVAL) {
            self.books.conserved().map_err(|what| finding(None, what))?;
        }
        for leaf in std::mem::take(&mut self.books.new_leaves) {
            self.tree.push(leaf);
        }
        if header.receipts_size != self.tree.size() || header.receipts_root != self.tree.root() {
            return Err(whole("the header states another receipt log than its entries make"));
        }
        self.prev = header.hash();
        self.next_seq += 1;
        Ok(())
    }

    fn chain(&mut self, chain: &[(&Entry, Outcome)]) -> Result<(), (usize, String)> {
        for (at, (entry, _)) in chain.iter().enumerate() {
            signatures::check(&self.books.network, entry).map_err(|what| (at, what))?;
            self.books.gas(entry);
        }
        let accepted = chain.iter().filter(|(_, outcome)| outcome.is_ok()).count();
        if accepted != 0 && accepted != chain.len() {
            return Err((0, "a linked chain was accepted in part".to_owned()));
        }
        for (at, (entry, outcome)) in chain.iter().enumerate() {
            if outcome.is_ok() {
                self.books.accepted(entry).map_err(|what| (at, what))?;
                self.accepted += 1;
            } else if outcome.code().is_none() {
                return Err((at, "it was refused with an unknown code".to_owned()));
            } else {
                self.refused += 1;
            }
        }
        Ok(())
    }

    /// What the log adds up to so far.
    ///
    /// # Errors
    /// A finding when it does not add up.
    pub fn report(&self) -> Result<Report, Finding> {
        let books = &self.books;
        books.conserved().map_err(|what| Finding { seq: self.next_seq, entry: None, what })?;
        let (finalized, lapsed) = books.call_ends();
        Ok(Report {
            kind: "agora.audit/v1",
            genesis: self.genesis,
            batches: self.next_seq,
            accepted: self.accepted,
            refused: self.refused,
            head: self.prev,
            supply: Amount::from_atoms(books.supply),
            reserved: Amount::from_atoms(books.reserved_total()),
            escrow: Amount::from_atoms(books.balance(&books::escrow())),
            unsettled: Amount::from_atoms(books.balance(&books::unsettled())),
            suspense: Amount::from_atoms(books.balance(&books::suspense())),
            commons: Amount::from_atoms(books.balance(&books::commons())),
            earnings: Amount::from_atoms(books.balance(&earnings::earnings())),
            channels: books.channels.len() as u64,
            receipts: self.tree.size(),
            receipts_root: self.tree.root(),
            calls: books.calls.len() as u64,
            finalized,
            lapsed,
            balances: books.balances.iter().map(|(account, atoms)| (*account, Amount::from_atoms(*atoms))).collect(),
        })
    }

    /// The time of the newest batch.
    pub fn now(&self) -> Timestamp {
        self.books.now
    }
}

/// Recounts a whole log.
///
/// # Errors
/// The first finding.
pub fn audit<'a>(genesis: &Genesis, log: impl IntoIterator<Item = &'a Batch>) -> Result<Report, Finding> {
    let mut audit = Audit::new(genesis)?;
    for batch in log {
        audit.batch(batch)?;
    }
    audit.report()
}
