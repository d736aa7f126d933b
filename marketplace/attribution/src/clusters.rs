//! Near-duplicates form clusters, and whoever committed first owns the cluster: repeating and copying earn nothing.

use agora_types::Code;

use crate::fixed::WHOLE;
use crate::rows::{Example, ROWS_MAX};

/// The owner of each row's cluster. Rows are taken in the order of their positions: each joins the earliest one before it
/// that an edge connects it with, and belongs to whom that one belongs to.
///
/// Edges come from outside, as pairs of rows: token 5-grams with [`jaccard_at_least`], gradients with
/// [`cosine_at_least`], lessons that add next to nothing. Their order, direction and repetition do not
/// matter, nor does the order of the rows. A copy of a copy stays with the original, and **nothing that comes later
/// changes anything for what came earlier**: two clusters are never made one by what lies between them. The owner's row
/// represents the cluster, so the others' rows decide nothing.
///
/// # Errors
/// `attribution.bad_input` for an edge to a row that is not there, or more than [`ROWS_MAX`] rows.
pub fn owners(examples: &[Example], edges: &[(u32, u32)]) -> Result<Vec<u32>, Code> {
    let count = u32::try_from(examples.len()).map_err(|_| Code::AttributionInput)?;
    if examples.len() > ROWS_MAX || edges.iter().any(|(left, right)| *left >= count || *right >= count) {
        return Err(Code::AttributionInput);
    }
    let key = |row: u32| (examples[row as usize].position, row);
    let mut joined: Vec<u32> = (0..count).collect();
    for (left, right) in edges {
        let (earlier, later) = if key(*left) <= key(*right) { (*left, *right) } else { (*right, *left) };
        let own = &mut joined[later as usize];
        if key(earlier) < key(*own) {
            *own = earlier;
        }
    }
    let mut order: Vec<u32> = (0..count).collect();
    order.sort_unstable_by_key(|row| key(*row));
    for row in order {
        // Whom it joined came earlier, and stands already where it belongs.
        joined[row as usize] = joined[joined[row as usize] as usize];
    }
    Ok(joined)
}

/// True when `shared` of `all` distinct 5-grams (intersection of union) are at least `parts` of 2^32.
pub fn jaccard_at_least(shared: u64, all: u64, parts: u64) -> bool {
    all > 0 && u128::from(shared) * u128::from(WHOLE) >= u128::from(all) * u128::from(parts)
}

/// True when a cosine is at least `parts` of 2^32, compared exactly: dot^2 * 2^64 >= parts^2 * |a|^2 * |b|^2.
///
/// Dot products and squared norms are those of [`crate::Row`], below 2^30, so both sides are below 2^125.
/// `parts` above 2^32 is never reached.
pub fn cosine_at_least(dot: i32, left_norm_squared: u32, right_norm_squared: u32, parts: u64) -> bool {
    if dot <= 0 || parts > WHOLE || left_norm_squared >> 30 > 0 || right_norm_squared >> 30 > 0 || dot >> 30 > 0 {
        return false;
    }
    let square = u128::from(dot.unsigned_abs()).pow(2) << 64;
    square >= u128::from(parts).pow(2) * u128::from(left_norm_squared) * u128::from(right_norm_squared)
}
