//! A model of any family in f64, straight from the formulas and as slow as that is. It shares no code with the crate.

use agora_gradient::Layout;
use agora_kernels::Matrix;
use agora_openlora::weights::{Gate, Role, Turns, Weights};

type Rows = Vec<Vec<f64>>;

fn multiply(matrix: &Matrix, x: &Rows) -> Rows {
    let mut row = vec![0.0; matrix.columns()];
    let mut y = vec![vec![0.0; matrix.rows()]; x.len()];
    for at in 0..matrix.rows() {
        matrix.row(at, &mut row);
        for (x, y) in x.iter().zip(&mut y) {
            y[at] = x.iter().zip(&row).map(|(x, w)| x * f64::from(*w)).sum();
        }
    }
    y
}

fn norm(x: &[f64], weight: &[f32], epsilon: f32) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(x, w)| x / (mean + f64::from(epsilon)).sqrt() * f64::from(*w)).collect()
}

fn norms(x: &Rows, weight: &[f32], epsilon: f32) -> Rows {
    x.iter().map(|x| x.chunks(weight.len()).flat_map(|x| norm(x, weight, epsilon)).collect()).collect()
}

/// The surprise at each token of the response that begins at `first`.
pub(crate) fn surprises(weights: &Weights, layout: &Layout, numbers: &[f64], tokens: &[u32], first: usize) -> Vec<f64> {
    let shape = weights.shape();
    let family = &shape.family;
    let project = |layer: usize, role: Role, x: &Rows| {
        let mut y = multiply(weights.layers()[layer].matrix(role), x);
        if let Some(place) = layout.place(layer, role) {
            let (a, b) = (&numbers[place.a()], &numbers[place.b()]);
            for (x, y) in x.iter().zip(&mut y) {
                for (a, b) in a.chunks(place.inputs).zip(b.chunks(place.outputs)) {
                    let inner: f64 = a.iter().zip(x).map(|(a, x)| a * x).sum::<f64>() * f64::from(place.scale);
                    y.iter_mut().zip(b).for_each(|(y, b)| *y += inner * b);
                }
            }
        }
        y
    };
    let inputs = &tokens[..tokens.len() - 1];
    let mut state: Rows = inputs
        .iter()
        .map(|token| {
            let mut row = vec![0.0; shape.width];
            weights.embedding().row(*token as usize, &mut row);
            row.iter().map(|number| f64::from(number * family.embedding_scale)).collect()
        })
        .collect();
    for (at, layer) in weights.layers().iter().enumerate() {
        let normal = norms(&state, &layer.attention_norm, shape.epsilon);
        let [mut query, mut key, mut value] =
            [Role::Query, Role::Key, Role::Value].map(|role| project(at, role, &normal));
        if let Some(biases) = &layer.biases {
            for (rows, bias) in [&mut query, &mut key, &mut value].into_iter().zip(biases) {
                for row in rows {
                    row.iter_mut().zip(bias).for_each(|(number, bias)| *number += f64::from(*bias));
                }
            }
        }
        if let Some([query_norm, key_norm]) = &layer.head_norms {
            query = norms(&query, query_norm, shape.epsilon);
            key = norms(&key, key_norm, shape.epsilon);
        }
        for (position, (query, key)) in query.iter_mut().zip(&mut key).enumerate() {
            let turns = weights.turns(at, position);
            for head in query.chunks_mut(shape.head_size).chain(key.chunks_mut(shape.head_size)) {
                for (pair, turn) in turns.chunks(2).enumerate() {
                    let (one, other) = match family.turns {
                        Turns::Pairs => (2 * pair, 2 * pair + 1),
                        Turns::Halves => (pair, pair + shape.head_size / 2),
                    };
                    let (c, s) = (f64::from(turn[0]), f64::from(turn[1]));
                    (head[one], head[other]) = (head[one] * c - head[other] * s, head[one] * s + head[other] * c);
                }
            }
        }
        let share = shape.heads / shape.key_heads;
        let mixed: Rows = (0..inputs.len())
            .map(|position| {
                let seen = weights.first_seen(at, position)..position + 1;
                let head = |head: usize| {
                    let own = head * shape.head_size..(head + 1) * shape.head_size;
                    let other = head / share * shape.head_size..(head / share + 1) * shape.head_size;
                    let score = |k: usize| {
                        let products = query[position][own.clone()].iter().zip(&key[k][other.clone()]);
                        products.map(|(q, k)| q * k).sum::<f64>() * f64::from(family.score_scale)
                    };
                    let scores: Vec<f64> = seen.clone().map(score).collect();
                    let most = scores.iter().copied().fold(f64::MIN, f64::max);
                    let sum: f64 = scores.iter().map(|score| (score - most).exp()).sum();
                    let mut to = vec![0.0; shape.head_size];
                    for (score, k) in scores.iter().zip(seen.clone()) {
                        let share = (score - most).exp() / sum;
                        to.iter_mut().zip(&value[k][other.clone()]).for_each(|(to, v)| *to += share * v);
                    }
                    to
                };
                (0..shape.heads).flat_map(head).collect()
            })
            .collect();
        let mut out = project(at, Role::Output, &mixed);
        if let Some([after, _]) = &layer.after_norms {
            out = norms(&out, after, shape.epsilon);
        }
        add(&mut state, &out);
        let normal = norms(&state, &layer.inner_norm, shape.epsilon);
        let (mut gate, up) = (project(at, Role::Gate, &normal), project(at, Role::Up, &normal));
        for (gate, up) in gate.iter_mut().zip(&up) {
            for (gate, up) in gate.iter_mut().zip(up) {
                let x = *gate;
                let gated = match family.gate {
                    Gate::Silu => x / (1.0 + (-x).exp()),
                    Gate::Gelu => {
                        let z = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3));
                        0.5 * x * (1.0 + z.tanh())
                    }
                };
                *gate = gated * up;
            }
        }
        let mut out = project(at, Role::Down, &gate);
        if let Some([_, after]) = &layer.after_norms {
            out = norms(&out, after, shape.epsilon);
        }
        add(&mut state, &out);
    }
    let judged: Rows = state[first - 1..].to_vec();
    let logits = multiply(weights.head(), &norms(&judged, weights.norm(), shape.epsilon));
    let surprise = |(logits, token): (&Vec<f64>, &u32)| {
        let most = logits.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = logits.iter().map(|logit| (logit - most).exp()).sum();
        most + sum.ln() - logits[*token as usize]
    };
    logits.iter().zip(&tokens[first..]).map(surprise).collect()
}

fn add(state: &mut Rows, more: &Rows) {
    for (state, more) in state.iter_mut().zip(more) {
        state.iter_mut().zip(more).for_each(|(state, more)| *state += more);
    }
}
