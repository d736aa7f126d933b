//! The published receipt log as plain files, which any web server can serve as they are.

use std::path::Path;

use agora_economy::ports::log::LogFault;
use agora_economy::ports::tiles::{TILE_SIZE_MAX, TileStore, check_path, check_put};

use crate::files::Files;

/// The folder `tiles/` of a network. One process writes; readers may be anyone, at any time.
#[derive(Debug)]
pub struct FolderTiles(Files);

impl FolderTiles {
    /// Opens or creates the folder at `path`.
    ///
    /// # Errors
    /// `Failed`.
    pub fn open(path: &Path) -> Result<Self, LogFault> {
        Files::open(path).map(Self)
    }
}

impl TileStore for FolderTiles {
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LogFault> {
        check_put(path, bytes)?;
        self.0.put(Path::new(path), bytes)
    }

    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LogFault> {
        check_path(path)?;
        self.0.get(Path::new(path), TILE_SIZE_MAX)
    }

    fn forget_partial(&self, path: &str) -> Result<(), LogFault> {
        check_path(path)?;
        self.0.remove_folder(Path::new(&format!("{path}.p")))
    }
}
