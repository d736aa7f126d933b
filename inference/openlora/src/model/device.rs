//! The forward pass on a device: what `forward.rs` does on the processor, in the same order, with the same bits.
//!
//! Weights lie there from the start, pages from when a sequence needs them, adapters from their first use on. A step goes
//! there as one list of tokens and comes back as the wanted logits.

use std::sync::Arc;

use agora_inference_api::EngineError;
use agora_kernels::cuda::{
    Activations, Device, DeviceError, Heads, Memory, Room, Sequence, Step, Token, adapt, add, attend, embed, gate,
    gather, multiply, remember, rms_norm, rotate,
};
use agora_types::Code;

use super::{Gate, Layer, Model, Part, Role, Shape, Turns};
use crate::adapter::Adapter;

/// What of a model lies on a device beside its matrices.
#[derive(Debug)]
pub(crate) struct Vectors {
    device: Arc<dyn Device>,
    norm: Memory,
    layers: Vec<LayerVectors>,
    turns: Memory,
    near_turns: Option<Memory>,
}

#[derive(Debug)]
struct LayerVectors {
    attention_norm: Memory,
    inner_norm: Memory,
    after_norms: Option<[Memory; 2]>,
    head_norms: Option<[Memory; 2]>,
    biases: Option<[Memory; 3]>,
}

impl Vectors {
    pub(super) fn new(
        device: &Arc<dyn Device>,
        norm: &[f32],
        layers: &[Layer],
        [turns, near_turns]: [&[f32]; 2],
    ) -> Result<Self, DeviceError> {
        let of = |numbers: &Vec<f32>| Memory::of(device, numbers);
        let layer = |layer: &Layer| {
            let pair = |pair: &Option<[Vec<f32>; 2]>| match pair {
                Some([first, second]) => Ok::<_, DeviceError>(Some([of(first)?, of(second)?])),
                None => Ok(None),
            };
            Ok(LayerVectors {
                attention_norm: of(&layer.attention_norm)?,
                inner_norm: of(&layer.inner_norm)?,
                after_norms: pair(&layer.after_norms)?,
                head_norms: pair(&layer.head_norms)?,
                biases: match &layer.biases {
                    Some([query, key, value]) => Some([of(query)?, of(key)?, of(value)?]),
                    None => None,
                },
            })
        };
        Ok(Self {
            device: Arc::clone(device),
            norm: Memory::of(device, norm)?,
            layers: layers.iter().map(layer).collect::<Result<_, DeviceError>>()?,
            turns: Memory::of(device, turns)?,
            near_turns: if near_turns.is_empty() { None } else { Some(Memory::of(device, near_turns)?) },
        })
    }

    pub(crate) fn device(&self) -> &Arc<dyn Device> {
        &self.device
    }
}

/// What a caller learns of a device that fails at run time. Without memory a smaller question may fit.
pub(crate) fn failed(error: DeviceError) -> EngineError {
    let code = match error {
        DeviceError::Memory(_) => Code::EngineBusy,
        DeviceError::Absent(_) | DeviceError::Failed { .. } => Code::EngineStopped,
    };
    EngineError::new(code, error.to_string())
}

impl Model {
    /// Copies an adapter to the model's device, if it has one and the adapter is not there.
    ///
    /// # Errors
    /// `engine.busy` without memory for it; `engine.stopped` if the device fails.
    pub(crate) fn fetch(&self, adapter: &Adapter) -> Result<(), EngineError> {
        let Some(vectors) = &self.vectors else { return Ok(()) };
        adapter.on(&vectors.device, self.shape.layers).map(drop).map_err(failed)
    }
}

/// The place of a matrix in an adapter's table.
pub(crate) fn place(layer: usize, role: Role) -> usize {
    layer * Role::ALL.len() + role as usize
}

/// The room on the device that a step computes in; kept between steps.
#[derive(Debug, Default)]
pub(super) struct DeviceStage {
    list: Room,
    state: Room,
    normal: Room,
    query: Room,
    key: Room,
    value: Room,
    mixed: Room,
    gate: Room,
    up: Room,
    out: Room,
    logits: Room,
    /// Of norms.
    sums: Room,
    /// Of attention.
    scores: [Room; 3],
    /// Of adapters.
    inner: Room,
    rows: Activations,
}

impl DeviceStage {
    /// As `Stage::run`; the logits go to `to`.
    pub(super) fn run(
        &mut self,
        model: &Model,
        vectors: &Vectors,
        parts: &mut [Part<'_>],
        to: &mut Vec<f32>,
    ) -> Result<(), DeviceError> {
        let (shape, device) = (&model.shape, &vectors.device);
        let (mut tokens, mut wanted) = (Vec::new(), Vec::new());
        for (sequence, part) in parts.iter_mut().enumerate() {
            part.cache.own(part.tokens.len());
            let positions = part.cache.positions()..;
            tokens.extend(part.tokens.iter().zip(positions).map(|(token, position)| Token {
                token: *token,
                sequence,
                position,
            }));
            wanted.extend(tokens.len() - part.wanted..tokens.len());
        }
        to.clear();
        if tokens.is_empty() {
            return Ok(());
        }
        let mut sequences = Vec::new();
        for part in parts.iter() {
            let changes = part.adapter.map(|adapter| adapter.on(device, shape.layers)).transpose()?;
            sequences.push(Sequence { pages: part.cache.pages(), changes });
        }
        let count = tokens.len();
        let step = Step::new(device, &mut self.list, &tokens, sequences, &wanted)?;
        let mut work = Work {
            model,
            vectors,
            step,
            state: self.state.make(device, count * shape.width)?,
            normal: self.normal.make(device, count * shape.width)?,
            query: self.query.make(device, count * shape.query_width())?,
            key: self.key.make(device, count * shape.key_width())?,
            value: self.value.make(device, count * shape.key_width())?,
            mixed: self.mixed.make(device, count * shape.query_width())?,
            gate: self.gate.make(device, count * shape.inner)?,
            up: self.up.make(device, count * shape.inner)?,
            out: self.out.make(device, count * shape.width)?,
            sums: &mut self.sums,
            scores: &mut self.scores,
            inner: &mut self.inner,
            rows: &mut self.rows,
        };
        work.begin()?;
        for at in 0..shape.layers {
            work.attention(at)?;
            work.inner(at)?;
        }
        to.resize(wanted.len() * shape.vocabulary, 0.0);
        if wanted.is_empty() {
            // A failure belongs to the step that it happened in.
            work.state.read(&mut [0.0])?;
        } else {
            work.head(self.logits.make(device, to.len())?)?.read(to)?;
        }
        drop(work);
        for part in parts.iter_mut() {
            part.cache.advance(part.tokens.len());
        }
        Ok(())
    }
}

/// One step.
struct Work<'a> {
    model: &'a Model,
    vectors: &'a Vectors,
    step: Step<'a>,
    state: &'a Memory,
    normal: &'a Memory,
    query: &'a Memory,
    key: &'a Memory,
    value: &'a Memory,
    mixed: &'a Memory,
    gate: &'a Memory,
    up: &'a Memory,
    out: &'a Memory,
    sums: &'a mut Room,
    scores: &'a mut [Room; 3],
    inner: &'a mut Room,
    rows: &'a mut Activations,
}

impl Work<'_> {
    fn shape(&self) -> &Shape {
        &self.model.shape
    }

    /// The tokens' embeddings, made ready for the first layer.
    fn begin(&mut self) -> Result<(), DeviceError> {
        embed(&self.step, &self.model.embedding, self.shape().family.embedding_scale, self.state)?;
        self.norm(self.state, self.step.tokens(), &self.vectors.layers[0].attention_norm)
    }

    /// Norms rows of the state, and rounds them for the next product.
    fn norm(&mut self, state: &Memory, rows: usize, weight: &Memory) -> Result<(), DeviceError> {
        rms_norm(state, rows, weight, self.model.shape.epsilon, self.sums, self.normal)?;
        self.rows.fill(self.normal, rows, self.model.shape.width)
    }

    /// The product of a layer's matrix and the rounded rows, and what the adapters add: these take the rows as they were.
    fn product(&mut self, at: usize, role: Role, x: &Memory, y: &Memory) -> Result<(), DeviceError> {
        multiply(self.rows, self.model.layers[at].matrix(role), y)?;
        let (outputs, inputs) = role.sides(&self.model.shape);
        adapt(&self.step, place(at, role), (x, inputs), self.inner, (y, outputs))
    }

    /// Adds what a part of the layer gives to the state.
    fn join(&mut self, after: Option<&Memory>) -> Result<(), DeviceError> {
        let (rows, width) = (self.step.tokens(), self.shape().width);
        if let Some(after) = after {
            rms_norm(self.out, rows, after, self.model.shape.epsilon, self.sums, self.out)?;
        }
        add(self.out, rows * width, self.state, rows * width)
    }

    fn attention(&mut self, at: usize) -> Result<(), DeviceError> {
        let (model, vectors) = (self.model, self.vectors);
        let (shape, layer, tokens) = (&model.shape, &vectors.layers[at], self.step.tokens());
        let (query, key, value) = (self.query, self.key, self.value);
        self.product(at, Role::Query, self.normal, query)?;
        self.product(at, Role::Key, self.normal, key)?;
        self.product(at, Role::Value, self.normal, value)?;
        if let Some(biases) = &layer.biases {
            let widths = [shape.query_width(), shape.key_width(), shape.key_width()];
            for ((bias, to), width) in biases.iter().zip([query, key, value]).zip(widths) {
                add(bias, width, to, tokens * width)?;
            }
        }
        if let Some([query_norm, key_norm]) = &layer.head_norms {
            rms_norm(query, tokens * shape.heads, query_norm, shape.epsilon, self.sums, query)?;
            rms_norm(key, tokens * shape.key_heads, key_norm, shape.epsilon, self.sums, key)?;
        }
        let window = shape.family.window.as_ref().filter(|window| !window.sees_all(at));
        let turns = window.and(vectors.near_turns.as_ref()).unwrap_or(&vectors.turns);
        let halves = shape.family.turns == Turns::Halves;
        rotate(&self.step, turns, (shape.heads, shape.head_size), halves, query)?;
        rotate(&self.step, turns, (shape.key_heads, shape.head_size), halves, key)?;
        let heads = Heads {
            query: shape.heads,
            key: shape.key_heads,
            before: at * shape.key_heads,
            size: shape.head_size,
            window: window.map(|window| window.positions),
            scale: shape.family.score_scale,
        };
        remember(&self.step, &heads, key, value)?;
        attend(&self.step, &heads, query, self.scores, self.mixed)?;
        self.rows.fill(self.mixed, tokens, shape.query_width())?;
        self.product(at, Role::Output, self.mixed, self.out)?;
        self.join(layer.after_norms.as_ref().map(|[after, _]| after))?;
        self.norm(self.state, tokens, &layer.inner_norm)
    }

    /// The feed-forward part, made ready for the next layer.
    fn inner(&mut self, at: usize) -> Result<(), DeviceError> {
        let (model, vectors) = (self.model, self.vectors);
        let (shape, layer, tokens) = (&model.shape, &vectors.layers[at], self.step.tokens());
        self.product(at, Role::Gate, self.normal, self.gate)?;
        self.product(at, Role::Up, self.normal, self.up)?;
        gate(shape.family.gate == Gate::Gelu, self.gate, self.up, tokens * shape.inner)?;
        self.rows.fill(self.gate, tokens, shape.inner)?;
        self.product(at, Role::Down, self.gate, self.out)?;
        self.join(layer.after_norms.as_ref().map(|[_, after]| after))?;
        match vectors.layers.get(at + 1) {
            Some(next) => self.norm(self.state, tokens, &next.attention_norm),
            None => Ok(()),
        }
    }

    /// The logits of the wanted tokens.
    fn head<'a>(&mut self, logits: &'a Memory) -> Result<&'a Memory, DeviceError> {
        let (model, count) = (self.model, self.step.wanted());
        // Nobody needs what the layers gave any more.
        gather(&self.step, self.state, model.shape.width, self.out)?;
        self.norm(self.out, count, &self.vectors.norm)?;
        multiply(self.rows, model.head.as_ref().unwrap_or(&model.embedding), logits)?;
        Ok(logits)
    }
}
