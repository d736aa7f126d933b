//! Answers that repeat an earlier answer to the same question, whatever was done to their order and around them.
//!
//! Runs of five words tell a copy from another text as long as few of them change: of thirty words one left out changes
//! five runs of thirty, and turning neighbours around changes nearly all. Behind the same question that is enough to teach
//! a model the copy instead of the original. So here, where the question is the same, the words are counted:
//!
//! - Two questions are the same if the same words occur in them; order, repetition and what [`Shingles`] does not see
//!   mean nothing.
//! - An answer *repeats* an earlier one if of the shorter of the two, which has at least [`WORDS_MIN`] words, more than
//!   seven eighths (each word as often as it occurs) are in the longer: a cut, a shuffle, a longer version with the whole
//!   original in it.
//!
//! Short answers repeat nobody: "yes" is what it is. Another number or name in an answer of eight words is an eighth of
//! them; in a long one it is less, so a correction says that it is one (its kind), and is not looked at here.
//!
//! [`Shingles`]: super::Shingles

use std::collections::BTreeMap;

use agora_types::Hash;

use super::words::words;
use crate::contribution::Position;

/// Fewest words of the shorter answer.
pub const WORDS_MIN: usize = 8;
/// So many answers to one question are compared with a later one, the earliest.
pub const ANSWERS_MAX: usize = 16;

/// A question with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer<'a> {
    /// When it was committed to.
    pub position: Position,
    /// What is asked.
    pub question: &'a str,
    /// What is said.
    pub answer: &'a str,
}

/// For each answer the earlier one that it repeats, by its place in the list: the earliest, and one that repeats nobody
/// itself. The order of the list does not matter, and nothing that comes later changes anything for what came earlier.
///
/// Takes 8 bytes for each word, and at most [`ANSWERS_MAX`] comparisons for each answer.
pub fn repeats(answers: &[Answer<'_>]) -> Vec<Option<u32>> {
    let mut order: Vec<u32> = (0u32..).take(answers.len()).collect();
    order.sort_unstable_by_key(|at| (answers[*at as usize].position, *at));
    let mut repeats = vec![None; answers.len()];
    // Of each question the first answers that repeat nobody, each with its sorted words.
    let mut known: BTreeMap<Hash, Vec<(u32, Vec<u64>)>> = BTreeMap::new();
    for at in order {
        let Answer { question, answer, .. } = answers[at as usize];
        let Some(question) = asked(question) else { continue };
        let words = sorted(answer);
        if words.len() < WORDS_MIN {
            continue;
        }
        let known = known.entry(question).or_default();
        match known.iter().find(|(_, other)| is_repeat(other, &words)) {
            Some((other, _)) => repeats[at as usize] = Some(*other),
            None if known.len() < ANSWERS_MAX => known.push((at, words)),
            None => {}
        }
    }
    repeats
}

/// A hash of the words that occur in a question; `None` where there are none.
fn asked(question: &str) -> Option<Hash> {
    let mut words = sorted(question);
    words.dedup();
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    (!words.is_empty()).then(|| Hash::sha256(bytes))
}

fn sorted(text: &str) -> Vec<u64> {
    let mut all = Vec::new();
    words(text, |word| all.push(word));
    all.sort_unstable();
    all
}

/// Of two lists of sorted words: are more than seven eighths of the shorter in the longer?
fn is_repeat(one: &[u64], other: &[u64]) -> bool {
    let (mut left, mut right, mut shared) = (one, other, 0usize);
    while let ([first, rest @ ..], [second, others @ ..]) = (left, right) {
        match first.cmp(second) {
            std::cmp::Ordering::Less => left = rest,
            std::cmp::Ordering::Greater => right = others,
            std::cmp::Ordering::Equal => (left, right, shared) = (rest, others, shared + 1),
        }
    }
    8 * shared > 7 * one.len().min(other.len())
}
