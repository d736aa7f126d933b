//! Adapters in PEFT's form, made from a seed.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::Random;

/// A matrix by its PEFT name: rows, columns, numbers.
pub(crate) type Tensors = BTreeMap<String, (usize, usize, Vec<f32>)>;

/// The sides of a model's matrices, as PEFT counts them.
#[derive(Clone, Copy)]
pub(crate) struct Sides {
    pub(crate) layers: usize,
    pub(crate) width: usize,
    pub(crate) keys: usize,
    pub(crate) inner: usize,
}

pub(crate) const SMOL: Sides = Sides { layers: 30, width: 576, keys: 192, inner: 1536 };

pub(crate) const ALL: [&str; 7] = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"];

/// The name of one half of a change.
pub(crate) fn name(layer: usize, module: &str, half: &str) -> String {
    let block = if ["gate_proj", "up_proj", "down_proj"].contains(&module) { "mlp" } else { "self_attn" };
    format!("base_model.model.model.layers.{layer}.{block}.{module}.lora_{half}.weight")
}

/// Random changes of these modules; `size` scales B.
pub(crate) fn tensors(sides: Sides, modules: &[&str], rank: usize, size: f32, seed: u64) -> Tensors {
    let mut random = Random(seed);
    let mut tensors = Tensors::new();
    for layer in 0..sides.layers {
        for module in modules {
            let (rows, columns) = match *module {
                "q_proj" | "o_proj" => (sides.width, sides.width),
                "k_proj" | "v_proj" => (sides.keys, sides.width),
                "down_proj" => (sides.width, sides.inner),
                _ => (sides.inner, sides.width),
            };
            let a = (0..rank * columns).map(|_| random.symmetric() / (columns as f32).sqrt()).collect();
            let b = (0..rows * rank).map(|_| random.symmetric() * size).collect();
            tensors.insert(name(layer, module, "A"), (rank, columns, a));
            tensors.insert(name(layer, module, "B"), (rows, rank, b));
        }
    }
    tensors
}

/// A configuration.
pub(crate) fn config(modules: &[&str], rank: usize, alpha: f64) -> Value {
    json!({
        "peft_type": "LORA", "r": rank, "lora_alpha": alpha, "target_modules": modules, "bias": "none",
        "base_model_name_or_path": "../../somewhere/else", "task_type": "CAUSAL_LM", "lora_dropout": 0.0,
    })
}

/// The bytes of a safetensors file.
pub(crate) fn safetensors(tensors: &Tensors) -> Vec<u8> {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut data = Vec::new();
    for (name, (rows, columns, numbers)) in tensors {
        let start = data.len();
        data.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": [rows, columns], "data_offsets": [start, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend(data);
    bytes
}

/// Writes both files into a folder.
pub(crate) fn write(folder: &Path, config: &Value, weights: &[u8]) {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("adapter_config.json"), serde_json::to_vec(config).unwrap()).unwrap();
    std::fs::write(folder.join("adapter_model.safetensors"), weights).unwrap();
}
