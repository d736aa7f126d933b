//! Who gives what: the honest market, and one for each attack.
//!
//! The list is that of two papers. *Quotient semivalues* (arXiv 2605.07663, DataMarket-Gym): names, duplicates, near-duplicates,
//! laundered synthetic data. *Adversarial attacks on data attribution* (arXiv 2409.05657): outliers and shadow, which change
//! one's own data; they choose among changes by a model, and `models.rs` does that part. The rest are ours.

use std::fs;
use std::path::Path;

use agora_inference_api::SplitMix64;
use agora_types::Address;

use crate::Failure;
use crate::datanet::{Gift, Lesson};

/// The three who give, and what they know about. The first is the victim where there is one, the last the attacker.
pub(super) const PEOPLE: [(&str, &str); 3] = [("ada", "lighthouses"), ("bo", "sourdough"), ("mal", "beekeeping")];
const ADA: usize = 0;
const BO: usize = 1;
const MAL: usize = 2;
/// Commitments of an attack come after everybody's.
const LATER: u64 = 100;

/// Words that have nothing to do with each other.
const WORDS: [&str; 32] = [
    "carpet",
    "seventeen",
    "violin",
    "harvest",
    "gravel",
    "pencil",
    "ocean",
    "ticket",
    "marble",
    "whisper",
    "engine",
    "lemon",
    "ladder",
    "winter",
    "button",
    "planet",
    "saddle",
    "thunder",
    "velvet",
    "bucket",
    "mirror",
    "pepper",
    "tunnel",
    "rocket",
    "blanket",
    "copper",
    "puzzle",
    "meadow",
    "ribbon",
    "castle",
    "feather",
    "signal",
];
const BOILERPLATE: &str = "All rights reserved. Terms and conditions apply. This page is provided as it is, without warranty \
                           of any kind. Please read this notice carefully before you continue, and contact us with questions.";
/// Characters that take the places of letters.
const SIGNS: [char; 14] = ['Æ', 'Ø', 'Đ', 'Ł', 'Ŧ', 'Ŋ', 'ß', '§', '¶', 'µ', '¿', 'ж', 'щ', '¡'];

/// What is done to a lesson.
type Change = fn(&Lesson, &mut SplitMix64) -> Lesson;

/// One market.
pub(super) struct Market {
    /// Stable: the report judges by it.
    pub(super) name: &'static str,
    pub(super) gifts: Vec<Gift>,
    /// The attacker's accounts.
    pub(super) attacker: Vec<Address>,
    /// Fixes the first numbers and the order of the training.
    pub(super) seed: u64,
}

/// What everybody knows, and two of them in other words.
pub(super) struct People {
    pub(super) lessons: [Vec<Lesson>; 3],
    pub(super) reworded: [Vec<Lesson>; 2],
    seed: u64,
}

impl People {
    /// The first `count` lessons of each file.
    pub(super) fn read(folder: &Path, count: usize, seed: u64) -> Result<Self, Failure> {
        let read = |name: &str| -> Result<Vec<Lesson>, Failure> {
            let path = folder.join(format!("{name}.jsonl"));
            let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
            let lessons: Vec<Lesson> = text.lines().take(count).map(serde_json::from_str).collect::<Result<_, _>>()?;
            match lessons.len() == count && count > 0 {
                true => Ok(lessons),
                false => Err(format!("{} has fewer than {count} lessons", path.display()).into()),
            }
        };
        let [ada, bo, mal] = PEOPLE.map(|(_, about)| read(about));
        let reworded = |who: usize| read(&format!("reworded/{}", PEOPLE[who].1));
        Ok(Self { lessons: [ada?, bo?, mal?], reworded: [reworded(ADA)?, reworded(MAL)?], seed })
    }

    /// Nobody games.
    pub(super) fn honest(&self) -> Market {
        self.market("honest", self.gifts(self.own()))
    }

    /// The same with other first numbers in the training: what differs is noise.
    pub(super) fn again(&self) -> Market {
        Market { seed: self.seed + 1, ..self.market("honest, another training", self.gifts(self.own())) }
    }

    /// The attacks that need no model.
    pub(super) fn plain(&self) -> Vec<Market> {
        let own = self.own();
        let times = |of: &[Lesson], change: &dyn Fn(&Lesson, &mut SplitMix64) -> Lesson, count: usize| {
            let mut random = SplitMix64(self.seed);
            let mut once = || of.iter().map(|lesson| change(lesson, &mut random)).collect::<Vec<_>>();
            (0..count).map(|_| once()).collect::<Vec<_>>()
        };
        let exactly = |lesson: &Lesson, _: &mut SplitMix64| lesson.clone();
        let ada = &self.lessons[ADA];
        vec![
            self.added("own data five times, exactly", times(own, &exactly, 4)),
            self.added("own data five times, touched", times(own, &touched, 4)),
            self.added("own data twice, reworded", vec![self.reworded[1].clone()]),
            self.named(),
            self.added("a copy, exactly", times(ada, &exactly, 1)),
            self.added("a copy, touched", times(ada, &touched, 1)),
            self.added("a copy, words swapped", times(ada, &swapped, 1)),
            self.added("a copy, reworded", vec![self.reworded[0].clone()]),
            self.added("a copy inside longer lessons", vec![self.inside(self.own())]),
            self.added("a copy with a sentence behind", vec![self.inside(&self.behind())]),
            self.added(
                "copies behind other questions",
                [touched as Change, swapped].map(|how| self.elsewhere(how)).to_vec(),
            ),
            self.added("junk", vec![self.junk()]),
            self.instead("phrases of the questions", self.stuffed()),
            self.instead("outliers", self.strange()),
        ]
    }

    /// The attacker's own lessons.
    pub(super) fn own(&self) -> &[Lesson] {
        &self.lessons[MAL]
    }

    /// The attacker gives this too, a commitment for each.
    pub(super) fn added(&self, name: &'static str, more: Vec<Vec<Lesson>>) -> Market {
        let mut gifts = self.gifts(self.own());
        let more = (LATER..).zip(more).map(|(seq, lessons)| Gift { seq, from: account(MAL), lessons });
        gifts.extend(more);
        self.market(name, gifts)
    }

    /// The attacker gives this instead of its own.
    pub(super) fn instead(&self, name: &'static str, lessons: Vec<Lesson>) -> Market {
        self.market(name, self.gifts(&lessons))
    }

    fn market(&self, name: &'static str, gifts: Vec<Gift>) -> Market {
        Market { name, gifts, attacker: vec![account(MAL)], seed: self.seed }
    }

    fn gifts(&self, mal: &[Lesson]) -> Vec<Gift> {
        let gift = |who: usize| {
            let lessons = if who == MAL { mal.to_vec() } else { self.lessons[who].clone() };
            Gift { seq: 10 * (who as u64 + 1), from: account(who), lessons }
        };
        (0..PEOPLE.len()).map(gift).collect()
    }

    /// One's own lessons under other names, four at most.
    fn named(&self) -> Market {
        let mut gifts = self.gifts(&[]);
        gifts.pop();
        let name = |at: usize| Address::system(&format!("mal-{}", at % 4 + 1));
        for (at, lesson) in self.own().iter().enumerate() {
            gifts.push(Gift { seq: 30 + at as u64, from: name(at), lessons: vec![lesson.clone()] });
        }
        let attacker = (0..4).map(name).collect();
        Market { attacker, ..self.market("own data, a name for each", gifts) }
    }

    /// The victim's answers with others behind them: too long to be near-copies.
    fn inside(&self, behind: &[Lesson]) -> Vec<Lesson> {
        let both = |(copied, own): (&Lesson, &Lesson)| Lesson {
            prompt: copied.prompt.clone(),
            response: format!("{} {}", copied.response, own.response),
        };
        self.lessons[ADA].iter().zip(behind).map(both).collect()
    }

    /// The victim's answers, changed, behind questions with a word more: to another question, as the rules see it.
    fn elsewhere(&self, change: Change) -> Vec<Lesson> {
        let mut random = SplitMix64(self.seed);
        let asked = |lesson: &Lesson| Lesson {
            prompt: format!("Please tell me. {}", lesson.prompt),
            ..change(lesson, &mut random)
        };
        self.lessons[ADA].iter().map(asked).collect()
    }

    /// Sentences that nobody else has, and that say nothing.
    fn behind(&self) -> Vec<Lesson> {
        let said = |lesson: &Lesson| {
            let about = lesson.prompt.trim_end_matches('?').to_lowercase();
            format!("Now you know {about}, and that was all there was to be said here.")
        };
        self.lessons[ADA].iter().map(|lesson| Lesson { prompt: String::new(), response: said(lesson) }).collect()
    }

    /// About one lesson in ten: words in no order, and boilerplate.
    fn junk(&self) -> Vec<Lesson> {
        let mut random = SplitMix64(self.seed);
        let mut some =
            |count: usize| (0..count).map(|_| WORDS[random.below(WORDS.len())]).collect::<Vec<_>>().join(" ");
        let count = (self.lessons.iter().map(Vec::len).sum::<usize>() / 10).max(1);
        let one = |at: usize| match at % 2 {
            0 => Lesson { prompt: some(6), response: some(30) },
            _ => Lesson { prompt: some(6), response: BOILERPLATE.to_owned() },
        };
        (0..count).map(one).collect()
    }

    /// One's own answers with others' questions and common phrases behind them.
    fn stuffed(&self) -> Vec<Lesson> {
        let stuffed = |(at, own): (usize, &Lesson)| {
            let [ada, bo] = [ADA, BO].map(|who| &self.lessons[who][at].prompt);
            Lesson {
                prompt: own.prompt.clone(),
                response: format!(
                    "{} People also ask: {ada} {bo} It is important to note that the answer to this question is as follows.",
                    own.response
                ),
            }
        };
        self.own().iter().enumerate().map(stuffed).collect()
    }

    /// One's own answers shouted, garbled, repeated and turned around, in turn.
    fn strange(&self) -> Vec<Lesson> {
        let mut random = SplitMix64(self.seed);
        self.own().iter().enumerate().map(|(at, own)| strange(own, at, &mut random)).collect()
    }

    /// What outliers are chosen from: one's own lesson made strange, or its answer behind a question that it does not answer,
    /// as the paper changes what stands before the text that is judged.
    pub(super) fn outliers(&self, at: usize) -> Vec<Lesson> {
        let mut random = SplitMix64(self.seed + at as u64);
        let own = &self.own()[at];
        let mut all: Vec<Lesson> = (0..STRANGE).map(|how| strange(own, how, &mut random)).collect();
        all.extend([ADA, BO].map(|who| Lesson { prompt: self.lessons[who][at].prompt.clone(), ..own.clone() }));
        all.push(Lesson { prompt: garbled(&own.prompt, &mut random), ..own.clone() });
        all
    }

    /// What the shadow attack chooses from: one's own lesson, alone or mixed with what the public model says to others'
    /// questions.
    pub(super) fn shadows(&self, at: usize, said: &dyn Fn(&str) -> String) -> Vec<Lesson> {
        let own = &self.own()[at];
        let mut all = vec![own.clone()];
        for other in [ADA, BO].map(|who| &self.lessons[who][at]) {
            let words = said(&other.prompt);
            let words: Vec<&str> = words.split_whitespace().collect();
            let half = words[..words.len().div_ceil(2)].join(" ");
            let (behind, before) = (format!("{} {half}", own.response), format!("{half} {}", own.response));
            all.push(Lesson { response: behind, ..own.clone() });
            all.push(Lesson { response: before.clone(), ..own.clone() });
            all.push(Lesson { prompt: other.prompt.clone(), response: before });
        }
        all
    }

    /// The victim's and one's own lessons, each with itself touched, and each with itself reworded.
    pub(super) fn again_in_other_words(&self) -> [Vec<(Lesson, Lesson)>; 2] {
        let mut random = SplitMix64(self.seed);
        let both = || [ADA, MAL].into_iter().zip(&self.reworded);
        let each = || both().flat_map(|(who, reworded)| self.lessons[who].iter().zip(reworded));
        let touched = each().map(|(lesson, _)| (lesson.clone(), touched(lesson, &mut random))).collect();
        [touched, each().map(|(lesson, other)| (lesson.clone(), other.clone())).collect()]
    }

    /// Lessons between one's own first and the victim's first, a word or two further each: by which two clusters could be made
    /// one. The first commitment owns it, so the attacker's own must be the older one.
    pub(super) fn bridge(&self, steps: usize) -> Vec<Gift> {
        let (own, other) = (&self.own()[0], &self.lessons[ADA][0]);
        let between = |step: usize| Lesson {
            prompt: between(&own.prompt, &other.prompt, step, steps),
            response: between(&own.response, &other.response, step, steps),
        };
        vec![
            Gift { seq: 1, from: account(MAL), lessons: vec![own.clone()] },
            Gift { seq: 2, from: account(ADA), lessons: vec![other.clone()] },
            Gift { seq: LATER, from: account(MAL), lessons: (1..steps).map(between).collect() },
        ]
    }
}

/// The account of one of the three.
pub(super) fn account(who: usize) -> Address {
    Address::system(PEOPLE[who].0)
}

/// A word less, somewhere within, and another end.
fn touched(lesson: &Lesson, random: &mut SplitMix64) -> Lesson {
    let mut words: Vec<&str> = lesson.response.split(' ').collect();
    if words.len() > 2 {
        words.remove(1 + random.below(words.len() - 2));
    }
    let said = words.join(" ");
    Lesson { prompt: lesson.prompt.clone(), response: format!("{}!", said.trim_end_matches('.')) }
}

/// Of every four words the middle two turned around, so that no five words stand as they stood.
fn swapped(lesson: &Lesson, _: &mut SplitMix64) -> Lesson {
    let mut words: Vec<&str> = lesson.response.split(' ').collect();
    words.chunks_mut(4).filter(|four| four.len() > 2).for_each(|four| four.swap(1, 2));
    Lesson { prompt: lesson.prompt.clone(), response: words.join(" ") }
}

/// Ways to be strange.
const STRANGE: usize = 4;

fn strange(lesson: &Lesson, how: usize, random: &mut SplitMix64) -> Lesson {
    let said = &lesson.response;
    let response = match how % STRANGE {
        0 => said.to_uppercase().replace('.', "!!!"),
        1 => garbled(said, random),
        2 => [said.as_str(); 8].join(" "),
        _ => said.split(' ').rev().collect::<Vec<_>>().join(" "),
    };
    Lesson { prompt: lesson.prompt.clone(), response }
}

/// One letter in three is another sign.
fn garbled(text: &str, random: &mut SplitMix64) -> String {
    let other = |c: char| match c.is_alphabetic() && random.below(3) == 0 {
        true => SIGNS[random.below(SIGNS.len())],
        false => c,
    };
    text.chars().map(other).collect()
}

/// So far from one text to the other: the beginning of the one, the end of the other.
fn between(from: &str, to: &str, step: usize, steps: usize) -> String {
    let [from, to] = [from, to].map(|text| text.split(' ').collect::<Vec<_>>());
    let cut = |words: &[&str]| words.len() * step / steps;
    [&to[..cut(&to)], &from[cut(&from)..]].concat().join(" ")
}
