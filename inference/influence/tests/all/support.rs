//! What the tests share: models, adapters and examples from a seed.

use std::path::{Path, PathBuf};

use agora_attribution::{DatanetRef, Kind, Method, Position};
use agora_gradient::Layout;
pub(crate) use agora_inference_api::SplitMix64 as Random;
use agora_influence::{Adapter, Asked, Example, Settings, Teaching, Workbench, build};
use agora_openlora::weights::{Role, Weights};
use agora_types::{Address, DatanetId, Hash};

/// A tiny Llama.
pub(crate) fn tiny() -> Weights {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openlora/tests/data/families/llama.gguf");
    Weights::load(&path, None, 4_096, &mut |_| {}).unwrap()
}

/// SmolLM2-135M.
pub(crate) fn smol() -> Weights {
    let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::home_dir().unwrap_or_default().join(".local/share");
    let path = data.unwrap_or_else(home).join("agora/models/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert!(path.is_file(), "{} is missing: fetch it with `cargo xtask fetch`", path.display());
    Weights::load(&path, None, 1_024, &mut |_| {}).unwrap()
}

pub(crate) fn tokens(random: &mut Random, count: usize, vocabulary: usize) -> Vec<u32> {
    (0..count).map(|_| random.below(vocabulary) as u32).collect()
}

/// An adapter of some size for queries and values, and the hash of its numbers.
pub(crate) fn adapter(weights: &Weights, rank: usize, size: f32, random: &mut Random) -> Adapter {
    let shape = weights.shape();
    let layout = Layout::new(shape, rank, 2.0, &[Role::Query, Role::Value], 0..shape.layers).unwrap();
    let mut numbers = vec![0.0; layout.size()];
    for place in layout.places() {
        let within = (place.inputs as f32).sqrt().recip();
        numbers[place.a()].iter_mut().for_each(|number| *number = random.symmetric() * within);
        numbers[place.b()].iter_mut().for_each(|number| *number = random.symmetric() * size);
    }
    let hash = Hash::sha256(numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>());
    Adapter { layout, numbers, hash }
}

/// Who stands behind a row: three accounts take turns.
pub(crate) fn about(at: usize) -> agora_attribution::Example {
    agora_attribution::Example {
        contribution: Hash::sha256(format!("contribution {at}")),
        account: Address::system(["ada", "bo", "cy"][at % 3]),
        position: Position { seq: 1_000 + at as u64, index: 0, item: 0 },
        kind: Kind::Source,
        weight: 100,
    }
}

pub(crate) fn example(at: usize, asked: Asked) -> Example {
    Example { text: asked.response.clone(), asked, about: about(at) }
}

pub(crate) fn asked(random: &mut Random, vocabulary: usize) -> Asked {
    let (prompt, response) = (3 + random.below(6), 10 + random.below(20));
    Asked { prompt: tokens(random, prompt, vocabulary), response: tokens(random, response, vocabulary) }
}

pub(crate) fn datanets() -> Vec<DatanetRef> {
    vec![DatanetRef {
        id: DatanetId::derive(&Address::system("ada"), "words"),
        root: Hash::sha256("root"),
        tree_size: 9,
    }]
}

/// A tiny model, an adapter, and examples that nothing connects, the last of which copies the first.
pub(crate) struct World {
    pub(crate) weights: Weights,
    pub(crate) adapter: Adapter,
    pub(crate) examples: Vec<Example>,
    pub(crate) null: Vec<Asked>,
}

pub(crate) const SEED: u64 = 20_261_129;

impl World {
    pub(crate) fn new() -> Self {
        let weights = tiny();
        let mut random = Random(SEED);
        let adapter = adapter(&weights, 2, 0.2, &mut random);
        let words = weights.shape().vocabulary;
        let mut examples: Vec<Example> = (0..12).map(|at| example(at, asked(&mut random, words))).collect();
        examples.push(example(12, examples[0].asked.clone()));
        let null = (0..10).map(|_| asked(&mut random, words)).collect();
        Self { weights, adapter, examples, null }
    }

    pub(crate) fn bench(&self, threads: usize) -> Workbench {
        Workbench::new(self.weights.clone(), threads).unwrap()
    }

    pub(crate) fn settings(&self, method: Method) -> Settings {
        Settings { method, dimension: 512, ..Settings::default() }
    }

    pub(crate) fn build(&self, threads: usize, settings: &Settings, folder: &Path) {
        let datanets = datanets();
        let teaching = Teaching {
            adapter: &self.adapter,
            examples: &self.examples,
            datanets: &datanets,
            // BM25 has no rows to compare: its copies are told.
            copies: if settings.method == Method::Bm25 { &[(12, 0)] } else { &[] },
            null: &self.null,
            own: &[],
        };
        build(&mut self.bench(threads), &teaching, settings, folder, &mut |_| {}).unwrap();
    }
}
