//! What counts as copied.

use agora_attribution::spans::{Run, Window, runs};
use agora_attribution::*;
use agora_types::Code;
use proptest::prelude::*;

use crate::world::Dice;

fn cluster(n: u64) -> Position {
    Position { seq: n, index: 0, item: 0 }
}

/// An answer of different tokens, of which clusters hold (start, length, clusters, count).
struct Answer {
    output: Vec<u32>,
    windows: Vec<Window>,
    probability: Vec<u64>,
}

fn answer(length: usize, held: &[(usize, u32, &[u64], u64)]) -> Answer {
    let mut windows = vec![Window::default(); length];
    for (start, long, clusters, count) in held {
        for window in windows.iter_mut().skip(*start).take((*long as usize).saturating_sub(7)) {
            window.clusters.extend(clusters.iter().map(|n| cluster(*n)));
            window.count += count;
        }
    }
    Answer { output: (0u32..).take(length).collect(), windows, probability: vec![0; length] }
}

fn copied(answer: &Answer, prompt: &[u32]) -> Vec<(u32, u32, u32, u64)> {
    let found = runs(&VerbatimRules::default(), prompt, &answer.output, &answer.windows, &answer.probability).unwrap();
    found.iter().map(|run| (run.start, run.length, run.match_length, run.cluster.seq)).collect()
}

#[test]
fn only_matches_of_eight_tokens_count() {
    assert_eq!(copied(&answer(40, &[(3, 8, &[5], 1), (20, 7, &[6], 1)]), &[]), [(3, 8, 8, 5)]);
    assert_eq!(copied(&answer(0, &[]), &[]), []);
    assert_eq!(copied(&answer(12, &[(0, 12, &[5], 1)]), &[]), [(0, 12, 12, 5)]);
}

#[test]
fn where_matches_overlap_who_said_it_first_has_the_token() {
    let both = answer(40, &[(0, 12, &[6], 1), (8, 12, &[5], 9)]);
    assert_eq!(copied(&both, &[]), [(0, 8, 12, 6), (8, 12, 12, 5)]);
    let within = answer(40, &[(0, 30, &[6], 1), (10, 9, &[5], 1)]);
    assert_eq!(copied(&within, &[]), [(0, 10, 30, 6), (10, 9, 9, 5), (19, 11, 30, 6)]);
}

#[test]
fn anothers_text_inside_ones_own_longer_one_stays_the_others() {
    // The victim's sentence of 20 tokens; the copyist, who came later, goes on behind it.
    let longer = answer(40, &[(0, 20, &[4], 1), (0, 32, &[9], 1)]);
    assert_eq!(copied(&longer, &[]), [(0, 20, 20, 4), (20, 12, 19, 9)], "the copyist has what it added");
    // Said before the victim said it.
    let earlier = answer(40, &[(0, 20, &[4], 1), (0, 32, &[2], 1)]);
    assert_eq!(copied(&earlier, &[]), [(0, 32, 32, 2)]);
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
    // An earlier one holds nothing but what needed no teaching: the later one's match is not cut by it.
    let mut phrase = answer(40, &[(0, 8, &[2], 1), (0, 20, &[5], 1)]);
    phrase.probability[..8].fill(WHOLE);
    assert_eq!(copied(&phrase, &[]), [(1, 19, 19, 5)]);
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
    let (output, probability) = ([0; 9], [0; 9]);
    let held = |at: usize| {
        let mut windows = vec![Window::default(); 9];
        windows[at] = Window { clusters: vec![cluster(1)], count: 1 };
        windows
    };
    let bad = |windows: &[Window], probability: &[u64]| runs(&rules, &[], &output, windows, probability).err();
    assert_eq!(bad(&held(1), &probability), None);
    assert_eq!(bad(&held(2), &probability), Some(Code::AttributionInput), "past the end");
    assert_eq!(bad(&held(0), &[WHOLE + 1; 9]), Some(Code::AttributionInput));
    assert_eq!(bad(&held(0)[..8], &probability), Some(Code::AttributionInput));
    assert_eq!(bad(&held(0), &probability[..8]), Some(Code::AttributionInput));
    let none = VerbatimRules { span_tokens_min: 0, ..rules };
    assert_eq!(runs(&none, &[], &[], &[], &[]), Err(Code::AttributionInput));
}

proptest! {
    #[test]
    fn runs_lie_inside_the_answer_and_each_token_is_the_earliest_match_s(
        seed in any::<u64>(), length in 1usize..120, vocabulary in 1u64..50,
    ) {
        let mut dice = Dice(seed);
        let mut token = || u32::try_from(dice.below(vocabulary)).unwrap();
        let output: Vec<u32> = (0..length).map(|_| token()).collect();
        let prompt: Vec<u32> = (0..60).map(|_| token()).collect();
        let windows: Vec<Window> = (0..length)
            .map(|start| Window {
                clusters: match start + 8 <= length && dice.below(3) > 0 {
                    true => (0..=dice.below(10)).map(|_| cluster(dice.below(9))).collect(),
                    false => Vec::new(),
                },
                count: 1 + dice.below(5),
            })
            .collect();
        let probability: Vec<u64> = (0..length).map(|_| dice.below(WHOLE / 2)).collect();
        let rules = VerbatimRules { clusters_max: 5, ..VerbatimRules::default() };
        let found = runs(&rules, &prompt, &output, &windows, &probability).unwrap();
        prop_assert!(found.windows(2).all(|pair| pair[0].start + pair[0].length <= pair[1].start));
        let whole = |run: &Run| run.length >= 1 && run.match_length >= run.length && run.match_length >= 8;
        prop_assert!(found.iter().all(|run| whole(run) && (run.start + run.length) as usize <= length));
        // Without echoes: the earliest owner of the windows over a token has it.
        let found = runs(&rules, &[], &output, &windows, &probability).unwrap();
        let owner = |window: &Window| {
            let held: std::collections::BTreeSet<_> = window.clusters.iter().copied().collect();
            held.first().copied().filter(|_| held.len() <= 5)
        };
        for token in 0..length {
            let over = windows[token.saturating_sub(7)..=token].iter().filter_map(owner).min();
            let has = found.iter().find(|run| (run.start..run.start + run.length).contains(&u32::try_from(token).unwrap()));
            prop_assert_eq!(has.map(|run| run.cluster), over);
        }
    }
}
