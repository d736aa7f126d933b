//! Streams one answer: `cargo run --release -p agora-openlora --example chat -- MODEL "a question" [streams]`.

use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use agora_inference_api::{Engine as _, Job, Piece, Request, TokenStream};
use agora_openlora::{OpenLora, Settings};
use futures::executor::block_on;

/// Reads an answer to its end: its text, its tokens, and when the first came.
fn read(mut stream: Box<dyn TokenStream>, show: bool) -> (u64, Option<Instant>) {
    let (mut tokens, mut first) = (0, None);
    while let Some(piece) = block_on(stream.next()).unwrap_or_else(|error| panic!("{error}")) {
        let (text, usage) = match piece {
            Piece::Token { text, usage, .. } | Piece::End { text, usage, .. } => (text, usage),
        };
        tokens = usage.output;
        first = first.or_else(|| Some(Instant::now()));
        if show {
            print!("{text}");
            let _ = std::io::stdout().flush();
        }
    }
    (tokens, first)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| panic!("usage: chat MODEL [QUESTION] [STREAMS]"));
    let question = arguments.next().unwrap_or_else(|| "Why is the sky blue?".to_owned());
    let streams: usize = arguments.next().map_or(1, |count| count.parse().unwrap_or(1));
    let begun = Instant::now();
    let engine = OpenLora::load(Path::new(&model), None, Settings::default(), &mut |_| {});
    let engine = engine.unwrap_or_else(|error| panic!("{error}"));
    let loaded = begun.elapsed();
    let request = Request::ask(question, 128);
    let input = engine.count(&request).unwrap_or_else(|error| panic!("{error}"));
    let begun = Instant::now();
    let start = || engine.start(Job::new(request.clone(), 16));
    let started: Vec<_> = (0..streams).map(|_| start().unwrap_or_else(|error| panic!("{error}"))).collect();
    let readers = started.into_iter().enumerate();
    let readers: Vec<_> = readers.map(|(at, stream)| std::thread::spawn(move || read(stream, at == 0))).collect();
    let answers: Vec<_> = readers.into_iter().filter_map(|reader| reader.join().ok()).collect();
    let first = answers.iter().filter_map(|(_, first)| *first).min().unwrap_or(begun);
    let output: u64 = answers.iter().map(|(tokens, _)| tokens).sum();
    let prompt = first.duration_since(begun);
    println!();
    eprintln!("loaded in {loaded:.2?}");
    eprintln!("{input} prompt tokens, first token after {prompt:.2?}");
    eprintln!("{output} tokens in {streams} streams, {:.1} per second", output as f64 / first.elapsed().as_secs_f64());
}
