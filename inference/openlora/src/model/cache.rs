//! Keys and values of one sequence.

use super::Shape;

/// What one sequence remembers: a key and a value per layer and position.
///
/// Belongs to one row and one adapter; nothing is shared between rows.
#[derive(Debug)]
pub(crate) struct Cache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    width: usize,
    positions: usize,
}

impl Cache {
    /// Room for `positions`; `None` if the system has no memory for it. Memory is touched as it fills.
    pub(crate) fn new(shape: &Shape, positions: usize) -> Option<Self> {
        let width = shape.key_width();
        let size = positions.checked_mul(width)?;
        let mut layers = Vec::new();
        for _ in 0..shape.layers {
            let (mut keys, mut values) = (Vec::new(), Vec::new());
            keys.try_reserve_exact(size).ok()?;
            values.try_reserve_exact(size).ok()?;
            layers.push((keys, values));
        }
        Some(Self { layers, width, positions: 0 })
    }

    /// Positions that are filled in every layer.
    pub(crate) fn positions(&self) -> usize {
        self.positions
    }

    /// Adds keys and values of the next positions to a layer.
    pub(crate) fn extend(&mut self, layer: usize, keys: &[f32], values: &[f32]) {
        self.layers[layer].0.extend_from_slice(keys);
        self.layers[layer].1.extend_from_slice(values);
    }

    /// Keys and values of a layer's first `positions`.
    pub(crate) fn layer(&self, layer: usize, positions: usize) -> (&[f32], &[f32]) {
        let (keys, values) = &self.layers[layer];
        (&keys[..positions * self.width], &values[..positions * self.width])
    }

    /// All layers have `count` positions more.
    pub(crate) fn advance(&mut self, count: usize) {
        self.positions += count;
        let size = self.positions * self.width;
        assert!(self.layers.iter().all(|(keys, _)| keys.len() == size), "every layer was extended");
    }
}
