//! Quantised matrix products and the small vector functions of a transformer, the same bits on every machine.
//!
//! Weights lie in tiles of eight rows, in blocks of 32 columns. One output number is a plain sum over its blocks, from
//! left to right: a whole-number dot product of weights and activations, times their two scales, and for four-bit weights
//! their least value times the activations' sum. Whole numbers have no rounding, and that sum has one order, so neither
//! vector width, nor threads, nor the company in a batch changes a bit.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod math;
mod matrix;
mod pool;
mod portable;
mod quantised;

use pool::Columns;

pub(crate) use math::{Heads, attend, axpy, dot, exp, gate, rms_norm, rotate};
pub(crate) use matrix::{Eight, Four, Matrix};
pub(crate) use pool::Pool;
pub(crate) use quantised::{Quantised, Row, Words};

/// Outputs of one tile.
pub(crate) const TILE: usize = 8;
/// Activation rows that one pass over a tile serves.
const TOGETHER: usize = 4;

/// Which instructions are used. The results are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Simd {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Simd {
    /// The best that this machine has.
    pub(crate) fn detect(portable: bool) -> Self {
        #[cfg(target_arch = "x86_64")]
        if !portable && std::arch::is_x86_feature_detected!("avx2") {
            return Self::Avx2;
        }
        let _ = portable;
        Self::Portable
    }
}

/// `y = x W^T` for several matrices over the same rows of activations; each `y` is row-major.
pub(crate) fn multiply(pool: &mut Pool, simd: Simd, x: &Quantised, jobs: &mut [(&Matrix, &mut [f32])]) {
    let mut parts = Vec::with_capacity(jobs.len());
    let mut tiles = 0_usize;
    for (matrix, y) in jobs.iter_mut() {
        assert_eq!(matrix.columns(), x.columns(), "a matrix and its activations have the same columns");
        assert_eq!(y.len(), x.rows() * matrix.rows(), "an output has a number per row and column");
        parts.push((tiles, *matrix, Columns::new(y, matrix.rows())));
        tiles += matrix.tiles();
    }
    // Small steps even out unequal threads; large ones save hand-offs.
    let step = tiles.div_ceil(pool.threads() * 8).max(1);
    pool.run(tiles.div_ceil(step), &|task| {
        for tile in task * step..((task + 1) * step).min(tiles) {
            let part = parts.iter().rev().find(|(first, _, _)| *first <= tile);
            let Some((first, matrix, y)) = part else { continue };
            multiply_tile(simd, matrix, tile - first, x, y);
        }
    });
}

/// One tile of outputs for all rows.
fn multiply_tile(simd: Simd, matrix: &Matrix, tile: usize, x: &Quantised, y: &Columns<'_>) {
    let mut row = 0;
    while row < x.rows() {
        let left = x.rows() - row;
        match left {
            1 => some_rows::<1>(simd, matrix, tile, x, row, y),
            2 => some_rows::<2>(simd, matrix, tile, x, row, y),
            3 => some_rows::<3>(simd, matrix, tile, x, row, y),
            _ => some_rows::<TOGETHER>(simd, matrix, tile, x, row, y),
        }
        row += left.min(TOGETHER);
    }
}

fn some_rows<const N: usize>(simd: Simd, matrix: &Matrix, tile: usize, x: &Quantised, first: usize, y: &Columns<'_>) {
    let rows: [Row<'_>; N] = std::array::from_fn(|at| x.row(first + at));
    let mut sums = [[0.0; TILE]; N];
    match (simd, matrix) {
        (Simd::Portable, Matrix::Four(tiles)) => portable::four(tiles.tile(tile), &rows, &mut sums),
        (Simd::Portable, Matrix::Eight(tiles)) => portable::eight(tiles.tile(tile), &rows, &mut sums),
        #[cfg(target_arch = "x86_64")]
        (Simd::Avx2, Matrix::Four(tiles)) => avx2::four(tiles.tile(tile), &rows, &mut sums),
        #[cfg(target_arch = "x86_64")]
        (Simd::Avx2, Matrix::Eight(tiles)) => avx2::eight(tiles.tile(tile), &rows, &mut sums),
    }
    let wide = (matrix.rows() - tile * TILE).min(TILE);
    for (at, sums) in sums.iter().enumerate() {
        y.write(first + at, tile * TILE, &sums[..wide]);
    }
}
