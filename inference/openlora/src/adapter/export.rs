//! Writes an adapter in PEFT's form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, create_dir_all};
use std::io::Write as _;
use std::path::Path;

use agora_inference_api::EngineError;
use agora_kernels::Change;
use serde_json::{Value, json};

use super::Adapter;
use super::peft::{module, place};
use crate::failure::bad_adapter;
use crate::model::Shape;

impl Adapter {
    /// Writes configuration and weights into a folder that holds neither yet. Read again, they compute the same bits.
    pub(crate) fn write(&self, shape: &Shape, base: &str, folder: &Path) -> Result<(), EngineError> {
        let weights = self.safetensors(shape)?;
        let config = serde_json::to_vec_pretty(&self.config(base)).map_err(|error| bad_adapter(error.to_string()))?;
        let failed = |error: std::io::Error| bad_adapter(format!("{}: {error}", folder.display()));
        create_dir_all(folder).map_err(failed)?;
        for (name, bytes) in [("adapter_model.safetensors", weights), ("adapter_config.json", config)] {
            let mut file = File::create_new(folder.join(name)).map_err(failed)?;
            file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
        }
        Ok(())
    }

    /// Rank and alpha of the first module hold for all that are not named.
    fn config(&self, base: &str) -> Value {
        let alpha = |change: &Change| f64::from(change.scale()) * change.rank() as f64;
        let first = self.changes.values().next();
        let (rank, usual) = first.map_or((1, 1.0), |change| (change.rank(), alpha(change)));
        let mut ranks = BTreeMap::new();
        let mut alphas = BTreeMap::new();
        let mut targets = BTreeSet::new();
        for ((layer, role), change) in &self.changes {
            targets.insert(role.peft().1);
            if change.rank() != rank {
                ranks.insert(module(*layer, *role), change.rank());
            }
            if alpha(change).to_bits() != usual.to_bits() {
                alphas.insert(module(*layer, *role), alpha(change));
            }
        }
        json!({
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base,
            "r": rank,
            "lora_alpha": usual,
            "rank_pattern": ranks,
            "alpha_pattern": alphas,
            "target_modules": targets,
            "lora_dropout": 0.0,
            "bias": "none",
            "use_rslora": false,
            "use_dora": false,
            "fan_in_fan_out": false,
            "inference_mode": true,
        })
    }

    fn safetensors(&self, shape: &Shape) -> Result<Vec<u8>, EngineError> {
        let mut header = serde_json::Map::new();
        let mut data = Vec::new();
        for ((layer, role), change) in &self.changes {
            let (inputs, outputs) = change.sides();
            let rank = change.rank();
            let (a, turned) = change.matrices();
            let mut b = vec![0.0; turned.len()];
            for (row, numbers) in b.chunks_exact_mut(rank).enumerate() {
                let row = place(shape, *role, row);
                for (at, number) in numbers.iter_mut().enumerate() {
                    *number = turned[at * outputs + row];
                }
            }
            for (half, sides, numbers) in [("lora_A", [rank, inputs], a), ("lora_B", [outputs, rank], b)] {
                if numbers.iter().any(|number| !number.is_finite()) {
                    return Err(bad_adapter(format!("{} is too large to be written", module(*layer, *role))));
                }
                let name = format!("base_model.model.{}.{half}.weight", module(*layer, *role));
                let start = data.len();
                data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
                header.insert(name, json!({ "dtype": "F32", "shape": sides, "data_offsets": [start, data.len()] }));
            }
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        // The data begins at a multiple of eight.
        header.resize(header.len().next_multiple_of(8), b' ');
        Ok([&(header.len() as u64).to_le_bytes(), header.as_slice(), &data].concat())
    }
}
