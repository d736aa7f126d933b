//! A version for the rest of the world: a file of JSON lines, and a Croissant 1.1 document that describes it.

mod croissant;
mod file;

pub use croissant::{Described, Notes, croissant};
pub use file::{CREATORS_MAX, DataFile, FileWriter, Shapes};
