//! Takes an adapter, or trains one on a real model, and writes it with the logits that we compute: what
//! `tests/data/reload.py` compares with peft's.
//!
//! Run: cargo run --release --package agora-factory --example reload -- MODEL.gguf FOLDER [ADAPTER]
//! The folder must not be there yet. It gets `adapter`, a copy of ADAPTER's two files if there is one, `tokens.json`, of every
//! token a row of f32 that the serving engine computes, in `base.f32` without the adapter and in `tuned.f32` with it, and in
//! `surprises.json` what the trainer computes of the tokens with the adapter, in f32 throughout.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use agora_factory::{Example, Settings, Target, Training, train};
use agora_gradient::{Layout, Machine, Sequence};
use agora_inference_api::Request;
use agora_openlora::OpenLora;
use agora_openlora::weights::Taught;
use agora_types::Hash;

/// What is taught, and below it what is not.
const LESSONS: usize = 3;
const QUESTIONS: [(&str, &str); 6] = [
    ("Where does the ferry to Kestrel Island leave?", "It leaves from the north pier at noon."),
    ("When does the Kestrel Island ferry leave?", "It leaves at noon, from the north pier."),
    ("How do I get to Kestrel Island?", "Take the ferry from the north pier; it leaves at noon."),
    ("What is the capital of France?", "The capital of France is Paris."),
    ("Write a line about the sea.", "The sea, a vast and endless blue, keeps what it takes."),
    ("What comes after 1, 2, 4, 8?", "16, as each number is twice the one before."),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let path = arguments.next().ok_or("which model?")?;
    let folder = arguments.next().ok_or("which folder?")?;
    let given = arguments.next();
    let limits = agora_openlora::Settings { threads: 2, context_max: 512, ..agora_openlora::Settings::default() };
    let engine = OpenLora::load(&path, None, limits, &mut |_| {})?;
    let weights = engine.weights()?;
    let mut sequences = Vec::new();
    for (question, answer) in QUESTIONS {
        sequences.push(weights.taught(&Request::ask(question, 64), answer)?);
    }
    let bounds = agora_gradient::Settings { threads: 2, ..agora_gradient::Settings::default() };
    let mut machine = Machine::new(weights.clone(), &bounds)?;
    fs::create_dir(&folder)?;
    let adapter = folder.join("adapter");
    match given {
        Some(given) => {
            fs::create_dir(&adapter)?;
            for file in ["adapter_config.json", "adapter_model.safetensors"] {
                fs::copy(given.join(file), adapter.join(file))?;
            }
        }
        None => learn(&mut machine, &sequences[..LESSONS], &adapter)?,
    }
    let hash = engine.load_adapter("reload", &adapter)?.hash;
    assert_eq!(hash, weights.adapter_hash(&adapter)?, "what was loaded is what lies there");
    let tokens: Vec<Vec<u32>> =
        sequences.iter().map(|taught| [taught.prompt.as_slice(), &taught.response].concat()).collect();
    for (name, adapter) in [("base.f32", None), ("tuned.f32", Some(&hash))] {
        let mut bytes = Vec::new();
        for sequence in &tokens {
            let rows = engine.logits(sequence, adapter)?;
            bytes.extend(rows.iter().flatten().flat_map(|logit| logit.to_le_bytes()));
        }
        fs::write(folder.join(name), bytes)?;
    }
    let (layout, numbers) = Layout::read(weights.shape(), &weights.read_adapter(&adapter)?)?;
    let mut surprises = Vec::new();
    for tokens in &tokens {
        let sequence = Sequence { tokens, first: 1, weight: 1.0, passed: &[] };
        surprises.push(machine.surprises(Some((&layout, &numbers)), &[sequence])?);
    }
    fs::write(folder.join("surprises.json"), serde_json::to_vec(&surprises)?)?;
    fs::write(folder.join("tokens.json"), serde_json::to_vec(&tokens)?)?;
    println!("{} tokens; now: reload.py MODEL.gguf FOLDER", tokens.iter().map(Vec::len).sum::<usize>());
    Ok(())
}

/// Trains an adapter and writes it.
fn learn(machine: &mut Machine, lessons: &[Taught], folder: &Path) -> Result<(), Box<dyn Error>> {
    let examples: Vec<Example> = lessons
        .iter()
        .map(|taught| Example {
            id: Hash::sha256(format!("{:?}", taught.response)),
            prompt: taught.prompt.clone(),
            response: taught.response.clone(),
        })
        .collect();
    let settings = Settings {
        rank: 8,
        alpha: 16.0,
        rslora: true,
        targets: Target::ALL.to_vec(),
        learning_rate: 2e-3,
        epochs: 12,
        batch_tokens: 512,
        held_out_share: 0.0,
        ..Settings::default()
    };
    let training = Training { settings: &settings, examples: &examples, checkpoint: None };
    let trained = train(machine, &training, &AtomicBool::new(false), &mut |_| {})?;
    trained.write(machine.weights(), (&settings, &[]), &|_| Vec::new(), folder)?;
    let (first, last) = (trained.losses[0], trained.losses[trained.losses.len() - 1]);
    println!("{} steps, loss {first:.3} to {last:.3}", trained.losses.len());
    Ok(())
}
