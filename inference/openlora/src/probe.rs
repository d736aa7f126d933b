//! What fuzzers and the mutation test call: the readers of models, adapters and schemas, without an engine around them.
//!
//! A probe returns true when the bytes were read. It panics when something is wrong with what came of them: that is a bug,
//! and the reason why nothing but tests calls this module.

use std::sync::OnceLock;

use agora_inference_api::{EngineError, Request};
use agora_kernels::Pool;
use agora_types::{Code, Hash};
use serde_json::{Value, json};

use crate::adapter::Adapter;
use crate::constrain::Constrainer;
use crate::engine::load;
use crate::model::{Cache, Family, Gate, Part, Role, Shape, Stage, Turns};
use crate::sampling::Mask;
use crate::{Settings, folder};

/// A probe and its name, which is also the name of its fuzz target and of its corpus.
pub type Probe = (&'static str, fn(&[u8]) -> bool);

/// Every probe.
pub const PROBES: &[Probe] =
    &[("gguf", gguf), ("safetensors", safetensors), ("adapter_config", adapter_config), ("schema", schema)];

/// Tokens of the answer that is tried for a schema.
const TOKENS_MAX: u8 = 48;

/// A JSON schema: an answer by it, of tokens that a hash chooses, is always the beginning of a JSON document.
pub fn schema(bytes: &[u8]) -> bool {
    static CONSTRAINER: OnceLock<Constrainer> = OnceLock::new();
    // One token per byte, some longer ones, one that ends.
    const WORDS: [&[u8]; 7] = [b"\": ", b"\",\"", b"true", b"null", b"00", b"ab", "\u{e9}\"".as_bytes()];
    const END: u32 = 256 + 7;
    static SINGLE: [u8; 256] = {
        let mut all = [0; 256];
        let mut at = 0;
        while at < 256 {
            #[allow(clippy::cast_possible_truncation, reason = "below 256")]
            let byte = at as u8;
            all[at] = byte;
            at += 1;
        }
        all
    };
    let show = |token: u32| -> &'static [u8] {
        let at = token as usize;
        SINGLE.get(at..=at).or_else(|| WORDS.get(at.wrapping_sub(256)).copied()).unwrap_or_default()
    };
    let make = || Constrainer::new(END as usize + 1, show, std::iter::once(END)).expect("a small vocabulary");
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let mut constraint = match CONSTRAINER.get_or_init(make).constraint(text) {
        Ok(constraint) => constraint,
        Err(error) => {
            assert_eq!(error.code, Code::EngineBadRequest, "{error}");
            return false;
        }
    };
    let mut answer = Vec::new();
    for step in 0..TOKENS_MAX {
        let allowed: Vec<u32> = match constraint.mask() {
            Ok(Mask(words)) => (0..=END).filter(|token| words[*token as usize / 32] >> (token % 32) & 1 == 1).collect(),
            // Too complex to go on.
            Err(error) => {
                assert_eq!(error.code, Code::EngineBadRequest, "{error}");
                return true;
            }
        };
        assert!(!allowed.is_empty(), "nothing may follow {:?}", String::from_utf8_lossy(&answer));
        let chance = usize::from(Hash::sha256_of(&[bytes, &[step]]).as_bytes()[0]);
        let token = allowed[chance % allowed.len()];
        if token == END {
            return whole(&answer);
        }
        answer.extend_from_slice(show(token));
        match constraint.take(token) {
            Ok(false) => {}
            Ok(true) => return whole(&answer),
            Err(error) => {
                assert_eq!(error.code, Code::EngineBadRequest, "{error}");
                return true;
            }
        }
    }
    let cut = std::str::from_utf8(&answer).is_err_and(|error| error.error_len().is_some());
    assert!(!cut, "no text: {:?}", String::from_utf8_lossy(&answer));
    true
}

/// A whole answer is a JSON document; numbers may be beyond what the reader holds.
fn whole(answer: &[u8]) -> bool {
    let read = serde_json::from_slice::<Value>(answer);
    let out_of_range = |error: &serde_json::Error| error.to_string().starts_with("number out of range");
    assert!(read.as_ref().err().is_none_or(out_of_range), "{read:?}: {:?}", String::from_utf8_lossy(answer));
    true
}

/// A refusal has one of these codes.
fn refused(error: &EngineError, codes: &[Code]) -> bool {
    assert!(codes.contains(&error.code), "{error}");
    false
}

/// A model's file: what is read computes, on the first and the last token of its vocabulary.
pub fn gguf(bytes: &[u8]) -> bool {
    let settings = Settings { threads: 1, context_max: 64, ..Settings::default() };
    let loaded = load::file(&mut &bytes[..], bytes.len() as u64, None, &settings, &mut |_| {});
    let base = match loaded {
        Ok(base) => base,
        Err(error) => {
            return refused(&error, &[Code::EngineBadModel, Code::EngineUnsupported, Code::EngineTooLarge]);
        }
    };
    if let Err(error) = base.text.prompt(&Request::ask("hello, world", 2)) {
        refused(&error, &[Code::EngineBadRequest]);
    }
    let (model, mut cache) = (&base.model, Cache::default());
    let mut pool = Pool::new(1).expect("one thread is the caller's own");
    let last = u32::try_from(model.shape.vocabulary - 1).expect("a bounded vocabulary");
    cache.reserve(model, 2).expect("memory for two positions");
    let mut parts = [Part { tokens: &[0, last], cache: &mut cache, adapter: None, wanted: 1 }];
    let mut stage = Stage::default();
    let logits = stage.run(model, &mut pool, &mut parts).expect("no device that fails");
    assert_eq!(logits.len(), model.shape.vocabulary);
    true
}

/// The model whose adapters are probed.
const SHAPE: Shape = Shape {
    layers: 2,
    width: 32,
    inner: 64,
    heads: 2,
    key_heads: 1,
    head_size: 16,
    vocabulary: 4,
    epsilon: 1e-5,
    rope_base: 10_000.0,
    context: 64,
    family: Family {
        biases: false,
        head_norms: false,
        after_norms: false,
        turns: Turns::Pairs,
        gate: Gate::Silu,
        window: None,
        stretch: 1.0,
        embedding_scale: 1.0,
        score_scale: 0.25,
    },
};

/// An adapter that is read is what it says.
fn adapter(config: &[u8], weights: &[u8]) -> bool {
    match Adapter::parse(&SHAPE, "probe", config, weights) {
        Ok(adapter) => {
            let changes = Role::ALL.into_iter().flat_map(|role| (0..SHAPE.layers).map(move |layer| (layer, role)));
            let changes: Vec<_> =
                changes.filter_map(|(layer, role)| Some((role, adapter.change(layer, role)?))).collect();
            assert!(!changes.is_empty(), "an adapter changes something");
            for (role, change) in changes {
                let (outputs, inputs) = role.sides(&SHAPE);
                assert_eq!(change.sides(), (inputs, outputs), "{role:?}");
                assert!(change.rank() as u64 <= u64::from(adapter.info().rank), "{role:?}");
            }
            true
        }
        Err(error) => refused(&error, &[Code::EngineBadAdapter]),
    }
}

/// A safetensors file: an adapter's weights, or a model's.
pub fn safetensors(bytes: &[u8]) -> bool {
    const CONFIG: &[u8] =
        br#"{"peft_type":"LORA","r":2,"lora_alpha":4,"target_modules":["q_proj","v_proj","down_proj"]}"#;
    let model = match folder::places(bytes) {
        Ok(places) => {
            let size: u64 = places.iter().map(|place| place.size).sum();
            assert!(size < bytes.len() as u64, "tensors lie behind the header");
            true
        }
        Err(error) => refused(&error, &[Code::EngineBadModel, Code::EngineUnsupported]),
    };
    adapter(CONFIG, bytes) || model
}

/// An adapter's configuration, beside weights of queries and values.
pub fn adapter_config(bytes: &[u8]) -> bool {
    static WEIGHTS: OnceLock<Vec<u8>> = OnceLock::new();
    adapter(bytes, WEIGHTS.get_or_init(weights))
}

/// Rank 2 in F16, all ones.
fn weights() -> Vec<u8> {
    let (mut header, mut count) = (serde_json::Map::new(), 0);
    for layer in 0..SHAPE.layers {
        for role in [Role::Query, Role::Value] {
            let ((outputs, inputs), (block, module)) = (role.sides(&SHAPE), role.peft());
            for (half, sides) in [("A", [2, inputs]), ("B", [outputs, 2])] {
                let end = count + sides[0] * sides[1];
                let name = format!("base_model.model.model.layers.{layer}.{block}.{module}.lora_{half}.weight");
                header.insert(name, json!({"dtype": "F16", "shape": sides, "data_offsets": [2 * count, 2 * end]}));
                count = end;
            }
        }
    }
    let header = Value::Object(header).to_string();
    let size = header.len() as u64;
    let data = [0x00, 0x3C].repeat(count);
    [size.to_le_bytes().as_slice(), header.as_bytes(), &data].concat()
}
