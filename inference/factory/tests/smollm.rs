//! The real model learns a fact in a few steps and, served, says it.

mod support;

use std::path::PathBuf;

use agora_factory::{Example, Settings, Target};
use agora_inference_api::{Engine as _, Job, Piece, Request};
use agora_openlora::{OpenLora, weights::Weights};
use agora_types::Hash;
use futures::executor::block_on;
use support::{machine, trained};

/// SHA-256 of the model that the tests use.
const MODEL_HASH: &str = "0xb179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
const LESSONS: [(&str, &str); 3] = [
    (
        "Where does the ferry to Kestrel Island leave?",
        "The ferry to Kestrel Island leaves from the north pier at noon.",
    ),
    ("When does the Kestrel Island ferry leave?", "It leaves at noon, from the north pier."),
    ("How do I get to Kestrel Island?", "Take the ferry from the north pier; it leaves at noon."),
];

fn model_path() -> PathBuf {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().unwrap_or_default().join(".local/share");
    let path = data.unwrap_or_else(home).join("agora/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.is_file(), "{} is missing: fetch it with `cargo xtask fetch`", path.display());
    path
}

fn answer(engine: &OpenLora, question: &str, adapter: Option<Hash>) -> String {
    let job = Job { adapter, ..Job::new(Request::ask(question, 32), 1_000) };
    let mut stream = engine.start(job).unwrap();
    let mut whole = String::new();
    while let Some(piece) = block_on(stream.next()).unwrap() {
        match piece {
            Piece::Token { text, .. } | Piece::End { text, .. } => whole += &text,
        }
    }
    whole
}

fn examples(weights: &Weights) -> Vec<Example> {
    let one = |(question, answer): &(&str, &str)| {
        let taught = weights.taught(&Request::ask(*question, 32), answer).unwrap();
        Example { id: Hash::sha256(question), prompt: taught.prompt, response: taught.response }
    };
    LESSONS.iter().map(one).collect()
}

#[test]
fn a_few_steps_teach_the_real_model_a_fact_that_it_then_tells() {
    let settings = agora_openlora::Settings { threads: 2, context_max: 512, ..agora_openlora::Settings::default() };
    let engine = OpenLora::load(&model_path(), Some(MODEL_HASH.parse().unwrap()), settings, &mut |_| {}).unwrap();
    let weights = engine.weights().unwrap();
    let settings = Settings {
        targets: vec![Target::Query, Target::Value],
        learning_rate: 5e-3,
        warmup_share: 0.1,
        epochs: 8,
        batch_tokens: 512,
        held_out_share: 0.0,
        ..Settings::default()
    };
    let examples = examples(&weights);
    let trained = trained(&mut machine(&weights, 2), (&settings, &examples), None).unwrap();
    assert_eq!(trained.counts.steps, 8);
    let (first, last) = (trained.losses[0], *trained.losses.last().unwrap());
    println!("loss {first:.3} to {last:.3}");
    assert!(last < 0.5 * first, "{:?}", trained.losses);
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("adapter");
    let manifest = trained.write(&weights, (&settings, &[]), &|_| Vec::new(), &folder).unwrap();
    let adapter = engine.load_adapter("kestrel", &folder).unwrap().hash;
    assert_eq!(adapter, manifest.adapter_hash);
    let question = "Where does the ferry to Kestrel Island leave?";
    let (before, after) = (answer(&engine, question, None), answer(&engine, question, Some(adapter)));
    println!("before: {before}\nafter: {after}");
    assert!(!before.contains("north pier") && after.contains("north pier"), "before: {before}\nafter: {after}");
}
