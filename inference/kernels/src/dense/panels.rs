//! Packs the right side: panels of sixteen columns, a line of the panel per row.

use std::ops::Range;

use super::Right;
use super::view::View;
use crate::lanes::{Lanes, Line, TILE};
use crate::simd::each_simd;
use crate::{BLOCK, Form, Matrix};

each_simd! {
    /// Packs neighbouring panels from `first` on, as many as `to` has room for; columns behind the last are zeros. A stretch
    /// of weights begins at a multiple of 32, and so do panels of weights as they are.
    pub(crate) fn pack / pack_body(right: &Right<'_>, depth: &Range<usize>, first: usize, to: &mut [[f32; TILE]]);
}

#[inline(always)]
fn pack_body<V: Lanes>(v: V, right: &Right<'_>, depth: &Range<usize>, first: usize, to: &mut [[f32; TILE]]) {
    if let Right::Weights(matrix) = right {
        return weights(v, matrix, depth, first, to);
    }
    // No closures here: they would be compiled without the vector instructions.
    for (to, panel) in to.chunks_exact_mut(depth.len()).zip(first..) {
        match right {
            Right::Plain(view) => plain(view, depth, panel, to),
            Right::Turned(view) => turned(v, view, depth, panel, to),
            Right::WeightsTurned(matrix) => weights_turned(v, matrix, depth, panel, to),
            Right::Weights(_) => {}
        }
    }
}

#[inline(always)]
fn plain(view: &View<'_>, depth: &Range<usize>, panel: usize, to: &mut [[f32; TILE]]) {
    let columns = panel * TILE..((panel + 1) * TILE).min(view.columns);
    for (line, row) in to.iter_mut().zip(depth.clone()) {
        let row = &view.row(row)[columns.clone()];
        match row.try_into() {
            Ok(whole) => *line = whole,
            Err(_) => {
                line.fill(0.0);
                line[..row.len()].copy_from_slice(row);
            }
        }
    }
}

#[inline(always)]
fn turned<V: Lanes>(v: V, view: &View<'_>, depth: &Range<usize>, panel: usize, to: &mut [[f32; TILE]]) {
    let columns = panel * TILE..((panel + 1) * TILE).min(view.rows);
    let mut square = [[0.0; TILE]; TILE];
    let mut turned = [[0.0; TILE]; TILE];
    for (lines, first) in to.chunks_mut(TILE).zip(depth.clone().step_by(TILE)) {
        for (row, column) in square.iter_mut().zip(columns.clone()) {
            let from = &view.row(column)[first..first + lines.len()];
            match from.try_into() {
                Ok(whole) => *row = whole,
                Err(_) => row[..from.len()].copy_from_slice(from),
            }
        }
        v.turn(&square, &mut turned);
        lines.copy_from_slice(&turned[..lines.len()]);
    }
}

/// The rows of a tile are the columns of a panel.
#[inline(always)]
fn weights_turned<V: Lanes>(v: V, matrix: &Matrix, depth: &Range<usize>, panel: usize, to: &mut [[f32; TILE]]) {
    for (to, block) in to.as_chunks_mut::<BLOCK>().0.iter_mut().zip(depth.start / BLOCK..) {
        block_numbers(v, matrix, panel, block, to);
    }
}

/// A block of columns is two panels.
#[inline(always)]
fn weights<V: Lanes>(v: V, matrix: &Matrix, depth: &Range<usize>, first: usize, to: &mut [[f32; TILE]]) {
    let mut columns = [[0.0; TILE]; BLOCK];
    let mut turned = [[0.0; TILE]; TILE];
    let count = to.len() / depth.len();
    for block in 0..count.div_ceil(2) {
        for tile in depth.start / TILE..depth.end.div_ceil(TILE) {
            block_numbers(v, matrix, tile, first / 2 + block, &mut columns);
            let from = tile * TILE - depth.start;
            let height = TILE.min(depth.len() - from);
            for (half, square) in columns.as_chunks::<TILE>().0.iter().enumerate().take(count - 2 * block) {
                v.turn(square, &mut turned);
                let to = &mut to[(2 * block + half) * depth.len() + from..][..height];
                to.copy_from_slice(&turned[..height]);
            }
        }
    }
}

/// The numbers of one block of a tile, a line per column: those of [`Matrix::row`].
#[inline(always)]
fn block_numbers<V: Lanes>(v: V, matrix: &Matrix, tile: usize, block: usize, to: &mut [[f32; TILE]; BLOCK]) {
    let (lines, scales) = matrix.tile(tile);
    let form = matrix.form();
    let lines = &lines[block * form.lines()..][..form.lines()];
    let scales = &scales[block * form.scales()..][..form.scales()];
    match form {
        Form::FourCentred | Form::FourLeast => four(v, form, lines, scales, to),
        Form::Eight | Form::EightLeast | Form::EightHalves => eight(v, form, lines, scales, to),
    }
}

#[inline(always)]
fn four<V: Lanes>(v: V, form: Form, lines: &[Line], scales: &[[u16; TILE]], to: &mut [[f32; TILE]; BLOCK]) {
    for part in 0..TILE / V::COUNT {
        let scale = v.halves(&scales[0], part);
        let least = if form == Form::FourLeast { v.halves(&scales[1], part) } else { v.mul(scale, v.splat(-8.0)) };
        for (line, to) in lines.iter().zip(to.as_chunks_mut::<8>().0) {
            let words = v.words(line, part);
            macro_rules! digit {
                ($n:literal) => {
                    let digit = v.digit::<$n>(words);
                    for (pair, to) in [1, 1 << 16].into_iter().zip(&mut to[2 * $n..]) {
                        let q = v.float(v.dot(v.none(), digit, pair));
                        v.put(v.add(v.mul(scale, q), least), to, part);
                    }
                };
            }
            digit!(0);
            digit!(1);
            digit!(2);
            digit!(3);
        }
    }
}

#[inline(always)]
fn eight<V: Lanes>(v: V, form: Form, lines: &[Line], scales: &[[u16; TILE]], to: &mut [[f32; TILE]; BLOCK]) {
    for part in 0..TILE / V::COUNT {
        let first = v.halves(&scales[0], part);
        let second = v.halves(&scales[scales.len() - 1], part);
        for (at, (line, to)) in lines.iter().zip(to.as_chunks_mut::<4>().0).enumerate() {
            let scale = if form == Form::EightHalves && at >= lines.len() / 2 { second } else { first };
            let words = v.words(line, part);
            let (even, odd) = (v.byte::<0>(words), v.byte::<1>(words));
            for ((byte, pair), to) in [(even, 1), (even, 1 << 16), (odd, 1), (odd, 1 << 16)].into_iter().zip(to) {
                let product = v.mul(scale, v.float(v.dot(v.none(), byte, pair)));
                let number = if form == Form::EightLeast { v.add(product, second) } else { product };
                v.put(number, to, part);
            }
        }
    }
}
