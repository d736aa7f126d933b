//! Adapters by the dozen on the tiny model: known and resident, evicted and loaded again, patterns, and written out.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod support;

use std::path::Path;
use std::time::Duration;

use agora_inference_api::{Engine, Job, Request};
use agora_openlora::{OpenLora, Settings};
use agora_types::{Code, Hash};
use serde_json::json;
use support::peft::{self, Tensors};
use support::tiny::{SIDES, Tiny};
use support::{Random, answer, read, start};

const MODULES: [&str; 2] = ["q_proj", "v_proj"];
const RANK: usize = 4;

fn engine(settings: Settings) -> OpenLora {
    Tiny::new(1).engine(Settings { threads: 2, ..settings })
}

/// Writes the adapter of a seed.
fn write(home: &Path, seed: u64) -> std::path::PathBuf {
    let folder = home.join(seed.to_string());
    let tensors = peft::tensors(SIDES, &MODULES, RANK, 0.5, seed);
    peft::write(&folder, &peft::config(&MODULES, RANK, 8.0), &peft::safetensors(&tensors));
    folder
}

fn load(engine: &OpenLora, home: &Path, seed: u64) -> Hash {
    engine.load_adapter(&format!("adapter-{seed}"), &write(home, seed)).unwrap().hash
}

fn resident(engine: &OpenLora) -> usize {
    engine.adapters().iter().filter(|adapter| adapter.resident).count()
}

fn is_resident(engine: &OpenLora, hash: &Hash) -> bool {
    engine.adapter(hash).is_some_and(|adapter| adapter.resident)
}

/// Waits for another thread of the engine.
fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("{what}");
}

/// Bytes of one of these adapters in memory.
fn size() -> usize {
    let home = tempfile::tempdir().unwrap();
    let engine = engine(Settings::default());
    load(&engine, home.path(), 0);
    engine.adapters()[0].size as usize
}

#[test]
fn of_many_adapters_a_few_are_resident_and_all_answer_as_they_would_alone() {
    let seed = 4;
    println!("seed {seed}");
    let home = tempfile::tempdir().unwrap();
    let most = 5;
    let small = engine(Settings { adapters_size_max: most * size() + 10, rows_max: 8, ..Settings::default() });
    let large = engine(Settings::default());
    let known: Vec<Hash> = (0..40).map(|seed| load(&small, home.path(), seed)).collect();
    (0..40).for_each(|seed| assert_eq!(load(&large, home.path(), seed), known[seed as usize]));
    assert_eq!((small.adapters().len(), resident(&small), resident(&large)), (40, most, 40));
    let mut random = Random(seed);
    for _ in 0..20 {
        let jobs: Vec<(Request, Hash)> = (0..1 + random.below(8))
            .map(|_| (Request::ask(format!("hello {}", random.below(9)), 12), known[random.below(40)]))
            .collect();
        let streams: Vec<_> = jobs.iter().map(|(request, hash)| start(&small, request.clone(), Some(*hash))).collect();
        for ((request, hash), stream) in jobs.iter().zip(streams) {
            assert_eq!(read(stream).unwrap(), answer(&large, request.clone(), Some(*hash)), "seed {seed}");
            assert!(resident(&small) <= most);
        }
    }
}

#[test]
fn what_was_paid_for_most_stays_and_what_was_not_goes() {
    let home = tempfile::tempdir().unwrap();
    let engine = engine(Settings { adapters_size_max: 3 * size() + 10, ..Settings::default() });
    let known: Vec<Hash> = (0..8).map(|seed| load(&engine, home.path(), seed)).collect();
    for (at, tokens) in [(0, 60), (1, 5), (2, 30)] {
        answer(&engine, Request::ask("hello", tokens), Some(known[at]));
    }
    eventually("rows give their adapters back", || {
        answer(&engine, Request::ask("hello", 5), Some(known[3]));
        is_resident(&engine, &known[3])
    });
    assert!(!is_resident(&engine, &known[1]), "the least used one went");
    assert!(is_resident(&engine, &known[0]) && is_resident(&engine, &known[2]));
    // Yesterday's favourite goes too, when others are used and it is not.
    for round in 0..60 {
        answer(&engine, Request::ask("hello", 20), Some(known[4 + round % 4]));
    }
    assert!(!is_resident(&engine, &known[0]), "the old favourite aged");
}

#[test]
fn a_cold_adapter_that_is_asked_about_is_loaded_before_it_is_needed() {
    let home = tempfile::tempdir().unwrap();
    let engine = engine(Settings { adapters_size_max: 2 * size() + 10, ..Settings::default() });
    let known: Vec<Hash> = (0..4).map(|seed| load(&engine, home.path(), seed)).collect();
    assert!(engine.prepare(None).hot && engine.prepare(Some(&known[0])).hot);
    let first = engine.prepare(Some(&known[3]));
    assert!(!first.hot && first.cold_ms >= 1 && first.cold_ms >= first.hot_ms, "{first:?}");
    eventually("it becomes resident", || engine.prepare(Some(&known[3])).hot);
    assert_eq!(resident(&engine), 2);
}

#[test]
fn an_adapter_whose_files_have_changed_fails_alone_and_can_come_again() {
    let home = tempfile::tempdir().unwrap();
    let engine = engine(Settings { adapters_size_max: size() + 10, ..Settings::default() });
    let known: Vec<Hash> = (0..3).map(|seed| load(&engine, home.path(), seed)).collect();
    let changed = peft::tensors(SIDES, &MODULES, RANK, 0.5, 99);
    let folder = home.path().join("1");
    peft::write(&folder, &peft::config(&MODULES, RANK, 8.0), &peft::safetensors(&changed));
    let job = |hash| Job { adapter: Some(hash), ..Job::new(Request::ask("hello", 5), 100) };
    assert_eq!(read(engine.start(job(known[1])).unwrap()).unwrap_err().code, Code::EngineBadAdapter);
    assert_eq!(read(engine.start(job(known[2])).unwrap()).unwrap().tokens, 5);
    write(home.path(), 1);
    assert_eq!(read(engine.start(job(known[1])).unwrap()).unwrap().tokens, 5);
    std::fs::remove_dir_all(home.path().join("0")).unwrap();
    assert_eq!(read(engine.start(job(known[0])).unwrap()).unwrap_err().code, Code::EngineBadAdapter);
}

#[test]
fn an_adapter_too_large_for_all_of_them_is_refused_and_so_is_one_too_many() {
    let home = tempfile::tempdir().unwrap();
    let tight = engine(Settings { adapters_size_max: size() - 1, ..Settings::default() });
    let refused = tight.load_adapter("large", &write(home.path(), 0)).unwrap_err();
    assert_eq!(refused.code, Code::EngineTooLarge);
    let few = engine(Settings { adapters_max: 2, ..Settings::default() });
    (0..2).for_each(|seed| {
        load(&few, home.path(), seed);
    });
    let refused = few.load_adapter("third", &write(home.path(), 2)).unwrap_err();
    assert_eq!(refused.code, Code::EngineTooLarge);
    load(&few, home.path(), 1);
}

/// What the adapter of these files makes of a text.
fn logits(engine: &OpenLora, home: &Path, config: &serde_json::Value, tensors: &Tensors) -> Vec<Vec<f32>> {
    peft::write(home, config, &peft::safetensors(tensors));
    let hash = engine.load_adapter("some", home).unwrap().hash;
    engine.logits(&engine.encode("hello, patterns"), Some(&hash)).unwrap()
}

#[test]
fn ranks_and_alphas_of_single_modules_are_those_of_the_pattern() {
    let home = tempfile::tempdir().unwrap();
    let engine = engine(Settings::default());
    let plain = peft::tensors(SIDES, &MODULES, 2, 0.5, 7);
    let right = logits(&engine, &home.path().join("plain"), &peft::config(&MODULES, 2, 8.0), &plain);
    // The same change of q_proj with two ranks more, which are zero; its scale is alpha / 4.
    let mut wide = plain.clone();
    for layer in 0..SIDES.layers {
        let (a, b) = (peft::name(layer, "q_proj", "A"), peft::name(layer, "q_proj", "B"));
        let (_, columns, mut numbers) = wide.remove(&a).unwrap();
        numbers.resize(4 * columns, 0.0);
        wide.insert(a, (4, columns, numbers));
        let (rows, _, numbers) = wide.remove(&b).unwrap();
        let numbers = numbers.as_chunks::<2>().0.iter().flat_map(|pair| [pair[0], pair[1], 1.0, -1.0]).collect();
        wide.insert(b, (rows, 4, numbers));
    }
    for (name, pattern) in [("short", "q_proj"), ("long", r"model\.layers\.\d+\.self_attn\.q_proj")] {
        let mut config = peft::config(&MODULES, 2, 8.0);
        config["rank_pattern"] = json!({ pattern: 4 });
        config["alpha_pattern"] = json!({ pattern: 16.0 });
        assert_eq!(logits(&engine, &home.path().join(name), &config, &wide), right, "{name}");
    }
    let mut config = peft::config(&MODULES, 2, 8.0);
    config["target_modules"] = json!(r".*\.(q|v)_proj");
    assert_eq!(logits(&engine, &home.path().join("expression"), &config, &plain), right);
    let mut config = peft::config(&["self_attn.q_proj", "self_attn.v_proj"], 2, 8.0);
    config["rank_pattern"] = json!({ "up_proj": 4 });
    assert_eq!(logits(&engine, &home.path().join("ends"), &config, &plain), right);
}

#[test]
fn an_adapter_that_is_written_out_and_read_again_computes_the_same_bits() {
    let home = tempfile::tempdir().unwrap();
    let engine = engine(Settings::default());
    let tensors = peft::tensors(SIDES, &peft::ALL, 3, 0.5, 7);
    for (name, alpha, rooted) in [("whole", 6.0, false), ("rooted", 7.5, true)] {
        let mut config = peft::config(&peft::ALL, 3, alpha);
        config["use_rslora"] = rooted.into();
        config["alpha_pattern"] = json!({ "0.mlp.up_proj": 1.25 });
        let right = logits(&engine, &home.path().join(name), &config, &tensors);
        let hash = engine.adapters()[0].hash;
        let out = home.path().join(format!("{name}-out"));
        // What a crash in the middle leaves.
        let part = home.path().join(format!("{name}-out.part"));
        std::fs::create_dir(&part).unwrap();
        std::fs::write(part.join("adapter_model.safetensors"), "half").unwrap();
        engine.export_adapter(&hash, &out).unwrap();
        assert!(!part.exists());
        let again = engine.load_adapter("again", &out).unwrap();
        assert_ne!(again.hash, hash, "other bytes, so another hash");
        let tokens = engine.encode("hello, patterns");
        assert_eq!(engine.logits(&tokens, Some(&again.hash)).unwrap(), right, "{name}");
        assert!(engine.export_adapter(&hash, &out).is_err(), "nothing is overwritten");
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 2);
        engine.unload_adapter(&hash).unwrap();
        engine.unload_adapter(&again.hash).unwrap();
    }
}
