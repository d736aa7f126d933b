//! The few vector operations that the kernels are written in, once per kind of vector instructions.
//!
//! A kernel is one generic body over [`Lanes`]. Lanes never mix, so a body gives the same bits with eight lanes twice as
//! with sixteen once.

mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

pub(crate) use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

/// Lanes that a kernel handles together, in one vector or two.
pub(crate) const TILE: usize = 16;

/// 64 bytes of packed weights: two sixteen-bit words for each of sixteen lanes.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(crate) struct Line(pub(crate) [u16; 2 * TILE]);

/// Vector operations. `part` says which [`Lanes::COUNT`] of the sixteen lanes are meant.
pub(crate) trait Lanes: Copy {
    /// Lanes of one vector: 8 or 16.
    const COUNT: usize;
    /// Rows of activations that one pass over a tile of weights serves.
    const ROWS: usize;
    /// Rows and vectors across of the piece of a dense product that stays in registers (`dense/piece.rs`).
    const PIECE: (usize, usize);
    /// Two sixteen-bit words per lane.
    type Words: Copy;
    /// A whole number of 32 bits per lane.
    type Sums: Copy;
    /// A number per lane.
    type Numbers: Copy;

    /// Packed weights.
    fn words(self, line: &Line, part: usize) -> Self::Words;
    /// The four bits from bit `4 * N` of each word, from 0 to 15.
    fn digit<const N: i32>(self, words: Self::Words) -> Self::Words;
    /// The byte from bit `8 * N` of each word, with its sign.
    fn byte<const N: i32>(self, words: Self::Words) -> Self::Words;
    /// Zeros.
    fn none(self) -> Self::Sums;
    /// `sums + words . pair` in each lane; `pair` holds two signed words.
    fn dot(self, sums: Self::Sums, words: Self::Words, pair: i32) -> Self::Sums;
    /// The nearest numbers.
    fn float(self, sums: Self::Sums) -> Self::Numbers;

    /// Half-precision numbers.
    fn halves(self, from: &[u16; TILE], part: usize) -> Self::Numbers;
    /// Numbers.
    fn numbers(self, from: &[f32; TILE], part: usize) -> Self::Numbers;
    /// Writes numbers.
    fn put(self, numbers: Self::Numbers, to: &mut [f32; TILE], part: usize);
    /// Rounds to half precision and writes.
    fn put_halves(self, numbers: Self::Numbers, to: &mut [u16; TILE], part: usize);
    /// The same number in each lane.
    fn splat(self, number: f32) -> Self::Numbers;
    /// Sum.
    fn add(self, a: Self::Numbers, b: Self::Numbers) -> Self::Numbers;
    /// Product.
    fn mul(self, a: Self::Numbers, b: Self::Numbers) -> Self::Numbers;
    /// `a * b + c`, rounded once. Training alone uses it.
    fn fuse(self, a: Self::Numbers, b: Self::Numbers, c: Self::Numbers) -> Self::Numbers;
    /// Turns a square around.
    #[inline(always)]
    fn turn(self, from: &[[f32; TILE]; TILE], to: &mut [[f32; TILE]; TILE]) {
        for (row, to) in to.iter_mut().enumerate() {
            for (to, from) in to.iter_mut().zip(from) {
                *to = from[row];
            }
        }
    }
}
