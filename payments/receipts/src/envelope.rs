//! The file in which one call's receipts are handed on: leaves, proofs, and what the buyer chooses to disclose.
//!
//! `<name>.receipt.json`, `"$type": "agora/receipt-envelope/v1"`. It proves nothing by itself: [`mod@crate::verify`] checks
//! it against the networks that the reader knows.

use agora_types::merkle::leaf_hash;
use agora_types::{Code, Hash, Signed, SignedError, cbor};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base64;
use crate::note::NoteError;
use crate::proof::LogProof;
use crate::receipt::{Receipt, commit};

/// Most bytes of the file: the largest evidence in base64, and a quarter of a mebibyte for the rest. Disclosed texts that
/// do not fit are handed on beside it.
pub const ENVELOPE_SIZE_MAX: usize = 1024 * 1024;
/// Most bytes of an enclosed attribution spec.
const SPEC_SIZE_MAX: usize = 16 * 1024;
/// Most bytes of enclosed evidence.
const EVIDENCE_SIZE_MAX: usize = 512 * 1024;
/// The domain tag of attribution specs.
const SPEC_TAG: &str = "agora/attribution-spec/v1";

/// Why a file is not an envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Over the bound.
    #[error("an exported receipt has at most {ENVELOPE_SIZE_MAX} bytes, this file has {0}")]
    TooLarge(usize),
    /// Not JSON, or not these fields.
    #[error("not an exported receipt: {0}")]
    Json(String),
}

/// The `$type` of the file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EnvelopeType {
    /// Version 1.
    #[default]
    #[serde(rename = "agora/receipt-envelope/v1")]
    V1,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Envelope {
    /// What this file is.
    #[serde(rename = "$type")]
    pub kind: EnvelopeType,
    /// The network that the file claims to come from.
    pub network: EnvelopeNetwork,
    /// The receipt written when the stream ended.
    pub provisional: LoggedReceipt,
    /// The receipt written when attribution was done.
    #[serde(rename = "final", default, skip_serializing_if = "Option::is_none")]
    pub last: Option<LoggedReceipt>,
    /// What the buyer reveals of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disclosure: Option<Disclosure>,
    /// What the shares of a measured final receipt follow from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attribution: Option<Enclosed>,
}

/// A network's name and the two numbers that identify it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvelopeNetwork {
    /// Its chain id.
    pub chain_id: u64,
    /// Hash of its genesis file.
    pub genesis_hash: Hash,
    /// Its name.
    pub name: String,
}

/// A receipt with its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoggedReceipt {
    /// The leaf's bytes, base64: the signed receipt in canonical CBOR.
    pub leaf: String,
    /// Its index in the log.
    pub index: u64,
    /// `c2sp.org/tlog-proof@v1` up to a signed checkpoint.
    pub proof: String,
}

/// What the buyer reveals; each part is checked against the receipt's commitment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disclosure {
    /// The request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Opening>,
    /// The response.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Opening>,
}

/// The salt and the bytes under a commitment: exactly one of `text` and `base64`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Opening {
    /// 128 bits, 32 hexadecimal digits behind 0x.
    pub salt: String,
    /// The bytes, when they are UTF-8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The bytes, when they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

/// What measured shares follow from, for who recomputes them. Nothing in it counts by itself: the receipt names the spec
/// by its hash and the evidence by its roots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Enclosed {
    /// An `agora/attribution-spec/v1` in canonical CBOR, base64; at most 16 KiB.
    pub spec: String,
    /// An `agora/attribution-evidence/v1` in canonical CBOR, base64; at most 512 KiB.
    pub evidence: String,
}

impl Envelope {
    /// Reads a file; unknown and repeated fields are refused.
    pub fn from_json(text: &str) -> Result<Self, EnvelopeError> {
        if text.len() > ENVELOPE_SIZE_MAX {
            return Err(EnvelopeError::TooLarge(text.len()));
        }
        serde_json::from_str(text).map_err(|error| EnvelopeError::Json(error.to_string()))
    }

    /// Provisional and final receipt, their signatures checked, nothing else; to show them use [`crate::CallText`].
    ///
    /// # Errors
    /// `receipt.bad_envelope`.
    pub fn receipts(&self) -> Result<(Signed<Receipt>, Option<Signed<Receipt>>), Code> {
        let read = |logged: &LoggedReceipt| logged.receipt().and_then(Result::ok).ok_or(Code::ReceiptEnvelope);
        Ok((read(&self.provisional)?, self.last.as_ref().map(read).transpose()?))
    }

    /// The file's text, indented, with a last line break.
    ///
    /// # Errors
    /// [`EnvelopeError::TooLarge`]: leave the disclosure out.
    pub fn to_json(&self) -> Result<String, EnvelopeError> {
        let text = serde_json::to_string_pretty(self).map_err(|error| EnvelopeError::Json(error.to_string()))? + "\n";
        if text.len() > ENVELOPE_SIZE_MAX { Err(EnvelopeError::TooLarge(text.len())) } else { Ok(text) }
    }
}

impl LoggedReceipt {
    /// From a leaf's bytes and its proof.
    pub fn new(leaf: &[u8], proof: &LogProof) -> Self {
        Self { leaf: base64::encode(leaf), index: proof.index, proof: proof.to_string() }
    }

    /// The leaf's bytes; `None` when they are no base64.
    pub fn leaf_bytes(&self) -> Option<Vec<u8>> {
        base64::decode(&self.leaf)
    }

    /// The leaf's hash in the log.
    pub fn leaf_hash(&self) -> Option<Hash> {
        self.leaf_bytes().map(|bytes| leaf_hash(&bytes))
    }

    /// The receipt, its signature checked; `None` when the leaf is no base64.
    pub fn receipt(&self) -> Option<Result<Signed<Receipt>, SignedError>> {
        self.leaf_bytes().map(|bytes| Signed::from_bytes(&bytes))
    }

    /// The proof, not verified.
    pub fn log_proof(&self) -> Result<LogProof, NoteError> {
        LogProof::parse(&self.proof)
    }
}

impl Opening {
    /// Reveals `bytes` under `salt`; as text where they are UTF-8.
    pub fn new(salt: &[u8; 16], bytes: &[u8]) -> Self {
        let salt = format!("0x{}", hex::encode(salt));
        match std::str::from_utf8(bytes) {
            Ok(text) => Self { salt, text: Some(text.to_owned()), base64: None },
            Err(_) => Self { salt, text: None, base64: Some(base64::encode(bytes)) },
        }
    }

    /// The revealed bytes; `None` when they are malformed.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        match (&self.text, &self.base64) {
            (Some(text), None) => Some(text.clone().into_bytes()),
            (None, Some(bytes)) => base64::decode(bytes),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    /// The commitment that this opens; `None` when salt or bytes are malformed.
    pub fn commitment(&self) -> Option<Hash> {
        let mut salt = [0; 16];
        hex::decode_to_slice(self.salt.strip_prefix("0x")?, &mut salt).ok()?;
        Some(commit(&salt, &self.bytes()?))
    }
}

impl Enclosed {
    /// From the canonical bytes of spec and evidence.
    pub fn new(spec: &[u8], evidence: &[u8]) -> Self {
        Self { spec: base64::encode(spec), evidence: base64::encode(evidence) }
    }

    /// The spec's bytes, nothing about them checked; `None` when they are no base64 or too many.
    pub fn spec_bytes(&self) -> Option<Vec<u8>> {
        base64::decode(&self.spec).filter(|bytes| bytes.len() <= SPEC_SIZE_MAX)
    }

    /// The evidence's bytes, nothing about them checked; `None` when they are no base64 or too many.
    pub fn evidence_bytes(&self) -> Option<Vec<u8>> {
        base64::decode(&self.evidence).filter(|bytes| bytes.len() <= EVIDENCE_SIZE_MAX)
    }

    /// The hash by which a receipt names the spec: SHA-256 over the CBOR array `[tag, spec]`.
    pub fn spec_hash(&self) -> Option<Hash> {
        /// Head of an array of two.
        const PAIR: u8 = 0x82;
        Some(Hash::sha256_of(&[&[PAIR], &cbor::encode(&SPEC_TAG), &self.spec_bytes()?]))
    }
}
