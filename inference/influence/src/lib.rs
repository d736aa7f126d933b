//! The heavy part of Proof of Attribution: who taught an answer, measured with the model itself.
//!
//! [`build`] reads what an adapter was taught and writes an *index*, a folder: one int8 row for each example, the curvature
//! that the rows were divided by, the table of who stands behind them, a suffix array over the texts, and the
//! [`AttributionSpec`](agora_attribution::AttributionSpec) that commits to all of it. [`Index`] opens such a folder, refuses
//! it if anything was altered, and turns an answer into a query and into
//! [`Evidence`](agora_attribution::Evidence). [`Measurer`] does this for a host, one answer after another.
//!
//! **A row** is the gradient of an example: that of its response's surprise, summed and divided by the root of its length,
//! by the numbers of the adapter in the last layers. Clipped, turned into the basis in which the curvature is diagonal,
//! divided there by the root of the curvature ([`Curvature`]), projected ([`Projection`]) and rounded. A query is the same
//! of an answer, so that the product of row and query is g^T H^-1 q: the influence of the example on the answer. What an
//! earlier example said already is not judged again in a later one's row (`first.rs`).
//!
//! Everything is computed in a fixed order: the same bits on any number of threads. What follows from rows and query is
//! whole numbers and lives in `agora_attribution`.

mod blocks;
mod build;
mod collect;
mod curvature;
mod datainf;
mod duplicates;
mod eigen;
mod everyday;
mod failure;
mod files;
mod first;
mod index;
mod measurer;
mod projection;
mod settings;
mod suffix;
mod vectors;
mod workbench;

pub use blocks::{Block, Blocks, Side};
pub use build::{Progress, Stage, Teaching, build};
pub use curvature::{Curvature, SIDE_MAX};
pub use eigen::eigen;
pub use everyday::EVERYDAY;
pub use failure::InfluenceError;
pub use index::Index;
pub use measurer::{Measurer, tokens_of};
pub use projection::{NONZEROS, Projection};
pub use settings::{CODE_VERSION, Settings};
pub use suffix::Suffixes;
pub use workbench::{Adapter, Asked, Example, Workbench};
