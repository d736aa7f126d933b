//! The attribution spec: the rules and data by which an adapter's answers are attributed, fixed at training.
//!
//! Its hash stands in every receipt, so that a host can change neither afterwards. Fractions are whole numbers with the
//! unit in the name: milli, micro, nano, or parts of 2^32.

use agora_types::{Canonical, Code, DatanetId, Hash};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fixed::WHOLE;
use crate::method::{Method, Rule};
use crate::rows::ROWS_MAX;
use crate::sample::SAMPLE_MAX;
use crate::solve::{CANDIDATES_MAX, RIDGE_NANO, SWEEPS};
use crate::vector::DIMENSION_MAX;

/// The version of this format.
pub const SPEC_VERSION: u16 = 1;
/// Most datanets, as in a receipt.
const DATANETS_MAX: usize = 16;
/// Most module names.
const MODULES_MAX: usize = 64;
/// Longest module name and code version in bytes.
const TEXT_SIZE_MAX: usize = 64;

/// A datanet version whose contributions taught the adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct DatanetRef {
    /// The datanet.
    #[n(0)]
    pub id: DatanetId,
    /// Merkle root over its contributions.
    #[n(1)]
    pub root: Hash,
    /// Number of contributions.
    #[n(2)]
    pub tree_size: u64,
}

/// How a row or query becomes an int8 vector. Methods without gradients use `dimension` and `row_scale_milli` only.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Gradient {
    /// Names of the adapted modules whose gradients count, such as `q_proj`; rising, each once.
    #[n(0)]
    pub modules: Vec<String>,
    /// First layer that counts at a call.
    #[n(1)]
    pub layer_first: u32,
    /// The layer behind the last.
    #[n(2)]
    pub layer_end: u32,
    /// Seed of the sparse sign projection.
    #[n(3)]
    pub projection_seed: Hash,
    /// K, entries of a row; 0 for methods without a matrix.
    #[n(4)]
    pub dimension: u32,
    /// Damping of the curvature, millionths of its mean eigenvalue.
    #[n(5)]
    pub damping_micro: u64,
    /// Longest gradient before it is clipped, thousandths.
    #[n(6)]
    pub clip_milli: u64,
    /// `s` of the quantisation contract (see [`crate::Row`]), thousandths.
    #[n(7)]
    pub row_scale_milli: u64,
    /// At which part of the adapter's strength gradients are taken, thousandths of its product, 1 to 1,000; 0 for methods
    /// without gradients.
    #[n(8)]
    pub strength_milli: u32,
}

/// When two examples are near-duplicates. Either is enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct ClusterRules {
    /// Tokens of a shingle; and of a run that belongs to the earliest example whose response holds it. A row is of the
    /// tokens outside such runs, and an example with next to none is a near-duplicate.
    #[n(0)]
    pub shingle_tokens: u32,
    /// Least Jaccard similarity of the shingles, parts of 2^32.
    #[n(1)]
    pub jaccard_min: u64,
    /// Least cosine of the rows, parts of 2^32.
    #[n(2)]
    pub cosine_min: u64,
}

/// The solver's numbers. All but `l1_micro` are those of version 1, stated so that a reader need not know them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct SolverRules {
    /// Weight of the sum of weights, millionths, at most 1,000,000.
    #[n(0)]
    pub l1_micro: u32,
    /// Ridge, billionths: [`RIDGE_NANO`].
    #[n(1)]
    pub ridge_nano: u32,
    /// Sweeps over the candidates: [`SWEEPS`].
    #[n(2)]
    pub sweeps: u32,
    /// Most candidates: [`CANDIDATES_MAX`].
    #[n(3)]
    pub candidates_max: u32,
    /// Bits behind the point of cosines and weights: 30.
    #[n(4)]
    pub solver_bits: u32,
    /// Bits behind the point of shares: 32.
    #[n(5)]
    pub share_bits: u32,
}

impl SolverRules {
    /// Version 1 with this l1.
    pub const fn new(l1_micro: u32) -> Self {
        // Small constants; the casts lose nothing.
        #[allow(clippy::cast_possible_truncation)]
        Self {
            l1_micro,
            ridge_nano: RIDGE_NANO,
            sweeps: SWEEPS,
            candidates_max: CANDIDATES_MAX as u32,
            solver_bits: 30,
            share_bits: 32,
        }
    }
}

/// What counts as copied; see [`crate::spans`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct VerbatimRules {
    /// Least tokens of a span.
    #[n(0)]
    pub span_tokens_min: u32,
    /// Most clusters that hold a span; m.
    #[n(1)]
    pub clusters_max: u32,
    /// Highest mean probability that the base model gives a span's tokens, parts of 2^32.
    #[n(2)]
    pub base_probability_max: u64,
    /// Cap of v, the weight of copied text in a share, parts of 2^32.
    #[n(3)]
    pub weight_max: u64,
}

impl Default for VerbatimRules {
    /// 8 tokens, 8 clusters, 0.9, 0.3; the last two rounded down.
    fn default() -> Self {
        let (base_probability_max, weight_max) = (WHOLE / 10 * 9, WHOLE / 10 * 3);
        Self { span_tokens_min: 8, clusters_max: 8, base_probability_max, weight_max }
    }
}

/// Between which explained parts the contributor pool is paid; measured for each adapter at training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Calibration {
    /// 95th percentile of the explained part over queries that the data did not teach, parts of 2^32: g = 0.
    #[n(0)]
    pub null_p95: u64,
    /// Median over queries from the data itself, parts of 2^32: g = 1. Above `null_p95`.
    #[n(1)]
    pub own_median: u64,
}

impl Calibration {
    /// g, the paid part of the contributor pool in parts of 2^32: 0 up to `null_p95`, one from `own_median` on, linear
    /// between, rounded down.
    pub fn grade(&self, explained: u64) -> u64 {
        if explained <= self.null_p95 {
            return 0;
        }
        if explained >= self.own_median {
            return WHOLE;
        }
        // null_p95 < explained < own_median, so the divisor is above zero and the quotient below 2^32.
        let part = u128::from(explained - self.null_p95) * u128::from(WHOLE);
        u64::try_from(part / u128::from(self.own_median - self.null_p95)).expect("less than one")
    }
}

/// The data, by hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Commitments {
    /// [`crate::RowTable::examples_root`].
    #[n(0)]
    pub examples_root: Hash,
    /// [`crate::RowTable::clusters_root`].
    #[n(1)]
    pub clusters_root: Hash,
    /// [`crate::Matrix::root`], for methods with a matrix.
    #[n(2)]
    pub matrix_root: Option<Hash>,
    /// Root of the suffix array over the examples' tokens; absent: no verbatim evidence.
    #[n(3)]
    pub suffix_array_root: Option<Hash>,
    /// Root of the curvature factors, for methods that have them.
    #[n(4)]
    pub curvature_root: Option<Hash>,
    /// Number of examples: rows of the matrix and of the table.
    #[n(5)]
    pub examples: u64,
}

/// The attribution spec, version 1.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct AttributionSpec {
    /// 1.
    #[n(0)]
    pub version: u16,
    /// SHA-256 of the base model's file.
    #[n(1)]
    pub base_hash: Hash,
    /// Hash of the adapter.
    #[n(2)]
    pub adapter_hash: Hash,
    /// Hash of the tokenizer.
    #[n(3)]
    pub tokenizer_hash: Hash,
    /// 1 to 16, in rising order of id, each once.
    #[n(4)]
    pub datanets: Vec<DatanetRef>,
    /// How influence is measured.
    #[n(5)]
    pub method: Method,
    /// How vectors are made.
    #[n(6)]
    pub gradient: Gradient,
    /// What is a near-duplicate.
    #[n(7)]
    pub clusters: ClusterRules,
    /// How influence is solved for.
    #[n(8)]
    pub solver: SolverRules,
    /// What counts as copied.
    #[n(9)]
    pub verbatim: VerbatimRules,
    /// What the explained part pays.
    #[n(10)]
    pub calibration: Calibration,
    /// One call in this many, at most [`SAMPLE_MAX`](crate::SAMPLE_MAX), is measured for all of them; 1: every call.
    #[n(11)]
    pub sample_one_in: u32,
    /// The code that made rows and queries.
    #[n(12)]
    pub code_version: String,
    /// The data.
    #[n(13)]
    pub commitments: Commitments,
}

impl Canonical for AttributionSpec {
    const TAG: &'static str = "agora/attribution-spec/v1";
    const SIZE_MAX: usize = 16 * 1024;
}

impl AttributionSpec {
    /// Checks every bound.
    ///
    /// # Errors
    /// `wire.unsupported_version` for another version; `attribution.bad_spec`.
    pub fn check(&self) -> Result<(), Code> {
        if self.version != SPEC_VERSION {
            return Err(Code::WireUnsupported);
        }
        let measured = self.method != Method::DeclaredWeights;
        let datanets = (1..=DATANETS_MAX).contains(&self.datanets.len())
            && self.datanets.windows(2).all(|pair| pair[0].id < pair[1].id)
            && self.datanets.iter().all(|datanet| datanet.tree_size > 0);
        let rules = self.solver == SolverRules::new(self.solver.l1_micro.min(1_000_000))
            && self.clusters.shingle_tokens > 0
            && [self.clusters.jaccard_min, self.clusters.cosine_min].iter().all(|parts| (1..=WHOLE).contains(parts))
            && self.verbatim.span_tokens_min > 0
            && self.verbatim.clusters_max > 0
            && self.verbatim.base_probability_max <= WHOLE
            && self.verbatim.weight_max <= WHOLE
            && self.calibration.null_p95 < self.calibration.own_median
            && self.calibration.own_median <= WHOLE
            && (1..=SAMPLE_MAX).contains(&(self.sample_one_in as usize))
            && is_word(&self.code_version);
        let good = measured && datanets && rules && self.gradient_fits() && self.commitments_fit();
        if good { Ok(()) } else { Err(Code::AttributionSpec) }
    }

    fn gradient_fits(&self) -> bool {
        let Gradient { modules, dimension, .. } = &self.gradient;
        let has_matrix = self.method.rule() != Rule::None;
        let sized = if has_matrix { (1..=DIMENSION_MAX).contains(&(*dimension as usize)) } else { *dimension == 0 };
        let named = modules.len() <= MODULES_MAX
            && modules.iter().all(|module| is_word(module))
            && modules.windows(2).all(|pair| pair[0] < pair[1]);
        let layered = !modules.is_empty()
            && self.gradient.layer_first < self.gradient.layer_end
            && (1..=1_000).contains(&self.gradient.strength_milli);
        sized && named && (layered || !self.method.has_gradients())
    }

    fn commitments_fit(&self) -> bool {
        let Commitments { matrix_root, curvature_root, examples, .. } = &self.commitments;
        matrix_root.is_some() == (self.method.rule() != Rule::None)
            && curvature_root.is_some() == self.method.has_curvature()
            && (1..=ROWS_MAX as u64).contains(examples)
    }
}

/// 1 to 64 visible ASCII characters.
fn is_word(text: &str) -> bool {
    (1..=TEXT_SIZE_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}
