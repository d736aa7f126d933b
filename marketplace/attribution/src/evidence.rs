//! The evidence of a final receipt: everything that was measured and decided for one answer, without its text.
//!
//! A receipt holds two roots and the sums; the document behind them is stored by its content address
//! ([`Canonical::hash`]) and lets anyone recompute: level 1 needs the document and the spec, level 2 the published
//! matrix as well.

use agora_types::command::MEMBERS_MAX;
use agora_types::merkle::{leaf_hash, root};
use agora_types::{Address, Amount, Canonical, Code, ContributionKind, Hash, SampledOf, cbor};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::method::Method;
use crate::rows::Position;
use crate::sample::Sample;
use crate::solve::CANDIDATES_MAX;
use crate::vector::{DIMENSION_MAX, Vector};

/// The version of this format.
pub const EVIDENCE_VERSION: u16 = 1;
/// Most copied runs of one answer.
pub const SPANS_MAX: usize = 1_024;
/// Most clusters that one answer names: every candidate and every run may name one.
pub const ENTRIES_MAX: usize = CANDIDATES_MAX + SPANS_MAX;
const SUMMARY_TAG: &str = "agora/attribution-summary/v1";
const CANDIDATE_TAG: &str = "agora/attribution-candidate/v1";
const ENTRY_TAG: &str = "agora/attribution-entry/v1";
const SPAN_TAG: &str = "agora/attribution-span/v1";

/// A row that the scan found, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Candidate {
    /// Number of the row.
    #[n(0)]
    pub row: u32,
    /// Its exact dot product with the query.
    #[n(1)]
    pub dot: i32,
    /// Least squares: its weight in parts of 2^30. Other methods: its score, as [`crate::baseline::credits`] gives it.
    #[n(2)]
    pub weight: u64,
}

/// Tokens of the answer that were copied from a contribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Span {
    /// First token of the answer, from 0.
    #[n(0)]
    pub start: u32,
    /// Number of tokens that count, at least 1.
    #[n(1)]
    pub length: u32,
    /// Leaf hash of the contribution.
    #[n(2)]
    pub contribution: Hash,
    /// Length of the whole match, at least `length`.
    #[n(3)]
    pub match_length: u32,
    /// Position of the cluster's owner.
    #[n(4)]
    pub cluster: Position,
}

/// One cluster: what it gave to the answer, and what it is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Entry {
    /// Position of the cluster's owner.
    #[n(0)]
    pub cluster: Position,
    /// The owner's row.
    #[n(1)]
    pub row: u32,
    /// Leaf hash of the owner's contribution.
    #[n(2)]
    pub contribution: Hash,
    /// Who is paid.
    #[n(3)]
    pub account: Address,
    /// How it helps.
    #[n(4)]
    pub kind: ContributionKind,
    /// What its kind counts.
    #[n(5)]
    pub weight: u32,
    /// Its part of all influence, parts of 2^32.
    #[n(6)]
    pub influence: u64,
    /// Its part of all copied tokens, parts of 2^32.
    #[n(7)]
    pub verbatim: u64,
    /// Its part of what is paid, parts of 2^32.
    #[n(8)]
    pub share: u64,
    /// What it is paid.
    #[n(9)]
    pub amount: Amount,
}

/// What an account is paid in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Paid {
    /// Who.
    #[n(0)]
    pub account: Address,
    /// How much; above zero.
    #[n(1)]
    pub amount: Amount,
}

/// The first leaf under the influence root: it binds what the entries follow from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Summary {
    /// Hash of the attribution spec.
    #[n(0)]
    pub spec: Hash,
    /// How influence was measured.
    #[n(1)]
    pub method: Method,
    /// SHA-256 of the query vector's bytes; absent for methods without a matrix.
    #[n(2)]
    pub query_hash: Option<Hash>,
    /// RFC 6962 root over the candidates, best first.
    #[n(3)]
    pub candidates_root: Hash,
    /// Tokens of the answer.
    #[n(4)]
    pub output_tokens: u32,
    /// v, the weight of copied text, parts of 2^32.
    #[n(5)]
    pub verbatim_weight: u64,
    /// E, parts of 2^32.
    #[n(6)]
    pub explained: u64,
    /// The rest: explained + residual = 2^32.
    #[n(7)]
    pub residual: u64,
    /// g, the paid part of the pool, parts of 2^32.
    #[n(8)]
    pub grade: u64,
    /// [`Sample::hash`] of the calls that this one answer was measured for; absent: for its own call alone.
    #[n(9)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample_hash: Option<Hash>,
}

/// Everything behind a final receipt's attribution.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Evidence {
    /// 1.
    #[n(0)]
    pub version: u16,
    /// What the rest follows from.
    #[n(1)]
    pub summary: Summary,
    /// The query vector, int8 in two's complement. Empty where it is withheld or the method has none: then only level 1
    /// can be checked. It publishes no text, but it is given to those only whom the datanets' licence allows.
    #[cbor(n(2), with = "minicbor::bytes")]
    pub query: Vec<u8>,
    /// What the scan found, best first.
    #[n(3)]
    pub candidates: Vec<Candidate>,
    /// In rising order of start, none overlapping.
    #[n(4)]
    pub spans: Vec<Span>,
    /// In rising order of cluster.
    #[n(5)]
    pub entries: Vec<Entry>,
    /// The call's contributor pool.
    #[n(6)]
    pub pool: Amount,
    /// What contributors get.
    #[n(7)]
    pub paid: Amount,
    /// What the commons get: paid + commons = pool.
    #[n(8)]
    pub commons: Amount,
    /// In rising order of account, each once, none of zero; they sum to `paid`.
    #[n(9)]
    pub payouts: Vec<Paid>,
    /// The calls that this one answer was measured for, of which this evidence pays one. What was copied and what the scan
    /// found is of the call that was drawn.
    #[n(10)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<Sample>,
}

impl Canonical for Evidence {
    const TAG: &'static str = "agora/attribution-evidence/v1";
    const SIZE_MAX: usize = 512 * 1024;
}

/// RFC 6962 root over candidates, best first; a leaf is the canonical CBOR `[tag, candidate]`.
pub(crate) fn candidates_root(candidates: &[Candidate]) -> Hash {
    let leaf = |candidate: &Candidate| leaf_hash(&cbor::encode(&(CANDIDATE_TAG, candidate)));
    root(&candidates.iter().map(leaf).collect::<Vec<_>>())
}

impl Evidence {
    /// Checks every bound and order that the document alone can show. Sums and shares are level 1's.
    ///
    /// # Errors
    /// `wire.unsupported_version` for another version; `attribution.bad_evidence`.
    pub fn check(&self) -> Result<(), Code> {
        if self.version != EVIDENCE_VERSION {
            return Err(Code::WireUnsupported);
        }
        let sized = self.candidates.len() <= CANDIDATES_MAX
            && self.spans.len() <= SPANS_MAX
            && self.entries.len() <= ENTRIES_MAX
            && self.payouts.len() <= self.entries.len()
            && self.query.len() <= DIMENSION_MAX
            && (self.query.is_empty() || Vector::new(self.query.clone()).is_ok());
        let end = |span: &Span| u64::from(span.start) + u64::from(span.length);
        let inside = |span: &Span| {
            (1..=span.match_length).contains(&span.length) && end(span) <= u64::from(self.summary.output_tokens)
        };
        let ordered = self.entries.windows(2).all(|pair| pair[0].cluster < pair[1].cluster)
            && self.spans.windows(2).all(|pair| end(&pair[0]) <= u64::from(pair[1].start))
            && self.payouts.windows(2).all(|pair| pair[0].account < pair[1].account);
        let sampled = self.sample.as_ref().is_none_or(Sample::is_sound)
            && self.sample.as_ref().map(Sample::hash) == self.summary.sample_hash;
        let good = sized && ordered && sampled && self.spans.iter().all(inside);
        if good { Ok(()) } else { Err(Code::AttributionEvidence) }
    }

    /// The receipt's `influence_root`: RFC 6962 over the summary, then the entries; a leaf is the canonical CBOR
    /// `[tag, summary]` or `[tag, entry]`.
    pub fn influence_root(&self) -> Hash {
        let entry = |entry: &Entry| leaf_hash(&cbor::encode(&(ENTRY_TAG, entry)));
        let summary = leaf_hash(&cbor::encode(&(SUMMARY_TAG, &self.summary)));
        root(&std::iter::once(summary).chain(self.entries.iter().map(entry)).collect::<Vec<_>>())
    }

    /// The receipt's `verbatim_root`: RFC 6962 over the spans; a leaf is the canonical CBOR `[tag, span]`.
    pub fn verbatim_root(&self) -> Hash {
        let leaf = |span: &Span| leaf_hash(&cbor::encode(&(SPAN_TAG, span)));
        root(&self.spans.iter().map(leaf).collect::<Vec<_>>())
    }

    /// The receipt's `totals`: the payouts, or where there are more than [`MEMBERS_MAX`] the largest of them (ties to
    /// the lower account), in rising order of account. Who is not among them is paid all the same, by the entries.
    pub fn totals(&self) -> Vec<Paid> {
        let mut totals = self.payouts.clone();
        totals.sort_by_key(|paid| std::cmp::Reverse(paid.amount));
        totals.truncate(MEMBERS_MAX);
        totals.sort_unstable_by_key(|paid| paid.account);
        totals
    }

    /// What a final receipt says of a sample.
    pub fn sampled(&self) -> Option<SampledOf> {
        let sample = self.sample.as_ref()?;
        Some(SampledOf { calls: u32::try_from(sample.calls.len()).ok()?, measured: sample.drawn().leaf })
    }

    /// The same without the query vector; both roots stay.
    #[must_use]
    pub fn withheld(mut self) -> Self {
        self.query.clear();
        self
    }
}
