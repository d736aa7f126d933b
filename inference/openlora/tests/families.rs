//! Models of the families that run here say what an independent library says (`tests/data/families.py`).

mod support;

use agora_inference_api::{Engine as _, Message, Request, Role};
use agora_openlora::{OpenLora, Settings};
use agora_types::{Code, Hash};
use serde::Deserialize;
use support::folder::{self, Folder, TEMPLATE};

#[derive(Deserialize)]
struct Data {
    families: Vec<Family>,
    gemma: Vec<Prompt>,
}

/// The likeliest tokens of the real Gemma 3 270M.
#[derive(Deserialize)]
struct Prompt {
    text: String,
    ids: Vec<u32>,
    top: Vec<Top>,
}

#[derive(Deserialize)]
struct Top {
    at: usize,
    tokens: Vec<usize>,
    logits: Vec<f32>,
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

const NAMES: [&str; 4] = ["llama", "qwen2", "qwen3", "gemma3"];

fn gguf(name: &str) -> OpenLora {
    folder::load(&folder::family(&format!("{name}.gguf")), None).unwrap()
}

/// Every logit of the family's own tokens, as bits.
fn bits(engine: &OpenLora, name: &str) -> Vec<u32> {
    let data: Data = serde_json::from_str(include_str!("data/families.json")).unwrap();
    let family = data.families.into_iter().find(|family| family.name == name).unwrap();
    engine.logits(&family.ids, None).unwrap().iter().flatten().map(|logit| logit.to_bits()).collect()
}

#[test]
fn every_familys_folder_gives_the_bits_of_its_gguf() {
    for name in NAMES {
        let right = bits(&gguf(name), name);
        let path = folder::family(name);
        for path in [&path, &path.join("config.json")] {
            let engine = folder::load(path, None).unwrap();
            assert!(bits(&engine, name) == right, "{name}");
            assert_eq!(engine.base().name, name);
        }
    }
}

#[test]
fn weights_in_several_files_of_several_types_in_any_order_are_the_same_weights() {
    for name in NAMES {
        let right = bits(&gguf(name), name);
        let mut folder = Folder::new(name);
        for (at, (tensor, kind, shape, bytes)) in folder.tensors.iter_mut().enumerate() {
            let numbers: Vec<f32> = bytes.chunks(2).map(|two| half(u16::from_le_bytes([two[0], two[1]]))).collect();
            // Matrices here have few digits; a norm needs them all.
            (*kind, *bytes) = match at % 3 {
                0 => ("F32", numbers.iter().flat_map(|number| number.to_le_bytes()).collect()),
                1 if shape.len() == 2 => ("BF16", numbers.iter().flat_map(|n| n.to_le_bytes()[2..].to_vec()).collect()),
                _ => continue,
            };
            assert!(numbers.iter().all(|number| number.is_finite()), "{tensor}");
        }
        folder.tensors.reverse();
        assert!(bits(&folder.write().load(None).unwrap(), name) == right, "{name} in one file");
        std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
        folder.write_shards(3);
        assert!(bits(&folder.load(None).unwrap(), name) == right, "{name} in three files");
    }
}

fn half(bits: u16) -> f32 {
    let size = match (bits >> 10 & 31, f32::from(bits & 1023)) {
        (0, fraction) => fraction * 2_f32.powi(-24),
        (exponent, fraction) => (1.0 + fraction / 1024.0) * 2_f32.powi(i32::from(exponent) - 15),
    };
    if bits >> 15 == 1 { -size } else { size }
}

#[test]
fn a_folders_tokens_are_those_of_its_gguf() {
    let texts = ["the theatre, there then", " and  12345 in\n\n\nit's", "é 🦀<end>", "▁the ▁", "<turn><begin>", ""];
    for name in NAMES {
        let right = gguf(name);
        let folder = Folder::new(name);
        folder.put("chat_template.jinja", TEMPLATE);
        let engine = folder.write().load(None).unwrap();
        for text in texts {
            assert_eq!(engine.encode(text), right.encode(text), "{name}: {text:?}");
            let messages = [(Role::System, "the"), (Role::User, text), (Role::Assistant, "ring"), (Role::User, "then")];
            let messages = messages.map(|(role, text)| Message { role, text: text.to_owned() }).to_vec();
            let request = Request { messages, ..Request::ask("", 1) };
            assert_eq!(engine.prompt(&request).unwrap(), right.prompt(&request).unwrap(), "{name}: {text:?}");
        }
        // What decides a token is the same there, but for Gemma's: a list of merges, not scores.
        let same = engine.base().tokenizer_hash == right.base().tokenizer_hash;
        assert_eq!(same, name != "gemma3", "{name}");
    }
}

/// What receipts name; it changes only if the answers can.
#[test]
fn a_folders_hash_is_over_the_names_and_hashes_of_what_is_read() {
    let hash = |folder: &Folder, names: &[&str]| {
        let mut hash = Hash::stream();
        hash.piece("agora/folder/v1");
        for name in names {
            hash.piece(name);
            hash.piece(Hash::sha256(std::fs::read(folder.path().join(name)).unwrap()).as_bytes());
        }
        hash.finish()
    };
    let mut folder = Folder::new("qwen3");
    let mut names = vec!["config.json", "tokenizer.json", "model.safetensors"];
    let first = folder.write().load(None).unwrap().base().hash;
    assert_eq!(first, hash(&folder, &names));
    assert_eq!(folder.load(Some(first)).unwrap().base().hash, first);
    folder.put("README.md", "not read");
    assert_eq!(folder.load(None).unwrap().base().hash, first);
    folder.put("chat_template.jinja", TEMPLATE);
    folder.put("tokenizer_config.json", r#"{"eos_token": {"content": "<stop>"}, "chat_template": "unused"}"#);
    names.splice(2..2, ["tokenizer_config.json", "chat_template.jinja"]);
    assert_eq!(folder.load(None).unwrap().base().hash, hash(&folder, &names));
    std::fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    folder.write_shards(2);
    names.pop();
    names.extend([
        "model.safetensors.index.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
    ]);
    let sharded = folder.load(None).unwrap();
    assert_eq!(sharded.base().hash, hash(&folder, &names));
    // A byte of the last tensor.
    let before = hash(&folder, &names);
    folder.tensors.last_mut().unwrap().3[0] ^= 1;
    folder.write_shards(2);
    assert_eq!(folder.load(Some(before)).map(drop).unwrap_err().code, Code::EngineWrongHash);
    assert_eq!(folder.load(None).unwrap().base().hash, hash(&folder, &names));
}

#[test]
fn progress_ends_at_the_size_of_the_folder() {
    let folder = Folder::new("gemma3");
    folder.write_shards(4);
    let size =
        std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>();
    assert_eq!(OpenLora::size(folder.path()).unwrap(), size);
    let mut last = Vec::new();
    let settings = Settings { threads: 1, ..Settings::default() };
    OpenLora::load(folder.path(), None, settings, &mut |loading| last.push((loading.done_bytes, loading.total_bytes)))
        .unwrap();
    assert!(last.is_sorted() && last.iter().all(|(_, total)| *total == size));
    assert_eq!(last.last().unwrap().0, size);
}

/// `AGORA_GEMMA` names it: the GGUF that `tests/data/families.py` reads, or a folder of the same weights.
#[test]
#[ignore = "needs a model that is not ours to ship"]
fn the_real_gemma_says_what_an_independent_library_says() {
    let path = std::env::var_os("AGORA_GEMMA").expect("AGORA_GEMMA names a file or folder");
    let start = std::time::Instant::now();
    let engine = folder::load(path.as_ref(), None).unwrap();
    println!("loaded in {:?}, {} MB of weights", start.elapsed(), engine.weights_size() >> 20);
    let data: Data = serde_json::from_str(include_str!("data/families.json")).unwrap();
    let (mut furthest, mut same, mut all) = (0.0_f32, 0, 0);
    for prompt in data.gemma {
        assert_eq!(engine.encode(&prompt.text), prompt.ids[1..]);
        let rows = engine.logits(&prompt.ids, None).unwrap();
        for Top { at, tokens, logits } in prompt.top {
            let row = &rows[at];
            let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
            (same, all) = (same + usize::from(best == Some(tokens[0])), all + 1);
            furthest =
                tokens.iter().zip(&logits).map(|(token, logit)| (row[*token] - logit).abs()).fold(furthest, f32::max);
        }
    }
    println!("the likeliest token is the same at {same} of {all} places, the furthest logit off by {furthest}");
    assert!(same * 10 >= all * 9 && furthest < 1.0);
}
