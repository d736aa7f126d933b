//! The nearest rows: a bounded list that compares cosines without dividing, whoever computed the dot products.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// What makes a row better than another for one query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// The cosine: sign(dot) * dot^2 / norm^2, compared crosswise in u128. |dot| and norms are below 2^31, so
    /// dot^2 * norm is below 2^93.
    Cosine,
    /// The dot product: longer rows come first.
    Dot,
}

/// A row and its product with the query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scored {
    /// Number of the row.
    pub row: u32,
    /// Exact dot product with the query.
    pub dot: i32,
    /// The row's squared norm, above zero.
    pub norm_squared: u32,
}

/// A row in one order; greater is better, and of equals the lower row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ranked {
    scored: Scored,
    /// What the squared product is divided by: the squared norm, or 1.
    divisor: u32,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let weighed = |one: &Self, other: &Self| {
            let dot = u128::from(one.scored.dot.unsigned_abs());
            dot * dot * u128::from(other.divisor)
        };
        let sides = self.scored.dot.signum().cmp(&other.scored.dot.signum());
        let sizes = || match self.scored.dot.signum() {
            0 => Ordering::Equal,
            sign if sign > 0 => weighed(self, other).cmp(&weighed(other, self)),
            _ => weighed(other, self).cmp(&weighed(self, other)),
        };
        sides.then_with(sizes).then_with(|| other.scored.row.cmp(&self.scored.row))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best rows seen so far, at most as many as it was made for. The outcome does not depend on the order of offers.
///
/// A device or another thread that computed products offers them here.
#[derive(Debug, Clone)]
pub struct Best {
    count: usize,
    order: Order,
    /// The worst kept row is on top.
    heap: BinaryHeap<Reverse<Ranked>>,
}

impl Best {
    /// Keeps `count` rows.
    pub fn new(count: usize, order: Order) -> Self {
        Self { count, order, heap: BinaryHeap::new() }
    }

    /// Keeps the row if it is among the best. Each row is to be offered once.
    ///
    /// # Panics
    /// For a squared norm of zero: such a row has no direction and is to be left out.
    pub fn offer(&mut self, row: u32, dot: i32, norm_squared: u32) {
        assert!(norm_squared > 0, "a row without a direction is not offered");
        let divisor = match self.order {
            Order::Cosine => norm_squared,
            Order::Dot => 1,
        };
        let ranked = Reverse(Ranked { scored: Scored { row, dot, norm_squared }, divisor });
        if self.heap.len() < self.count {
            self.heap.push(ranked);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && ranked < *worst
        {
            *worst = ranked;
        }
    }

    /// Best first, ties to the lower row.
    pub fn into_rows(self) -> Vec<Scored> {
        self.heap.into_sorted_vec().into_iter().map(|Reverse(ranked)| ranked.scored).collect()
    }
}

/// The best of several parts of one matrix. Count and order are those of the first; no parts give no rows.
///
/// Independent of how the matrix was split, as long as each part kept at least as many as the first and each row was in
/// one part.
pub fn merge(parts: impl IntoIterator<Item = Best>) -> Vec<Scored> {
    let mut parts = parts.into_iter();
    let Some(mut best) = parts.next() else { return Vec::new() };
    for part in parts {
        for Reverse(Ranked { scored, .. }) in part.heap {
            best.offer(scored.row, scored.dot, scored.norm_squared);
        }
    }
    best.into_rows()
}
