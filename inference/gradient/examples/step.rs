//! Seconds of one gradient of a real model, beside what its products would take at the machine's peak.
//!
//! Run: cargo run --release --package agora-gradient --example step -- MODEL [THREADS] [--json]

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use agora_gradient::{Layout, Machine, Sequence, Settings};
use agora_openlora::weights::{Role, Weights};

const ROUNDS: usize = 7;
/// Sequences, and tokens of each that are rows of the batch.
const BATCHES: [(usize, usize); 2] = [(4, 128), (1, 512)];

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let path = PathBuf::from(arguments.first().ok_or("which model?")?);
    let threads = arguments.get(1).and_then(|argument| argument.parse().ok()).unwrap_or(2);
    let weights = Weights::load(&path, None, 2_048, &mut |_| {})?;
    let shape = weights.shape().clone();
    let layout = Layout::new(&shape, 8, 4.0, &[Role::Query, Role::Value], 0..shape.layers)?;
    let numbers: Vec<f32> = (0..layout.size()).map(|at| (at * 37 % 101) as f32 / 5e3 - 0.01).collect();
    let mut gradient = vec![0.0; layout.size()];
    let mut machine = Machine::new(weights, &Settings { threads, ..Settings::default() })?;
    for (count, length) in BATCHES {
        let tokens: Vec<u32> = (0..=length).map(|at| u32::try_from(at * 7_919 % 40_000)).collect::<Result<_, _>>()?;
        for first in [1, length / 2] {
            let sequences: Vec<Sequence<'_>> =
                (0..count).map(|_| Sequence { tokens: &tokens, first, weight: 1e-3, passed: &[] }).collect();
            let mut seconds = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                let begun = Instant::now();
                machine.losses(Some((&layout, &numbers)), &sequences)?;
                seconds[0].push(begun.elapsed().as_secs_f64());
                let begun = Instant::now();
                machine.gradient((&layout, &numbers), &sequences, &mut gradient)?;
                seconds[1].push(begun.elapsed().as_secs_f64());
            }
            let [forward, both] = seconds.map(|mut seconds| {
                seconds.sort_by(f64::total_cmp);
                seconds[seconds.len() / 2]
            });
            let matrices: usize = Role::ALL.iter().map(|role| role.sides(&shape)).map(|(a, b)| a * b).sum();
            let judged = count * (length + 1 - first);
            let giga =
                4e-9 * (count * length * matrices * shape.layers + judged * shape.width * shape.vocabulary) as f64;
            match json {
                true => println!(
                    r#"{{"sequences":{count},"length":{length},"judged":{judged},"forward_s":{forward:.3},"both_s":{both:.3}}}"#
                ),
                false => println!(
                    "{count} x {length}, {judged} judged: forward {forward:.3} s, forward and back {both:.3} s, {:.1} GFLOP/s \
                     of products with the base model",
                    giga / both
                ),
            }
        }
    }
    Ok(())
}
