//! The numbers that describe a model, checked.

use std::ops::Range;

use agora_inference_api::EngineError;

use crate::failure::{bad_model, quoted, unsupported};
use crate::gguf::Header;

const LAYERS_MAX: u64 = 256;
const WIDTH_MAX: u64 = 32_768;
const INNER_MAX: u64 = 131_072;
const HEADS_MAX: u64 = 256;
const HEAD_SIZE_MAX: u64 = 512;
pub(crate) const VOCABULARY_MAX: usize = 1 << 20;
const STRETCH_MAX: f64 = 1_024.0;

/// The shape of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Shape {
    /// Layers.
    pub layers: usize,
    /// Numbers of a token's state.
    pub width: usize,
    /// Numbers inside the feed-forward part.
    pub inner: usize,
    /// Heads of a query.
    pub heads: usize,
    /// Heads of keys and values; as many queries' heads share each.
    pub key_heads: usize,
    /// Numbers of a head.
    pub head_size: usize,
    /// Tokens.
    pub vocabulary: usize,
    /// Added to the mean square where a norm divides by its root.
    pub epsilon: f32,
    /// Base of the angles.
    pub rope_base: f64,
    /// Most positions.
    pub context: usize,
    /// What the family does its own way.
    pub family: Family,
}

/// What sets the families apart beside their sides.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Queries, keys and values have a bias: `attn_q.bias` and so on.
    pub biases: bool,
    /// Each head of a query and a key is normalised before it is turned: `attn_q_norm` and `attn_k_norm`.
    pub head_norms: bool,
    /// What attention and the feed-forward part give is normalised before it is added: `post_attention_norm` and
    /// `post_ffw_norm`.
    pub after_norms: bool,
    /// Which numbers of a head turn together.
    pub turns: Turns,
    /// What the gate of the feed-forward part does.
    pub gate: Gate,
    /// Some layers look back only so far.
    pub window: Option<Window>,
    /// Positions are divided by this where a layer sees all.
    pub stretch: f64,
    /// A token's state begins as its row of the embedding times this.
    pub embedding_scale: f32,
    /// A query's product with a key is multiplied by this.
    pub score_scale: f32,
}

/// Which numbers of a head turn together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turns {
    /// Neighbours. The file's rows of queries and keys are permuted so.
    Pairs,
    /// One of each half.
    Halves,
}

/// What the gate of the feed-forward part does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// x / (1 + e^-x).
    Silu,
    /// By tanh.
    Gelu,
}

/// Layers that look back only so far.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Positions that a token sees, its own among them.
    pub positions: usize,
    /// The last layer of so many sees all.
    pub period: usize,
    /// Base of the angles where a layer does not see all; these are not stretched.
    pub rope_base: f64,
}

impl Window {
    /// Whether the layer sees all positions.
    pub fn sees_all(&self, layer: usize) -> bool {
        layer % self.period == self.period - 1
    }
}

/// One of the seven matrices of a layer that an adapter may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// From the state to queries.
    Query,
    /// From the state to keys.
    Key,
    /// From the state to values.
    Value,
    /// From what attention gives back to the state.
    Output,
    /// From the state to the gate.
    Gate,
    /// From the state to what the gate lets through.
    Up,
    /// Back to the state.
    Down,
}

impl Role {
    /// All, in the order in which a layer uses them.
    pub const ALL: [Self; 7] = [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

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
    pub fn peft(self) -> (&'static str, &'static str) {
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
    pub fn sides(self, shape: &Shape) -> (usize, usize) {
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
    pub fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Numbers of all key heads.
    pub fn key_width(&self) -> usize {
        self.key_heads * self.head_size
    }

    /// From the metadata; at most `context_max` positions.
    pub(crate) fn read(header: &Header, vocabulary: usize, context_max: usize) -> Result<Self, EngineError> {
        let architecture = header.text("general.architecture")?.ok_or_else(|| bad_model("no architecture is named"))?;
        if !["llama", "qwen2", "qwen3", "gemma3"].contains(&architecture) {
            return Err(unsupported(format!("architecture {}", quoted(architecture))));
        }
        let entries = Entries { header, architecture };
        let width = entries.number("embedding_length", WIDTH_MAX)?;
        let heads = entries.number("attention.head_count", HEADS_MAX)?;
        let key_heads = entries.number_or("attention.head_count_kv", HEADS_MAX, heads)?;
        let head_size = entries.number_or("attention.key_length", HEAD_SIZE_MAX, width / heads)?;
        if !heads.is_multiple_of(key_heads) || !head_size.is_multiple_of(2) || head_size == 0 {
            return Err(bad_model(format!("{heads} heads of {head_size} do not share {key_heads} key heads")));
        }
        if !head_size.is_multiple_of(16) {
            return Err(unsupported(format!("heads of {head_size} numbers, not a multiple of 16")));
        }
        if entries.number_or("rope.dimension_count", HEAD_SIZE_MAX, head_size)? != head_size
            || entries.number_or("attention.value_length", HEAD_SIZE_MAX, head_size)? != head_size
        {
            return Err(unsupported("heads of which only a part is turned, or of unequal sizes"));
        }
        if header.unsigned(&entries.name("expert_count"))?.is_some_and(|experts| experts > 0) {
            return Err(unsupported("a mixture of experts"));
        }
        let named = header.unsigned(&entries.name("vocab_size"))?;
        if vocabulary == 0 || vocabulary > VOCABULARY_MAX || named.is_some_and(|named| named != vocabulary as u64) {
            return Err(bad_model(format!("a vocabulary of {vocabulary}")));
        }
        let epsilon_name = "attention.layer_norm_rms_epsilon";
        let epsilon = entries.float(epsilon_name, 0.0..1.0)?.ok_or_else(|| entries.wrong(epsilon_name))?;
        let context = entries.number("context_length", u64::MAX)?.min(context_max);
        let layers = entries.number("block_count", LAYERS_MAX)?;
        #[allow(clippy::cast_possible_truncation, reason = "a small number loses only digits that do not matter")]
        Ok(Self {
            layers,
            width,
            inner: entries.number("feed_forward_length", INNER_MAX)?,
            heads,
            key_heads,
            head_size,
            vocabulary,
            epsilon: epsilon as f32,
            rope_base: entries.float("rope.freq_base", 1.0..1e12)?.unwrap_or(10_000.0),
            context,
            family: entries.family(layers, width, heads, head_size, context)?,
        })
    }
}

/// The metadata's entries of one architecture.
struct Entries<'a> {
    header: &'a Header,
    architecture: &'a str,
}

impl Entries<'_> {
    fn name(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn wrong(&self, name: &str) -> EngineError {
        bad_model(format!("the entry {} is missing or out of bounds", self.name(name)))
    }

    /// A number from one to `most`.
    fn number(&self, name: &str, most: u64) -> Result<usize, EngineError> {
        let number = self.header.unsigned(&self.name(name))?.ok_or_else(|| self.wrong(name))?;
        if !(1..=most).contains(&number) {
            return Err(bad_model(format!("{} is {number}; 1 to {most} is possible", self.name(name))));
        }
        usize::try_from(number).map_err(|_| self.wrong(name))
    }

    /// The same, if it is there.
    fn number_or(&self, name: &str, most: u64, other: usize) -> Result<usize, EngineError> {
        if self.header.has(&self.name(name)) { self.number(name, most) } else { Ok(other) }
    }

    fn float(&self, name: &str, bounds: Range<f64>) -> Result<Option<f64>, EngineError> {
        let number = self.header.float(&self.name(name))?;
        if number.is_some_and(|number| !bounds.contains(&number)) {
            return Err(self.wrong(name));
        }
        Ok(number)
    }

    fn family(
        &self,
        layers: usize,
        width: usize,
        heads: usize,
        head_size: usize,
        context: usize,
    ) -> Result<Family, EngineError> {
        let gemma = self.architecture == "gemma3";
        // Only Gemma's larger models are known to divide positions; others bend their angles, or give factors.
        let stretch = match self.header.text(&self.name("rope.scaling.type"))?.unwrap_or("none") {
            "none" => 1.0,
            "linear" if gemma => {
                let factor = self.float("rope.scaling.factor", 1.0..STRETCH_MAX)?;
                factor.ok_or_else(|| self.wrong("rope.scaling.factor"))?
            }
            _ => return Err(unsupported("scaled positions")),
        };
        if self.float("final_logit_softcapping", 0.0..1e6)?.is_some_and(|limit| limit > 0.0) {
            return Err(unsupported("limited logits"));
        }
        let positions = self.header.unsigned(&self.name("attention.sliding_window"))?.unwrap_or(0);
        let window = match usize::try_from(positions).unwrap_or(usize::MAX) {
            0 => None,
            positions if gemma => Some(Window {
                positions,
                period: self.number_or("attention.sliding_window_pattern", LAYERS_MAX, 6)?,
                rope_base: self.float("rope.freq_base_swa", 1.0..1e12)?.unwrap_or(10_000.0),
            }),
            // The whole context is inside: no difference.
            positions if positions >= context => None,
            _ => return Err(unsupported("a window shorter than the context")),
        };
        // Gemma 3 27B alone counts a head's share of the width; its file does not say so.
        let score_size = if gemma && layers == 62 { width / heads } else { head_size };
        #[allow(clippy::cast_possible_truncation, reason = "rounded to the precision of everything else")]
        Ok(Family {
            biases: self.architecture == "qwen2",
            head_norms: gemma || self.architecture == "qwen3",
            after_norms: gemma,
            turns: if self.architecture == "llama" { Turns::Pairs } else { Turns::Halves },
            gate: if gemma { Gate::Gelu } else { Gate::Silu },
            window,
            stretch,
            embedding_scale: if gemma { (width as f64).sqrt() as f32 } else { 1.0 },
            score_scale: (score_size as f64).sqrt().recip() as f32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Gate, Shape, Turns};
    use crate::gguf::{Header, Reader, Value};
    use agora_types::Code;

    /// The header of a tiny model of the family (`tests/data/families.py`).
    fn header(family: &str) -> Header {
        let path = format!("{}/tests/data/families/{family}.gguf", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        Header::read(&mut Reader::new(&mut &bytes[..], bytes.len() as u64, &mut |_| {})).unwrap()
    }

    fn shape(header: &Header) -> Result<Shape, Code> {
        Shape::read(header, 300, 4_096).map_err(|error| error.code)
    }

    fn refused(family: &str, entry: &str, value: Value) -> Option<Code> {
        let mut header = header(family);
        header.set(&format!("{family}.{entry}"), value);
        shape(&header).err()
    }

    #[test]
    fn every_family_is_told_from_the_others() {
        let [llama, qwen2, qwen3, gemma3] =
            ["llama", "qwen2", "qwen3", "gemma3"].map(|family| shape(&header(family)).unwrap());
        let sides =
            |shape: &Shape| (shape.layers, shape.width, shape.query_width(), shape.key_width(), shape.head_size);
        assert_eq!(sides(&llama), (2, 64, 64, 32, 16));
        assert_eq!(sides(&qwen2), (2, 64, 64, 32, 16));
        assert_eq!(sides(&qwen3), (2, 64, 128, 32, 32));
        assert_eq!(sides(&gemma3), (7, 32, 64, 16, 16));
        let parts = |shape: &Shape| (shape.family.biases, shape.family.head_norms, shape.family.after_norms);
        assert_eq!(parts(&llama), (false, false, false));
        assert_eq!(parts(&qwen2), (true, false, false));
        assert_eq!(parts(&qwen3), (false, true, false));
        assert_eq!(parts(&gemma3), (false, true, true));
        for shape in [&llama, &qwen2, &qwen3] {
            assert_eq!((shape.family.gate, shape.family.embedding_scale), (Gate::Silu, 1.0));
            assert_eq!((&shape.family.window, shape.family.stretch), (&None, 1.0));
        }
        assert_eq!(
            [&llama, &qwen2, &qwen3, &gemma3].map(|shape| shape.family.turns == Turns::Pairs),
            [true, false, false, false]
        );
        assert_eq!((gemma3.family.gate, gemma3.family.embedding_scale), (Gate::Gelu, 32_f32.sqrt()));
        assert_eq!(
            [&llama, &qwen3, &gemma3].map(|shape| shape.family.score_scale),
            [0.25, 32_f32.sqrt().recip(), 0.25]
        );
        assert_eq!([llama.rope_base, qwen2.rope_base, gemma3.rope_base], [1e4, 1e6, 1e6]);
        let window = gemma3.family.window.unwrap();
        assert_eq!((window.positions, window.period, window.rope_base), (16, 6, 1e4));
        let all: Vec<usize> = (0..gemma3.layers).filter(|layer| window.sees_all(*layer)).collect();
        assert_eq!(all, [5]);
    }

    #[test]
    fn numbers_out_of_bounds_are_refused() {
        let bad = Some(Code::EngineBadModel);
        for (entry, value) in [
            ("attention.sliding_window_pattern", Value::Unsigned(0)),
            ("attention.sliding_window_pattern", Value::Unsigned(1_000)),
            ("attention.sliding_window", Value::Text("16".to_owned())),
            ("rope.freq_base", Value::Float(0.5)),
            ("rope.freq_base_swa", Value::Float(f64::INFINITY)),
            ("attention.layer_norm_rms_epsilon", Value::Float(1.0)),
            ("attention.key_length", Value::Unsigned(15)),
            ("attention.key_length", Value::Unsigned(1 << 40)),
            ("block_count", Value::Unsigned(0)),
            ("final_logit_softcapping", Value::Float(-1.0)),
        ] {
            assert_eq!(refused("gemma3", entry, value.clone()), bad, "{entry} = {value:?}");
        }
        for factor in [0.0, 0.5, 1e9] {
            let mut header = header("gemma3");
            header.set("gemma3.rope.scaling.type", Value::Text("linear".to_owned()));
            assert_eq!(shape(&header).err(), bad, "a factor is missing");
            header.set("gemma3.rope.scaling.factor", Value::Float(factor));
            assert_eq!(shape(&header).err(), bad, "a factor of {factor}");
        }
    }

    #[test]
    fn what_no_family_here_does_is_said_to_be_unsupported() {
        let unsupported = Some(Code::EngineUnsupported);
        for family in ["llama", "qwen2", "qwen3"] {
            assert_eq!(refused(family, "rope.scaling.type", Value::Text("linear".to_owned())), unsupported);
            assert_eq!(refused(family, "attention.sliding_window", Value::Unsigned(64)), unsupported);
            assert_eq!(refused(family, "attention.sliding_window", Value::Unsigned(128)), None, "the whole context");
        }
        assert_eq!(refused("gemma3", "rope.scaling.type", Value::Text("yarn".to_owned())), unsupported);
        assert_eq!(refused("gemma3", "final_logit_softcapping", Value::Float(30.0)), unsupported);
        assert_eq!(refused("qwen3", "expert_count", Value::Unsigned(8)), unsupported);
        assert_eq!(refused("qwen2", "rope.dimension_count", Value::Unsigned(8)), unsupported);
    }

    #[test]
    fn the_larger_gemmas_stretch_positions_and_the_largest_scales_scores_its_own_way() {
        let mut header = header("gemma3");
        header.set("gemma3.rope.scaling.type", Value::Text("linear".to_owned()));
        header.set("gemma3.rope.scaling.factor", Value::Float(8.0));
        header.set("gemma3.block_count", Value::Unsigned(62));
        let family = shape(&header).unwrap().family;
        assert_eq!((family.stretch, family.score_scale), (8.0, 8_f32.sqrt().recip()));
    }
}
