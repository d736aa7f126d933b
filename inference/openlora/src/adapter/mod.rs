//! Adapters: small changes of a base model that are added while it computes, never merged into it.

mod export;
mod peft;
mod registry;
mod safetensors;
mod tuned;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use agora_inference_api::AdapterInfo;
use agora_kernels::Change;
use agora_kernels::cuda::{Changes, Device, DeviceError};
use agora_types::Hash;

use crate::model::{Role, place};

pub(crate) use export::write;
pub(crate) use peft::read_tuned;
pub(crate) use registry::{Found, Registry, Ticket};
pub use tuned::Tuned;

/// A loaded adapter. Nothing in it changes; rows hold it while they use it.
#[derive(Debug)]
pub(crate) struct Adapter {
    info: AdapterInfo,
    changes: BTreeMap<(usize, Role), Change>,
    /// The same on the model's device, from its first use on.
    copy: OnceLock<Changes>,
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

    /// Bytes in memory; as many on the model's device, once it is used there.
    pub(crate) fn size(&self) -> usize {
        self.changes.values().map(Change::size).sum()
    }

    /// What it does to a matrix, if anything.
    pub(crate) fn change(&self, layer: usize, role: Role) -> Option<&Change> {
        self.changes.get(&(layer, role))
    }

    /// What it does on the model's device, of so many layers; copied there when it is first asked for.
    ///
    /// # Errors
    /// As [`Changes::new`]; the next call tries again.
    pub(crate) fn on(&self, device: &Arc<dyn Device>, layers: usize) -> Result<&Changes, DeviceError> {
        if let Some(copy) = self.copy.get() {
            return Ok(copy);
        }
        let mut all = vec![None; layers * Role::ALL.len()];
        for ((layer, role), change) in &self.changes {
            all[place(*layer, *role)] = Some(change);
        }
        let copy = Changes::new(device, &all)?;
        // Another thread may have been faster; one copy is as good as the other.
        Ok(self.copy.get_or_init(|| copy))
    }
}
