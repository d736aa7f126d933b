//! The change of one matrix while it is trained.

use crate::model::Role;

/// The change of one matrix in plain numbers: `scale * B A`.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuned {
    /// Which layer.
    pub layer: usize,
    /// Which of its matrices.
    pub role: Role,
    /// Rows of A and of B turned around.
    pub rank: usize,
    /// What multiplies the product: alpha over the rank, or over its root.
    pub scale: f32,
    /// Row by row: `rank` rows of the inputs.
    pub a: Vec<f32>,
    /// B turned around, row by row: `rank` rows of the outputs, in the order of the base model's matrix.
    pub b: Vec<f32>,
}
