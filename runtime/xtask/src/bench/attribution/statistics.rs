//! Rank correlations with their intervals, from stored losses and scores.

use agora_types::Hash;

/// Draws of a bootstrap.
const DRAWS: usize = 1_000;

/// An estimate and the bounds of 95 of 100 draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    pub(super) mean: f64,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// Ranks from 0, ties in the middle.
pub(super) fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tie in order.chunk_by(|a, b| values[*a].total_cmp(&values[*b]).is_eq()) {
        let middle = first as f64 + (tie.len() - 1) as f64 / 2.0;
        tie.iter().for_each(|at| ranks[*at] = middle);
        first += tie.len();
    }
    ranks
}

/// Spearman's correlation; 0 where one side is all the same.
pub(super) fn spearman(left: &[f64], right: &[f64]) -> f64 {
    let (left, right) = (ranks(left), ranks(right));
    // Both have this mean.
    let mean = (left.len() as f64 - 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - mean) * (b - mean)).sum::<f64>();
    let both = (product(&left, &left) * product(&right, &right)).sqrt();
    if both > 0.0 { product(&left, &right) / both } else { 0.0 }
}

/// Rows of a table, one for each query.
pub(super) type Table = Vec<Vec<f64>>;

/// The mean over the queries of the correlation between two tables' rows, of these queries and columns.
fn correlation(left: &Table, right: &Table, queries: &[usize], columns: &[usize]) -> f64 {
    let take = |row: &[f64]| columns.iter().map(|at| row[*at]).collect::<Vec<f64>>();
    let each = queries.iter().map(|query| spearman(&take(&left[*query]), &take(&right[*query])));
    each.sum::<f64>() / queries.len().max(1) as f64
}

/// Resampled queries and columns, the same for whoever is compared.
pub(super) struct Draws(Vec<(Vec<usize>, Vec<usize>)>);

impl Draws {
    /// From a seed that is always the same: a report that is made again says the same.
    pub(super) fn new(queries: usize, columns: usize) -> Self {
        let mut stream = Stream::new();
        let mut some = |count: usize| (0..count).map(|_| stream.below(count)).collect::<Vec<usize>>();
        Self((0..DRAWS).map(|_| (some(queries), some(columns))).collect())
    }

    /// Correlations of each draw, and of everything.
    pub(super) fn correlations(&self, left: &Table, right: &Table) -> (f64, Vec<f64>) {
        let all = |count: usize| (0..count).collect::<Vec<usize>>();
        let columns = left.first().map_or(0, Vec::len);
        let whole = correlation(left, right, &all(left.len()), &all(columns));
        (whole, self.0.iter().map(|(queries, columns)| correlation(left, right, queries, columns)).collect())
    }

    /// The mean of a number for each query.
    pub(super) fn mean(&self, values: &[f64]) -> Interval {
        let of = |queries: &[usize]| queries.iter().map(|at| values[*at]).sum::<f64>() / queries.len().max(1) as f64;
        let whole = values.iter().sum::<f64>() / values.len().max(1) as f64;
        interval(whole, self.0.iter().map(|(queries, _)| of(queries)).collect())
    }
}

/// An estimate with the bounds of its draws.
pub(super) fn interval(mean: f64, mut draws: Vec<f64>) -> Interval {
    draws.sort_by(f64::total_cmp);
    let at = |part: usize| draws.get((draws.len() * part / 1_000).min(draws.len().saturating_sub(1)));
    let bound = |part: usize| at(part).copied().unwrap_or(mean);
    Interval { mean, low: bound(25), high: bound(975) }
}

/// Numbers from hashes: the workspace's other generator lives beside the models.
struct Stream {
    count: u64,
    left: Vec<u8>,
}

impl Stream {
    fn new() -> Self {
        Self { count: 0, left: Vec::new() }
    }

    /// Below a bound of at most some thousands: the bias of a remainder of 2^32 is below a millionth.
    fn below(&mut self, bound: usize) -> usize {
        if self.left.len() < 4 {
            self.left = Hash::sha256(self.count.to_be_bytes()).as_bytes().to_vec();
            self.count += 1;
        }
        let word = self.left.split_off(self.left.len() - 4);
        let word = u32::from_be_bytes(word.try_into().expect("four bytes"));
        word as usize % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_ranks_and_a_constant_says_nothing() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [2.5, 0.0, 2.5, 1.0]);
        assert_eq!(spearman(&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]), 0.0);
    }

    #[test]
    fn only_the_order_counts() {
        assert!((spearman(&[1.0, 2.0, 9.0], &[-5.0, 0.0, 0.1]) - 1.0).abs() < 1e-12);
        assert!((spearman(&[1.0, 2.0, 9.0], &[3.0, 2.0, 1.0]) + 1.0).abs() < 1e-12);
        // By hand: ranks 0 1 2 3 and 1 0 3 2; one minus six times the squared differences over n (n^2 - 1).
        assert!((spearman(&[1.0, 2.0, 3.0, 4.0], &[2.0, 1.0, 4.0, 3.0]) - 0.6).abs() < 1e-12);
    }

    #[test]
    fn the_bounds_hold_the_mean_and_are_the_same_each_time() {
        let left: Table = (0..8).map(|row| (0..20).map(|at| f64::from((at * 7 + row) % 20)).collect()).collect();
        let right: Table = left.iter().map(|row| row.iter().map(|at| at + (at * 3.7).sin() * 6.0).collect()).collect();
        let seen = |draws: &Draws| {
            let (whole, each) = draws.correlations(&left, &right);
            interval(whole, each)
        };
        let one = seen(&Draws::new(8, 20));
        assert!(one.low < one.mean && one.mean < one.high && one.high <= 1.0, "{one:?}");
        assert_eq!(seen(&Draws::new(8, 20)), one);
        let same = Draws::new(8, 20).mean(&[2.0; 8]);
        assert_eq!(same, Interval { mean: 2.0, low: 2.0, high: 2.0 });
    }
}
