//! What the tests share: the tiny models, and examples from a seed.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use agora_factory::{Example, Progress, Settings, Target, TrainError, Trained, Training, train};
use agora_gradient::Machine;
use agora_openlora::weights::Weights;
use agora_types::Hash;

/// Where the tiny models lie.
pub(crate) fn families() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../openlora/tests/data/families")
}

/// A tiny model.
pub(crate) fn tiny(name: &str) -> Weights {
    Weights::load(&families().join(name), None, 4_096, &mut |_| {}).unwrap()
}

pub(crate) fn machine(weights: &Weights, threads: usize) -> Machine {
    Machine::new(weights.clone(), &agora_gradient::Settings { threads, ..agora_gradient::Settings::default() }).unwrap()
}

/// Examples in which every token follows from the one before, so that there is something to learn.
pub(crate) fn examples(count: u32) -> Vec<Example> {
    let one = |at: u32| {
        let tokens = |from: u32, count: u32| (from..from + count).map(|at| at * 7 % 290).collect();
        let (prompt, response) = (1 + at % 9, 2 + at % 11);
        let from = at * 13 % 290;
        Example {
            id: Hash::sha256(at.to_be_bytes()),
            prompt: tokens(from, prompt),
            response: tokens(from + prompt, response),
        }
    };
    (0..count).map(one).collect()
}

/// Some thirty steps on the tiny model with 40 examples, with all that a training has.
pub(crate) fn settings() -> Settings {
    Settings {
        rank: 4,
        alpha: 8.0,
        targets: vec![Target::Query, Target::Value, Target::Down],
        learning_rate: 0.03,
        warmup_share: 0.1,
        weight_decay: 0.01,
        epochs: 5,
        batch_tokens: 40,
        accumulation: 2,
        held_out_share: 0.1,
        checkpoint_steps: 3,
        seed: 20_261_201,
        ..Settings::default()
    }
}

/// Trains to the end.
pub(crate) fn trained(
    machine: &mut Machine,
    (settings, examples): (&Settings, &[Example]),
    checkpoint: Option<&Path>,
) -> Result<Trained, TrainError> {
    let training = Training { settings, examples, checkpoint };
    train(machine, &training, &AtomicBool::new(false), &mut |_: &Progress| {})
}

/// All that must be the same bits.
pub(crate) fn bits(trained: &Trained) -> (Vec<u32>, Vec<u64>, Vec<(u32, u64)>) {
    let numbers = trained.numbers.iter().map(|number| number.to_bits()).collect();
    let losses = trained.losses.iter().map(|loss| loss.to_bits()).collect();
    (numbers, losses, trained.held_out.iter().map(|held| (held.step, held.loss.to_bits())).collect())
}
