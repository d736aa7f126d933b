//! Proof of Attribution in whole numbers: from int8 gradients to shares, payouts and evidence that anyone recomputes.
//!
//! What needs a model (gradients, curvature, projection, suffix arrays) lives beside the engine and hands plain data
//! in. Everything here is integer arithmetic in a fixed order: the same bytes on any processor, however the work is
//! split.
//!
//! Read in the order of the work: [`AttributionSpec`] fixes the rules and commits to the data; [`Matrix`] and
//! [`RowTable`] are that data; [`Best`] finds the nearest rows; [`Problem`] explains the answer by them; [`spans`] says
//! what was copied; [`settle`] turns both into shares and money; [`Evidence`] keeps all of it, and
//! [`level1`] and [`level2`] check it.
//!
//! Units: one whole is 2^32 ([`WHOLE`]) wherever parts are stored or paid, and 2^30 ([`ONE`]) inside the solver.

mod attribute;
pub mod baseline;
pub mod bm25;
mod clusters;
mod evidence;
mod fixed;
mod matrix;
mod method;
mod recompute;
mod rows;
mod sample;
mod scan;
mod shares;
mod solve;
pub mod spans;
mod spec;
mod vector;

pub use agora_types::{ContributionKind as Kind, SampledOf};
pub use attribute::{Asked, Credited, Draft, Measured, Public, settle};
pub use clusters::{cosine_at_least, jaccard_at_least, owners};
pub use evidence::{Candidate, ENTRIES_MAX, EVIDENCE_VERSION, Entry, Evidence, Paid, SPANS_MAX, Span, Summary};
pub use fixed::{ONE, WHOLE, cosine, log2, split};
pub use matrix::{HEADER_SIZE, MAGIC, Matrix, file, header};
pub use method::{Method, Rule};
pub use recompute::{Difference, Place, ReceiptFields, Verdict, level1, level2, level2_from};
pub use rows::{Example, Position, ROWS_MAX, RowTable, WEIGHT_MAX};
pub use sample::{SAMPLE_MAX, Sample, Sampled};
pub use scan::{Best, Order, Scored, merge};
pub use shares::{Payout, Share, Shares, Standing, payout, shares};
pub use solve::{CANDIDATES_MAX, Credit, Problem, RIDGE_NANO, SWEEPS, Solution, Variable, WEIGHT_LIMIT};
pub use spec::{
    AttributionSpec, Calibration, ClusterRules, Commitments, DatanetRef, Gradient, SPEC_VERSION, SolverRules,
    VerbatimRules,
};
pub use vector::{DIMENSION_MAX, Row, Vector};
