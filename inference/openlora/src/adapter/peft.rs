//! Reads an adapter in PEFT's form: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::OnceLock;

use agora_inference_api::{AdapterInfo, EngineError};
use agora_kernels::Change;
use agora_types::{Code, Hash};
use regex::{Regex, RegexBuilder};
use serde::Deserialize;
use serde_json::Value;

use super::safetensors::{self, Tensor};
use super::{Adapter, Tuned};
use crate::failure::{bad_adapter, quoted};
use crate::model::{Role, Shape, Turns};

const NAME_SIZE_MAX: usize = 64;
const CONFIG_SIZE_MAX: u64 = 64 << 10;
const WEIGHTS_SIZE_MAX: u64 = 512 << 20;
const RANK_MAX: u64 = 256;
/// Most names and patterns, the longest in bytes, and the memory of one.
const PATTERNS_MAX: usize = 2_048;
const PATTERN_SIZE_MAX: usize = 512;
const PATTERN_MEMORY_MAX: usize = 64 << 10;
/// Largest factor `alpha / r`, or `alpha / sqrt(r)`.
const SCALE_MAX: f64 = 1e4;

/// What we read of the configuration. Fields that would change the arithmetic are refused below, others ignored.
#[derive(Deserialize)]
struct Config {
    peft_type: String,
    r: u64,
    lora_alpha: f64,
    target_modules: Targets,
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
    rank_pattern: Option<BTreeMap<String, u64>>,
    #[serde(default)]
    alpha_pattern: Option<BTreeMap<String, f64>>,
    #[serde(default)]
    modules_to_save: Value,
}

/// The names of modules, or one expression for them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Targets {
    Names(Vec<String>),
    Expression(String),
}

impl Config {
    fn parse(bytes: &[u8]) -> Result<Self, EngineError> {
        let bad = |error: serde_json::Error| bad_adapter(format!("adapter_config.json: {error}"));
        let read: Self = serde_json::from_slice(bytes).map_err(bad)?;
        read.check()?;
        Ok(read)
    }

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
        let bias = self.lora_bias || self.bias.as_deref().is_some_and(|bias| bias != "none");
        if self.use_dora || self.fan_in_fan_out || bias || !empty(&self.modules_to_save) {
            return Err(bad_adapter("DoRA, biases, saved modules and turned matrices are not supported"));
        }
        if let Targets::Names(names) = &self.target_modules {
            if names.is_empty() {
                return Err(bad_adapter("no target modules"));
            }
            for name in names {
                let last = name.rsplit('.').next().unwrap_or_default();
                if !Role::ALL.iter().any(|role| role.peft().1 == last) {
                    return Err(bad_adapter(format!("the target module {}", quoted(name))));
                }
            }
        }
        Ok(())
    }
}

/// Rank and alpha of each module, and which modules there are. PEFT matches names by their ends, and patterns as regular
/// expressions of a name's end.
struct Modules {
    rank: u64,
    alpha: f64,
    rooted: bool,
    targets: Vec<Regex>,
    ranks: Vec<(Regex, u64)>,
    alphas: Vec<(Regex, f64)>,
}

impl Modules {
    fn new(config: &Config) -> Result<Self, EngineError> {
        let count = |count: usize| match count <= PATTERNS_MAX {
            true => Ok(()),
            false => Err(bad_adapter(format!("{count} patterns; at most {PATTERNS_MAX}"))),
        };
        let (ranks, alphas) = (config.rank_pattern.as_ref(), config.alpha_pattern.as_ref());
        let targets = match &config.target_modules {
            Targets::Names(names) => {
                count(names.len())?;
                names.iter().map(|name| pattern(&regex::escape(name))).collect::<Result<_, _>>()?
            }
            Targets::Expression(all) if all == "all-linear" => Vec::new(),
            Targets::Expression(expression) => vec![expression_of(expression)?],
        };
        count(ranks.map_or(0, BTreeMap::len) + alphas.map_or(0, BTreeMap::len))?;
        let ranks = ranks.into_iter().flatten().map(|(name, rank)| Ok((pattern(name)?, *rank)));
        let alphas = alphas.into_iter().flatten().map(|(name, alpha)| Ok((pattern(name)?, *alpha)));
        Ok(Self {
            rank: config.r,
            alpha: config.lora_alpha,
            rooted: config.use_rslora,
            targets,
            ranks: ranks.collect::<Result<_, EngineError>>()?,
            alphas: alphas.collect::<Result<_, EngineError>>()?,
        })
    }

    /// Whether a module is changed at all.
    fn has(&self, module: &str) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|target| target.is_match(module))
    }

    /// Rank and scale of a module.
    fn of(&self, module: &str) -> Result<(usize, f32), EngineError> {
        let rank = self.ranks.iter().find(|(name, _)| name.is_match(module)).map_or(self.rank, |(_, rank)| *rank);
        let alpha = self.alphas.iter().find(|(name, _)| name.is_match(module)).map_or(self.alpha, |(_, alpha)| *alpha);
        let out = || bad_adapter(format!("rank {rank} or alpha of {} is out of range", quoted(module)));
        if !(1..=RANK_MAX).contains(&rank) {
            return Err(out());
        }
        let scale = alpha / if self.rooted { (rank as f64).sqrt() } else { rank as f64 };
        if !scale.is_finite() || scale.abs() > SCALE_MAX {
            return Err(out());
        }
        #[allow(clippy::cast_possible_truncation, reason = "bounded, and rounded like everything else")]
        Ok((usize::try_from(rank).map_err(|_| out())?, scale as f32))
    }
}

/// A name, or the end of one behind a dot.
fn pattern(name: &str) -> Result<Regex, EngineError> {
    expression_of(&format!(r"(?:.*\.)?(?:{name})"))
}

/// An expression for whole names. Its time is linear in the name, whatever it says.
fn expression_of(expression: &str) -> Result<Regex, EngineError> {
    let bad = || bad_adapter(format!("the pattern {}", quoted(expression)));
    if expression.len() > PATTERN_SIZE_MAX {
        return Err(bad());
    }
    let whole = format!("^(?:{expression})$");
    RegexBuilder::new(&whole).size_limit(PATTERN_MEMORY_MAX).build().map_err(|_| bad())
}

impl Adapter {
    /// Reads and checks the adapter in `folder`.
    pub(crate) fn read(shape: &Shape, name: &str, folder: &Path) -> Result<Self, EngineError> {
        let config = file(folder, "adapter_config.json", CONFIG_SIZE_MAX)?;
        let weights = file(folder, "adapter_model.safetensors", WEIGHTS_SIZE_MAX)?;
        Self::parse(shape, name, &config, &weights)
    }

    /// Checks an adapter whose two files are these.
    pub(crate) fn parse(shape: &Shape, name: &str, config: &[u8], weights: &[u8]) -> Result<Self, EngineError> {
        let plain = |sign: u8| sign.is_ascii_alphanumeric() || b"-_.".contains(&sign);
        if name.is_empty() || name.len() > NAME_SIZE_MAX || name.starts_with('.') || !name.bytes().all(plain) {
            return Err(bad_adapter(format!("the name {}; 1 to 64 of A-Z a-z 0-9 . _ -", quoted(name))));
        }
        let read = Config::parse(config)?;
        let changes = changes(shape, &read, weights)?;
        let mut hash = Hash::stream();
        for piece in [b"agora/adapter/v1".as_slice(), config, weights] {
            hash.piece(piece);
        }
        let rank = changes.values().map(Change::rank).max().unwrap_or_default();
        let rank = u32::try_from(rank).map_err(|_| bad_adapter("the rank"))?;
        let info = AdapterInfo { name: name.to_owned(), hash: hash.finish(), rank, size: 0, resident: false };
        let mut adapter = Self { info, changes, copy: OnceLock::new() };
        adapter.info.size = adapter.size() as u64;
        Ok(adapter)
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

/// Reads and checks the adapter in `folder`, as plain numbers.
pub(crate) fn read_tuned(shape: &Shape, folder: &Path) -> Result<Vec<Tuned>, EngineError> {
    let config = file(folder, "adapter_config.json", CONFIG_SIZE_MAX)?;
    let weights = file(folder, "adapter_model.safetensors", WEIGHTS_SIZE_MAX)?;
    tuned(shape, &Config::parse(&config)?, &weights)
}

fn changes(shape: &Shape, config: &Config, weights: &[u8]) -> Result<BTreeMap<(usize, Role), Change>, EngineError> {
    let tuned = tuned(shape, config, weights)?;
    let change = |tuned: Tuned| {
        let bad = |error| bad_adapter(format!("{} of layer {}: {error}", tuned.role.peft().1, tuned.layer));
        let change = Change::new(tuned.rank, &tuned.a, &tuned.b, tuned.scale).map_err(bad)?;
        Ok(((tuned.layer, tuned.role), change))
    };
    tuned.into_iter().map(change).collect()
}

fn tuned(shape: &Shape, config: &Config, weights: &[u8]) -> Result<Vec<Tuned>, EngineError> {
    let modules = Modules::new(config)?;
    let mut halves: BTreeMap<(usize, Role), [Option<Tensor<'_>>; 2]> = BTreeMap::new();
    for (name, tensor) in safetensors::read(weights)? {
        let (layer, role, half) = parse(&name).ok_or_else(|| bad_adapter(format!("the tensor {}", quoted(&name))))?;
        if layer >= shape.layers || !modules.has(&module(layer, role)) {
            return Err(bad_adapter(format!("the tensor {} changes nothing of this model", quoted(&name))));
        }
        if halves.entry((layer, role)).or_default()[half].replace(tensor).is_some() {
            return Err(bad_adapter(format!("the tensor {} stands twice", quoted(&name))));
        }
    }
    if halves.is_empty() {
        return Err(bad_adapter("no tensors"));
    }
    let mut all = Vec::new();
    for ((layer, role), halves) in halves {
        let what = format!("{} of layer {layer}", role.peft().1);
        let [Some(a), Some(b)] = halves else {
            return Err(bad_adapter(format!("{what} has only one of its two matrices")));
        };
        let (rows, columns) = role.sides(shape);
        let (rank, scale) = modules.of(&module(layer, role))?;
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
        all.push(Tuned { layer, role, rank, scale, a, b: turned });
    }
    Ok(all)
}

/// A module's name in the model that PEFT wraps.
pub(super) fn module(layer: usize, role: Role) -> String {
    format!("model.layers.{layer}.{}.{}", role.peft().0, role.peft().1)
}

/// Where an output of PEFT's order stands in the GGUF's: llamas keep the two numbers of a turned pair side by side there,
/// and half a head apart here.
pub(super) fn place(shape: &Shape, role: Role, row: usize) -> usize {
    if shape.family.turns == Turns::Halves || !matches!(role, Role::Query | Role::Key) {
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
