//! Attention over pages of half-precision keys and values.
//!
//! A page holds sixteen positions of everything one sequence remembers. Inside, each layer's key head has its own place:
//! keys turned around, a line of sixteen positions per number, so that sixteen scores are computed at once; then values, a
//! line per position.

use std::sync::Arc;

use crate::Simd;
use crate::cuda::Memory;
use crate::lanes::{Lanes, TILE};
use crate::math::{exp, sum_lanes};
use crate::simd::each_simd;

/// Positions of a page.
pub const PAGE: usize = TILE;

/// Query heads that share a key head and are computed together.
const TOGETHER: usize = 4;

/// Keys and values of sixteen positions.
#[derive(Debug)]
pub struct Page(Place);

#[derive(Debug)]
enum Place {
    Here(Box<[[u16; TILE]]>),
    Device(Memory),
}

impl Page {
    /// An empty page for `heads` key heads (of all layers together) of `size` numbers; `None` without memory for it.
    ///
    /// # Panics
    /// If a head's size is not a multiple of 16.
    pub fn new(heads: usize, size: usize) -> Option<Self> {
        assert!(size > 0 && size.is_multiple_of(TILE), "a head has a multiple of sixteen numbers");
        let lines = heads.checked_mul(2 * size)?;
        let mut page = Vec::new();
        page.try_reserve_exact(lines).ok()?;
        page.resize(lines, [0; TILE]);
        Some(Self(Place::Here(page.into_boxed_slice())))
    }

    /// In memory of a device.
    pub(crate) fn of(memory: Memory) -> Self {
        Self(Place::Device(memory))
    }

    /// Bytes in memory.
    pub fn size(heads: usize, size: usize) -> usize {
        heads * size * 2 * PAGE * 2
    }

    /// Writes key and value of one head at a place of the page.
    ///
    /// # Panics
    /// If the head or the place is not of this page, a head's size is not a multiple of 16, or the page lies on a device.
    pub fn write(&mut self, simd: Simd, head: usize, place: usize, key: &[f32], value: &[f32]) {
        let size = key.len();
        assert!(value.len() == size && size.is_multiple_of(TILE) && place < PAGE, "key and value fit their page");
        let Place::Here(lines) = &mut self.0 else { panic!("a page on a device is written there") };
        write(simd, &mut lines[head * 2 * size..][..2 * size], place, key, value);
    }

    /// Its memory on a device.
    pub(crate) fn memory(&self) -> &Memory {
        let Place::Device(memory) = &self.0 else { panic!("the page lies on a device") };
        memory
    }

    fn lines(&self) -> &[[u16; TILE]] {
        let Place::Here(lines) = &self.0 else { panic!("the page lies here") };
        lines
    }

    fn keys(&self, head: usize, size: usize) -> &[[u16; TILE]] {
        &self.lines()[head * 2 * size..][..size]
    }

    fn values(&self, head: usize, size: usize) -> &[[u16; TILE]] {
        &self.lines()[head * 2 * size + size..][..size]
    }
}

/// What the query heads of one token that share a key head may see.
#[derive(Debug, Clone, Copy)]
pub struct Group<'a> {
    /// The sequence's pages from its first position on.
    pub pages: &'a [Arc<Page>],
    /// The key head, counted through all layers.
    pub head: usize,
    /// Numbers of a head, a multiple of 16.
    pub size: usize,
    /// The first position that is seen.
    pub first: usize,
    /// One behind the last position that is seen, above `first`.
    pub end: usize,
    /// Multiplies the scores.
    pub scale: f32,
}

each_simd! {
    fn write / write_body(lines: &mut [[u16; TILE]], place: usize, key: &[f32], value: &[f32]);

    /// Attention of the query heads in `query`, one after another, each over all positions of its group; `to` has the form
    /// of `query`. `scores` is room for the work.
    ///
    /// # Panics
    /// If the pages do not hold the positions.
    pub fn attend / attend_body(query: &[f32], group: &Group<'_>, scores: &mut Vec<f32>, to: &mut [f32]);
}

#[inline(always)]
fn write_body<V: Lanes>(v: V, lines: &mut [[u16; TILE]], place: usize, key: &[f32], value: &[f32]) {
    let (keys, values) = lines.split_at_mut(key.len());
    let halve = |numbers: &[f32; TILE], to: &mut [u16; TILE]| {
        for part in 0..TILE / V::COUNT {
            v.put_halves(v.numbers(numbers, part), to, part);
        }
    };
    let mut turned = [0; TILE];
    for (lines, key) in keys.as_chunks_mut::<TILE>().0.iter_mut().zip(key.as_chunks::<TILE>().0) {
        halve(key, &mut turned);
        for (line, half) in lines.iter_mut().zip(turned) {
            line[place] = half;
        }
    }
    let values = &mut values[place * key.len() / TILE..];
    for (line, value) in values.iter_mut().zip(value.as_chunks::<TILE>().0) {
        halve(value, line);
    }
}

#[inline(always)]
fn attend_body<V: Lanes>(v: V, query: &[f32], group: &Group<'_>, scores: &mut Vec<f32>, to: &mut [f32]) {
    let size = group.size;
    assert!(query.len() == to.len() && group.first < group.end, "attention sees at least one position");
    let mut at = 0;
    while at < query.len() {
        let left = ((query.len() - at) / size).min(TOGETHER);
        let range = at..at + left * size;
        let (query, to) = (&query[range.clone()], &mut to[range]);
        match left {
            1 => some_heads::<V, 1>(v, query, group, scores, to),
            2 => some_heads::<V, 2>(v, query, group, scores, to),
            3 => some_heads::<V, 3>(v, query, group, scores, to),
            _ => some_heads::<V, TOGETHER>(v, query, group, scores, to),
        }
        at += left * size;
    }
}

#[inline(always)]
fn some_heads<V: Lanes, const N: usize>(v: V, query: &[f32], group: &Group<'_>, scores: &mut Vec<f32>, to: &mut [f32]) {
    let Group { pages, head, size, first, end, scale } = *group;
    let (first_page, end_page) = (first / PAGE, end.div_ceil(PAGE));
    let pages = &pages[first_page..end_page];
    let room = pages.len() * PAGE;
    scores.clear();
    scores.resize(N * room, 0.0);
    let queries: [&[f32]; N] = std::array::from_fn(|at| &query[at * size..][..size]);
    for (at, page) in pages.iter().enumerate() {
        let keys = page.keys(head, size);
        for part in 0..TILE / V::COUNT {
            let mut sums = [v.splat(0.0); N];
            for (number, line) in keys.iter().enumerate() {
                let key = v.halves(line, part);
                for (sum, query) in sums.iter_mut().zip(&queries) {
                    *sum = v.add(*sum, v.mul(key, v.splat(query[number])));
                }
            }
            for (head, sum) in sums.into_iter().enumerate() {
                let (lines, _) = scores[head * room..][..room].as_chunks_mut::<TILE>();
                v.put(v.mul(sum, v.splat(scale)), &mut lines[at], part);
            }
        }
    }
    // From here on, `scores` begins at the first page's first position; what is outside the span does not count.
    let (first, end) = (first - first_page * PAGE, end - first_page * PAGE);
    for scores in scores.chunks_exact_mut(room) {
        soften(&mut scores[first..end]);
    }
    for line in 0..size / TILE {
        for part in 0..TILE / V::COUNT {
            let mut sums = [v.splat(0.0); N];
            let mut at = first;
            for (number, page) in pages.iter().enumerate() {
                let values = page.values(head, size);
                while at < end.min((number + 1) * PAGE) {
                    let value = v.halves(&values[at % PAGE * (size / TILE) + line], part);
                    for (head, sum) in sums.iter_mut().enumerate() {
                        *sum = v.add(*sum, v.mul(value, v.splat(scores[head * room + at])));
                    }
                    at += 1;
                }
            }
            for (head, sum) in sums.into_iter().enumerate() {
                let (lines, _) = to[head * size..][..size].as_chunks_mut::<TILE>();
                v.put(sum, &mut lines[line], part);
            }
        }
    }
}

/// Scores become weights whose sum is one.
#[inline(always)]
fn soften(scores: &mut [f32]) {
    // A score that is not a number is passed over here, and still makes the sum one.
    let most = scores.iter().fold(f32::NEG_INFINITY, |most, score| most.max(*score));
    for score in scores.iter_mut() {
        *score = exp(*score - most);
    }
    let mut lanes = [0.0; 8];
    let (wholes, rest) = scores.as_chunks::<8>();
    for whole in wholes {
        for lane in 0..8 {
            lanes[lane] += whole[lane];
        }
    }
    let factor = 1.0 / rest.iter().fold(sum_lanes(lanes), |sum, score| sum + score);
    for score in scores.iter_mut() {
        *score *= factor;
    }
}
