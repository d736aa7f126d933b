//! How an index is built.

use agora_attribution::{ClusterRules, Method, VerbatimRules, WHOLE};
use agora_types::Hash;

/// The code that makes rows and queries; another number behind the `+` when their bits change.
pub const CODE_VERSION: &str = concat!("agora-influence/", env!("CARGO_PKG_VERSION"), "+4");

/// How an index is built. The spec states all of it but the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How influence is measured.
    pub method: Method,
    /// First layer whose gradients count; `None`: the last third of the layers.
    pub layer_first: Option<u32>,
    /// K, entries of a row; a multiple of [`crate::NONZEROS`]. Embeddings have the model's width instead.
    pub dimension: u32,
    /// Seed of the projection.
    pub projection_seed: Hash,
    /// Damping of the curvature, millionths of a matrix's mean eigenvalue.
    pub damping_micro: u64,
    /// At which part of the adapter's strength gradients are taken, thousandths of its product.
    pub strength_milli: u32,
    /// Longest gradient before it is clipped, thousandths; `None`: four times the median of the examples' lengths.
    pub clip_milli: Option<u64>,
    /// l1 of the least squares, millionths.
    pub l1_micro: u32,
    /// What is a near-duplicate.
    pub clusters: ClusterRules,
    /// What counts as copied.
    pub verbatim: VerbatimRules,
    /// One call in so many is attributed.
    pub sample_one_in: u32,
    /// Most bytes of gradients that are kept in memory while the index is built; beyond, they go through a file.
    pub gradients_size_max: usize,
}

impl Settings {
    /// The usual settings of a method. Those that are here for comparison take gradients as they were published, at the
    /// adapter's whole strength.
    pub fn of(method: Method) -> Self {
        let own = Self::default();
        let strength_milli = if method == own.method { own.strength_milli } else { 1_000 };
        Self { method, strength_milli, ..own }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            method: Method::InfluenceEkfacNnls,
            layer_first: None,
            dimension: 4_096,
            projection_seed: Hash::sha256("agora/projection-seed/1"),
            // A few hundred examples pull in far fewer directions than an adapter has numbers, so that the mean is far below
            // what they pull with. A tenth of it, as for large data, makes rows orthogonal and explains nothing.
            damping_micro: 100_000_000,
            // At its whole strength an adapter finds nothing surprising in what it was taught: what is left of a gradient is
            // noise. Nearer to the base, answer and example are surprising for the same reason.
            strength_milli: 100,
            clip_milli: None,
            l1_micro: 50_000,
            clusters: ClusterRules { shingle_tokens: 5, jaccard_min: WHOLE / 10 * 8, cosine_min: WHOLE / 100 * 95 },
            verbatim: VerbatimRules::default(),
            sample_one_in: 1,
            gradients_size_max: 1 << 30,
        }
    }
}
