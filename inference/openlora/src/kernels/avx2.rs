//! The kernels with AVX2: 32 products per instruction.
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
    let low = _mm256_set1_epi8(15);
    let ones = _mm256_set1_epi16(1);
    let mut totals = [_mm256_setzero_ps(); N];
    for (at, block) in tile.iter().enumerate() {
        // Sixteen-bit sums hold: a pair is at most 2 * 15 * 127, and eight pairs stay below 2^15.
        let mut pairs = [_mm256_setzero_si256(); N];
        for part in 0..4 {
            // SAFETY: 32 bytes of an array of 32.
            let packed = unsafe { _mm256_loadu_si256(block.q[part].as_ptr().cast()) };
            let front = _mm256_and_si256(packed, low);
            let back = _mm256_and_si256(_mm256_srli_epi16(packed, 4), low);
            for (pairs, row) in pairs.iter_mut().zip(rows) {
                // SAFETY: `check` has compared the lengths.
                let words = unsafe { row.words.get_unchecked(at) };
                let first = _mm256_maddubs_epi16(front, _mm256_set1_epi32(words[part]));
                let second = _mm256_maddubs_epi16(back, _mm256_set1_epi32(words[part + 4]));
                *pairs = _mm256_add_epi16(*pairs, _mm256_add_epi16(first, second));
            }
        }
        // SAFETY: eight numbers of an array of eight.
        let (scale, least) = unsafe { (_mm256_loadu_ps(block.scale.as_ptr()), _mm256_loadu_ps(block.least.as_ptr())) };
        for ((total, pairs), row) in totals.iter_mut().zip(&pairs).zip(rows) {
            // SAFETY: `check` has compared the lengths.
            let (x_scale, x_sum) = unsafe { (*row.scales.get_unchecked(at), *row.sums.get_unchecked(at)) };
            let dots = _mm256_cvtepi32_ps(_mm256_madd_epi16(*pairs, ones));
            let scaled = _mm256_mul_ps(_mm256_mul_ps(scale, _mm256_set1_ps(x_scale)), dots);
            *total = _mm256_add_ps(*total, scaled);
            *total = _mm256_add_ps(*total, _mm256_mul_ps(least, _mm256_set1_ps(x_sum)));
        }
    }
    store(&totals, sums);
}

#[target_feature(enable = "avx2")]
fn eight_wide<const N: usize>(tile: &[Eight], rows: &[Row<'_>; N], sums: &mut [[f32; TILE]; N]) {
    check(tile.len(), rows);
    let ones = _mm256_set1_epi16(1);
    let mut totals = [_mm256_setzero_ps(); N];
    for (at, block) in tile.iter().enumerate() {
        let mut dots = [_mm256_setzero_si256(); N];
        for part in 0..8 {
            // SAFETY: 32 bytes of an array of 32.
            let q = unsafe { _mm256_loadu_si256(block.q[part].as_ptr().cast()) };
            // A weight may be -128, whose size fits u8; an activation may not, so its sign can be turned.
            let size = _mm256_abs_epi8(q);
            for (dots, row) in dots.iter_mut().zip(rows) {
                // SAFETY: `check` has compared the lengths.
                let words = unsafe { row.words.get_unchecked(at) };
                let x = _mm256_sign_epi8(_mm256_set1_epi32(words[part]), q);
                *dots = _mm256_add_epi32(*dots, _mm256_madd_epi16(_mm256_maddubs_epi16(size, x), ones));
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
