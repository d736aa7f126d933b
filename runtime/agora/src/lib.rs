//! The program as a library, so that its tests and chores can use its words. Start at `control.rs`.

pub mod control;
