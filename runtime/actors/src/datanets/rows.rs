//! The rows of a keeper, and what reads and writes them where the caller may block.

use std::sync::Arc;

use agora_economy::ports::log::Row;
use agora_economy::ports::state::{Journal, Table, Write};
use agora_types::{Canonical, Code, DatanetId, Hash};
use futures::executor::block_on;
use minicbor::{Decode, Encode};

use crate::error::CallError;

/// The head row of a datanet, `agora/datanet-head/v1`, by `d` ‖ id: all that a list of datanets says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct DatanetHead {
    /// The signed charter.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub charter: Vec<u8>,
    /// Contributions in the list.
    #[n(1)]
    pub contributions: u32,
    /// Acts in theirs.
    #[n(2)]
    pub acts: u32,
    /// Submissions that were begun.
    #[n(3)]
    pub submissions: u32,
    /// The newest version; 0 before the first.
    #[n(4)]
    pub version: u32,
    /// SHA-256 of the newest version as it is signed; heads of earlier releases lack it until the next version.
    #[n(5)]
    pub statement: Option<Hash>,
}

impl Canonical for DatanetHead {
    const TAG: &'static str = "agora/datanet-head/v1";
    const SIZE_MAX: usize = 12 * 1024;
}

/// A version on its way to the ledger, `agora/datanet-pending/v1`, by `w` ‖ id. One a datanet.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PendingVersion {
    /// The signed version.
    #[cbor(n(0), with = "minicbor::bytes")]
    pub version: Vec<u8>,
    /// The entry by which its owner registers it.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub entry: Vec<u8>,
}

impl Canonical for PendingVersion {
    const TAG: &'static str = "agora/datanet-pending/v1";
    const SIZE_MAX: usize = 12 * 1024;
}

/// Kinds of rows: the first byte of a key.
pub(super) const HEAD: u8 = b'd';
/// Signed submissions, by id ‖ number of the commitment.
pub(super) const SUBMISSION: u8 = b's';
/// Contributions, by id ‖ place.
pub(super) const CONTRIBUTION: u8 = b'c';
/// Places, by id ‖ number of the commitment ‖ index.
pub(super) const PLACE: u8 = b'i';
/// Places, by id ‖ content hash.
pub(super) const CONTENT: u8 = b'h';
/// What opens a contribution, by id ‖ content hash.
pub(super) const REVEAL: u8 = b'r';
/// Acts, by id ‖ number.
pub(super) const ACT: u8 = b'a';
/// Numbers of acts, by id ‖ SHA-256 of the act.
pub(super) const ACT_NUMBER: u8 = b'b';
/// The number of each speaker's newest act about each subject, by id ‖ speaker ‖ subject.
pub(super) const WORD: u8 = b'n';
/// How many acts, from the first on, are told by those rows; by id.
pub(super) const WORDS: u8 = b'm';
/// Signed versions, by id ‖ version.
pub(super) const VERSION: u8 = b'v';
/// Versions on their way to the ledger, by id.
pub(super) const PENDING: u8 = b'w';
/// Policies, by id ‖ hash.
pub(super) const POLICY: u8 = b'p';

/// Rows of one page: all that share all but the last byte of a number.
const PAGE: usize = 256;

pub(super) fn damaged(what: impl std::fmt::Display) -> CallError {
    CallError::new(Code::StoreDamaged, format!("a datanet: {what}"))
}

/// The table, for a thread that may block.
#[derive(Clone)]
pub(super) struct Rows(pub(super) Arc<dyn Journal>);

impl Rows {
    pub(super) fn key(kind: u8, id: &DatanetId, rest: &[&[u8]]) -> Vec<u8> {
        let mut key = vec![kind];
        key.extend(id.as_bytes());
        rest.iter().for_each(|part| key.extend(*part));
        key
    }

    pub(super) fn put(key: Vec<u8>, value: Vec<u8>) -> Write {
        Write { table: Table::Datanets, key, value: Some(value) }
    }

    pub(super) fn remove(key: Vec<u8>) -> Write {
        Write { table: Table::Datanets, key, value: None }
    }

    pub(super) fn get(&self, key: Vec<u8>) -> Result<Option<Vec<u8>>, CallError> {
        Ok(block_on(self.0.get(Table::Datanets, key))?)
    }

    /// A row that must be there and be what it says.
    pub(super) fn read<T: Canonical>(&self, key: Vec<u8>) -> Result<Option<T>, CallError> {
        self.get(key)?.map(|bytes| T::from_bytes(&bytes).map_err(damaged)).transpose()
    }

    pub(super) fn list(&self, prefix: Vec<u8>, limit: usize) -> Result<Vec<Row>, CallError> {
        Ok(block_on(self.0.list(Table::Datanets, prefix, limit))?)
    }

    pub(super) fn commit(&self, writes: Vec<Write>) -> Result<(), CallError> {
        Ok(block_on(self.0.commit(writes))?)
    }

    /// The values of rows that are numbered from 0, from one number to before another, in order; a page at a time.
    pub(super) fn numbered<'a>(
        &'a self,
        kind: u8,
        id: &'a DatanetId,
        range: std::ops::Range<u32>,
    ) -> impl Iterator<Item = Result<Vec<u8>, CallError>> + 'a {
        let pages = range.start / 256..range.end.div_ceil(256);
        pages.flat_map(move |page| {
            let prefix = Self::key(kind, id, &[&page.to_be_bytes()[1..]]);
            let whole = page * 256..(page + 1) * 256;
            let (from, to) = (range.start.max(whole.start), range.end.min(whole.end));
            let rows = match self.list(prefix, PAGE) {
                Ok(rows) => rows,
                Err(error) => return vec![Err(error)],
            };
            let at = |number: u32| (number - whole.start) as usize;
            match rows.get(at(from)..at(to)) {
                Some(wanted) => wanted.iter().map(|(_, value)| Ok(value.clone())).collect(),
                None => vec![Err(damaged("a row of its lists is missing"))],
            }
        })
    }
}
