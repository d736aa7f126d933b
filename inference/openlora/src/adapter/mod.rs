//! Adapters: small changes of a base model that are added while it computes, never merged into it.

mod export;
mod peft;
mod registry;
mod safetensors;

use std::collections::BTreeMap;

use agora_inference_api::AdapterInfo;
use agora_kernels::Change;
use agora_types::Hash;

use crate::model::Role;

pub(crate) use registry::{Found, Registry, Ticket};

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

    /// Bytes in memory.
    pub(crate) fn size(&self) -> usize {
        self.changes.values().map(Change::size).sum()
    }

    /// What it does to a matrix, if anything.
    pub(crate) fn change(&self, layer: usize, role: Role) -> Option<&Change> {
        self.changes.get(&(layer, role))
    }
}
