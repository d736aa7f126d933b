//! Indexes of a tiny model and of a real one: built, opened, asked, recomputed.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod curvature;
#[path = "../../examples/faithfulness/datanet.rs"]
mod datanet;
mod gaming;
mod host;
mod index;
mod real;
mod support;
