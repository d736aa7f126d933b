//! A model of one of the families: its shape, its weights, and one step of a ragged batch.

mod cache;
mod device;
mod forward;
mod load;
mod shape;

pub(crate) use cache::Cache;
pub(crate) use device::{failed, place};
pub(crate) use forward::{Part, Stage};
pub(crate) use load::{Layer, Model, Parts};
pub(crate) use shape::{Family, Gate, Role, Shape, Turns, VOCABULARY_MAX};
