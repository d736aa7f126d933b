//! What is said of contributions after they were given: curators' verdicts, and contributors' withdrawals.

use agora_types::{Address, Canonical, Code, DatanetId, Hash, Signed, SignedError, Timestamp};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::terms::is_line;

/// Longest note of a verdict in bytes.
pub const NOTE_SIZE_MAX: usize = 200;

/// What an act is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(flat)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Subject {
    /// The contribution of this content hash.
    #[n(0)]
    Contribution(#[n(0)] Hash),
    /// All contributions of the submission whose commitment has this number on the ledger.
    #[n(1)]
    Submission(#[n(0)] u64),
}

/// What a curator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// It belongs in.
    #[n(0)]
    Accept,
    /// It stays out.
    #[n(1)]
    Reject,
    /// It stays out until as many accept it.
    #[n(2)]
    Flag,
}

/// Why. Numbers are never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Good as it is.
    #[n(0)]
    Good,
    /// It does not belong to the datanet's subject.
    #[n(1)]
    OffTopic,
    /// Badly written, empty of content, spam.
    #[n(2)]
    LowQuality,
    /// What it says is not so.
    #[n(3)]
    Wrong,
    /// It says what another contribution says.
    #[n(4)]
    Duplicate,
    /// The contributor had no right to give it. Rejected so, it loses its claim to own what is like it.
    #[n(5)]
    NotOwned,
    /// Its licence does not fit.
    #[n(6)]
    Licence,
    /// It tells of private persons.
    #[n(7)]
    Personal,
    /// It holds a password or a key.
    #[n(8)]
    Secret,
    /// It would do harm.
    #[n(9)]
    Harmful,
    /// It is no text, or damaged.
    #[n(10)]
    Unreadable,
    /// See the note.
    #[n(11)]
    Other,
}

/// A curator's judgement, signed by the key that the policy names.
///
/// Of one curator the newest counts, in the order of the list; one about the contribution itself goes before one about
/// its whole submission.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// The network's chain id.
    #[n(0)]
    pub network: u64,
    /// The datanet.
    #[n(1)]
    pub datanet: DatanetId,
    /// Who judges.
    #[n(2)]
    pub curator: Address,
    /// What is judged.
    #[n(3)]
    pub subject: Subject,
    /// The judgement.
    #[n(4)]
    pub ruling: Ruling,
    /// Why.
    #[n(5)]
    pub reason: Reason,
    /// One line for people; empty where the reason says it all.
    #[n(6)]
    pub note: String,
    /// By the curator's clock; it decides nothing.
    #[n(7)]
    pub time: Timestamp,
}

impl Canonical for Verdict {
    const TAG: &'static str = "agora/verdict/v1";
    const SIZE_MAX: usize = 512;
}

/// A contributor takes back what it gave, from the next version on, for good; signed by the key of the submission.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Withdrawal {
    /// The network's chain id.
    #[n(0)]
    pub network: u64,
    /// The datanet.
    #[n(1)]
    pub datanet: DatanetId,
    /// Whose contribution it is.
    #[n(2)]
    pub contributor: Address,
    /// What is taken back.
    #[n(3)]
    pub subject: Subject,
    /// By the contributor's clock; it decides nothing.
    #[n(4)]
    pub time: Timestamp,
}

impl Canonical for Withdrawal {
    const TAG: &'static str = "agora/withdrawal/v1";
    const SIZE_MAX: usize = 256;
}

/// One row of the second list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Of a curator.
    Verdict(Signed<Verdict>),
    /// Of a contributor.
    Withdrawal(Signed<Withdrawal>),
}

impl Verdict {
    /// Checks every bound.
    ///
    /// # Errors
    /// `datanet.bad_act`.
    pub fn check(&self) -> Result<(), Code> {
        let said = self.note.is_empty() || is_line(&self.note, NOTE_SIZE_MAX);
        let fits = match (self.ruling, self.reason) {
            (Ruling::Accept, reason) => matches!(reason, Reason::Good | Reason::Other),
            (Ruling::Reject | Ruling::Flag, reason) => reason != Reason::Good,
        };
        // "See the note" needs one.
        let noted = self.reason != Reason::Other || !self.note.is_empty();
        if said && fits && noted { Ok(()) } else { Err(Code::ActInvalid) }
    }
}

impl Act {
    /// True where it says what `earlier` says: the same speaker by the same key, of the same subject, in the same words.
    /// When something is said decides nothing: after one's own newest word about a subject, the same again has no effect.
    pub fn repeats(&self, earlier: &Self) -> bool {
        match (self, earlier) {
            (Self::Verdict(one), Self::Verdict(other)) => {
                let same = Verdict { time: one.payload().time, ..other.payload().clone() };
                one.key() == other.key() && *one.payload() == same
            }
            (Self::Withdrawal(one), Self::Withdrawal(other)) => {
                let same = Withdrawal { time: one.payload().time, ..other.payload().clone() };
                one.key() == other.key() && *one.payload() == same
            }
            (Self::Verdict(_), Self::Withdrawal(_)) | (Self::Withdrawal(_), Self::Verdict(_)) => false,
        }
    }

    /// The canonical bytes of the statement; its tag says which kind it is.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            Self::Verdict(signed) => signed.to_bytes(),
            Self::Withdrawal(signed) => signed.to_bytes(),
        }
    }

    /// Reads and verifies either kind.
    ///
    /// # Errors
    /// What the reader of verdicts says, when it is no withdrawal either.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignedError> {
        Signed::from_bytes(bytes)
            .map(Self::Verdict)
            .or_else(|error| Signed::from_bytes(bytes).map(Self::Withdrawal).map_err(|_| error))
    }
}
