//! Which few rows explain the query: non-negative least squares in whole numbers, the same on any processor.
//!
//! Minimises `1/2 |q - sum w_i u_i|^2 + l1 * sum w + ridge/2 * sum w^2` over w >= 0, where u_i and q are the rows and
//! the query at length 1, by coordinate descent: 200 sweeps in rising order of id, so that the order in which
//! candidates arrive does not matter. A weight that exact copies could share goes to the earliest of them.
//!
//! **Numbers.** Cosines b_i = u_i.q and G_ij = u_i.u_j are whole numbers in parts of 2^30, rounded to nearest; weights
//! too. A weight is kept at or below [`WEIGHT_LIMIT`] = 1,024: the objective falls from 1/2 at w = 0, so with the ridge
//! the true minimiser has |w| <= 1,000 and the limit never binds on it. With n <= 256:
//!
//! | number | parts of | bound |
//! |---|---|---|
//! | \|b_i\|, \|G_ij\| | 2^30 | 2^30 |
//! | w_i | 2^30 | 2^40 |
//! | g_i = sum_j G_ij w_j | 2^60 | 2^8 * 2^30 * 2^40 = 2^78 |
//! | credit w_i * b_i | 2^60 | 2^70, their sum 2^78 |
//! | w_i * (g_i >> 30) | 2^60 | 2^40 * 2^48 = 2^88, their sum 2^96 |
//!
//! Everything above i64 is i128. `solver_at_its_bounds` in the tests goes there.

use agora_types::Code;

use crate::fixed::{ONE, ONE_BITS, WHOLE, cosine_of, root};
use crate::rows::Position;
use crate::vector::Row;

/// Most candidates of one query.
pub const CANDIDATES_MAX: usize = 256;
/// Rounds over all candidates.
pub const SWEEPS: u32 = 200;
/// The ridge: 1e-6, in billionths.
pub const RIDGE_NANO: u32 = 1_000;
/// Largest weight, in parts of 2^30: 1,024.
pub const WEIGHT_LIMIT: i64 = 1 << 40;
/// 1e-6 of 2^30, rounded to nearest.
const RIDGE: i64 = 1_074;

/// A row that may explain the query, under the id that orders it.
#[derive(Debug, Clone, Copy)]
pub struct Variable<'a> {
    /// Position of the cluster's owner.
    pub id: Position,
    /// The owner's row.
    pub row: Row<'a>,
}

/// A query and its candidates as cosines, in rising order of id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    ids: Vec<Position>,
    /// b_i, parts of 2^30.
    along: Vec<i64>,
    /// G_ij, row after row, parts of 2^30; 2^30 where i = j.
    gram: Vec<i64>,
}

/// What one candidate explains.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    /// The candidate.
    pub id: Position,
    /// Its cosine with the query, parts of 2^30.
    pub along: i64,
    /// w_i >= 0, parts of 2^30.
    pub weight: i64,
    /// w_i * max(cosine, 0), parts of 2^60: what it earns in proportion to.
    pub credit: u128,
}

/// The outcome for one query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// One for each candidate, in rising order of id.
    pub credits: Vec<Credit>,
    /// E = 1 - |q - sum w_i u_i|^2 in parts of 2^32, rounded to nearest, kept in 0..=2^32.
    pub explained: u64,
}

impl Problem {
    /// Brings the candidates in order and computes their cosines: n^2 / 2 dot products.
    ///
    /// # Errors
    /// `attribution.bad_input` for more than [`CANDIDATES_MAX`] candidates, two of one id, or another dimension than
    /// the query's.
    pub fn new(query: &Row<'_>, candidates: &[Variable<'_>]) -> Result<Self, Code> {
        let mut ordered = candidates.to_vec();
        ordered.sort_unstable_by_key(|candidate| candidate.id);
        let count = ordered.len();
        let fits = count <= CANDIDATES_MAX
            && ordered.windows(2).all(|pair| pair[0].id < pair[1].id)
            && ordered.iter().all(|candidate| candidate.row.dimension() == query.dimension());
        if !fits {
            return Err(Code::AttributionInput);
        }
        let query_root = root(query.norm_squared());
        let roots: Vec<u64> = ordered.iter().map(|candidate| root(candidate.row.norm_squared())).collect();
        let along = |(one, own): (&Variable<'_>, &u64)| cosine_of(one.row.dot(query), *own, query_root);
        let along = ordered.iter().zip(&roots).map(along).collect();
        let mut gram = vec![0; count * count];
        for i in 0..count {
            gram[i * count + i] = ONE;
            for j in 0..i {
                let cosine = cosine_of(ordered[i].row.dot(&ordered[j].row), roots[i], roots[j]);
                gram[i * count + j] = cosine;
                gram[j * count + i] = cosine;
            }
        }
        Ok(Self { ids: ordered.iter().map(|candidate| candidate.id).collect(), along, gram })
    }

    /// From cosines that were computed elsewhere, in parts of 2^30; `gram` row after row.
    ///
    /// # Errors
    /// `attribution.bad_input` for ids that do not rise, wrong lengths, more than [`CANDIDATES_MAX`], or a cosine
    /// beyond one.
    pub fn from_cosines(ids: Vec<Position>, along: Vec<i64>, gram: Vec<i64>) -> Result<Self, Code> {
        let count = ids.len();
        let fits = count <= CANDIDATES_MAX
            && ids.windows(2).all(|pair| pair[0] < pair[1])
            && along.len() == count
            && gram.len() == count * count
            && along.iter().chain(&gram).all(|cosine| (-ONE..=ONE).contains(cosine))
            && (0..count).all(|i| gram[i * count + i] == ONE);
        if fits { Ok(Self { ids, along, gram }) } else { Err(Code::AttributionInput) }
    }

    /// Solves with `l1_micro` millionths of l1.
    pub fn solve(&self, l1_micro: u32) -> Solution {
        let l1 = i64::try_from((ONE.unsigned_abs() * u64::from(l1_micro) + 500_000) / 1_000_000)
            .expect("2^62 over a million fits");
        let (weights, slopes) = self.descend(l1);
        let credit = |at: usize| {
            let (along, weight) = (self.along[at], weights[at]);
            let credit = u128::from(weight.unsigned_abs()) * u128::from(along.max(0).unsigned_abs());
            Credit { id: self.ids[at], along, weight, credit }
        };
        // 2 b.w - w.G.w, in parts of 2^60.
        let gain = |at: usize| {
            let weight = i128::from(weights[at]);
            weight * (2 * i128::from(self.along[at]) - (slopes[at] >> ONE_BITS))
        };
        let explained: i128 = (0..self.ids.len()).map(gain).sum();
        let rounded = (explained + (1 << 27)) >> 28;
        let explained = u64::try_from(rounded.clamp(0, i128::from(WHOLE))).expect("between zero and one");
        Solution { credits: (0..self.ids.len()).map(credit).collect(), explained }
    }

    /// The weights, and g_i = sum_j G_ij w_j for them.
    fn descend(&self, l1: i64) -> (Vec<i64>, Vec<i128>) {
        let count = self.ids.len();
        let mut weights = vec![0i64; count];
        let mut slopes = vec![0i128; count];
        for _ in 0..SWEEPS {
            let mut changed = false;
            for i in 0..count {
                let own = i128::from(weights[i]) << ONE_BITS;
                let free = (i128::from(self.along[i] - l1) << ONE_BITS) - (slopes[i] - own);
                let next = nearest_weight(free);
                let step = i128::from(next - weights[i]);
                if step == 0 {
                    continue;
                }
                for (slope, cosine) in slopes.iter_mut().zip(&self.gram[i * count..][..count]) {
                    *slope += i128::from(*cosine) * step;
                }
                weights[i] = next;
                changed = true;
            }
            // A sweep that changes nothing would be followed by others like it.
            if !changed {
                break;
            }
        }
        debug_assert!(slopes.iter().all(|slope| slope.unsigned_abs() <= 1 << 78), "256 weights of at most 2^40");
        (weights, slopes)
    }
}

/// The best weight for what is left to explain (parts of 2^60): divided by 1 + ridge, to nearest, kept in its bounds.
fn nearest_weight(free: i128) -> i64 {
    let divisor = i128::from(ONE + RIDGE);
    let rounded = (free.max(0) + divisor / 2) / divisor;
    i64::try_from(rounded.min(i128::from(WEIGHT_LIMIT))).expect("at most 2^40")
}
