//! Indexes of a tiny model and of a real one: built, opened, asked, recomputed.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

mod curvature;
mod host;
mod index;
mod real;
mod support;
