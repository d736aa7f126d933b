//! Damaged and malicious files are errors with codes: never a panic, never memory that the file does not pay for.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod support;

use agora_inference_api::{Engine as _, Request};
use agora_openlora::{OpenLora, Settings};
use agora_types::{Code, Hash};
use support::tiny::{SIDES, Tiny, load, number_value, text_value};
use support::{Random, peft, read, start};

fn settings() -> Settings {
    Settings { threads: 1, ..Settings::default() }
}

fn code(bytes: &[u8]) -> Option<Code> {
    load(bytes, settings()).err().map(|error| error.code)
}

/// Loads a changed tiny model.
fn changed(change: impl FnOnce(&mut Tiny)) -> Option<Code> {
    let mut tiny = Tiny::new(1);
    change(&mut tiny);
    code(&tiny.file().0)
}

#[test]
fn a_file_that_ends_early_is_an_error_wherever_it_ends() {
    let (bytes, data) = Tiny::new(1).file();
    assert_eq!(code(&bytes), None);
    let header = (0..data).step_by(37);
    let tensors = (data..bytes.len() - 32).step_by(4_099);
    for end in header.chain(tensors) {
        assert_eq!(code(&bytes[..end]), Some(Code::EngineBadModel), "cut at {end} of {}", bytes.len());
    }
    // The file shrinks while it is read.
    let size = bytes.len() as u64;
    let short = OpenLora::load_from(&mut &bytes[..bytes.len() / 2], size, None, settings(), &mut |_| {});
    assert_eq!(short.err().map(|error| error.code), Some(Code::EngineBadModel));
}

#[test]
fn flipped_bits_load_or_fail_with_a_code() {
    let (bytes, data) = Tiny::new(1).file();
    let seed = 21;
    let mut random = Random(seed);
    let (mut loaded, mut refused) = (0, 0);
    for round in 0..1_500 {
        let mut bad = bytes.clone();
        // Mostly lengths and counts: the vocabulary's text is long and dull.
        let at = if round % 3 == 0 { random.below(1_000) } else { random.below(data) };
        bad[at] ^= 1 << random.below(8);
        match load(&bad, settings()) {
            Ok(engine) => {
                loaded += 1;
                // What loads can be asked: an answer or a refusal.
                if let Err(error) = engine.count(&Request::ask("hi", 2)) {
                    assert!(matches!(error.code, Code::EngineBadRequest | Code::EngineContext), "{error}");
                } else if round % 8 == 0 {
                    let _ = read(start(&engine, Request::ask("hi", 2), None));
                }
            }
            Err(error) => {
                refused += 1;
                let expected = [Code::EngineBadModel, Code::EngineUnsupported];
                assert!(expected.contains(&error.code), "seed {seed}, round {round}, byte {at}: {error}");
            }
        }
    }
    println!("seed {seed}: {loaded} loaded, {refused} refused");
    assert!(loaded > 50 && refused > 50);
}

#[test]
fn absurd_numbers_are_refused_at_once() {
    let (bytes, _) = Tiny::new(1).file();
    for at in [8, 16] {
        for count in [u64::MAX, 1 << 40, 20_000] {
            let mut bad = bytes.clone();
            bad[at..at + 8].copy_from_slice(&count.to_le_bytes());
            assert_eq!(code(&bad), Some(Code::EngineBadModel), "{count} at {at}");
        }
    }
    let long = [8_u32.to_le_bytes().as_slice(), &u64::MAX.to_le_bytes()].concat();
    assert_eq!(changed(|tiny| tiny.set("general.name", long)), Some(Code::EngineBadModel));
    let many = [9_u32.to_le_bytes().as_slice(), &0_u32.to_le_bytes(), &(1_u64 << 50).to_le_bytes()].concat();
    assert_eq!(changed(|tiny| tiny.set("other", many)), Some(Code::EngineBadModel));
    let nested = [9_u32.to_le_bytes().as_slice(), &9_u32.to_le_bytes(), &1_u64.to_le_bytes()].concat();
    assert_eq!(changed(|tiny| tiny.set("other", nested)), Some(Code::EngineBadModel));
    for name in [
        "llama.block_count",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.context_length",
    ] {
        assert_eq!(changed(|tiny| tiny.set(name, number_value(0))), Some(Code::EngineBadModel), "{name}");
        if name != "llama.context_length" {
            assert_eq!(changed(|tiny| tiny.set(name, number_value(u32::MAX))), Some(Code::EngineBadModel), "{name}");
        }
    }
    assert_eq!(changed(|tiny| tiny.set("llama.block_count", number_value(3))), Some(Code::EngineBadModel));
    assert_eq!(changed(|tiny| tiny.set("general.alignment", number_value(3))), Some(Code::EngineBadModel));
}

#[test]
fn tensors_outside_the_file_or_over_one_another_are_refused() {
    let tiny = Tiny::new(1);
    let mut offset = 0;
    let mut offsets = Vec::new();
    for tensor in &tiny.tensors {
        offsets.push(offset);
        offset += (tensor.3.len() as u64).next_multiple_of(32);
    }
    assert_eq!(code(&tiny.file_at(&offsets).0), None);
    for wrong in [u64::MAX - 31, 1 << 62, offset, 1, offsets[2], offsets[4]] {
        let mut bad = offsets.clone();
        bad[3] = wrong;
        assert_eq!(code(&tiny.file_at(&bad).0), Some(Code::EngineBadModel), "offset {wrong}");
    }
    for wrong in [u64::MAX, 1 << 31, 0, 95, 97] {
        let shape = changed(|tiny| tiny.tensor("blk.0.ffn_up.weight").1 = vec![64, wrong]);
        assert_eq!(shape, Some(Code::EngineBadModel), "{wrong} rows");
    }
}

#[test]
fn wrong_shapes_and_missing_or_double_tensors_are_refused() {
    assert_eq!(changed(|tiny| drop(tiny.tensors.remove(5))), Some(Code::EngineBadModel));
    assert_eq!(changed(|tiny| tiny.tensors.push(tiny.tensors[5].clone())), Some(Code::EngineBadModel));
    assert_eq!(changed(|tiny| tiny.tensor("output_norm.weight").1 = vec![32, 2]), Some(Code::EngineBadModel));
    assert_eq!(changed(|tiny| tiny.tensor("blk.1.attn_q.weight").1 = vec![32, 128]), Some(Code::EngineBadModel));
    assert_eq!(
        changed(|tiny| tiny.tensor("blk.1.attn_q.weight").0 = "blk.9.attn_q.weight".into()),
        Some(Code::EngineBadModel)
    );
    assert_eq!(
        changed(|tiny| tiny.tensor("blk.1.attn_q.weight").0 = "blk.1.attn_q.bias".into()),
        Some(Code::EngineUnsupported)
    );
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let bad = |name: &str, at: usize, bytes: &[u8]| {
        changed(|tiny| tiny.tensor(name).3[at..at + bytes.len()].copy_from_slice(bytes))
    };
    for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert_eq!(bad("output_norm.weight", 8, &number.to_le_bytes()), Some(Code::EngineBadModel));
        assert_eq!(bad("output.weight", 400, &number.to_le_bytes()), Some(Code::EngineBadModel));
        assert_eq!(bad("blk.0.attn_v.weight", 64, &number.to_le_bytes()[2..]), Some(Code::EngineBadModel));
    }
    for (name, block) in [("blk.0.attn_q.weight", 18), ("blk.0.attn_k.weight", 20), ("token_embd.weight", 34)] {
        for half in [0x7C00_u16, 0xFC00, 0x7E01] {
            assert_eq!(bad(name, 5 * block, &half.to_le_bytes()), Some(Code::EngineBadModel), "{name}");
        }
    }
    assert_eq!(bad("blk.0.attn_k.weight", 2, &0x7C00_u16.to_le_bytes()), Some(Code::EngineBadModel));
}

#[test]
fn what_is_not_supported_says_so() {
    let unsupported = Some(Code::EngineUnsupported);
    assert_eq!(changed(|tiny| tiny.set("general.architecture", text_value("mamba"))), unsupported);
    assert_eq!(changed(|tiny| tiny.set("tokenizer.ggml.model", text_value("t5"))), unsupported);
    assert_eq!(changed(|tiny| tiny.set("llama.rope.scaling.type", text_value("yarn"))), unsupported);
    assert_eq!(changed(|tiny| tiny.set("llama.expert_count", number_value(8))), unsupported);
    assert_eq!(changed(|tiny| tiny.tensor("blk.0.ffn_up.weight").2 = 16), unsupported);
    let mut old = Tiny::new(1).file().0;
    old[4] = 1;
    assert_eq!(code(&old), unsupported);
}

#[test]
fn a_hostile_template_runs_out_of_fuel() {
    for template in [
        "{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}",
        "{% set ns = namespace(x='ab') %}{% for i in range(64) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
        "{{ 'x' * 1000000000 }}",
        "{% for message in messages %}",
        "{{ raise_exception('no') }}",
    ] {
        let refused = changed(|tiny| tiny.set("tokenizer.chat_template", text_value(template)));
        assert_eq!(refused, Some(Code::EngineBadModel), "{template}");
    }
}

#[test]
fn a_wrong_or_missing_file_is_told_apart_from_a_damaged_one() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("tiny.gguf");
    let open = |expected| OpenLora::load(&path, expected, settings(), &mut |_| {}).err().map(|error| error.code);
    assert_eq!(open(None), Some(Code::EngineFileMissing));
    let (bytes, _) = Tiny::new(1).file();
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(open(Some(Hash::sha256(&bytes))), None);
    assert_eq!(open(Some(Hash::sha256("other"))), Some(Code::EngineWrongHash));
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    assert_eq!(open(None), Some(Code::EngineBadModel));
    assert_eq!(open(Some(Hash::sha256(&bytes))), Some(Code::EngineWrongHash));
    let folder = OpenLora::load(home.path(), None, settings(), &mut |_| {});
    assert_eq!(folder.err().map(|error| error.code), Some(Code::EngineFileMissing));
}

#[test]
fn progress_ends_at_the_size_of_the_file() {
    let (bytes, _) = Tiny::new(1).file();
    let mut last = None;
    let size = bytes.len() as u64;
    let engine = OpenLora::load_from(&mut &bytes[..], size, None, settings(), &mut |loading| last = Some(loading));
    assert_eq!(engine.unwrap().base().hash, Hash::sha256(&bytes));
    let last = last.unwrap();
    assert_eq!((last.done_bytes, last.total_bytes), (size, size));
}

#[test]
fn malformed_adapters_are_refused() {
    let engine = Tiny::new(1).engine(settings());
    let home = tempfile::tempdir().unwrap();
    let modules = ["q_proj", "v_proj"];
    let good = peft::tensors(SIDES, &modules, 2, 0.1, 1);
    let config = || peft::config(&modules, 2, 4.0);
    let mut count = 0;
    let mut load = |name: &str, config: &serde_json::Value, weights: &[u8]| {
        count += 1;
        let folder = home.path().join(count.to_string());
        peft::write(&folder, config, weights);
        engine.load_adapter(name, &folder).err().map(|error| error.code)
    };
    let bad = Some(Code::EngineBadAdapter);
    let bytes = peft::safetensors(&good);
    assert_eq!(load("good", &config(), &bytes), None);

    for name in ["", "../up", "a/b", ".hidden", "with space", &"x".repeat(65)] {
        assert_eq!(load(name, &config(), &bytes), bad, "{name}");
    }
    for (field, value) in [
        ("r", "0"),
        ("r", "4"),
        ("r", "257"),
        ("r", "-1"),
        ("r", "18446744073709551615"),
        ("lora_alpha", "1e300"),
        ("peft_type", "\"IA3\""),
        ("use_dora", "true"),
        ("fan_in_fan_out", "true"),
        ("bias", "\"all\""),
        ("rank_pattern", "{\"q_proj\": 4}"),
        ("modules_to_save", "[\"lm_head\"]"),
        ("target_modules", "[]"),
        ("target_modules", "[\"q_proj\"]"),
        ("target_modules", "[\"q_proj\", \"v_proj\", \"../x\"]"),
        ("target_modules", "\"((\""),
        ("target_modules", "\".*k_proj\""),
        ("target_modules", "7"),
        ("rank_pattern", "{\"(\": 3}"),
        ("rank_pattern", "{\"q_proj\": 0}"),
        ("rank_pattern", "{\"q_proj\": \"3\"}"),
        ("rank_pattern", "{\"(x{1000}){1000}\": 3}"),
        ("alpha_pattern", "{\"q_proj\": 1e300}"),
    ] {
        let mut config = config();
        config[field] = serde_json::from_str(value).unwrap();
        assert_eq!(load("bad", &config, &bytes), bad, "{field} = {value}");
    }

    let (a, b) = (peft::name(0, "q_proj", "A"), peft::name(0, "q_proj", "B"));
    let changed = |change: &dyn Fn(&mut peft::Tensors)| {
        let mut tensors = good.clone();
        change(&mut tensors);
        peft::safetensors(&tensors)
    };
    for number in [f32::NAN, f32::INFINITY] {
        assert_eq!(load("bad", &config(), &changed(&|tensors| tensors.get_mut(&a).unwrap().2[3] = number)), bad);
    }
    assert_eq!(load("bad", &config(), &changed(&|tensors| drop(tensors.remove(&b)))), bad);
    assert_eq!(load("bad", &config(), &changed(&|tensors| tensors.get_mut(&b).unwrap().0 = 32)), bad);
    assert_eq!(
        load(
            "bad",
            &config(),
            &changed(&|tensors| {
                let tensor = tensors.get_mut(&a).unwrap();
                (tensor.0, tensor.1) = (tensor.1, tensor.0);
            })
        ),
        bad
    );
    for name in [
        "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.00.self_attn.q_proj.lora_A.weight",
        "base_model.model.model.layers.0.mlp.q_proj.lora_A.weight",
        "../../etc/passwd",
        "",
    ] {
        let renamed = changed(&|tensors| {
            let tensor = tensors.remove(&a).unwrap();
            tensors.insert(name.to_owned(), tensor);
        });
        assert_eq!(load("bad", &config(), &renamed), bad, "{name}");
    }
    assert_eq!(load("bad", &config(), &peft::safetensors(&peft::Tensors::new())), bad);
    for size in [u64::MAX, 1 << 40, bytes.len() as u64, 5 << 20] {
        let mut bad_bytes = bytes.clone();
        bad_bytes[..8].copy_from_slice(&size.to_le_bytes());
        assert_eq!(load("bad", &config(), &bad_bytes), bad, "a header of {size}");
    }
    for end in (0..bytes.len()).step_by(97) {
        assert_eq!(load("bad", &config(), &bytes[..end]), bad, "cut at {end}");
    }
    assert_eq!(load("bad", &config(), &[bytes.as_slice(), &[0]].concat()), bad);
}

#[test]
fn flipped_bits_of_an_adapter_load_or_fail_with_a_code() {
    let engine = Tiny::new(1).engine(Settings { adapters_max: 100_000, ..settings() });
    let home = tempfile::tempdir().unwrap();
    let bytes = peft::safetensors(&peft::tensors(SIDES, &["q_proj"], 2, 0.1, 1));
    let header = 8 + usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let seed = 31;
    let mut random = Random(seed);
    for round in 0..300 {
        let mut bad = bytes.clone();
        bad[random.below(header)] ^= 1 << random.below(8);
        peft::write(home.path(), &peft::config(&["q_proj"], 2, 4.0), &bad);
        if let Err(error) = engine.load_adapter("flipped", home.path()) {
            assert_eq!(error.code, Code::EngineBadAdapter, "seed {seed}, round {round}: {error}");
        }
    }
}

#[cfg(unix)]
#[test]
fn an_adapter_that_links_elsewhere_is_refused() {
    let engine = Tiny::new(1).engine(settings());
    let home = tempfile::tempdir().unwrap();
    let (real, linked) = (home.path().join("real"), home.path().join("linked"));
    let bytes = peft::safetensors(&peft::tensors(SIDES, &["q_proj"], 2, 0.1, 1));
    peft::write(&real, &peft::config(&["q_proj"], 2, 4.0), &bytes);
    peft::write(&linked, &peft::config(&["q_proj"], 2, 4.0), &bytes);
    assert!(engine.load_adapter("linked", &linked).is_ok());
    std::fs::remove_file(linked.join("adapter_model.safetensors")).unwrap();
    std::os::unix::fs::symlink(real.join("adapter_model.safetensors"), linked.join("adapter_model.safetensors"))
        .unwrap();
    assert_eq!(engine.load_adapter("linked", &linked).unwrap_err().code, Code::EngineBadAdapter);
}
