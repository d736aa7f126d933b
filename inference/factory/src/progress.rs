//! How far a training is, and how fast.

use std::time::Instant;

/// Steps that the running loss is the mean of.
const RUNNING_STEPS: usize = 16;

/// How far a training is, after each step and each measurement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// Steps that were made.
    pub step: u32,
    /// Steps in all.
    pub steps: u32,
    /// The epoch, the first being 1.
    pub epoch: u32,
    /// Epochs in all.
    pub epochs: u32,
    /// The loss of the last step, in nats per token; `None` before the first.
    pub loss: Option<f64>,
    /// The mean loss of the last 16 steps.
    pub running_loss: Option<f64>,
    /// The loss of the examples that are held out, if it was measured just now.
    pub held_out_loss: Option<f64>,
    /// The learning rate of the last step.
    pub learning_rate: f64,
    /// Tokens of prompts and responses that this process computes a second; 0 before its first step.
    pub tokens_per_second: f64,
    /// What the steps that are left will take at this speed; `None` before the first.
    pub seconds_left: Option<f64>,
}

/// The mean of the last losses.
#[allow(clippy::cast_precision_loss, reason = "at most sixteen")]
pub(crate) fn running(losses: &[f64]) -> Option<f64> {
    let last = &losses[losses.len().saturating_sub(RUNNING_STEPS)..];
    (!last.is_empty()).then(|| last.iter().sum::<f64>() / last.len() as f64)
}

/// Counts what this process computed.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Tokens of all steps that are left.
    left: u64,
    done: u64,
    seconds: f64,
    begun: Instant,
}

impl Meter {
    pub(crate) fn new(left: u64) -> Self {
        Self { left, done: 0, seconds: 0.0, begun: Instant::now() }
    }

    /// A step begins.
    pub(crate) fn begin(&mut self) {
        self.begun = Instant::now();
    }

    /// It made so many tokens.
    pub(crate) fn end(&mut self, tokens: u64) {
        self.seconds += self.begun.elapsed().as_secs_f64();
        self.done += tokens;
        self.left = self.left.saturating_sub(tokens);
    }

    /// Tokens a second, and seconds left.
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    pub(crate) fn speed(&self) -> (f64, Option<f64>) {
        if self.done == 0 || self.seconds <= 0.0 {
            return (0.0, None);
        }
        let speed = self.done as f64 / self.seconds;
        (speed, Some(self.left as f64 / speed))
    }
}
