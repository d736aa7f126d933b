//! The hash-chained log: entries, batches and their headers.

use minicbor::{Decode, Encode};

use crate::command::Command;
use crate::key::{WalletKey, WalletSignature};
use crate::{Address, Amount, Canonical, Code, Hash, Timestamp, cbor, eip712};

/// The one version of batch header and body.
pub const BATCH_VERSION: u16 = 1;
/// Most entries in a batch.
pub const BATCH_ENTRIES_MAX: usize = 8_192;
/// Most bytes of a batch body: one NATS message carries it.
pub const BATCH_BODY_MAX: usize = 1_000_000;

/// Who pays a command's gas when it is not the network's operator.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Submitter {
    /// The paying account.
    #[n(0)]
    pub account: Address,
    /// The most it pays.
    #[n(1)]
    pub gas_max: Amount,
    /// Over [`eip712::submission_digest`].
    #[n(2)]
    pub signature: WalletSignature,
}

/// One command in the log, with the signatures that anyone can check again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Entry {
    /// The command.
    #[n(0)]
    pub command: Command,
    /// By [`Command::signer`], over [`eip712::command_digest`].
    #[n(1)]
    pub signature: WalletSignature,
    /// True: this entry and the next succeed together or not at all.
    #[n(2)]
    pub linked: bool,
    /// Absent: the operator submits and pays.
    #[n(3)]
    pub submitter: Option<Submitter>,
}

impl Canonical for Entry {
    const TAG: &'static str = "agora/entry/v1";
    const SIZE_MAX: usize = 64 * 1024;
}

impl Entry {
    /// Signs a command with its signer's key, unlinked, submitted by the operator.
    pub fn sign(network: &eip712::Network, command: Command, key: &WalletKey) -> Self {
        let signature = key.sign(&eip712::command_digest(network, &command));
        Self { command, signature, linked: false, submitter: None }
    }

    /// Links it to the next entry.
    pub fn linked(self) -> Self {
        Self { linked: true, ..self }
    }
}

/// What became of an entry: 0, or the number of its [`Code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Outcome(#[n(0)] u16);

impl Outcome {
    /// Accepted (or a repeat of something accepted).
    pub const OK: Self = Self(0);

    /// Refused.
    pub const fn refused(code: Code) -> Self {
        Self(code.number())
    }

    /// True when accepted.
    pub const fn is_ok(self) -> bool {
        self.0 == 0
    }

    /// Why it was refused; `None` when accepted or when the number is unknown.
    pub const fn code(self) -> Option<Code> {
        Code::from_number(self.0)
    }
}

/// The entries of a batch and what became of each, in order.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Body {
    /// At most [`BATCH_ENTRIES_MAX`].
    #[n(0)]
    pub entries: Vec<Entry>,
    /// As many as entries.
    #[n(1)]
    pub outcomes: Vec<Outcome>,
}

impl Canonical for Body {
    const TAG: &'static str = "agora/batch-body/v1";
    const SIZE_MAX: usize = BATCH_BODY_MAX;
}

/// A batch's place in the chain. Its hash is the next header's `prev`.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BatchHeader {
    /// [`BATCH_VERSION`].
    #[n(0)]
    pub version: u16,
    /// 0: commands. Others are reserved for epochs and upgrades.
    #[n(1)]
    pub kind: u16,
    /// Position in the log, from 0.
    #[n(2)]
    pub seq: u64,
    /// Fencing: the number of the writer.
    #[n(3)]
    pub epoch: u64,
    /// Stamped by the sequencer, strictly rising.
    #[n(4)]
    pub time: Timestamp,
    /// Hash of the header before; of the genesis file for batch 0.
    #[n(5)]
    pub prev: Hash,
    /// SHA-256 of the body's bytes.
    #[n(6)]
    pub body_hash: Hash,
    /// Number of entries.
    #[n(7)]
    pub count: u32,
    /// Length of the body in bytes.
    #[n(8)]
    pub body_size: u32,
    /// The newest computed state root …
    #[n(9)]
    pub state_root: Hash,
    /// … and the number of batches it covers.
    #[n(10)]
    pub state_root_seq: u64,
    /// Size of the receipt log after this batch …
    #[n(11)]
    pub receipts_size: u64,
    /// … and its RFC 6962 root: this ties receipts to money.
    #[n(12)]
    pub receipts_root: Hash,
}

impl Canonical for BatchHeader {
    const TAG: &'static str = "agora/batch-header/v1";
    const SIZE_MAX: usize = 512;
}

/// A batch as it is stored: one value.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Batch {
    /// Its place in the chain.
    #[n(0)]
    pub header: BatchHeader,
    /// The bytes of its [`Body`].
    #[cbor(n(1), with = "minicbor::bytes")]
    pub body: Vec<u8>,
}

impl Canonical for Batch {
    const TAG: &'static str = "agora/batch/v1";
    const SIZE_MAX: usize = BATCH_BODY_MAX + 1024;
}

/// Why a batch does not fit the chain or itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not canonical, or too large.
    #[error(transparent)]
    Bytes(#[from] cbor::CborError),
    /// Something about its header is wrong.
    #[error("batch {seq}: {what}")]
    Broken {
        /// Its position as it says itself.
        seq: u64,
        /// What is wrong.
        what: &'static str,
    },
}

impl Batch {
    /// Decodes the body and checks header against body; the chain is the reader's to check.
    pub fn open(&self) -> Result<Body, BatchError> {
        let broken = |what| BatchError::Broken { seq: self.header.seq, what };
        if self.header.version != BATCH_VERSION || self.header.kind != 0 {
            return Err(broken("unknown version or kind"));
        }
        if self.header.body_size as usize != self.body.len() || self.header.body_hash != Hash::sha256(&self.body) {
            return Err(broken("the body is not the one its header names"));
        }
        let body = Body::from_bytes(&self.body)?;
        if body.entries.len() != self.header.count as usize || body.outcomes.len() != body.entries.len() {
            return Err(broken("entries, outcomes and count differ"));
        }
        if body.entries.len() > BATCH_ENTRIES_MAX {
            return Err(broken("too many entries"));
        }
        Ok(body)
    }
}
