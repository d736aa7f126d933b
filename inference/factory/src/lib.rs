//! ModelFactory: trains an adapter on examples and says what it was made of.
//!
//! [`train`] goes over the examples of a [`Training`] in an order that its seed fixes, and keeps a checkpoint from which a
//! killed process goes on. The same settings, examples and base model give the same bits on a machine, however often the
//! training was interrupted and on any number of threads. What comes out is a [`Trained`]: it writes the adapter in PEFT's
//! form with its [`Manifest`], and with the [`Papers`] that say where it comes from.

mod checkpoint;
mod course;
mod examples;
mod failure;
mod manifest;
mod optimiser;
mod papers;
mod plot;
mod progress;
mod random;
mod real;
mod settings;
mod start;
mod train;

pub use checkpoint::{Bounds, Checkpoint, CheckpointError, HeldOut, Origin};
pub use course::learnt;
pub use examples::Example;
pub use failure::TrainError;
pub use manifest::{AdapterFile, Base, CODE_VERSION, Counts, Losses, Manifest};
pub use optimiser::{AdamW, clip};
pub use papers::{About, Answer, Answers, BaseNotes, Maker, Papers, PapersError, Tally, TrainedOn};
pub use plot::loss_plot;
pub use progress::Progress;
pub use settings::{Layers, Schedule, Settings, SettingsError, Target};
pub use start::start;
pub use train::{Trained, Training, train};
