//! What our packing loses against what a file of each format says: perplexity of a fixed text and divergence from f32.
//!
//! The real model is written in each format; the reference computes in f32 with exactly those weights. It takes a minute
//! or two: `cargo test --release --package agora-openlora --test formats -- --ignored --nocapture`. `AGORA_FORMATS=FOLDER`
//! keeps the files, for `cargo xtask bench inference --model FOLDER/Q4_0.gguf`.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod support;

use agora_openlora::{OpenLora, Settings};
use support::quantise::{FORMATS, encode};
use support::reference::{File, compare, logits};

const TEXT: &str = "The sea was calm that morning, and the harbour lay silent under a thin white fog. Two fishermen mended \
their nets on the quay while a third counted the day's first coins into a leather purse. Nobody spoke of the storm. It \
had come from the west, three nights before, and it had taken the roof of the old customs house and the mast of the only \
ship that could have carried the winter's grain. The price of bread had doubled since then. A merchant from the capital, \
who had arrived by coach, offered to lend the town what it needed, at a rate that made the mayor laugh out loud. In the \
end it was the schoolteacher who found the answer: she remembered that every family owed something to every other, and \
that most of these debts ran in circles. She wrote them all down on a single sheet of paper and crossed out the circles.";

/// The perplexity of the text.
fn perplexity(logits: &[Vec<f32>], tokens: &[u32]) -> f64 {
    let mut sum = 0.0;
    for (row, next) in logits.iter().zip(&tokens[1..]) {
        let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let total: f64 = row.iter().map(|logit| f64::from(logit - most).exp()).sum();
        sum -= f64::from(row[*next as usize] - most) - total.ln();
    }
    (sum / (tokens.len() - 1) as f64).exp()
}

#[test]
#[ignore = "takes minutes"]
fn every_format_loses_less_than_one_percent_by_our_packing() {
    let original = File::read(&support::model_path());
    let tokens = support::engine().encode(TEXT);
    println!(
        "{} tokens\n{:<6} {:>10} {:>10} {:>9} {:>9} {:>6}",
        tokens.len(),
        "",
        "file",
        "ours",
        "loss",
        "KL",
        "top-1"
    );
    for (name, format, unit) in FORMATS {
        let mut file = original.clone();
        for tensor in original.matrices() {
            // Where a row does not fill the format's units, eight bits, as other programs do.
            let format = if original.columns(&tensor).is_multiple_of(unit) { format } else { 8 };
            file.replace(&tensor, format, encode(format, &original.numbers(&tensor)));
        }
        let bytes = file.gguf();
        if let Ok(folder) = std::env::var("AGORA_FORMATS") {
            std::fs::write(std::path::Path::new(&folder).join(format!("{name}.gguf")), &bytes).unwrap();
        }
        let settings = Settings { threads: 2, context_max: 512, ..Settings::default() };
        let engine =
            OpenLora::load_from(&mut bytes.as_slice(), bytes.len() as u64, None, settings, &mut |_| {}).unwrap();
        let ours = engine.logits(&tokens, None).unwrap();
        let right = logits(&file, std::slice::from_ref(&tokens), None);
        let (mean, _, same) = compare(&right, &ours);
        let (theirs, ours) = (perplexity(&right, &tokens), perplexity(&ours, &tokens));
        let loss = ours / theirs - 1.0;
        println!("{name:<6} {theirs:>10.4} {ours:>10.4} {:>8.3}% {mean:>9.1e} {same:>6.3}", loss * 100.0);
        assert!(loss.abs() < 0.01, "{name} loses {loss}");
    }
}
