//! Products with frozen weights on a matrix unit: Intel's AMX, which multiplies squares of bfloat16 numbers and sums in f32.
//!
//! A number of 24 bits becomes a sum of two bfloat16 numbers of 8 bits, `high + low`; what is left of it is below 2^-17 of
//! it. A product is `high * low + high * high + low * high`, three products of squares; the fourth is below what was left
//! already. So a sum is as near to the exact one as f32 itself to about five digits (Henry, Tang, Heinecke: Leveraging the
//! bfloat16 artificial intelligence datatype for higher-precision computations, 2019). An element is summed from the first
//! k to the last in pairs, whichever rows and columns are computed with it.

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::Cell;
use std::ops::Range;
use std::sync::OnceLock;

use super::view::View;
use super::{Pool, Target};
use crate::Split;
use crate::lanes::TILE;

/// Numbers of a row of a square.
const ACROSS: usize = 32;
/// Rows of a piece, and columns: two squares each way.
const PIECE: usize = 2 * TILE;

/// Rows of a task, and its depth at once: so many of the left side stay in a core's second cache.
pub(super) const ROWS_MAX: usize = 576;
pub(super) const DEPTH_MAX: usize = 576;
/// Most groups of columns of a task, for which the left side is read once from a farther cache.
const GROUPS_MAX: usize = 9;

/// Groups of columns of a task, of so many in all.
pub(super) fn groups(all: usize, threads: usize) -> usize {
    all.div_ceil(
        threads * all.div_ceil(threads * std::env::var("G").ok().and_then(|d| d.parse().ok()).unwrap_or(GROUPS_MAX)),
    )
    .max(1)
}

/// Proof that the processor has AMX with bfloat16, and AVX-512 with the same, and that the system lets this process use it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tiles(());

impl Tiles {
    pub(super) fn detect() -> Option<Self> {
        static FOUND: OnceLock<bool> = OnceLock::new();
        FOUND.get_or_init(|| has_instructions() && may_use()).then_some(Self(()))
    }
}

fn has_instructions() -> bool {
    // Leaf 7: bit 22 of EDX is AMX-BF16, bit 24 AMX-TILE (Intel SDM, volume 2, CPUID).
    const BOTH: u32 = 1 << 22 | 1 << 24;
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16")
        && __cpuid_count(7, 0).edx & BOTH == BOTH
}

/// Asks Linux for the tiles' state, which a process has to (`Documentation/arch/x86/xstate.rst`). All threads have it then.
fn may_use() -> bool {
    const REQUEST: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) == 0 }
}

/// 16 rows of 32 bfloat16 numbers.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Square([u16; TILE * ACROSS]);

const EMPTY: Square = Square([0; TILE * ACROSS]);

/// 32 lines of 32 numbers: the high numbers of the first sixteen and of the others, then the low ones.
type Four = [Square; 4];

/// The left sides of products as squares: for 32 rows and then for each 32 columns four. Behind the last row and column
/// there are zeros.
pub(super) struct Halves {
    tiles: Tiles,
    fours: Vec<Four>,
    /// The view's numbers, and where its squares begin.
    places: Vec<(*const f32, [usize; 3], usize)>,
}

// SAFETY: the pointers are names of views; nobody follows them.
unsafe impl Sync for Halves {}

thread_local! {
    /// Room of the left sides, kept between calls.
    static FOURS: Cell<Vec<Four>> = const { Cell::new(Vec::new()) };
    /// Room of a task: the squares of two panels.
    static PANELS: Cell<Vec<Four>> = const { Cell::new(Vec::new()) };
}

impl Drop for Halves {
    fn drop(&mut self) {
        FOURS.set(std::mem::take(&mut self.fours));
    }
}

fn sides(view: &View<'_>) -> [usize; 3] {
    [view.rows, view.columns, view.step]
}

impl Halves {
    pub(super) fn new<'a>(tiles: Tiles, pool: &mut Pool, views: impl Iterator<Item = View<'a>>) -> Self {
        let mut all: Vec<View<'a>> = Vec::new();
        let mut halves = Self { tiles, fours: FOURS.take(), places: Vec::new() };
        let mut end = 0;
        for view in views.filter(|view| view.columns > 0) {
            if halves.place(&view).is_none() {
                halves.places.push((view.numbers.as_ptr(), sides(&view), end));
                end += view.rows.div_ceil(PIECE) * view.columns.div_ceil(ACROSS);
                all.push(view);
            }
        }
        // What was there before is overwritten.
        halves.fours.resize(end.max(halves.fours.len()), [EMPTY; 4]);
        let mut rest = &mut halves.fours[..end];
        for view in all {
            let across = view.columns.div_ceil(ACROSS);
            let (own, others) = rest.split_at_mut(view.rows.div_ceil(PIECE) * across);
            rest = others;
            let own = Split::new(own, across);
            // SAFETY: `tiles` proves that the processor has the instructions.
            pool.run(own.rows(), &|at| unsafe { split(&view, at * PIECE, own.take(at)) });
        }
        halves
    }

    fn place(&self, view: &View<'_>) -> Option<usize> {
        let own = (view.numbers.as_ptr(), sides(view));
        self.places.iter().find(|(numbers, sides, _)| (*numbers, *sides) == own).map(|(_, _, place)| *place)
    }

    /// `to (+)= left * lines` for some rows, from a multiple of 32 on, and a stretch of the depth, as well; `lines` are its
    /// packed panels.
    pub(super) fn strip(
        &self,
        left: &View<'_>,
        rows: &Range<usize>,
        depth: &Range<usize>,
        lines: &[[f32; TILE]],
        to: &mut Target<'_>,
        begins: bool,
    ) {
        let place = self.place(left).expect("every left side was split");
        assert!(rows.start.is_multiple_of(PIECE) && depth.start.is_multiple_of(ACROSS), "a strip begins with a square");
        let (first, count) = (depth.start / ACROSS, depth.len().div_ceil(ACROSS));
        let mut room = PANELS.take();
        room.resize(room.len().max(count), [EMPTY; 4]);
        let right = &mut room[..count];
        // SAFETY: `tiles` proves that the processor has the instructions.
        unsafe { panels(lines, depth.len(), right) };
        let across = left.columns.div_ceil(ACROSS);
        let lefts = self.fours[place..].chunks_exact(across).skip(rows.start / PIECE);
        let configured = Configured::new(self.tiles);
        for (row, left) in (0..rows.len()).step_by(PIECE).zip(lefts) {
            let left = &left[first..first + count];
            if let Some((start, step)) = to.whole(row, PIECE) {
                // SAFETY: a whole piece of the output lies there.
                unsafe { piece(&configured, left, right, start, step, begins) };
                continue;
            }
            let mut edge = [[0.0_f32; PIECE]; PIECE];
            let height = PIECE.min(rows.len() - row);
            if !begins {
                to.copy(row, 0, &mut edge[..height], false);
            }
            // SAFETY: it is a whole piece.
            unsafe { piece(&configured, left, right, edge.as_mut_ptr().cast(), PIECE, begins) };
            to.copy(row, 0, &mut edge[..height], true);
        }
        PANELS.set(room);
    }
}

/// 32 rows from `first` on as squares.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn split(view: &View<'_>, first: usize, to: &mut [Four]) {
    for row in 0..PIECE {
        let (side, place) = (row / TILE, row % TILE * ACROSS);
        if first + row >= view.rows {
            for four in to.iter_mut() {
                four[side].0[place..][..ACROSS].fill(0);
                four[2 + side].0[place..][..ACROSS].fill(0);
            }
            continue;
        }
        for (numbers, four) in view.row(first + row).chunks(ACROSS).zip(to.iter_mut()) {
            let mut whole = [0.0; ACROSS];
            let numbers = if numbers.len() == ACROSS {
                numbers
            } else {
                whole[..numbers.len()].copy_from_slice(numbers);
                &whole
            };
            for (half, numbers) in numbers.as_chunks::<TILE>().0.iter().enumerate() {
                let (high, low) = two(load(numbers));
                store(high, &mut four[side].0, place + half * TILE);
                store(low, &mut four[2 + side].0, place + half * TILE);
            }
        }
    }
}

/// Two panels of `depth` lines as squares, for each 32 lines four. A row of a square has two lines, a column of one beside
/// that of the other.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn panels(lines: &[[f32; TILE]], depth: usize, to: &mut [Four]) {
    for (at, four) in to.iter_mut().enumerate() {
        for side in 0..2 {
            for row in 0..TILE {
                let k = at * ACROSS + 2 * row;
                let line = |k: usize| match lines.get(side * depth + k) {
                    Some(line) if k < depth => line,
                    _ => &[0.0; TILE],
                };
                let (one_high, one_low) = two(load(line(k)));
                let (other_high, other_low) = two(load(line(k + 1)));
                both(one_high, other_high, &mut four[side].0, row * ACROSS);
                both(one_low, other_low, &mut four[2 + side].0, row * ACROSS);
            }
        }
    }
}

/// The high and the low part of numbers.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn two(numbers: __m512) -> (__m256i, __m256i) {
    let high = bits(_mm512_cvtneps_pbh(numbers));
    let whole = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high)));
    (high, bits(_mm512_cvtneps_pbh(_mm512_sub_ps(numbers, whole))))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn bits(numbers: __m256bh) -> __m256i {
    // SAFETY: both are 32 bytes without meaning of their own.
    unsafe { std::mem::transmute(numbers) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(numbers: &[f32; TILE]) -> __m512 {
    // SAFETY: an array of sixteen numbers.
    unsafe { _mm512_loadu_ps(numbers.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(numbers: __m256i, to: &mut [u16; TILE * ACROSS], place: usize) {
    let to = &mut to[place..place + TILE];
    // SAFETY: sixteen numbers of sixteen bits.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), numbers) };
}

/// Numbers of one and the other in turns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn both(one: __m256i, other: __m256i, to: &mut [u16; TILE * ACROSS], place: usize) {
    let to = &mut to[place..place + ACROSS];
    let pairs = _mm512_or_si512(_mm512_cvtepu16_epi32(one), _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(other)));
    // SAFETY: 32 numbers of sixteen bits.
    unsafe { _mm512_storeu_si512(to.as_mut_ptr().cast(), pairs) };
}

/// The tiles' form, for as long as this lives: eight of sixteen rows of 64 bytes.
struct Configured;

#[repr(C, align(64))]
struct Form {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_size: [u16; 16],
    rows: [u8; 16],
}

static FORM: Form = Form {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_size: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

impl Configured {
    fn new(_: Tiles) -> Self {
        // SAFETY: the proof says that tiles may be used; no code but ours does.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &FORM, options(nostack, readonly, preserves_flags)) };
        Self
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: as when it was made. Without it, every switch of threads would keep 8 KiB.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

/// `to (+)= left * right`: 32 rows and columns.
///
/// # Safety
/// 32 rows of 32 numbers lie at `to`, each `step` behind the one before, the caller's alone.
#[inline(never)]
unsafe fn piece(_: &Configured, left: &[Four], right: &[Four], to: *mut f32, step: usize, begins: bool) {
    assert!(!left.is_empty() && left.len() == right.len(), "a piece has all its squares");
    // SAFETY: both sides have as many squares as are counted; the output is the caller's promise, and the tiles' form `_`'s.
    unsafe {
        asm!(
            "test {begins:e}, {begins:e}",
            "jz 3f",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "jmp 2f",
            "3:",
            "tileloadd tmm0, [{to} + {step}*1]",
            "tileloadd tmm1, [{to} + {step}*1 + 64]",
            "tileloadd tmm2, [{below} + {step}*1]",
            "tileloadd tmm3, [{below} + {step}*1 + 64]",
            "2:",
            // High times low,
            "tileloadd tmm4, [{left} + {row}*1]",
            "tileloadd tmm6, [{right} + {row}*1 + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{right} + {row}*1 + 3072]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{left} + {row}*1 + 1024]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            // high times high,
            "tileloadd tmm6, [{right} + {row}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{right} + {row}*1 + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            // low times high.
            "tileloadd tmm4, [{left} + {row}*1 + 2048]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{left} + {row}*1 + 3072]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {left}, 4096",
            "add {right}, 4096",
            "dec {count}",
            "jnz 2b",
            "tilestored [{to} + {step}*1], tmm0",
            "tilestored [{to} + {step}*1 + 64], tmm1",
            "tilestored [{below} + {step}*1], tmm2",
            "tilestored [{below} + {step}*1 + 64], tmm3",
            begins = in(reg) u32::from(begins),
            to = in(reg) to,
            below = in(reg) to.add(TILE * step),
            step = in(reg) 4 * step,
            row = in(reg) 64_usize,
            left = inout(reg) left.as_ptr() => _,
            right = inout(reg) right.as_ptr() => _,
            count = inout(reg) left.len() => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}
