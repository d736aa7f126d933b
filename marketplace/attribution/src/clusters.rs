//! Near-duplicates form clusters, and whoever committed first owns the cluster: repeating and copying earn nothing.

use agora_types::Code;

use crate::fixed::WHOLE;
use crate::rows::{Example, ROWS_MAX};

/// The owner of each row's cluster: the row with the earliest position among all that `edges` connect.
///
/// Edges come from outside, as pairs of rows: token 5-grams with [`jaccard_at_least`], gradients with
/// [`cosine_at_least`]. Their order, direction and repetition do not matter, nor does the order of the rows. Clusters
/// are transitive: a chain of near-copies is one cluster. The owner's row represents it, so the others' rows decide
/// nothing.
///
/// # Errors
/// `attribution.bad_input` for an edge to a row that is not there, or more than [`ROWS_MAX`] rows.
pub fn owners(examples: &[Example], edges: &[(u32, u32)]) -> Result<Vec<u32>, Code> {
    let count = u32::try_from(examples.len()).map_err(|_| Code::AttributionInput)?;
    if examples.len() > ROWS_MAX {
        return Err(Code::AttributionInput);
    }
    let mut parents: Vec<u32> = (0..count).collect();
    for (left, right) in edges {
        if *left >= count || *right >= count {
            return Err(Code::AttributionInput);
        }
        let (left, right) = (find(&mut parents, *left), find(&mut parents, *right));
        // The earlier one leads, so that the leader of a finished cluster is its owner.
        let earlier = |row: u32| (examples[row as usize].position, row);
        let (first, second) = if earlier(left) <= earlier(right) { (left, right) } else { (right, left) };
        parents[second as usize] = first;
    }
    Ok((0..count).map(|row| find(&mut parents, row)).collect())
}

/// The leader of a row; halves the path on its way, so that long chains stay cheap.
fn find(parents: &mut [u32], row: u32) -> u32 {
    let mut at = row;
    while parents[at as usize] != at {
        let above = parents[parents[at as usize] as usize];
        parents[at as usize] = above;
        at = above;
    }
    at
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
