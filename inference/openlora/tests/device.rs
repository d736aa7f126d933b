//! On a device every answer is the processor's, bit for bit: on the kernels' source as plain C++ wherever there is a C++
//! compiler, and on a real device where there is one.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

#[path = "../../kernels/tests/support/emulator.rs"]
mod emulator;
mod support;

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agora_inference_api::{Engine as _, Request, Sampling};
use agora_kernels::cuda;
use agora_openlora::{Device, OpenLora, Settings};
use agora_types::{Code, Hash};
use emulator::Emulator;
use serde_json::Value;
use support::peft::{self, Sides};
use support::{Random, answer, folder, read, start};

/// The families, the sides of their matrices, and the modules whose sides these are: some have wider queries.
const FAMILIES: [(&str, Sides, &[&str]); 4] = [
    ("llama", Sides { layers: 2, width: 64, keys: 32, inner: 64 }, &peft::ALL),
    ("qwen2", Sides { layers: 2, width: 64, keys: 32, inner: 64 }, &peft::ALL),
    ("qwen3", Sides { layers: 2, width: 64, keys: 32, inner: 64 }, &["k_proj", "v_proj", "up_proj", "down_proj"]),
    ("gemma3", Sides { layers: 7, width: 32, keys: 16, inner: 64 }, &["v_proj", "gate_proj", "down_proj"]),
];

fn emulator() -> Option<Arc<Emulator>> {
    Emulator::new().map_err(|error| eprintln!("skipped: {error}")).ok().map(Arc::new)
}

/// The devices that can be asked here.
fn devices() -> Vec<Arc<dyn cuda::Device>> {
    let mut devices: Vec<Arc<dyn cuda::Device>> = Vec::new();
    if let Some(emulator) = emulator() {
        devices.push(emulator);
    }
    match cuda::Cuda::open(0) {
        Ok(device) => devices.push(Arc::new(device)),
        Err(error) => eprintln!("skipped: {error}"),
    }
    devices
}

fn engine(family: &str, device: Option<&Arc<dyn cuda::Device>>, settings: Settings) -> OpenLora {
    let path = folder::family(&format!("{family}.gguf"));
    OpenLora::load_on(&path, None, settings, device.cloned(), &mut |_| {}).unwrap()
}

/// Loads adapters of these ranks; their hashes.
fn adapters(
    engine: &OpenLora,
    home: &Path,
    (_, sides, modules): (&str, Sides, &[&str]),
    ranks: RangeInclusive<usize>,
) -> Vec<Hash> {
    let load = |rank: usize| {
        // Not all change the same matrices.
        let modules = &modules[..modules.len() - (rank - 1) % 2];
        let folder = home.join(rank.to_string());
        let tensors = peft::tensors(sides, modules, rank, 0.5, rank as u64);
        peft::write(&folder, &peft::config(modules, rank, 8.0), &peft::safetensors(&tensors));
        engine.load_adapter(&format!("adapter-{rank}"), &folder).unwrap().hash
    };
    ranks.map(load).collect()
}

fn settings() -> Settings {
    Settings { threads: 1, ..Settings::default() }
}

#[test]
fn every_familys_logits_on_a_device_are_the_processors_with_and_without_adapters() {
    let data: Value = serde_json::from_str(include_str!("data/families.json")).unwrap();
    let devices = devices();
    for family in FAMILIES {
        let of = |entry: &&Value| entry["name"] == family.0;
        let ids = &data["families"].as_array().unwrap().iter().find(of).unwrap()["ids"];
        let ids: Vec<u32> = ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        let home = tempfile::tempdir().unwrap();
        let right = engine(family.0, None, settings());
        let known = adapters(&right, home.path(), family, 1..=3);
        for device in &devices {
            let ours = engine(family.0, Some(device), settings());
            assert_eq!((ours.device(), right.device()), (Some(device.name()), None));
            assert_eq!(ours.weights_size(), right.weights_size());
            assert_eq!(adapters(&ours, home.path(), family, 1..=3), known);
            for adapter in [None].into_iter().chain(known.iter().map(Some)) {
                let bits = |engine: &OpenLora| -> Vec<u32> {
                    engine.logits(&ids, adapter).unwrap().iter().flatten().map(|logit| logit.to_bits()).collect()
                };
                assert!(bits(&ours) == bits(&right), "{} on {}, adapter {adapter:?}", family.0, device.name());
            }
        }
        let plain = right.logits(&ids, None).unwrap();
        assert!(
            known.iter().all(|adapter| right.logits(&ids, Some(adapter)).unwrap() != plain),
            "adapters do something"
        );
    }
}

#[test]
fn the_real_models_logits_on_a_device_are_the_processors() {
    let home = tempfile::tempdir().unwrap();
    let load = |device: Option<&Arc<dyn cuda::Device>>| {
        let settings = Settings { context_max: 256, ..settings() };
        let engine = OpenLora::load_on(&support::model_path(), None, settings, device.cloned(), &mut |_| {}).unwrap();
        let known = adapters(&engine, home.path(), ("smollm2", peft::SMOL, &peft::ALL), 16..=16);
        let ids = engine.encode("Lighthouses tell ships where rocks are, in 12 nights");
        [None, Some(&known[0])].map(|adapter| {
            let rows = engine.logits(&ids, adapter).unwrap();
            rows.iter().flatten().map(|logit| logit.to_bits()).collect::<Vec<u32>>()
        })
    };
    let right = load(None);
    assert!(right[0] != right[1], "the adapter does something");
    for device in &devices() {
        assert!(load(Some(device)) == right, "{}", device.name());
    }
}

#[test]
fn answers_in_a_mixed_batch_on_a_device_are_those_that_the_processor_gives_alone() {
    let seed = 7;
    println!("seed {seed}");
    let devices = devices();
    for family in FAMILIES {
        let home = tempfile::tempdir().unwrap();
        let right = engine(family.0, None, settings());
        let known = adapters(&right, home.path(), family, 1..=3);
        let mut random = Random(seed);
        let job = |_| {
            // Few beginnings, so that pages are found again.
            let mut text = ["the theatre, there then, in it", "ring the ring"][random.below(2)].to_owned();
            text.extend((0..random.below(20)).map(|_| char::from(b'a' + random.below(26) as u8)));
            let mut request = Request::ask(text, 1 + random.below(20) as u64);
            request.logprobs = (random.below(2) == 1).then_some(3);
            if random.below(2) == 1 {
                let (top_k, seed) = (20, random.next());
                request.sampling = Sampling { temperature_milli: 900, top_k, seed, ..Sampling::default() };
            }
            (request, known.get(random.below(4)).copied())
        };
        let jobs: Vec<(Request, Option<Hash>)> = (0..24).map(job).collect();
        let alone: Vec<_> = jobs.iter().map(|(request, adapter)| answer(&right, request.clone(), *adapter)).collect();
        for device in &devices {
            let ours = engine(family.0, Some(device), Settings { rows_max: 9, prompt_step: 25, ..settings() });
            assert_eq!(adapters(&ours, home.path(), family, 1..=3), known);
            for round in 0..2 {
                let streams: Vec<_> = jobs.iter().map(|(request, it)| start(&ours, request.clone(), *it)).collect();
                let together: Vec<_> = streams.into_iter().map(|stream| read(stream).unwrap()).collect();
                assert_eq!(together, alone, "{} on {}, round {round}, seed {seed}", family.0, device.name());
            }
            let (_, usage) = support::read_metered(start(&ours, jobs[0].0.clone(), jobs[0].1)).unwrap();
            assert!(usage.cached > 0, "pages on the device are found again");
        }
    }
}

#[test]
fn a_device_that_fails_or_is_full_ends_answers_with_an_error_and_what_follows_is_right() {
    let Some(emulator) = emulator() else { return };
    let device: Arc<dyn cuda::Device> = emulator.clone();
    let home = tempfile::tempdir().unwrap();
    let right = engine("llama", None, settings());
    let known = adapters(&right, home.path(), FAMILIES[0], 65..=65);
    let ask = |text: &str| Request::ask(text, 12);

    emulator.bound(10_000, usize::MAX);
    let path = folder::family("llama.gguf");
    let refused = OpenLora::load_on(&path, None, settings(), Some(device.clone()), &mut |_| {}).map(drop).unwrap_err();
    assert_eq!(refused.code, Code::EngineTooLarge, "{refused}");
    assert_eq!(emulator.used(), 0);

    emulator.bound(usize::MAX, usize::MAX);
    let ours = engine("llama", Some(&device), settings());
    adapters(&ours, home.path(), FAMILIES[0], 65..=65);
    let text = "the theatre, there then, in it and on it";
    let asked = |adapter: Option<Hash>| read(start(&ours, ask(text), adapter));
    for launches in [0, 1, 30, 77, 200, 500] {
        emulator.bound(usize::MAX, launches);
        let streams = [start(&ours, ask(text), None), start(&ours, ask(text), Some(known[0]))];
        for stream in streams {
            let error = read(stream).unwrap_err();
            assert_eq!(error.code, Code::EngineStopped, "after {launches} launches: {error}");
        }
        assert_eq!(ours.logits(&[1, 2], None).unwrap_err().code, Code::EngineStopped);
        emulator.bound(usize::MAX, usize::MAX);
        assert_eq!(asked(None).unwrap(), answer(&right, ask(text), None), "after {launches} launches");
    }

    // Without memory for its adapter a row ends; another one goes on.
    let with = answer(&right, ask(text), Some(known[0]));
    assert_eq!(asked(Some(known[0])).unwrap(), with);
    let (size, with_it) = (ours.adapters()[0].size as usize, emulator.used());
    ours.unload_adapter(&known[0]).unwrap();
    // The row lets go of it a moment after its end is told.
    for _ in 0..1_000 {
        if emulator.used() + size <= with_it {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(emulator.used() + size <= with_it, "{} of {with_it}, an adapter of {size}", emulator.used());
    adapters(&ours, home.path(), FAMILIES[0], 65..=65);
    emulator.bound(emulator.used() + size / 2, usize::MAX);
    let streams = [start(&ours, ask(text), None), start(&ours, ask(text), Some(known[0]))];
    let [plain, adapted] = streams.map(read);
    assert_eq!(plain.unwrap(), answer(&right, ask(text), None));
    assert_eq!(adapted.unwrap_err().code, Code::EngineBusy);
    emulator.bound(emulator.used(), usize::MAX);
    assert_eq!(read(start(&ours, ask("something else"), None)).unwrap_err().code, Code::EngineBusy);
    emulator.bound(usize::MAX, usize::MAX);
    assert_eq!(asked(Some(known[0])).unwrap(), with);
    drop(ours);
    assert_eq!(emulator.used(), 0, "all memory is given back");
}

#[test]
fn a_device_that_is_not_there_is_told_before_anything_is_read() {
    let mut read = false;
    let settings = Settings { device: Device::Cuda(1_000), ..settings() };
    let path = folder::family("llama.gguf");
    let refused = OpenLora::load(&path, None, settings, &mut |_| read = true).map(drop).unwrap_err();
    assert_eq!(refused.code, Code::EngineNoDevice);
    assert!(refused.what.starts_with("no CUDA device: ") && !read, "{refused}");
}
