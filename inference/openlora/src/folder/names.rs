//! The names of tensors, and what becomes of their numbers.

use agora_inference_api::EngineError;

use super::config::Config;
use crate::failure::{bad_model, quoted, unsupported};
use crate::gguf::{Rewrite, Tensor};
use crate::model::{Parts, Role, Shape};
use crate::safetensors::Place;

/// What the configuration says of the weights.
pub(crate) struct Description {
    config: Config,
}

impl Description {
    pub(super) fn new(config: Config) -> Self {
        Self { config }
    }

    /// A tensor as a GGUF would have it; `None` for one that nothing needs.
    pub(super) fn tensor(&self, place: Place, data: u64, shape: &Shape) -> Result<Option<Tensor>, EngineError> {
        // Old files keep a table of angles in each layer; a tied head is the embedding, whatever lies there.
        if place.name.ends_with(".rotary_emb.inv_freq") || (self.config.tied && place.name == "lm_head.weight") {
            return Ok(None);
        }
        let unknown = || unsupported(format!("a model with the tensor {}", quoted(&place.name)));
        let (name, rewrite) = self.name(&place.name, shape).ok_or_else(unknown)?;
        Ok(Some(Tensor {
            name,
            dimensions: place.shape.iter().rev().copied().collect(),
            format: place.format,
            // Inside the file, as its reader counted.
            start: data.saturating_add(place.start),
            size: place.size,
            rewrite,
        }))
    }

    fn name(&self, name: &str, shape: &Shape) -> Option<(String, Rewrite)> {
        let gemma = self.config.architecture == "gemma3";
        let norm = if gemma { Rewrite::AddOne } else { Rewrite::Nothing };
        match name {
            "model.embed_tokens.weight" => return Some(("token_embd.weight".to_owned(), Rewrite::Nothing)),
            "lm_head.weight" => return Some(("output.weight".to_owned(), Rewrite::Nothing)),
            "model.norm.weight" => return Some(("output_norm.weight".to_owned(), norm)),
            _ => {}
        }
        let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let (part, suffix) = rest.rsplit_once('.')?;
        let (part, rewrite) = match part {
            "input_layernorm" => ("attn_norm", norm),
            "post_attention_layernorm" => (if gemma { "post_attention_norm" } else { "ffn_norm" }, norm),
            "pre_feedforward_layernorm" if gemma => ("ffn_norm", norm),
            "post_feedforward_layernorm" if gemma => ("post_ffw_norm", norm),
            "self_attn.q_norm" => ("attn_q_norm", norm),
            "self_attn.k_norm" => ("attn_k_norm", norm),
            _ => {
                let known = |role: &Role| part.split_once('.').is_some_and(|part| role.peft() == part);
                let role = Role::ALL.into_iter().find(known)?;
                let turned = self.config.architecture == "llama" && [Role::Query, Role::Key].contains(&role);
                (role.gguf(), if turned { Rewrite::Pair(shape.head_size) } else { Rewrite::Nothing })
            }
        };
        Some((format!("blk.{layer}.{part}.{suffix}"), rewrite))
    }

    /// What no tensor says.
    pub(super) fn complete(&self, mut parts: Parts) -> Result<Parts, EngineError> {
        if !self.config.tied && !parts.has_head() {
            return Err(bad_model("tensor lm_head.weight is missing"));
        }
        if let Some(factors) = &self.config.factors {
            parts.set_factors(factors.clone());
        }
        Ok(parts)
    }
}
