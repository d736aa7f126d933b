//! One layer back: from the gradient by what it gave to that by what came in, and the adapter's own.

use agora_kernels::{
    Left, Pool, Product, Right, Seen, SeenBack, Split, causal_back, gated_back, gated_gelu_back, products,
    rms_norm_back, rotate, rotate_halves, scale,
};
use agora_openlora::weights::{Gate, Role, Turns};

use crate::layer::{Kept, Room, Step, each};

/// Room of the way back.
#[derive(Debug, Default)]
pub(crate) struct BackRoom {
    by: Vec<f32>,
    inner: Vec<f32>,
    mixed: Vec<f32>,
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
    raw: [Vec<f32>; 2],
    low: [Vec<f32>; 7],
}

impl Step<'_> {
    /// `state`, the gradient by the layer's result, becomes that by its beginning, unless nothing below is changed. What
    /// the layer kept is used up. Gradients of the adapter are added to `gradient`.
    pub(crate) fn back(
        &self,
        pool: &mut Pool,
        at: usize,
        kept: &mut Kept,
        state: &mut [f32],
        gradient: &mut [f32],
        (room, back): (&mut Room, &mut BackRoom),
    ) {
        let (shape, layer) = (self.shape(), self.layer(at));
        let count = self.rows.len();
        // Whether anything is changed at these matrices or below.
        let below =
            |roles: &[Role]| at > self.lowest || roles.iter().any(|role| self.layout.place(at, *role).is_some());
        let after = layer.after_norms.as_ref();
        let by = self.after_back(pool, after.map(|norms| norms[1].as_slice()), &kept.after[1], state, &mut back.by);
        if self.change(at, Role::Down).is_some() {
            self.gated(pool, &kept.gate, &kept.up, &mut room.inner);
            self.low_back(pool, at, Role::Down, &room.inner, by, kept, &mut back.low, gradient);
        }
        use Role::{Down, Gate as Gates, Key, Output, Query, Up, Value};
        if !below(&[Gates, Up, Output, Query, Key, Value]) {
            return;
        }
        self.inputs_back(pool, at, &[(Down, by)], &back.low, &mut back.inner);
        self.gated_back(pool, &back.inner, &mut kept.gate, &mut kept.up);
        if [Gates, Up].iter().any(|role| self.change(at, *role).is_some()) {
            self.norm(pool, &kept.middle, &layer.inner_norm, &mut room.normal);
            self.low_back(pool, at, Gates, &room.normal, &kept.gate, kept, &mut back.low, gradient);
            self.low_back(pool, at, Up, &room.normal, &kept.up, kept, &mut back.low, gradient);
        }
        if !below(&[Output, Query, Key, Value]) {
            return;
        }
        self.inputs_back(pool, at, &[(Gates, &kept.gate), (Up, &kept.up)], &back.low, &mut room.out);
        self.norm_back(pool, &kept.middle, &layer.inner_norm, &room.out, state);
        let by = self.after_back(pool, after.map(|norms| norms[0].as_slice()), &kept.after[0], state, &mut back.by);
        self.low_back(pool, at, Output, &kept.mixed, by, kept, &mut back.low, gradient);
        if !below(&[Query, Key, Value]) {
            return;
        }
        self.inputs_back(pool, at, &[(Output, by)], &back.low, &mut back.mixed);
        back.query.resize(count * shape.query_width(), 0.0);
        back.key.resize(count * shape.key_width(), 0.0);
        back.value.resize(count * shape.key_width(), 0.0);
        let seen = Seen { query: &kept.query, key: &kept.key, value: &kept.value };
        let mut to = SeenBack { query: &mut back.query, key: &mut back.key, value: &mut back.value };
        let form = self.attention(at);
        causal_back(pool, self.simd, &form, &seen, &kept.mixed, &kept.logs, &back.mixed, &mut to);
        self.place_back(pool, at, kept, back);
        if [Query, Key, Value].iter().any(|role| self.change(at, *role).is_some()) {
            self.norm(pool, &kept.state, &layer.attention_norm, &mut room.normal);
            let BackRoom { query, key, value, low, .. } = back;
            for (role, by) in [(Query, &*query), (Key, key), (Value, value)] {
                self.low_back(pool, at, role, &room.normal, by, kept, low, gradient);
            }
        }
        if at > self.lowest {
            let BackRoom { query, key, value, low, .. } = back;
            self.inputs_back(pool, at, &[(Query, query), (Key, key), (Value, value)], low, &mut room.out);
            self.norm_back(pool, &kept.state, &layer.attention_norm, &room.out, state);
        }
    }

    /// Back through the norm of what a part gives, where the family has one; `state` itself elsewhere.
    fn after_back<'a>(
        &self,
        pool: &mut Pool,
        norm: Option<&[f32]>,
        kept: &[f32],
        state: &'a [f32],
        to: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let Some(norm) = norm else { return state };
        to.clear();
        to.resize(state.len(), 0.0);
        self.norm_back(pool, kept, norm, state, to);
        to
    }

    /// Back through a norm of `x`: adds to `to`.
    pub(crate) fn norm_back(&self, pool: &mut Pool, x: &[f32], weight: &[f32], by: &[f32], to: &mut [f32]) {
        let to = Split::new(to, weight.len());
        each(pool, to.rows(), &|rows| {
            let part = rows.start * weight.len()..rows.end * weight.len();
            rms_norm_back(self.simd, &x[part.clone()], weight, self.shape().epsilon, &by[part], to.take_all(rows));
        });
    }

    fn gated_back(&self, pool: &mut Pool, by: &[f32], gate: &mut [f32], up: &mut [f32]) {
        let width = self.shape().inner;
        let (gate, up) = (Split::new(gate, width), Split::new(up, width));
        each(pool, gate.rows(), &|rows| {
            let by = &by[rows.start * width..rows.end * width];
            let (gate, up) = (gate.take_all(rows.clone()), up.take_all(rows));
            match self.shape().family.gate {
                Gate::Silu => gated_back(self.simd, by, gate, up),
                Gate::Gelu => gated_gelu_back(self.simd, by, gate, up),
            }
        });
    }

    /// Queries and keys back from their positions, and through the norms of their heads.
    fn place_back(&self, pool: &mut Pool, at: usize, kept: &Kept, back: &mut BackRoom) {
        let (shape, simd, turns) = (self.shape(), self.simd, self.turns(at));
        let (wide, narrow) = (shape.query_width(), shape.key_width());
        let turn = if shape.family.turns == Turns::Pairs { rotate } else { rotate_halves };
        let norms = self.layer(at).head_norms.as_ref();
        let BackRoom { query, key, raw: [raw_query, raw_key], .. } = back;
        if norms.is_some() {
            for (raw, by) in [(&mut *raw_query, &*query), (&mut *raw_key, &*key)] {
                raw.clear();
                raw.resize(by.len(), 0.0);
            }
        }
        {
            let (queries, keys) = (Split::new(query, wide), Split::new(key, narrow));
            let raws = norms.map(|norms| (norms, Split::new(raw_query, wide), Split::new(raw_key, narrow)));
            pool.run(queries.rows(), &|row| {
                let (query, key) = (queries.take(row), keys.take(row));
                let mut turns = turns[row * shape.head_size..][..shape.head_size].to_vec();
                turns.iter_mut().skip(1).step_by(2).for_each(|sine| *sine = -*sine);
                turn(simd, query, &turns);
                turn(simd, key, &turns);
                if let Some(([query_norm, key_norm], raw_queries, raw_keys)) = &raws {
                    let from = [&kept.raw[0][row * wide..][..wide], &kept.raw[1][row * narrow..][..narrow]];
                    rms_norm_back(simd, from[0], query_norm, shape.epsilon, query, raw_queries.take(row));
                    rms_norm_back(simd, from[1], key_norm, shape.epsilon, key, raw_keys.take(row));
                }
            });
        }
        if norms.is_some() {
            std::mem::swap(query, raw_query);
            std::mem::swap(key, raw_key);
        }
    }

    /// Gradients of a matrix's change, if it has one; leaves the gradient by what A gave.
    #[allow(clippy::too_many_arguments, reason = "what went forward, and what comes back")]
    fn low_back(
        &self,
        pool: &mut Pool,
        at: usize,
        role: Role,
        x: &[f32],
        by: &[f32],
        kept: &Kept,
        low: &mut [Vec<f32>; 7],
        gradient: &mut [f32],
    ) {
        let Some((place, _, b)) = self.change(at, role) else { return };
        let (rank, inputs, outputs) = (place.rank, place.inputs, place.outputs);
        let own = &mut low[role as usize];
        own.resize(self.rows.len() * rank, 0.0);
        let (a_back, b_back) = gradient[place.start..place.b().end].split_at_mut(rank * inputs);
        let inner = [(Left::new(by, outputs), Right::turned(b, outputs))];
        let outer = [(Left::turned(&kept.low[role as usize], rank), Right::new(by, outputs))];
        products(
            pool,
            self.dense,
            &mut [
                Product { terms: &inner, to: own, width: rank, add: false },
                Product { terms: &outer, to: b_back, width: outputs, add: true },
            ],
        );
        scale(self.simd, own, place.scale);
        let terms = [(Left::turned(own, rank), Right::new(x, inputs))];
        products(pool, self.dense, &mut [Product { terms: &terms, to: a_back, width: inputs, add: true }]);
    }

    /// The gradient by the rows that several matrices multiply, with their changes.
    fn inputs_back(
        &self,
        pool: &mut Pool,
        at: usize,
        parts: &[(Role, &[f32])],
        low: &[Vec<f32>; 7],
        to: &mut Vec<f32>,
    ) {
        let layer = self.layer(at);
        let mut terms = Vec::new();
        for (role, by) in parts {
            let matrix = layer.matrix(*role);
            terms.push((Left::new(by, matrix.rows()), Right::Weights(matrix)));
            if let Some((place, a, _)) = self.change(at, *role) {
                terms.push((Left::new(&low[*role as usize], place.rank), Right::new(a, place.inputs)));
            }
        }
        let width = parts.first().map_or(1, |(role, _)| layer.matrix(*role).columns());
        to.resize(self.rows.len() * width, 0.0);
        products(pool, self.dense, &mut [Product { terms: &terms, to, width, add: false }]);
    }
}
