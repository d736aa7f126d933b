//! The calls that wait to be measured: a job each, and a place in the line of their spec.
//!
//! | row | key | value |
//! |---|---|---|
//! | job | `q` ‖ payer ‖ call | spec, request, answer |
//! | place | `w` ‖ spec ‖ index of the provisional receipt, 8 bytes | payer ‖ call |
//!
//! Both are written in one step and go in one. A line is in the order of the receipts, so that a group is read from its
//! front, however many calls of other specs wait. Earlier releases had jobs by `j` ‖ payer ‖ call and no places: what is left
//! of those is moved before anything is measured.

use agora_economy::OpenCall;
use agora_economy::ports::log::READ_ROWS_MAX;
use agora_economy::ports::state::{Table, Write};
use agora_types::{Address, CallId, Canonical, Code, Hash};
use minicbor::{Decode, Encode};

use super::sale::Sale;
use super::seller::Seller;
use crate::error::CallError;

/// Places that are read at once: a round sees so many calls, where more wait so many for each first byte of their specs,
/// those first that were settled first.
pub(super) const PLACES_MAX: usize = READ_ROWS_MAX;
const JOB: u8 = b'q';
const PLACE: u8 = b'w';
const OLD_JOB: u8 = b'j';
/// Jobs that are moved in one step; each has up to a mebibyte.
const OLD_PAGE: usize = 8;

/// A call that waits to be measured.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct Job {
    /// Of the listing, when the call was settled.
    #[n(0)]
    pub(super) spec: Hash,
    /// As it was run.
    #[cbor(n(1), with = "minicbor::bytes")]
    pub(super) request: Vec<u8>,
    /// What was delivered.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub(super) response: Vec<u8>,
}

impl Canonical for Job {
    const TAG: &'static str = "agora/measure-job/v1";
    const SIZE_MAX: usize = 1 << 20;
}

/// A place in the line of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) spec: Hash,
    /// Of the provisional receipt.
    pub(super) index: u64,
    pub(super) payer: Address,
    pub(super) call: CallId,
}

pub(super) fn key(kind: u8, payer: &Address, call: &CallId) -> Vec<u8> {
    [&[kind], payer.as_bytes().as_slice(), call.as_bytes()].concat()
}

pub(super) fn put(key: Vec<u8>, value: Vec<u8>) -> Write {
    Write { table: Table::Attribution, key, value: Some(value) }
}

pub(super) fn gone(key: Vec<u8>) -> Write {
    Write { table: Table::Attribution, key, value: None }
}

pub(super) fn damaged(what: &str) -> CallError {
    CallError::new(Code::StoreDamaged, what)
}

pub(super) fn ids(bytes: &[u8]) -> Result<(Address, CallId), CallError> {
    let (payer, call) = bytes.split_at_checked(Address::SIZE).ok_or_else(|| damaged("a measured call's ids"))?;
    let ids = Address::from_slice(payer).zip(CallId::from_slice(call));
    ids.ok_or_else(|| damaged("a measured call's ids"))
}

impl Place {
    fn key(&self) -> Vec<u8> {
        [&[PLACE], self.spec.as_bytes().as_slice(), &self.index.to_be_bytes()].concat()
    }

    fn read(key: &[u8], value: &[u8]) -> Result<Self, CallError> {
        let (spec, index) = key[1..].split_at_checked(Hash::SIZE).ok_or_else(|| damaged("a place in line"))?;
        let index = index.try_into().map(u64::from_be_bytes);
        let (spec, index) = Hash::from_slice(spec).zip(index.ok()).ok_or_else(|| damaged("a place in line"))?;
        let (payer, call) = ids(value)?;
        Ok(Self { spec, index, payer, call })
    }

    /// Puts the call in line.
    fn taken(&self, job: Vec<u8>) -> [Write; 2] {
        let Self { payer, call, .. } = self;
        let ids = [payer.as_bytes().as_slice(), call.as_bytes()].concat();
        [put(key(JOB, payer, call), job), put(self.key(), ids)]
    }

    /// Takes the call out of the line.
    pub(super) fn left(&self) -> [Write; 2] {
        [gone(key(JOB, &self.payer, &self.call)), gone(self.key())]
    }
}

/// What puts a sale's call in line, where the ledger waits for a measured final receipt; nothing otherwise.
pub(super) fn job(
    sale: &Sale,
    call: Option<&OpenCall>,
    spec: Option<Hash>,
    request: Option<Vec<u8>>,
) -> Option<[Write; 2]> {
    let call = call.filter(|call| call.method.is_some())?;
    let job = Job { spec: spec?, request: request?, response: sale.response() };
    let place = Place { spec: job.spec, index: call.record.index, payer: sale.payer, call: sale.call };
    Some(place.taken(job.to_bytes()))
}

/// The job of a call, if it waits.
pub(super) async fn job_of(seller: &Seller, payer: Address, call: CallId) -> Result<Option<Job>, CallError> {
    let bytes = seller.parts.journal.get(Table::Attribution, key(JOB, &payer, &call)).await?;
    bytes.map(|bytes| Job::from_bytes(&bytes)).transpose().map_err(|error| damaged(&error.to_string()))
}

/// Where a call stands that waits with this job.
pub(super) async fn place_of(seller: &Seller, payer: Address, call: CallId, job: &Job) -> Result<Place, CallError> {
    let record = seller.ledger().call(payer, call).await?;
    let record = record.ok_or_else(|| damaged("the ledger does not know a call that waits"))?;
    Ok(Place { spec: job.spec, index: record.index, payer, call })
}

/// True while the call stands there.
pub(super) async fn stands(seller: &Seller, place: &Place) -> Result<bool, CallError> {
    Ok(seller.parts.journal.get(Table::Attribution, place.key()).await?.is_some())
}

/// Places of specs that begin like this, line after line, each from its front; at most so many.
pub(super) async fn places(seller: &Seller, spec: &[u8], limit: usize) -> Result<Vec<Place>, CallError> {
    let prefix = [&[PLACE], spec].concat();
    let rows = seller.parts.journal.list(Table::Attribution, prefix, limit).await?;
    rows.iter().map(|(key, value)| Place::read(key, value)).collect()
}

/// Puts jobs of an earlier release in line.
pub(super) async fn take_over(seller: &Seller) -> Result<(), CallError> {
    loop {
        let rows = seller.parts.journal.list(Table::Attribution, vec![OLD_JOB], OLD_PAGE).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let mut writes = Vec::new();
        for (old, bytes) in rows {
            let (payer, call) = ids(&old[1..])?;
            let job = Job::from_bytes(&bytes).map_err(|error| damaged(&error.to_string()))?;
            writes.extend(place_of(seller, payer, call, &job).await?.taken(bytes));
            writes.push(gone(old));
        }
        seller.parts.journal.commit(writes).await?;
    }
}
