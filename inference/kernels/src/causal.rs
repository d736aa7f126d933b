//! Attention of whole sequences for training, and the way back: plain numbers, dense products of blocks of queries.
//!
//! Several sequences lie one after another in the same rows; none sees another. A head of a sequence is one task; its sums
//! run over positions in their order, so that neither threads nor company change a bit. Scores are never whole: a block of
//! queries has its own, and the way back computes them again.

#![allow(unsafe_code)]

use std::cell::Cell;
use std::ops::Range;

use crate::dense::{Left, Panels, Right, Shared, Target, View, pack, strip};
use crate::lanes::{Lanes, TILE};
use crate::math::{dot_body, exp, sum_lanes};
use crate::simd::each_simd;
use crate::{Pool, Simd};

/// Queries of a block.
const BLOCK: usize = 48;

/// The form of attention, the same for all sequences of a call.
#[derive(Debug, Clone, Copy)]
pub struct Causal<'a> {
    /// Rows of each sequence.
    pub sequences: &'a [Range<usize>],
    /// Heads of a query.
    pub heads: usize,
    /// Heads of keys and values, each shared by as many neighbouring heads of queries.
    pub key_heads: usize,
    /// Numbers of a head, a multiple of 16.
    pub size: usize,
    /// Multiplies the scores.
    pub scale: f32,
    /// Positions that a query sees, its own among them.
    pub window: usize,
}

/// Queries, keys and values, each row-major: a row per token.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// All heads of a token side by side.
    pub query: &'a [f32],
    /// All key heads.
    pub key: &'a [f32],
    /// All key heads.
    pub value: &'a [f32],
}

/// Gradients by queries, keys and values.
#[derive(Debug)]
pub struct SeenBack<'a> {
    /// As [`Seen::query`].
    pub query: &'a mut [f32],
    /// As [`Seen::key`].
    pub key: &'a mut [f32],
    /// As [`Seen::value`].
    pub value: &'a mut [f32],
}

impl Causal<'_> {
    fn width(&self) -> usize {
        self.heads * self.size
    }

    fn check(&self, seen: &Seen<'_>, rows: usize) {
        assert!(self.size > 0 && self.size.is_multiple_of(TILE), "a head has a multiple of sixteen numbers");
        assert!(self.window > 0 && self.key_heads > 0 && self.heads.is_multiple_of(self.key_heads), "heads share keys");
        let keys = rows * self.key_heads * self.size;
        assert!(seen.query.len() == rows * self.width(), "a row per token");
        assert!(seen.key.len() == keys && seen.value.len() == keys, "a row per token");
        let mut end = 0;
        for sequence in self.sequences {
            assert!(end <= sequence.start && sequence.start <= sequence.end, "sequences do not overlap");
            end = sequence.end;
        }
        assert!(end <= rows, "sequences lie inside the rows");
    }

    /// Heads of one sequence each, longest first, so that threads end together.
    fn tasks(&self) -> Vec<(Range<usize>, usize)> {
        let mut tasks: Vec<_> =
            self.sequences.iter().flat_map(|rows| (0..self.heads).map(move |head| (rows.clone(), head))).collect();
        tasks.sort_by_key(|(rows, _)| std::cmp::Reverse(rows.len()));
        tasks
    }

    /// The first position that a query sees.
    fn first(&self, position: usize) -> usize {
        (position + 1).saturating_sub(self.window)
    }
}

/// Room of a task, kept between tasks.
#[derive(Default)]
struct Room {
    lines: [Vec<[f32; TILE]>; 4],
    scores: Vec<f32>,
    slopes: Vec<f32>,
}

thread_local! {
    static ROOM: Cell<Room> = Cell::default();
}

/// What every query sees: `to` has the form of the queries, `logs` a number per token and head: the logarithm of the sum of
/// its exponentials, which the way back needs.
///
/// # Panics
/// If sides do not fit.
pub fn causal(pool: &mut Pool, simd: Simd, form: &Causal<'_>, seen: &Seen<'_>, to: &mut [f32], logs: &mut [f32]) {
    let rows = logs.len() / form.heads;
    form.check(seen, rows);
    assert!(to.len() == seen.query.len() && logs.len() == rows * form.heads, "a row per token");
    let (tasks, to) = (form.tasks(), Shared::new(to, form.width()));
    let logs = Shared::new(logs, form.heads);
    pool.run(tasks.len(), &|task| {
        let (rows, head) = &tasks[task];
        let columns = head * form.size..(head + 1) * form.size;
        // SAFETY: a task has its own head of its own rows.
        let (to, logs) = unsafe { (to.part(rows, &columns), logs.part(rows, &(*head..head + 1))) };
        let mut room = ROOM.take();
        one(simd, simd, form, &Own::new(form, seen, rows, *head), to, logs, &mut room);
        ROOM.set(room);
    });
}

/// The way back through [`causal`]: from the gradient `by` of what it gave, `mixed` and `logs`, to those of what it saw.
///
/// # Panics
/// If sides do not fit.
#[allow(clippy::too_many_arguments, reason = "what went forward, and what comes back")]
pub fn causal_back(
    pool: &mut Pool,
    simd: Simd,
    form: &Causal<'_>,
    seen: &Seen<'_>,
    mixed: &[f32],
    logs: &[f32],
    by: &[f32],
    to: &mut SeenBack<'_>,
) {
    let rows = logs.len() / form.heads;
    form.check(seen, rows);
    let all = seen.query.len();
    assert!(logs.len() == rows * form.heads && mixed.len() == all && by.len() == all, "a row per token");
    assert!(to.query.len() == all && to.key.len() == seen.key.len() && to.value.len() == seen.key.len());
    // Heads that share keys have gradients of their own by them, added in the order of the heads.
    let (mut keys, mut values) = (vec![0.0; all], vec![0.0; all]);
    let tasks = form.tasks();
    {
        let query = Shared::new(to.query, form.width());
        let (key, value) = (Shared::new(&mut keys, form.width()), Shared::new(&mut values, form.width()));
        pool.run(tasks.len(), &|task| {
            let (rows, head) = &tasks[task];
            let columns = head * form.size..(head + 1) * form.size;
            // SAFETY: a task has its own head of its own rows.
            let to = unsafe { [query.part(rows, &columns), key.part(rows, &columns), value.part(rows, &columns)] };
            let part = |numbers| View::new(numbers, form.width()).part(rows.clone(), columns.clone());
            let logs = View::new(logs, form.heads).part(rows.clone(), *head..head + 1);
            let mut room = ROOM.take();
            let own = Own::new(form, seen, rows, *head);
            one_back(simd, simd, form, &own, [&part(mixed), &logs, &part(by)], to, &mut room);
            ROOM.set(room);
        });
    }
    let group = form.heads / form.key_heads;
    for (from, to) in [(&keys, &mut *to.key), (&values, &mut *to.value)] {
        for (from, to) in from.chunks_exact(form.size * group).zip(to.chunks_exact_mut(form.size)) {
            to.copy_from_slice(&from[..form.size]);
            for from in from.chunks_exact(form.size).skip(1) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            }
        }
    }
}

/// What one head of one sequence sees.
struct Own<'a> {
    query: View<'a>,
    key: View<'a>,
    value: View<'a>,
    rows: usize,
}

impl<'a> Own<'a> {
    fn new(form: &Causal<'_>, seen: &Seen<'a>, rows: &Range<usize>, head: usize) -> Self {
        let part = |numbers, heads: usize, head: usize| {
            View::new(numbers, heads * form.size).part(rows.clone(), head * form.size..(head + 1) * form.size)
        };
        let key_head = head / (form.heads / form.key_heads);
        Self {
            query: part(seen.query, form.heads, head),
            key: part(seen.key, form.key_heads, key_head),
            value: part(seen.value, form.key_heads, key_head),
            rows: rows.len(),
        }
    }
}

/// Queries of a block, and the stretch of keys that it sees: from a multiple of sixteen on, to one behind the last.
#[derive(Clone)]
struct Block {
    queries: Range<usize>,
    keys: Range<usize>,
    /// Scores of a query: a multiple of sixteen.
    width: usize,
}

impl Block {
    fn new(form: &Causal<'_>, first: usize, rows: usize) -> Self {
        let queries = first..(first + BLOCK).min(rows);
        let keys = form.first(first) / TILE * TILE..queries.end;
        let width = keys.len().next_multiple_of(TILE);
        Self { queries, keys, width }
    }

    /// What a query of it sees, counted from the block's first key.
    fn seen(&self, form: &Causal<'_>, query: usize) -> Range<usize> {
        form.first(query) - self.keys.start..query + 1 - self.keys.start
    }
}

each_simd! {
    fn one / one_body(simd: Simd, form: &Causal<'_>, own: &Own<'_>, to: Target<'_>, logs: Target<'_>, room: &mut Room);
    fn one_back / one_back_body(
        simd: Simd, form: &Causal<'_>, own: &Own<'_>, from: [&View<'_>; 3], to: [Target<'_>; 3], room: &mut Room,
    );
}

/// Packs a whole right side.
fn packed(simd: Simd, right: &Right<'_>, lines: &mut Vec<[f32; TILE]>) {
    lines.resize(right.columns().div_ceil(TILE) * right.depth(), [0.0; TILE]);
    pack(simd, right, &(0..right.depth()), 0, lines);
}

#[inline(always)]
fn one_body<V: Lanes>(
    _: V,
    simd: Simd,
    form: &Causal<'_>,
    own: &Own<'_>,
    mut to: Target<'_>,
    mut logs: Target<'_>,
    room: &mut Room,
) {
    let Room { lines: [keys, values, ..], scores, .. } = room;
    packed(simd, &Right::Turned(own.key), keys);
    packed(simd, &Right::Plain(own.value), values);
    for first in (0..own.rows).step_by(BLOCK) {
        let block = Block::new(form, first, own.rows);
        let count = block.queries.len();
        scores.resize(count * block.width, 0.0);
        score(simd, form, own, &block, keys, scores);
        for (scores, query) in scores.chunks_exact_mut(block.width).zip(block.queries.clone()) {
            let seen = block.seen(form, query);
            let log = soften(&mut scores[seen.clone()], form.scale);
            scores[..seen.start].fill(0.0);
            scores[seen.end..].fill(0.0);
            logs.set(query, log);
        }
        let weights = View::new(scores, block.width).part(0..count, 0..block.keys.len());
        let values = Panels { lines: &values[block.keys.start..], step: own.rows };
        strip(simd, &weights.into(), values, &mut to.rows(&block.queries), true);
    }
}

/// Products of the block's queries with its keys.
fn score(simd: Simd, form: &Causal<'_>, own: &Own<'_>, block: &Block, keys: &[[f32; TILE]], scores: &mut [f32]) {
    let queries = own.query.part(block.queries.clone(), 0..form.size);
    let keys = Panels { lines: &keys[block.keys.start / TILE * form.size..], step: form.size };
    let mut target = Target::new(scores, block.width, block.queries.len(), block.width);
    strip(simd, &queries.into(), keys, &mut target, true);
}

/// Scores become weights whose sum is one; the logarithm of the sum of their exponentials.
#[inline(always)]
fn soften(scores: &mut [f32], scale: f32) -> f32 {
    let mut most = f32::NEG_INFINITY;
    for score in scores.iter_mut() {
        *score *= scale;
        most = most.max(*score);
    }
    let mut lanes = [0.0; 8];
    let (wholes, rest) = scores.as_chunks_mut::<8>();
    for whole in wholes {
        for lane in 0..8 {
            whole[lane] = exp(whole[lane] - most);
            lanes[lane] += whole[lane];
        }
    }
    let mut sum = sum_lanes(lanes);
    for score in rest {
        *score = exp(*score - most);
        sum += *score;
    }
    let factor = 1.0 / sum;
    for score in scores.iter_mut() {
        *score *= factor;
    }
    most + sum.ln()
}

#[inline(always)]
fn one_back_body<V: Lanes>(
    v: V,
    simd: Simd,
    form: &Causal<'_>,
    own: &Own<'_>,
    [mixed, logs, by]: [&View<'_>; 3],
    [mut query, mut key, mut value]: [Target<'_>; 3],
    room: &mut Room,
) {
    let Room { lines: [keys, values, plain_keys, some], scores, slopes } = room;
    packed(simd, &Right::Turned(own.key), keys);
    packed(simd, &Right::Turned(own.value), values);
    packed(simd, &Right::Plain(own.key), plain_keys);
    for first in (0..own.rows).step_by(BLOCK) {
        let block = Block::new(form, first, own.rows);
        let count = block.queries.len();
        scores.resize(count * block.width, 0.0);
        slopes.resize(count * block.width, 0.0);
        score(simd, form, own, &block, keys, scores);
        let by = by.part(block.queries.clone(), 0..form.size);
        let from = Panels { lines: &values[block.keys.start / TILE * form.size..], step: form.size };
        strip(simd, &by.into(), from, &mut Target::new(slopes, block.width, count, block.width), true);
        let rows = scores.chunks_exact_mut(block.width).zip(slopes.chunks_exact_mut(block.width));
        for (at, ((scores, slopes), position)) in rows.zip(block.queries.clone()).enumerate() {
            let seen = block.seen(form, position);
            let log = logs.row(position)[0];
            let along = dot_body(v, by.row(at), mixed.row(position));
            for (score, slope) in scores[seen.clone()].iter_mut().zip(&mut slopes[seen.clone()]) {
                *score = exp(*score * form.scale - log);
                *slope = *score * (*slope - along) * form.scale;
            }
            for numbers in [scores, slopes] {
                numbers[..seen.start].fill(0.0);
                numbers[seen.end..].fill(0.0);
            }
        }
        let part = |numbers| View::new(numbers, block.width).part(0..count, 0..block.keys.len());
        let (weights, slopes) = (part(scores), part(slopes));
        let from = Panels { lines: &plain_keys[block.keys.start..], step: own.rows };
        strip(simd, &slopes.into(), from, &mut query.rows(&block.queries), true);
        let queries = own.query.part(block.queries.clone(), 0..form.size);
        for (left, right, to) in [(slopes, queries, &mut key), (weights, by, &mut value)] {
            packed(simd, &Right::Plain(right), some);
            strip(simd, &Left::of_turned(left), Panels { lines: some, step: count }, &mut to.rows(&block.keys), false);
        }
    }
}
