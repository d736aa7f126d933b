//! Rows on the tiny model: the batch changes nothing, slow readers pause, dropped ones leave, bounds hold.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod support;

use agora_inference_api::{Ending, Engine, Job, Message, Piece, Request, Role, Sampling};
use agora_openlora::{OpenLora, Settings};
use agora_types::{Address, Code, Hash, Usage};
use futures::executor::block_on;
use support::tiny::{SIDES, Tiny};
use support::{Random, Whole, answer, peft, read, read_metered, start};

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
fn jobs(seed: u64, count: usize, adapters: &[Hash]) -> Vec<(Request, Option<Hash>)> {
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
    (0..count).map(job).collect()
}

#[test]
fn an_answer_is_the_same_alone_in_company_on_any_threads_and_without_vector_instructions() {
    let seed = 11;
    println!("seed {seed}");
    let first = engine(Settings::default());
    let known = adapters(&first, 3);
    let jobs = jobs(seed, 12, &known);
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
fn in_two_hundred_random_mixes_every_answer_is_the_one_given_alone() {
    let seed = 20_261_129;
    println!("seed {seed}");
    let page = 2 * 2 * 16 * 2 * 16 * 2;
    let engines: Vec<OpenLora> = [
        Settings { threads: 2, rows_max: 16, ..Settings::default() },
        Settings { threads: 1, rows_max: 4, prompt_step: 7, cache_size_max: 40 * page, ..Settings::default() },
        Settings { threads: 3, rows_max: 7, prompt_step: 33, portable: true, ..Settings::default() },
    ]
    .into_iter()
    .map(|settings| Tiny::new(1).engine(Settings { queue_max: 64, ..settings }))
    .collect();
    let known = adapters(&engines[0], 5);
    engines[1..].iter().for_each(|engine| assert_eq!(adapters(engine, 5), known));
    let jobs = jobs(seed, 60, &known);
    let alone: Vec<Whole> =
        jobs.iter().map(|(request, adapter)| answer(&engines[0], request.clone(), *adapter)).collect();
    let mut random = Random(seed);
    let mut found = 0;
    for mix in 0..200 {
        let engine = &engines[random.below(engines.len())];
        let chosen: Vec<usize> = (0..=random.below(20)).map(|_| random.below(jobs.len())).collect();
        let start = |at: &usize| {
            let (request, adapter) = jobs[*at].clone();
            let payer = Some(Address::new([random.below(3) as u8; 20]));
            engine.start(Job { adapter, payer, ..Job::new(request, 1 + random.below(30)) }).unwrap()
        };
        let streams: Vec<_> = chosen.iter().map(start).collect();
        let answers = futures::future::join_all(streams.into_iter().map(|mut stream| async move {
            let (mut text, mut last) = (String::new(), None);
            while let Some(piece) = stream.next().await.unwrap() {
                let (Piece::Token { text: more, .. } | Piece::End { text: more, .. }) = &piece;
                text += more;
                last = Some(piece);
            }
            (text, last)
        }));
        for (at, (text, last)) in chosen.iter().zip(block_on(answers)) {
            let Some(Piece::End { ending, usage, .. }) = last else { panic!("an answer ends with its end") };
            found += usage.cached;
            let prompt = usage.input + usage.cached;
            let tokens = usage.output as usize;
            let whole = Whole { text, tokens, ending, prompt, likelihoods: Vec::new() };
            assert_eq!(whole, alone[*at], "mix {mix}, seed {seed}");
        }
    }
    assert!(found > 0, "some prompts were found again");
}

#[test]
fn a_prompt_that_comes_again_is_found_by_its_payer_and_adapter_only() {
    let engine = engine(Settings::default());
    let known = adapters(&engine, 1);
    let request = ask(&"long enough for a few pages ".repeat(4), 20);
    let payer = |number| Some(Address::new([number; 20]));
    let ask = |payer, adapter, request: &Request| {
        read_metered(engine.start(Job { payer, adapter, ..Job::new(request.clone(), 1_000) }).unwrap()).unwrap()
    };
    let count = engine.count(&request).unwrap();
    let whole = |usage: Usage| usage.input + usage.cached;
    let (first, usage) = ask(payer(1), None, &request);
    assert_eq!((usage.input, usage.cached), (count, 0));
    let (again, usage) = ask(payer(1), None, &request);
    assert_eq!((again, whole(usage), usage.cached), (first.clone(), count, (count - 1) / 16 * 16));
    for (payer, adapter) in [(payer(2), None), (None, None), (payer(1), Some(known[0])), (payer(2), Some(known[0]))] {
        let (other, usage) = ask(payer, adapter, &request);
        assert_eq!((usage.input, usage.cached), (count, 0), "{payer:?} {adapter:?}");
        assert_eq!(other == first, adapter.is_none());
    }
    // A conversation that goes on finds its own answer too.
    let mut longer = request.clone();
    longer.messages.push(Message { role: Role::Assistant, text: first.text.clone() });
    longer.messages.push(Message { role: Role::User, text: "and then?".to_owned() });
    let (_, usage) = ask(payer(1), None, &longer);
    assert!(usage.cached >= count / 16 * 16, "{usage:?}");
    assert_eq!(whole(usage), engine.count(&longer).unwrap());
}

#[test]
fn a_small_memory_for_sequences_makes_rows_wait_and_changes_no_answer() {
    let page = 2 * 2 * 16 * 2 * 16 * 2;
    let small = engine(Settings { rows_max: 8, cache_size_max: 17 * page, context_max: 200, ..Settings::default() });
    let large = engine(Settings { rows_max: 8, context_max: 200, ..Settings::default() });
    let requests: Vec<Request> = (0..12).map(|at| ask(&"x".repeat(10 * at + 1), 40)).collect();
    let streams: Vec<_> = requests.iter().map(|request| start(&small, request.clone(), None)).collect();
    for (request, stream) in requests.iter().zip(streams) {
        assert_eq!(read(stream).unwrap(), answer(&large, request.clone(), None));
    }
}

#[test]
fn a_flood_by_one_payer_does_not_starve_another() {
    let engine = engine(Settings { rows_max: 4, queue_max: 64, ..Settings::default() });
    let (flood, guest) = (Some(Address::new([1; 20])), Some(Address::new([2; 20])));
    let job = |payer, tokens| Job { payer, ..Job::new(ask("hello", tokens), 1_000) };
    let flooding: Vec<_> = (0..30).map(|_| engine.start(job(flood, 150)).unwrap()).collect();
    // The flood's first rows have begun, and fill the batch.
    let mut flooding = flooding.into_iter();
    let mut first = flooding.next().unwrap();
    assert!(block_on(first.next()).unwrap().is_some());
    assert_eq!(read(engine.start(job(guest, 20)).unwrap()).unwrap().tokens, 20);
    // Whoever waited behind the whole flood would see it done.
    let last = flooding.next_back().unwrap();
    let done = futures::executor::block_on(async {
        let mut last = last;
        futures::poll!(last.next()).is_ready()
    });
    assert!(!done, "the guest's answer was whole before the flood's last one began");
}

#[test]
fn a_payer_that_floods_the_queue_is_told_when_to_come_back_and_others_still_get_in() {
    let engine = engine(Settings { rows_max: 1, queue_max: 8, ..Settings::default() });
    let (flood, guest) = (Some(Address::new([1; 20])), Some(Address::new([2; 20])));
    let job = |payer, ahead_max| Job { payer, ..Job::new(ask("hello", 200), ahead_max) };
    let mut held = Vec::new();
    let refused = loop {
        match engine.start(job(flood, 1)) {
            Ok(stream) => held.push(stream),
            Err(error) => break error,
        }
        assert!(held.len() < 20, "the queue is bounded");
    };
    assert_eq!(refused.code, Code::EngineBusy);
    assert!(refused.retry_ms.is_some_and(|wait| wait > 0), "{refused:?}");
    assert!(engine.start(job(guest, 1)).is_ok());
}

#[test]
fn a_row_that_waits_past_its_deadline_is_refused() {
    let engine = engine(Settings { rows_max: 1, ..Settings::default() });
    // The only place of this payer is taken by a row that nobody reads.
    let mut first = engine.start(Job::new(ask("hello", 200), 1)).unwrap();
    assert!(block_on(first.next()).unwrap().is_some());
    let late = engine.start(Job::new(Request { wait_max_ms: Some(30), ..ask("late", 5) }, 1)).unwrap();
    assert_eq!(read(late).unwrap_err().code, Code::EngineBusy);
    drop(first);
    assert_eq!(answer(&engine, ask("late", 5), None).tokens, 5);
}

#[test]
fn thoughts_are_counted_apart_not_shown_and_end_in_time() {
    let engine = Tiny::new(1).thinking().engine(Settings { threads: 2, ..Settings::default() });
    let plain = ask("hello", 12);
    let thinking = Request { hidden_max: 8, logprobs: Some(1), ..plain.clone() };
    assert_eq!(engine.count(&thinking).unwrap(), engine.count(&plain).unwrap() + 1, "the template opens a thought");
    let mut stream = engine.start(Job::new(thinking, 100)).unwrap();
    let (mut shown, mut hidden, mut text) = (0, 0, String::new());
    loop {
        match block_on(stream.next()).unwrap().unwrap() {
            Piece::Token { text: more, usage, likelihoods } => {
                let is_hidden = usage.hidden > hidden;
                assert_eq!(usage.output + usage.hidden, shown + hidden + 1, "one token more");
                assert_eq!((is_hidden, likelihoods.is_none()), (hidden < 8, is_hidden), "thoughts come first, unseen");
                assert!(!is_hidden || more.is_empty());
                (shown, hidden) = (usage.output, usage.hidden);
                text += &more;
            }
            Piece::End { text: more, ending, usage } => {
                text += &more;
                assert_eq!((usage.output, usage.hidden, ending), (12, 8, Ending::Length));
                break;
            }
        }
    }
    let without = answer(&engine, plain.clone(), None);
    assert!(!text.is_empty() && text != without.text, "what was thought counts");
    for request in [
        Request { hidden_max: 1, ..plain.clone() },
        // Without room behind the answer there are no thoughts.
        Request { hidden_max: 8, output_max: 100_000, ..plain.clone() },
    ] {
        let (_, usage) = read_metered(engine.start(Job::new(request, 1_000)).unwrap()).unwrap();
        assert_eq!(usage.hidden, 0);
    }
    let schema = Request { hidden_max: 8, schema: Some(r#"{"type":"boolean"}"#.to_owned()), ..plain };
    let (whole, usage) = read_metered(engine.start(Job::new(schema, 1_000)).unwrap()).unwrap();
    assert!(["true", "false"].contains(&whole.text.as_str()) && usage.hidden == 0, "{whole:?}");
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
        let job = Job { adapter: Some(hash), ..Job::new(ask("hello", 1), 1) };
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
    let job = Job { adapter: Some(known[0]), ..Job::new(ask("hello", 30), 1) };
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
    let job = Job::new(ask("hello", 60), 2);
    let slow = engine.start(job).unwrap();
    for _ in 0..3 {
        assert_eq!(answer(&engine, ask("other", 100), None).tokens, 100);
    }
    assert_eq!(read(slow).unwrap(), expected);
}

#[test]
fn dropping_a_stream_frees_its_row() {
    let engine = engine(Settings { rows_max: 1, ..Settings::default() });
    let job = Job::new(ask("hello", 200), 1);
    let mut first = engine.start(job).unwrap();
    assert!(block_on(first.next()).unwrap().is_some());
    let second = start(&engine, ask("second", 3), None);
    // The first fills the only row and is not read: the second can end only if the drop is noticed.
    drop(first);
    assert_eq!(read(second).unwrap().tokens, 3);
}

#[test]
fn a_full_queue_is_busy_and_a_dropped_waiter_makes_room() {
    let engine = engine(Settings { rows_max: 1, queue_max: 4, ..Settings::default() });
    let job = || Job::new(ask("hello", 200), 1);
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
    let job = || Job::new(ask("hello", 200), 1);
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
    assert_eq!((whole.ending, whole.prompt, whole.tokens as u64), (Ending::Length, input, 100 - input));
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
                let job = Job::new(ask(text, 20), 1);
                assert_eq!(read(engine.start(job).unwrap()).unwrap(), *right);
            });
        }
    });
}
