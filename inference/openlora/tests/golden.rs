//! Answers of the real model: the greedy ones are those of an independent library in f32 (`tests/data/reference.py`).

mod support;

use agora_inference_api::{Ending, Engine as _, Request, Sampling};
use agora_openlora::Settings;
use serde::Deserialize;
use support::{answer, engine, peft, read, start};

#[derive(Deserialize)]
struct Data {
    answers: Vec<Answer>,
}

#[derive(Deserialize)]
struct Answer {
    question: String,
    output_max: u64,
    text: String,
}

#[test]
fn greedy_answers_are_golden_on_one_thread_and_on_two() {
    let single = support::load(Settings { threads: 1, context_max: 256, ..Settings::default() });
    let data: Data = serde_json::from_str(include_str!("data/reference.json")).unwrap();
    for Answer { question, output_max, text } in data.answers {
        let whole = answer(engine(), Request::ask(&question, output_max), None);
        assert_eq!(whole.text, text, "{question}");
        assert_eq!(answer(&single, Request::ask(&question, output_max), None), whole, "{question}");
    }
}

#[test]
fn answers_with_and_without_adapters_are_the_same_in_company() {
    let home = tempfile::tempdir().unwrap();
    let engine = engine();
    let load = |seed: u64| {
        let modules = ["q_proj", "v_proj"];
        let tensors = peft::tensors(peft::SMOL, &modules, 8, 0.2, seed);
        let folder = home.path().join(seed.to_string());
        peft::write(&folder, &peft::config(&modules, 8, 16.0), &peft::safetensors(&tensors));
        engine.load_adapter("random", &folder).unwrap().hash
    };
    let (one, two) = (load(1), load(2));
    let drawn = Sampling { temperature_milli: 800, top_k: 50, top_p_milli: 900, seed: 3, ..Sampling::default() };
    let jobs = [
        (Request::ask("Hello!", 10), None),
        (Request::ask("Hello!", 10), Some(one)),
        (Request { sampling: drawn, ..Request::ask("Tell me about the sea, please, and about ships.", 12) }, Some(two)),
        (Request { sampling: drawn, ..Request::ask("Hello!", 8) }, None),
    ];
    let alone: Vec<_> = jobs.iter().map(|(request, adapter)| answer(engine, request.clone(), *adapter)).collect();
    assert_ne!(alone[0].text, alone[1].text, "an adapter changes the answer");
    let streams: Vec<_> = jobs.iter().map(|(request, adapter)| start(engine, request.clone(), *adapter)).collect();
    let together: Vec<_> = streams.into_iter().map(|stream| read(stream).unwrap()).collect();
    assert_eq!(together, alone);
}

#[test]
fn the_model_ends_its_own_answer() {
    let whole = answer(engine(), Request::ask("Say only the word yes.", 64), None);
    assert_eq!(whole.ending, Ending::Stop, "{}", whole.text);
    assert_eq!(whole.prompt, engine().count(&Request::ask("Say only the word yes.", 64)).unwrap());
    assert!(!whole.text.contains("<|"), "special tokens are not shown");
}
