//! What the tests share: the tiny models of all families, numbers from a seed, and the formulas in f64.
#![allow(dead_code, reason = "each test file uses a part")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

pub(crate) mod formula;

use std::path::Path;

use agora_gradient::{Layout, Machine, Settings};
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
        numbers[place.a()].iter_mut().for_each(|number| *number = random.float() * size);
        numbers[place.b()].iter_mut().for_each(|number| *number = random.float() * 0.2);
    }
    (layout, numbers)
}

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// From -1 to 1.
    pub(crate) fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
    }

    pub(crate) fn tokens(&mut self, count: usize, vocabulary: usize) -> Vec<u32> {
        (0..count).map(|_| self.below(vocabulary) as u32).collect()
    }
}
