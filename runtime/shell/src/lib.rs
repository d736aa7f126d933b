//! What every command of the program shares: folders, settings, keys, output.
//!
//! A command is a function from arguments to a [`output::Document`] or a [`Failure`]. Around it stand the [`Paths`] of
//! the user, the [`Settings`] in force, each with its source, and a [`Printer`] that keeps the output contract: data on
//! stdout, messages on stderr. Nothing here knows the node, the command line parser, or an executor.

pub mod amount;
pub mod doctor;
pub mod failure;
pub mod fetch;
pub mod files;
pub mod keystore;
pub mod output;
pub mod paths;
pub mod progress;
pub mod schema;
pub mod secret;
pub mod settings;
pub mod text;

pub use amount::parse_amount;
pub use failure::{Failure, Outcome};
pub use output::{Document, Format, Printer, Style, Written};
pub use paths::{NetworkName, Paths};
pub use progress::Bar;
pub use secret::SecretSource;
pub use settings::Settings;
