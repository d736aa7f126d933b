//! Which parts of an answer were copied from the data: the rule, on plain data; the index that finds matches is
//! elsewhere.
//!
//! 1. *Maximal matches* (OLMoTrace's rule, arXiv 2504.07096): the longest match that begins at each token, without
//!    those that lie inside another, of at least `span_tokens_min` tokens.
//! 2. *Dropped* when more than `clusters_max` clusters hold it (a common phrase), or when the base model gives its
//!    tokens a mean probability above `base_probability_max` (it needed no teaching).
//! 3. *Echoes*: tokens inside any run of `span_tokens_min` tokens that the prompt holds too are nobody's, so that
//!    asking for one's own text pays nothing. A match that keeps fewer than `span_tokens_min` tokens is dropped.
//! 4. *Rarest first*: each token counts once, for the match with the fewest occurrences (then the longer, then the
//!    earlier) that covers it.
//! 5. Of the clusters that hold a match, the one committed first owns it, as with near-duplicates.

use std::collections::BTreeSet;

use agora_types::Code;

use crate::evidence::SPANS_MAX;
use crate::fixed::WHOLE;
use crate::rows::Position;
use crate::spec::VerbatimRules;

/// Most tokens of an answer or a prompt that are looked at.
pub const TOKENS_MAX: usize = 1 << 20;

/// The longest match in the data that begins at one token of the answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Longest {
    /// Its length in tokens; 0: none.
    pub length: u32,
    /// The clusters that hold it, by their owners' positions; any order, repeats allowed. May be cut short once it has
    /// more than `clusters_max` different ones.
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

/// A match that is still in.
struct Match {
    start: usize,
    end: usize,
    count: u64,
    cluster: Position,
}

/// The copied runs of an answer, in rising order of start, none overlapping; at most [`SPANS_MAX`], rarest matches
/// first.
///
/// `matches` and `base_probability` (the base model's probability of each token, parts of 2^32) have one entry for each
/// token of `output`.
///
/// # Errors
/// `attribution.bad_input` for lengths that differ or are out of bounds, a match past the end or without clusters, or a
/// probability above one.
pub fn runs(
    rules: &VerbatimRules,
    prompt: &[u32],
    output: &[u32],
    matches: &[Longest],
    base_probability: &[u64],
) -> Result<Vec<Run>, Code> {
    let fits = prompt.len() <= TOKENS_MAX
        && output.len() <= TOKENS_MAX
        && matches.len() == output.len()
        && base_probability.len() == output.len()
        && base_probability.iter().all(|probability| *probability <= WHOLE)
        && matches.iter().enumerate().all(|(start, one)| {
            (one.length as usize) <= output.len() - start && (one.length == 0 || !one.clusters.is_empty())
        });
    if !fits || rules.span_tokens_min == 0 {
        return Err(Code::AttributionInput);
    }
    let least = rules.span_tokens_min as usize;
    let echoes = echoes(prompt, output, least);
    let mut kept = maximal(rules, matches, base_probability);
    kept.retain(|one| echoes[one.start..one.end].iter().filter(|echo| !**echo).count() >= least);
    kept.sort_unstable_by_key(|one| (one.count, std::cmp::Reverse(one.end - one.start), one.start));

    // Each token goes to the first match in that order.
    let mut takers: Vec<Option<usize>> = vec![None; output.len()];
    for (rank, one) in kept.iter().enumerate() {
        for at in one.start..one.end {
            if !echoes[at] && takers[at].is_none() {
                takers[at] = Some(rank);
            }
        }
    }
    let mut found: Vec<(usize, Run)> = Vec::new();
    let mut at = 0;
    for same in takers.chunk_by(|left, right| left == right) {
        if let Some(rank) = same[0] {
            let one = &kept[rank];
            let (start, length, match_length) = (number(at), number(same.len()), number(one.end - one.start));
            found.push((rank, Run { start, length, match_length, cluster: one.cluster }));
        }
        at += same.len();
    }
    found.sort_by_key(|(rank, run)| (*rank, run.start));
    found.truncate(SPANS_MAX);
    let mut runs: Vec<Run> = found.into_iter().map(|(_, run)| run).collect();
    runs.sort_unstable_by_key(|run| run.start);
    Ok(runs)
}

/// Steps 1 and 2.
fn maximal(rules: &VerbatimRules, matches: &[Longest], base_probability: &[u64]) -> Vec<Match> {
    let mut kept = Vec::new();
    let mut furthest = 0;
    for (start, one) in matches.iter().enumerate() {
        let end = start + one.length as usize;
        if end <= furthest {
            continue;
        }
        furthest = end;
        let clusters: BTreeSet<Position> = one.clusters.iter().copied().collect();
        let rare = clusters.len() <= rules.clusters_max as usize;
        // At most 2^20 tokens of at most 2^32 each.
        let expected: u64 = base_probability[start..end].iter().sum();
        let taught = expected <= rules.base_probability_max.saturating_mul((end - start) as u64);
        if let Some(cluster) = clusters.first()
            && one.length >= rules.span_tokens_min
            && rare
            && taught
        {
            kept.push(Match { start, end, count: one.count, cluster: *cluster });
        }
    }
    kept
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
