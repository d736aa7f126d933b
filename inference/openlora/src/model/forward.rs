//! One step of a ragged batch: any tokens of any sequences, each with its own adapter.
//!
//! A layer is a few phases, each shared among the threads: products by outputs, everything else by tokens.

use std::ops::Range;
use std::sync::Arc;

use agora_kernels::{
    Filling, Group, Pool, Rows, Split, add, attend, gate, gate_gelu, multiply, rms_norm, rms_norm_own, rotate,
    rotate_halves, scale,
};

use agora_inference_api::EngineError;

use super::device::DeviceStage;
use super::{Cache, Gate, Layer, Model, Role, Shape, Turns, failed};
use crate::adapter::Adapter;

/// Neighbouring tokens of one adapter that one task handles.
const TOGETHER: usize = 4;

/// What one sequence contributes to a step: its next tokens, for which its cache has room.
pub(crate) struct Part<'a> {
    pub(crate) tokens: &'a [u32],
    pub(crate) cache: &'a mut Cache,
    pub(crate) adapter: Option<&'a Arc<Adapter>>,
    /// Logits are wanted for this many of its last tokens.
    pub(crate) wanted: usize,
}

/// The room that a step computes in; kept between steps.
#[derive(Debug, Default)]
pub(crate) struct Stage {
    state: Vec<f32>,
    normal: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    mixed: Vec<f32>,
    gate: Vec<f32>,
    up: Vec<f32>,
    out: Vec<f32>,
    rows: Rows,
    logits: Vec<f32>,
    /// Where the model is on a device.
    device: DeviceStage,
}

/// Where a token of the step stands.
struct Place {
    token: u32,
    part: usize,
    position: usize,
}

/// Tokens of one task, and their adapter.
struct Task<'a> {
    tokens: Range<usize>,
    adapter: Option<&'a Adapter>,
}

impl Task<'_> {
    /// Adds the adapter's own product, if it changes this matrix.
    fn adapt(&self, model: &Model, layer: usize, role: Role, x: &[f32], y: &mut [f32]) {
        if let Some(change) = self.adapter.and_then(|adapter| adapter.change(layer, role)) {
            change.add(model.simd, x, y);
        }
    }
}

impl Stage {
    /// Runs the parts; the logits of the wanted tokens, one row of the vocabulary each, in order.
    ///
    /// A token's numbers depend on its own sequence only, never on the other parts nor on how a prompt is cut, nor on the
    /// device.
    ///
    /// # Errors
    /// `engine.busy` if a device has no memory for it; `engine.stopped` if it fails. The parts' caches have not advanced.
    pub(crate) fn run(
        &mut self,
        model: &Model,
        pool: &mut Pool,
        parts: &mut [Part<'_>],
    ) -> Result<&[f32], EngineError> {
        if let Some(vectors) = &model.vectors {
            self.device.run(model, vectors, parts, &mut self.logits).map_err(failed)?;
            return Ok(&self.logits);
        }
        let shape = &model.shape;
        let mut places = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let positions = part.cache.positions()..;
            places.extend(part.tokens.iter().zip(positions).map(|(token, position)| Place {
                token: *token,
                part: at,
                position,
            }));
        }
        let adapters: Vec<Option<&Arc<Adapter>>> = parts.iter().map(|part| part.adapter).collect();
        let mut tasks = cut(&places, &adapters);
        self.resize(shape, places.len());
        self.begin(model, pool, &places, &tasks);
        for (at, layer) in model.layers.iter().enumerate() {
            self.project(model, pool, parts, &places, &tasks, at, layer);
            if at + 1 == model.layers.len() {
                // Of the last layer, the other tokens leave keys and values only.
                places = self.keep_wanted(shape, parts, places);
                tasks = cut(&places, &adapters);
                if places.is_empty() {
                    break;
                }
            }
            self.attention(model, pool, parts, &places, &tasks, at, layer);
            self.inner(model, pool, &tasks, at, layer);
        }
        for part in parts.iter_mut() {
            part.cache.advance(part.tokens.len());
        }
        Ok(self.head(model, pool))
    }

    /// Keeps the queries and states of the wanted tokens.
    fn keep_wanted(&mut self, shape: &Shape, parts: &[Part<'_>], places: Vec<Place>) -> Vec<Place> {
        let first = |part: &Part<'_>| part.cache.positions() + part.tokens.len() - part.wanted;
        let mut kept = Vec::new();
        for (token, place) in places.into_iter().enumerate() {
            if place.position >= first(&parts[place.part]) {
                for (buffer, width) in [(&mut self.query, shape.query_width()), (&mut self.state, shape.width)] {
                    buffer.copy_within(token * width..(token + 1) * width, kept.len() * width);
                }
                kept.push(place);
            }
        }
        self.resize(shape, kept.len());
        kept
    }

    fn resize(&mut self, shape: &Shape, tokens: usize) {
        for (buffer, width) in [
            (&mut self.state, shape.width),
            (&mut self.normal, shape.width),
            (&mut self.query, shape.query_width()),
            (&mut self.key, shape.key_width()),
            (&mut self.value, shape.key_width()),
            (&mut self.mixed, shape.query_width()),
            (&mut self.gate, shape.inner),
            (&mut self.up, shape.inner),
            (&mut self.out, shape.width),
        ] {
            buffer.resize(tokens * width, 0.0);
        }
    }

    /// The tokens' embeddings, made ready for the first layer.
    fn begin(&mut self, model: &Model, pool: &mut Pool, places: &[Place], tasks: &[Task<'_>]) {
        let shape = &model.shape;
        let state = Split::new(&mut self.state, shape.width);
        let norm = Norm::new(model, &model.layers[0].attention_norm, &mut self.normal, &mut self.rows);
        pool.run(tasks.len(), &|task| {
            let tokens = tasks[task].tokens.clone();
            let state = state.take_all(tokens.clone());
            for (place, state) in places[tokens.clone()].iter().zip(state.chunks_exact_mut(shape.width)) {
                model.embedding.row(place.token as usize, state);
            }
            if shape.family.embedding_scale.to_bits() != 1.0_f32.to_bits() {
                scale(model.simd, state, shape.family.embedding_scale);
            }
            norm.run(tokens, state);
        });
    }

    /// Queries, and the keys and values that the caches keep.
    #[allow(clippy::too_many_arguments, reason = "the parts of one step")]
    fn project(
        &mut self,
        model: &Model,
        pool: &mut Pool,
        parts: &mut [Part<'_>],
        places: &[Place],
        tasks: &[Task<'_>],
        at: usize,
        layer: &Layer,
    ) {
        let (shape, simd) = (&model.shape, model.simd);
        let jobs = &mut [
            (layer.matrix(Role::Query), self.query.as_mut_slice()),
            (layer.matrix(Role::Key), self.key.as_mut_slice()),
            (layer.matrix(Role::Value), self.value.as_mut_slice()),
        ];
        multiply(pool, simd, &self.rows, jobs);
        let query = Split::new(&mut self.query, shape.query_width());
        let key = Split::new(&mut self.key, shape.key_width());
        let value = Split::new(&mut self.value, shape.key_width());
        let normal = &self.normal;
        pool.run(tasks.len(), &|task| {
            let task = &tasks[task];
            let tokens = task.tokens.clone();
            let x = rows(normal, shape.width, &tokens);
            let (query, key) = (query.take_all(tokens.clone()), key.take_all(tokens.clone()));
            task.adapt(model, at, Role::Query, x, query);
            task.adapt(model, at, Role::Key, x, key);
            let value = value.take_all(tokens.clone());
            task.adapt(model, at, Role::Value, x, value);
            if let Some(biases) = &layer.biases {
                for (bias, rows) in biases.iter().zip([&mut *query, &mut *key, &mut *value]) {
                    rows.chunks_exact_mut(bias.len()).for_each(|row| add(simd, bias, row));
                }
            }
            if let Some([query_norm, key_norm]) = &layer.head_norms {
                rms_norm_own(simd, query, query_norm, shape.epsilon);
                rms_norm_own(simd, key, key_norm, shape.epsilon);
            }
            let turn = if shape.family.turns == Turns::Pairs { rotate } else { rotate_halves };
            let each = query.chunks_exact_mut(shape.query_width()).zip(key.chunks_exact_mut(shape.key_width()));
            for (place, (query, key)) in places[tokens].iter().zip(each) {
                let turns = model.turns(at, place.position);
                turn(simd, query, turns);
                turn(simd, key, turns);
            }
        });
        let mut firsts = vec![0; parts.len()];
        for (token, place) in places.iter().enumerate().rev() {
            firsts[place.part] = token;
        }
        let (key, value, count) = (&self.key, &self.value, parts.len());
        let split = Split::new(parts, 1);
        pool.run(count, &|part| {
            let first = firsts[part];
            for part in split.take(part) {
                let tokens = first..first + part.tokens.len();
                let (key, value) = (rows(key, shape.key_width(), &tokens), rows(value, shape.key_width(), &tokens));
                part.cache.write(simd, shape, at, key, value);
            }
        });
    }

    /// What the tokens see, made ready for the feed-forward part.
    #[allow(clippy::too_many_arguments, reason = "the parts of one step")]
    fn attention(
        &mut self,
        model: &Model,
        pool: &mut Pool,
        parts: &[Part<'_>],
        places: &[Place],
        tasks: &[Task<'_>],
        at: usize,
        layer: &Layer,
    ) {
        let (shape, simd) = (&model.shape, model.simd);
        let group = shape.heads / shape.key_heads * shape.head_size;
        let query = &self.query;
        let mixed = Split::new(&mut self.mixed, group);
        pool.run(places.len() * shape.key_heads, &|task| {
            let (token, key_head) = (task / shape.key_heads, task % shape.key_heads);
            let place = &places[token];
            let seen = Group {
                pages: parts[place.part].cache.pages(),
                head: at * shape.key_heads + key_head,
                size: shape.head_size,
                first: model.first_seen(at, place.position),
                end: place.position + 1,
                scale: shape.family.score_scale,
            };
            attend(simd, &query[task * group..][..group], &seen, &mut Vec::new(), mixed.take(task));
        });
        self.rows.fill(pool, simd, &self.mixed, shape.query_width());
        multiply(pool, simd, &self.rows, &mut [(layer.matrix(Role::Output), &mut self.out)]);
        let (mixed, out) = (&self.mixed, Split::new(&mut self.out, shape.width));
        let state = Split::new(&mut self.state, shape.width);
        let norm = Norm::new(model, &layer.inner_norm, &mut self.normal, &mut self.rows);
        pool.run(tasks.len(), &|task| {
            let task = &tasks[task];
            let tokens = task.tokens.clone();
            let (out, state) = (out.take_all(tokens.clone()), state.take_all(tokens.clone()));
            task.adapt(model, at, Role::Output, rows(mixed, shape.query_width(), &tokens), out);
            if let Some([after, _]) = &layer.after_norms {
                rms_norm_own(simd, out, after, shape.epsilon);
            }
            add(simd, out, state);
            norm.run(tokens, state);
        });
    }

    /// The feed-forward part, made ready for the next layer.
    fn inner(&mut self, model: &Model, pool: &mut Pool, tasks: &[Task<'_>], at: usize, layer: &Layer) {
        let (shape, simd) = (&model.shape, model.simd);
        let jobs = &mut [
            (layer.matrix(Role::Gate), self.gate.as_mut_slice()),
            (layer.matrix(Role::Up), self.up.as_mut_slice()),
        ];
        multiply(pool, simd, &self.rows, jobs);
        let gates = Split::new(&mut self.gate, shape.inner);
        let ups = Split::new(&mut self.up, shape.inner);
        let filling = self.rows.make(gates.rows(), shape.inner);
        let normal = &self.normal;
        pool.run(tasks.len(), &|task| {
            let task = &tasks[task];
            let tokens = task.tokens.clone();
            let x = rows(normal, shape.width, &tokens);
            let (gates, ups) = (gates.take_all(tokens.clone()), ups.take_all(tokens.clone()));
            task.adapt(model, at, Role::Gate, x, gates);
            task.adapt(model, at, Role::Up, x, ups);
            match shape.family.gate {
                Gate::Silu => gate(simd, gates, ups),
                Gate::Gelu => gate_gelu(simd, gates, ups),
            }
            filling.fill(simd, tokens.start, gates);
        });
        multiply(pool, simd, &self.rows, &mut [(layer.matrix(Role::Down), &mut self.out)]);
        let (gates, out) = (&self.gate, Split::new(&mut self.out, shape.width));
        let state = Split::new(&mut self.state, shape.width);
        let next = model.layers.get(at + 1).map(|next| &next.attention_norm);
        let norm = next.map(|weight| Norm::new(model, weight, &mut self.normal, &mut self.rows));
        pool.run(tasks.len(), &|task| {
            let task = &tasks[task];
            let tokens = task.tokens.clone();
            let (out, state) = (out.take_all(tokens.clone()), state.take_all(tokens.clone()));
            task.adapt(model, at, Role::Down, rows(gates, shape.inner, &tokens), out);
            if let Some([_, after]) = &layer.after_norms {
                rms_norm_own(simd, out, after, shape.epsilon);
            }
            add(simd, out, state);
            if let Some(norm) = &norm {
                norm.run(tokens, state);
            }
        });
    }

    /// The logits of the wanted tokens, whose states are left.
    fn head(&mut self, model: &Model, pool: &mut Pool) -> &[f32] {
        let (shape, simd) = (&model.shape, model.simd);
        let count = self.state.len() / shape.width;
        self.logits.resize(count * shape.vocabulary, 0.0);
        if count > 0 {
            let state = &self.state;
            let norm = Norm::new(model, &model.norm, &mut self.normal, &mut self.rows);
            pool.run(count, &|row| norm.run(row..row + 1, rows(state, shape.width, &(row..row + 1))));
            let matrix = model.head.as_ref().unwrap_or(&model.embedding);
            multiply(pool, simd, &self.rows, &mut [(matrix, &mut self.logits)]);
        }
        &self.logits
    }
}

/// Norms rows of the state, and rounds them for the next product.
struct Norm<'a> {
    model: &'a Model,
    weight: &'a [f32],
    normal: Split<'a, f32>,
    filling: Filling<'a>,
}

impl<'a> Norm<'a> {
    fn new(model: &'a Model, weight: &'a [f32], normal: &'a mut [f32], to: &'a mut Rows) -> Self {
        let filling = to.make(normal.len() / weight.len(), weight.len());
        Self { model, weight, normal: Split::new(normal, weight.len()), filling }
    }

    fn run(&self, tokens: Range<usize>, state: &[f32]) {
        let normal = self.normal.take_all(tokens.clone());
        rms_norm(self.model.simd, state, self.weight, self.model.shape.epsilon, normal);
        self.filling.fill(self.model.simd, tokens.start, normal);
    }
}

/// Some rows of a buffer.
fn rows<'a>(buffer: &'a [f32], width: usize, rows: &Range<usize>) -> &'a [f32] {
    &buffer[rows.start * width..rows.end * width]
}

/// Cuts the step into tasks of a few neighbouring tokens of one adapter.
fn cut<'a>(places: &[Place], adapters: &[Option<&'a Arc<Adapter>>]) -> Vec<Task<'a>> {
    let adapter = |place: &Place| adapters[place.part].map(Arc::as_ref);
    let mut tasks: Vec<Task<'_>> = Vec::new();
    for (token, place) in places.iter().enumerate() {
        let adapter = adapter(place);
        match tasks.last_mut() {
            Some(task)
                if task.tokens.len() < TOGETHER
                    && task.adapter.map(std::ptr::from_ref) == adapter.map(std::ptr::from_ref) =>
            {
                task.tokens.end += 1;
            }
            _ => tasks.push(Task { tokens: token..token + 1, adapter }),
        }
    }
    tasks
}
