//! Merging of neighbours, as every byte-pair encoding does it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Merges neighbours as long as `whole` names what two become and how early: the least first, the leftmost of equals.
pub(crate) fn merge<S: Copy + Ord, R: Ord>(mut symbols: Vec<S>, whole: impl Fn(S, S) -> Option<(R, S)>) -> Vec<S> {
    let count = symbols.len();
    let mut after: Vec<usize> = (1..=count).collect();
    let mut before: Vec<usize> = (0..count).map(|at| at.wrapping_sub(1)).collect();
    let mut live = vec![true; count];
    let mut heap = BinaryHeap::new();
    let offer = |heap: &mut BinaryHeap<_>, symbols: &[S], left: usize, right: usize| {
        if let Some((rank, whole)) = whole(symbols[left], symbols[right]) {
            heap.push(Reverse((rank, left, right, symbols[left], symbols[right], whole)));
        }
    };
    for right in 1..count {
        offer(&mut heap, &symbols, right - 1, right);
    }
    while let Some(Reverse((_, left, right, old_left, old_right, whole))) = heap.pop() {
        let stale = !live[left] || !live[right] || after[left] != right;
        if stale || symbols[left] != old_left || symbols[right] != old_right {
            continue;
        }
        (symbols[left], live[right], after[left]) = (whole, false, after[right]);
        if let Some(back) = before.get_mut(after[left]) {
            *back = left;
            offer(&mut heap, &symbols, left, after[left]);
        }
        if before[left] < count {
            offer(&mut heap, &symbols, before[left], left);
        }
    }
    symbols.into_iter().zip(live).filter_map(|(symbol, live)| live.then_some(symbol)).collect()
}
