//! Whatever a stranger sends, no reader of the port panics: the fuzz targets in small form.
//!
//! Inputs are `fuzz/corpus`, changed at random. `AGORA_SEED` repeats a run, `AGORA_ROUNDS` makes it longer.

use std::path::Path;

use agora_gateway::probe::PROBES;
use agora_x402::probe::mutate::{Dice, mutate};

fn from_environment(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

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
        assert!(target.contains(&format!("agora_gateway::probe::{name}(bytes)")), "{name}: the target calls another");
    }
    assert_eq!(manifest.matches("[[bin]]").count(), PROBES.len());
}

#[test]
fn no_mutation_of_the_corpus_makes_a_reader_panic() {
    let seed = from_environment("AGORA_SEED", std::process::id().into());
    let rounds = from_environment("AGORA_ROUNDS", 2_000);
    println!("AGORA_SEED={seed}");
    let mut dice = Dice::new(seed);
    for (name, probe) in PROBES {
        let inputs = corpus(name);
        let mut read = 0;
        for _ in 0..rounds {
            let mut bytes = inputs[dice.roll(inputs.len())].clone();
            mutate(&mut bytes, &mut dice);
            read += u64::from(probe(&bytes));
        }
        println!("{name}: {read} of {rounds} read");
    }
}
