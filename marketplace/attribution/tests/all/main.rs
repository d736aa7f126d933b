//! What contributors, hosts and auditors can rely on.

mod bm25;
mod clusters;
mod formats;
mod gaming;
mod matrix;
mod recompute;
mod sample;
mod shares;
mod solve;
mod spans;
mod world;
