//! The kernels with AVX2: 16 products per instruction.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{Eight, Four, Row, TILE};

/// Four-bit weights: one tile, `N` rows of activations.
pub(super) fn four<const N: usize>(tile: &[Four], rows: &[Row<'_>; N], sums: &mut [[f32; TILE]; N]) {
    // SAFETY: `Simd::Avx2` is made only where the processor has AVX2.
    unsafe { four_wide(tile, rows, sums) }
}

/// Eight-bit weights: one tile, `N` rows of activations.
pub(super) fn eight<const N: usize>(tile: &[Eight], rows: &[Row<'_>; N], sums: &mut [[f32; TILE]; N]) {
    // SAFETY: as above.
    unsafe { eight_wide(tile, rows, sums) }
}

#[target_feature(enable = "avx2")]
fn four_wide<const N: usize>(tile: &[Four], rows: &[Row<'_>; N], sums: &mut [[f32; TILE]; N]) {
    check(tile.len(), rows);
    let low = _mm256_set1_epi16(15);
    let mut totals = [_mm256_setzero_ps(); N];
    for (at, block) in tile.iter().enumerate() {
        let mut dots = [_mm256_setzero_si256(); N];
        for part in 0..4 {
            // SAFETY: 32 bytes of an array of 16 numbers of two.
            let packed = unsafe { _mm256_loadu_si256(block.q[part].as_ptr().cast()) };
            let digits = [
                _mm256_and_si256(packed, low),
                _mm256_and_si256(_mm256_srli_epi16(packed, 4), low),
                _mm256_and_si256(_mm256_srli_epi16(packed, 8), low),
                _mm256_srli_epi16(packed, 12),
            ];
            for (dots, row) in dots.iter_mut().zip(rows) {
                // SAFETY: `check` has compared the lengths.
                let words = unsafe { row.words.get_unchecked(at) };
                *dots = add_products(*dots, &digits, &words[4 * part..]);
            }
        }
        // SAFETY: eight numbers of an array of eight.
        let (scale, least) = unsafe { (_mm256_loadu_ps(block.scale.as_ptr()), _mm256_loadu_ps(block.least.as_ptr())) };
        for ((total, dots), row) in totals.iter_mut().zip(&dots).zip(rows) {
            // SAFETY: `check` has compared the lengths.
            let (x_scale, x_sum) = unsafe { (*row.scales.get_unchecked(at), *row.sums.get_unchecked(at)) };
            let scaled = _mm256_mul_ps(_mm256_mul_ps(scale, _mm256_set1_ps(x_scale)), _mm256_cvtepi32_ps(*dots));
            *total = _mm256_add_ps(*total, scaled);
            *total = _mm256_add_ps(*total, _mm256_mul_ps(least, _mm256_set1_ps(x_sum)));
        }
    }
    store(&totals, sums);
}

#[target_feature(enable = "avx2")]
fn eight_wide<const N: usize>(tile: &[Eight], rows: &[Row<'_>; N], sums: &mut [[f32; TILE]; N]) {
    check(tile.len(), rows);
    let mut totals = [_mm256_setzero_ps(); N];
    for (at, block) in tile.iter().enumerate() {
        let mut dots = [_mm256_setzero_si256(); N];
        for part in 0..8 {
            // SAFETY: 32 bytes of an array of 16 numbers of two.
            let packed = unsafe { _mm256_loadu_si256(block.q[part].as_ptr().cast()) };
            let digits = [_mm256_srai_epi16(_mm256_slli_epi16(packed, 8), 8), _mm256_srai_epi16(packed, 8)];
            for (dots, row) in dots.iter_mut().zip(rows) {
                // SAFETY: `check` has compared the lengths.
                let words = unsafe { row.words.get_unchecked(at) };
                *dots = add_products(*dots, &digits, &words[2 * part..]);
            }
        }
        // SAFETY: eight numbers of an array of eight.
        let scale = unsafe { _mm256_loadu_ps(block.scale.as_ptr()) };
        for ((total, dots), row) in totals.iter_mut().zip(&dots).zip(rows) {
            // SAFETY: `check` has compared the lengths.
            let x_scale = unsafe { *row.scales.get_unchecked(at) };
            let scaled = _mm256_mul_ps(_mm256_mul_ps(scale, _mm256_set1_ps(x_scale)), _mm256_cvtepi32_ps(*dots));
            *total = _mm256_add_ps(*total, scaled);
        }
    }
    store(&totals, sums);
}

/// Adds the products of digits with one word each. No sum leaves 32 bits: 32 * 128 * 2^15 is 2^27.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products(mut dots: __m256i, digits: &[__m256i], words: &[i32]) -> __m256i {
    for (digits, word) in digits.iter().zip(words) {
        dots = _mm256_add_epi32(dots, _mm256_madd_epi16(*digits, _mm256_set1_epi32(*word)));
    }
    dots
}

/// What the unchecked reads rely on.
fn check<const N: usize>(blocks: usize, rows: &[Row<'_>; N]) {
    for row in rows {
        let same = row.words.len() == blocks && row.scales.len() == blocks && row.sums.len() == blocks;
        assert!(same, "a tile and its rows have the same blocks");
    }
}

#[target_feature(enable = "avx2")]
fn store<const N: usize>(totals: &[__m256; N], sums: &mut [[f32; TILE]; N]) {
    for (total, sums) in totals.iter().zip(sums) {
        // SAFETY: eight numbers into an array of eight.
        unsafe { _mm256_storeu_ps(sums.as_mut_ptr(), *total) };
    }
}
