//! The program as a library, so that its tests and chores can use its words. Start at `control.rs` for what a node
//! answers, at `cli.rs` for the commands.

pub mod cli;
pub mod control;
pub mod demo;
mod giving;
pub mod node;
