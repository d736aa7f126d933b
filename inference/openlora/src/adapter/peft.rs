//! Reads an adapter in PEFT's form: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use agora_inference_api::{AdapterInfo, EngineError};
use agora_kernels::Change;
use agora_types::{Code, Hash};
use serde::Deserialize;
use serde_json::Value;

use super::Adapter;
use super::safetensors::{self, Tensor};
use crate::failure::{bad_adapter, quoted};
use crate::model::{Role, Shape};

const NAME_SIZE_MAX: usize = 64;
const CONFIG_SIZE_MAX: u64 = 64 << 10;
const WEIGHTS_SIZE_MAX: u64 = 512 << 20;
const RANK_MAX: u64 = 256;
/// Largest factor `alpha / r`, or `alpha / sqrt(r)`.
const SCALE_MAX: f64 = 1e4;

/// What we read of the configuration. Fields that would change the arithmetic are refused below, others ignored.
#[derive(Deserialize)]
struct Config {
    peft_type: String,
    r: u64,
    lora_alpha: f64,
    target_modules: Vec<String>,
    #[serde(default)]
    use_rslora: bool,
    #[serde(default)]
    use_dora: bool,
    #[serde(default)]
    fan_in_fan_out: bool,
    #[serde(default)]
    bias: Option<String>,
    #[serde(default)]
    lora_bias: bool,
    #[serde(default)]
    rank_pattern: Value,
    #[serde(default)]
    alpha_pattern: Value,
    #[serde(default)]
    modules_to_save: Value,
}

impl Config {
    fn check(&self) -> Result<(), EngineError> {
        let empty = |value: &Value| match value {
            Value::Null => true,
            Value::Object(map) => map.is_empty(),
            Value::Array(list) => list.is_empty(),
            Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
        };
        if self.peft_type != "LORA" {
            return Err(bad_adapter(format!("the type is {}, not LORA", quoted(&self.peft_type))));
        }
        if !(1..=RANK_MAX).contains(&self.r) {
            return Err(bad_adapter(format!("a rank of {}; 1 to {RANK_MAX} is possible", self.r)));
        }
        if !self.lora_alpha.is_finite() || self.scale().abs() > SCALE_MAX {
            return Err(bad_adapter("lora_alpha is out of range"));
        }
        let bias = self.lora_bias || self.bias.as_deref().is_some_and(|bias| bias != "none");
        let patterns = !empty(&self.rank_pattern) || !empty(&self.alpha_pattern) || !empty(&self.modules_to_save);
        if self.use_dora || self.fan_in_fan_out || bias || patterns {
            return Err(bad_adapter("DoRA, biases, patterns, saved modules and turned matrices are not supported"));
        }
        if self.target_modules.is_empty() {
            return Err(bad_adapter("no target modules"));
        }
        for target in &self.target_modules {
            if !Role::ALL.iter().any(|role| role.peft().1 == target) {
                return Err(bad_adapter(format!("the target module {}", quoted(target))));
            }
        }
        Ok(())
    }

    fn scale(&self) -> f64 {
        let rank = self.r as f64;
        self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }
}

impl Adapter {
    /// Reads and checks the adapter in `folder`.
    pub(crate) fn read(shape: &Shape, name: &str, folder: &Path) -> Result<Self, EngineError> {
        let plain = |sign: u8| sign.is_ascii_alphanumeric() || b"-_.".contains(&sign);
        if name.is_empty() || name.len() > NAME_SIZE_MAX || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(bad_adapter(format!("the name {}; 1 to 64 of A-Z a-z 0-9 . _ -", quoted(name))));
        }
        let config_bytes = file(folder, "adapter_config.json", CONFIG_SIZE_MAX)?;
        let weights_bytes = file(folder, "adapter_model.safetensors", WEIGHTS_SIZE_MAX)?;
        let config: Config = serde_json::from_slice(&config_bytes)
            .map_err(|error| bad_adapter(format!("adapter_config.json: {error}")))?;
        config.check()?;
        let changes = changes(shape, &config, &weights_bytes)?;
        let mut hash = Hash::stream();
        for piece in [b"agora/adapter/v1".as_slice(), &config_bytes, &weights_bytes] {
            hash.piece(piece);
        }
        let rank = u32::try_from(config.r).map_err(|_| bad_adapter("the rank"))?;
        Ok(Self { info: AdapterInfo { name: name.to_owned(), hash: hash.finish(), rank }, changes })
    }
}

/// A whole file of the folder, which must not lead elsewhere.
fn file(folder: &Path, name: &str, size_max: u64) -> Result<Vec<u8>, EngineError> {
    let path = folder.join(name);
    let found = std::fs::symlink_metadata(&path).map_err(|error| bad_adapter(format!("{name}: {error}")))?;
    if !found.is_file() {
        return Err(bad_adapter(format!("{name} is not a plain file")));
    }
    let mut bytes = Vec::new();
    let opened = File::open(&path).and_then(|file| file.take(size_max + 1).read_to_end(&mut bytes));
    opened.map_err(|error| bad_adapter(format!("{name}: {error}")))?;
    if bytes.len() as u64 > size_max {
        return Err(EngineError::new(Code::EngineTooLarge, format!("{name} has more than {size_max} bytes")));
    }
    Ok(bytes)
}

fn changes(shape: &Shape, config: &Config, weights: &[u8]) -> Result<BTreeMap<(usize, Role), Change>, EngineError> {
    let mut halves: BTreeMap<(usize, Role), [Option<Tensor<'_>>; 2]> = BTreeMap::new();
    for (name, tensor) in safetensors::read(weights)? {
        let (layer, role, half) = parse(&name).ok_or_else(|| bad_adapter(format!("the tensor {}", quoted(&name))))?;
        if layer >= shape.layers || !config.target_modules.iter().any(|target| target == role.peft().1) {
            return Err(bad_adapter(format!("the tensor {} changes nothing of this model", quoted(&name))));
        }
        if halves.entry((layer, role)).or_default()[half].replace(tensor).is_some() {
            return Err(bad_adapter(format!("the tensor {} stands twice", quoted(&name))));
        }
    }
    if halves.is_empty() {
        return Err(bad_adapter("no tensors"));
    }
    let mut changes = BTreeMap::new();
    for ((layer, role), halves) in halves {
        let what = format!("{} of layer {layer}", role.peft().1);
        let [Some(a), Some(b)] = halves else {
            return Err(bad_adapter(format!("{what} has only one of its two matrices")));
        };
        let (rows, columns) = role.sides(shape);
        let rank = usize::try_from(config.r).map_err(|_| bad_adapter("the rank"))?;
        if (a.rows, a.columns, b.rows, b.columns) != (rank, columns, rows, rank) {
            return Err(bad_adapter(format!(
                "{what}: A is {}x{} and B is {}x{}; {rank}x{columns} and {rows}x{rank} would fit",
                a.rows, a.columns, b.rows, b.columns
            )));
        }
        let (Some(a), Some(b)) = (a.numbers(), b.numbers()) else {
            return Err(bad_adapter(format!("{what} has numbers that are not finite")));
        };
        let mut turned = vec![0.0; b.len()];
        for (row, numbers) in b.chunks_exact(rank).enumerate() {
            let row = place(shape, role, row);
            for (at, number) in numbers.iter().enumerate() {
                turned[at * rows + row] = *number;
            }
        }
        #[allow(clippy::cast_possible_truncation, reason = "bounded, and rounded like everything else")]
        let scale = config.scale() as f32;
        let change = Change::new(rank, &a, &turned, scale);
        changes.insert((layer, role), change.map_err(|error| bad_adapter(format!("{what}: {error}")))?);
    }
    Ok(changes)
}

/// Where an output of PEFT's order stands in the GGUF's: queries and keys keep the two numbers of a turned pair side by
/// side there, and half a head apart here.
fn place(shape: &Shape, role: Role, row: usize) -> usize {
    if !matches!(role, Role::Query | Role::Key) {
        return row;
    }
    let (head, inside) = (row / shape.head_size, row % shape.head_size);
    let half = shape.head_size / 2;
    head * shape.head_size + 2 * (inside % half) + inside / half
}

/// `base_model.model.model.layers.N.self_attn.q_proj.lora_A.weight`: layer, matrix, and 0 for A or 1 for B.
fn parse(name: &str) -> Option<(usize, Role, usize)> {
    let rest = name.strip_prefix("base_model.model.model.layers.")?;
    let parts: Vec<&str> = rest.split('.').collect();
    let &[layer, block, module, half, "weight"] = parts.as_slice() else { return None };
    let number: usize = layer.parse().ok()?;
    let role = Role::ALL.into_iter().find(|role| role.peft() == (block, module))?;
    let half = ["lora_A", "lora_B"].iter().position(|name| *name == half)?;
    (number.to_string() == layer).then_some((number, role, half))
}
