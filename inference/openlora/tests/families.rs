//! Models of the families that run here say what an independent library says (`tests/data/families.py`).

mod support;

use agora_openlora::{OpenLora, Settings};
use agora_types::Code;
use serde::Deserialize;

#[derive(Deserialize)]
struct Data {
    families: Vec<Family>,
}

#[derive(Deserialize)]
struct Family {
    name: String,
    ids: Vec<u32>,
    logits: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    at: usize,
    row: Vec<f32>,
}

#[test]
fn every_family_that_runs_gives_the_logits_of_an_independent_library() {
    let data: Data = serde_json::from_str(include_str!("data/families.json")).unwrap();
    let mut ran = Vec::new();
    for family in data.families {
        let path = format!("{}/tests/data/families/{}.gguf", env!("CARGO_MANIFEST_DIR"), family.name);
        let settings = Settings { threads: 1, ..Settings::default() };
        let engine = match OpenLora::load(path.as_ref(), None, settings, &mut |_| {}) {
            Ok(engine) => engine,
            Err(error) => {
                assert_eq!(error.code, Code::EngineUnsupported, "{}: {}", family.name, error.what);
                continue;
            }
        };
        let rows = engine.logits(&family.ids, None).unwrap();
        let off = |row: &Row| rows[row.at].iter().zip(&row.row).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        let furthest = family.logits.iter().map(off).fold(0.0, f32::max);
        println!("{}: the furthest logit is off by {furthest}", family.name);
        assert!(furthest < 0.02, "{}: {furthest}", family.name);
        ran.push(family.name);
    }
    assert_eq!(ran, ["llama", "qwen2", "qwen3", "gemma3"]);
}
