//! Ten times more questions than the engine can answer: those that are let in are answered as quickly at the end as at
//! the beginning, the others are told when to come back, every token is counted, and nothing piles up.
//!
//! In continuous integration this takes seconds; for a minute: `AGORA_OVERLOAD_S=60 cargo test --release --package
//! agora-openlora --test overload -- --nocapture`.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod support;

use std::sync::Mutex;
use std::time::{Duration, Instant};

use agora_inference_api::{Engine as _, EngineError, Job, Piece, Request, TokenStream};
use agora_openlora::{OpenLora, Settings};
use agora_types::{Address, Code};
use futures::StreamExt as _;
use futures::channel::mpsc;
use futures::executor::LocalPool;
use futures::task::LocalSpawnExt as _;
use support::Random;
use support::tiny::Tiny;

const ROWS: usize = 8;
const FACTOR: f64 = 10.0;
/// Of ten questions, the flood asks eight.
const GUESTS: u8 = 4;

/// One answer that was let in.
struct Seen {
    payer: u8,
    begun: Instant,
    first: Duration,
    whole: Duration,
    tokens: u64,
    billed: u64,
}

fn start(engine: &OpenLora, payer: u8, random: &mut Random) -> Result<Box<dyn TokenStream>, EngineError> {
    let text: String = (0..10 + random.below(60)).map(|_| char::from(b'a' + random.below(26) as u8)).collect();
    let request = Request::ask(text, 8 + random.below(24) as u64);
    engine.start(Job { payer: Some(Address::new([payer; 20])), ..Job::new(request, 64) })
}

async fn read(payer: u8, begun: Instant, mut stream: Box<dyn TokenStream>) -> Result<Seen, EngineError> {
    let (mut first, mut tokens) = (None, 0);
    loop {
        match stream.next().await?.expect("an answer ends with its end") {
            Piece::Token { .. } => {
                first.get_or_insert_with(|| begun.elapsed());
                tokens += 1;
            }
            Piece::End { usage, .. } => {
                let whole = begun.elapsed();
                return Ok(Seen { payer, begun, first: first.unwrap_or(whole), whole, tokens, billed: usage.output });
            }
        }
    }
}

/// Answers a second when as many ask as there are rows.
fn capacity(engine: &OpenLora, seconds: f64) -> f64 {
    let begun = Instant::now();
    let count = Mutex::new(0_u32);
    std::thread::scope(|scope| {
        for worker in 0..ROWS as u64 {
            let count = &count;
            scope.spawn(move || {
                let mut random = Random(worker);
                while begun.elapsed().as_secs_f64() < seconds {
                    let stream = start(engine, 100 + worker as u8, &mut random).unwrap();
                    futures::executor::block_on(read(0, Instant::now(), stream)).unwrap();
                    *count.lock().unwrap() += 1;
                }
            });
        }
    });
    f64::from(*count.lock().unwrap()) / begun.elapsed().as_secs_f64()
}

/// Bytes in memory, where the system says so.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * 4_096)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
fn ten_times_too_many_questions_make_no_admitted_answer_slower_and_lose_nothing() {
    let seconds: f64 = std::env::var("AGORA_OVERLOAD_S").ok().and_then(|text| text.parse().ok()).unwrap_or(4.0);
    let settings = Settings {
        threads: 2,
        rows_max: ROWS,
        queue_max: 32,
        wait_max: Duration::from_millis(300),
        cache_size_max: 64 << 20,
        ..Settings::default()
    };
    let engine = Tiny::new(1).engine(settings);
    let rate = capacity(&engine, seconds / 4.0);
    let (to_readers, mut streams) = mpsc::unbounded::<(u8, Instant, Box<dyn TokenStream>)>();
    let reading = std::thread::spawn(move || {
        let mut pool = LocalPool::new();
        let spawner = pool.spawner();
        pool.run_until(async move {
            let mut answers = Vec::new();
            while let Some((payer, begun, stream)) = streams.next().await {
                answers.push(spawner.spawn_local_with_handle(read(payer, begun, stream)).unwrap());
            }
            futures::future::join_all(answers).await
        })
    });
    let mut random = Random(7);
    let (mut asked, mut let_in, mut refused) = ([0_u32; 2], [0_u32; 2], 0_u32);
    let begun = Instant::now();
    let mut memory = Vec::new();
    while begun.elapsed().as_secs_f64() < seconds {
        // As many as should have been asked by now.
        let due = (begun.elapsed().as_secs_f64() * rate * FACTOR) as u32;
        if asked.iter().sum::<u32>() >= due {
            std::thread::sleep(Duration::from_micros(200));
            continue;
        }
        let payer = if random.below(10) < 8 { 0 } else { 1 + random.below(GUESTS.into()) as u8 };
        let guest = usize::from(payer > 0);
        asked[guest] += 1;
        match start(&engine, payer, &mut random) {
            Ok(stream) => {
                let_in[guest] += 1;
                to_readers.unbounded_send((payer, Instant::now(), stream)).unwrap();
            }
            Err(error) => {
                refused += 1;
                assert_eq!(error.code, Code::EngineBusy);
                assert!(error.retry_ms.is_some_and(|wait| wait > 0), "{error:?}");
            }
        }
        if asked[0] % 256 == 0 {
            memory.extend(resident());
        }
    }
    drop(to_readers);
    let answers = reading.join().unwrap();
    memory.extend(resident());
    let seen: Vec<Seen> = answers.into_iter().map(|answer| answer.expect("who is let in is answered")).collect();
    let elapsed = begun.elapsed().as_secs_f64();
    assert_eq!(seen.len(), let_in.iter().sum::<u32>() as usize, "every admitted answer came to its end");
    for answer in &seen {
        assert_eq!(answer.tokens, answer.billed, "what is billed is what was delivered");
    }
    let third = |number: f64| {
        let part = |answer: &&Seen| ((answer.begun - begun).as_secs_f64() / seconds * 3.0).floor() == number;
        let answers: Vec<&Seen> = seen.iter().filter(part).collect();
        let firsts = answers.iter().map(|answer| answer.first).collect();
        (median(firsts), median(answers.iter().map(|answer| answer.whole).collect()))
    };
    let (begin, end) = (third(0.0), third(2.0));
    let share = |at: usize| f64::from(let_in[at]) / f64::from(asked[at].max(1));
    let per_s = seen.len() as f64 / elapsed;
    println!(
        "{rate:.0} answers/s possible; asked {asked:?}, let in {let_in:?}, refused {refused}; {per_s:.0}/s answered"
    );
    println!("first token and whole answer, medians: {begin:?} in the first third, {end:?} in the last");
    println!("guests let in {:.2}, the flood {:.2}", share(1), share(0));
    assert!(refused > 0, "ten times too many are not all let in");
    assert!(end.1 < 3 * begin.1, "no cliff: {begin:?}, then {end:?}");
    assert!(per_s > rate / 3.0, "refusing does not stop the work: {per_s} of {rate}");
    assert!(share(1) > share(0), "the flood does not keep the guests out");
    assert!(seen.iter().any(|answer| answer.payer > 0));
    if let [_, .., last] = memory.as_slice() {
        let middle = memory[memory.len() / 2];
        assert!(*last < middle + (64 << 20), "nothing piles up: {middle} bytes, then {last}");
    }
}
