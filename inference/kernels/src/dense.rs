//! Products of plain matrices, for training: `C = A B`, or added to what C holds.
//!
//! This is a second arithmetic beside that of serving. Activations are not rounded, and each product is fused with the sum
//! that it is added to: one element is `fma(a[k], b[k], sum)` for k from the first to the last, term after term, beginning
//! with zero or with what C holds. Nothing else decides its bits: not the threads, not the vector width, not which other
//! rows and columns are computed with it. B may be weights of a frozen model; they become f32 in a panel of a few hundred
//! rows and sixteen columns at a time, never whole.

#![allow(unsafe_code)]

mod panels;
mod piece;
mod view;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use crate::lanes::TILE;
use crate::{Pool, Simd};

pub(crate) use panels::pack;
pub(crate) use piece::{Panels, Target, strip};
pub use view::{Left, Right, View};

/// Most rows of a packed panel: with the rows of A beside it, it stays in a core's first cache.
const DEPTH_MAX: usize = 320;
/// A panel's depth is a multiple of this, as blocks of weights are.
const DEPTH_STEP: usize = 32;
/// Panels that a task packs together: the columns of a block of weights.
const TOGETHER: usize = 2;
/// A task has at least so many rows, so that packing is worth it.
const ROWS_MIN: usize = 96;

/// A product, or a sum of products of the same sides.
#[derive(Debug)]
pub struct Product<'a> {
    /// Summed in this order.
    pub terms: &'a [(Left<'a>, Right<'a>)],
    /// Row-major, with this many columns.
    pub to: &'a mut [f32],
    /// Columns of `to`.
    pub width: usize,
    /// Whether it is added to what `to` holds.
    pub add: bool,
}

/// Computes products that do not depend on each other, shared among the threads.
///
/// # Panics
/// If sides do not fit.
pub fn products(pool: &mut Pool, simd: Simd, jobs: &mut [Product<'_>]) {
    let mut tasks = Vec::new();
    let mut targets = Vec::with_capacity(jobs.len());
    let groups: usize = jobs.iter().map(|job| job.width.div_ceil(TOGETHER * TILE)).sum();
    for job in jobs.iter_mut() {
        let width = job.width;
        assert!(width > 0 && job.to.len().is_multiple_of(width), "an output has whole rows");
        let rows = job.to.len() / width;
        for (left, right) in job.terms {
            assert!(left.rows() == rows && right.columns() == width, "a product has the sides of its output");
            assert_eq!(left.depth(), right.depth(), "the sides of a product fit each other");
        }
        // Few columns are cut by rows too, or there is nothing to share.
        let wanted = (4 * pool.threads()).div_ceil(groups);
        let step = rows.div_ceil(wanted).max(ROWS_MIN).next_multiple_of(12);
        for first in (0..rows).step_by(step) {
            let rows = first..(first + step).min(rows);
            tasks.extend((0..width.div_ceil(TOGETHER * TILE)).map(|group| (targets.len(), rows.clone(), group)));
        }
        targets.push((job.terms, Shared::new(job.to, width), job.add));
    }
    pool.run(tasks.len(), &|task| {
        let (job, rows, group) = &tasks[task];
        let (terms, to, add) = &targets[*job];
        let columns = group * TOGETHER * TILE..((group + 1) * TOGETHER * TILE).min(to.width);
        // SAFETY: each task has its own rows and columns, inside the output.
        let target = unsafe { to.part(rows, &columns) };
        ROOM.with_borrow_mut(|room| {
            room.resize(room.len().max(TOGETHER * DEPTH_MAX), [0.0; TILE]);
            some_columns(simd, terms, rows, &columns, target, *add, room);
        });
    });
}

/// As [`products`], one of them, on the caller's thread.
#[cfg(test)]
fn product_alone(simd: Simd, job: &mut Product<'_>) {
    products(&mut Pool::new(1).expect("no thread is made"), simd, std::slice::from_mut(job));
}

/// An output of which each task has a part.
pub(crate) struct Shared<'a> {
    start: *mut f32,
    width: usize,
    _numbers: PhantomData<&'a mut [f32]>,
}

// SAFETY: whoever asks for a part promises that it is his alone.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(crate) fn new(numbers: &'a mut [f32], width: usize) -> Self {
        Self { start: numbers.as_mut_ptr(), width, _numbers: PhantomData }
    }

    /// # Safety
    /// The part lies inside, and nobody else has any of it.
    pub(crate) unsafe fn part(&self, rows: &Range<usize>, columns: &Range<usize>) -> Target<'a> {
        // SAFETY: the caller's promise.
        unsafe {
            let start = self.start.add(rows.start * self.width + columns.start);
            Target::from_raw(start, self.width, rows.len(), columns.len())
        }
    }
}

thread_local! {
    /// Room for panels, kept between tasks.
    static ROOM: RefCell<Vec<[f32; TILE]>> = const { RefCell::new(Vec::new()) };
}

/// Some columns of a sum of products.
fn some_columns(
    simd: Simd,
    terms: &[(Left<'_>, Right<'_>)],
    rows: &Range<usize>,
    columns: &Range<usize>,
    mut to: Target<'_>,
    add: bool,
    room: &mut [[f32; TILE]],
) {
    let panels = columns.len().div_ceil(TILE);
    let mut begins = !add;
    for (left, right) in terms {
        let depth = left.depth();
        let step = depth.div_ceil(depth.div_ceil(DEPTH_MAX).max(1)).next_multiple_of(DEPTH_STEP);
        for first in (0..depth).step_by(step) {
            let range = first..(first + step).min(depth);
            let room = &mut room[..panels * range.len()];
            pack(simd, right, &range, columns.start / TILE, room);
            let panels = Panels { lines: room, step: range.len() };
            strip(simd, &left.part(rows, &range), panels, &mut to, begins);
            begins = false;
        }
    }
    if begins {
        to.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_without_terms_or_depth_is_zero() {
        let mut to = [1.0; 6];
        product_alone(Simd::best(), &mut Product { terms: &[], to: &mut to, width: 3, add: false });
        assert_eq!(to, [0.0; 6]);
    }
}
