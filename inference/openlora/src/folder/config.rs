//! `config.json`: the numbers that describe a model, under the names that a GGUF gives them.

use std::f64::consts::TAU;

use agora_inference_api::EngineError;
use serde_json::{Map, Value as Json};

use crate::failure::{bad_model, quoted, unsupported};
use crate::gguf::{Header, Value};
use crate::model::VOCABULARY_MAX;

/// The configuration, and what of it no entry of a GGUF says.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) architecture: &'static str,
    pub(super) vocabulary: usize,
    /// The embedding is the head too.
    pub(super) tied: bool,
    /// What the angles are divided by.
    pub(super) factors: Option<Vec<f32>>,
    pub(super) begin: Option<u64>,
    pub(super) ends: Vec<u64>,
}

impl Config {
    /// Reads it and sets the header's entries.
    pub(super) fn read(bytes: &[u8], header: &mut Header) -> Result<Self, EngineError> {
        let json: Map<String, Json> =
            serde_json::from_slice(bytes).map_err(|error| bad_model(format!("config.json: {error}")))?;
        let fields = Fields(&json);
        let architecture = match fields.text("model_type")?.unwrap_or_default() {
            "llama" => "llama",
            "qwen2" => "qwen2",
            "qwen3" => "qwen3",
            "gemma3_text" => "gemma3",
            other => return Err(unsupported(format!("the model type {}", quoted(other)))),
        };
        let mut entries = Entries { header, architecture };
        entries.header.set("general.architecture", Value::Text(architecture.to_owned()));
        let gemma = architecture == "gemma3";
        fields.refuse_others(gemma)?;
        let width = fields.needed("hidden_size")?;
        let heads = fields.needed("num_attention_heads")?;
        let layers = fields.needed("num_hidden_layers")?;
        // What transformers takes where nothing is said.
        let head_size = match (fields.number("head_dim")?, architecture) {
            (None, "qwen3") => Some(128),
            (None, "gemma3") => Some(256),
            (size, _) => size,
        };
        let head_size = head_size.or(width.checked_div(heads)).ok_or_else(|| wrong("num_attention_heads"))?;
        let key_heads = match fields.number("num_key_value_heads")? {
            None if architecture == "llama" => heads,
            None => return Err(wrong("num_key_value_heads")),
            Some(key_heads) => key_heads,
        };
        for (name, number) in [
            ("block_count", layers),
            ("embedding_length", width),
            ("feed_forward_length", fields.needed("intermediate_size")?),
            ("attention.head_count", heads),
            ("attention.head_count_kv", key_heads),
            ("attention.key_length", head_size),
            ("context_length", fields.needed("max_position_embeddings")?),
        ] {
            entries.set(name, Value::Unsigned(number));
        }
        let epsilon = fields.float("rms_norm_eps")?.ok_or_else(|| wrong("rms_norm_eps"))?;
        entries.set("attention.layer_norm_rms_epsilon", Value::Float(epsilon));
        if let Some(limit) = fields.float("final_logit_softcapping")? {
            entries.set("final_logit_softcapping", Value::Float(limit));
        }
        fields.window(&mut entries, layers)?;
        let factors = fields.angles(&mut entries, head_size)?;
        if gemma {
            // As the shape counts it; 62 layers has 27B alone.
            let counted = if layers == 62 { width / heads } else { head_size };
            if fields.float("query_pre_attn_scalar")?.is_some_and(|scalar| scalar != counted as f64) {
                return Err(unsupported("config.json: this query_pre_attn_scalar"));
            }
        }
        let vocabulary = usize::try_from(fields.needed("vocab_size")?).unwrap_or(usize::MAX);
        if !(1..=VOCABULARY_MAX).contains(&vocabulary) {
            return Err(bad_model(format!("a vocabulary of {vocabulary}")));
        }
        Ok(Self {
            architecture,
            vocabulary,
            tied: fields.bool("tie_word_embeddings")?.unwrap_or(gemma),
            factors,
            begin: fields.ids("bos_token_id")?.first().copied(),
            ends: fields.ids("eos_token_id")?,
        })
    }
}

fn wrong(name: &str) -> EngineError {
    bad_model(format!("config.json: {name} is missing or has a wrong type or value"))
}

/// The header, and the architecture before its entries' names.
struct Entries<'a> {
    header: &'a mut Header,
    architecture: &'static str,
}

impl Entries<'_> {
    fn set(&mut self, name: &str, value: Value) {
        self.header.set(&format!("{}.{name}", self.architecture), value);
    }
}

/// Fields of an object. `null` is absent.
struct Fields<'a>(&'a Map<String, Json>);

impl<'a> Fields<'a> {
    fn get<T>(&self, name: &str, read: impl Fn(&'a Json) -> Option<T>) -> Result<Option<T>, EngineError> {
        let value = self.0.get(name).filter(|value| !value.is_null());
        value.map(|value| read(value).ok_or_else(|| wrong(name))).transpose()
    }

    fn number(&self, name: &str) -> Result<Option<u64>, EngineError> {
        self.get(name, Json::as_u64)
    }

    fn needed(&self, name: &str) -> Result<u64, EngineError> {
        self.number(name)?.ok_or_else(|| wrong(name))
    }

    fn float(&self, name: &str) -> Result<Option<f64>, EngineError> {
        self.get(name, Json::as_f64)
    }

    fn bool(&self, name: &str) -> Result<Option<bool>, EngineError> {
        self.get(name, Json::as_bool)
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, EngineError> {
        self.get(name, Json::as_str)
    }

    fn object(&self, name: &str) -> Result<Option<Self>, EngineError> {
        Ok(self.get(name, Json::as_object)?.map(Self))
    }

    /// One number, or a list of them.
    fn ids(&self, name: &str) -> Result<Vec<u64>, EngineError> {
        let ids = self.get(name, |value| match value {
            Json::Array(ids) => ids.iter().map(Json::as_u64).collect(),
            one => one.as_u64().map(|id| vec![id]),
        });
        Ok(ids?.unwrap_or_default())
    }

    /// Refuses what would change the arithmetic to one that is not here.
    fn refuse_others(&self, gemma: bool) -> Result<(), EngineError> {
        let act = if gemma { "hidden_activation" } else { "hidden_act" };
        let known = if gemma { "gelu_pytorch_tanh" } else { "silu" };
        if self.text(act)?.is_some_and(|act| act != known) {
            return Err(unsupported(format!("config.json: {act} is not {known}")));
        }
        if self.float("partial_rotary_factor")?.is_some_and(|part| part != 1.0) {
            return Err(unsupported("heads of which only a part is turned"));
        }
        for name in ["quantization_config", "attn_logit_softcapping"] {
            if self.0.get(name).is_some_and(|value| !value.is_null()) {
                return Err(unsupported(format!("config.json: {name}")));
            }
        }
        match self.bool("use_bidirectional_attention")? {
            Some(true) => Err(unsupported("a model that looks ahead")),
            Some(false) | None => Ok(()),
        }
    }

    /// Layers that look back only so far.
    fn window(&self, entries: &mut Entries<'_>, layers: u64) -> Result<(), EngineError> {
        let gemma = entries.architecture == "gemma3";
        let mut period = 1;
        if gemma {
            let old = self.number("_sliding_window_pattern")?;
            period = self.number("sliding_window_pattern")?.or(old).unwrap_or(6);
            entries.set("attention.sliding_window", Value::Unsigned(self.needed("sliding_window")?));
            entries.set("attention.sliding_window_pattern", Value::Unsigned(period));
        } else if self.bool("use_sliding_window")?.unwrap_or(false) {
            entries.set("attention.sliding_window", Value::Unsigned(self.needed("sliding_window")?));
            return Ok(());
        }
        let Some(types) = self.get("layer_types", Json::as_array)? else { return Ok(()) };
        let as_counted = |(at, kind): (u64, &Json)| {
            let all = at.checked_rem(period).is_some_and(|rest| rest == period - 1);
            kind == if all { "full_attention" } else { "sliding_attention" }
        };
        match types.len() as u64 == layers && (0..).zip(types).all(as_counted) {
            true => Ok(()),
            false => Err(unsupported("config.json: these layer_types")),
        }
    }

    /// Bases of the angles, and how positions are stretched; what else they are divided by.
    fn angles(&self, entries: &mut Entries<'_>, head_size: u64) -> Result<Option<Vec<f32>>, EngineError> {
        // Newer files have one object for all, or one for each kind of layer.
        let new = self.object("rope_parameters")?;
        let far = new.as_ref().map(|new| new.object("full_attention")).transpose()?.flatten();
        let near = new.as_ref().map(|new| new.object("sliding_attention")).transpose()?.flatten();
        let new = far.or(new);
        let of = |fields: Option<&Self>, name: &str| fields.map_or(Ok(None), |fields| fields.float(name));
        let gemma = entries.architecture == "gemma3";
        let base = of(new.as_ref(), "rope_theta")?.or(self.float("rope_theta")?);
        let base = base.unwrap_or(if gemma { 1e6 } else { 1e4 });
        entries.set("rope.freq_base", Value::Float(base));
        if let Some(base) = of(near.as_ref(), "rope_theta")?.or(self.float("rope_local_base_freq")?) {
            entries.set("rope.freq_base_swa", Value::Float(base));
        }
        if near.as_ref().map(Self::rope_type).transpose()?.is_some_and(|kind| kind != "default") {
            return Err(unsupported("scaled positions where a layer looks back only so far"));
        }
        let Some(scaling) = self.object("rope_scaling")?.or(new) else { return Ok(None) };
        match scaling.rope_type()? {
            "default" => Ok(None),
            "llama3" => scaling.factors(base, head_size).map(Some),
            // The shape knows which of these run.
            other => {
                entries.set("rope.scaling.type", Value::Text(other.to_owned()));
                if let Some(factor) = scaling.float("factor")? {
                    entries.set("rope.scaling.factor", Value::Float(factor));
                }
                Ok(None)
            }
        }
    }

    fn rope_type(&self) -> Result<&'a str, EngineError> {
        let old = self.text("type")?;
        Ok(self.text("rope_type")?.or(old).unwrap_or("default"))
    }

    /// Llama 3's: long waves are stretched, short ones are not, between them is a slope.
    fn factors(&self, base: f64, head_size: u64) -> Result<Vec<f32>, EngineError> {
        let above_zero = |name: &str| {
            let number = self.float(name)?.filter(|number| *number > 0.0 && *number < 1e9);
            number.ok_or_else(|| wrong(name))
        };
        let (factor, old) = (above_zero("factor")?, above_zero("original_max_position_embeddings")?);
        let (low, high) = (above_zero("low_freq_factor")?, above_zero("high_freq_factor")?);
        if high <= low || head_size > 1 << 16 {
            return Err(wrong("high_freq_factor"));
        }
        let of = |pair: u64| {
            let length = TAU * base.powf(2.0 * pair as f64 / head_size as f64);
            let smooth = (old / length - low) / (high - low);
            if length < old / high {
                1.0
            } else if length > old / low {
                factor
            } else {
                1.0 / ((1.0 - smooth) / factor + smooth)
            }
        };
        #[allow(clippy::cast_possible_truncation, reason = "a GGUF has them so")]
        Ok((0..head_size / 2).map(|pair| of(pair) as f32).collect())
    }
}
