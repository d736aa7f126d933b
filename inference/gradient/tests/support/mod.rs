//! What the tests share: the tiny models of all families, numbers from a seed, and the formulas in f64.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

pub(crate) mod formula;

use std::path::Path;

use agora_gradient::{Layout, Machine, Settings};
pub(crate) use agora_inference_api::SplitMix64 as Random;
use agora_openlora::weights::{Role, Weights};

pub(crate) const FAMILIES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

/// A tiny model of the family.
pub(crate) fn family(name: &str) -> Weights {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../openlora/tests/data/families/{name}.gguf"));
    Weights::load(&path, None, 4_096, &mut |_| {}).unwrap()
}

pub(crate) fn machine(weights: &Weights, settings: Settings) -> Machine {
    Machine::new(weights.clone(), &settings).unwrap()
}

/// All matrices changed, and numbers of a size at which every part matters.
pub(crate) fn adapter(weights: &Weights, rank: usize, random: &mut Random) -> (Layout, Vec<f32>) {
    let shape = weights.shape();
    let layout = Layout::new(shape, rank, 2.0, &Role::ALL, 0..shape.layers).unwrap();
    let mut numbers = vec![0.0; layout.size()];
    for place in layout.places() {
        let size = (place.inputs as f32).sqrt().recip();
        numbers[place.a()].iter_mut().for_each(|number| *number = random.symmetric() * size);
        numbers[place.b()].iter_mut().for_each(|number| *number = random.symmetric() * 0.2);
    }
    (layout, numbers)
}

pub(crate) fn tokens(random: &mut Random, count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|_| random.below(vocabulary) as u32).collect()
}
