//! Plain Rust: the meaning of each operation.

use super::{Lanes, Line, TILE};
use crate::half::{from_half, to_half};

/// No vector instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Portable;

#[allow(clippy::cast_possible_truncation, reason = "digits and bytes of sixteen bits")]
impl Lanes for Portable {
    const COUNT: usize = TILE;
    const ROWS: usize = 4;
    const PIECE: (usize, usize) = (4, 1);
    type Words = [u16; 2 * TILE];
    type Sums = [i32; TILE];
    type Numbers = [f32; TILE];

    #[inline(always)]
    fn words(self, line: &Line, _: usize) -> Self::Words {
        line.0
    }
    #[inline(always)]
    fn digit<const N: i32>(self, words: Self::Words) -> Self::Words {
        words.map(|word| word >> (4 * N) & 15)
    }
    #[inline(always)]
    fn byte<const N: i32>(self, words: Self::Words) -> Self::Words {
        words.map(|word| ((word << (8 - 8 * N)).cast_signed() >> 8).cast_unsigned())
    }
    #[inline(always)]
    fn none(self) -> Self::Sums {
        [0; TILE]
    }
    #[inline(always)]
    fn dot(self, sums: Self::Sums, words: Self::Words, pair: i32) -> Self::Sums {
        let (first, second) = (i32::from(pair as i16), pair >> 16);
        std::array::from_fn(|lane| {
            let word = |at: usize| i32::from(words[2 * lane + at].cast_signed());
            sums[lane].wrapping_add(word(0).wrapping_mul(first)).wrapping_add(word(1).wrapping_mul(second))
        })
    }
    #[inline(always)]
    fn float(self, sums: Self::Sums) -> Self::Numbers {
        sums.map(|sum| sum as f32)
    }

    #[inline(always)]
    fn halves(self, from: &[u16; TILE], _: usize) -> Self::Numbers {
        from.map(from_half)
    }
    #[inline(always)]
    fn numbers(self, from: &[f32; TILE], _: usize) -> Self::Numbers {
        *from
    }
    #[inline(always)]
    fn put(self, numbers: Self::Numbers, to: &mut [f32; TILE], _: usize) {
        *to = numbers;
    }
    #[inline(always)]
    fn put_halves(self, numbers: Self::Numbers, to: &mut [u16; TILE], _: usize) {
        *to = numbers.map(to_half);
    }
    #[inline(always)]
    fn splat(self, number: f32) -> Self::Numbers {
        [number; TILE]
    }
    #[inline(always)]
    fn add(self, a: Self::Numbers, b: Self::Numbers) -> Self::Numbers {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }
    #[inline(always)]
    fn mul(self, a: Self::Numbers, b: Self::Numbers) -> Self::Numbers {
        std::array::from_fn(|lane| a[lane] * b[lane])
    }
    #[inline(always)]
    fn fuse(self, a: Self::Numbers, b: Self::Numbers, c: Self::Numbers) -> Self::Numbers {
        std::array::from_fn(|lane| a[lane].mul_add(b[lane], c[lane]))
    }
}
