//! Gaming by texts, on a tiny model that learns them: what holds to the atom, whatever the model is.
//!
//! Each market goes the whole way: checks, commitments, near-duplicates and a version (`examples/faithfulness/datanet.rs`), a
//! training, an index, and evidence for the same answers. What depends on the model, such as what a reworded copy earns, is
//! measured by `cargo xtask bench attribution --only gaming`.

use std::sync::atomic::AtomicBool;

use agora_attribution::{Evidence, Verdict, WHOLE, level2, payout};
use agora_datanets::Policy;
use agora_economy::settle_legs;
use agora_factory::{Training, train};
use agora_gradient::Machine;
use agora_inference_api::Request;
use agora_influence::{Adapter, Asked, Example, Index, Settings, Teaching, Workbench, build, tokens_of};
use agora_openlora::weights::Weights;
use agora_receipts::Role;
use agora_types::genesis::Split;
use agora_types::{Address, Amount, Canonical as _, Hash};

use crate::datanet::{Gift, Lesson, Version};
use crate::support::{Random, SEED, tiny};

/// Three people; the last one games. `eve` comes later, with nothing of her own.
const PEOPLE: [&str; 3] = ["ada", "bo", "mal"];
const ADA: usize = 0;
const MAL: usize = 2;
/// Lessons of each.
const EACH: usize = 4;
/// Times that somebody gives something again.
const TIMES: usize = 4;

/// How a lesson is given again, the how manieth time.
type Again = fn(&Lesson, usize) -> Lesson;

/// So many words of syllables that hardly two lessons have in common.
fn words(random: &mut Random, number: usize, count: usize) -> String {
    const CONSONANTS: &[u8; 20] = b"bcdfghjklmnpqrstvwxz";
    const VOWELS: &[u8; 6] = b"aeiouy";
    let mut syllable = || {
        let consonant = CONSONANTS[(3 * number + random.below(3)) % CONSONANTS.len()];
        let vowel = VOWELS[(number + random.below(2)) % VOWELS.len()];
        [char::from(consonant), char::from(vowel)]
    };
    let word = |_| [syllable(), syllable()].concat().into_iter().collect::<String>();
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

/// About a hundred tokens: the tiny model sees no more than 128.
fn lesson(number: usize) -> Lesson {
    let mut random = Random(SEED + number as u64);
    Lesson { prompt: words(&mut random, number, 3), response: words(&mut random, number, 14) }
}

/// Words without vowels, as no lesson has them.
fn junk(random: &mut Random, count: usize) -> String {
    let mut letter = || char::from(b"bdgkmnptqxz"[random.below(11)]);
    let word = |_| (0..4).map(|_| letter()).collect::<String>();
    (0..count).map(word).collect::<Vec<_>>().join(" ")
}

fn people() -> Vec<Gift> {
    let gift = |(at, who): (usize, &&str)| Gift {
        seq: 10 * (at as u64 + 1),
        from: Address::system(who),
        lessons: (0..EACH).map(|own| lesson(EACH * at + own)).collect(),
    };
    PEOPLE.iter().enumerate().map(gift).collect()
}

/// What `by` commits to after everybody: the lessons of one of the three, again and again.
fn again(by: &str, of: usize, how: Again) -> Vec<Gift> {
    let people = people();
    let gift = |time: usize| Gift {
        seq: 100 + time as u64,
        from: Address::system(by),
        lessons: people[of].lessons.iter().map(|lesson| how(lesson, time)).collect(),
    };
    (0..TIMES).map(gift).collect()
}

fn exactly(lesson: &Lesson, _: usize) -> Lesson {
    lesson.clone()
}

/// With a touch that 17 words bear without becoming something else: in capitals, with another last word, with more words.
fn touched(lesson: &Lesson, time: usize) -> Lesson {
    let said = &lesson.response;
    let response = match time {
        0 => format!("{}!", said.to_uppercase()),
        1 => format!("{} zyzy", said.rsplit_once(' ').unwrap().0),
        2 => format!("{said} zyzy"),
        _ => format!("{said}, zyzy zyzy"),
    };
    Lesson { prompt: lesson.prompt.clone(), response }
}

fn answer(weights: &Weights, question: &str, text: &str) -> Asked {
    tokens_of(weights, &Request::ask(question, 200).to_bytes(), text.as_bytes()).unwrap()
}

/// What is asked in every market: all lessons, and answers that two people taught.
fn answers(weights: &Weights) -> Vec<Asked> {
    let lessons: Vec<Lesson> = people().into_iter().flat_map(|gift| gift.lessons).collect();
    let own = lessons.iter().map(|lesson| answer(weights, &lesson.prompt, &lesson.response));
    let begin = |lesson: &Lesson| lesson.response.split(' ').take(7).collect::<Vec<_>>().join(" ");
    let of = |who: usize, own: usize| begin(&lessons[EACH * who + own]);
    let both = (0..EACH).map(|own| answer(weights, "who", &format!("{} {}", of(ADA, own), of(MAL, own))));
    own.chain(both).collect()
}

/// A market that was gone through.
struct Outcome {
    version: Version,
    adapter: Adapter,
    owners: Vec<u32>,
    evidence: Vec<Evidence>,
}

/// From gifts to evidence; without an adapter one is trained.
fn market(gifts: &[Gift], policy: Policy, adapter: Option<&Adapter>, answers: &[Asked]) -> Outcome {
    let weights = tiny();
    let version = Version::of(gifts, policy).unwrap();
    let rows = version.rows(&weights, weights.shape().context).unwrap();
    let adapter = adapter.cloned().unwrap_or_else(|| learnt(&weights, &rows));
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Workbench::new(weights, 1).unwrap();
    let teaching = Teaching {
        adapter: &adapter,
        examples: &rows,
        datanets: &[version.reference],
        copies: &version.copies,
        null: &[],
        own: answers,
    };
    let settings = Settings { dimension: 512, ..Settings::default() };
    build(&mut bench, &teaching, &settings, folder.path(), &mut |_| {}).unwrap();
    let index = Index::open(folder.path(), adapter.clone()).unwrap();
    let matrix = index.matrix().unwrap();
    let public = index.public(matrix.as_ref()).unwrap();
    let evidence = answers.iter().map(|asked| {
        let evidence = index.attribute(&public, &mut bench, asked, Amount::from_atoms(1_000_000_007)).unwrap();
        assert_eq!(level2(&public, &evidence), Verdict::Agrees);
        evidence
    });
    let evidence = evidence.collect();
    Outcome { owners: index.table().owners.clone(), evidence, version, adapter }
}

fn learnt(weights: &Weights, rows: &[Example]) -> Adapter {
    let settings = agora_factory::Settings {
        rank: 2,
        alpha: 4.0,
        learning_rate: 0.02,
        epochs: 3,
        batch_tokens: 256,
        held_out_share: 0.0,
        ..agora_factory::Settings::default()
    };
    let example = |row: &Example| agora_factory::Example {
        id: row.about.contribution,
        prompt: row.asked.prompt.clone(),
        response: row.asked.response.clone(),
    };
    let examples: Vec<agora_factory::Example> = rows.iter().map(example).collect();
    let bounds = agora_gradient::Settings { threads: 1, ..agora_gradient::Settings::default() };
    let mut machine = Machine::new(weights.clone(), &bounds).unwrap();
    let training = Training { settings: &settings, examples: &examples, checkpoint: None };
    let trained = train(&mut machine, &training, &AtomicBool::new(false), &mut |_| {}).unwrap();
    let bytes: Vec<u8> = trained.numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
    Adapter { layout: trained.layout, numbers: trained.numbers, hash: Hash::sha256(bytes) }
}

fn amount(evidence: &Evidence, who: &str) -> u128 {
    let own = evidence.payouts.iter().filter(|paid| paid.account == Address::system(who));
    own.map(|paid| paid.amount.atoms()).sum()
}

fn paid(outcome: &Outcome, who: &str) -> u128 {
    outcome.evidence.iter().map(|evidence| amount(evidence, who)).sum()
}

/// Everybody is paid the same, atom by atom, for each answer.
#[track_caller]
fn same(one: &Outcome, other: &Outcome) {
    for (at, (one, other)) in one.evidence.iter().zip(&other.evidence).enumerate() {
        let told = |evidence: &Evidence| {
            let summary = evidence.summary;
            (evidence.payouts.clone(), evidence.paid, evidence.commons, summary.explained, summary.grade)
        };
        assert_eq!(told(one), told(other), "answer {at}");
    }
}

/// The market in which nobody games, and what is asked there.
fn honest() -> (Outcome, Vec<Asked>) {
    let answers = answers(&tiny());
    let honest = market(&people(), Policy::default(), None, &answers);
    assert_eq!((honest.version.lessons.len(), honest.version.near), (PEOPLE.len() * EACH, 0));
    assert!(PEOPLE.iter().all(|who| paid(&honest, who) > 0), "everybody has something to lose");
    (honest, answers)
}

#[test]
fn own_data_five_times_pays_to_the_atom_what_it_pays_once() {
    let (honest, answers) = honest();
    for how in [exactly as Again, touched] {
        let gifts = [people(), again("mal", MAL, how)].concat();
        let gamed = market(&gifts, Policy::default(), None, &answers);
        assert_eq!(gamed.version.near, TIMES * EACH, "each copy is out");
        assert_eq!(gamed.adapter.hash, honest.adapter.hash, "and nothing is learnt twice");
        same(&honest, &gamed);
    }
}

#[test]
fn a_copy_of_anothers_data_pays_nothing_and_leaves_the_other_whole_whoever_shows_it_first() {
    let (honest, answers) = honest();
    for how in [exactly as Again, touched] {
        let mut gifts = [people(), again("eve", ADA, how)].concat();
        for first in [false, true] {
            if first {
                // Committed to last, and revealed before everything else.
                gifts.rotate_right(TIMES);
            }
            let gamed = market(&gifts, Policy::default(), None, &answers);
            assert_eq!(gamed.version.near, TIMES * EACH, "revealed first: {first}");
            same(&honest, &gamed);
            assert_eq!(paid(&gamed, "eve"), 0);
        }
    }
}

/// A datanet may let near-duplicates in. An adapter that learns them is another one; here it is the same, so that only the
/// measure could tell.
#[test]
fn near_copies_that_a_datanet_lets_in_change_nothing_in_the_measure() {
    let (honest, answers) = honest();
    let all = (PEOPLE.len() * EACH) as u32;
    assert!(honest.owners.iter().copied().eq(0..all), "no lesson is taken for another: {:?}", honest.owners);
    for (by, of) in [("mal", MAL), ("eve", ADA)] {
        let gifts = [people(), again(by, of, touched)].concat();
        let lax = Policy { near: None, ..Policy::default() };
        let gamed = market(&gifts, lax, Some(&honest.adapter), &answers);
        assert_eq!(gamed.version.lessons.len(), (PEOPLE.len() + TIMES) * EACH, "all are in");
        assert_eq!(gamed.version.copies.len(), TIMES * EACH, "and known for what they are");
        let copied = gamed.owners[all as usize..].iter().enumerate();
        let wrong = copied.filter(|(at, owner)| **owner as usize != of * EACH + at % EACH).count();
        assert_eq!(wrong, 0, "{by}: each belongs to the lesson that it copies: {:?}", gamed.owners);
        same(&honest, &gamed);
        assert_eq!(paid(&gamed, "eve"), 0);
    }
}

/// Every other word of another one's answer, and what comes first of it turned around.
fn shuffled(lesson: &Lesson, _: usize) -> Lesson {
    let words: Vec<&str> = lesson.response.split(' ').collect();
    let each = |first: usize| words.iter().skip(first).step_by(2).copied().collect::<Vec<_>>();
    Lesson { prompt: lesson.prompt.clone(), response: [each(1), each(0)].concat().join(" ") }
}

fn less(lesson: &Lesson, _: usize) -> Lesson {
    let mut words: Vec<&str> = lesson.response.split(' ').collect();
    words.remove(words.len() / 2);
    Lesson { prompt: lesson.prompt.clone(), response: words.join(" ") }
}

fn longer(lesson: &Lesson, _: usize) -> Lesson {
    Lesson { prompt: lesson.prompt.clone(), response: format!("{} zyzy zyzu zuzy zyzy zuzu zyzu", lesson.response) }
}

/// The first half of another one's answer, and words of one's own: the other half read backwards.
fn quoted(lesson: &Lesson, _: usize) -> Lesson {
    let words: Vec<&str> = lesson.response.split(' ').collect();
    let (first, rest) = words.split_at(words.len() / 2);
    let response = format!("{} {}", first.join(" "), rest.join(" ").chars().rev().collect::<String>());
    Lesson { prompt: lesson.prompt.clone(), response }
}

/// A word less in so short a lesson is another lesson for the near-duplicates of texts, and so is one that is shuffled or
/// goes on behind another's.
#[test]
fn an_answer_that_repeats_anothers_is_out_before_training_whatever_was_done_to_it() {
    let (honest, answers) = honest();
    for how in [less as Again, shuffled, longer] {
        let mut gift = again("eve", ADA, how);
        gift.truncate(1);
        let gamed = market(&[people(), gift].concat(), Policy::default(), None, &answers);
        assert_eq!((gamed.version.near, gamed.version.repeated), (0, EACH));
        assert_eq!(gamed.adapter.hash, honest.adapter.hash);
        same(&honest, &gamed);
    }
}

#[test]
fn another_ones_answer_to_another_question_is_known_by_its_words() {
    let (honest, answers) = honest();
    let all = (PEOPLE.len() * EACH) as u32;
    let market = |how: Again| {
        let mut gift = again("eve", ADA, how);
        gift.truncate(1);
        gift[0].lessons.iter_mut().for_each(|lesson| lesson.prompt += " zuzu");
        let gamed = market(&[people(), gift].concat(), Policy::default(), Some(&honest.adapter), &answers);
        assert_eq!((gamed.version.near, gamed.version.repeated, gamed.version.copies.len()), (0, 0, 0), "all are in");
        gamed
    };
    let less = market(less);
    assert!(less.owners[all as usize..].iter().copied().eq(0..EACH as u32), "nothing is new: {:?}", less.owners);
    same(&honest, &less);

    let quoted = market(quoted);
    assert!(quoted.owners.iter().copied().eq(0..all + EACH as u32), "something is new: {:?}", quoted.owners);
    let copied = |outcome: &Outcome, who: &str| {
        let entries = outcome.evidence.iter().flat_map(|evidence| &evidence.entries);
        entries.filter(|entry| entry.account == Address::system(who)).map(|entry| entry.verbatim).sum::<u64>()
    };
    assert_eq!(copied(&quoted, "eve"), 0, "no word of the other's is eve's");
    assert_eq!(copied(&quoted, "ada"), copied(&honest, "ada"));
    let (before, after, eve) = (paid(&honest, "ada"), paid(&quoted, "ada"), paid(&quoted, "eve"));
    println!("goes on behind another's: ada {before} atoms, then {after}; eve {eve}");
}

#[test]
fn the_same_data_under_four_names_pays_the_same_but_for_an_atom_a_name() {
    let (honest, answers) = honest();
    let mut gifts = people();
    let mine = gifts.pop().unwrap();
    let names: Vec<String> = (1..=EACH).map(|at| format!("mal-{at}")).collect();
    for ((at, name), lesson) in (0..).zip(&names).zip(mine.lessons) {
        gifts.push(Gift { seq: mine.seq + at, from: Address::system(name), lessons: vec![lesson] });
    }
    let split = market(&gifts, Policy::default(), None, &answers);
    assert_eq!(split.adapter.hash, honest.adapter.hash);
    for (one, other) in honest.evidence.iter().zip(&split.evidence) {
        assert_eq!((one.paid, one.commons), (other.paid, other.commons));
        let shares = |evidence: &Evidence| {
            let each = evidence.entries.iter();
            each.map(|entry| (entry.row, entry.influence, entry.verbatim, entry.share)).collect::<Vec<_>>()
        };
        assert_eq!(shares(one), shares(other), "names are no part of a measure");
        let together: u128 = names.iter().map(|name| amount(other, name)).sum();
        assert!(amount(one, "mal").abs_diff(together) <= EACH as u128, "{} for {together}", amount(one, "mal"));
        assert!(["ada", "bo"].iter().all(|who| amount(one, who).abs_diff(amount(other, who)) <= 1));
    }
}

#[test]
fn junk_that_shares_no_text_is_paid_for_no_copied_text() {
    let answers = answers(&tiny());
    let mut random = Random(SEED);
    let rubbish = Lesson { prompt: junk(&mut random, 3), response: junk(&mut random, 14) };
    // One of thirteen lessons.
    let gift = Gift { seq: 100, from: Address::system("eve"), lessons: vec![rubbish] };
    let outcome = market(&[people(), vec![gift]].concat(), Policy::default(), None, &answers);
    assert_eq!(outcome.version.lessons.len(), PEOPLE.len() * EACH + 1, "no check refuses it");
    let entries = || outcome.evidence.iter().flat_map(|evidence| &evidence.entries);
    let eve = Address::system("eve");
    assert!(entries().filter(|entry| entry.account == eve).all(|entry| entry.verbatim == 0));
    assert!(entries().any(|entry| entry.verbatim > 0), "others' text was copied");
    let all: u128 = PEOPLE.iter().chain(&["eve"]).map(|who| paid(&outcome, who)).sum();
    println!("junk, one lesson of thirteen, gets {} of {all} atoms by influence", paid(&outcome, "eve"));
}

#[test]
fn phrases_that_stand_in_the_question_too_earn_nothing_as_copied_text() {
    const QUESTION: &str = "who tends the lamp by night";
    let weights = tiny();
    let mut random = Random(SEED);
    let bait = Lesson { prompt: junk(&mut random, 2), response: format!("{QUESTION} {}", junk(&mut random, 5)) };
    let gift = Gift { seq: 100, from: Address::system("eve"), lessons: vec![bait] };
    // The answer repeats the question and goes on with words of ada's.
    let words: Vec<String> = lesson(0).response.split(' ').take(5).map(str::to_owned).collect();
    let text = format!("{QUESTION} {}", words.join(" "));
    let mut answers = answers(&weights);
    answers.push(answer(&weights, QUESTION, &text));
    answers.push(answer(&weights, "what", &text));
    let outcome = market(&[people(), vec![gift]].concat(), Policy::default(), None, &answers);
    let [.., echoed, told] = outcome.evidence.as_slice() else { panic!("two answers") };
    let copied = |evidence: &Evidence, who: &str| {
        let own = evidence.entries.iter().filter(|entry| entry.account == Address::system(who));
        own.map(|entry| entry.verbatim).sum::<u64>()
    };
    assert_eq!(copied(echoed, "eve"), 0, "{:?}", echoed.spans);
    assert!(copied(echoed, "ada") > 0, "what goes on after the echo counts");
    assert!(copied(told, "eve") > 0, "the same answer to another question shows that the rule is what stops it");
}

#[test]
fn who_pays_for_answers_from_own_data_gets_half_of_it_back_at_most() {
    println!("seed {SEED}");
    let mut random = Random(SEED);
    let (mal, other) = (Address::system("mal"), Address::system("other"));
    let whole = WHOLE as usize;
    for round in 0..50_000 {
        let wide = u128::from(random.next()) << 64 | u128::from(random.next());
        // From one atom to half of all OPEN there can be.
        let charge = (wide >> (39 + random.below(89))).max(1);
        let mut part = |of: usize| (if round % 4 < of { whole } else { random.below(whole + 1) }) as u64;
        let (share, grade) = (part(2), part(1));
        let (owns, hosts) = (random.below(2) == 0, random.below(2) == 0);
        let who = |mine: bool| if mine { mal } else { other };
        let legs = settle_legs(&Split::default(), Amount::from_atoms(charge), who(owns), who(hosts));
        assert_eq!(legs.iter().map(|leg| leg.amount.atoms()).sum::<u128>(), charge);
        let pool = legs.iter().filter(|leg| leg.role == Role::Contributors).map(|leg| leg.amount.atoms()).sum();
        let money = payout(Amount::from_atoms(pool), grade, &[(mal, share), (other, WHOLE - share)]).unwrap();
        let mine = money.accounts.iter().filter(|(account, _)| *account == mal);
        let earned: u128 = mine.map(|(_, amount)| amount.atoms()).sum();
        let beside: u128 = legs.iter().filter(|leg| leg.account == mal).map(|leg| leg.amount.atoms()).sum();
        let case = format!("seed {SEED}, round {round}: {charge} paid, {earned} earned, {beside} beside");
        assert!(earned <= charge.div_ceil(2), "{case}");
        // Even who owns the model and hosts it pays validators and platform; below ten atoms they may get none of them.
        assert!(earned + beside <= charge && (charge < 10 || earned + beside < charge), "{case}");
    }
}
