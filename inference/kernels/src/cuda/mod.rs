//! The same numbers on a device with CUDA: the same bits as on the processor.
//!
//! The kernels are one source (`cuda/kernels.cu`), shipped as PTX text (`cuda/kernels.ptx`) that the driver compiles for its
//! device. The driver is opened when a device is: a program that never asks for one starts without it. What the launches
//! here do is checked against the processor with the same source as plain C++, so that the check needs no device.
//!
//! A [`Step`] says where the tokens of all sequences stand; the functions beside it do with them what their namesakes in
//! this crate do on the processor. They look at every size and index first: a launch that would leave its memory is a bug
//! and panics.

mod adapters;
mod attention;
mod device;
mod driver;
mod memory;
mod product;
mod step;
mod vectors;

pub use adapters::{Changes, adapt};
pub use attention::{Heads, attend, remember};
pub use device::{Device, DeviceError, Kernel, PTX};
pub use driver::Cuda;
pub(crate) use memory::bytes;
pub use memory::{Memory, Room};
pub use product::{Activations, multiply};
pub use step::{Sequence, Step, Token};
pub use vectors::{add, embed, gate, gather, rms_norm, rotate};
