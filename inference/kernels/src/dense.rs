//! Products of plain matrices, for training: `C = A B`, or added to what C holds.
//!
//! This is a second arithmetic beside that of serving. Activations are not rounded, and each product is fused with the sum
//! that it is added to: one element is `fma(a[k], b[k], sum)` for k from the first to the last, term after term, beginning
//! with zero or with what C holds. Nothing else decides its bits: not the threads, not the vector width, not which other
//! rows and columns are computed with it. B may be weights of a frozen model; they become f32 in a panel of a few hundred
//! rows and sixteen columns at a time, never whole.
//!
//! Whoever does not need the bits of every machine may have products with frozen weights on a matrix unit instead, where
//! the processor has one ([`Dense::fast`], `tiles.rs`): then too neither threads nor company decide a bit.

#![allow(unsafe_code)]

mod panels;
mod piece;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod tiles;
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
#[path = "dense/no_tiles.rs"]
mod tiles;
mod view;

use std::cell::RefCell;
use std::marker::PhantomData;
use std::ops::Range;

use crate::lanes::TILE;
use crate::{Pool, Simd};
use tiles::{Halves, Tiles};

pub(crate) use panels::pack;
pub(crate) use piece::{Panels, Target, strip};
pub use view::{Left, Right, View};

/// Most rows of a packed panel: with the rows of A beside it, it stays in a core's first cache.
const DEPTH_MAX: usize = 320;
/// A panel's depth is a multiple of this, as blocks of weights are.
const DEPTH_STEP: usize = 32;
/// Panels that a task packs together: the columns of a block of weights.
const TOGETHER: usize = 2;
/// A task has a multiple of so many rows, so that packing is worth it and none begins inside a piece.
const ROWS_STEP: usize = 96;

/// Rounding where each number is a sum of two bfloat16 numbers, and each product three of theirs.
pub const BF16X2: &str = "bf16x2";

/// What products are computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dense {
    simd: Simd,
    tiles: Option<Tiles>,
}

impl Dense {
    /// Fused sums: the same bits with all vector instructions.
    pub fn exact(simd: Simd) -> Self {
        Self { simd, tiles: None }
    }

    /// Products with frozen weights on the processor's matrix unit, if it has one that we know; else as [`Dense::exact`].
    pub fn fast(simd: Simd) -> Self {
        Self { simd, tiles: Tiles::detect() }
    }

    /// How products with frozen weights are rounded, if they are not fused sums.
    pub fn rounding(self) -> Option<&'static str> {
        self.tiles.map(|_| BF16X2)
    }
}

impl From<Simd> for Dense {
    fn from(simd: Simd) -> Self {
        Self::exact(simd)
    }
}

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
pub fn products(pool: &mut Pool, dense: impl Into<Dense>, jobs: &mut [Product<'_>]) {
    let Dense { simd, tiles } = dense.into();
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
        let step = rows.div_ceil(wanted).max(1).next_multiple_of(ROWS_STEP);
        let (step, across) = match tiles {
            None => (step, 1),
            Some(_) => (step.min(tiles::ROWS_MAX), tiles::groups(groups, pool.threads())),
        };
        let own = width.div_ceil(TOGETHER * TILE);
        for first in (0..rows).step_by(step) {
            let rows = first..(first + step).min(rows);
            // As equal as whole groups can be.
            let parts = own.div_ceil(across);
            tasks.extend(
                (0..parts).map(|part| (targets.len(), rows.clone(), part * own / parts..(part + 1) * own / parts)),
            );
        }
        targets.push((job.terms, Shared::new(job.to, width), job.add));
    }
    let halves = tiles.map(|tiles| {
        let lefts = targets.iter().flat_map(|(terms, _, _)| terms.iter());
        Halves::new(tiles, pool, lefts.filter(|(left, right)| on_tiles(left, right)).map(|(left, _)| left.view))
    });
    let halves = halves.as_ref();
    pool.run(tasks.len(), &|task| {
        let (job, rows, groups) = &tasks[task];
        let (terms, to, add) = &targets[*job];
        let columns = groups.start * TOGETHER * TILE..(groups.end * TOGETHER * TILE).min(to.width);
        // SAFETY: each task has its own rows and columns, inside the output.
        let target = unsafe { to.part(rows, &columns) };
        ROOM.with_borrow_mut(|room| {
            let most = if halves.is_some() { DEPTH_MAX.max(tiles::DEPTH_MAX) } else { DEPTH_MAX };
            room.resize(room.len().max(TOGETHER * most), [0.0; TILE]);
            some_columns(simd, halves, terms, rows, &columns, target, *add, room);
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

/// Whether a product is one for a matrix unit.
fn on_tiles(left: &Left<'_>, right: &Right<'_>) -> bool {
    !left.turned && matches!(right, Right::Weights(_) | Right::WeightsTurned(_))
}

/// Some columns of a sum of products.
#[allow(clippy::too_many_arguments, reason = "the parts of one task")]
fn some_columns(
    simd: Simd,
    halves: Option<&Halves>,
    terms: &[(Left<'_>, Right<'_>)],
    rows: &Range<usize>,
    columns: &Range<usize>,
    mut to: Target<'_>,
    add: bool,
    room: &mut [[f32; TILE]],
) {
    let mut begins = !add;
    for (left, right) in terms {
        let depth = left.depth();
        let halves = halves.filter(|_| on_tiles(left, right));
        let most = if halves.is_some() { tiles::DEPTH_MAX } else { DEPTH_MAX };
        let step = depth.div_ceil(depth.div_ceil(most).max(1)).next_multiple_of(DEPTH_STEP);
        for first in (0..depth).step_by(step) {
            let range = first..(first + step).min(depth);
            for column in columns.clone().step_by(TOGETHER * TILE) {
                let own = column..(column + TOGETHER * TILE).min(columns.end);
                let room = &mut room[..own.len().div_ceil(TILE) * range.len()];
                pack(simd, right, &range, own.start / TILE, room);
                let to = &mut to.columns(&(own.start - columns.start..own.end - columns.start));
                match halves {
                    Some(halves) => halves.strip(&left.view, rows, &range, room, to, begins),
                    None => {
                        let panels = Panels { lines: room, step: range.len() };
                        strip(simd, &left.part(rows, &range), panels, to, begins);
                    }
                }
            }
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
    fn a_product_without_rows_is_none() {
        let matrix = [1.0; 6];
        let terms = [(Left::new(&[], 2), Right::new(&matrix, 3))];
        product_alone(Simd::best(), &mut Product { terms: &terms, to: &mut [], width: 3, add: false });
    }

    #[test]
    fn a_product_without_terms_or_depth_is_zero() {
        let mut to = [1.0; 6];
        product_alone(Simd::best(), &mut Product { terms: &[], to: &mut to, width: 3, add: false });
        assert_eq!(to, [0.0; 6]);
    }
}
