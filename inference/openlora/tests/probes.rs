//! Whatever a stranger sends, no reader of it panics: the fuzz targets in small form, on `fuzz/corpus`, changed at random.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use agora_openlora::probe::PROBES;
use support::Random;

/// Longest time for one input, on a busy machine without optimised dependencies.
const SLOWEST: Duration = Duration::from_secs(10);

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut found: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn every_input_of_the_corpus_is_read() {
    for (name, probe) in PROBES {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            assert!(probe(&input), "{name}: {} is not read", String::from_utf8_lossy(&input));
        }
    }
}

#[test]
fn every_probe_has_its_fuzz_target() {
    let manifest = std::fs::read_to_string("fuzz/Cargo.toml").unwrap();
    for (name, _) in PROBES {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name} is not in fuzz/Cargo.toml");
        assert!(manifest.contains(&format!("\n{name} = ")), "{name} has no longest input in fuzz/Cargo.toml");
        let target = std::fs::read_to_string(format!("fuzz/fuzz_targets/{name}.rs")).unwrap();
        assert!(target.contains(&format!("agora_openlora::probe::{name}(bytes)")), "{name}: the target calls another");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), PROBES.len());
}

/// Bits, numbers and ends of a binary file, most of them in its header.
fn mutate_binary(random: &mut Random, inputs: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(3) {
        let part = if random.below(4) > 0 { bytes.len().min(1_024) } else { bytes.len() };
        let at = random.below(part.max(1));
        match random.below(4) {
            0 => bytes.truncate(bytes.len() - at),
            1 => {
                let numbers = [0, 1, 31, 32, 33, 255, 1 << 20, 1 << 31, u64::from(u32::MAX), 1 << 62, u64::MAX];
                let number = numbers[random.below(numbers.len())].to_le_bytes();
                let size = [4, 8][random.below(2)];
                bytes.iter_mut().skip(at).zip(&number[..size]).for_each(|(byte, digit)| *byte = *digit);
            }
            _ => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << random.below(8)),
        }
    }
    bytes
}

/// Cuts, doubles and mixes pieces of inputs, most of them between the signs of JSON.
fn mutate(random: &mut Random, inputs: &[Vec<u8>]) -> Vec<u8> {
    let is_text = inputs.iter().all(|input| std::str::from_utf8(input).is_ok());
    if !is_text {
        return mutate_binary(random, inputs);
    }
    let mut bytes = inputs[random.below(inputs.len())].clone();
    for _ in 0..=random.below(3) {
        let other = &inputs[random.below(inputs.len())];
        let cut = |random: &mut Random, bytes: &[u8]| {
            let signs: Vec<usize> = (0..bytes.len()).filter(|at| b"{}[],:".contains(&bytes[*at])).collect();
            if signs.is_empty() || random.below(8) == 0 {
                random.below(bytes.len() + 1)
            } else {
                signs[random.below(signs.len())]
            }
        };
        let (from, to) = (cut(random, other), cut(random, other));
        let place = cut(random, &bytes);
        match random.below(4) {
            0 => drop(bytes.splice(place..place, other[from.min(to)..from.max(to)].to_vec())),
            1 => {
                let end = cut(random, &bytes);
                drop(bytes.drain(place.min(end)..place.max(end)));
            }
            2 if place < bytes.len() => bytes[place] = random.next() as u8,
            _ => {
                let number = [0, 1, 9, 99, 4_096, 4_097, u64::MAX][random.below(7)].to_string();
                if let Some(at) = bytes.iter().position(u8::is_ascii_digit) {
                    bytes.splice(at..=at, number.into_bytes());
                }
            }
        }
    }
    bytes
}

#[test]
fn no_mutation_of_the_corpus_makes_a_reader_panic() {
    let environment = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = environment("AGORA_SEED").unwrap_or_else(|| std::process::id().into());
    let rounds = environment("AGORA_ROUNDS").unwrap_or(400);
    println!("AGORA_SEED={seed}");
    let mut random = Random(seed);
    for (name, probe) in PROBES {
        let inputs = corpus(name);
        let mut read = 0;
        for _ in 0..rounds {
            let bytes = mutate(&mut random, &inputs);
            let begun = Instant::now();
            read += u64::from(probe(&bytes));
            let took = begun.elapsed();
            assert!(took < SLOWEST, "{name}: {took:.1?} for {}", String::from_utf8_lossy(&bytes));
        }
        println!("{name}: {read} of {rounds} read");
    }
}
