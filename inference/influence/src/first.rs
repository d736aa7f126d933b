//! Who said it first: words of a lesson that an earlier lesson holds.
//!
//! A row is of what its lesson *adds*. Tokens of a response inside a run of `window` tokens that the response of an earlier
//! commitment holds too are that one's: whoever puts another's text into a longer one, or changes a word of it here and
//! there, is paid for what is new, and a lesson of which less than an eighth is new is the earlier one's near-copy. The tokens
//! are seen all the same, as what the new ones follow.
//!
//! Responses are compared with responses: a prompt teaches nothing.

use agora_attribution::Position;

use crate::InfluenceError;
use crate::failure::bad_input;
use crate::workbench::Example;

/// Most tokens of all responses.
const TOKENS_MAX: usize = 1 << 30;
const NOBODY: u32 = u32::MAX;
/// A lesson adds nothing if less than one token in so many is new.
const ADDS_ONE_IN: usize = 8;

/// What lessons add to those before them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct First {
    /// For each lesson and token of its response whether an earlier lesson holds it; empty where none is held, and for copies.
    pub(crate) held: Vec<Vec<bool>>,
    /// Lessons that add nothing, each behind the earlier one that most of its tokens are of.
    pub(crate) copies: Vec<(u32, u32)>,
}

impl First {
    /// By runs of `window` tokens. Takes 12 bytes for each token, and n log n comparisons of runs.
    ///
    /// # Errors
    /// `attribution.bad_input` for too many tokens.
    pub(crate) fn of(examples: &[Example], window: usize) -> Result<Self, InfluenceError> {
        let count = u32::try_from(examples.len()).map_err(|_| bad_input("2^32 examples"))?;
        let mut order: Vec<u32> = (0..count).collect();
        let key = |row: &u32| -> (Position, u32) { (examples[*row as usize].about.position, *row) };
        order.sort_unstable_by_key(key);
        let size: usize = examples.iter().map(|example| example.asked.response.len()).sum();
        if size > TOKENS_MAX {
            return Err(bad_input(format!("responses of {size} tokens; at most {TOKENS_MAX} are possible")));
        }
        // Responses one after another in the order of their commitments, so that of two places the lower one is the earlier.
        let (mut tokens, mut ends) = (Vec::with_capacity(size), Vec::with_capacity(examples.len()));
        for row in &order {
            tokens.extend_from_slice(&examples[*row as usize].asked.response);
            ends.push(tokens.len());
        }
        let holders = holders(&tokens, &ends, window.max(1));
        let mut first = Self { held: vec![Vec::new(); examples.len()], copies: Vec::new() };
        let mut start = 0;
        for (row, end) in order.iter().zip(&ends) {
            let own = &holders[start..*end];
            start = *end;
            let new = own.iter().filter(|holder| **holder == NOBODY).count();
            if new == own.len() {
                continue;
            }
            if ADDS_ONE_IN * new >= own.len() {
                first.held[*row as usize] = own.iter().map(|holder| *holder != NOBODY).collect();
                continue;
            }
            let mut sorted: Vec<u32> = own.iter().copied().filter(|holder| *holder != NOBODY).collect();
            sorted.sort_unstable();
            // Of equals the first: the earliest.
            let most = sorted.chunk_by(|a, b| a == b).rev().max_by_key(|same| same.len()).expect("some are held");
            first.copies.push((order[most[0] as usize], *row));
        }
        Ok(first)
    }
}

/// For each token the earliest text, by its number, that holds a run over it; [`NOBODY`] where none before its own does.
fn holders(tokens: &[u32], ends: &[usize], window: usize) -> Vec<u32> {
    let place = |at: usize| u32::try_from(at).expect("at most 2^30 tokens");
    let text = |at: u32| place(ends.partition_point(|end| *end <= at as usize));
    let mut runs: Vec<u32> = Vec::with_capacity(tokens.len());
    let mut start = 0;
    for end in ends {
        runs.extend((start..=*end).map(place).take((end - start + 1).saturating_sub(window)));
        start = *end;
    }
    let run = |at: u32| &tokens[at as usize..][..window];
    runs.sort_unstable_by(|a, b| run(*a).cmp(run(*b)).then(a.cmp(b)));
    let mut holders = vec![NOBODY; tokens.len()];
    for same in runs.chunk_by(|a, b| run(*a) == run(*b)).filter(|same| same.len() > 1) {
        let first = text(same[0]);
        // What a text says twice is still its own.
        for at in same[1..].iter().filter(|at| text(**at) != first) {
            for holder in &mut holders[*at as usize..][..window] {
                *holder = first.min(*holder);
            }
        }
    }
    holders
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::Asked;
    use agora_attribution::Kind;
    use agora_types::{Address, Hash};

    fn lesson(seq: u64, response: &[u32]) -> Example {
        let about = agora_attribution::Example {
            contribution: Hash::sha256(seq.to_be_bytes()),
            account: Address::system("ada"),
            position: Position { seq, index: 0, item: 0 },
            kind: Kind::Source,
            weight: 100,
        };
        Example { asked: Asked { prompt: vec![1], response: response.to_vec() }, text: Vec::new(), about }
    }

    fn marks(first: &First, row: usize) -> String {
        first.held[row].iter().map(|held| if *held { 'x' } else { '.' }).collect()
    }

    #[test]
    fn the_earlier_commitment_has_the_words_whatever_the_order_of_the_rows() {
        let original = lesson(5, &[10, 11, 12, 13, 14, 15]);
        let longer = lesson(9, &[20, 10, 11, 12, 13, 14, 15, 21, 22]);
        for (rows, later) in [([original.clone(), longer.clone()], 1), ([longer, original], 0)] {
            let first = First::of(&rows, 3).unwrap();
            assert_eq!(marks(&first, later), ".xxxxxx..");
            assert_eq!((marks(&first, 1 - later).as_str(), first.copies.len()), ("", 0));
        }
    }

    #[test]
    fn a_lesson_that_adds_nothing_is_a_copy_of_who_said_most_of_it() {
        let rows = [
            lesson(1, &[10, 11, 12, 13]),
            lesson(2, &[30, 31, 32, 33, 34, 35]),
            // A word less of the second.
            lesson(3, &[30, 31, 32, 34, 35]),
            // Both, one behind the other; and as much of the one as of the other.
            lesson(4, &[10, 11, 12, 30, 31, 32, 33]),
            lesson(5, &[30, 31, 32, 10, 11, 12]),
            // One token of nine, and one of eight.
            lesson(6, &[10, 11, 12, 13, 30, 31, 32, 33, 40]),
            lesson(7, &[10, 11, 12, 13, 30, 31, 32, 40]),
        ];
        let first = First::of(&rows, 2).unwrap();
        assert_eq!(first.copies, [(1, 2), (1, 3), (0, 4), (0, 5)]);
        assert!(first.held[..6].iter().all(Vec::is_empty), "the whole gradient of a copy stands in its row");
        assert_eq!(marks(&first, 6), "xxxxxxx.");
    }

    #[test]
    fn what_is_shorter_than_a_run_or_repeats_itself_is_ones_own() {
        let rows = [lesson(1, &[10, 11]), lesson(2, &[10, 11]), lesson(3, &[7, 7, 7, 7, 7, 7]), lesson(4, &[])];
        let first = First::of(&rows, 3).unwrap();
        assert_eq!(first, First { held: vec![Vec::new(); 4], copies: Vec::new() });
        assert_eq!(First::of(&[], 3).unwrap(), First { held: Vec::new(), copies: Vec::new() });
    }

    #[test]
    fn tokens_are_held_as_a_plain_search_says() {
        let mut state = 3u64;
        let mut random = |bound: u32| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from(state >> 33).unwrap() % bound
        };
        for window in [1, 3, 5] {
            let texts: Vec<Vec<u32>> = (0..12).map(|_| (0..random(30)).map(|_| random(3)).collect()).collect();
            let rows: Vec<Example> = (0..).zip(&texts).map(|(seq, text)| lesson(40 - seq, text)).collect();
            let first = First::of(&rows, window).unwrap();
            for (row, text) in texts.iter().enumerate() {
                // Rows stand in the opposite order of their commitments.
                let earlier =
                    |run: &[u32]| texts[row + 1..].iter().any(|other| other.windows(window).any(|o| o == run));
                let mut held = vec![false; text.len()];
                for (at, run) in text.windows(window).enumerate().filter(|(_, run)| earlier(run)) {
                    held[at..at + run.len()].fill(true);
                }
                let copy = first.copies.iter().any(|(_, copy)| *copy as usize == row);
                let new = held.iter().filter(|held| !**held).count();
                assert_eq!(copy, new < held.len() && 8 * new < held.len(), "window {window}, row {row}");
                if !copy {
                    let some = if held.contains(&true) { held } else { Vec::new() };
                    assert_eq!(first.held[row], some, "window {window}, row {row}");
                }
            }
        }
    }
}
