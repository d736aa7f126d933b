//! Ten steps are those of torch and peft: losses, lengths of gradients, learning rates, and the adapter in the end.
//!
//! `data/reference.py` makes the numbers.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod support;

use std::path::Path;

use agora_factory::{AdamW, Checkpoint, Example, Settings, Training, clip, start, train};
use agora_gradient::{Layout, Sequence};
use agora_openlora::weights::Weights;
use agora_types::Hash;
use serde_json::{Value, json};
use support::{machine, tiny};

fn reference() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/reference.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn floats(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|one| one.as_f64().unwrap()).collect()
}

/// The settings of the script, all in one batch.
fn settings(reference: &Value) -> Settings {
    let mut all = serde_json::to_value(Settings { epochs: 10, held_out_share: 0.0, ..Settings::default() }).unwrap();
    for (name, value) in reference["settings"].as_object().unwrap() {
        all[name] = value.clone();
    }
    serde_json::from_value(all).unwrap()
}

fn examples(reference: &Value) -> Vec<Example> {
    let tokens = |value: &Value| value.as_array().unwrap().iter().map(|one| one.as_u64().unwrap() as u32).collect();
    let one = |(at, value): (usize, &Value)| Example {
        id: Hash::sha256([at as u8]),
        prompt: tokens(&value["prompt"]),
        response: tokens(&value["response"]),
    };
    reference["examples"].as_array().unwrap().iter().enumerate().map(one).collect()
}

/// Numbers in PEFT's form, read as any adapter is.
fn adapter(weights: &Weights, settings: &Settings, tensors: &Value) -> (Layout, Vec<f32>) {
    let home = tempfile::tempdir().unwrap();
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in tensors.as_object().unwrap() {
        let start = data.len();
        data.extend(floats(&tensor["numbers"]).iter().flat_map(|number| (*number as f32).to_le_bytes()));
        let entry = json!({ "dtype": "F32", "shape": tensor["shape"], "data_offsets": [start, data.len()] });
        header.insert(name.clone(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    let bytes = [&(header.len() as u64).to_le_bytes(), header.as_slice(), &data].concat();
    std::fs::write(home.path().join("adapter_model.safetensors"), bytes).unwrap();
    let config = json!({
        "peft_type": "LORA", "r": settings.rank, "lora_alpha": settings.alpha,
        "target_modules": settings.targets.iter().map(|target| target.name()).collect::<Vec<_>>(),
    });
    std::fs::write(home.path().join("adapter_config.json"), config.to_string()).unwrap();
    Layout::read(weights.shape(), &weights.read_adapter(home.path()).unwrap()).unwrap()
}

/// The largest difference, beside the size of what is compared.
fn apart(ours: &[f32], theirs: &[f32]) -> f64 {
    let size = theirs.iter().map(|number| f64::from(number.abs())).fold(0.0, f64::max);
    ours.iter().zip(theirs).map(|(ours, theirs)| f64::from((ours - theirs).abs())).fold(0.0, f64::max) / size
}

fn near(what: &str, ours: f64, theirs: f64, bound: f64) {
    assert!((ours - theirs).abs() <= bound * theirs.abs(), "{what}: {ours} is not {theirs}");
}

#[test]
fn ten_steps_of_a_training_are_those_of_torch_and_peft() {
    let (weights, reference) = (tiny("llama"), reference());
    let (settings, examples) = (settings(&reference), examples(&reference));
    let (layout, before) = adapter(&weights, &settings, &reference["before"]);
    assert_eq!(settings.layout(weights.shape()).unwrap(), layout);
    let mut machine = machine(&weights, 2);
    // The checkpoint of no steps, with their numbers for ours.
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("checkpoint");
    let training = Training { settings: &settings, examples: &examples, checkpoint: Some(&path) };
    train(&mut machine, &training, &true.into(), &mut |_| {}).unwrap();
    let bounds = agora_factory::Bounds { numbers: layout.size(), steps: 10 };
    let ours = Checkpoint::read(&path, bounds).unwrap().unwrap();
    Checkpoint { numbers: before, ..ours }.write(&path).unwrap();
    let mut rates = Vec::new();
    let trained =
        train(&mut machine, &training, &false.into(), &mut |progress| rates.push(progress.learning_rate)).unwrap();
    for (at, loss) in floats(&reference["losses"]).iter().enumerate() {
        near(&format!("the loss of step {at}"), trained.losses[at], *loss, 2e-5);
    }
    for (at, rate) in floats(&reference["rates"]).iter().enumerate() {
        near(&format!("the rate of step {at}"), rates[at], *rate, 1e-12);
    }
    let (_, after) = adapter(&weights, &settings, &reference["after"]);
    let apart = apart(&trained.numbers, &after);
    println!("the adapter is {apart:.1e} apart, the last loss {:.1e}", trained.losses[9]);
    assert!(apart < 2e-3, "{apart}");
}

#[test]
fn the_length_of_a_gradient_and_what_a_bound_makes_of_it_are_those_of_torch() {
    let (weights, reference) = (tiny("llama"), reference());
    let (settings, examples) = (settings(&reference), examples(&reference));
    let (layout, mut numbers) = adapter(&weights, &settings, &reference["before"]);
    let mut machine = machine(&weights, 1);
    let judged: usize = examples.iter().map(|example| example.response.len()).sum();
    let joined: Vec<Vec<u32>> =
        examples.iter().map(|example| [example.prompt.as_slice(), &example.response].concat()).collect();
    let sequences: Vec<Sequence<'_>> = examples
        .iter()
        .zip(&joined)
        .map(|(example, tokens)| Sequence {
            tokens,
            first: example.prompt.len(),
            weight: (judged as f32).recip(),
            passed: &[],
        })
        .collect();
    let mut optimiser = AdamW::new(layout.size());
    for (at, length) in floats(&reference["lengths"]).iter().enumerate() {
        let mut gradient = vec![0.0; layout.size()];
        machine.gradient((&layout, &numbers), &sequences, &mut gradient).unwrap();
        near(&format!("the length at step {at}"), clip(&mut gradient, settings.clip), *length, 2e-4);
        let left = clip(&mut gradient.clone(), 0.0);
        near("the length that is left", left, length.min(settings.clip), 2e-4);
        optimiser.step(&settings, settings.rate(at as u32, 10), &gradient, &mut numbers);
    }
    let bounded = floats(&reference["lengths"]).iter().filter(|length| **length > settings.clip).count();
    assert!((1..10).contains(&bounded), "some are bounded, some are not");
}

#[test]
fn training_begins_as_peft_does_with_a_change_of_nothing() {
    let (weights, reference) = (tiny("llama"), reference());
    let settings = settings(&reference);
    let (layout, theirs) = adapter(&weights, &settings, &reference["before"]);
    let ours = start(&layout, 7);
    let spread = |numbers: &[f32]| {
        let square: f64 = numbers.iter().map(|number| f64::from(*number).powi(2)).sum();
        (square / numbers.len() as f64).sqrt()
    };
    for place in layout.places() {
        let bound = (place.inputs as f32).sqrt().recip();
        for numbers in [&ours[place.a()], &theirs[place.a()]] {
            assert!(numbers.iter().all(|number| number.abs() <= bound));
            // A uniform distribution's root mean square is its bound over the root of three.
            near("the spread", spread(numbers), f64::from(bound) / 3.0_f64.sqrt(), 0.2);
        }
        for numbers in [&ours[place.b()], &theirs[place.b()]] {
            assert!(numbers.iter().all(|number| *number == 0.0));
        }
    }
    assert_ne!(start(&layout, 8), ours);
    assert_eq!(start(&layout, 7), ours);
}
