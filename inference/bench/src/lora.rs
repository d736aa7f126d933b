//! Turns a PEFT LoRA adapter of a llama model into the tensors that llama.cpp expects.

use crate::gguf::Value;
use crate::safetensors::{self, Matrix};
use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::fs;
use std::io::{BufWriter, Write};
use std::path::Path;

/// The attention heads of the base model: they say how llama.cpp orders the rows of q and k.
#[derive(Clone, Copy)]
pub struct Heads {
    pub query: usize,
    pub key: usize,
}

#[derive(Deserialize)]
struct Config {
    r: usize,
    lora_alpha: f32,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    alpha_pattern: Option<serde_json::Map<String, serde_json::Value>>,
}

/// Reads the folder and writes the GGUF file.
pub fn convert(folder: &Path, file: &Path, heads: Heads) -> Result<()> {
    let config = folder.join("adapter_config.json");
    let config = fs::read(&config).with_context(|| format!("reading {}", config.display()))?;
    let config: Config = serde_json::from_slice(&config).context("adapter_config.json")?;
    let alpha = alpha(&config).context("adapter_config.json")?;

    let weights = folder.join("adapter_model.safetensors");
    let bytes = fs::read(&weights).with_context(|| format!("reading {}", weights.display()))?;
    let mut tensors = Vec::new();
    for (name, matrix) in safetensors::read(&bytes).with_context(|| weights.display().to_string())? {
        let tensor = rename(&name, matrix, config.r, heads).with_context(|| format!("tensor {name}"))?;
        tensors.push(tensor);
    }
    ensure!(!tensors.is_empty(), "the adapter has no tensors");

    let metadata = [
        ("general.architecture", Value::String("llama")),
        ("general.type", Value::String("adapter")),
        ("adapter.type", Value::String("lora")),
        ("adapter.lora.alpha", Value::F32(alpha)),
    ];
    let out = fs::File::create(file).with_context(|| format!("creating {}", file.display()))?;
    let mut out = BufWriter::new(out);
    crate::gguf::write(&mut out, &metadata, &tensors).with_context(|| format!("writing {}", file.display()))?;
    out.flush().with_context(|| format!("writing {}", file.display()))
}

/// The alpha to write. llama.cpp scales by alpha / rank and takes zero for "do not scale"; rslora scales by
/// alpha / sqrt(rank).
fn alpha(config: &Config) -> Result<f32> {
    ensure!(!config.use_dora, "llama.cpp has no DoRA");
    ensure!(!config.fan_in_fan_out, "fan_in_fan_out does not occur in llama models");
    ensure!(matches!(config.bias.as_deref(), None | Some("none")), "llama.cpp has no LoRA biases");
    ensure!(
        config.alpha_pattern.as_ref().is_none_or(|pattern| pattern.is_empty()),
        "one alpha per file, no alpha_pattern"
    );
    ensure!(
        config.r > 0 && config.lora_alpha > 0.0 && config.lora_alpha.is_finite(),
        "r and lora_alpha must be above zero"
    );
    Ok(if config.use_rslora { config.lora_alpha * (config.r as f32).sqrt() } else { config.lora_alpha })
}

/// `base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight` to `blk.7.attn_q.weight.lora_a`, rows permuted where
/// llama.cpp permutes the base weights.
fn rename(name: &str, matrix: Matrix, rank: usize, heads: Heads) -> Result<(String, Matrix)> {
    let path: Vec<&str> = name.split('.').collect();
    let (layer, module, half) = match path[..] {
        ["base_model", "model", "model", "layers", layer, _, module, half, "weight"]
        | ["base_model", "model", "model", "layers", layer, _, module, half, "default", "weight"] => {
            (layer, module, half)
        }
        _ => bail!("not a LoRA weight of a llama layer"),
    };
    let layer: u32 = layer.parse().with_context(|| format!("layer {layer}"))?;
    let (module, permuted) = match module {
        "q_proj" => ("attn_q", Some(heads.query)),
        "k_proj" => ("attn_k", Some(heads.key)),
        "v_proj" => ("attn_v", None),
        "o_proj" => ("attn_output", None),
        "gate_proj" => ("ffn_gate", None),
        "up_proj" => ("ffn_up", None),
        "down_proj" => ("ffn_down", None),
        other => bail!("module {other} is not one of q, k, v, o, gate, up, down"),
    };
    match half {
        "lora_A" => {
            ensure!(matrix.rows == rank, "rank {} where the configuration says {rank}", matrix.rows);
            Ok((format!("blk.{layer}.{module}.weight.lora_a"), matrix))
        }
        "lora_B" => {
            ensure!(matrix.columns == rank, "rank {} where the configuration says {rank}", matrix.columns);
            let matrix = match permuted {
                Some(heads) => permute(&matrix, heads)?,
                None => matrix,
            };
            Ok((format!("blk.{layer}.{module}.weight.lora_b"), matrix))
        }
        other => bail!("{other} is neither lora_A nor lora_B"),
    }
}

/// Within each head, interleaves the first half of the rows with the second: llama.cpp rotates neighbours (0, 1), where PEFT
/// weights rotate halves (0, d/2).
fn permute(matrix: &Matrix, heads: usize) -> Result<Matrix> {
    ensure!(heads > 0 && matrix.rows.is_multiple_of(heads * 2), "{} rows for {heads} heads", matrix.rows);
    let size = matrix.rows / heads;
    let mut values = Vec::with_capacity(matrix.values.len());
    for row in 0..matrix.rows {
        let (head, place) = (row / size, row % size);
        let from = head * size + place % 2 * (size / 2) + place / 2;
        values.extend_from_slice(&matrix.values[from * matrix.columns..(from + 1) * matrix.columns]);
    }
    Ok(Matrix { values, ..*matrix })
}

#[cfg(test)]
mod tests {
    use super::{Heads, permute, rename};
    use crate::safetensors::Matrix;

    #[test]
    fn rows_of_a_head_interleave_its_halves() {
        let matrix = Matrix { rows: 8, columns: 1, values: (0..8u8).map(f32::from).collect() };
        let permuted = permute(&matrix, 2).expect("two heads of four");
        assert_eq!(permuted.values, [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
        assert!(permute(&matrix, 3).is_err());
    }

    #[test]
    fn names_of_peft_become_names_of_llama_cpp() {
        let heads = Heads { query: 1, key: 1 };
        let matrix = || Matrix { rows: 2, columns: 2, values: vec![0.0; 4] };
        let named = |name: &str| rename(name, matrix(), 2, heads).map(|(name, _)| name);
        let q = named("base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight");
        assert_eq!(q.expect("q"), "blk.7.attn_q.weight.lora_a");
        let down = named("base_model.model.model.layers.0.mlp.down_proj.lora_B.default.weight");
        assert_eq!(down.expect("down"), "blk.0.ffn_down.weight.lora_b");
        assert!(named("base_model.model.lm_head.lora_A.weight").is_err());
        assert!(rename("base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight", matrix(), 4, heads).is_err());
    }
}
