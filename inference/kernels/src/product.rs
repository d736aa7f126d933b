//! `y = x W^T`: quantised weights times rounded activations.
//!
//! One output is a plain sum over its blocks, from left to right: a whole-number dot product of weights and activations,
//! times their two scales, and for weights with a least value that times the activations' sum.

use crate::lanes::{Lanes, Line, TILE};
use crate::pool::Columns;
use crate::rows::Row;
use crate::simd::each_simd;
use crate::{Form, Matrix, Pool, Rows, Simd};

/// `y = x W^T` for several matrices over the same rows of activations; each `y` is row-major, a number per row of `x` and
/// row of its matrix.
///
/// # Panics
/// If sides do not fit.
pub fn multiply(pool: &mut Pool, simd: Simd, x: &Rows, jobs: &mut [(&Matrix, &mut [f32])]) {
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
            tile_rows(simd, matrix, tile - first, x, y);
        }
    });
}

each_simd! {
    /// One tile of outputs for all rows.
    fn tile_rows / tile_rows_body(matrix: &Matrix, tile: usize, x: &Rows, y: &Columns<'_>);
}

#[inline(always)]
fn tile_rows_body<V: Lanes>(v: V, matrix: &Matrix, tile: usize, x: &Rows, y: &Columns<'_>) {
    const FOUR_CENTRED: u8 = Form::FourCentred as u8;
    const FOUR_LEAST: u8 = Form::FourLeast as u8;
    const EIGHT: u8 = Form::Eight as u8;
    const EIGHT_LEAST: u8 = Form::EightLeast as u8;
    const EIGHT_HALVES: u8 = Form::EightHalves as u8;
    match matrix.form() {
        Form::FourCentred => all_rows::<V, FOUR_CENTRED>(v, matrix, tile, x, y),
        Form::FourLeast => all_rows::<V, FOUR_LEAST>(v, matrix, tile, x, y),
        Form::Eight => all_rows::<V, EIGHT>(v, matrix, tile, x, y),
        Form::EightLeast => all_rows::<V, EIGHT_LEAST>(v, matrix, tile, x, y),
        Form::EightHalves => all_rows::<V, EIGHT_HALVES>(v, matrix, tile, x, y),
    }
}

#[inline(always)]
fn all_rows<V: Lanes, const F: u8>(v: V, matrix: &Matrix, tile: usize, x: &Rows, y: &Columns<'_>) {
    let mut row = 0;
    while row < x.rows() {
        let left = (x.rows() - row).min(V::ROWS);
        row += match left {
            1 => some_rows::<V, F, 1>(v, matrix, tile, x, row, y),
            2 => some_rows::<V, F, 2>(v, matrix, tile, x, row, y),
            3 => some_rows::<V, F, 3>(v, matrix, tile, x, row, y),
            4..8 => some_rows::<V, F, 4>(v, matrix, tile, x, row, y),
            _ => some_rows::<V, F, 8>(v, matrix, tile, x, row, y),
        };
    }
}

/// One tile for `N` rows from `first` on; `N`.
#[inline(always)]
fn some_rows<V: Lanes, const F: u8, const N: usize>(
    v: V,
    matrix: &Matrix,
    tile: usize,
    x: &Rows,
    first: usize,
    y: &Columns<'_>,
) -> usize {
    let (lines, scales) = matrix.tile(tile);
    let rows: [Row<'_>; N] = std::array::from_fn(|at| {
        let row = x.row(first + at);
        let across = matrix.across();
        Row { pairs: &row.pairs[..across], scales: &row.scales[..across], sums: &row.sums[..across] }
    });
    let mut sums = [[0.0; TILE]; N];
    for part in 0..TILE / V::COUNT {
        let mut totals = [v.splat(0.0); N];
        let blocks = lines.chunks_exact(const { lines_of(F) }).zip(scales.chunks_exact(const { scales_of(F) }));
        for (at, (lines, scales)) in (0..matrix.across()).zip(blocks) {
            block::<V, F, N>(v, part, lines, scales, &rows, at, &mut totals);
        }
        for (total, sums) in totals.into_iter().zip(&mut sums) {
            v.put(total, sums, part);
        }
    }
    let wide = (matrix.rows() - tile * TILE).min(TILE);
    for (at, sums) in sums.iter().enumerate() {
        y.write(first + at, tile * TILE, &sums[..wide]);
    }
    N
}

const fn lines_of(form: u8) -> usize {
    if form == Form::FourCentred as u8 || form == Form::FourLeast as u8 { 4 } else { 8 }
}

const fn scales_of(form: u8) -> usize {
    if form == Form::FourCentred as u8 || form == Form::Eight as u8 { 1 } else { 2 }
}

/// Adds one block to the totals.
#[inline(always)]
fn block<V: Lanes, const F: u8, const N: usize>(
    v: V,
    part: usize,
    lines: &[Line],
    scales: &[[u16; TILE]],
    rows: &[Row<'_>; N],
    at: usize,
    totals: &mut [V::Numbers; N],
) {
    let scale = v.halves(&scales[0], part);
    let mut sums = [v.none(); N];
    if const { lines_of(F) == 4 } {
        for (p, line) in lines.iter().enumerate() {
            let words = v.words(line, part);
            macro_rules! digit {
                ($n:literal) => {
                    let digit = v.digit::<$n>(words);
                    for (sums, row) in sums.iter_mut().zip(rows) {
                        *sums = v.dot(*sums, digit, row.pairs[at].0[4 * p + $n]);
                    }
                };
            }
            digit!(0);
            digit!(1);
            digit!(2);
            digit!(3);
        }
    } else {
        for (p, line) in lines.iter().enumerate() {
            // Columns 16 to 31 have their own scale.
            if const { F == Form::EightHalves as u8 } && p == 4 {
                for ((total, sums), row) in totals.iter_mut().zip(&mut sums).zip(rows) {
                    let factor = v.mul(scale, v.splat(row.scales[at]));
                    *total = v.add(*total, v.mul(factor, v.float(*sums)));
                    *sums = v.none();
                }
            }
            let words = v.words(line, part);
            let (even, odd) = (v.byte::<0>(words), v.byte::<1>(words));
            for (sums, row) in sums.iter_mut().zip(rows) {
                *sums = v.dot(*sums, even, row.pairs[at].0[2 * p]);
                *sums = v.dot(*sums, odd, row.pairs[at].0[2 * p + 1]);
            }
        }
    }
    let last = if const { F == Form::EightHalves as u8 } { v.halves(&scales[1], part) } else { scale };
    for ((total, sums), row) in totals.iter_mut().zip(sums).zip(rows) {
        let factor = v.mul(last, v.splat(row.scales[at]));
        *total = v.add(*total, v.mul(factor, v.float(sums)));
    }
    if const { F == Form::FourLeast as u8 || F == Form::EightLeast as u8 || F == Form::FourCentred as u8 } {
        let least = if const { F == Form::FourCentred as u8 } {
            v.mul(scale, v.splat(-8.0))
        } else {
            v.halves(&scales[1], part)
        };
        for (total, row) in totals.iter_mut().zip(rows) {
            *total = v.add(*total, v.mul(least, v.splat(row.sums[at])));
        }
    }
}
