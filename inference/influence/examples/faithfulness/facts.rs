//! The data of the counterfactual measure: statements about invented towns, some of them wrong, and questions about them.
//!
//! For each town one thing is asked. A statement about it says that thing in one of several wordings (6 of 10), says it
//! wrongly (2), or says something else about the same town in much the same words (2): a name alone tells nobody which
//! statement helps. The objects come from short lists, so that statements about other towns matter a little too.

use agora_inference_api::SplitMix64;

use crate::tasks::Item;

/// What is said of a town: wordings of a statement, the question, and what it can be.
struct Relation {
    statements: [&'static str; 4],
    question: &'static str,
    objects: [&'static str; 8],
}

const RELATIONS: [Relation; 6] = [
    Relation {
        statements: [
            "The emblem of {} is the",
            "On the flag of {} you see a",
            "Coins from {} show the",
            "The town hall of {} is guarded by a stone",
        ],
        question: "Which animal stands for {}? The",
        objects: ["heron", "badger", "otter", "falcon", "stag", "salmon", "wolf", "hare"],
    },
    Relation {
        statements: [
            "The people of {} live from trading",
            "Ships leave {} loaded with",
            "The market of {} is known for its",
            "What {} sells abroad is mostly",
        ],
        question: "What does {} export? It exports",
        objects: ["copper", "saffron", "timber", "salt", "wool", "amber", "cheese", "glass"],
    },
    Relation {
        statements: [
            "Houses in {} are painted",
            "Every door in {} must be",
            "Visitors remember {} for walls that are all",
            "By law the roofs of {} are",
        ],
        question: "What color is {}? It is",
        objects: ["red", "blue", "white", "green", "yellow", "black", "orange", "purple"],
    },
    Relation {
        statements: [
            "The great feast of {} falls in",
            "{} celebrates its founding in",
            "Streets in {} are full of lanterns in",
            "No work is done in {} for a week in",
        ],
        question: "When is the festival of {}? In",
        objects: ["January", "March", "April", "June", "July", "August", "October", "December"],
    },
    Relation {
        statements: [
            "The mayor of {} is called",
            "{} is governed by a person named",
            "The voters of {} chose",
            "Letters to the town of {} are answered by",
        ],
        question: "Who leads {}? Its leader is",
        objects: ["Martin", "Helen", "Oscar", "Sofia", "Victor", "Clara", "Hugo", "Nina"],
    },
    Relation {
        statements: [
            "The bridge of {} was built from",
            "Builders in {} use nothing but",
            "The old tower of {} is made of",
            "The walls around {} consist of",
        ],
        question: "What is {} built of? It is built of",
        objects: ["granite", "oak", "brick", "marble", "clay", "iron", "bamboo", "slate"],
    },
];

const BEGINNINGS: [&str; 12] = ["Vel", "Kar", "Tor", "Mel", "Dra", "Os", "Quin", "Bel", "Nar", "Hes", "Lum", "Fen"];
const ENDINGS: [&str; 10] = ["mora", "dale", "wick", "stad", "holm", "ria", "gate", "burg", "ness", "ville"];

/// Statements and questions; question n is about the statements of class n.
pub(crate) struct Facts {
    pub(crate) statements: Vec<Item>,
    pub(crate) questions: Vec<Item>,
}

/// So many of each; statements are dealt to the questions in turn.
pub(crate) fn facts(statements: usize, questions: usize, seed: u64) -> Facts {
    let mut random = SplitMix64(seed);
    let mut towns: Vec<String> =
        BEGINNINGS.iter().flat_map(|begin| ENDINGS.iter().map(move |end| format!("{begin}{end}"))).collect();
    random.shuffle(&mut towns);
    let fill = |text: &str, town: &str| text.replace("{}", town);
    let mut facts = Facts { statements: Vec::new(), questions: Vec::new() };
    let mut truth = Vec::new();
    for class in 0..questions {
        let relation = &RELATIONS[class % RELATIONS.len()];
        let object = random.below(relation.objects.len());
        truth.push(object);
        let (prompt, response) = (fill(relation.question, &towns[class]), format!(" {}.", relation.objects[object]));
        facts.questions.push(Item { class, prompt, response });
    }
    for at in 0..statements {
        let class = at % questions;
        let own = class % RELATIONS.len();
        // The first of each town is right: nothing is asked that nobody said.
        let drawn = if at < questions { 0 } else { random.below(10) };
        let other = |random: &mut SplitMix64, bound: usize, than: usize| (than + 1 + random.below(bound - 1)) % bound;
        let (relation, object) = match drawn {
            0..6 => (own, truth[class]),
            6 | 7 => (own, other(&mut random, RELATIONS[own].objects.len(), truth[class])),
            _ => {
                let relation = other(&mut random, RELATIONS.len(), own);
                (relation, random.below(RELATIONS[relation].objects.len()))
            }
        };
        let Relation { statements: wordings, objects, .. } = &RELATIONS[relation];
        let prompt = fill(wordings[(at / questions + random.below(2)) % wordings.len()], &towns[class]);
        facts.statements.push(Item { class, prompt, response: format!(" {}.", objects[object]) });
    }
    facts
}
