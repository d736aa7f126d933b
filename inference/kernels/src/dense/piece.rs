//! The piece of a product that stays in registers, and the walk over a strip of them.

use std::marker::PhantomData;

use super::Left;
use crate::lanes::{Lanes, TILE};
use crate::simd::each_simd;

/// Rows of A that are used for all panels of a strip before the next: they stay in a core's second cache.
const ROWS_TOGETHER: usize = 120;
/// Most rows, and most columns, of a piece.
const ROWS_MAX: usize = 12;
const COLUMNS_MAX: usize = 2 * TILE;
/// Most rows of a piece that is lower than others.
const HEIGHT_SMALL: usize = 6;

/// A part of an output, row-major.
pub(crate) struct Target<'a> {
    start: *mut f32,
    step: usize,
    rows: usize,
    columns: usize,
    _numbers: PhantomData<&'a mut [f32]>,
}

impl<'a> Target<'a> {
    /// Some rows of a buffer in rows of `step`, from its first number on.
    pub(crate) fn new(numbers: &'a mut [f32], step: usize, rows: usize, columns: usize) -> Self {
        assert!(
            columns <= step && (rows == 0 || numbers.len() >= (rows - 1) * step + columns),
            "an output has its rows"
        );
        Self { start: numbers.as_mut_ptr(), step, rows, columns, _numbers: PhantomData }
    }

    /// # Safety
    /// `rows` rows of `columns` numbers, each `step` behind the one before, are the caller's alone for 'a.
    pub(super) unsafe fn from_raw(start: *mut f32, step: usize, rows: usize, columns: usize) -> Self {
        Self { start, step, rows, columns, _numbers: PhantomData }
    }

    /// Some of its rows.
    pub(crate) fn rows(&mut self, rows: &std::ops::Range<usize>) -> Target<'_> {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "the rows lie inside");
        // SAFETY: the rows lie inside, and this target is borrowed for them.
        unsafe { Target::from_raw(self.start.add(rows.start * self.step), self.step, rows.len(), self.columns) }
    }

    /// Some of its columns.
    pub(super) fn columns(&mut self, columns: &std::ops::Range<usize>) -> Target<'_> {
        assert!(columns.start <= columns.end && columns.end <= self.columns, "the columns lie inside");
        // SAFETY: the columns lie inside, and this target is borrowed for them.
        unsafe { Target::from_raw(self.start.add(columns.start), self.step, self.rows, columns.len()) }
    }

    /// Sets the first number of a row.
    pub(crate) fn set(&mut self, row: usize, number: f32) {
        assert!(row < self.rows && self.columns > 0, "the row lies inside");
        // SAFETY: as just checked.
        unsafe { *self.start.add(row * self.step) = number };
    }

    /// Makes it all zeros.
    pub(super) fn clear(&mut self) {
        for row in 0..self.rows {
            // SAFETY: the row lies inside.
            unsafe { self.start.add(row * self.step).write_bytes(0, self.columns) };
        }
    }

    /// Where a piece of `side` rows and columns begins that lies inside, in its first columns, and numbers from a row to the
    /// next.
    #[cfg(all(target_arch = "x86_64", target_os = "linux"))]
    pub(super) fn whole(&mut self, row: usize, side: usize) -> Option<(*mut f32, usize)> {
        let inside = self.columns >= side && row + side <= self.rows;
        // SAFETY: the row lies inside.
        inside.then(|| (unsafe { self.start.add(row * self.step) }, self.step))
    }

    /// Copies a piece in or out, at the output's edge.
    pub(super) fn copy(&mut self, row: usize, column: usize, edge: &mut [[f32; COLUMNS_MAX]], out: bool) {
        let width = COLUMNS_MAX.min(self.columns - column);
        for (at, line) in edge.iter_mut().enumerate() {
            assert!(row + at < self.rows, "a piece lies inside its output");
            // SAFETY: row and columns lie inside, as just checked.
            let own = unsafe { self.start.add((row + at) * self.step + column) };
            // SAFETY: as above; the line has the width.
            unsafe {
                match out {
                    true => own.copy_from_nonoverlapping(line.as_ptr(), width),
                    false => line.as_mut_ptr().copy_from_nonoverlapping(own, width),
                }
            }
        }
    }
}

/// Packed panels of a right side, one after another.
#[derive(Clone, Copy)]
pub(crate) struct Panels<'a> {
    /// From the first line of the first panel that is used.
    pub(crate) lines: &'a [[f32; TILE]],
    /// Lines from a panel to the next.
    pub(crate) step: usize,
}

each_simd! {
    /// `to (+)= left * panels`; it begins with zero if `begins`. All sides are those of the output; the last panel may be
    /// wider.
    pub(crate) fn strip / strip_body(left: &Left<'_>, panels: Panels<'_>, to: &mut Target<'_>, begins: bool);
}

#[inline(always)]
fn strip_body<V: Lanes>(v: V, left: &Left<'_>, panels: Panels<'_>, to: &mut Target<'_>, begins: bool) {
    let (count, depth) = (to.columns.div_ceil(TILE), left.depth());
    assert_eq!(left.rows(), to.rows, "a strip has the sides of its output");
    assert!(
        count == 0 || depth <= panels.step && panels.lines.len() >= (count - 1) * panels.step + depth,
        "a strip has all its panels"
    );
    if depth == 0 || to.rows == 0 {
        if begins {
            to.clear();
        }
        return;
    }
    let (height, width) = (V::PIECE.0, V::PIECE.1 * V::COUNT);
    for first in (0..to.rows).step_by(ROWS_TOGETHER) {
        let end = to.rows.min(first + ROWS_TOGETHER);
        for column in (0..to.columns).step_by(width) {
            let panels = Panels { lines: &panels.lines[column / TILE * panels.step..], step: panels.step };
            let mut row = first;
            while row < end {
                let rows = if end - row >= height { height } else { (end - row).min(HEIGHT_SMALL) };
                match left.turned {
                    false => some_rows::<V, false>(v, left, row, rows, panels, to, column, begins),
                    true => some_rows::<V, true>(v, left, row, rows, panels, to, column, begins),
                }
                row += rows;
            }
        }
    }
}

#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the parts of one piece")]
fn some_rows<V: Lanes, const TURNED: bool>(
    v: V,
    left: &Left<'_>,
    row: usize,
    rows: usize,
    panels: Panels<'_>,
    to: &mut Target<'_>,
    column: usize,
    begins: bool,
) {
    let width = to.columns - column;
    let place = left.view.numbers[if TURNED { row } else { row * left.view.step }..].as_ptr();
    let job = Job {
        left: place,
        left_step: left.view.step,
        panels: panels.lines.as_ptr(),
        panel_step: panels.step,
        depth: left.depth(),
    };
    let wide = V::PIECE.1 * V::COUNT;
    let mut edge = [[0.0; COLUMNS_MAX]; ROWS_MAX];
    // SAFETY: `strip` has checked the sides; the rows lie inside the left side, which ends with their last numbers.
    unsafe {
        if width >= wide {
            let start = to.start.add(row * to.step + column);
            all_heights::<V, TURNED>(v, rows, wide / V::COUNT, &job, start, to.step, begins);
        } else {
            let edge = &mut edge[..rows];
            if !begins {
                to.copy(row, column, edge, false);
            }
            let vectors = width.div_ceil(V::COUNT);
            all_heights::<V, TURNED>(v, rows, vectors, &job, edge.as_mut_ptr().cast(), COLUMNS_MAX, begins);
            to.copy(row, column, edge, true);
        }
    }
}

/// What a piece is made of.
struct Job {
    left: *const f32,
    left_step: usize,
    panels: *const [f32; TILE],
    panel_step: usize,
    depth: usize,
}

/// # Safety
/// As [`piece`].
#[inline(always)]
unsafe fn all_heights<V: Lanes, const TURNED: bool>(
    v: V,
    rows: usize,
    vectors: usize,
    job: &Job,
    to: *mut f32,
    step: usize,
    begins: bool,
) {
    macro_rules! heights {
        ($($height:literal),*) => {
            match rows {
                // SAFETY: the caller's promise.
                $($height if const { $height <= V::PIECE.0 } => unsafe {
                    // What a kind of vector instructions never needs is not compiled for it.
                    if const { $height <= V::PIECE.0 } {
                        if const { V::PIECE.1 == 2 } && vectors == 2 {
                            piece::<V, $height, 2, TURNED>(v, job, to, step, begins);
                        } else {
                            piece::<V, $height, 1, TURNED>(v, job, to, step, begins);
                        }
                    }
                },)*
                _ => unreachable!("there are no pieces of {rows} rows"),
            }
        };
    }
    heights!(1, 2, 3, 4, 5, 6, 12);
}

/// `M` rows of `P` vectors.
///
/// # Safety
/// The left side has `M` rows of `depth` numbers, or `depth` rows of `M` when it is turned, each `left_step` behind the one
/// before; there are panels of `depth` lines for the vectors, each `panel_step` behind the one before; `to` has `M` rows of them, each `step` behind the one before.
#[inline(always)]
unsafe fn piece<V: Lanes, const M: usize, const P: usize, const TURNED: bool>(
    v: V,
    job: &Job,
    to: *mut f32,
    step: usize,
    begins: bool,
) {
    let depth = job.depth;
    let mut sums = [[v.splat(0.0); P]; M];
    // SAFETY: all places lie inside, by the caller's promise.
    unsafe {
        if !begins {
            for (row, sums) in sums.iter_mut().enumerate() {
                for (at, sum) in sums.iter_mut().enumerate() {
                    let (line, part) = place::<V>(at);
                    *sum = v.numbers(&*to.add(row * step + line * TILE).cast(), part);
                }
            }
        }
        // Four steps at a time, so that finding the places costs less than the products.
        let mut k = 0;
        while k + 4 <= depth {
            for inside in 0..4 {
                one::<V, M, P, TURNED>(v, job, k + inside, &mut sums);
            }
            k += 4;
        }
        while k < depth {
            one::<V, M, P, TURNED>(v, job, k, &mut sums);
            k += 1;
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (at, sum) in sums.into_iter().enumerate() {
                let (line, part) = place::<V>(at);
                v.put(sum, &mut *to.add(row * step + line * TILE).cast(), part);
            }
        }
    }
}

/// One step of all sums.
///
/// # Safety
/// As [`piece`], for this `k`.
#[inline(always)]
unsafe fn one<V: Lanes, const M: usize, const P: usize, const TURNED: bool>(
    v: V,
    job: &Job,
    k: usize,
    sums: &mut [[V::Numbers; P]; M],
) {
    // SAFETY: all places lie inside, by the caller's promise.
    unsafe {
        let mut right = [v.splat(0.0); P];
        for (at, right) in right.iter_mut().enumerate() {
            let (line, part) = place::<V>(at);
            *right = v.numbers(&*job.panels.add(line * job.panel_step + k), part);
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            let at = if TURNED { k * job.left_step + row } else { row * job.left_step + k };
            let left = v.splat(*job.left.add(at));
            for (sum, right) in sums.iter_mut().zip(right) {
                *sum = v.fuse(left, right, *sum);
            }
        }
    }
}

/// Where a vector of a line stands: which line, and which part of it.
#[inline(always)]
fn place<V: Lanes>(at: usize) -> (usize, usize) {
    (at * V::COUNT / TILE, at * V::COUNT % TILE / V::COUNT)
}
