//! The numbers that describe a model, checked.

use agora_inference_api::EngineError;

use crate::failure::{bad_model, quoted, unsupported};
use crate::gguf::Header;

const LAYERS_MAX: u64 = 256;
const WIDTH_MAX: u64 = 32_768;
const INNER_MAX: u64 = 131_072;
const HEADS_MAX: u64 = 256;
const HEAD_SIZE_MAX: u64 = 512;
const VOCABULARY_MAX: usize = 1 << 20;

/// The shape of a llama.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shape {
    pub(crate) layers: usize,
    /// Numbers of a token's state.
    pub(crate) width: usize,
    /// Numbers inside the feed-forward part.
    pub(crate) inner: usize,
    pub(crate) heads: usize,
    pub(crate) key_heads: usize,
    pub(crate) head_size: usize,
    pub(crate) vocabulary: usize,
    pub(crate) epsilon: f32,
    pub(crate) rope_base: f64,
    /// Most positions.
    pub(crate) context: usize,
}

/// One of the seven matrices of a layer that an adapter may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Role {
    Query,
    Key,
    Value,
    Output,
    Gate,
    Up,
    Down,
}

impl Role {
    /// All, in the order in which a layer uses them.
    pub(crate) const ALL: [Self; 7] =
        [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// Its name in a GGUF.
    pub(crate) fn gguf(self) -> &'static str {
        match self {
            Self::Query => "attn_q",
            Self::Key => "attn_k",
            Self::Value => "attn_v",
            Self::Output => "attn_output",
            Self::Gate => "ffn_gate",
            Self::Up => "ffn_up",
            Self::Down => "ffn_down",
        }
    }

    /// Its name in PEFT, and the module that it is in.
    pub(crate) fn peft(self) -> (&'static str, &'static str) {
        match self {
            Self::Query => ("self_attn", "q_proj"),
            Self::Key => ("self_attn", "k_proj"),
            Self::Value => ("self_attn", "v_proj"),
            Self::Output => ("self_attn", "o_proj"),
            Self::Gate => ("mlp", "gate_proj"),
            Self::Up => ("mlp", "up_proj"),
            Self::Down => ("mlp", "down_proj"),
        }
    }

    /// Its outputs and inputs.
    pub(crate) fn sides(self, shape: &Shape) -> (usize, usize) {
        match self {
            Self::Query => (shape.query_width(), shape.width),
            Self::Key | Self::Value => (shape.key_width(), shape.width),
            Self::Output => (shape.width, shape.query_width()),
            Self::Gate | Self::Up => (shape.inner, shape.width),
            Self::Down => (shape.width, shape.inner),
        }
    }
}

impl Shape {
    /// Numbers of all query heads.
    pub(crate) fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Numbers of all key heads.
    pub(crate) fn key_width(&self) -> usize {
        self.key_heads * self.head_size
    }

    /// From the metadata; at most `context_max` positions.
    pub(crate) fn read(header: &Header, vocabulary: usize, context_max: usize) -> Result<Self, EngineError> {
        let architecture = header.text("general.architecture")?.ok_or_else(|| bad_model("no architecture is named"))?;
        if architecture != "llama" {
            return Err(unsupported(format!("architecture {}", quoted(architecture))));
        }
        let number = |name: &str, most: u64| {
            let number = header.unsigned(name)?.ok_or_else(|| bad_model(format!("the entry {name} is missing")))?;
            if !(1..=most).contains(&number) {
                return Err(bad_model(format!("{name} is {number}; 1 to {most} is possible")));
            }
            usize::try_from(number).map_err(|_| bad_model(name))
        };
        let width = number("llama.embedding_length", WIDTH_MAX)?;
        let heads = number("llama.attention.head_count", HEADS_MAX)?;
        let key_heads = match header.has("llama.attention.head_count_kv") {
            true => number("llama.attention.head_count_kv", HEADS_MAX)?,
            false => heads,
        };
        let head_size = match header.has("llama.attention.key_length") {
            true => number("llama.attention.key_length", HEAD_SIZE_MAX)?,
            false => width / heads,
        };
        if !heads.is_multiple_of(key_heads) || !head_size.is_multiple_of(2) || head_size == 0 {
            return Err(bad_model(format!("{heads} heads of {head_size} do not share {key_heads} key heads")));
        }
        if !head_size.is_multiple_of(16) {
            return Err(unsupported(format!("heads of {head_size} numbers, not a multiple of 16")));
        }
        if header.unsigned("llama.rope.dimension_count")?.is_some_and(|turned| turned != head_size as u64)
            || header.unsigned("llama.attention.value_length")?.is_some_and(|value| value != head_size as u64)
        {
            return Err(unsupported("heads of which only a part is turned, or of unequal sizes"));
        }
        if header.text("llama.rope.scaling.type")?.is_some_and(|kind| kind != "none") {
            return Err(unsupported("scaled positions"));
        }
        if header.unsigned("llama.expert_count")?.is_some_and(|experts| experts > 0) {
            return Err(unsupported("a mixture of experts"));
        }
        let epsilon = header.float("llama.attention.layer_norm_rms_epsilon")?;
        let epsilon = epsilon.filter(|epsilon| (0.0..1.0).contains(epsilon));
        let rope_base = header.float("llama.rope.freq_base")?.unwrap_or(10_000.0);
        if !(1.0..1e12).contains(&rope_base) {
            return Err(bad_model("llama.rope.freq_base"));
        }
        let named = header.unsigned("llama.vocab_size")?;
        if vocabulary == 0 || vocabulary > VOCABULARY_MAX || named.is_some_and(|named| named != vocabulary as u64) {
            return Err(bad_model(format!("a vocabulary of {vocabulary}")));
        }
        #[allow(clippy::cast_possible_truncation, reason = "a small number loses only digits that do not matter")]
        Ok(Self {
            layers: number("llama.block_count", LAYERS_MAX)?,
            width,
            inner: number("llama.feed_forward_length", INNER_MAX)?,
            heads,
            key_heads,
            head_size,
            vocabulary,
            epsilon: epsilon.ok_or_else(|| bad_model("llama.attention.layer_norm_rms_epsilon"))? as f32,
            rope_base,
            context: number("llama.context_length", u64::MAX)?.min(context_max),
        })
    }
}
