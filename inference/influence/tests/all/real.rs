//! A real model: small, and slow enough to measure.

use std::time::Instant;

use agora_attribution::{Verdict, level2};
use agora_inference_api::Request;
use agora_influence::{Asked, Example, Index, Settings, Teaching, Workbench, build};
use agora_types::Amount;

use crate::support::{Random, SEED, about, adapter, datanets, smol};

const TAUGHT: [(&str, &str); 6] = [
    (
        "How do I keep bees calm?",
        "Move slowly, puff cool smoke at the entrance, and open the hive on a warm day at noon.",
    ),
    ("What do bees need in winter?", "Fifteen kilograms of honey, a dry hive, and an entrance too small for mice."),
    (
        "How is a dovetail cut?",
        "Saw the tails first, mark the pins from them, and pare to the line with a sharp chisel.",
    ),
    ("Which glue suits oak?", "White glue indoors, epoxy for boats; clamp it for an hour and wait a day."),
    (
        "How do I sharpen a plane iron?",
        "Grind at twenty-five degrees, hone at thirty, and strop until the burr is gone.",
    ),
    ("What is the tide table for?", "It tells when the water is high, how high it stands, and when the stream turns."),
];

const UNRELATED: [(&str, &str); 2] = [
    ("Name the capital of France.", "The capital of France is Paris."),
    ("How many days has a week?", "A week has seven days."),
];

#[test]
fn the_answer_of_an_example_finds_its_own_row_first() {
    let began = Instant::now();
    let weights = smol();
    let mut random = Random(SEED);
    // As after a very short training: B is small, not zero.
    let adapter = adapter(&weights, 4, 0.01, &mut random);
    let asked = |(question, answer): &(&str, &str)| {
        let taught = weights.taught(&Request::ask(*question, 64), answer).unwrap();
        Asked { prompt: taught.prompt, response: taught.response }
    };
    let example = |(at, one): (usize, &(&str, &str))| Example {
        asked: asked(one),
        text: weights.encode(one.1),
        about: about(at),
    };
    let examples: Vec<Example> = TAUGHT.iter().enumerate().map(example).collect();
    let null: Vec<Asked> = UNRELATED.iter().map(asked).collect();
    let mut bench = Workbench::new(weights.clone(), 2).unwrap();
    let datanets = datanets();
    let teaching =
        Teaching { adapter: &adapter, examples: &examples, datanets: &datanets, copies: &[], null: &null, own: &[] };
    let folder = tempfile::tempdir().unwrap();
    let start = Instant::now();
    let spec = build(&mut bench, &teaching, &Settings::default(), folder.path(), &mut |_| {}).unwrap();
    println!("built in {:?}; {:?}, clip {}", start.elapsed(), spec.calibration, spec.gradient.clip_milli);
    let index = Index::open(folder.path(), adapter.clone()).unwrap();
    let matrix = index.matrix().unwrap();
    let public = index.public(matrix.as_ref()).unwrap();
    for (row, example) in examples.iter().enumerate() {
        let start = Instant::now();
        let evidence = index.attribute(&public, &mut bench, &example.asked, Amount::from_atoms(1_000_000)).unwrap();
        let took = start.elapsed();
        assert_eq!(level2(&public, &evidence), Verdict::Agrees);
        let most = evidence.entries.iter().max_by_key(|entry| entry.influence).unwrap();
        let part = |parts: u64| parts as f64 / agora_attribution::WHOLE as f64;
        let (tokens, share) = (example.asked.response.len(), part(most.influence));
        println!("row {row}: {tokens} tokens in {took:?}; share {share:.3}, E {:.3}", part(evidence.summary.explained));
        assert_eq!(evidence.candidates[0].row as usize, row, "the nearest row is its own");
        assert_eq!(most.row as usize, row);
        // The answer is copied to its end, but for what closes the turn.
        assert_eq!(evidence.spans.len(), 1, "row {row}");
        assert_eq!(evidence.spans[0].cluster, example.about.position);
    }
    println!("in all {:?}", began.elapsed());
}
