//! A model's folder in parts, so that tests can change it.

use std::path::{Path, PathBuf};

use agora_inference_api::EngineError;
use agora_openlora::{OpenLora, Settings};
use agora_types::Hash;
use serde_json::{Value, json};
use tempfile::TempDir;

/// What the GGUFs of the tiny families have as theirs (`tests/data/families.py`).
pub(crate) const TEMPLATE: &str = "{% for message in messages %}{{ '<turn>' + message['role'] + '\\n' + \
    message['content'] + '<end>' }}{% endfor %}{{ '<turn>assistant\\n' }}";

/// Where a tiny model of the family lies.
pub(crate) fn family(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/families").join(name)
}

/// A tensor: name, type, shape, bytes.
pub(crate) type Tensor = (String, &'static str, Vec<usize>, Vec<u8>);

pub(crate) struct Folder {
    pub(crate) config: Value,
    pub(crate) tokenizer: Value,
    pub(crate) tensors: Vec<Tensor>,
    pub(crate) home: TempDir,
}

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let read = |file: &str| std::fs::read(family(name).join(file)).unwrap();
        let weights = read("model.safetensors");
        let (size, rest) = weights.split_first_chunk::<8>().unwrap();
        let (header, data) = rest.split_at(u64::from_le_bytes(*size) as usize);
        let header: serde_json::Map<String, Value> = serde_json::from_slice(header).unwrap();
        let tensors = header.into_iter().filter(|(name, _)| name != "__metadata__").map(|(name, entry)| {
            let numbers = |key: &str| {
                entry[key].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize).collect::<Vec<_>>()
            };
            let place = numbers("data_offsets");
            (name, "F16", numbers("shape"), data[place[0]..place[1]].to_vec())
        });
        Self {
            config: serde_json::from_slice(&read("config.json")).unwrap(),
            tokenizer: serde_json::from_slice(&read("tokenizer.json")).unwrap(),
            tensors: tensors.collect(),
            home: tempfile::tempdir().unwrap(),
        }
    }

    /// A tiny llama of this tokenizer.
    pub(crate) fn of_vocabulary(tokens: usize, tokenizer: Value) -> Self {
        let mut folder = Self { tokenizer, ..Self::new("llama") };
        for name in ["model.embed_tokens.weight", "lm_head.weight"] {
            let (_, _, shape, bytes) = folder.tensor(name);
            let row = bytes.len() / shape[0];
            *bytes = bytes[..row].repeat(tokens);
            shape[0] = tokens;
        }
        folder.config["vocab_size"] = json!(tokens);
        folder.config["max_position_embeddings"] = json!(4_096);
        folder
    }

    pub(crate) fn path(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn put(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), bytes).unwrap();
    }

    /// The tensor of this name.
    pub(crate) fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap()
    }

    /// Writes all but the weights.
    pub(crate) fn write_plain(&self) {
        self.put("config.json", self.config.to_string());
        self.put("tokenizer.json", self.tokenizer.to_string());
    }

    /// Writes all, the weights in one file.
    pub(crate) fn write(&self) -> &Self {
        self.write_plain();
        self.put("model.safetensors", safetensors(&self.tensors));
        self
    }

    /// Writes all, each tensor in one of `count` files.
    pub(crate) fn write_shards(&self, count: usize) {
        self.write_plain();
        let name = |at: usize| format!("model-{:05}-of-{count:05}.safetensors", at % count + 1);
        for shard in 0..count {
            let tensors = self.tensors.iter().enumerate().filter(|(at, _)| at % count == shard);
            self.put(&name(shard), safetensors(&tensors.map(|(_, tensor)| tensor.clone()).collect::<Vec<_>>()));
        }
        let map: serde_json::Map<String, Value> =
            self.tensors.iter().enumerate().map(|(at, tensor)| (tensor.0.clone(), json!(name(at)))).collect();
        self.put("model.safetensors.index.json", json!({ "metadata": {}, "weight_map": map }).to_string());
    }

    pub(crate) fn load(&self, expected: Option<Hash>) -> Result<OpenLora, EngineError> {
        load(self.path(), expected)
    }
}

pub(crate) fn load(path: &Path, expected: Option<Hash>) -> Result<OpenLora, EngineError> {
    OpenLora::load(path, expected, Settings { threads: 1, ..Settings::default() }, &mut |_| {})
}

/// A file of these tensors, one after another.
pub(crate) fn safetensors(tensors: &[Tensor]) -> Vec<u8> {
    let mut at = 0;
    let header: serde_json::Map<String, Value> = tensors
        .iter()
        .map(|(name, kind, shape, bytes)| {
            let start = at;
            at += bytes.len();
            (name.clone(), json!({ "dtype": kind, "shape": shape, "data_offsets": [start, at] }))
        })
        .collect();
    file(&Value::Object(header), &tensors.iter().flat_map(|tensor| tensor.3.iter().copied()).collect::<Vec<_>>())
}

/// A file with this header.
pub(crate) fn file(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}
