//! What an adapter adds to one matrix: `y += scale * (x A^T) B^T`, never merged into the weights (LoRA, arXiv 2106.09685).

use crate::lanes::{Lanes, TILE};
use crate::simd::each_simd;
use crate::{from_half, to_half};

/// Rows that share one pass over A and B.
const TOGETHER: usize = 4;

/// A number is not finite.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a number is not finite")]
pub struct NotFinite;

/// The change of one matrix, in half precision. Each row of A and of B turned around is held at its own power of two, so
/// that no number is too large or too small for that.
#[derive(Debug, Clone)]
pub struct Change {
    rank: usize,
    /// Row by row: `rank` rows of the inputs.
    a: Box<[[u16; TILE]]>,
    /// Row by row: `rank` rows of the outputs.
    b: Box<[[u16; TILE]]>,
    /// Per row of A and B.
    factors: Box<[f32]>,
    scale: f32,
}

impl Change {
    /// From A (`rank` x inputs) and B turned around (`rank` x outputs), both row-major.
    ///
    /// # Errors
    /// [`NotFinite`].
    ///
    /// # Panics
    /// If the rank is zero, or inputs or outputs are not a multiple of 16.
    pub fn new(rank: usize, a: &[f32], b: &[f32], scale: f32) -> Result<Self, NotFinite> {
        let fits = |numbers: &[f32]| !numbers.is_empty() && numbers.len().is_multiple_of(rank * TILE);
        assert!(rank > 0 && fits(a) && fits(b), "sides are multiples of sixteen");
        if !scale.is_finite() || a.iter().chain(b).any(|number| !number.is_finite()) {
            return Err(NotFinite);
        }
        let (a, a_powers) = rows(rank, a);
        let (b, b_powers) = rows(rank, b);
        let factors = a_powers.iter().zip(&b_powers).map(|(a, b)| scale * (a * b)).collect();
        Ok(Self { rank, a, b, factors, scale })
    }

    /// Its rank.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Inputs and outputs.
    pub fn sides(&self) -> (usize, usize) {
        (self.a.len() * TILE / self.rank, self.b.len() * TILE / self.rank)
    }

    /// What multiplies the product.
    pub fn scale(&self) -> f32 {
        self.scale
    }

    /// A and B turned around, as [`Change::new`] takes them: a change of the same bits. Numbers of which the product is
    /// finite may be infinite in B alone.
    pub fn matrices(&self) -> (Vec<f32>, Vec<f32>) {
        let (_, outputs) = self.sides();
        let numbers = |halves: &[[u16; TILE]]| halves.as_flattened().iter().map(|half| from_half(*half)).collect();
        let (a, mut b): (Vec<f32>, Vec<f32>) = (numbers(&self.a), numbers(&self.b));
        for (row, factor) in b.chunks_exact_mut(outputs).zip(&self.factors) {
            // The powers of two of A's row and B's: exact.
            let power = if self.scale == 0.0 { 1.0 } else { factor / self.scale };
            row.iter_mut().for_each(|number| *number *= power);
        }
        (a, b)
    }

    /// Bytes in memory.
    pub fn size(&self) -> usize {
        size_of_val(&*self.a) + size_of_val(&*self.b) + size_of_val(&*self.factors)
    }

    /// A and B row by row, and the factor of each.
    pub(crate) fn halves(&self) -> (&[[u16; TILE]], &[[u16; TILE]], &[f32]) {
        (&self.a, &self.b, &self.factors)
    }

    /// Adds the products of whole rows: `x` has rows of the inputs, `y` as many of the outputs.
    ///
    /// # Panics
    /// If sides do not fit.
    pub fn add(&self, simd: crate::Simd, x: &[f32], y: &mut [f32]) {
        let (inputs, outputs) = self.sides();
        assert!(x.len().is_multiple_of(inputs) && x.len() / inputs * outputs == y.len(), "rows fit the change");
        add_rows(simd, self, x, y);
    }
}

/// Each row in half precision, and the power of two that it must be multiplied with.
fn rows(rank: usize, numbers: &[f32]) -> (Box<[[u16; TILE]]>, Vec<f32>) {
    let mut powers = Vec::with_capacity(rank);
    let mut halves = Vec::with_capacity(numbers.len() / TILE);
    for row in numbers.chunks_exact(numbers.len() / rank) {
        let most = row.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
        // The exponent of the largest number; it becomes 14, far from what half precision cannot hold.
        let exponent = (most.to_bits() >> 23).clamp(40, 250).cast_signed() - 127;
        let power = |exponent: i32| f32::from_bits((exponent + 127).cast_unsigned() << 23);
        // In two steps, since the whole factor may be no f32.
        let (down, up) = (power(-exponent.clamp(-60, 60)), power(14));
        let rest = power(exponent.clamp(-60, 60) - exponent);
        halves
            .extend(row.as_chunks::<TILE>().0.iter().map(|line| line.map(|number| to_half(number * down * rest * up))));
        powers.push(1.0 / (down * rest * up));
    }
    (halves.into_boxed_slice(), powers)
}

each_simd! {
    fn add_rows / add_rows_body(change: &Change, x: &[f32], y: &mut [f32]);
}

#[inline(always)]
fn add_rows_body<V: Lanes>(v: V, change: &Change, x: &[f32], y: &mut [f32]) {
    let (inputs, outputs) = change.sides();
    let mut row = 0;
    while row < x.len() / inputs {
        let left = (x.len() / inputs - row).min(TOGETHER);
        let x = &x[row * inputs..][..left * inputs];
        let y = &mut y[row * outputs..][..left * outputs];
        match left {
            1 => some_rows::<V, 1>(v, change, x, y),
            2 => some_rows::<V, 2>(v, change, x, y),
            3 => some_rows::<V, 3>(v, change, x, y),
            _ => some_rows::<V, TOGETHER>(v, change, x, y),
        }
        row += left;
    }
}

#[inline(always)]
fn some_rows<V: Lanes, const N: usize>(v: V, change: &Change, x: &[f32], y: &mut [f32]) {
    let (inputs, outputs) = change.sides();
    let rows: [&[[f32; TILE]]; N] = std::array::from_fn(|at| x[at * inputs..][..inputs].as_chunks::<TILE>().0);
    let mut inner = [[0.0; N]; RANKS];
    // In stretches of ranks, so that the inner numbers have a bounded place; each adds to `y` in its turn.
    let a = change.a.chunks(RANKS * inputs / TILE);
    let b = change.b.chunks(RANKS * outputs / TILE);
    for ((a, b), factors) in a.zip(b).zip(change.factors.chunks(RANKS)) {
        for ((a, factor), inner) in a.chunks_exact(inputs / TILE).zip(factors).zip(&mut inner) {
            let mut lanes = [[0.0; TILE]; N];
            for part in 0..TILE / V::COUNT {
                let mut sums = [v.splat(0.0); N];
                for (at, a) in a.iter().enumerate() {
                    let a = v.halves(a, part);
                    for (sum, x) in sums.iter_mut().zip(&rows) {
                        *sum = v.add(*sum, v.mul(a, v.numbers(&x[at], part)));
                    }
                }
                for (sum, lanes) in sums.into_iter().zip(&mut lanes) {
                    v.put(sum, lanes, part);
                }
            }
            for (inner, lanes) in inner.iter_mut().zip(&lanes) {
                *inner = factor * sum_all(lanes);
            }
        }
        for (row, y) in y.chunks_exact_mut(outputs).enumerate() {
            for (at, y) in y.as_chunks_mut::<TILE>().0.iter_mut().enumerate() {
                for part in 0..TILE / V::COUNT {
                    let mut sum = v.numbers(y, part);
                    for (b, inner) in b.chunks_exact(outputs / TILE).zip(&inner) {
                        sum = v.add(sum, v.mul(v.halves(&b[at], part), v.splat(inner[row])));
                    }
                    v.put(sum, y, part);
                }
            }
        }
    }
}

/// Ranks of one stretch.
const RANKS: usize = 16;

/// The sum of sixteen lanes, in one order.
#[inline(always)]
fn sum_all(lanes: &[f32; TILE]) -> f32 {
    let mut sums = *lanes;
    let mut width = TILE / 2;
    while width > 0 {
        for lane in 0..width {
            sums[lane] += sums[lane + width];
        }
        width /= 2;
    }
    sums[0]
}
