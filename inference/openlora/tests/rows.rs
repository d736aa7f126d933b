//! Rows on the tiny model: the batch changes nothing, slow readers pause, dropped ones leave, bounds hold.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod support;

use agora_inference_api::{Ending, Engine, Job, Piece, Request, Sampling};
use agora_openlora::{OpenLora, Settings};
use agora_types::{Code, Hash};
use futures::executor::block_on;
use support::tiny::{SIDES, Tiny};
use support::{Random, Whole, answer, peft, read, start};

fn engine(settings: Settings) -> OpenLora {
    Tiny::new(1).engine(Settings { threads: 2, ..settings })
}

fn ask(text: &str, output_max: u64) -> Request {
    Request::ask(text, output_max)
}

/// Loads random adapters; their hashes.
fn adapters(engine: &OpenLora, count: u64) -> Vec<Hash> {
    let home = tempfile::tempdir().unwrap();
    let load = |seed: u64| {
        let modules = if seed.is_multiple_of(2) { &peft::ALL[..] } else { &["q_proj", "v_proj"] };
        let tensors = peft::tensors(SIDES, modules, 2 + seed as usize, 0.5, seed);
        let folder = home.path().join(seed.to_string());
        peft::write(&folder, &peft::config(modules, 2 + seed as usize, 8.0), &peft::safetensors(&tensors));
        engine.load_adapter(&format!("adapter-{seed}"), &folder).unwrap().hash
    };
    (0..count).map(load).collect()
}

/// A mix of prompts, lengths, sampling and adapters from a seed.
fn jobs(seed: u64, adapters: &[Hash]) -> Vec<(Request, Option<Hash>)> {
    let mut random = Random(seed);
    let job = |_| {
        let text: String = (0..=random.below(90)).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
        let mut request = ask(&text, 1 + random.below(24) as u64);
        if random.below(2) == 1 {
            request.sampling = Sampling {
                temperature_milli: 900,
                top_k: 20,
                top_p_milli: 950,
                seed: random.next(),
                ..Sampling::default()
            };
        }
        (request, adapters.get(random.below(adapters.len() + 1)).copied())
    };
    (0..12).map(job).collect()
}

#[test]
fn an_answer_is_the_same_alone_in_company_on_any_threads_and_without_vector_instructions() {
    let seed = 11;
    println!("seed {seed}");
    let first = engine(Settings::default());
    let known = adapters(&first, 3);
    let jobs = jobs(seed, &known);
    let alone: Vec<Whole> = jobs.iter().map(|(request, adapter)| answer(&first, request.clone(), *adapter)).collect();
    for settings in [
        Settings { threads: 2, rows_max: 12, ..Settings::default() },
        Settings { threads: 1, rows_max: 5, prompt_step: 7, ..Settings::default() },
        Settings { threads: 4, rows_max: 3, prompt_step: 1, portable: true, ..Settings::default() },
    ] {
        let engine = Tiny::new(1).engine(settings.clone());
        assert_eq!(adapters(&engine, 3), known, "an adapter's hash is that of its files");
        let streams: Vec<_> = jobs.iter().map(|(request, adapter)| start(&engine, request.clone(), *adapter)).collect();
        let together: Vec<Whole> = streams.into_iter().map(|stream| read(stream).unwrap()).collect();
        assert_eq!(together, alone, "seed {seed}, {settings:?}");
    }
    let logits = |engine: &OpenLora| engine.logits(&engine.encode("hello, bits"), Some(&known[0])).unwrap();
    let portable = Tiny::new(1).engine(Settings { portable: true, ..Settings::default() });
    adapters(&portable, 3);
    assert_eq!(logits(&portable), logits(&first), "every bit of every logit");
}

#[test]
fn an_adapter_changes_the_answer_and_only_its_own() {
    let engine = engine(Settings::default());
    let known = adapters(&engine, 2);
    let request = ask("hello", 40);
    let base = answer(&engine, request.clone(), None);
    let one = answer(&engine, request.clone(), Some(known[0]));
    let two = answer(&engine, request.clone(), Some(known[1]));
    assert!(base.text != one.text && base.text != two.text && one.text != two.text);
    assert_eq!(answer(&engine, request, None), base);
    assert_eq!(engine.adapters().len(), 2);
}

#[test]
fn a_seed_repeats_its_answer_and_another_gives_another() {
    let engine = engine(Settings::default());
    let drawn = |seed| {
        let sampling = Sampling { temperature_milli: 1_000, top_k: 0, top_p_milli: 1_000, seed, ..Sampling::default() };
        answer(&engine, Request { sampling, ..ask("hello", 30) }, None).text
    };
    assert_eq!(drawn(5), drawn(5));
    assert_ne!(drawn(5), drawn(6));
}

#[test]
fn an_unknown_adapter_is_an_error() {
    let engine = engine(Settings::default());
    let known = adapters(&engine, 1);
    let unknown = |hash| {
        let job = Job { request: ask("hello", 1), adapter: Some(hash), ahead_max: 1 };
        engine.start(job).err().map(|error| error.code)
    };
    assert_eq!(unknown(Hash::sha256("other")), Some(Code::EngineUnknownAdapter));
    assert_eq!(unknown(known[0]), None);
    engine.unload_adapter(&known[0]).unwrap();
    assert_eq!(unknown(known[0]), Some(Code::EngineUnknownAdapter));
    assert_eq!(engine.unload_adapter(&known[0]).unwrap_err().code, Code::EngineUnknownAdapter);
    assert_eq!(engine.logits(&[1], Some(&known[0])).unwrap_err().code, Code::EngineUnknownAdapter);
}

#[test]
fn unloading_an_adapter_does_not_disturb_an_answer_that_uses_it() {
    let engine = engine(Settings::default());
    let known = adapters(&engine, 1);
    let whole = answer(&engine, ask("hello", 30), Some(known[0]));
    let job = Job { request: ask("hello", 30), adapter: Some(known[0]), ahead_max: 1 };
    let mut stream = engine.start(job).unwrap();
    let Some(Piece::Token { text, .. }) = block_on(stream.next()).unwrap() else { panic!("a token comes first") };
    engine.unload_adapter(&known[0]).unwrap();
    let mut all = text;
    while let Some(Piece::Token { text, .. } | Piece::End { text, .. }) = block_on(stream.next()).unwrap() {
        all += &text;
    }
    assert_eq!(all, whole.text);
}

#[test]
fn a_slow_reader_pauses_its_own_row_only_and_loses_nothing() {
    let engine = engine(Settings { rows_max: 2, ..Settings::default() });
    let expected = answer(&engine, ask("hello", 60), None);
    let job = Job { request: ask("hello", 60), adapter: None, ahead_max: 2 };
    let slow = engine.start(job).unwrap();
    for _ in 0..3 {
        assert_eq!(answer(&engine, ask("other", 100), None).tokens, 100);
    }
    assert_eq!(read(slow).unwrap(), expected);
}

#[test]
fn dropping_a_stream_frees_its_row() {
    let engine = engine(Settings { rows_max: 1, ..Settings::default() });
    let job = Job { request: ask("hello", 200), adapter: None, ahead_max: 1 };
    let mut first = engine.start(job).unwrap();
    assert!(block_on(first.next()).unwrap().is_some());
    let second = start(&engine, ask("second", 3), None);
    // The first fills the only row and is not read: the second can end only if the drop is noticed.
    drop(first);
    assert_eq!(read(second).unwrap().tokens, 3);
}

#[test]
fn a_full_queue_is_busy_and_a_dropped_waiter_makes_room() {
    let engine = engine(Settings { rows_max: 1, queue_max: 2, ..Settings::default() });
    let job = || Job { request: ask("hello", 200), adapter: None, ahead_max: 1 };
    let mut first = engine.start(job()).unwrap();
    assert!(block_on(first.next()).unwrap().is_some(), "the first has its row");
    let waiters = [engine.start(job()).unwrap(), engine.start(job()).unwrap()];
    assert_eq!(engine.start(job()).err().map(|error| error.code), Some(Code::EngineBusy));
    drop(waiters);
    // The drop is noticed by the next look of the engine's thread, which it wakes.
    let mut tries = 0_u64;
    while engine.start(job()).is_err() {
        tries += 1;
        assert!(tries < 100_000_000, "dropped waiters leave the queue");
        std::thread::yield_now();
    }
}

#[test]
fn dropping_the_engine_ends_every_answer() {
    let engine = engine(Settings { rows_max: 1, ..Settings::default() });
    let job = || Job { request: ask("hello", 200), adapter: None, ahead_max: 1 };
    let mut running = engine.start(job()).unwrap();
    assert!(block_on(running.next()).unwrap().is_some());
    let mut waiting = engine.start(job()).unwrap();
    drop(engine);
    assert_eq!(block_on(waiting.next()).unwrap_err().code, Code::EngineStopped);
    let end = loop {
        match block_on(running.next()) {
            Ok(Some(Piece::Token { .. })) => {}
            other => break other,
        }
    };
    assert_eq!(end.unwrap_err().code, Code::EngineStopped);
    assert_eq!(block_on(running.next()), Ok(None));
}

#[test]
fn a_row_that_is_not_finite_fails_alone() {
    let engine = engine(Settings::default());
    let home = tempfile::tempdir().unwrap();
    let tensors = peft::tensors(SIDES, &["down_proj"], 2, 3e38, 3);
    peft::write(home.path(), &peft::config(&["down_proj"], 2, 2_000.0), &peft::safetensors(&tensors));
    let wild = engine.load_adapter("wild", home.path()).unwrap().hash;
    let good = start(&engine, ask("hello", 50), None);
    let bad = start(&engine, ask("hello", 50), Some(wild));
    assert_eq!(read(bad).unwrap_err().code, Code::EngineNotFinite);
    assert_eq!(read(good).unwrap().tokens, 50);
    assert_eq!(engine.logits(&[1, 2], Some(&wild)).unwrap_err().code, Code::EngineNotFinite);
}

#[test]
fn the_context_bounds_prompt_and_answer() {
    let engine = engine(Settings { context_max: 100, ..Settings::default() });
    assert_eq!(engine.base().context_max, 100);
    let long = ask(&"x".repeat(100), 1);
    assert_eq!(engine.count(&long).unwrap_err().code, Code::EngineContext);
    let request = ask("hello", 1_000);
    let input = engine.count(&request).unwrap();
    let whole = answer(&engine, request, None);
    assert_eq!((whole.ending, whole.usage.input, whole.usage.output), (Ending::Length, input, 100 - input));
    let bad = Request { messages: Vec::new(), ..ask("hello", 1) };
    assert_eq!(engine.count(&bad).unwrap_err().code, Code::EngineBadRequest);
}

#[test]
fn a_stop_string_ends_the_answer_before_itself() {
    let engine = engine(Settings::default());
    let whole = answer(&engine, ask("hello", 60), None).text;
    let signs: Vec<char> = whole.chars().filter(|sign| *sign != char::REPLACEMENT_CHARACTER).collect();
    let stop = signs[signs.len() / 2].to_string();
    let stopped = answer(&engine, Request { stops: vec![stop.clone()], ..ask("hello", 60) }, None);
    assert_eq!(stopped.ending, Ending::StopString);
    assert_eq!(Some(stopped.text.as_str()), whole.split(&stop).next());
}

#[test]
fn many_readers_on_many_threads_get_their_own_answers() {
    let engine = engine(Settings { rows_max: 4, ..Settings::default() });
    let texts: Vec<String> = (0..16).map(|at| format!("question {at}")).collect();
    let right: Vec<_> = texts.iter().map(|text| answer(&engine, ask(text, 20), None)).collect();
    let engine = &engine;
    std::thread::scope(|scope| {
        for (text, right) in texts.iter().zip(&right) {
            scope.spawn(move || {
                let job = Job { request: ask(text, 20), adapter: None, ahead_max: 1 };
                assert_eq!(read(engine.start(job).unwrap()).unwrap(), *right);
            });
        }
    });
}
