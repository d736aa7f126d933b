//! `agora factory` as types.

use agora_factory::Target;
use agora_shell::settings::{ModelChoice, Threads};
use clap::{Args, Subcommand, ValueEnum};

/// `agora factory`.
#[derive(Debug, Subcommand)]
pub enum FactoryCommand {
    /// Train an adapter on a datanet's version, and build what measures whose data shaped its answers
    Train(Box<Train>),
    /// Ask an adapter here and now, and show whose data shaped the answer; nothing is paid
    Ask(Ask),
}

/// `agora factory train`.
#[derive(Debug, Clone, Args)]
pub struct Train {
    /// The adapter's name: its folder among the network's adapters
    pub name: String,
    /// The datanet, by name or id
    #[arg(long, value_name = "NAME|ID")]
    pub datanet: String,
    /// Its version; the newest if absent
    #[arg(long)]
    pub version: Option<u32>,
    /// The base model: a known name, or the path of a GGUF file or a Hugging Face folder [env: AGORA_MODEL]
    #[arg(long, value_name = "PATH|NAME")]
    pub base: Option<ModelChoice>,
    /// Threads that compute [env: AGORA_THREADS]
    #[arg(long)]
    pub threads: Option<Threads>,
    /// Rows of each A, 1 to 256
    #[arg(long, default_value_t = 8)]
    pub rank: u32,
    /// The adapter's product is multiplied by this over the rank
    #[arg(long, default_value_t = 32.0)]
    pub alpha: f64,
    /// Over the root of the rank instead, which suits large ranks
    #[arg(long)]
    pub rslora: bool,
    /// Matrices that are changed
    #[arg(long, value_delimiter = ',', default_value = "q_proj,v_proj")]
    pub targets: Vec<TargetWord>,
    /// Times that each example is read
    #[arg(long, default_value_t = 3)]
    pub epochs: u32,
    /// The highest learning rate
    #[arg(long, default_value_t = 3e-4)]
    pub learning_rate: f64,
    /// Most tokens that are computed at once; also the longest example
    #[arg(long, default_value_t = 1_024)]
    pub batch_tokens: u32,
    /// Batches whose gradients make one step
    #[arg(long, default_value_t = 1)]
    pub accumulation: u32,
    /// The part of the contributions that is only measured on, 0 to 0.5
    #[arg(long, default_value_t = 0.05)]
    pub held_out: f64,
    /// Fixes the first numbers and every order
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Give the same bits as processors without a matrix unit; about two thirds as fast where there is one
    #[arg(long)]
    pub exact: bool,
    /// Steps between checkpoints, from which a stopped training goes on
    #[arg(long, default_value_t = 20)]
    pub checkpoint_steps: u32,
    /// SPDX licence id of the adapter [default: the datanet's]
    #[arg(long, value_name = "SPDX")]
    pub licence: Option<String>,
    /// How influence is measured
    #[arg(long, value_enum, default_value_t = MethodWord::Ekfac)]
    pub method: MethodWord,
    /// Entries of a gradient's projection, a multiple of 8
    #[arg(long, default_value_t = 4_096)]
    pub dimension: u32,
    /// Measure one call in this many for all of them, where calls are cheaper than measuring; at most 64
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub sample_one_in: u32,
    /// Only train; the adapter's contributors are then paid by declared weights
    #[arg(long)]
    pub no_index: bool,
    /// Who makes it
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub from: String,
}

/// `agora factory ask`.
#[derive(Debug, Clone, Args)]
pub struct Ask {
    /// The adapter
    pub name: String,
    /// The question
    pub question: String,
    /// Most tokens of the answer
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_024))]
    pub tokens: u64,
    /// Let the base model answer without the adapter: how much would the data explain of that?
    #[arg(long)]
    pub without_adapter: bool,
    /// The base model [env: AGORA_MODEL]
    #[arg(long, value_name = "PATH|NAME")]
    pub base: Option<ModelChoice>,
    /// Threads that compute [env: AGORA_THREADS]
    #[arg(long)]
    pub threads: Option<Threads>,
}

/// A matrix of each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TargetWord {
    /// From the state to queries
    #[value(name = "q_proj")]
    Query,
    /// From the state to keys
    #[value(name = "k_proj")]
    Key,
    /// From the state to values
    #[value(name = "v_proj")]
    Value,
    /// From what attention gives back to the state
    #[value(name = "o_proj")]
    Output,
    /// From the state to the gate
    #[value(name = "gate_proj")]
    Gate,
    /// From the state to what the gate lets through
    #[value(name = "up_proj")]
    Up,
    /// Back to the state
    #[value(name = "down_proj")]
    Down,
}

impl From<TargetWord> for Target {
    fn from(word: TargetWord) -> Self {
        match word {
            TargetWord::Query => Self::Query,
            TargetWord::Key => Self::Key,
            TargetWord::Value => Self::Value,
            TargetWord::Output => Self::Output,
            TargetWord::Gate => Self::Gate,
            TargetWord::Up => Self::Up,
            TargetWord::Down => Self::Down,
        }
    }
}

/// How influence is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum MethodWord {
    /// Gradients divided by their curvature, non-negative least squares
    #[value(name = "influence-ekfac-nnls")]
    Ekfac,
    /// Products of gradients
    #[value(name = "gradient-dot")]
    GradientDot,
    /// Cosines of gradients
    #[value(name = "gradient-cosine")]
    GradientCosine,
    /// DataInf
    #[value(name = "datainf")]
    Datainf,
    /// Shared words
    #[value(name = "bm25")]
    Bm25,
    /// Cosines of the model's states
    #[value(name = "embedding-similarity")]
    Embedding,
}
