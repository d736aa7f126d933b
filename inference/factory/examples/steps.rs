//! Seconds of a training step of a real model, as JSON: what `bench/peer.py` prints for torch and peft.
//!
//! Run: cargo run --release --package agora-factory --example steps -- MODEL [THREADS] [--exact]
//! Four sequences of 128 tokens, LoRA of rank 8 on queries and values; the loss is that of the last 128 or 64 of each.

use std::error::Error;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use agora_factory::{Example, Schedule, Settings, Target, Training, train};
use agora_gradient::Machine;
use agora_openlora::weights::Weights;
use agora_types::Hash;

const STEPS: u32 = 9;
const SEQUENCES: u32 = 4;
const TOKENS: u32 = 128;

fn main() -> Result<(), Box<dyn Error>> {
    let (exact, arguments): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|argument| argument == "--exact");
    let mut arguments = arguments.into_iter();
    let path = PathBuf::from(arguments.next().ok_or("which model?")?);
    let threads = arguments.next().map_or(Ok(2), |text| text.parse())?;
    let weights = Weights::load(&path, None, 2_048, &mut |_| {})?;
    let bounds = agora_gradient::Settings { threads, fast: exact.is_empty(), ..agora_gradient::Settings::default() };
    let mut machine = Machine::new(weights, &bounds)?;
    let settings = Settings {
        alpha: 32.0,
        schedule: Schedule::Constant,
        warmup_share: 0.0,
        targets: vec![Target::Query, Target::Value],
        epochs: STEPS,
        batch_tokens: SEQUENCES * (TOKENS + 1),
        held_out_share: 0.0,
        ..Settings::default()
    };
    let rounding = machine.rounding().unwrap_or("none");
    for judged in [TOKENS, TOKENS / 2] {
        let token = |at: u32| at * 7_919 % 40_000;
        let example = |at: u32| {
            let tokens: Vec<u32> = (0..=TOKENS).map(|place| token(at * 1_000 + place)).collect();
            let (prompt, response) = tokens.split_at(tokens.len() - judged as usize);
            Example { id: Hash::sha256(at.to_be_bytes()), prompt: prompt.to_vec(), response: response.to_vec() }
        };
        let examples: Vec<Example> = (0..SEQUENCES).map(example).collect();
        let training = Training { settings: &settings, examples: &examples, checkpoint: None };
        let (mut begun, mut seconds) = (Instant::now(), Vec::new());
        let trained = train(&mut machine, &training, &AtomicBool::new(false), &mut |_| {
            seconds.push(begun.elapsed().as_secs_f64());
            begun = Instant::now();
        })?;
        seconds.sort_by(f64::total_cmp);
        let median = seconds[seconds.len() / 2];
        let (first, last) = (trained.losses[0], trained.losses[trained.losses.len() - 1]);
        println!(
            r#"{{"who":"agora","rounding":"{rounding}","threads":{threads},"sequences":{SEQUENCES},"tokens":{TOKENS},"judged":{judged},"step_s":{median:.3},"least_s":{:.3},"first_loss":{first:.3},"last_loss":{last:.3}}}"#,
            seconds[0]
        );
    }
    Ok(())
}
