//! Quantised matrix products, attention and adapters on the processor, the same bits on every machine.
//!
//! Serving, training and attribution compute with these. Three rules make a result repeatable by anyone: whole numbers are
//! summed without rounding, floating-point sums have one order that no vector width changes, and nothing is fused. So
//! plain Rust, AVX2 and AVX-512 give equal bits, and so do any number of threads and any company in a batch. [`cuda`] does
//! the same on a device.
//!
//! ```
//! use agora_kernels::{Block, Form, Matrix, Packer, Pool, Rows, Simd, multiply};
//!
//! let mut packer = Packer::new(Form::Eight, 1, 32).unwrap();
//! packer.push(&[Block::round(&[0.5; 32])]).unwrap();
//! let matrix: Matrix = packer.finish();
//! let (mut pool, simd) = (Pool::new(2).unwrap(), Simd::best());
//! let mut x = Rows::default();
//! x.fill(&mut pool, simd, &[2.0; 32], 32);
//! let mut y = [0.0];
//! multiply(&mut pool, simd, &x, &mut [(&matrix, &mut y)]);
//! assert!((y[0] - 32.0).abs() < 0.1);
//! ```

mod attention;
mod causal;
pub mod cuda;
mod dense;
mod half;
mod lanes;
mod lora;
mod math;
mod pool;
mod product;
mod rows;
mod simd;
mod train;
mod weights;

pub use attention::{Group, PAGE, Page, attend};
pub use causal::{Causal, Seen, SeenBack, causal, causal_back};
pub use dense::{BF16X2, Dense, Left, Product, Right, View, products};
pub use half::{from_half, to_half};
pub use lora::{Change, NotFinite};
pub use math::{add, dot, exp, gate, gate_gelu, rms_norm, rms_norm_own, rotate, rotate_halves, scale};
pub use pool::{Pool, Split};
pub use product::multiply;
pub use rows::{Filling, Rows};
pub use simd::Simd;
pub use train::{gated, gated_back, gated_gelu, gated_gelu_back, rms_norm_back, surprise};
pub use weights::{BLOCK, BadWeights, Block, Form, Matrix, Packer};
