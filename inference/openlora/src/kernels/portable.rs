//! The kernels in plain Rust: what the vector versions must equal, bit for bit.

use super::{Eight, Four, Row, TILE};

/// The two numbers of a word.
fn pair(word: i32) -> (i32, i32) {
    ((word << 16) >> 16, word >> 16)
}

/// Four-bit weights: one tile, `N` rows of activations.
pub(super) fn four<const N: usize>(tile: &[Four], rows: &[Row<'_>; N], sums: &mut [[f32; TILE]; N]) {
    for (row, sums) in rows.iter().zip(sums) {
        let blocks = tile.iter().zip(row.words).zip(row.scales.iter().zip(row.sums));
        for ((block, words), (scale, sum)) in blocks {
            let mut dots = [0_i32; TILE];
            for (q, words) in block.q.iter().zip(words.as_chunks::<4>().0) {
                for (dot, q) in dots.iter_mut().zip(q.as_chunks::<2>().0) {
                    for (place, word) in words.iter().enumerate() {
                        let (first, second) = pair(*word);
                        let digit = |q: u16| i32::from(q >> (4 * place) & 15);
                        *dot = dot.wrapping_add(digit(q[0]).wrapping_mul(first));
                        *dot = dot.wrapping_add(digit(q[1]).wrapping_mul(second));
                    }
                }
            }
            for lane in 0..TILE {
                sums[lane] += block.scale[lane] * scale * dots[lane] as f32;
                sums[lane] += block.least[lane] * sum;
            }
        }
    }
}

/// Eight-bit weights: one tile, `N` rows of activations.
pub(super) fn eight<const N: usize>(tile: &[Eight], rows: &[Row<'_>; N], sums: &mut [[f32; TILE]; N]) {
    for (row, sums) in rows.iter().zip(sums) {
        for ((block, words), scale) in tile.iter().zip(row.words).zip(row.scales) {
            let mut dots = [0_i32; TILE];
            for (q, words) in block.q.iter().zip(words.as_chunks::<2>().0) {
                for (dot, q) in dots.iter_mut().zip(q.as_chunks::<2>().0) {
                    for (place, word) in words.iter().enumerate() {
                        let (first, second) = pair(*word);
                        let digit = |q: u16| i32::from(q.to_le_bytes()[place].cast_signed());
                        *dot = dot.wrapping_add(digit(q[0]).wrapping_mul(first));
                        *dot = dot.wrapping_add(digit(q[1]).wrapping_mul(second));
                    }
                }
            }
            for lane in 0..TILE {
                sums[lane] += block.scale[lane] * scale * dots[lane] as f32;
            }
        }
    }
}
