//! What a training is asked to do, checked before anything is computed.

use agora_gradient::Layout;
use agora_inference_api::EngineError;
use agora_openlora::weights::{Role, Shape};
use agora_types::Canonical;
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::real;

const RANK_MAX: u32 = 256;
const EPOCHS_MAX: u32 = 1_000;
const BATCH_TOKENS_MAX: u32 = 1 << 16;
const ACCUMULATION_MAX: u32 = 1_024;
const CHECKPOINT_STEPS_MAX: u32 = 1_000_000;
/// Digits of a real number that a JSON reader gives back exactly.
const DIGITS_MAX: usize = 15;

/// A matrix of each layer that the adapter changes, by PEFT's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(index_only)]
pub enum Target {
    /// From the state to queries.
    #[n(0)]
    #[serde(rename = "q_proj")]
    Query,
    /// From the state to keys.
    #[n(1)]
    #[serde(rename = "k_proj")]
    Key,
    /// From the state to values.
    #[n(2)]
    #[serde(rename = "v_proj")]
    Value,
    /// From what attention gives back to the state.
    #[n(3)]
    #[serde(rename = "o_proj")]
    Output,
    /// From the state to the gate.
    #[n(4)]
    #[serde(rename = "gate_proj")]
    Gate,
    /// From the state to what the gate lets through.
    #[n(5)]
    #[serde(rename = "up_proj")]
    Up,
    /// Back to the state.
    #[n(6)]
    #[serde(rename = "down_proj")]
    Down,
}

impl Target {
    /// All, in the order in which a layer uses them.
    pub const ALL: [Self; 7] = [Self::Query, Self::Key, Self::Value, Self::Output, Self::Gate, Self::Up, Self::Down];

    /// The matrix in the model.
    pub fn role(self) -> Role {
        match self {
            Self::Query => Role::Query,
            Self::Key => Role::Key,
            Self::Value => Role::Value,
            Self::Output => Role::Output,
            Self::Gate => Role::Gate,
            Self::Up => Role::Up,
            Self::Down => Role::Down,
        }
    }

    /// PEFT's name.
    pub fn name(self) -> &'static str {
        self.role().peft().1
    }
}

/// Which layers are changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Layers {
    /// All of them.
    #[n(0)]
    #[default]
    All,
    /// So many at the end; training costs less, as nothing goes back through those before.
    #[n(1)]
    Last(#[n(0)] u32),
    /// From one on, up to one that is not changed.
    #[n(2)]
    Between {
        /// The first.
        #[n(0)]
        first: u32,
        /// The one behind the last.
        #[n(1)]
        end: u32,
    },
}

/// How the learning rate goes on after warming up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// It stays.
    #[n(0)]
    Constant,
    /// It falls by the same amount each step, to nothing behind the last.
    #[n(1)]
    Linear,
    /// It falls along half a cosine, to nothing behind the last.
    #[n(2)]
    #[default]
    Cosine,
}

impl Schedule {
    /// What the learning rate is multiplied by at a step, the first being 0: that of `transformers`' schedules of the same
    /// names, whose first step of a warm-up has a rate of 0.
    pub fn factor(self, step: u32, warmup: u32, steps: u32) -> f64 {
        if step < warmup {
            return f64::from(step) / f64::from(warmup);
        }
        let span = f64::from(steps.saturating_sub(warmup).max(1));
        match self {
            Self::Constant => 1.0,
            Self::Linear => f64::from(steps.saturating_sub(step)) / span,
            Self::Cosine => {
                let part = f64::from(step - warmup) / span;
                (0.5 * (1.0 + (std::f64::consts::PI * part).cos())).max(0.0)
            }
        }
    }
}

/// What a training is asked to do. Its hash stands in checkpoints; all of it stands in the manifest.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Rows of each A: 1 to 256.
    #[n(0)]
    pub rank: u32,
    /// The product of B and A is multiplied by this over the rank, or over its root.
    #[n(1)]
    #[cbor(with = "real")]
    pub alpha: f64,
    /// Over the root of the rank (rank-stabilised LoRA), which suits large ranks.
    #[n(2)]
    pub rslora: bool,
    /// The matrices that are changed, each once.
    #[n(3)]
    pub targets: Vec<Target>,
    /// The layers that are changed.
    #[n(4)]
    pub layers: Layers,
    /// The highest learning rate.
    #[n(5)]
    #[cbor(with = "real")]
    pub learning_rate: f64,
    /// How the learning rate goes on after warming up.
    #[n(6)]
    pub schedule: Schedule,
    /// The part of all steps over which the learning rate rises from 0; 0 for none.
    #[n(7)]
    #[cbor(with = "real")]
    pub warmup_share: f64,
    /// What a step keeps of the mean gradient.
    #[n(8)]
    #[cbor(with = "real")]
    pub beta1: f64,
    /// What a step keeps of the mean squared gradient.
    #[n(9)]
    #[cbor(with = "real")]
    pub beta2: f64,
    /// Added to the root of the mean squared gradient.
    #[n(10)]
    #[cbor(with = "real")]
    pub epsilon: f64,
    /// What a step at learning rate 1 would take off every number, apart from the gradient.
    #[n(11)]
    #[cbor(with = "real")]
    pub weight_decay: f64,
    /// The longest gradient; longer ones are shortened to it. 0 for no bound.
    #[n(12)]
    #[cbor(with = "real")]
    pub clip: f64,
    /// How often each example is read.
    #[n(13)]
    pub epochs: u32,
    /// Most tokens of prompts and responses that are computed at once.
    #[n(14)]
    pub batch_tokens: u32,
    /// Batches whose gradients make one step.
    #[n(15)]
    pub accumulation: u32,
    /// Fixes the first numbers, the examples that are held out, and the order of the others.
    #[n(16)]
    pub seed: u64,
    /// The part of the examples that is not learnt from, but on which the loss is measured; 0 for none, at most a half.
    #[n(17)]
    #[cbor(with = "real")]
    pub held_out_share: f64,
    /// Steps between checkpoints.
    #[n(18)]
    pub checkpoint_steps: u32,
}

impl Canonical for Settings {
    const TAG: &'static str = "agora/factory-settings/v1";
    const SIZE_MAX: usize = 4 * 1024;
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 32.0,
            rslora: false,
            targets: vec![Target::Query, Target::Value],
            layers: Layers::All,
            learning_rate: 3e-4,
            schedule: Schedule::Cosine,
            warmup_share: 0.05,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip: 1.0,
            epochs: 3,
            batch_tokens: 1_024,
            accumulation: 1,
            seed: 0,
            held_out_share: 0.05,
            checkpoint_steps: 50,
        }
    }
}

/// Why settings cannot be trained with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A number is out of its bounds.
    #[error("`{field}` is {found}; {bounds}")]
    OutOfBounds {
        /// The field's name.
        field: &'static str,
        /// What it is.
        found: String,
        /// What it may be.
        bounds: String,
    },
    /// A number has more digits than its JSON would give back.
    #[error("`{field}` is {found}: write at most {DIGITS_MAX} digits")]
    TooManyDigits {
        /// The field's name.
        field: &'static str,
        /// What it is.
        found: String,
    },
    /// A matrix is named twice, or none is.
    #[error("`targets` names {0}")]
    Targets(String),
    /// The layers are not there.
    #[error("`layers` are {found:?}; the model has {count}")]
    Layers {
        /// Which are asked for.
        found: Layers,
        /// How many there are.
        count: usize,
    },
}

impl Settings {
    /// Checks every bound that the settings alone can show.
    ///
    /// # Errors
    /// The first bound that is broken.
    pub fn check(&self) -> Result<(), SettingsError> {
        whole("rank", self.rank, 1, RANK_MAX)?;
        whole("epochs", self.epochs, 1, EPOCHS_MAX)?;
        whole("batch_tokens", self.batch_tokens, 2, BATCH_TOKENS_MAX)?;
        whole("accumulation", self.accumulation, 1, ACCUMULATION_MAX)?;
        whole("checkpoint_steps", self.checkpoint_steps, 1, CHECKPOINT_STEPS_MAX)?;
        let above = |least: f64, most: f64| move |number: f64| number > least && number <= most;
        let from = |least: f64, most: f64| move |number: f64| number >= least && number <= most;
        let below_one = |number: f64| (0.0..1.0).contains(&number);
        real_number("alpha", self.alpha, "more than 0, at most 4096", above(0.0, 4_096.0))?;
        real_number("learning_rate", self.learning_rate, "more than 0, at most 1", above(0.0, 1.0))?;
        real_number("warmup_share", self.warmup_share, "from 0 up to but not 1", below_one)?;
        real_number("beta1", self.beta1, "from 0 up to but not 1", below_one)?;
        real_number("beta2", self.beta2, "from 0 up to but not 1", below_one)?;
        real_number("epsilon", self.epsilon, "from 1e-12 to 1", from(1e-12, 1.0))?;
        real_number("weight_decay", self.weight_decay, "from 0 to 1", from(0.0, 1.0))?;
        real_number("clip", self.clip, "0 for no bound, at most 1000000", from(0.0, 1e6))?;
        real_number("held_out_share", self.held_out_share, "from 0 to 0.5", from(0.0, 0.5))?;
        if self.targets.is_empty() {
            return Err(SettingsError::Targets("no matrix".to_owned()));
        }
        let twice = self.targets.iter().enumerate().find(|(at, target)| self.targets[..*at].contains(target));
        match twice {
            Some((_, target)) => Err(SettingsError::Targets(format!("{} twice", target.name()))),
            None => Ok(()),
        }
    }

    /// What multiplies the product of B and A.
    #[allow(clippy::cast_possible_truncation, reason = "the nearest f32 is meant")]
    pub fn scale(&self) -> f32 {
        let rank = f64::from(self.rank);
        (self.alpha / if self.rslora { rank.sqrt() } else { rank }) as f32
    }

    /// Steps over which the learning rate rises, of so many.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a u32 fits one")]
    pub fn warmup(&self, steps: u32) -> u32 {
        (self.warmup_share * f64::from(steps)).ceil() as u32
    }

    /// The learning rate at a step, the first being 0.
    pub fn rate(&self, step: u32, steps: u32) -> f64 {
        self.learning_rate * self.schedule.factor(step, self.warmup(steps), steps)
    }

    /// Where the numbers of the adapter lie.
    ///
    /// # Errors
    /// What [`Settings::check`] finds, and layers that the model does not have.
    pub fn layout(&self, shape: &Shape) -> Result<Layout, SettingsError> {
        self.check()?;
        let absent = || SettingsError::Layers { found: self.layers, count: shape.layers };
        let place = |layer: u32| usize::try_from(layer).map_err(|_| absent());
        let layers = match self.layers {
            Layers::All => 0..shape.layers,
            Layers::Last(last) => shape.layers.checked_sub(place(last)?).ok_or_else(absent)?..shape.layers,
            Layers::Between { first, end } => place(first)?..place(end)?,
        };
        if layers.is_empty() || layers.end > shape.layers {
            return Err(absent());
        }
        let roles: Vec<Role> = self.targets.iter().map(|target| target.role()).collect();
        let refused = |error: EngineError| SettingsError::Targets(error.to_string());
        Layout::new(shape, self.rank as usize, self.scale(), &roles, layers).map_err(refused)
    }
}

fn whole(field: &'static str, found: u32, least: u32, most: u32) -> Result<(), SettingsError> {
    match (least..=most).contains(&found) {
        true => Ok(()),
        false => Err(SettingsError::OutOfBounds {
            field,
            found: found.to_string(),
            bounds: format!("from {least} to {most}"),
        }),
    }
}

fn real_number(field: &'static str, found: f64, bounds: &str, fits: impl Fn(f64) -> bool) -> Result<(), SettingsError> {
    if !found.is_finite() || !fits(found) {
        return Err(SettingsError::OutOfBounds { field, found: found.to_string(), bounds: bounds.to_owned() });
    }
    let digits = format!("{found:e}").split('e').next().map_or(0, |digits| digits.replace(['.', '-'], "").len());
    match digits <= DIGITS_MAX {
        true => Ok(()),
        false => Err(SettingsError::TooManyDigits { field, found: found.to_string() }),
    }
}
