//! Which parts of an answer were copied from the data: the rule, on plain data; the index that finds what is held is
//! elsewhere.
//!
//! Everything goes by *windows*, runs of `span_tokens_min` tokens of the answer.
//!
//! 1. A window that the data holds belongs to the cluster that was committed first of those that hold it, as with
//!    near-duplicates. One that more than `clusters_max` clusters hold is a common phrase and belongs to nobody.
//! 2. Windows of one cluster that overlap make a *match*. So whoever puts another's text into a longer one of its own
//!    has a match only where its own begins: of two that hold a token it is not the longer match that counts (as in
//!    OLMoTrace, arXiv 2504.07096, which pays nobody) but who said it first.
//! 3. *Dropped* is a match to whose tokens the base model gives a mean probability above `base_probability_max` (it
//!    needed no teaching).
//! 4. *Echoes*: tokens inside any run of `span_tokens_min` tokens that the prompt holds too are nobody's, so that
//!    asking for one's own text pays nothing. A match that keeps fewer than `span_tokens_min` tokens is dropped.
//! 5. Each token counts once, for the match of the earliest cluster that covers it.
//! 6. Of more than [`SPANS_MAX`] runs those of the rarest matches stay (OLMoTrace's rule): the fewest occurrences, then
//!    the longer, then the earlier in the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use agora_types::Code;

use crate::evidence::SPANS_MAX;
use crate::fixed::WHOLE;
use crate::rows::Position;
use crate::spec::VerbatimRules;

/// Most tokens of an answer or a prompt that are looked at.
pub const TOKENS_MAX: usize = 1 << 20;

/// Who holds the `span_tokens_min` tokens that begin at one token of the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Window {
    /// The clusters that hold it, by their owners' positions; any order, repeats allowed; none where nobody does. May
    /// be cut short once it has more than `clusters_max` different ones.
    pub clusters: Vec<Position>,
    /// How often it occurs in all of the data.
    pub count: u64,
}

/// Tokens of the answer in a row that count as copied from one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First token, from 0.
    pub start: u32,
    /// Number of tokens, at least 1.
    pub length: u32,
    /// Length of the whole match they belong to, at least `span_tokens_min`.
    pub match_length: u32,
    /// The cluster that is credited.
    pub cluster: Position,
}

/// Overlapping windows of one cluster.
struct Match {
    tokens: Range<usize>,
    /// Of its rarest window.
    count: u64,
    cluster: Position,
}

/// The copied runs of an answer, in rising order of start, none overlapping; at most [`SPANS_MAX`].
///
/// `windows` and `base_probability` (the base model's probability of each token, parts of 2^32) have one entry for each
/// token of `output`; a window that would end behind the last token is nobody's.
///
/// # Errors
/// `attribution.bad_input` for lengths that differ or are out of bounds, a window past the end, or a probability above
/// one.
pub fn runs(
    rules: &VerbatimRules,
    prompt: &[u32],
    output: &[u32],
    windows: &[Window],
    base_probability: &[u64],
) -> Result<Vec<Run>, Code> {
    let least = rules.span_tokens_min as usize;
    let fits = prompt.len() <= TOKENS_MAX
        && output.len() <= TOKENS_MAX
        && windows.len() == output.len()
        && base_probability.len() == output.len()
        && base_probability.iter().all(|probability| *probability <= WHOLE)
        && windows.iter().rev().take(least.saturating_sub(1)).all(|window| window.clusters.is_empty());
    if !fits || least == 0 {
        return Err(Code::AttributionInput);
    }
    let echoes = echoes(prompt, output, least);
    let mut matches = matches(rules, windows);
    matches.retain(|one| {
        // At most 2^20 tokens of at most 2^32 each.
        let expected: u64 = base_probability[one.tokens.clone()].iter().sum();
        let taught = expected <= rules.base_probability_max.saturating_mul(one.tokens.len() as u64);
        taught && echoes[one.tokens.clone()].iter().filter(|echo| !**echo).count() >= least
    });

    let mut found: Vec<(usize, Run)> = Vec::new();
    let mut at = 0;
    for same in takers(&matches, &echoes).chunk_by(|left, right| left == right) {
        if let Some(taker) = same[0] {
            let one = &matches[taker];
            let (start, length, match_length) = (number(at), number(same.len()), number(one.tokens.len()));
            found.push((taker, Run { start, length, match_length, cluster: one.cluster }));
        }
        at += same.len();
    }
    if found.len() > SPANS_MAX {
        found.sort_by_key(|(taker, run)| {
            let one = &matches[*taker];
            (one.count, std::cmp::Reverse(one.tokens.len()), one.tokens.start, run.start)
        });
        found.truncate(SPANS_MAX);
        found.sort_unstable_by_key(|(_, run)| run.start);
    }
    Ok(found.into_iter().map(|(_, run)| run).collect())
}

/// Steps 1 and 2: in rising order of first token, then of cluster.
fn matches(rules: &VerbatimRules, windows: &[Window]) -> Vec<Match> {
    let least = rules.span_tokens_min as usize;
    let mut matches: Vec<Match> = Vec::new();
    // The last match of each cluster.
    let mut last: BTreeMap<Position, usize> = BTreeMap::new();
    for (start, window) in windows.iter().enumerate() {
        let clusters: BTreeSet<Position> = window.clusters.iter().copied().collect();
        let Some(cluster) = clusters.first().filter(|_| clusters.len() <= rules.clusters_max as usize) else {
            continue;
        };
        match last.get(cluster).map(|at| &mut matches[*at]).filter(|one| start < one.tokens.end) {
            Some(one) => {
                one.tokens.end = start + least;
                one.count = one.count.min(window.count);
            }
            None => {
                last.insert(*cluster, matches.len());
                matches.push(Match { tokens: start..start + least, count: window.count, cluster: *cluster });
            }
        }
    }
    matches
}

/// Step 5: for each token the match that has it. `matches` begin in rising order.
fn takers(matches: &[Match], echoes: &[bool]) -> Vec<Option<usize>> {
    // What has begun, by cluster: of one cluster no two matches overlap. What has ended goes when it comes first.
    let mut open: BTreeMap<Position, usize> = BTreeMap::new();
    let mut rest = matches.iter().enumerate().peekable();
    let mut takers = Vec::with_capacity(echoes.len());
    for (token, echo) in echoes.iter().enumerate() {
        while let Some((at, one)) = rest.next_if(|(_, one)| one.tokens.start == token) {
            open.insert(one.cluster, at);
        }
        while open.first_key_value().is_some_and(|(_, at)| matches[*at].tokens.end <= token) {
            open.pop_first();
        }
        takers.push(open.first_key_value().map(|(_, at)| *at).filter(|_| !echo));
    }
    takers
}

/// For each token of the answer: is it inside a run of `least` tokens that the prompt holds too?
fn echoes(prompt: &[u32], output: &[u32], least: usize) -> Vec<bool> {
    let asked: BTreeSet<&[u32]> = prompt.windows(least).collect();
    let mut echoes = vec![false; output.len()];
    for (start, window) in output.windows(least).enumerate() {
        if asked.contains(window) {
            echoes[start..start + least].fill(true);
        }
    }
    echoes
}

fn number(value: usize) -> u32 {
    u32::try_from(value).expect("at most 2^20 tokens")
}
