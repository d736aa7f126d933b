//! The training itself, from the first step or from a checkpoint.
//!
//! After a crash the checkpoint of at most `checkpoint_steps` before is there, and the next process makes the same steps
//! again: their numbers are the same bits.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use agora_gradient::{Layout, Machine, Sequence};
use agora_openlora::weights::Weights;
use agora_types::Hash;

use crate::checkpoint::{Bounds, Checkpoint, CheckpointError, HeldOut, Origin};
use crate::course::{Course, Epoch};
use crate::examples::{self, Example};
use crate::manifest::Counts;
use crate::optimiser::{AdamW, clip};
use crate::progress::{Meter, Progress, running};
use crate::{Settings, TrainError, start};

/// What is trained.
#[derive(Debug, Clone, Copy)]
pub struct Training<'a> {
    /// How.
    pub settings: &'a Settings,
    /// On what, in the order of the datanet.
    pub examples: &'a [Example],
    /// Where the checkpoint is kept. If there is one already, training goes on from it; it stays when training is done,
    /// for the caller to remove once the adapter is safe. Without a path a stop loses everything.
    pub checkpoint: Option<&'a Path>,
}

/// A training that is done, or was stopped between two steps.
#[derive(Debug, Clone)]
pub struct Trained {
    /// Where the numbers lie.
    pub layout: Layout,
    /// The adapter's numbers.
    pub numbers: Vec<f32>,
    /// Whether all steps were made.
    pub done: bool,
    /// What it is of.
    pub origin: Origin,
    /// How products with the base model were rounded, if not as on every machine.
    pub rounding: Option<&'static str>,
    /// Hash over the ids of the examples in the order of the whole training.
    pub order_hash: Hash,
    /// What was learnt from, and how often.
    pub counts: Counts,
    /// The loss of each step, in nats per token of the responses.
    pub losses: Vec<f64>,
    /// The losses of the examples that are held out.
    pub held_out: Vec<HeldOut>,
}

/// Trains until all steps are made or `cancel` is set, which is looked at between batches; then the checkpoint holds the
/// last whole step. `progress` hears of each step.
///
/// # Errors
/// [`TrainError`]; steps up to the last checkpoint are kept.
pub fn train(
    machine: &mut Machine,
    training: &Training<'_>,
    cancel: &AtomicBool,
    progress: &mut dyn FnMut(&Progress),
) -> Result<Trained, TrainError> {
    let mut run = Run::begin(machine, training)?;
    let done = run.go(machine, cancel, progress)?;
    run.save()?;
    let (counts, order_hash) = (run.counts(), run.course.order_hash);
    let Checkpoint { origin, numbers, losses, held_out, .. } = run.at;
    let rounding = machine.rounding();
    Ok(Trained { layout: run.layout, numbers, done, origin, rounding, order_hash, counts, losses, held_out })
}

/// A training on its way.
struct Run<'a> {
    training: &'a Training<'a>,
    course: Course<'a>,
    layout: Layout,
    /// Where it is; the moments are with the optimiser while it runs.
    at: Checkpoint,
    optimiser: AdamW,
    gradient: Vec<f32>,
    /// The epoch that is on its way.
    epoch: Option<(u32, Epoch)>,
    meter: Meter,
}

impl<'a> Run<'a> {
    /// From the checkpoint, if there is one.
    fn begin(machine: &Machine, training: &'a Training<'a>) -> Result<Self, TrainError> {
        let weights: &Weights = machine.weights();
        let Training { settings, examples, checkpoint } = *training;
        let layout = settings.layout(weights.shape())?;
        examples::check(examples, settings, weights.shape())?;
        let course = Course::new(settings, examples)?;
        let origin = Origin::new(weights.base().hash, (settings, machine.rounding()), examples::hash(examples));
        let found = match checkpoint {
            Some(path) => read(path, (&origin, settings), &layout, &course).map_err(|source| failed(path, source))?,
            None => None,
        };
        let mut at = found.unwrap_or_else(|| Checkpoint {
            origin,
            epoch: 0,
            step: 0,
            numbers: start(&layout, settings.seed),
            first: vec![0.0; layout.size()],
            second: vec![0.0; layout.size()],
            losses: Vec::new(),
            held_out: Vec::new(),
        });
        let optimiser =
            AdamW { first: std::mem::take(&mut at.first), second: std::mem::take(&mut at.second), steps: at.step };
        let gradient = vec![0.0; layout.size()];
        let mut run = Self { training, course, layout, at, optimiser, gradient, epoch: None, meter: Meter::new(0) };
        let tokens = |step| run.course.tokens_before(step).all;
        run.meter = Meter::new(tokens(run.course.steps()) - tokens(run.at.step));
        Ok(run)
    }

    /// Whether all steps were made.
    fn go(
        &mut self,
        machine: &mut Machine,
        cancel: &AtomicBool,
        progress: &mut dyn FnMut(&Progress),
    ) -> Result<bool, TrainError> {
        let every = self.training.settings.checkpoint_steps;
        loop {
            let measured = self.at.held_out.last().is_some_and(|last| last.step == self.at.step);
            if self.course.measures(self.at.step) && !measured {
                let Some(loss) = self.measure(machine, cancel)? else { return Ok(false) };
                self.at.held_out.push(HeldOut { step: self.at.step, loss });
                progress(&self.progress(Some(loss)));
            }
            if self.at.step == self.course.steps() {
                return Ok(true);
            }
            if !self.step(machine, cancel)? {
                return Ok(false);
            }
            progress(&self.progress(None));
            if self.at.step.is_multiple_of(every) && self.at.step < self.course.steps() {
                self.save()?;
            }
        }
    }

    /// One step; false if it was cancelled, and then nothing has changed.
    fn step(&mut self, machine: &mut Machine, cancel: &AtomicBool) -> Result<bool, TrainError> {
        self.meter.begin();
        let (settings, step) = (self.training.settings, self.at.step);
        let at = self.course.epoch_of(step);
        let epoch = match self.epoch.take() {
            Some((before, epoch)) if before == at => epoch,
            _ => self.course.epoch(at),
        };
        let batches = self.course.batches(step, (at, &epoch));
        self.epoch = Some((at, epoch));
        let judged: usize = batches.iter().flatten().map(|example| example.response.len()).sum();
        self.gradient.fill(0.0);
        let (mut sum, mut tokens) = (0.0, 0);
        for batch in &batches {
            if cancel.load(Ordering::Relaxed) {
                return Ok(false);
            }
            let joined = join(batch);
            let sequences = sequences(batch, &joined, weight(judged));
            let adapter = (&self.layout, self.at.numbers.as_slice());
            let losses = machine.gradient(adapter, &sequences, &mut self.gradient)?;
            sum += losses.sums.iter().sum::<f64>();
            tokens += joined.iter().map(Vec::len).sum::<usize>();
        }
        if !clip(&mut self.gradient, settings.clip).is_finite() {
            return Err(TrainError::Diverged { step });
        }
        let rate = settings.rate(step, self.course.steps());
        self.optimiser.step(settings, rate, &self.gradient, &mut self.at.numbers);
        self.at.losses.push(sum / judged as f64);
        self.at.step += 1;
        self.at.epoch = self.course.epoch_of(self.at.step);
        self.meter.end(tokens as u64);
        Ok(true)
    }

    /// The loss of the examples that are held out; `None` if it was cancelled.
    fn measure(&self, machine: &mut Machine, cancel: &AtomicBool) -> Result<Option<f64>, TrainError> {
        let (mut sum, mut count) = (0.0, 0);
        for batch in &self.course.held_out {
            if cancel.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let joined = join(batch);
            let losses = machine.losses(Some((&self.layout, &self.at.numbers)), &sequences(batch, &joined, 1.0))?;
            sum += losses.sums.iter().sum::<f64>();
            count += losses.counts.iter().sum::<usize>();
        }
        Ok(Some(sum / count as f64))
    }

    fn progress(&self, held_out_loss: Option<f64>) -> Progress {
        let (settings, steps) = (self.training.settings, self.course.steps());
        let (tokens_per_second, seconds_left) = self.meter.speed();
        Progress {
            step: self.at.step,
            steps,
            epoch: self.course.epoch_of(self.at.step.saturating_sub(1)) + 1,
            epochs: settings.epochs,
            loss: self.at.losses.last().copied(),
            running_loss: running(&self.at.losses),
            held_out_loss,
            learning_rate: settings.rate(self.at.step.saturating_sub(1), steps),
            tokens_per_second,
            seconds_left,
        }
    }

    /// Keeps where it is.
    fn save(&mut self) -> Result<(), TrainError> {
        let Some(path) = self.training.checkpoint else { return Ok(()) };
        self.at.first.clone_from(&self.optimiser.first);
        self.at.second.clone_from(&self.optimiser.second);
        self.at.write(path).map_err(|source| failed(path, source))
    }

    fn counts(&self) -> Counts {
        let (learnt, held_out) = self.course.examples();
        let tokens = self.course.tokens_before(self.at.step);
        Counts { examples: learnt, held_out, steps: self.at.step, tokens: tokens.all, response_tokens: tokens.judged }
    }
}

fn failed(path: &Path, source: CheckpointError) -> TrainError {
    TrainError::Checkpoint { path: path.to_owned(), source }
}

/// The checkpoint of this training.
fn read(
    path: &Path,
    (origin, settings): (&Origin, &Settings),
    layout: &Layout,
    course: &Course<'_>,
) -> Result<Option<Checkpoint>, CheckpointError> {
    let Some(found) = Checkpoint::read(path, Bounds { numbers: layout.size(), steps: course.steps() })? else {
        return Ok(None);
    };
    found.check(origin, settings)?;
    match found.epoch == course.epoch_of(found.step) {
        true => Ok(Some(found)),
        false => Err(CheckpointError::Malformed("its epoch is not that of its step")),
    }
}

/// Prompts with their responses.
fn join(batch: &[&Example]) -> Vec<Vec<u32>> {
    batch.iter().map(|example| [example.prompt.as_slice(), &example.response].concat()).collect()
}

fn sequences<'a>(batch: &[&Example], joined: &'a [Vec<u32>], weight: f32) -> Vec<Sequence<'a>> {
    let each = batch.iter().zip(joined);
    each.map(|(example, tokens)| Sequence { tokens, first: example.prompt.len(), weight, passed: &[] }).collect()
}

/// What each token counts where the mean of so many is meant.
#[allow(clippy::cast_precision_loss, reason = "a step has fewer than 2^24 tokens, or the rounding does not matter")]
fn weight(judged: usize) -> f32 {
    (judged as f32).recip()
}
