//! Vectors become bytes, by the contract of [`agora_attribution::Row`].

use crate::curvature::dot;

/// `s` of the contract for projected gradients, thousandths: clamps beyond four standard deviations.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 8,128,000")]
pub(crate) fn row_scale_milli(dimension: usize) -> u64 {
    (127.0 / 4.0 * (dimension as f64).sqrt() * 1_000.0).round() as u64
}

/// `round(number / length * s)`, halves away from zero, clamped to -127..=127; zeros for a length of zero.
#[allow(clippy::cast_possible_truncation, reason = "clamped before")]
pub(crate) fn quantise(numbers: &[f64], length: f64, scale_milli: u64) -> Vec<u8> {
    let scale = if length > 0.0 { scale_milli as f64 / 1_000.0 / length } else { 0.0 };
    let entry = |number: &f64| ((number * scale).round().clamp(-127.0, 127.0) as i8).cast_unsigned();
    numbers.iter().map(entry).collect()
}

/// The length of a projected vector; sums in the order of the entries.
pub(crate) fn length(numbers: &[f64]) -> f64 {
    numbers.iter().map(|number| number * number).sum::<f64>().sqrt()
}

/// The length of a gradient.
pub(crate) fn gradient_length(gradient: &[f32]) -> f64 {
    dot(gradient, gradient).sqrt()
}

/// Shortens a gradient that is too long.
pub(crate) fn clip(gradient: &mut [f32], clip_milli: u64) {
    let (length, most) = (gradient_length(gradient), clip_milli as f64 / 1_000.0);
    if length > most {
        #[allow(clippy::cast_possible_truncation, reason = "a factor below one")]
        let factor = (most / length) as f32;
        gradient.iter_mut().for_each(|number| *number *= factor);
    }
}
