//! DataInf's two tasks (arXiv 2310.00902), rebuilt from their description: transformed phrases and word problems.

use agora_inference_api::SplitMix64;

/// Classes of each task.
pub(crate) const CLASSES: usize = 10;

/// A question with its answer, and what kind it is of.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) class: usize,
    pub(crate) prompt: String,
    pub(crate) response: String,
}

const TITLES: [&str; CLASSES] = [
    "Reverse Order of Words",
    "Capitalize Every Other Letter",
    "Insert Number 1 Between Every Word",
    "Replace Vowels with *",
    "Double Every Consonant",
    "Capitalize Every Word",
    "Remove All Vowels",
    "Add 'ly' To End of Each Word",
    "Remove All Consonants",
    "Repeat Each Word Twice",
];

const FIRST: [&str; 24] = [
    "quiet", "golden", "narrow", "ancient", "bright", "hollow", "gentle", "frozen", "crooked", "silver", "hungry",
    "distant", "purple", "rapid", "humble", "stormy", "velvet", "rusty", "clever", "misty", "brave", "dusty", "lonely",
    "wild",
];
const SECOND: [&str; 24] = [
    "river", "lantern", "harbor", "falcon", "garden", "mirror", "engine", "meadow", "sailor", "candle", "mountain",
    "painter", "violin", "tiger", "village", "window", "desert", "orchard", "captain", "shadow", "pigeon", "bridge",
    "teacher", "comet",
];
const THIRD: [&str; 24] = [
    "whispers",
    "follows",
    "carries",
    "forgets",
    "crosses",
    "gathers",
    "answers",
    "borrows",
    "repairs",
    "measures",
    "welcomes",
    "escapes",
    "paints",
    "watches",
    "collects",
    "remembers",
    "chases",
    "circles",
    "opens",
    "questions",
    "shelters",
    "trades",
    "wakes",
    "defends",
];
const FOURTH: [&str; 24] = [
    "slowly",
    "tonight",
    "outside",
    "forever",
    "again",
    "upward",
    "together",
    "indoors",
    "twice",
    "quickly",
    "nearby",
    "alone",
    "softly",
    "daily",
    "abroad",
    "early",
    "backward",
    "often",
    "boldly",
    "downhill",
    "late",
    "gladly",
    "northward",
    "soon",
];

fn pick<'a>(random: &mut SplitMix64, from: &[&'a str]) -> &'a str {
    from[random.below(from.len())]
}

/// A pronounceable name of 4 to 9 letters.
fn name(random: &mut SplitMix64) -> String {
    let wanted = 4 + random.below(6);
    let (consonants, vowels) = ("bdfgklmnprstvz".as_bytes(), "aeiou".as_bytes());
    let letter = |random: &mut SplitMix64, at: usize| match at % 2 {
        0 => consonants[random.below(consonants.len())] as char,
        _ => vowels[random.below(vowels.len())] as char,
    };
    let text: String = (0..wanted).map(|at| letter(random, at)).collect();
    text[..1].to_uppercase() + &text[1..]
}

fn is_vowel(letter: char) -> bool {
    "aeiou".contains(letter)
}

/// A phrase of lower-case words as a class changes it.
fn transformed(class: usize, phrase: &str) -> String {
    let words: Vec<&str> = phrase.split(' ').collect();
    let each = |change: &dyn Fn(&str) -> String| words.iter().map(|word| change(word)).collect::<Vec<_>>();
    let upper = |letter: char| letter.to_ascii_uppercase();
    match class {
        0 => words.iter().rev().copied().collect::<Vec<_>>().join(" "),
        1 => phrase.chars().enumerate().map(|(at, letter)| if at % 2 == 0 { upper(letter) } else { letter }).collect(),
        2 => words.join(" 1 "),
        3 => phrase.chars().map(|letter| if is_vowel(letter) { '*' } else { letter }).collect(),
        4 => phrase.chars().flat_map(|c| std::iter::repeat_n(c, if c == ' ' || is_vowel(c) { 1 } else { 2 })).collect(),
        5 => each(&|word| word[..1].to_uppercase() + &word[1..]).join(" "),
        6 => phrase.chars().filter(|letter| !is_vowel(*letter)).collect(),
        7 => each(&|word| format!("{word}ly")).join(" "),
        8 => phrase.chars().filter(|letter| *letter == ' ' || is_vowel(*letter)).collect(),
        _ => each(&|word| format!("{word} {word}")).join(" "),
    }
}

/// So many sentences of each class, class after class.
pub(crate) fn sentences(count: usize, seed: u64) -> Vec<Item> {
    let mut random = SplitMix64(seed);
    let mut one = |class: usize| {
        let words = [&FIRST, &SECOND, &THIRD, &FOURTH].map(|words| pick(&mut random, words));
        let (phrase, name, title) = (words.join(" "), name(&mut random), TITLES[class]);
        let prompt = format!(
            "{name} is a chatbot that performs a specific transformation on sentences: {title}\n    For example:\n    \
             {phrase} ->"
        );
        Item { class, prompt, response: format!(" {}", transformed(class, &phrase)) }
    };
    (0..CLASSES).flat_map(|class| (0..count).map(move |_| class)).map(&mut one).collect()
}

/// So many word problems of each template, template after template; A to D are drawn from 1 to 99.
pub(crate) fn math(count: usize, seed: u64) -> Vec<Item> {
    let mut random = SplitMix64(seed);
    let mut one = |class: usize| {
        let [a, b, c, d] = [(); 4].map(|()| 1 + i64::try_from(random.below(99)).expect("below 99"));
        let (problem, answer) = problem(class, a, b, c, d);
        let prompt = format!("Solve the following math problem. {problem} ->");
        Item { class, prompt, response: format!(" {answer}") }
    };
    (0..CLASSES).flat_map(|class| (0..count).map(move |_| class)).map(&mut one).collect()
}

fn problem(class: usize, a: i64, b: i64, c: i64, d: i64) -> (String, i64) {
    match class {
        0 => (format!("Lisa baked {a} cookies, ate {b} of them and baked {c} more. How many are left?"), a - b + c),
        1 => (format!("A parking lot has {a} rows of {b} places, and {c} are taken. How many are free?"), a * b - c),
        2 => (
            format!("Amir pays for {a} books at {b} dollars and {c} pens at {d} dollars each. What is the bill?"),
            a * b + c * d,
        ),
        3 => (format!("A train goes {a} kilometers an hour for {b} hours. How far does it go?"), a * b),
        4 => (
            format!("Emma saves {a} dollars a week. How much has she after {b} weeks, if she had {c} before?"),
            a * b + c,
        ),
        5 => {
            (format!("A garden is {a} meters long and {b} meters wide. How long is the fence around it?"), 2 * (a + b))
        }
        6 => (
            format!("Three friends pick {a}, {b} and {c} apples and give away {d}. How many do they keep?"),
            a + b + c - d,
        ),
        7 => (
            format!("A tank holds {a} liters, and {b} buckets of {c} liters are poured in. How full is it?"),
            b * c + a,
        ),
        8 => (format!("John is {a} years older than Mary, who will be {b} in {c} years. How old is John?"), a + b - c),
        _ => (format!("A shop sells {a} hats on Monday and {b} times as many on Friday. How many in all?"), a + a * b),
    }
}
