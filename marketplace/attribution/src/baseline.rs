//! The rules that others use, for comparison: every row with a positive score earns in proportion to it.
//!
//! These are gameable (repeating one's own data raises one's pay): receipts name them, and nobody should be paid by
//! them without clusters.

use crate::fixed::{ONE_BITS, WHOLE, cosine};
use crate::scan::{Order, Scored};

/// What each of the rows earns in proportion to, in their order: the positive part of the dot product, or of the cosine
/// in parts of 2^30. Below 2^31, so that sums over all rows stay below 2^63.
///
/// For the sum over a whole matrix scan with as many rows as it has.
pub fn credits(query_norm_squared: u32, rows: &[Scored], order: Order) -> Vec<u128> {
    let score = |scored: &Scored| match order {
        Order::Dot => i64::from(scored.dot),
        Order::Cosine => cosine(scored.dot, query_norm_squared, scored.norm_squared),
    };
    rows.iter().map(|scored| u128::from(score(scored).max(0).unsigned_abs())).collect()
}

/// What the nearest row alone explains, parts of 2^32: the square of the highest positive cosine. These methods have no
/// explained part of their own; this is 1 - |q - (u.q) u|^2 for the one best row, and so a lower bound of what all do.
pub fn explained(query_norm_squared: u32, rows: &[Scored]) -> u64 {
    let cosines = rows.iter().map(|scored| cosine(scored.dot, query_norm_squared, scored.norm_squared));
    let highest = cosines.max().unwrap_or(0).max(0).unsigned_abs();
    // 2^30 squared is 2^60; 2^28 of it is one part of 2^32.
    ((highest * highest) >> (2 * ONE_BITS - 32)).min(WHOLE)
}
