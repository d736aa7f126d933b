//! The kernels in plain Rust: what the vector versions must equal, bit for bit.

use super::{Eight, Four, Row, TILE};

/// Four-bit weights: one tile, `N` rows of activations.
pub(super) fn four<const N: usize>(tile: &[Four], rows: &[Row<'_>; N], sums: &mut [[f32; TILE]; N]) {
    for (row, sums) in rows.iter().zip(sums) {
        let blocks = tile.iter().zip(row.words).zip(row.scales.iter().zip(row.sums));
        for ((block, words), (scale, sum)) in blocks {
            let mut dots = [0_i32; TILE];
            for (part, q) in block.q.iter().enumerate() {
                let (low, high) = (words[part].to_le_bytes(), words[part + 4].to_le_bytes());
                for (dot, q) in dots.iter_mut().zip(q.as_chunks::<4>().0) {
                    for at in 0..4 {
                        let low = i32::from(q[at] & 15).wrapping_mul(i32::from(low[at].cast_signed()));
                        let high = i32::from(q[at] >> 4).wrapping_mul(i32::from(high[at].cast_signed()));
                        *dot = dot.wrapping_add(low).wrapping_add(high);
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
            for (word, q) in words.iter().zip(&block.q) {
                let x = word.to_le_bytes();
                for (dot, q) in dots.iter_mut().zip(q.as_chunks::<4>().0) {
                    for at in 0..4 {
                        let product = i32::from(q[at]).wrapping_mul(i32::from(x[at].cast_signed()));
                        *dot = dot.wrapping_add(product);
                    }
                }
            }
            for lane in 0..TILE {
                sums[lane] += block.scale[lane] * scale * dots[lane] as f32;
            }
        }
    }
}
