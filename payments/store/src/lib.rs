//! What a node keeps on disk: the hash-chained log with its permanent indexes, snapshots, and small state, on redb;
//! blobs and the published receipt log as plain files.
//!
//! redb alone serves flipped bits silently, so every value carries a SHA-256 over its place and content and is checked
//! at every read; `check_integrity` runs at every open; a panic inside the library is reported as damage.

mod blobs;
#[doc(hidden)]
pub mod conformance;
mod files;
mod folder;
mod frame;
mod log;
mod state;
mod tiles;
mod witness;

pub use blobs::FolderBlobs;
pub use folder::{DataFolder, FORMAT};
pub use log::RedbLog;
pub use state::RedbState;
pub use tiles::FolderTiles;
