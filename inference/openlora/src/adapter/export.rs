//! Writes an adapter in PEFT's form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, create_dir_all, remove_dir_all, rename};
use std::io::Write as _;
use std::path::Path;

use agora_inference_api::EngineError;
use serde_json::{Value, json};

use super::peft::{module, place};
use super::{Adapter, Tuned};
use crate::failure::bad_adapter;
use crate::model::Shape;

impl Adapter {
    /// As [`write`].
    pub(crate) fn write(&self, shape: &Shape, base: &str, folder: &Path) -> Result<(), EngineError> {
        let tuned = self.changes.iter().map(|((layer, role), change)| {
            let (a, b) = change.matrices();
            Tuned { layer: *layer, role: *role, rank: change.rank(), scale: change.scale(), a, b }
        });
        write(&tuned.collect::<Vec<_>>(), shape, base, folder)
    }
}

/// Writes configuration and weights as a folder that is not there yet, or is empty: both or none of them, also after a
/// crash, which leaves at most `<folder>.part` for the next attempt to remove. Read again, they compute the same bits.
pub(crate) fn write(tuned: &[Tuned], shape: &Shape, base: &str, folder: &Path) -> Result<(), EngineError> {
    let weights = safetensors(tuned, shape)?;
    let config = serde_json::to_vec_pretty(&config(tuned, base)).map_err(|error| bad_adapter(error.to_string()))?;
    let failed = |error: std::io::Error| bad_adapter(format!("{}: {error}", folder.display()));
    let mut part = folder.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    if part.exists() {
        remove_dir_all(part).map_err(failed)?;
    }
    create_dir_all(part).map_err(failed)?;
    for (name, bytes) in [("adapter_model.safetensors", weights), ("adapter_config.json", config)] {
        let mut file = File::create_new(part.join(name)).map_err(failed)?;
        file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(failed)?;
    }
    let sync = |path: &Path| File::open(path).and_then(|folder| folder.sync_all()).map_err(failed);
    sync(part)?;
    // Fails where the folder holds anything.
    rename(part, folder).map_err(failed)?;
    folder.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync)
}

/// Rank and alpha of the first module hold for all that are not named.
fn config(tuned: &[Tuned], base: &str) -> Value {
    let alpha = |change: &Tuned| f64::from(change.scale) * change.rank as f64;
    let first = tuned.first();
    let (rank, usual) = first.map_or((1, 1.0), |change| (change.rank, alpha(change)));
    let mut ranks = BTreeMap::new();
    let mut alphas = BTreeMap::new();
    let mut targets = BTreeSet::new();
    for change in tuned {
        targets.insert(change.role.peft().1);
        if change.rank != rank {
            ranks.insert(module(change.layer, change.role), change.rank);
        }
        if alpha(change).to_bits() != usual.to_bits() {
            alphas.insert(module(change.layer, change.role), alpha(change));
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

fn safetensors(tuned: &[Tuned], shape: &Shape) -> Result<Vec<u8>, EngineError> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    for change in tuned {
        let (rank, a, turned) = (change.rank, &change.a, &change.b);
        let (inputs, outputs) = (a.len() / rank, turned.len() / rank);
        let mut b = vec![0.0; turned.len()];
        for (row, numbers) in b.chunks_exact_mut(rank).enumerate() {
            let row = place(shape, change.role, row);
            for (at, number) in numbers.iter_mut().enumerate() {
                *number = turned[at * outputs + row];
            }
        }
        for (half, sides, numbers) in [("lora_A", [rank, inputs], a), ("lora_B", [outputs, rank], &b)] {
            if numbers.iter().any(|number| !number.is_finite()) {
                return Err(bad_adapter(format!("{} is too large to be written", module(change.layer, change.role))));
            }
            let name = format!("base_model.model.{}.{half}.weight", module(change.layer, change.role));
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
