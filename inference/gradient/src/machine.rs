//! The machine: forward through all layers, and back as far as anything is changed.

use agora_inference_api::EngineError;
use agora_kernels::{Dense, Pool, Simd};
use agora_openlora::weights::Weights;
use agora_types::Code;

use crate::Settings;
use crate::back::BackRoom;
use crate::batch::{Rows, Sequence};
use crate::head::HeadRoom;
use crate::layer::{Kept, Room, Step};
use crate::layout::{Layout, bad};

/// How surprised the model is.
#[derive(Debug, Clone, PartialEq)]
pub struct Losses {
    /// Per sequence: the sum over its response's tokens, in nats.
    pub sums: Vec<f64>,
    /// Per sequence: tokens of its response.
    pub counts: Vec<usize>,
}

impl Losses {
    /// The mean over all tokens.
    pub fn mean(&self) -> f64 {
        self.sums.iter().sum::<f64>() / self.counts.iter().sum::<usize>().max(1) as f64
    }
}

/// A base model that computes losses and gradients of adapters. It keeps its room from call to call.
#[derive(Debug)]
pub struct Machine {
    weights: Weights,
    pool: Pool,
    simd: Simd,
    dense: Dense,
    memory_max: usize,
    state: Vec<f32>,
    by: Vec<f32>,
    /// Of the layers that fit the memory, the last layer first.
    kept: Vec<Kept>,
    /// Of a layer that did not fit.
    scratch: Kept,
    /// The states that came into layers that did not fit, from the lowest changed one on.
    states: Vec<Vec<f32>>,
    room: Room,
    back: BackRoom,
    head: HeadRoom,
}

impl Machine {
    /// A machine of this base model.
    ///
    /// # Errors
    /// `engine.stopped` if the system gives no threads.
    pub fn new(weights: Weights, settings: &Settings) -> Result<Self, EngineError> {
        let failed = |error: std::io::Error| EngineError::new(Code::EngineStopped, format!("no thread: {error}"));
        let simd = if settings.portable { Simd::PORTABLE } else { Simd::best() };
        Ok(Self {
            pool: Pool::new(settings.threads.clamp(1, 64)).map_err(failed)?,
            simd,
            dense: if settings.fast && !settings.portable { Dense::fast(simd) } else { Dense::exact(simd) },
            memory_max: settings.memory_max,
            weights,
            state: Vec::new(),
            by: Vec::new(),
            kept: Vec::new(),
            scratch: Kept::default(),
            states: Vec::new(),
            room: Room::default(),
            back: BackRoom::default(),
            head: HeadRoom::default(),
        })
    }

    /// The base model.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// How products with the base model are rounded, if not as on every machine.
    pub fn rounding(&self) -> Option<&'static str> {
        self.dense.rounding()
    }

    /// Bytes that a token of a batch leaves in a layer for the way back: if the layer is kept, and if it is computed again.
    pub fn token_size(&self) -> (usize, usize) {
        let shape = self.weights.shape();
        (4 * Kept::width(shape), 4 * shape.width)
    }

    /// How surprised the model is by the responses, with an adapter's numbers or without one.
    ///
    /// # Errors
    /// `engine.bad_request` for sequences that the model cannot take, `engine.not_finite`.
    pub fn losses(
        &mut self,
        adapter: Option<(&Layout, &[f32])>,
        sequences: &[Sequence<'_>],
    ) -> Result<Losses, EngineError> {
        let rows = Rows::new(&self.weights, sequences)?;
        let surprises = self.forward(adapter, &rows, |step, pool, state, room| step.surprises(pool, state, room))?;
        losses(&rows, &surprises)
    }

    /// The surprise at each token of the responses in nats, one sequence after another.
    ///
    /// # Errors
    /// As [`Machine::losses`].
    pub fn surprises(
        &mut self,
        adapter: Option<(&Layout, &[f32])>,
        sequences: &[Sequence<'_>],
    ) -> Result<Vec<f64>, EngineError> {
        let rows = Rows::new(&self.weights, sequences)?;
        let surprises = self.forward(adapter, &rows, |step, pool, state, room| step.surprises(pool, state, room))?;
        losses(&rows, &surprises).map(|_| surprises)
    }

    /// For each sequence the mean of the last states, behind the last norm, of the rows that foretell its response.
    ///
    /// # Errors
    /// As [`Machine::losses`].
    pub fn embeddings(
        &mut self,
        adapter: Option<(&Layout, &[f32])>,
        sequences: &[Sequence<'_>],
    ) -> Result<Vec<Vec<f32>>, EngineError> {
        let rows = Rows::new(&self.weights, sequences)?;
        let means = self.forward(adapter, &rows, |step, pool, state, room| step.embeddings(pool, state, room))?;
        match means.iter().flatten().all(|number| number.is_finite()) {
            true => Ok(means),
            false => Err(EngineError::new(Code::EngineNotFinite, "a state")),
        }
    }

    /// Through all layers, and to what is made of the last states.
    fn forward<T>(
        &mut self,
        adapter: Option<(&Layout, &[f32])>,
        rows: &Rows<'_>,
        end: impl Fn(&Step<'_>, &mut Pool, &[f32], &mut HeadRoom) -> T,
    ) -> Result<T, EngineError> {
        let empty = Layout::empty();
        let (layout, numbers) = adapter.unwrap_or((&empty, &[]));
        let step = step(&self.weights, (layout, numbers), 0, rows, (self.simd, self.dense))?;
        let pool = &mut self.pool;
        step.embed(pool, &mut self.state);
        for at in 0..step.shape().layers {
            step.forward(pool, at, &mut self.state, &mut self.scratch, &mut self.room);
        }
        Ok(end(&step, pool, &self.state, &mut self.head))
    }

    /// The same as [`Machine::losses`], and the gradient: that of the sum over all response tokens of their surprise times
    /// their sequence's weight is added to `gradient`. Layers below the lowest changed one are not gone back through.
    ///
    /// # Errors
    /// `engine.bad_request` for sequences that the model cannot take, `engine.too_large` if even their states do not fit
    /// the memory, `engine.not_finite`; then `gradient` is as it was.
    ///
    /// # Panics
    /// If `gradient` has another size than the layout.
    pub fn gradient(
        &mut self,
        adapter: (&Layout, &[f32]),
        sequences: &[Sequence<'_>],
        gradient: &mut [f32],
    ) -> Result<Losses, EngineError> {
        self.gradient_from(adapter, 0, sequences, gradient)
    }

    /// The same for the layers from `first` on: the whole adapter counts on the way forward, and the way back ends there.
    /// What `gradient` holds of layers below stays as it is.
    ///
    /// # Errors
    /// As [`Machine::gradient`], and `engine.bad_request` if the adapter changes nothing from `first` on.
    ///
    /// # Panics
    /// As [`Machine::gradient`].
    pub fn gradient_from(
        &mut self,
        (layout, numbers): (&Layout, &[f32]),
        first: usize,
        sequences: &[Sequence<'_>],
        gradient: &mut [f32],
    ) -> Result<Losses, EngineError> {
        assert_eq!(gradient.len(), layout.size(), "a gradient has a number for each of the adapter's");
        let rows = Rows::new(&self.weights, sequences)?;
        let lowest =
            layout.lowest(first).ok_or_else(|| bad(format!("an adapter without a change from layer {first} on")))?;
        let step = step(&self.weights, (layout, numbers), lowest, &rows, (self.simd, self.dense))?;
        let (layers, pool) = (step.shape().layers, &mut self.pool);
        let again = again(&step, self.memory_max, layers - lowest)?;
        // Layers from the lowest changed one on; of these, the first `again` are computed again.
        self.kept.resize_with(layers - lowest - again, Kept::default);
        self.states.resize_with(again, Vec::new);
        step.embed(pool, &mut self.state);
        for at in 0..layers {
            let kept = match at.checked_sub(lowest) {
                None => &mut self.scratch,
                Some(place) if place < again => {
                    self.states[place].clone_from(&self.state);
                    &mut self.scratch
                }
                Some(_) => &mut self.kept[layers - 1 - at],
            };
            step.forward(pool, at, &mut self.state, kept, &mut self.room);
        }
        self.by.clear();
        self.by.resize(self.state.len(), 0.0);
        let surprises = step.head(pool, &self.state, &mut self.head, Some(&mut self.by));
        let losses = losses(&rows, &surprises)?;
        for at in (lowest..layers).rev() {
            let kept = match at - lowest {
                place if place < again => {
                    self.state.clone_from(&self.states[place]);
                    step.forward(pool, at, &mut self.state, &mut self.scratch, &mut self.room);
                    &mut self.scratch
                }
                _ => &mut self.kept[layers - 1 - at],
            };
            step.back(pool, at, kept, &mut self.by, gradient, (&mut self.room, &mut self.back));
        }
        Ok(losses)
    }
}

fn step<'a>(
    weights: &'a Weights,
    (layout, numbers): (&'a Layout, &'a [f32]),
    lowest: usize,
    rows: &'a Rows<'a>,
    (simd, dense): (Simd, Dense),
) -> Result<Step<'a>, EngineError> {
    let shape = weights.shape();
    let fits = layout
        .places()
        .iter()
        .all(|place| place.layer < shape.layers && place.role.sides(shape) == (place.outputs, place.inputs));
    if !fits || numbers.len() != layout.size() {
        return Err(bad("an adapter of another model"));
    }
    Ok(Step { weights, layout, numbers, lowest, rows, simd, dense })
}

/// How many of so many layers are computed again on the way back, so that what is kept fits the memory.
fn again(step: &Step<'_>, memory_max: usize, layers: usize) -> Result<usize, EngineError> {
    let (shape, count) = (step.shape(), step.rows.len());
    let low: usize = step.layout.places().iter().map(|place| place.rank).sum();
    let (whole, state) = (4 * count * Kept::width(shape), 4 * count * shape.width);
    let left = memory_max.saturating_sub(4 * count * low);
    let again = (0..=layers).find(|again| again * state + (layers - again) * whole <= left);
    let most = memory_max / (4 * shape.width * layers).max(1);
    again.ok_or_else(|| {
        EngineError::new(Code::EngineTooLarge, format!("a batch of {count} tokens; about {most} fit the memory"))
    })
}

fn losses(rows: &Rows<'_>, surprises: &[f64]) -> Result<Losses, EngineError> {
    let mut losses = Losses { sums: vec![0.0; rows.sequences.len()], counts: vec![0; rows.sequences.len()] };
    for ((_, _, sequence), surprise) in rows.judged().iter().zip(surprises) {
        if !surprise.is_finite() {
            return Err(EngineError::new(Code::EngineNotFinite, "a loss"));
        }
        losses.sums[*sequence] += surprise;
        losses.counts[*sequence] += 1;
    }
    Ok(losses)
}
