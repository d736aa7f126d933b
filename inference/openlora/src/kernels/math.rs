//! Small vector functions, each compiled twice from one body: plain and with AVX2.
//!
//! Rust never fuses or reorders floating-point operations, so both give the same bits. Sums run in eight lanes that are
//! added in a fixed order. Our own exponential, since the system's may differ between machines.
#![allow(unsafe_code)]

use super::{Simd, Words};

macro_rules! twice {
    ($($(#[$doc:meta])* fn $name:ident / $body:ident ($($argument:ident: $kind:ty),* $(,)?) $(-> $result:ty)?;)*) => {$(
        $(#[$doc])*
        pub(crate) fn $name(simd: Simd, $($argument: $kind),*) $(-> $result)? {
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2")]
            fn wide($($argument: $kind),*) $(-> $result)? {
                $body($($argument),*)
            }
            match simd {
                Simd::Portable => $body($($argument),*),
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Simd::Avx2` is made only where the processor has AVX2.
                Simd::Avx2 => unsafe { wide($($argument),*) },
            }
        }
    )*};
}

twice! {
    /// `a . b`
    fn dot / dot_body(a: &[f32], b: &[f32]) -> f32;
    /// `y += factor * x`
    fn axpy / axpy_body(factor: f32, x: &[f32], y: &mut [f32]);
    /// `to = x / sqrt(mean(x^2) + epsilon) * weight`, for each row of `weight.len()`.
    fn rms_norm / rms_norm_body(x: &[f32], weight: &[f32], epsilon: f32, to: &mut [f32]);
    /// `gate = silu(gate) * up`
    fn gate / gate_body(gate: &mut [f32], up: &[f32]);
    /// Turns neighbouring pairs by the angles of a position: `turns` holds a cosine and a sine per pair of one head.
    fn rotate / rotate_body(heads: &mut [f32], turns: &[f32]);
    /// Attention of the query heads of one token that share a key head, over all positions of `heads`.
    fn attend / attend_body(query: &[f32], heads: &Heads<'_>, scores: &mut Vec<f32>, to: &mut [f32]);
    /// Rounds blocks of 32 to sixteen bits.
    fn round_blocks / round_body(x: &[f32], words: &mut [Words], scales: &mut [f32], sums: &mut [f32]);
}

/// Keys and values of one head at the positions that a token may see.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heads<'a> {
    /// Position-major; a position has `stride` numbers.
    pub(crate) keys: &'a [f32],
    pub(crate) values: &'a [f32],
    pub(crate) stride: usize,
    /// Where this head begins inside a position.
    pub(crate) offset: usize,
    /// Numbers of a head.
    pub(crate) size: usize,
    /// Multiplies the scores.
    pub(crate) scale: f32,
}

#[inline(always)]
fn sum_lanes(lanes: [f32; 8]) -> f32 {
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

#[inline(always)]
fn dot_body(a: &[f32], b: &[f32]) -> f32 {
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
fn axpy_body(factor: f32, x: &[f32], y: &mut [f32]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

#[inline(always)]
fn rms_norm_body(x: &[f32], weight: &[f32], epsilon: f32, to: &mut [f32]) {
    let size = weight.len();
    for (x, to) in x.chunks_exact(size).zip(to.chunks_exact_mut(size)) {
        let factor = 1.0 / (dot_body(x, x) / size as f32 + epsilon).sqrt();
        for ((to, x), weight) in to.iter_mut().zip(x).zip(weight) {
            *to = x * factor * weight;
        }
    }
}

#[inline(always)]
fn gate_body(gate: &mut [f32], up: &[f32]) {
    for (gate, up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

#[inline(always)]
fn rotate_body(heads: &mut [f32], turns: &[f32]) {
    for head in heads.chunks_exact_mut(turns.len()) {
        for (pair, turn) in head.as_chunks_mut::<2>().0.iter_mut().zip(turns.as_chunks::<2>().0) {
            let (a, b) = (pair[0], pair[1]);
            *pair = [a * turn[0] - b * turn[1], a * turn[1] + b * turn[0]];
        }
    }
}

#[inline(always)]
fn attend_body(query: &[f32], heads: &Heads<'_>, scores: &mut Vec<f32>, to: &mut [f32]) {
    let Heads { keys, values, stride, offset, size, scale } = *heads;
    for (query, to) in query.chunks_exact(size).zip(to.chunks_exact_mut(size)) {
        scores.clear();
        scores.extend(keys.chunks_exact(stride).map(|key| dot_body(query, &key[offset..][..size]) * scale));
        // A score that is not a number is passed over here, and still makes the sum one.
        let most = scores.iter().fold(f32::NEG_INFINITY, |most, score| most.max(*score));
        for score in scores.iter_mut() {
            *score = exp(*score - most);
        }
        let mut lanes = [0.0; 8];
        let (wholes, rest) = scores.as_chunks::<8>();
        for whole in wholes {
            for lane in 0..8 {
                lanes[lane] += whole[lane];
            }
        }
        let factor = 1.0 / rest.iter().fold(sum_lanes(lanes), |sum, score| sum + score);
        to.fill(0.0);
        for (score, value) in scores.iter().zip(values.chunks_exact(stride)) {
            axpy_body(score * factor, &value[offset..][..size], to);
        }
    }
}

/// e to the `x`, to about two units in the last place; not a number stays so.
#[inline(always)]
#[allow(clippy::excessive_precision, reason = "ln 2 in two parts, and the minimax coefficients of Cephes' expf")]
pub(crate) fn exp(x: f32) -> f32 {
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

#[inline(always)]
fn round_body(x: &[f32], words: &mut [Words], scales: &mut [f32], sums: &mut [f32]) {
    let to = words.iter_mut().zip(scales.iter_mut().zip(sums.iter_mut()));
    for (x, (words, (scale, sum))) in x.as_chunks::<32>().0.iter().zip(to) {
        // As bits without the sign, infinity and then not-a-number are the largest.
        let most = f32::from_bits(x.iter().fold(0, |most, number| most.max(number.to_bits() & 0x7FFF_FFFF)));
        if !most.is_finite() {
            (*words, *scale, *sum) = ([0; 16], f32::NAN, f32::NAN);
            continue;
        }
        // Anything this small is zero beside the other blocks, and its inverse would not be finite.
        let factor = if most < 1e-30 { 0.0 } else { 32_767.0 / most };
        let mut total = 0_i32;
        for (word, pair) in words.iter_mut().zip(x.as_chunks::<2>().0) {
            // The lowest bits of the rounded number are the number itself, see `exp`.
            let first = (pair[0] * factor + 12_582_912.0).to_bits().wrapping_sub(0x4B40_0000);
            let second = (pair[1] * factor + 12_582_912.0).to_bits().wrapping_sub(0x4B40_0000);
            *word = (first & 0xFFFF | second << 16).cast_signed();
            total = total.wrapping_add(first.wrapping_add(second).cast_signed());
        }
        *scale = most / 32_767.0;
        *sum = *scale * total as f32;
    }
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
