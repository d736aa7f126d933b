//! DataInf (arXiv 2310.00902), for comparison: the query is divided by the curvature of the examples' gradients one by one.
//!
//! It reads the gradients themselves, so its index has a file of them (magic `AGORAGRD`, version 1, numbers of a gradient,
//! gradients, then little-endian f32). The spec commits to no such file: rows and query vectors are what can be recomputed.

use crate::InfluenceError;
use crate::blocks::Blocks;
use crate::curvature::dot;
use crate::failure::{altered, bad_input};
use crate::files::{HEADER_SIZE, floats, header};

const MAGIC: &[u8; 8] = b"AGORAGRD";
/// Most bytes of the file; the method is for comparison.
pub(crate) const SIZE_MAX: u64 = 4 << 30;

/// The examples' gradients.
#[derive(Debug, Clone)]
pub(crate) struct Datainf {
    blocks: Blocks,
    gradients: Vec<f32>,
    /// For each block a tenth of the mean squared entry.
    damping: Vec<f64>,
    /// For each gradient the squared lengths of its blocks.
    squares: Vec<f64>,
}

impl Datainf {
    pub(crate) fn new(blocks: &Blocks, gradients: Vec<f32>) -> Result<Self, InfluenceError> {
        let size = blocks.size();
        if gradients.is_empty() || !gradients.len().is_multiple_of(size) || 4 * gradients.len() as u64 > SIZE_MAX {
            return Err(bad_input(format!("DataInf over {} numbers; at most 4 GiB of them", gradients.len())));
        }
        let squares: Vec<f64> = gradients
            .chunks_exact(size)
            .flat_map(|gradient| blocks.all().iter().map(|block| dot(block.of(gradient), block.of(gradient))))
            .collect();
        let count = gradients.len() / size;
        let damping = (0..blocks.all().len()).map(|at| {
            let sum: f64 = squares[at..].iter().step_by(blocks.all().len()).sum();
            sum / (count * blocks.all()[at].size()) as f64 / 10.0
        });
        Ok(Self { damping: damping.collect(), squares, blocks: blocks.clone(), gradients })
    }

    /// For each block (1 / (n * damping)) * sum_i (v - (v . g_i) / (damping + |g_i|^2) * g_i).
    #[allow(clippy::cast_possible_truncation, reason = "queries are f32")]
    pub(crate) fn apply(&self, query: &mut [f32]) {
        let (size, blocks) = (self.blocks.size(), self.blocks.all());
        let count = self.gradients.len() / size;
        for (at, block) in blocks.iter().enumerate() {
            let own = block.of(query);
            let damping = self.damping[at];
            let mut sums: Vec<f64> = own.iter().map(|number| f64::from(*number) * count as f64).collect();
            for (number, gradient) in self.gradients.chunks_exact(size).enumerate() {
                let taught = block.of(gradient);
                let factor =
                    dot(own, taught) / (damping + self.squares[number * blocks.len() + at]).max(f64::MIN_POSITIVE);
                sums.iter_mut().zip(taught).for_each(|(sum, number)| *sum -= factor * f64::from(*number));
            }
            let scale = if damping > 0.0 { (count as f64 * damping).recip() } else { 0.0 };
            let to = &mut query[block.start..][..block.size()];
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = (sum * scale) as f32);
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let (size, count) = (self.blocks.size(), self.gradients.len() / self.blocks.size());
        let mut bytes = header(MAGIC, &[size as u64, count as u64]).to_vec();
        bytes.extend(self.gradients.iter().flat_map(|number| number.to_le_bytes()));
        bytes
    }

    pub(crate) fn from_bytes(blocks: &Blocks, count: u64, bytes: &[u8]) -> Result<Self, InfluenceError> {
        let (head, numbers) =
            bytes.split_at_checked(HEADER_SIZE).ok_or_else(|| altered("the gradients are cut short"))?;
        let gradients = floats(numbers);
        let whole = (blocks.size() as u64).checked_mul(4 * count) == Some(numbers.len() as u64);
        if *head != header(MAGIC, &[blocks.size() as u64, count]) || !whole {
            return Err(altered("the gradients are of another adapter"));
        }
        match gradients.iter().all(|number| number.is_finite()) {
            true => Self::new(blocks, gradients),
            false => Err(altered("a gradient is not finite")),
        }
    }
}
