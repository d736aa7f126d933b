//! Which rows are near-copies of each other.

use std::collections::BTreeSet;

use agora_attribution::{Matrix, cosine_at_least};

/// Up to so many rows every pair is compared.
const ALL_PAIRS_MAX: u32 = 2_048;
/// Entries whose signs make a key, and keys for each row.
///
/// At a cosine of 0.95 two entries have one sign with probability 0.9, a key is the same with 0.18, and one of 64 with all
/// but 3 in a million; unrelated rows share a key once in a thousand pairs.
const BITS: usize = 16;
const KEYS: usize = 64;
/// Most rows under one key that each row is compared with: the first of them, and the ones just before.
const BUCKET_MAX: usize = 64;

/// Pairs of rows with a cosine of at least `cosine_min` (parts of 2^32). All of them up to 2,048 rows; beyond, rows that
/// agree in the signs of one of 64 groups of 16 entries are compared, so that a pair may be missed, seldom.
pub(crate) fn near(matrix: &Matrix<'_>, cosine_min: u64) -> Vec<(u32, u32)> {
    let alike = |left: u32, right: u32| {
        let (left, right) = (matrix.row(left).expect("a row"), matrix.row(right).expect("a row"));
        cosine_at_least(left.dot(&right), left.norm_squared(), right.norm_squared(), cosine_min)
    };
    if matrix.rows() <= ALL_PAIRS_MAX || matrix.dimension() < BITS {
        let pairs = (0..matrix.rows()).flat_map(|right| (0..right).map(move |left| (left, right)));
        return pairs.filter(|(left, right)| alike(*left, *right)).collect();
    }
    by_keys(matrix, alike)
}

fn by_keys(matrix: &Matrix<'_>, alike: impl Fn(u32, u32) -> bool) -> Vec<(u32, u32)> {
    let mut edges = BTreeSet::new();
    for group in 0..KEYS.min(matrix.dimension() / BITS) {
        let key = |row: u32| {
            let bytes = &matrix.row(row).expect("a row").bytes()[group * BITS..][..BITS];
            bytes.iter().fold(0u16, |key, byte| key << 1 | u16::from(byte >> 7))
        };
        let mut keyed: Vec<(u16, u32)> = (0..matrix.rows()).map(|row| (key(row), row)).collect();
        keyed.sort_unstable();
        for bucket in keyed.chunk_by(|left, right| left.0 == right.0) {
            for (at, (_, right)) in bucket.iter().enumerate() {
                let before = at.saturating_sub(BUCKET_MAX / 2)..at;
                let first = 0..before.start.min(BUCKET_MAX / 2);
                for (_, left) in first.chain(before).map(|at| bucket[at]) {
                    if !edges.contains(&(left, *right)) && alike(left, *right) {
                        edges.insert((left, *right));
                    }
                }
            }
        }
    }
    edges.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use agora_attribution::{WHOLE, file};

    #[test]
    fn keys_find_the_pairs_that_comparing_all_finds() {
        let mut state = 11u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            i8::try_from(i64::try_from(state >> 58).unwrap() - 32).unwrap()
        };
        let mut rows: Vec<Vec<i8>> = (0..200).map(|_| (0..1_024).map(|_| random()).collect()).collect();
        for at in 0..40 {
            // A copy of which every tenth entry is another.
            let copy = rows[at].iter().enumerate().map(|(entry, own)| if entry % 20 == 0 { -*own } else { *own });
            rows.push(copy.map(|entry| entry.max(-127)).collect());
        }
        let bytes = file(&rows).unwrap();
        let matrix = Matrix::open(&bytes).unwrap();
        let least = WHOLE / 10 * 8;
        let all = near(&matrix, least);
        assert_eq!(all.len(), 40);
        let alike = |left: u32, right: u32| {
            let (left, right) = (matrix.row(left).unwrap(), matrix.row(right).unwrap());
            cosine_at_least(left.dot(&right), left.norm_squared(), right.norm_squared(), least)
        };
        let mut sorted = all;
        sorted.sort_unstable();
        assert_eq!(by_keys(&matrix, alike), sorted);
    }
}
