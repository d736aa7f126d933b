//! Benchmarks: ours beside a named peer in the same run, interleaved, medians and ratios.

pub(crate) mod attribution;
mod inference;
mod payments;

use std::path::Path;

use clap::Subcommand;

/// What is measured.
#[derive(Subcommand)]
pub(crate) enum What {
    /// Paid requests: exact and vouchers beside unpaid ones, ours beside a stock express seller
    Payments(payments::Choice),
    /// Answers of a model: prompts, streams and adapters, ours beside llama.cpp and candle
    Inference(inference::Choice),
    /// Proof of Attribution: faithfulness beside a reference, cost, and training beside torch
    Attribution(attribution::Choice),
}

/// Measures, and prints what was seen.
pub(crate) fn run(root: &Path, what: &What) -> anyhow::Result<()> {
    match what {
        What::Payments(choice) => payments::run(root, choice),
        What::Inference(choice) => inference::run(root, choice),
        What::Attribution(choice) => attribution::run(root, choice),
    }
}
