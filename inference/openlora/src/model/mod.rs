//! A model of one of the families: its shape, its weights, and one step of a ragged batch.

mod cache;
mod device;
mod forward;
mod load;
mod shape;

pub(crate) use cache::Cache;
pub(crate) use device::{failed, place};
pub(crate) use forward::{Part, Stage};
pub use load::Layer;
pub(crate) use load::{Model, Parts};
pub(crate) use shape::VOCABULARY_MAX;
pub use shape::{Family, Gate, Role, Shape, Turns, Window};
