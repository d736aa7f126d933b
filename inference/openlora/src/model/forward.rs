//! One step of a ragged batch: any tokens of any sequences, each with its own adapter.

use std::sync::Arc;

use super::{Cache, Layer, Model, Role, Shape};
use crate::adapter::Adapter;
use crate::kernels::{Heads, Pool, Quantised, attend, gate, multiply, rms_norm, rotate};

/// What one sequence contributes to a step: its next tokens.
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
    quantised: Quantised,
    logits: Vec<f32>,
}

/// Where a token of the step stands: its part, its position, and its number among the step's tokens.
struct Place {
    part: usize,
    position: usize,
}

impl Stage {
    /// Runs the parts; the logits of the wanted tokens, one row of the vocabulary each, in order.
    ///
    /// A token's numbers depend on its own sequence only, never on the other parts nor on how a prompt is cut.
    pub(crate) fn run(&mut self, model: &Model, pool: &mut Pool, parts: &mut [Part<'_>]) -> &[f32] {
        let shape = &model.shape;
        let mut places = Vec::new();
        for (at, part) in parts.iter().enumerate() {
            let first = part.cache.positions();
            places.extend((0..part.tokens.len()).map(|ahead| Place { part: at, position: first + ahead }));
        }
        self.resize(shape, places.len());
        let tokens = parts.iter().flat_map(|part| part.tokens);
        for (token, state) in tokens.zip(self.state.chunks_exact_mut(shape.width)) {
            model.embedding.row(*token as usize, state);
        }
        for (at, layer) in model.layers.iter().enumerate() {
            self.attention(model, pool, parts, &places, at, layer);
            self.inner(model, pool, parts, at, layer);
        }
        for part in parts.iter_mut() {
            part.cache.advance(part.tokens.len());
        }
        self.head(model, pool, parts)
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

    fn attention(
        &mut self,
        model: &Model,
        pool: &mut Pool,
        parts: &mut [Part<'_>],
        places: &[Place],
        at: usize,
        layer: &Layer,
    ) {
        let (shape, simd) = (&model.shape, model.simd);
        rms_norm(simd, &self.state, &layer.attention_norm, shape.epsilon, &mut self.normal);
        self.quantised.fill(simd, &self.normal, shape.width);
        multiply(
            pool,
            simd,
            &self.quantised,
            &mut [
                (layer.matrix(Role::Query), &mut self.query),
                (layer.matrix(Role::Key), &mut self.key),
                (layer.matrix(Role::Value), &mut self.value),
            ],
        );
        adapt(model, pool, parts, at, Role::Query, &self.normal, &mut self.query);
        adapt(model, pool, parts, at, Role::Key, &self.normal, &mut self.key);
        adapt(model, pool, parts, at, Role::Value, &self.normal, &mut self.value);
        let rows = self.query.chunks_exact_mut(shape.query_width()).zip(self.key.chunks_exact_mut(shape.key_width()));
        for (place, (query, key)) in places.iter().zip(rows) {
            let turns = &model.turns[place.position * shape.head_size..][..shape.head_size];
            rotate(simd, query, turns);
            rotate(simd, key, turns);
        }
        let mut start = 0;
        for part in parts.iter_mut() {
            let range = start..start + part.tokens.len() * shape.key_width();
            part.cache.extend(at, &self.key[range.clone()], &self.value[range.clone()]);
            start = range.end;
        }
        let parts = &*parts;
        let group = shape.heads / shape.key_heads * shape.head_size;
        let query = &self.query;
        pool.chunks(&mut self.mixed, group, &|task, mixed| {
            let (token, key_head) = (task / shape.key_heads, task % shape.key_heads);
            let place = &places[token];
            let (keys, values) = parts[place.part].cache.layer(at, place.position + 1);
            let heads = Heads {
                keys,
                values,
                stride: shape.key_width(),
                offset: key_head * shape.head_size,
                size: shape.head_size,
                scale: 1.0 / (shape.head_size as f32).sqrt(),
            };
            let mut scores = Vec::with_capacity(place.position + 1);
            attend(simd, &query[task * group..][..group], &heads, &mut scores, mixed);
        });
        self.quantised.fill(simd, &self.mixed, shape.query_width());
        multiply(pool, simd, &self.quantised, &mut [(layer.matrix(Role::Output), &mut self.out)]);
        adapt(model, pool, parts, at, Role::Output, &self.mixed, &mut self.out);
        add(&self.out, &mut self.state);
    }

    fn inner(&mut self, model: &Model, pool: &mut Pool, parts: &[Part<'_>], at: usize, layer: &Layer) {
        let (shape, simd) = (&model.shape, model.simd);
        rms_norm(simd, &self.state, &layer.inner_norm, shape.epsilon, &mut self.normal);
        self.quantised.fill(simd, &self.normal, shape.width);
        multiply(
            pool,
            simd,
            &self.quantised,
            &mut [(layer.matrix(Role::Gate), &mut self.gate), (layer.matrix(Role::Up), &mut self.up)],
        );
        adapt(model, pool, parts, at, Role::Gate, &self.normal, &mut self.gate);
        adapt(model, pool, parts, at, Role::Up, &self.normal, &mut self.up);
        let up = &self.up;
        pool.chunks(&mut self.gate, shape.inner, &|row, numbers| {
            gate(simd, numbers, &up[row * shape.inner..][..shape.inner]);
        });
        self.quantised.fill(simd, &self.gate, shape.inner);
        multiply(pool, simd, &self.quantised, &mut [(layer.matrix(Role::Down), &mut self.out)]);
        adapt(model, pool, parts, at, Role::Down, &self.gate, &mut self.out);
        add(&self.out, &mut self.state);
    }

    /// The logits of the wanted tokens.
    fn head(&mut self, model: &Model, pool: &mut Pool, parts: &[Part<'_>]) -> &[f32] {
        let (shape, simd) = (&model.shape, model.simd);
        let mut chosen = Vec::new();
        let mut end = 0;
        for part in parts {
            end += part.tokens.len();
            chosen.extend_from_slice(&self.state[(end - part.wanted) * shape.width..end * shape.width]);
        }
        let rows = chosen.len() / shape.width;
        self.logits.resize(rows * shape.vocabulary, 0.0);
        if rows > 0 {
            self.normal.resize(chosen.len(), 0.0);
            rms_norm(simd, &chosen, &model.norm, shape.epsilon, &mut self.normal);
            self.quantised.fill(simd, &self.normal, shape.width);
            let matrix = model.head.as_ref().unwrap_or(&model.embedding);
            multiply(pool, simd, &self.quantised, &mut [(matrix, &mut self.logits)]);
        }
        &self.logits
    }
}

fn add(from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

/// Adds each adapter's own product to the rows of its parts; parts of one adapter are done one after another, so that its
/// matrices are fetched once.
fn adapt(model: &Model, pool: &mut Pool, parts: &[Part<'_>], layer: usize, role: Role, x: &[f32], y: &mut [f32]) {
    let (rows, columns) = role.sides(&model.shape);
    let mut tasks = Vec::new();
    let mut token = 0;
    for part in parts {
        let change = part.adapter.and_then(|adapter| Some((adapter.hash(), adapter.change(layer, role)?)));
        tasks.extend(
            (0..part.tokens.len()).filter_map(|ahead| change.map(|(hash, change)| (hash, change, token + ahead))),
        );
        token += part.tokens.len();
    }
    tasks.sort_by_key(|(hash, _, token)| (*hash, *token));
    // A decoded token's product is over before a second thread would have begun.
    if tasks.len() < 16 {
        for (_, change, token) in tasks {
            change.add(model.simd, &x[token * columns..][..columns], &mut y[token * rows..][..rows]);
        }
        return;
    }
    let mut by_token = vec![None; token];
    for (_, change, token) in &tasks {
        by_token[*token] = Some(*change);
    }
    pool.chunks(y, rows, &|token, y| {
        if let Some(change) = by_token[token] {
            change.add(model.simd, &x[token * columns..][..columns], y);
        }
    });
}
