//! Random adapters of the default model: rank 8 on queries and values.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use serde_json::json;

const RANK: usize = 8;
const LAYERS: usize = 30;
const WIDTH: usize = 576;
const KEYS: usize = 192;

/// Adapters in PEFT's form, and in llama.cpp's where there are peers. They go with this.
pub(super) struct Adapters {
    home: PathBuf,
    peft: Vec<PathBuf>,
    gguf: Vec<PathBuf>,
}

impl Adapters {
    pub(super) fn make(home: &Path, count: usize, peers: Option<&Path>) -> anyhow::Result<Self> {
        let mut all = Self { home: home.to_owned(), peft: Vec::new(), gguf: Vec::new() };
        for seed in 0..count {
            let folder = home.join(format!("adapter-{seed}"));
            fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
            fs::write(folder.join("adapter_config.json"), config().to_string())?;
            fs::write(folder.join("adapter_model.safetensors"), weights(seed as u64)?)?;
            if let Some(peers) = peers {
                let file = folder.join("adapter.gguf");
                let mut convert = Command::new(peers.join("lora-gguf"));
                convert.args([&folder, &file]).args(["--heads", "9", "--key-heads", "3"]);
                if !convert.status().context("starting lora-gguf")?.success() {
                    bail!("an adapter could not be turned into llama.cpp's form");
                }
                all.gguf.push(file);
            }
            all.peft.push(folder);
        }
        Ok(all)
    }

    /// All, in our form or the peers'.
    pub(super) fn paths(&self, is_ours: bool) -> &[PathBuf] {
        if is_ours { &self.peft } else { &self.gguf }
    }

    pub(super) fn path(&self, is_ours: bool, at: usize) -> Option<&Path> {
        self.paths(is_ours).get(at).map(PathBuf::as_path)
    }
}

impl Drop for Adapters {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.home));
    }
}

fn config() -> serde_json::Value {
    json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": "SmolLM2-135M-Instruct",
        "r": RANK, "lora_alpha": 16.0, "target_modules": ["q_proj", "v_proj"], "lora_dropout": 0.0, "bias": "none",
    })
}

/// A safetensors file of BF16 numbers.
fn weights(seed: u64) -> anyhow::Result<Vec<u8>> {
    let mut header = serde_json::Map::new();
    let mut data = Vec::new();
    let mut state = seed;
    let mut number = |size: f32| {
        // SplitMix64.
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let fraction = ((word ^ (word >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0;
        (fraction * size).to_bits() >> 16
    };
    for layer in 0..LAYERS {
        for (module, outputs) in [("q_proj", WIDTH), ("v_proj", KEYS)] {
            for (half, sides, size) in [("lora_A", [RANK, WIDTH], 0.04), ("lora_B", [outputs, RANK], 0.02)] {
                let start = data.len();
                for _ in 0..sides[0] * sides[1] {
                    data.extend(u16::try_from(number(size))?.to_le_bytes());
                }
                let name = format!("base_model.model.model.layers.{layer}.self_attn.{module}.{half}.weight");
                header.insert(name, json!({ "dtype": "BF16", "shape": sides, "data_offsets": [start, data.len()] }));
            }
        }
    }
    let header = serde_json::Value::Object(header).to_string().into_bytes();
    Ok([&(header.len() as u64).to_le_bytes(), header.as_slice(), &data].concat())
}
