//! AVX2 with half-precision conversion and fused products, and AVX-512 with VNNI.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{Lanes, Line, TILE};

/// Proof that the processor has AVX2, F16C and FMA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx2(());

/// Proof that the processor has AVX-512 F, BW, VL and VNNI, and all of AVX2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Avx512(());

impl Avx2 {
    pub(crate) fn detect() -> Option<Self> {
        let has =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") && is_x86_feature_detected!("fma");
        has.then_some(Self(()))
    }
}

impl Avx512 {
    pub(crate) fn detect() -> Option<Self> {
        let has = Avx2::detect().is_some()
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni");
        has.then_some(Self(()))
    }
}

/// Operations that touch registers only.
macro_rules! registers {
    ($($(#[$meta:meta])* fn $name:ident $(<const $n:ident>)? ($($argument:ident: $kind:ty),*) -> $result:ty = $body:expr;)*) => {$(
        $(#[$meta])*
        #[inline(always)]
        fn $name $(<const $n: i32>)? (self, $($argument: $kind),*) -> $result {
            // SAFETY: `self` proves that the processor has the instruction.
            unsafe { $body }
        }
    )*};
}

/// Where vector number `part` of an array begins.
macro_rules! place {
    ($array:expr, $part:expr, $size:expr, $method:ident) => {{
        assert!(($part + 1) * $size <= $array.len(), "a vector lies inside its array");
        $array.$method().add($part * $size).cast()
    }};
}

impl Lanes for Avx2 {
    const COUNT: usize = 8;
    const ROWS: usize = 4;
    const PIECE: (usize, usize) = (6, 2);
    type Words = __m256i;
    type Sums = __m256i;
    type Numbers = __m256;

    registers! {
        fn words(line: &Line, part: usize) -> __m256i = _mm256_loadu_si256(place!(line.0, part, 16, as_ptr));
        fn digit<const N>(words: __m256i) -> __m256i = {
            // The mask is kept in a register; the shift count is known when this is compiled.
            _mm256_and_si256(_mm256_srl_epi16(words, _mm_cvtsi32_si128(4 * N)), _mm256_set1_epi16(15))
        };
        fn byte<const N>(words: __m256i) -> __m256i = {
            if N == 0 { _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(words)) } else { _mm256_srai_epi16::<8>(words) }
        };
        fn none() -> __m256i = _mm256_setzero_si256();
        fn dot(sums: __m256i, words: __m256i, pair: i32) -> __m256i = {
            _mm256_add_epi32(sums, _mm256_madd_epi16(words, _mm256_set1_epi32(pair)))
        };
        fn float(sums: __m256i) -> __m256 = _mm256_cvtepi32_ps(sums);
        fn halves(from: &[u16; TILE], part: usize) -> __m256 = {
            _mm256_cvtph_ps(_mm_loadu_si128(place!(from, part, 8, as_ptr)))
        };
        fn numbers(from: &[f32; TILE], part: usize) -> __m256 = {
            let place: *const f32 = place!(from, part, 8, as_ptr);
            _mm256_loadu_ps(place)
        };
        fn put(numbers: __m256, to: &mut [f32; TILE], part: usize) -> () = {
            let place: *mut f32 = place!(to, part, 8, as_mut_ptr);
            _mm256_storeu_ps(place, numbers)
        };
        fn put_halves(numbers: __m256, to: &mut [u16; TILE], part: usize) -> () = {
            let halves = _mm256_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(numbers);
            _mm_storeu_si128(place!(to, part, 8, as_mut_ptr), halves)
        };
        fn splat(number: f32) -> __m256 = _mm256_set1_ps(number);
        fn add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        fn mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        fn fuse(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
    }
}

impl Lanes for Avx512 {
    const COUNT: usize = 16;
    const ROWS: usize = 8;
    const PIECE: (usize, usize) = (12, 2);
    type Words = __m512i;
    type Sums = __m512i;
    type Numbers = __m512;

    registers! {
        fn words(line: &Line, part: usize) -> __m512i = _mm512_loadu_si512(place!(line.0, part, 32, as_ptr));
        fn digit<const N>(words: __m512i) -> __m512i = {
            _mm512_and_si512(_mm512_srl_epi16(words, _mm_cvtsi32_si128(4 * N)), _mm512_set1_epi16(15))
        };
        fn byte<const N>(words: __m512i) -> __m512i = {
            if N == 0 { _mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(words)) } else { _mm512_srai_epi16::<8>(words) }
        };
        fn none() -> __m512i = _mm512_setzero_si512();
        fn dot(sums: __m512i, words: __m512i, pair: i32) -> __m512i = {
            _mm512_dpwssd_epi32(sums, words, _mm512_set1_epi32(pair))
        };
        fn float(sums: __m512i) -> __m512 = _mm512_cvtepi32_ps(sums);
        fn halves(from: &[u16; TILE], part: usize) -> __m512 = {
            _mm512_cvtph_ps(_mm256_loadu_si256(place!(from, part, 16, as_ptr)))
        };
        fn numbers(from: &[f32; TILE], part: usize) -> __m512 = {
            let place: *const f32 = place!(from, part, 16, as_ptr);
            _mm512_loadu_ps(place)
        };
        fn put(numbers: __m512, to: &mut [f32; TILE], part: usize) -> () = {
            let place: *mut f32 = place!(to, part, 16, as_mut_ptr);
            _mm512_storeu_ps(place, numbers)
        };
        fn put_halves(numbers: __m512, to: &mut [u16; TILE], part: usize) -> () = {
            let halves = _mm512_cvtps_ph::<{ _MM_FROUND_TO_NEAREST_INT }>(numbers);
            _mm256_storeu_si256(place!(to, part, 16, as_mut_ptr), halves)
        };
        fn splat(number: f32) -> __m512 = _mm512_set1_ps(number);
        fn add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        fn mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        fn fuse(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
    }
}
