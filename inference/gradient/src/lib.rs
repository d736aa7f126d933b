//! A frozen model with trainable adapters in f32: losses and gradients.
//!
//! [`Machine`] computes what a model with an adapter makes of sequences: how surprised it is by their responses, and the
//! gradient of that by the adapter's numbers. The base model's weights stay quantised and get no gradients; the way back
//! multiplies with them turned around. Training takes batches, attribution one example at a time; both get the same bits
//! from any number of threads and any vector instructions, and a sequence's own numbers do not depend on its company.
//! Training may have a processor's matrix unit instead ([`Settings::fast`]), with bits of its own.
//!
//! It computes with plain f32 activations and fused sums, where serving rounds activations to eight bits: the two agree to
//! about a hundredth of a logit, never to the bit.

mod back;
mod batch;
mod head;
mod layer;
mod layout;
mod machine;

pub use agora_kernels::BF16X2;
pub use batch::Sequence;
pub use layout::{Layout, Place};
pub use machine::{Losses, Machine};

/// The bounds of a [`Machine`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Threads that compute, at most 64.
    pub threads: usize,
    /// Most bytes of what is kept between the way forward and the way back. Layers that do not fit are computed again.
    pub memory_max: usize,
    /// Use no vector instructions: the same bits, slower.
    pub portable: bool,
    /// Compute products with frozen weights on the processor's matrix unit, if it has one: the same numbers to about five
    /// digits, and the same bits on any number of threads and in any company, but not those of other processors.
    pub fast: bool,
}

impl Default for Settings {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
        Self { threads, memory_max: 2 << 30, portable: false, fast: false }
    }
}
