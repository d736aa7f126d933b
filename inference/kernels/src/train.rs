//! Small vector functions of a backward pass. As in [`crate::math`], all kinds of vector instructions give the same bits.

use crate::math::{dot_body, exp, sum_lanes};
use crate::simd::each_simd;

each_simd! {
    /// `to = silu(gate) * up`
    pub fn gated / gated_body(gate: &[f32], up: &[f32], to: &mut [f32]);
    /// `to = gelu(gate) * up`, as [`crate::gate_gelu`] has it.
    pub fn gated_gelu / gated_gelu_body(gate: &[f32], up: &[f32], to: &mut [f32]);
    /// Back through [`gated`]: `gate` and `up` become their own gradients, `by` is that of the product.
    pub fn gated_back / gated_back_body(by: &[f32], gate: &mut [f32], up: &mut [f32]);
    /// Back through [`gated_gelu`].
    pub fn gated_gelu_back / gated_gelu_back_body(by: &[f32], gate: &mut [f32], up: &mut [f32]);
    /// Back through [`crate::rms_norm`] of `x`, for each row of `weight.len()`: `to += ` the gradient by `x`, where `by` is
    /// that by the result.
    pub fn rms_norm_back / rms_norm_back_body(x: &[f32], weight: &[f32], epsilon: f32, by: &[f32], to: &mut [f32]);
    /// The surprise at `target` in nats: minus the logarithm of its probability. `logits` become its gradient by them, times
    /// `weight`.
    ///
    /// # Panics
    /// If there is no such logit.
    pub fn surprise / surprise_body(logits: &mut [f32], target: usize, weight: f32) -> f64;
}

#[inline(always)]
fn gated_body<V>(_: V, gate: &[f32], up: &[f32], to: &mut [f32]) {
    for ((gate, up), to) in gate.iter().zip(up).zip(to) {
        *to = *gate / (1.0 + exp(-*gate)) * up;
    }
}

#[inline(always)]
fn gated_back_body<V>(_: V, by: &[f32], gate: &mut [f32], up: &mut [f32]) {
    for ((by, gate), up) in by.iter().zip(gate).zip(up) {
        let share = 1.0 / (1.0 + exp(-*gate));
        let silu = *gate * share;
        *gate = by * *up * (share + silu * (1.0 - share));
        *up = by * silu;
    }
}

/// `gelu(x) = x * share(2 z(x))`; `share` of the doubled `z`, and `2 z'`.
#[inline(always)]
fn gelu_share(x: f32) -> (f32, f32) {
    let z = 0.797_884_6 * (x + 0.044_715 * x * x * x);
    let slope = 0.797_884_6 * (1.0 + 3.0 * 0.044_715 * x * x);
    (1.0 / (1.0 + exp(-2.0 * z)), 2.0 * slope)
}

#[inline(always)]
fn gated_gelu_body<V>(_: V, gate: &[f32], up: &[f32], to: &mut [f32]) {
    for ((gate, up), to) in gate.iter().zip(up).zip(to) {
        *to = *gate * gelu_share(*gate).0 * up;
    }
}

#[inline(always)]
fn gated_gelu_back_body<V>(_: V, by: &[f32], gate: &mut [f32], up: &mut [f32]) {
    for ((by, gate), up) in by.iter().zip(gate).zip(up) {
        let (share, slope) = gelu_share(*gate);
        let gelu = *gate * share;
        *gate = by * *up * (share + gelu * (1.0 - share) * slope);
        *up = by * gelu;
    }
}

#[inline(always)]
fn rms_norm_back_body<V: Copy>(v: V, x: &[f32], weight: &[f32], epsilon: f32, by: &[f32], to: &mut [f32]) {
    let size = weight.len();
    for ((x, by), to) in x.chunks_exact(size).zip(by.chunks_exact(size)).zip(to.chunks_exact_mut(size)) {
        let factor = 1.0 / (dot_body(v, x, x) / size as f32 + epsilon).sqrt();
        let (mut lanes, mut rest) = ([0.0; 8], 0.0);
        let wholes = x.as_chunks::<8>().0.iter().zip(by.as_chunks::<8>().0).zip(weight.as_chunks::<8>().0);
        for ((x, by), weight) in wholes {
            for lane in 0..8 {
                lanes[lane] += x[lane] * by[lane] * weight[lane];
            }
        }
        for at in size / 8 * 8..size {
            rest += x[at] * by[at] * weight[at];
        }
        let along = (sum_lanes(lanes) + rest) * factor * factor / size as f32;
        for (((x, by), weight), to) in x.iter().zip(by).zip(weight).zip(to) {
            *to += (by * weight - x * along) * factor;
        }
    }
}

#[inline(always)]
fn surprise_body<V>(_: V, logits: &mut [f32], target: usize, weight: f32) -> f64 {
    let mut most = [f32::NEG_INFINITY; 8];
    let (wholes, rest) = logits.as_chunks::<8>();
    for whole in wholes {
        for lane in 0..8 {
            most[lane] = most[lane].max(whole[lane]);
        }
    }
    let most = most.iter().chain(rest).fold(f32::NEG_INFINITY, |most, logit| most.max(*logit));
    let right = logits[target];
    let mut lanes = [0.0; 8];
    let mut more = 0.0;
    let (wholes, rest) = logits.as_chunks_mut::<8>();
    for whole in wholes {
        for lane in 0..8 {
            whole[lane] = exp(whole[lane] - most);
            lanes[lane] += whole[lane];
        }
    }
    for logit in rest {
        *logit = exp(*logit - most);
        more += *logit;
    }
    let sum = sum_lanes(lanes) + more;
    let factor = weight / sum;
    logits.iter_mut().for_each(|logit| *logit *= factor);
    logits[target] -= weight;
    f64::from(sum).ln() + f64::from(most) - f64::from(right)
}
