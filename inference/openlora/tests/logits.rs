//! Logits against an f32 reference, and that reference against an independent library (`tests/data/reference.py`).
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod support;

use serde::Deserialize;
use support::peft;
use support::reference::{File, compare, logits};

#[derive(Deserialize)]
struct Data {
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    ids: Vec<u32>,
    top: Vec<Top>,
}

#[derive(Deserialize)]
struct Top {
    at: usize,
    tokens: Vec<usize>,
    logits: Vec<f32>,
}

fn prompts() -> Vec<Prompt> {
    serde_json::from_str::<Data>(include_str!("data/reference.json")).unwrap().prompts
}

#[test]
fn logits_are_those_of_the_reference_and_the_reference_is_that_of_an_independent_library() {
    let prompts = prompts();
    let file = File::read(&support::model_path());
    let sequences: Vec<_> = prompts.iter().map(|prompt| prompt.ids.clone()).collect();
    let right = logits(&file, &sequences, None);
    let (mut first, mut furthest, mut compared) = (0, 0.0_f32, 0);
    for prompt in &prompts {
        for top in &prompt.top {
            for (token, logit) in top.tokens.iter().zip(&top.logits) {
                furthest = furthest.max((right[first + top.at][*token] - logit).abs());
                compared += 1;
            }
        }
        first += prompt.ids.len();
    }
    println!("reference: {compared} logits, the furthest off by {furthest}");
    assert!(compared > 1_000 && furthest < 0.001, "{compared} compared, {furthest} off");

    let ours: Vec<_> = sequences.iter().flat_map(|ids| support::engine().logits(ids, None).unwrap()).collect();
    let (mean, largest, same) = compare(&right, &ours);
    println!("{} tokens: KL mean {mean:.1e}, largest {largest:.1e}; top-1 {same:.4}", ours.len());
    assert!(mean < 1e-6, "mean KL {mean}");
    assert!(same >= 0.99, "top-1 agreement {same}");
}

/// An adapter beside the weights says what the same adapter inside the weights says.
#[test]
fn an_adapter_equals_its_merged_weights() {
    let file = File::read(&support::model_path());
    let home = tempfile::tempdir().unwrap();
    let engine = support::engine();
    let sequences: Vec<_> = prompts().into_iter().take(2).map(|prompt| prompt.ids).collect();
    let base: Vec<_> = sequences.iter().flat_map(|ids| engine.logits(ids, None).unwrap()).collect();
    for (name, modules, rank, alpha, rooted) in
        [("all", peft::ALL.as_slice(), 4, 8.0, false), ("qv", &["q_proj", "v_proj"], 8, 16.0, true)]
    {
        let tensors = peft::tensors(peft::SMOL, modules, rank, 0.2, 7);
        let mut config = peft::config(modules, rank, alpha);
        config["use_rslora"] = rooted.into();
        let folder = home.path().join(name);
        peft::write(&folder, &config, &peft::safetensors(&tensors));
        let info = engine.load_adapter(name, &folder).unwrap();
        assert_eq!((info.name.as_str(), info.rank as usize), (name, rank));
        let scale = alpha as f32 / if rooted { (rank as f32).sqrt() } else { rank as f32 };
        let right = logits(&file, &sequences, Some((&tensors, scale)));
        let ours = sequences.iter().flat_map(|ids| engine.logits(ids, Some(&info.hash)).unwrap());
        let ours: Vec<_> = ours.collect();
        let (mean, _, same) = compare(&right, &ours);
        let (moved, _, _) = compare(&right, &base);
        println!("{name}: KL mean {mean:.1e}, top-1 {same:.4}; the adapter moves {moved:.3}");
        assert!(moved > 0.1, "{name} changes the answer: {moved}");
        // The adapter's numbers are kept in half precision.
        assert!(mean < 1e-5, "{name} equals its merged weights: {mean}");
    }
}
