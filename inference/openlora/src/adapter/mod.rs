//! Adapters: small changes of a base model that are added while it computes, never merged into it.

mod peft;
mod safetensors;

use std::collections::BTreeMap;

use agora_inference_api::AdapterInfo;
use agora_types::Hash;

use crate::kernels::{Simd, axpy, dot};
use crate::model::Role;

/// What an adapter does to one matrix: `y += scale * (x A^T) B^T`.
#[derive(Debug)]
pub(crate) struct Change {
    /// `rank` rows of the matrix's inputs.
    a: Vec<f32>,
    /// `rank` rows of the matrix's outputs: B, turned around.
    b: Vec<f32>,
    rank: usize,
    scale: f32,
}

impl Change {
    /// Adds the product for one row.
    pub(crate) fn add(&self, simd: Simd, x: &[f32], y: &mut [f32]) {
        for (a, b) in self.a.chunks_exact(self.a.len() / self.rank).zip(self.b.chunks_exact(self.b.len() / self.rank)) {
            axpy(simd, self.scale * dot(simd, a, x), b, y);
        }
    }
}

/// A loaded adapter. Nothing in it changes; rows hold it while they use it.
#[derive(Debug)]
pub(crate) struct Adapter {
    info: AdapterInfo,
    changes: BTreeMap<(usize, Role), Change>,
}

impl Adapter {
    /// Its name, hash and rank.
    pub(crate) fn info(&self) -> &AdapterInfo {
        &self.info
    }

    /// SHA-256 over its configuration and weights.
    pub(crate) fn hash(&self) -> Hash {
        self.info.hash
    }

    /// What it does to a matrix, if anything.
    pub(crate) fn change(&self, layer: usize, role: Role) -> Option<&Change> {
        self.changes.get(&(layer, role))
    }
}
