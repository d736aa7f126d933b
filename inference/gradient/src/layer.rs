//! One layer forward, with everything that the way back needs.

use agora_kernels::{
    Causal, Dense, Left, Pool, Product, Right, Seen, Simd, Split, add, causal, gated, gated_gelu, products, rms_norm,
    rms_norm_own, rotate, rotate_halves, scale,
};
use agora_openlora::weights::{Gate, Layer, Role, Shape, Turns, Weights};

use crate::batch::Rows;
use crate::layout::{Layout, Place};

/// Rows of a task of small functions.
pub(crate) const TOGETHER: usize = 8;

/// What a step computes with.
pub(crate) struct Step<'a> {
    pub(crate) weights: &'a Weights,
    pub(crate) layout: &'a Layout,
    pub(crate) numbers: &'a [f32],
    /// The layer where the way back ends.
    pub(crate) lowest: usize,
    pub(crate) rows: &'a Rows<'a>,
    pub(crate) simd: Simd,
    /// What products are computed with.
    pub(crate) dense: Dense,
}

/// What a layer leaves for the way back. Rows of a number per token each.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// The state that came in.
    pub(crate) state: Vec<f32>,
    /// Queries and keys before the norms of their heads, if there are any.
    pub(crate) raw: [Vec<f32>; 2],
    pub(crate) query: Vec<f32>,
    pub(crate) key: Vec<f32>,
    pub(crate) value: Vec<f32>,
    pub(crate) mixed: Vec<f32>,
    pub(crate) logs: Vec<f32>,
    /// What attention and the feed-forward part give before their norms, if there are any.
    pub(crate) after: [Vec<f32>; 2],
    /// The state between the two parts.
    pub(crate) middle: Vec<f32>,
    pub(crate) gate: Vec<f32>,
    pub(crate) up: Vec<f32>,
    /// Per role that is changed: inputs times A, times the scale.
    pub(crate) low: [Vec<f32>; 7],
}

impl Kept {
    /// Numbers of one token, without those of the adapter.
    pub(crate) fn width(shape: &Shape) -> usize {
        let (query, key) = (shape.query_width(), shape.key_width());
        let raw = if shape.family.head_norms { query + key } else { 0 };
        let after = if shape.family.after_norms { 2 * shape.width } else { 0 };
        raw + after + 2 * shape.width + 2 * query + 2 * key + shape.heads + 2 * shape.inner
    }
}

/// Room between the parts of a layer.
#[derive(Debug, Default)]
pub(crate) struct Room {
    pub(crate) normal: Vec<f32>,
    pub(crate) inner: Vec<f32>,
    pub(crate) out: Vec<f32>,
}

impl<'a> Step<'a> {
    pub(crate) fn shape(&self) -> &'a Shape {
        self.weights.shape()
    }

    pub(crate) fn layer(&self, at: usize) -> &'a Layer {
        &self.weights.layers()[at]
    }

    /// Whether a layer looks back only so far, and how far.
    pub(crate) fn window(&self, at: usize) -> Option<usize> {
        let window = self.shape().family.window.as_ref()?;
        (!window.sees_all(at)).then_some(window.positions)
    }

    /// The angles of a layer, a row per token.
    pub(crate) fn turns(&self, at: usize) -> &'a [f32] {
        &self.rows.turns[usize::from(self.window(at).is_some())]
    }

    pub(crate) fn attention(&self, at: usize) -> Causal<'a> {
        let shape = self.shape();
        Causal {
            sequences: &self.rows.ranges,
            heads: shape.heads,
            key_heads: shape.key_heads,
            size: shape.head_size,
            scale: shape.family.score_scale,
            window: self.window(at).unwrap_or(usize::MAX),
        }
    }

    /// A changed matrix's place, A, and B turned around.
    pub(crate) fn change(&self, at: usize, role: Role) -> Option<(&'a Place, &'a [f32], &'a [f32])> {
        let place = self.layout.place(at, role)?;
        Some((place, &self.numbers[place.a()], &self.numbers[place.b()]))
    }

    /// The first states: rows of the embedding.
    pub(crate) fn embed(&self, pool: &mut Pool, state: &mut Vec<f32>) {
        let (width, tokens) = (self.shape().width, &self.rows.tokens);
        state.resize(tokens.len() * width, 0.0);
        let rows = Split::new(state, width);
        pool.run(tokens.len(), &|token| {
            let row = rows.take(token);
            self.weights.embedding().row(tokens[token] as usize, row);
            scale(self.simd, row, self.shape().family.embedding_scale);
        });
    }

    /// One layer: `state` becomes the next one.
    pub(crate) fn forward(&self, pool: &mut Pool, at: usize, state: &mut [f32], kept: &mut Kept, room: &mut Room) {
        let (shape, simd, layer) = (self.shape(), self.simd, self.layer(at));
        let count = self.rows.len();
        kept.state.clear();
        kept.state.extend_from_slice(state);
        self.norm(pool, state, &layer.attention_norm, &mut room.normal);
        {
            let Kept { query, key, value, low, .. } = kept;
            let outs = &mut [(Role::Query, query), (Role::Key, key), (Role::Value, value)];
            self.project(pool, at, &room.normal, outs, low);
        }
        if layer.head_norms.is_some() {
            let Kept { raw: [raw_query, raw_key], query, key, .. } = kept;
            raw_query.clone_from(query);
            raw_key.clone_from(key);
        }
        self.place(pool, at, &mut kept.query, &mut kept.key);
        kept.mixed.resize(count * shape.query_width(), 0.0);
        kept.logs.resize(count * shape.heads, 0.0);
        let seen = Seen { query: &kept.query, key: &kept.key, value: &kept.value };
        causal(pool, simd, &self.attention(at), &seen, &mut kept.mixed, &mut kept.logs);
        self.project(pool, at, &kept.mixed, &mut [(Role::Output, &mut room.out)], &mut kept.low);
        let after = layer.after_norms.as_ref();
        self.add(pool, after.map(|norms| norms[0].as_slice()), &mut room.out, &mut kept.after[0], state);
        kept.middle.clear();
        kept.middle.extend_from_slice(state);
        self.norm(pool, state, &layer.inner_norm, &mut room.normal);
        {
            let Kept { gate, up, low, .. } = kept;
            self.project(pool, at, &room.normal, &mut [(Role::Gate, gate), (Role::Up, up)], low);
        }
        self.gated(pool, &kept.gate, &kept.up, &mut room.inner);
        self.project(pool, at, &room.inner, &mut [(Role::Down, &mut room.out)], &mut kept.low);
        self.add(pool, after.map(|norms| norms[1].as_slice()), &mut room.out, &mut kept.after[1], state);
    }

    /// Norms all rows.
    pub(crate) fn norm(&self, pool: &mut Pool, x: &[f32], weight: &[f32], to: &mut Vec<f32>) {
        to.resize(x.len(), 0.0);
        let to = Split::new(to, weight.len());
        each(pool, to.rows(), &|rows| {
            let x = &x[rows.start * weight.len()..rows.end * weight.len()];
            rms_norm(self.simd, x, weight, self.shape().epsilon, to.take_all(rows));
        });
    }

    /// What the gate lets through.
    pub(crate) fn gated(&self, pool: &mut Pool, gate: &[f32], up: &[f32], to: &mut Vec<f32>) {
        let width = self.shape().inner;
        to.resize(gate.len(), 0.0);
        let to = Split::new(to, width);
        each(pool, to.rows(), &|rows| {
            let part = rows.start * width..rows.end * width;
            let (gate, up) = (&gate[part.clone()], &up[part]);
            match self.shape().family.gate {
                Gate::Silu => gated(self.simd, gate, up, to.take_all(rows)),
                Gate::Gelu => gated_gelu(self.simd, gate, up, to.take_all(rows)),
            }
        });
    }

    /// Norms the heads of queries and keys, if the family does, and turns them to their positions.
    fn place(&self, pool: &mut Pool, at: usize, query: &mut [f32], key: &mut [f32]) {
        let (shape, simd, turns) = (self.shape(), self.simd, self.turns(at));
        let (queries, keys) = (Split::new(query, shape.query_width()), Split::new(key, shape.key_width()));
        let turn = if shape.family.turns == Turns::Pairs { rotate } else { rotate_halves };
        pool.run(queries.rows(), &|row| {
            let (query, key) = (queries.take(row), keys.take(row));
            if let Some([query_norm, key_norm]) = &self.layer(at).head_norms {
                rms_norm_own(simd, query, query_norm, shape.epsilon);
                rms_norm_own(simd, key, key_norm, shape.epsilon);
            }
            let turns = &turns[row * shape.head_size..][..shape.head_size];
            turn(simd, query, turns);
            turn(simd, key, turns);
        });
    }

    /// `state += out`, which is normed first if the family does.
    fn add(&self, pool: &mut Pool, norm: Option<&[f32]>, out: &mut [f32], kept: &mut Vec<f32>, state: &mut [f32]) {
        if norm.is_some() {
            kept.clear();
            kept.extend_from_slice(out);
        }
        let width = self.shape().width;
        let (out, state) = (Split::new(out, width), Split::new(state, width));
        each(pool, state.rows(), &|rows| {
            let (out, state) = (out.take_all(rows.clone()), state.take_all(rows));
            if let Some(norm) = norm {
                rms_norm_own(self.simd, out, norm, self.shape().epsilon);
            }
            add(self.simd, out, state);
        });
    }

    /// Products of the same rows with several matrices of a layer, each with its change and bias.
    fn project(
        &self,
        pool: &mut Pool,
        at: usize,
        x: &[f32],
        outs: &mut [(Role, &mut Vec<f32>)],
        low: &mut [Vec<f32>; 7],
    ) {
        let (count, simd) = (self.rows.len(), self.simd);
        let changed = |role: Role| self.change(at, role);
        let left = Left::new(x, x.len() / count);
        for (role, _) in outs.iter() {
            if let Some((place, a, _)) = changed(*role) {
                let low = &mut low[*role as usize];
                low.resize(count * place.rank, 0.0);
                let terms = [(left, Right::turned(a, place.inputs))];
                products(pool, self.dense, &mut [Product { terms: &terms, to: low, width: place.rank, add: false }]);
                scale(simd, low, place.scale);
            }
        }
        let layer = self.layer(at);
        let terms: Vec<Vec<(Left<'_>, Right<'_>)>> = outs
            .iter()
            .map(|(role, _)| {
                let own = (left, Right::WeightsTurned(layer.matrix(*role)));
                let change = changed(*role)
                    .map(|(place, _, b)| (Left::new(&low[*role as usize], place.rank), Right::new(b, place.outputs)));
                std::iter::once(own).chain(change).collect()
            })
            .collect();
        let mut jobs = Vec::with_capacity(outs.len());
        for ((role, to), terms) in outs.iter_mut().zip(&terms) {
            let width = layer.matrix(*role).rows();
            to.resize(count * width, 0.0);
            let bias = match (role, &layer.biases) {
                (Role::Query, Some([bias, _, _]))
                | (Role::Key, Some([_, bias, _]))
                | (Role::Value, Some([_, _, bias])) => Some(bias),
                _ => None,
            };
            if let Some(bias) = bias {
                to.chunks_exact_mut(width).for_each(|row| row.copy_from_slice(bias));
            }
            jobs.push(Product { terms, to, width, add: bias.is_some() });
        }
        products(pool, self.dense, &mut jobs);
    }
}

/// Runs a few rows at a time.
pub(crate) fn each(pool: &mut Pool, rows: usize, work: &(dyn Fn(std::ops::Range<usize>) + Sync)) {
    pool.run(rows.div_ceil(TOGETHER), &|task| work(task * TOGETHER..((task + 1) * TOGETHER).min(rows)));
}
