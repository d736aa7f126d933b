//! Long gradients become short ones: a sparse sign projection that anyone computes again from its seed.

use crate::InfluenceError;
use crate::failure::bad_input;

/// Entries of the result that each number of a gradient is added to.
pub const NONZEROS: usize = 8;

/// A sparse sign projection from `size` numbers to `dimension` entries.
///
/// **Exactly.** The seed is the key of ChaCha20 (RFC 8439) with a nonce of zeros and a block counter that begins at 0; its
/// keystream, read as little-endian words of 32 bits, is w_0, w_1, …. The entries are cut into 8 stripes of `dimension` / 8.
/// Number `i` of the gradient (counted as [`crate::Blocks`] orders them; in the turned basis of a matrix, left eigenvector
/// by left eigenvector) has one place in each stripe: in stripe `j`, with w = w_(8i + j), it is
/// `j * dimension / 8 + floor((w >> 1) * (dimension / 8) / 2^31)`, and the number is added there where w is even and
/// subtracted where w is odd. Sums are of f64, in rising order of i; at the end each is multiplied by 1 / sqrt(8), so that
/// lengths and products are kept on average. (Kane and Nelson's block form: no two places of a number coincide, and no
/// number is too heavy for one entry.)
#[derive(Debug, Clone)]
pub struct Projection {
    dimension: usize,
    /// For each number its places, twice each, and one more where it is subtracted.
    places: Vec<[u32; NONZEROS]>,
}

impl Projection {
    /// The projection of a seed.
    ///
    /// # Errors
    /// `attribution.bad_input` if `dimension` is no multiple of 8 from 8 to 65,536, or there are no numbers.
    pub fn new(seed: &[u8; 32], size: usize, dimension: usize) -> Result<Self, InfluenceError> {
        let fits = (NONZEROS..=agora_attribution::DIMENSION_MAX).contains(&dimension);
        if !fits || !dimension.is_multiple_of(NONZEROS) || size == 0 || size.div_ceil(2) > u32::MAX as usize {
            return Err(bad_input(format!("a projection from {size} numbers to {dimension}")));
        }
        let stripe = u32::try_from(dimension / NONZEROS).expect("at most 65,536");
        let place = |(j, word): (u32, u32)| {
            let scaled = u64::from(word >> 1) * u64::from(stripe);
            let within = u32::try_from(scaled >> 31).expect("below the stripe's width");
            2 * (j * stripe + within) + (word & 1)
        };
        let mut places = Vec::with_capacity(size);
        for counter in 0..size.div_ceil(2) {
            let words = chacha20(seed, u32::try_from(counter).expect("checked above"));
            for words in words.chunks_exact(NONZEROS).take(size - places.len()) {
                let mut own = [0; NONZEROS];
                (0..).zip(words).zip(&mut own).for_each(|((j, word), own)| *own = place((j, *word)));
                places.push(own);
            }
        }
        Ok(Self { dimension, places })
    }

    /// Entries of the result.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// Projects.
    ///
    /// # Panics
    /// If there are other than `size` numbers, or `to` has another length than `dimension`.
    pub fn apply(&self, numbers: &[f32], to: &mut [f64]) {
        assert!(numbers.len() == self.places.len() && to.len() == self.dimension, "a projection has fixed sides");
        to.fill(0.0);
        for (number, places) in numbers.iter().zip(&self.places) {
            let signed = [f64::from(*number), -f64::from(*number)];
            for place in places {
                to[(place >> 1) as usize] += signed[(place & 1) as usize];
            }
        }
        let scale = (NONZEROS as f64).sqrt().recip();
        to.iter_mut().for_each(|sum| *sum *= scale);
    }
}

/// One block of ChaCha20's keystream with a nonce of zeros.
fn chacha20(key: &[u8; 32], counter: u32) -> [u32; 16] {
    let mut start = [0u32; 16];
    start[..4].copy_from_slice(&[0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574]);
    for (word, bytes) in start[4..12].iter_mut().zip(key.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    start[12] = counter;
    let mut state = start;
    let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
        for (to, from, turned, by) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
            state[to] = state[to].wrapping_add(state[from]);
            state[turned] = (state[turned] ^ state[to]).rotate_left(by);
        }
    };
    for _ in 0..10 {
        for column in 0..4 {
            quarter(column, 4 + column, 8 + column, 12 + column);
        }
        for column in 0..4 {
            quarter(column, 4 + (column + 1) % 4, 8 + (column + 2) % 4, 12 + (column + 3) % 4);
        }
    }
    state.iter_mut().zip(start).for_each(|(word, start)| *word = word.wrapping_add(start));
    state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keystream_is_that_of_the_rfc() {
        // RFC 8439, appendix A.1, test vectors 1 and 2: key and nonce of zeros, counters 0 and 1.
        let bytes: Vec<u8> = chacha20(&[0; 32], 0).iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(bytes[..8], [0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90]);
        let bytes: Vec<u8> = chacha20(&[0; 32], 1).iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(bytes[..8], [0x9f, 0x07, 0xe7, 0xbe, 0x55, 0x51, 0x38, 0x7a]);
        // Vector 3: a key whose last byte is one.
        let mut key = [0; 32];
        key[31] = 1;
        let bytes: Vec<u8> = chacha20(&key, 1).iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(bytes[..4], [0x3a, 0xeb, 0x52, 0x24]);
    }

    #[test]
    fn each_number_has_one_place_in_each_stripe() {
        let projection = Projection::new(&[7; 32], 501, 64).unwrap();
        let mut signs = 0;
        for places in &projection.places {
            for (stripe, place) in places.iter().enumerate() {
                assert_eq!((place >> 1) as usize / 8, stripe);
                signs += place & 1;
            }
        }
        assert!((1_800..2_200).contains(&signs), "{signs} of 4,008 are subtracted");
        assert!(Projection::new(&[7; 32], 10, 60).is_err() && Projection::new(&[7; 32], 0, 64).is_err());
    }

    #[test]
    fn cosines_are_kept_within_the_bounds_of_their_dimension() {
        let mut words = (0..).flat_map(|counter| chacha20(&[9; 32], counter));
        // Heavy tails, as gradients have: cubes of even numbers.
        let mut random = || {
            let even = f64::from(words.next().unwrap()) / f64::from(1u32 << 31) - 1.0;
            #[allow(clippy::cast_possible_truncation, reason = "a test's number")]
            let number = even.powi(3) as f32;
            number
        };
        let (size, dimension) = (20_000, 1_024);
        let projection = Projection::new(&[3; 32], size, dimension).unwrap();
        let cosine = |a: &[f64], b: &[f64]| {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
        };
        for part in [0.0f32, 0.2, 0.5, 0.9, 0.99] {
            let left: Vec<f32> = (0..size).map(|_| random()).collect();
            let other: Vec<f32> = (0..size).map(|_| random()).collect();
            let mix = |(a, b): (&f32, &f32)| part * a + (1.0 - part * part).sqrt() * b;
            let right: Vec<f32> = left.iter().zip(&other).map(mix).collect();
            let wide = |numbers: &[f32]| numbers.iter().map(|number| f64::from(*number)).collect::<Vec<_>>();
            let exact = cosine(&wide(&left), &wide(&right));
            let (mut a, mut b) = (vec![0.0; dimension], vec![0.0; dimension]);
            projection.apply(&left, &mut a);
            projection.apply(&right, &mut b);
            // Four standard deviations of (1 - cosine^2) / sqrt(K).
            let bound = 4.0 * (1.0 - exact * exact) / (dimension as f64).sqrt() + 1e-3;
            assert!((cosine(&a, &b) - exact).abs() < bound, "{part}: {} for {exact}", cosine(&a, &b));
        }
    }
}
