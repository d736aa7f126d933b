//! What a till writes down: answers of single payments, channels with their newest answer, payment identifiers.

use agora_economy::ports::pay::{KEPT_BODY_MAX, Kept};
use agora_economy::ports::state::{Journal, Table, Write};
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::{Address, Amount, Canonical, ChannelId, Code, Hash, Timestamp};
use minicbor::{Decode, Encode};

use crate::error::CallError;

/// Longest content type that is kept, in bytes: an agent may have written it.
const KEPT_TYPE_MAX: usize = 256;

/// An answer that a repeat gets.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct KeptRow {
    /// HTTP status.
    #[n(0)]
    pub status: u16,
    /// Its type.
    #[n(1)]
    pub content_type: String,
    /// Its bytes.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

impl KeptRow {
    /// What is kept of an answer: nothing where body or type are too long.
    pub(super) fn of(kept: Option<Kept>) -> Option<Self> {
        let fits = |kept: &Kept| kept.body.len() <= KEPT_BODY_MAX && kept.content_type.len() <= KEPT_TYPE_MAX;
        let Kept { status, content_type, body } = kept.filter(fits)?;
        Some(Self { status, content_type, body })
    }

    pub(super) fn kept(&self) -> Kept {
        Kept { status: self.status, content_type: self.content_type.clone(), body: self.body.clone() }
    }
}

/// A single payment whose work is done, `agora/till-payment/v1`, by `p` ‖ payer ‖ nonce. Written before the money is
/// posted, so that a repeat posts and answers the same.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PaidRow {
    /// Of the request that it paid.
    #[n(0)]
    pub fingerprint: Hash,
    /// What it costs.
    #[n(1)]
    pub charge: Amount,
    /// The answer.
    #[n(2)]
    pub kept: Option<KeptRow>,
    /// When the work was done.
    #[n(3)]
    pub at: Timestamp,
}

impl Canonical for PaidRow {
    const TAG: &'static str = "agora/till-payment/v1";
    const SIZE_MAX: usize = KEPT_BODY_MAX + 4_096;
}

/// The newest request that a channel paid.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LastRow {
    /// The voucher that paid it.
    #[n(0)]
    pub max_claimable: Amount,
    /// Of the request.
    #[n(1)]
    pub fingerprint: Hash,
    /// What it cost.
    #[n(2)]
    pub charge: Amount,
    /// The answer.
    #[n(3)]
    pub kept: Option<KeptRow>,
    /// Salt of the deposit that came with it.
    #[n(4)]
    pub deposit: Option<Hash>,
}

impl LastRow {
    /// True for the payment of this row, sent again: the same voucher, and no other deposit. A buyer that forgot its
    /// channel begins anew with the first voucher; a new deposit tells it from a repeat, and it is corrected.
    pub(super) fn is_paid_by(&self, voucher: &Voucher, deposit: Option<Hash>) -> bool {
        self.max_claimable == voucher.max_claimable && (deposit.is_none() || deposit == self.deposit)
    }
}

/// A channel that pays a till, `agora/till-channel/v1`, by `c` ‖ id. Written before the answer that it pays is sent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ChannelRow {
    /// The channel.
    #[n(0)]
    pub config: ChannelConfig,
    /// Charged so far, all requests together.
    #[n(1)]
    pub charged: Amount,
    /// The highest voucher.
    #[n(2)]
    pub voucher: Option<Voucher>,
    /// The newest request, for its repeat.
    #[n(3)]
    pub last: Option<LastRow>,
    /// When it was charged last.
    #[n(4)]
    pub at: Timestamp,
}

impl Canonical for ChannelRow {
    const TAG: &'static str = "agora/till-channel/v1";
    const SIZE_MAX: usize = KEPT_BODY_MAX + 8_192;
}

/// A payer's own id of a payment, `agora/till-identifier/v1`, by `i` ‖ payer ‖ SHA-256 of the id. Written with the charge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NamedRow {
    /// Of the payment that came with it.
    #[n(0)]
    pub digest: Hash,
    /// When it was charged.
    #[n(1)]
    pub at: Timestamp,
}

impl Canonical for NamedRow {
    const TAG: &'static str = "agora/till-identifier/v1";
    const SIZE_MAX: usize = 128;
}

pub(super) const PAID: u8 = b'p';
pub(super) const CHANNEL: u8 = b'c';
pub(super) const IDENTIFIER: u8 = b'i';

pub(super) fn paid_key(payer: &Address, nonce: &Hash) -> Vec<u8> {
    [&[PAID], payer.as_bytes().as_slice(), nonce.as_bytes()].concat()
}

pub(super) fn channel_key(id: &ChannelId) -> Vec<u8> {
    [&[CHANNEL], id.as_bytes().as_slice()].concat()
}

/// A payer's own id of a payment; ids of different payers are apart.
pub(super) fn identifier_key(payer: &Address, id: &str) -> Vec<u8> {
    [&[IDENTIFIER], payer.as_bytes().as_slice(), Hash::sha256(id).as_bytes()].concat()
}

/// A row as it stands on disk.
pub(super) async fn load<T: Canonical>(journal: &dyn Journal, key: Vec<u8>) -> Result<Option<T>, CallError> {
    let row = journal.get(Table::Till, key).await?;
    let row = row.map(|bytes| T::from_bytes(&bytes)).transpose();
    row.map_err(|error| CallError::new(Code::StoreDamaged, format!("a till's row: {error}")))
}

pub(super) fn put(key: Vec<u8>, value: Vec<u8>) -> Write {
    Write { table: Table::Till, key, value: Some(value) }
}
