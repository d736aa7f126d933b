//! Small vector functions, each compiled for every kind of vector instructions from one body.
//!
//! Rust never fuses or reorders floating-point operations, so all give the same bits. Sums run in eight lanes that are
//! added in a fixed order. Our own exponential, since the system's may differ between machines.

use crate::simd::each_simd;

each_simd! {
    /// `a . b`
    pub fn dot / dot_body(a: &[f32], b: &[f32]) -> f32;
    /// `to += from`
    pub fn add / add_body(from: &[f32], to: &mut [f32]);
    /// `to = x / sqrt(mean(x^2) + epsilon) * weight`, for each row of `weight.len()`.
    pub fn rms_norm / rms_norm_body(x: &[f32], weight: &[f32], epsilon: f32, to: &mut [f32]);
    /// The same in place.
    pub fn rms_norm_own / rms_norm_own_body(x: &mut [f32], weight: &[f32], epsilon: f32);
    /// `x *= factor`
    pub fn scale / scale_body(x: &mut [f32], factor: f32);
    /// `gate = silu(gate) * up`
    pub fn gate / gate_body(gate: &mut [f32], up: &[f32]);
    /// Turns neighbouring pairs by the angles of a position: `turns` holds a cosine and a sine per pair of one head.
    pub fn rotate / rotate_body(heads: &mut [f32], turns: &[f32]);
    /// As [`rotate`], for pairs whose numbers are half a head apart.
    pub fn rotate_halves / rotate_halves_body(heads: &mut [f32], turns: &[f32]);
    /// `gate = gelu(gate) * up`, with the tangent's approximation of GELU (arXiv 1606.08415).
    pub fn gate_gelu / gate_gelu_body(gate: &mut [f32], up: &[f32]);
}

#[inline(always)]
pub(crate) fn sum_lanes(lanes: [f32; 8]) -> f32 {
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

#[inline(always)]
pub(crate) fn dot_body<V>(_: V, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    let mut lanes = [0.0; 8];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..8 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let mut sum = sum_lanes(lanes);
    for (a, b) in a_rest.iter().zip(b_rest) {
        sum += a * b;
    }
    sum
}

#[inline(always)]
fn add_body<V>(_: V, from: &[f32], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += from;
    }
}

#[inline(always)]
fn rms_norm_body<V: Copy>(v: V, x: &[f32], weight: &[f32], epsilon: f32, to: &mut [f32]) {
    let size = weight.len();
    for (x, to) in x.chunks_exact(size).zip(to.chunks_exact_mut(size)) {
        let factor = 1.0 / (dot_body(v, x, x) / size as f32 + epsilon).sqrt();
        for ((to, x), weight) in to.iter_mut().zip(x).zip(weight) {
            *to = x * factor * weight;
        }
    }
}

#[inline(always)]
fn rms_norm_own_body<V: Copy>(v: V, x: &mut [f32], weight: &[f32], epsilon: f32) {
    let size = weight.len();
    for x in x.chunks_exact_mut(size) {
        let factor = 1.0 / (dot_body(v, x, x) / size as f32 + epsilon).sqrt();
        for (x, weight) in x.iter_mut().zip(weight) {
            *x = *x * factor * weight;
        }
    }
}

#[inline(always)]
fn scale_body<V>(_: V, x: &mut [f32], factor: f32) {
    x.iter_mut().for_each(|x| *x *= factor);
}

#[inline(always)]
fn gate_body<V>(_: V, gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

#[inline(always)]
fn rotate_body<V>(_: V, heads: &mut [f32], turns: &[f32]) {
    for head in heads.chunks_exact_mut(turns.len()) {
        for (pair, turn) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns.as_chunks::<2>().0) {
            let (a, b) = (pair[0], pair[1]);
            *pair = [a * turn[0] - b * turn[1], a * turn[1] + b * turn[0]];
        }
    }
}

#[inline(always)]
fn rotate_halves_body<V>(_: V, heads: &mut [f32], turns: &[f32]) {
    for head in heads.chunks_exact_mut(turns.len()) {
        let (low, high) = head.split_at_mut(turns.len() / 2);
        for ((low, high), turn) in low.iter_mut().zip(high).zip(turns.as_chunks::<2>().0) {
            (*low, *high) = (*low * turn[0] - *high * turn[1], *low * turn[1] + *high * turn[0]);
        }
    }
}

#[inline(always)]
fn gate_gelu_body<V>(_: V, gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        let x = *gate;
        // x / 2 * (1 + tanh(z)) is x / (1 + exp(-2 z)).
        let z = 0.797_884_6 * (x + 0.044_715 * x * x * x);
        *gate = x / (1.0 + exp(-2.0 * z)) * up;
    }
}

/// e to the `x`, to about two units in the last place; not a number stays so.
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "ln 2 in two parts, and the minimax coefficients of Cephes' expf")]
pub fn exp(x: f32) -> f32 {
    // Below, the result would not be normal: it is as good as zero. Above, it is held at the largest power.
    let held = x.clamp(-87.0, 88.0);
    // Adding 1.5 * 2^23 rounds to a whole number, which then lies in the lowest bits.
    let rounded = held * std::f32::consts::LOG2_E + 12_582_912.0;
    let power = rounded - 12_582_912.0;
    let rest = held - power * 0.693_359_375 - power * -2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5.000_000_1e-1] {
        sum = sum * rest + coefficient;
    }
    let fraction = sum * rest * rest + rest + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(0x4B40_0000).wrapping_add(127) << 23;
    fraction * f32::from_bits(exponent)
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn the_exponential_is_that_of_the_formulas() {
        for step in -8_700..8_800 {
            let x = step as f32 / 100.0;
            let right = f64::from(x).exp();
            assert!((f64::from(exp(x)) / right - 1.0).abs() < 3e-7, "{x}: {} is not {right}", exp(x));
        }
        assert!(exp(f32::NAN).is_nan());
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }
}
