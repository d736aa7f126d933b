//! What counts as copied.

use agora_attribution::spans::{Longest, Run, runs};
use agora_attribution::*;
use agora_types::Code;
use proptest::prelude::*;

use crate::world::Dice;

fn cluster(n: u64) -> Position {
    Position { seq: n, index: 0, item: 0 }
}

/// An answer of different tokens with matches at (start, length, clusters, count), and their tails behind them.
struct Answer {
    output: Vec<u32>,
    matches: Vec<Longest>,
    probability: Vec<u64>,
}

fn answer(length: usize, found: &[(usize, u32, &[u64], u64)]) -> Answer {
    let mut matches = vec![Longest::default(); length];
    for (start, long, clusters, count) in found {
        for cut in 0..*long {
            let at = start + cut as usize;
            if matches[at].length < long - cut {
                let clusters = clusters.iter().map(|n| cluster(*n)).collect();
                matches[at] = Longest { length: long - cut, clusters, count: *count };
            }
        }
    }
    Answer { output: (0u32..).take(length).collect(), matches, probability: vec![0; length] }
}

fn copied(answer: &Answer, prompt: &[u32]) -> Vec<(u32, u32, u32, u64)> {
    let found = runs(&VerbatimRules::default(), prompt, &answer.output, &answer.matches, &answer.probability).unwrap();
    found.iter().map(|run| (run.start, run.length, run.match_length, run.cluster.seq)).collect()
}

#[test]
fn only_maximal_matches_of_eight_tokens_count() {
    assert_eq!(copied(&answer(40, &[(3, 8, &[5], 1), (20, 7, &[6], 1)]), &[]), [(3, 8, 8, 5)]);
    assert_eq!(copied(&answer(0, &[]), &[]), []);
    assert_eq!(copied(&answer(12, &[(0, 12, &[5], 1)]), &[]), [(0, 12, 12, 5)]);
}

#[test]
fn where_matches_overlap_the_rarest_has_the_token() {
    let both = answer(40, &[(0, 12, &[5], 9), (8, 12, &[6], 2)]);
    assert_eq!(copied(&both, &[]), [(0, 8, 12, 5), (8, 12, 12, 6)]);
    let equal = answer(40, &[(0, 12, &[5], 2), (8, 10, &[6], 2)]);
    assert_eq!(copied(&equal, &[]), [(0, 12, 12, 5), (12, 6, 10, 6)], "of equals the longer");
}

#[test]
fn of_the_clusters_that_hold_a_match_the_first_committed_owns_it() {
    let copies = answer(20, &[(2, 9, &[8, 4, 6, 4], 3)]);
    assert_eq!(copied(&copies, &[]), [(2, 9, 9, 4)], "whoever copied a sentence gets nothing for it");
}

#[test]
fn a_common_phrase_and_what_the_base_model_knows_do_not_count() {
    let m: Vec<u64> = (1..=8).collect();
    let more: Vec<u64> = (1..=9).collect();
    assert_eq!(copied(&answer(20, &[(2, 9, &m, 99)]), &[]).len(), 1);
    assert_eq!(copied(&answer(20, &[(2, 9, &more, 99)]), &[]), []);
    let mut known = answer(20, &[(2, 10, &[5], 1)]);
    known.probability = vec![WHOLE / 10 * 9; 20];
    assert_eq!(copied(&known, &[]).len(), 1, "at the bound it still counts");
    known.probability[3] += 1;
    assert_eq!(copied(&known, &[]), []);
    known.probability[4] = 0;
    assert_eq!(copied(&known, &[]).len(), 1, "it is the mean that decides");
}

#[test]
fn what_the_prompt_holds_pays_nothing() {
    let own = answer(40, &[(10, 20, &[5], 1)]);
    let text = &own.output[10..30];
    assert_eq!(copied(&own, text), [], "asked for whole");
    assert_eq!(copied(&own, &text[..19]), [], "asked for, but for the last token");
    // Asked for in two pieces with a gap of two tokens: each piece is an echo, the gap too short to count.
    let pieces = [&text[..9], &[999], &text[11..]].concat();
    assert_eq!(copied(&own, &pieces), []);
    // The first ten tokens were asked for; the other ten were not.
    assert_eq!(copied(&own, &text[..10]), [(20, 10, 20, 5)]);
    assert_eq!(copied(&own, &text[..7]), [(10, 20, 20, 5)], "seven tokens in a row are no echo");
}

#[test]
fn an_answer_of_many_copies_keeps_the_rarest() {
    let owners: Vec<[u64; 1]> = (0..2_000).map(|n| [n]).collect();
    let many: Vec<(usize, u32, &[u64], u64)> =
        owners.iter().enumerate().map(|(n, owner)| (n * 8, 8, owner.as_slice(), 2_000 - n as u64)).collect();
    let found = copied(&answer(16_000, &many), &[]);
    assert_eq!((found.len(), found[0].0), (SPANS_MAX, (2_000 - 1_024) * 8));
}

#[test]
fn data_that_does_not_fit_the_answer_is_refused() {
    let rules = VerbatimRules::default();
    let one = |length, clusters: Vec<Position>| vec![Longest { length, clusters, count: 1 }];
    let bad = |matches: &[Longest], probability: &[u64]| runs(&rules, &[], &[1], matches, probability).err();
    assert_eq!(bad(&one(1, vec![cluster(1)]), &[0]), None);
    assert_eq!(bad(&one(2, vec![cluster(1)]), &[0]), Some(Code::AttributionInput), "past the end");
    assert_eq!(bad(&one(1, vec![]), &[0]), Some(Code::AttributionInput), "in no cluster");
    assert_eq!(bad(&one(1, vec![cluster(1)]), &[WHOLE + 1]), Some(Code::AttributionInput));
    assert_eq!(bad(&[], &[0]), Some(Code::AttributionInput));
    assert_eq!(bad(&one(0, vec![]), &[]), Some(Code::AttributionInput));
    let none = VerbatimRules { span_tokens_min: 0, ..rules };
    assert_eq!(runs(&none, &[], &[], &[], &[]), Err(Code::AttributionInput));
}

proptest! {
    #[test]
    fn runs_lie_inside_the_answer_and_never_overlap(
        seed in any::<u64>(), length in 1usize..120, vocabulary in 1u64..50,
    ) {
        let mut dice = Dice(seed);
        let mut token = || u32::try_from(dice.below(vocabulary)).unwrap();
        let output: Vec<u32> = (0..length).map(|_| token()).collect();
        let prompt: Vec<u32> = (0..60).map(|_| token()).collect();
        let matches: Vec<Longest> = (0..length)
            .map(|start| Longest {
                length: u32::try_from(dice.below((length - start) as u64 + 1)).unwrap(),
                clusters: (0..=dice.below(10)).map(|_| cluster(dice.below(9))).collect(),
                count: 1 + dice.below(5),
            })
            .collect();
        let probability: Vec<u64> = (0..length).map(|_| dice.below(WHOLE + 1)).collect();
        let found = runs(&VerbatimRules::default(), &prompt, &output, &matches, &probability).unwrap();
        prop_assert!(found.windows(2).all(|pair| pair[0].start + pair[0].length <= pair[1].start));
        let whole = |run: &Run| run.length >= 1 && run.match_length >= run.length && run.match_length >= 8;
        prop_assert!(found.iter().all(|run| whole(run) && (run.start + run.length) as usize <= length));
    }
}
