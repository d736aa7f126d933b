//! Damaged and malicious folders are errors with codes, and what no family here does is said to be unsupported.

mod support;

use std::path::Path;

use agora_inference_api::{Engine as _, Request};
use agora_types::{Code, Hash};
use serde_json::{Value, json};
use support::Random;
use support::folder::{Folder, file, load, safetensors};

const BAD: Option<Code> = Some(Code::EngineBadModel);
const UNSUPPORTED: Option<Code> = Some(Code::EngineUnsupported);
const MISSING: Option<Code> = Some(Code::EngineFileMissing);
const Q: &str = "model.layers.1.self_attn.q_proj.weight";

fn code(folder: &Folder) -> Option<Code> {
    folder.load(None).err().map(|error| error.code)
}

/// Loads a changed folder of this family.
fn changed(family: &str, change: impl FnOnce(&mut Folder)) -> Option<Code> {
    let mut folder = Folder::new(family);
    change(&mut folder);
    code(folder.write())
}

/// Loads a folder whose file of weights has changed bytes.
fn weights(change: impl FnOnce(&mut Vec<u8>)) -> Option<Code> {
    let folder = Folder::new("llama");
    let mut bytes = safetensors(&folder.tensors);
    change(&mut bytes);
    folder.write_plain();
    folder.put("model.safetensors", bytes);
    code(&folder)
}

#[test]
fn weights_that_end_early_are_an_error_wherever_they_end() {
    let mut folder = Folder::new("llama");
    let whole = safetensors(&folder.tensors);
    let promised = folder.write().load(None).unwrap().base().hash;
    for size in (0..whole.len()).step_by(whole.len() / 23).chain([1, 7, 8, 9, whole.len() - 1]) {
        folder.put("model.safetensors", &whole[..size]);
        assert_eq!(code(&folder), BAD, "{size} of {}", whole.len());
        // What was damaged on its way is the wrong model.
        let wrong = folder.load(Some(promised)).err().map(|error| error.code);
        assert_eq!(wrong, Some(Code::EngineWrongHash), "{size} of {}", whole.len());
    }
    assert_eq!(weights(|bytes| bytes.push(0)), BAD, "a byte over");
    folder.tensors.clear();
    assert_eq!(code(folder.write()), BAD, "no tensors");
}

#[test]
fn absurd_headers_are_refused_at_once() {
    for size in [0, 1, 1 << 24, (1 << 24) + 1, 1 << 40, 1 << 63, u64::MAX] {
        assert_eq!(weights(|bytes| bytes[..8].copy_from_slice(&size.to_le_bytes())), BAD, "{size}");
    }
    // Within what the file has, and more than is read.
    let long = |bytes: &mut Vec<u8>| {
        *bytes = [&(20_u64 << 20).to_le_bytes(), vec![b' '; 21 << 20].as_slice()].concat();
    };
    assert_eq!(weights(long), BAD);
    assert_eq!(weights(|bytes| *bytes = file(&Value::String("[".repeat(100_000)), &[])), BAD);
    let deep = [&200_000_u64.to_le_bytes(), vec![b'['; 200_000].as_slice()].concat();
    assert_eq!(weights(|bytes| *bytes = deep), BAD);
    let entry = json!({ "dtype": "F16", "shape": [0], "data_offsets": [0, 0] });
    let many: serde_json::Map<_, _> = (0..17_000).map(|at| (format!("{at}"), entry.clone())).collect();
    assert_eq!(weights(|bytes| *bytes = file(&Value::Object(many), &[])), BAD);
}

#[test]
fn tensors_over_one_another_or_with_gaps_between_them_are_refused() {
    let place = |from: u64, to: u64| json!({ "dtype": "F16", "shape": [(to - from) / 2], "data_offsets": [from, to] });
    let norm = "model.norm.weight";
    for [first, second] in [
        [place(0, 128), place(64, 192)],
        [place(0, 128), place(0, 128)],
        [place(0, 128), place(130, 192)],
        [place(2, 128), place(128, 192)],
        [place(0, 128), place(128, 190)],
        [place(0, 128), place(128, 194)],
    ] {
        let header = json!({ norm: first, "model.layers.0.input_layernorm.weight": second });
        let what = weights(|bytes| *bytes = file(&header, &[0; 192]));
        assert_eq!(what, BAD, "{header}");
    }
    for wrong in [
        json!({ "dtype": "F16", "shape": [64], "data_offsets": [128, 0] }),
        json!({ "dtype": "F16", "shape": [63], "data_offsets": [0, 128] }),
        json!({ "dtype": "F16", "shape": [-64], "data_offsets": [0, 128] }),
        json!({ "dtype": "F16", "shape": [u64::MAX, 2], "data_offsets": [0, 128] }),
        json!({ "dtype": "F16", "shape": [1_u64 << 63, 2], "data_offsets": [0, 0] }),
        json!({ "dtype": "F16", "shape": [64], "data_offsets": [0, 128], "more": 1 }),
        json!({ "dtype": "F16", "shape": [64] }),
        json!([]),
    ] {
        assert_eq!(weights(|bytes| *bytes = file(&json!({ norm: wrong }), &[0; 128])), BAD, "{wrong}");
    }
}

#[test]
fn wrong_shapes_and_missing_double_or_unknown_tensors_are_refused() {
    for at in 0..Folder::new("llama").tensors.len() {
        assert_eq!(changed("llama", |folder| drop(folder.tensors.remove(at))), BAD, "without {at}");
    }
    let renamed = |name: &str| changed("llama", |folder| folder.tensor(Q).0 = name.to_owned());
    assert_eq!(renamed("model.layers.2.self_attn.q_proj.weight"), BAD);
    assert_eq!(renamed("model.layers.01.self_attn.q_proj.weight"), BAD);
    for unknown in [
        "model.layers.1.self_attn.q_proj.bias",
        "model.layers.1.self_attn.q_norm.weight",
        "model.layers.1.pre_feedforward_layernorm.weight",
        "model.layers.1.mlp.experts.0.up_proj.weight",
        "model.layers.x.self_attn.q_proj.weight",
        "layers.1.self_attn.q_proj.weight",
        "rope_freqs.weight",
        "blk.1.attn_q.weight",
        "",
    ] {
        assert_eq!(renamed(unknown), UNSUPPORTED, "{unknown}");
    }
    for shape in [vec![64, 32, 2], vec![32, 128], vec![4096], vec![]] {
        let wrong = changed("llama", |folder| folder.tensor(Q).2 = shape.clone());
        assert_eq!(wrong, BAD, "{shape:?}");
    }
    // Qwen's biases are three or none.
    assert_eq!(changed("qwen2", |folder| folder.tensors.retain(|tensor| !tensor.0.ends_with("k_proj.bias"))), BAD);
    // Old files have tables that nothing needs; a tied head is the embedding.
    let table = ("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), "F32", vec![8], vec![255; 32]);
    assert_eq!(changed("qwen2", |folder| folder.tensors.insert(3, table)), None);
    let head = ("lm_head.weight".to_owned(), "F16", vec![300, 64], vec![255; 300 * 64 * 2]);
    assert_eq!(changed("qwen2", |folder| folder.tensors.insert(3, head)), None);
}

#[test]
fn weights_that_are_not_finite_or_of_other_types_are_refused() {
    for name in [Q, "model.norm.weight", "model.embed_tokens.weight", "model.layers.0.mlp.down_proj.weight"] {
        for number in [0x7C00_u16, 0xFC00, 0x7E01] {
            let bad = changed("llama", |folder| folder.tensor(name).3[6..8].copy_from_slice(&number.to_le_bytes()));
            assert_eq!(bad, BAD, "{name}");
        }
    }
    for kind in ["I16", "U16", "f16", "F8_E4M3", ""] {
        assert_eq!(changed("llama", |folder| folder.tensor(Q).1 = kind), UNSUPPORTED, "{kind}");
    }
    assert_eq!(changed("llama", |folder| folder.tensor(Q).1 = "F32"), BAD, "half as many bytes");
    assert_eq!(changed("llama", |folder| folder.config["quantization_config"] = json!({ "bits": 4 })), UNSUPPORTED);
}

#[test]
fn an_index_names_files_of_its_own_folder_and_says_the_truth() {
    let index = |change: fn(&mut serde_json::Map<String, Value>)| {
        let folder = Folder::new("qwen3");
        folder.write_shards(2);
        let path = folder.path().join("model.safetensors.index.json");
        let mut index: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(index["weight_map"].as_object_mut().unwrap());
        std::fs::write(&path, index.to_string()).unwrap();
        code(&folder)
    };
    assert_eq!(index(|_| {}), None);
    assert_eq!(index(|map| map.clear()), BAD);
    assert_eq!(index(|map| map["model.norm.weight"] = json!(7)), BAD);
    assert_eq!(index(|map| drop(map.insert("more".to_owned(), json!("model-00001-of-00002.safetensors")))), BAD);
    assert_eq!(index(|map| drop(map.remove("model.norm.weight"))), BAD);
    assert_eq!(
        index(|map| {
            let norm = &mut map["model.norm.weight"];
            let other = if norm == "model-00001-of-00002.safetensors" { "2" } else { "1" };
            *norm = json!(format!("model-0000{other}-of-00002.safetensors"));
        }),
        BAD
    );
    assert_eq!(index(|map| map["model.norm.weight"] = json!("model-00003-of-00003.safetensors")), MISSING);
    for outside in [
        "../model.safetensors",
        "/etc/model.safetensors",
        "a/b.safetensors",
        "..",
        ".safetensors",
        "a\\b.safetensors",
        "a\0.safetensors",
        "model.bin",
        "C:model.safetensors",
        "",
    ] {
        let folder = Folder::new("qwen3");
        folder.write_shards(1);
        let map = json!({ "weight_map": { "model.norm.weight": outside } });
        folder.put("model.safetensors.index.json", map.to_string());
        assert_eq!(code(&folder), BAD, "{outside:?}");
    }
    let folder = Folder::new("qwen3");
    folder.write_shards(2);
    std::fs::remove_file(folder.path().join("model-00002-of-00002.safetensors")).unwrap();
    assert_eq!(code(&folder), MISSING, "a file is missing");
    folder.put("model.safetensors.index.json", "[");
    assert_eq!(code(&folder), BAD);
    std::fs::remove_file(folder.path().join("model.safetensors.index.json")).unwrap();
    assert_eq!(code(&folder), MISSING);
    let big = folder.path().join("model.safetensors.index.json");
    std::fs::File::create(big).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(code(&folder), Some(Code::EngineTooLarge));
}

#[test]
fn a_missing_file_is_told_apart_from_a_damaged_one() {
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let folder = Folder::new("gemma3");
        folder.write();
        let path = folder.path().join(name);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(code(&folder), MISSING, "{name}");
        std::fs::create_dir(&path).unwrap();
        assert_eq!(code(&folder), MISSING, "{name} is a folder");
        std::fs::remove_dir(&path).unwrap();
        folder.put(name, "{");
        assert_eq!(code(&folder), BAD, "{name}");
    }
    assert_eq!(load(Path::new("/nowhere/config.json"), None).err().map(|error| error.code), MISSING);
    let mut folder = Folder::new("gemma3");
    folder.write();
    let wrong = folder.load(Some(Hash::sha256("other"))).err().map(|error| error.code);
    assert_eq!(wrong, Some(Code::EngineWrongHash));
    // Whatever else is wrong with it.
    folder.config["model_type"] = json!("mamba");
    let wrong = folder.write().load(Some(Hash::sha256("other"))).err().map(|error| error.code);
    assert_eq!(wrong, Some(Code::EngineWrongHash));
    assert_eq!(code(&folder), UNSUPPORTED);
}

/// A cache keeps its files elsewhere, behind links; the operator chose it.
#[cfg(unix)]
#[test]
fn a_folder_of_links_to_plain_files_loads() {
    let (folder, home) = (Folder::new("qwen2"), tempfile::tempdir().unwrap());
    let links = home.path().join("models--owner--tiny/snapshots/abc");
    std::fs::create_dir_all(&links).unwrap();
    let right = folder.write().load(None).unwrap().base().hash;
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::os::unix::fs::symlink(folder.path().join(name), links.join(name)).unwrap();
    }
    assert_eq!(load(&links, None).unwrap().base().hash, right);
    assert_eq!(load(&links, None).unwrap().base().name, "owner/tiny");
    let weights = links.join("model.safetensors");
    for other in ["/dev/zero", "/nowhere", "model.safetensors"] {
        std::fs::remove_file(&weights).unwrap();
        std::os::unix::fs::symlink(other, &weights).unwrap();
        assert_eq!(load(&links, None).err().map(|error| error.code), MISSING, "{other}");
    }
}

#[test]
fn numbers_of_the_configuration_out_of_bounds_are_refused() {
    let with = |family: &str, name: &str, value: &Value| changed(family, |folder| folder.config[name] = value.clone());
    for name in [
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "max_position_embeddings",
        "vocab_size",
        "rms_norm_eps",
    ] {
        for value in [json!(0), json!(-1), json!(1_u64 << 40), json!(u64::MAX), json!("64"), json!([64]), json!(1e300)]
        {
            let fine = ["max_position_embeddings", "rms_norm_eps"].contains(&name)
                && with("llama", name, &value).is_none_or(|code| code == Code::EngineBadModel);
            assert!(fine || with("llama", name, &value) == BAD, "{name}: {value}");
        }
        if name != "num_key_value_heads" {
            assert_eq!(with("qwen2", name, &Value::Null), BAD, "{name}");
        }
    }
    for (name, value) in [("rope_theta", json!(0.5)), ("bos_token_id", json!(300)), ("eos_token_id", json!([1, 300]))] {
        assert_eq!(with("llama", name, &value), BAD, "{name}: {value}");
    }
    for wrong in ["factor", "original_max_position_embeddings", "low_freq_factor", "high_freq_factor"] {
        for value in [json!(0), json!(-1.0), Value::Null, json!("8"), json!(1e12)] {
            let refused = changed("llama", |folder| folder.config["rope_scaling"][wrong] = value.clone());
            assert_eq!(refused, BAD, "{wrong}: {value}");
        }
    }
    assert_eq!(changed("llama", |folder| folder.config = json!([])), BAD);
    assert_eq!(changed("llama", |folder| folder.config["vocab_size"] = json!(299)), BAD, "a token too many");
    assert_eq!(changed("llama", |folder| folder.config["vocab_size"] = json!(301)), BAD, "a row too few");
}

#[test]
fn what_no_family_here_does_is_said_to_be_unsupported() {
    for (family, name, value) in [
        ("llama", "model_type", json!("mamba")),
        ("llama", "model_type", json!("gemma3")),
        ("llama", "hidden_act", json!("gelu")),
        ("llama", "partial_rotary_factor", json!(0.5)),
        ("llama", "rope_scaling", json!({ "rope_type": "yarn", "factor": 4.0 })),
        ("llama", "rope_scaling", json!({ "type": "linear", "factor": 4.0 })),
        ("qwen2", "rope_scaling", json!({ "type": "dynamic", "factor": 4.0 })),
        ("qwen2", "layer_types", json!(["full_attention", "sliding_attention"])),
        ("gemma3", "hidden_activation", json!("silu")),
        ("gemma3", "query_pre_attn_scalar", json!(64)),
        ("gemma3", "attn_logit_softcapping", json!(50.0)),
        ("gemma3", "final_logit_softcapping", json!(30.0)),
        ("gemma3", "use_bidirectional_attention", json!(true)),
        ("gemma3", "layer_types", json!(vec!["sliding_attention"; 7])),
    ] {
        assert_eq!(changed(family, |folder| folder.config[name] = value.clone()), UNSUPPORTED, "{name}: {value}");
    }
    let window = |positions: u64| {
        changed("qwen2", |folder| {
            folder.config["use_sliding_window"] = json!(true);
            folder.config["sliding_window"] = json!(positions);
        })
    };
    assert_eq!((window(64), window(128)), (UNSUPPORTED, None));
}

/// Older and newer files say the same in other words.
#[test]
fn configurations_of_other_years_are_the_same_models() {
    let logits = |folder: &Folder| folder.write().load(None).unwrap().logits(&[7, 8, 9, 70, 71, 72], None).unwrap();
    let mut folder = Folder::new("llama");
    let right = logits(&folder);
    let config = folder.config.as_object_mut().unwrap();
    let mut scaling = config.remove("rope_scaling").unwrap();
    scaling["rope_theta"] = config.remove("rope_theta").unwrap();
    config.insert("rope_parameters".to_owned(), scaling);
    config.remove("head_dim");
    assert_eq!(logits(&folder), right);
    folder.config["rope_parameters"]["rope_theta"] = json!(20_000.0);
    assert_ne!(logits(&folder), right);
    let mut folder = Folder::new("gemma3");
    let right = logits(&folder);
    let config = folder.config.as_object_mut().unwrap();
    for name in ["rope_theta", "rope_local_base_freq", "sliding_window_pattern", "tie_word_embeddings"] {
        config.remove(name);
    }
    let kinds: Vec<_> = (0..7).map(|at| if at == 5 { "full_attention" } else { "sliding_attention" }).collect();
    config.insert("layer_types".to_owned(), json!(kinds));
    let base = |base: f64| json!({ "rope_type": "default", "rope_theta": base });
    let bases = json!({ "full_attention": base(1e6), "sliding_attention": base(1e4) });
    config.insert("rope_parameters".to_owned(), bases);
    assert_eq!(logits(&folder), right);
    folder.config["rope_parameters"]["sliding_attention"] = base(1e3);
    assert_ne!(logits(&folder), right);
    folder.config["rope_parameters"]["sliding_attention"] = json!({ "rope_type": "linear", "factor": 2.0 });
    assert_eq!(code(folder.write()), UNSUPPORTED);
}

#[test]
fn a_tokenizer_of_another_kind_is_said_to_be_unsupported() {
    for (family, path, value) in [
        ("qwen2", "/model/type", json!("Unigram")),
        ("qwen2", "/model/type", json!("WordPiece")),
        ("qwen2", "/model/dropout", json!(0.1)),
        ("qwen2", "/model/unk_token", json!("<unk>")),
        ("qwen2", "/model/end_of_word_suffix", json!("</w>")),
        ("qwen2", "/model/ignore_merges", json!(true)),
        ("llama", "/model/ignore_merges", json!(false)),
        ("qwen2", "/model/byte_fallback", json!(true)),
        ("gemma3", "/model/byte_fallback", json!(false)),
        ("qwen2", "/normalizer", Value::Null),
        ("llama", "/normalizer", json!({ "type": "NFC" })),
        ("gemma3", "/normalizer", json!({ "type": "Prepend", "prepend": "\u{2581}" })),
        ("gemma3", "/pre_tokenizer", json!({ "type": "Metaspace" })),
        ("qwen2", "/pre_tokenizer/pretokenizers/0/pattern/Regex", json!("\\w+|[^\\w\\s]+")),
        ("qwen2", "/pre_tokenizer/pretokenizers/0/behavior", json!("Removed")),
        ("qwen2", "/pre_tokenizer/pretokenizers/0/invert", json!(true)),
        ("qwen2", "/pre_tokenizer/pretokenizers/1/add_prefix_space", json!(true)),
        ("qwen2", "/pre_tokenizer/pretokenizers/1/use_regex", json!(true)),
        ("qwen2", "/added_tokens/0/lstrip", json!(true)),
        ("qwen2", "/added_tokens/0/single_word", json!(true)),
    ] {
        let set = |folder: &mut Folder| *folder.tokenizer.pointer_mut(path).unwrap() = value.clone();
        assert_eq!(changed(family, set), UNSUPPORTED, "{family}: {path} = {value}");
    }
}

#[test]
fn a_damaged_tokenizer_is_refused() {
    for (path, value) in [
        ("/model", json!([])),
        ("/model/vocab", json!(["a"])),
        ("/model/vocab/a", json!(-1)),
        ("/model/vocab/a", json!(300)),
        ("/model/vocab/a", json!(u64::MAX)),
        ("/model/vocab/a", json!(1)),
        ("/model/merges", Value::Null),
        ("/model/merges/3", json!(["a"])),
        ("/model/merges/3", json!(["a", "n", "d"])),
        ("/model/merges/3", json!(["a n", "d"])),
        ("/model/merges/3", json!(["x", "\u{10FFFF}"])),
        ("/model/merges/3", json!("an")),
        ("/model/merges/3", json!(7)),
        ("/added_tokens/0/id", json!(64)),
        ("/added_tokens/0/content", json!(null)),
    ] {
        let set = |folder: &mut Folder| {
            // A token's own name is no word of JSON pointers, so it is set by hand.
            match path {
                "/model/vocab/a" => folder.tokenizer["model"]["vocab"]["a"] = value.clone(),
                _ => *folder.tokenizer.pointer_mut(path).unwrap() = value.clone(),
            }
        };
        for family in ["qwen2", "gemma3"] {
            assert_eq!(changed(family, set), BAD, "{family}: {path} = {value}");
        }
    }
    for extra in [
        json!({ "bos_token": "nobody" }),
        json!({ "eos_token": 7 }),
        json!({ "chat_template": 7 }),
        json!({ "chat_template": "{% for" }),
        json!({ "add_bos_token": "yes" }),
        json!([]),
    ] {
        let refused = changed("qwen2", |folder| folder.put("tokenizer_config.json", extra.to_string()));
        assert_eq!(refused, BAD, "{extra}");
    }
    let other = json!({ "chat_template": [{ "name": "tools", "template": "x" }] });
    assert_eq!(changed("qwen2", |folder| folder.put("tokenizer_config.json", other.to_string())), UNSUPPORTED);
    assert_eq!(changed("qwen2", |folder| folder.put("chat_template.jinja", [255; 4])), BAD);
    assert_eq!(changed("qwen2", |folder| folder.put("chat_template.jinja", "x".repeat(100_000))), BAD);
    assert_eq!(
        changed("qwen2", |folder| folder.put("chat_template.jinja", " ".repeat((1 << 20) + 1))),
        Some(Code::EngineTooLarge)
    );
}

/// The begin, the end and the template as `tokenizer_config.json` says them.
#[test]
fn the_tokenizers_configuration_goes_before_the_models() {
    let prompt = |extra: Value, template: Option<&str>| {
        let folder = Folder::new("qwen2");
        folder.put("tokenizer_config.json", extra.to_string());
        if let Some(template) = template {
            folder.put("chat_template.jinja", template);
        }
        folder.write().load(None).unwrap().prompt(&Request::ask("!", 1)).unwrap()
    };
    let one = "{{ bos_token }}{{ messages[0]['content'] }}{{ eos_token }}";
    let named = json!({ "bos_token": "<begin>", "eos_token": { "content": "<stop>" }, "chat_template": one });
    assert_eq!(prompt(named.clone(), None), [298, 0, 299]);
    let several = json!({ "chat_template": [{ "name": "x", "template": "" }, { "name": "default", "template": one }] });
    assert_eq!(prompt(several, None), [0, 299], "no begin; the end of config.json");
    assert_eq!(prompt(named, Some("{{ messages[0]['content'] }}<turn>")), [0, 296]);
    assert_eq!(prompt(json!({ "bos_token": "<begin>", "add_bos_token": true }), None), [298, 0]);
    assert_eq!(prompt(json!({}), None), [0]);
    let mut folder = Folder::new("qwen2");
    let single = json!([{ "SpecialToken": { "id": "<begin>" } }, { "Sequence": { "id": "A" } }]);
    folder.tokenizer["post_processor"] = json!({ "type": "Sequence", "processors": [{ "type": "ByteLevel" }, { "type": "TemplateProcessing", "single": single }] });
    let engine = folder.write().load(None).unwrap();
    assert_eq!(engine.prompt(&Request::ask("!", 1)).unwrap(), [298, 0]);
}

/// However the list of merges is made: special tokens come from the template alone.
#[test]
fn merges_make_no_special_token_from_text() {
    let mut folder = Folder::new("gemma3");
    for (token, id) in [("<", 300), ("<e", 301), ("nd>", 302), (">", 303)] {
        folder.tokenizer["model"]["vocab"][token] = json!(id);
    }
    let merges = folder.tokenizer["model"]["merges"].as_array_mut().unwrap();
    merges.insert(0, json!(["<", "e"]));
    merges.insert(1, json!(["nd", ">"]));
    merges.insert(1, json!(["n", "d"]));
    merges.push(json!(["<e", "nd>"]));
    folder.config["vocab_size"] = json!(304);
    let embedding = folder.tensor("model.embed_tokens.weight");
    embedding.2[0] = 304;
    let rows = embedding.3[..4 * 32 * 2].to_vec();
    embedding.3.extend(rows);
    let engine = folder.write().load(None).unwrap();
    assert_eq!(engine.encode("<end>"), [301, 302]);
}

#[test]
fn flipped_bits_load_or_fail_with_a_code() {
    let seed = 41;
    let mut random = Random(seed);
    let folder = Folder::new("gemma3");
    folder.write();
    let mut refused = 0;
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let whole = std::fs::read(folder.path().join(name)).unwrap();
        for round in 0..150 {
            let mut bad = whole.clone();
            let most = bad.len().min(6_000);
            bad[random.below(most)] ^= 1 << random.below(8);
            folder.put(name, &bad);
            match folder.load(None) {
                Ok(engine) => drop(engine.prompt(&Request::ask("the theatre", 1))),
                Err(error) => {
                    refused += 1;
                    let known = [Code::EngineBadModel, Code::EngineUnsupported];
                    assert!(known.contains(&error.code), "seed {seed}, {name}, round {round}: {error}");
                }
            }
        }
        folder.put(name, &whole);
    }
    println!("seed {seed}: {refused} refused");
    assert!(refused > 100);
}
