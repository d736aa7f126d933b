//! Near-duplicates: what counts as the same, and who owns it.

use agora_datanets::similar::*;
use agora_datanets::{Item, Position};
use proptest::prelude::*;

use crate::kit::*;

fn same(a: &str, b: &str) -> bool {
    Shingles::of(a) == Shingles::of(b)
}

#[test]
fn case_white_space_and_punctuation_between_words_mean_nothing() {
    let plain = "The owner of a wreck keeps it and the salvor is owed a reward";
    for other in [
        "the OWNER of a  wreck\nkeeps it and\tthe salvor is owed a reward",
        "“The owner of a wreck keeps it”, and the salvor is owed a reward.",
        "The owner of a wreck keeps it; and the salvor is owed a reward!",
        "The ow\u{ad}ner of a wreck\u{200b} keeps it and the salvor is owed a reward...",
        "Ｔｈｅ owner of a wreck keeps it and the salvor is owed a reward",
        "'The owner' of a wreck: keeps it and the salvor is owed a reward?",
    ] {
        assert!(same(plain, other), "{other}");
    }
    assert!(!same(plain, "The owner of a wreck keeps it and the salvor is owed no reward"));
    assert!(!same(plain, "the salvor is owed a reward and The owner of a wreck keeps it"), "order counts");
}

#[test]
fn signs_that_change_the_meaning_count() {
    for (a, b) in [("2 + 3", "2 - 3"), ("a != b", "a = b"), ("3.5", "35"), ("x_1", "x1"), ("5 %", "5 $"), ("a.b", "ab")]
    {
        assert!(!same(a, b), "{a} is {b}");
    }
    assert!(same("don't", "don’t"));
    assert!(!same("one two", "one two three"), "short texts are compared whole");
}

#[test]
fn scripts_without_spaces_have_words_too() {
    let near = Shingles::of("灯台は夜と霧の中で船に海岸や暗礁や港の位置を知らせる。")
        .overlap(&Shingles::of("灯台は夜と霧の中で船に海岸や暗礁や島の位置を知らせる"));
    assert!(near.0 > 10 && near.1 > near.0, "{near:?}");
    let thai = Shingles::of("ประภาคารบอกตำแหน่งชายฝั่ง").hashes().len();
    assert!(thai > 15, "{thai}");
    assert!(Shingles::of(" \n\u{200b} ").is_empty());
}

#[test]
fn similarity_is_exact_in_whole_numbers() {
    let words: Vec<String> = (0..20).map(|n| format!("w{n}")).collect();
    let a = Shingles::of(&words.join(" "));
    let b = Shingles::of(&words[..18].join(" "));
    // 16 and 14 shingles, 14 in common: 0.875.
    assert_eq!((a.overlap(&b), b.overlap(&a)), ((14, 16), (14, 16)));
    assert!(a.is_near(&b, 875) && !a.is_near(&b, 876));
    assert!(a.is_near(&a, 1_000));
    let empty = Shingles::of("");
    assert!(!empty.is_near(&empty, 1), "nothing is like nothing");
}

/// Agreement of signatures beside similarity, over many pairs of texts: the worst and the mean error in 128ths.
#[test]
fn signatures_estimate_similarity() {
    let hasher = MinHasher::default();
    let (mut worst, mut sum, mut count) = (0, 0, 0);
    for pair in 0..400u64 {
        let base: Vec<String> = words(pair, 120).split(' ').map(str::to_owned).collect();
        let kept = 20 + usize::try_from(pair % 100).unwrap();
        let other =
            [base[..kept].to_vec(), words(pair + 10_000, 120 - kept).split(' ').map(str::to_owned).collect()].concat();
        let (a, b) = (Shingles::of(&base.join(" ")), Shingles::of(&other.join(" ")));
        let (common, union) = a.overlap(&b);
        let expected = i64::try_from(common * 128 / union).unwrap();
        let error = i64::from(hasher.signature(&a).agreement(&hasher.signature(&b))) - expected;
        worst = worst.max(error.abs());
        sum += error;
        count += 1;
    }
    println!("signatures: worst error {worst} of 128, mean {} thousandths of one", sum * 1_000 / count);
    assert!(worst <= 22, "four standard deviations are 22.6 at one half");
    assert!((sum * 1_000 / count).abs() < 1_000, "no bias beyond rounding");
}

/// Marks of texts in the given order, with these positions.
fn marks(texts: &[(u64, &str)]) -> Vec<Mark> {
    let hasher = MinHasher::default();
    texts.iter().map(|(seq, said)| Mark::new(Position { seq: *seq, index: 0 }, &text(said), &hasher).unwrap()).collect()
}

fn clusters(texts: &[(u64, &str)], near: Option<u16>) -> Clusters {
    let shingles = |at: u32| -> Result<_, ()> { Ok(Some(Shingles::of(texts[at as usize].1))) };
    Clusters::find(&marks(texts), near, shingles).unwrap()
}

#[test]
fn a_copy_of_a_copy_belongs_to_the_original_and_a_bridge_joins_nothing_earlier() {
    let word = |range: std::ops::Range<u32>| range.map(|n| format!("w{n}")).collect::<Vec<_>>().join(" ");
    // Each moves on by five words: neighbours are near (0.83), the first and the last are not (0.69).
    let (a, b, c) = (word(0..60), word(5..65), word(10..70));
    let drift = clusters(&[(1, &a), (2, &b), (3, &c)], Some(800));
    assert_eq!([0, 1, 2].map(|at| drift.owner(at)), [0, 0, 0]);
    assert_eq!([0, 1, 2].map(|at| drift.like(at)), [0, 0, 1]);
    // The same three, but the one between comes last: it joins the first, and the other stays its own.
    let bridge = clusters(&[(1, &a), (3, &b), (2, &c)], Some(800));
    assert_eq!([0, 1, 2].map(|at| bridge.owner(at)), [0, 0, 2]);
    assert_eq!(bridge.count(), 2);
}

#[test]
fn without_a_threshold_only_the_same_data_is_the_same() {
    let texts = [(3, "A light."), (1, "a light"), (2, "A light.")];
    let found = clusters(&texts, None);
    assert_eq!([0, 1, 2].map(|at| found.owner(at)), [2, 1, 2]);
    let found = clusters(&texts, Some(1_000));
    assert_eq!([0, 1, 2].map(|at| found.owner(at)), [1, 1, 1], "the same words");
}

#[test]
fn texts_that_cannot_be_had_are_compared_by_signature() {
    let texts = [(1, words(1, 80)), (2, words(1, 79)), (3, words(2, 80))];
    let texts: Vec<(u64, &str)> = texts.iter().map(|(seq, said)| (*seq, said.as_str())).collect();
    let none = |_: u32| -> Result<Option<Shingles>, ()> { Ok(None) };
    let found = Clusters::find(&marks(&texts), Some(800), none).unwrap();
    assert_eq!([0, 1, 2].map(|at| found.owner(at)), [0, 0, 2]);
    let fails = |_: u32| -> Result<Option<Shingles>, &str> { Err("disk") };
    assert_eq!(Clusters::find(&marks(&texts), Some(800), fails), Err("disk"));
}

#[test]
fn what_has_no_words_is_like_nothing_but_itself() {
    let hasher = MinHasher::default();
    let item = |said: &str| Item::Text(said.to_owned());
    let marks: Vec<Mark> = (0u64..)
        .zip(["\u{300}", "\u{301}", "\u{300}"])
        .map(|(seq, said)| Mark::new(Position { seq, index: 0 }, &item(said), &hasher).unwrap())
        .collect();
    let none = |_: u32| -> Result<Option<Shingles>, ()> { Ok(None) };
    let found = Clusters::find(&marks, Some(800), none).unwrap();
    assert_eq!([0, 1, 2].map(|at| found.owner(at)), [0, 1, 0]);
}

#[test]
fn data_made_to_collide_costs_bounded_time_and_exact_copies_are_found_anyway() {
    // One template, 3,000 times, with a number of its own each: all are alike at about 0.7, none is a copy.
    let number = |n: u64| words(n, 2);
    let start = words(1, 36);
    let mut texts: Vec<String> = (0..3_000u64).map(|n| format!("{start} {}", words(100 + n, 12))).collect();
    texts.push(format!("{start} {}", words(100 + 2_500, 12)));
    texts.push(number(5));
    let with: Vec<(u64, &str)> = (0u64..).zip(&texts).map(|(seq, said)| (seq, said.as_str())).collect();
    let mut asked = 0usize;
    let shingles = |at: u32| -> Result<_, ()> {
        asked += 1;
        Ok(Some(Shingles::of(with[at as usize].1)))
    };
    let found = Clusters::find(&marks(&with), Some(800), shingles).unwrap();
    assert_eq!(found.owner(3_000), 2_500);
    assert_eq!(found.count(), 3_001);
    assert!(asked <= (EXACT_MAX + 1) * texts.len(), "{asked}");
}

/// Texts over few words, so that many are alike.
fn any_text() -> impl Strategy<Value = String> {
    (0u64..4, 0usize..30, 0u64..3).prop_map(|(base, changed, by)| {
        let mut said: Vec<String> = words(base, 30).split(' ').map(str::to_owned).collect();
        if by > 0 {
            said[changed] = format!("other{by}");
        }
        said.join(" ")
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn clusters_do_not_depend_on_the_order_of_the_list(said in proptest::collection::vec(any_text(), 1..30), turn in any::<usize>()) {
        let texts: Vec<(u64, &str)> = (0u64..).zip(&said).map(|(seq, said)| (seq, said.as_str())).collect();
        let mut other = texts.clone();
        other.rotate_left(turn % texts.len());
        other.reverse();
        let owners = |texts: &[(u64, &str)]| {
            let found = clusters(texts, Some(800));
            let mut owners: Vec<(u64, u64)> = (0u32..).zip(texts).map(|(at, (seq, _))| (*seq, texts[found.owner(at) as usize].0)).collect();
            owners.sort_unstable();
            owners
        };
        prop_assert_eq!(owners(&texts), owners(&other));
    }

    #[test]
    fn what_comes_later_changes_nothing_earlier(said in proptest::collection::vec(any_text(), 2..30)) {
        let texts: Vec<(u64, &str)> = (0u64..).zip(&said).map(|(seq, said)| (seq, said.as_str())).collect();
        let (all, before) = (clusters(&texts, Some(800)), clusters(&texts[..texts.len() / 2], Some(800)));
        for at in (0u32..).take(texts.len() / 2) {
            prop_assert_eq!((all.owner(at), all.like(at)), (before.owner(at), before.like(at)));
        }
    }

    #[test]
    fn everything_near_is_found_and_nothing_else(said in proptest::collection::vec(any_text(), 2..24)) {
        // Few enough for no bound to bite: the rule, written down once more without signatures.
        let texts: Vec<(u64, &str)> = (0u64..).zip(&said).map(|(seq, said)| (seq, said.as_str())).collect();
        let found = clusters(&texts, Some(800));
        let shingles: Vec<Shingles> = said.iter().map(|said| Shingles::of(said)).collect();
        for at in 0..said.len() {
            let like = (0..at).find(|other| said[*other] == said[at]).or_else(|| (0..at).find(|other| shingles[at].is_near(&shingles[*other], 800)));
            let found = found.like(u32::try_from(at).unwrap());
            // Of equal ones the earliest may stand for the rest.
            prop_assert_eq!(like.is_some(), found as usize != at);
        }
    }

    #[test]
    fn no_text_makes_words_panic(said in "\\PC{0,200}") {
        let _ = MinHasher::default().signature(&Shingles::of(&said));
    }
}

/// Places that repeat, each with the place that it repeats, of answers with their positions.
fn repeated(answers: &[(u64, &str, &str)]) -> Vec<(usize, u32)> {
    let each = answers.iter().map(|(seq, question, answer)| Answer {
        position: Position { seq: *seq, index: 0 },
        question,
        answer,
    });
    let found = repeats(&each.collect::<Vec<_>>());
    found.into_iter().enumerate().filter_map(|(at, other)| Some((at, other?))).collect()
}

const ASKED: &str = "What is the character of a lighthouse?";
const SAID: &str = "The character of a lighthouse is its rhythm of light and dark, written beside it on the chart.";

#[test]
fn an_answer_that_repeats_an_earlier_one_is_known_whatever_its_order_and_what_stands_around_it() {
    for again in [
        "The character of a lighthouse is its rhythm of light and dark, written beside it on chart!",
        "character The of a is lighthouse its of rhythm light dark, and written it beside on chart. the",
        "The character of a lighthouse is its rhythm of light and dark",
        "Well, well. The character of a lighthouse is its rhythm of light and dark, written beside it on the chart. By my \
         own honey I swear, and more of it is to be had from me and from nobody else in this town or any other.",
    ] {
        assert_eq!(repeated(&[(1, ASKED, SAID), (2, ASKED, again)]), [(1, 0)], "{again}");
        assert_eq!(repeated(&[(2, ASKED, again), (1, ASKED, SAID)]), [(0, 1)], "listed first, committed to later");
        assert_eq!(repeated(&[(1, ASKED, SAID), (2, "the LIGHTHOUSE: of what is a character", again)]), [(1, 0)]);
        assert_eq!(repeated(&[(1, ASKED, SAID), (2, "How does a navigator know a light?", again)]), []);
    }
}

#[test]
fn another_answer_to_the_same_question_repeats_nobody() {
    let other = "It tells which light you see: so many flashes, so many seconds, as printed next to the symbol.";
    assert_eq!(repeated(&[(1, ASKED, SAID), (2, ASKED, other)]), []);
    assert_eq!(
        repeated(&[(1, "Is it red?", "Yes, it is."), (2, "Is it red?", "Yes, it is.")]),
        [],
        "too short to tell"
    );
    let (one, two) = ("The bridge of the old town opened in 1894.", "The bridge of the old town opened in 1903.");
    assert_eq!(
        repeated(&[(1, ASKED, one), (2, ASKED, two)]),
        [(1, 0)],
        "one word of nine: a correction says that it is one"
    );
    let (one, two) = ("The old bridge of it opened in 1894.", "The old bridge of it opened in 1903.");
    assert_eq!(repeated(&[(1, ASKED, one), (2, ASKED, two)]), [], "one word of eight");
}

#[test]
fn a_copy_of_a_copy_repeats_the_original() {
    // Each leaves out two of the words that the one before it has.
    let words: Vec<&str> = SAID.split(' ').collect();
    let cut = |left: usize| words[..words.len() - left].join(" ");
    let texts: Vec<String> = (0..4).map(|step| cut(2 * step)).collect();
    let answers: Vec<Answer<'_>> = (1..)
        .zip(&texts)
        .map(|(seq, answer)| Answer { position: Position { seq, index: 0 }, question: ASKED, answer })
        .collect();
    assert_eq!(repeats(&answers), [None, Some(0), Some(0), Some(0)]);
}
