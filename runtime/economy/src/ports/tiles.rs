//! Where the receipt log is published: small files by their C2SP names (`tile/…`, `tile/entries/…`, `checkpoint`), which
//! anyone may copy and serve.

use super::log::LogFault;

/// Longest path, bytes.
pub const TILE_PATH_MAX: usize = 128;
/// Largest file, bytes: 256 entries of 8 KiB with their lengths, and room.
pub const TILE_SIZE_MAX: usize = 4 << 20;
/// The path of the newest checkpoint; of all files only this one changes.
pub const CHECKPOINT: &str = "checkpoint";

/// Files by path, callable from many threads. Nobody retries inside: every `put` may be repeated.
pub trait TileStore: Send + Sync {
    /// Keeps a file in the place of what was there. Durable when it returns `Ok`; until then, and whatever fails, the file
    /// is the old one or the new one, whole.
    ///
    /// # Errors
    /// `TooLarge`, and `Failed` for a path that [`is_tile_path`] refuses, before anything is written; the disk's failures,
    /// after which nobody knows which of the two files is there.
    fn put(&self, path: &str, bytes: &[u8]) -> Result<(), LogFault>;

    /// The file at a path, at most [`TILE_SIZE_MAX`] bytes.
    fn get(&self, path: &str) -> Result<Option<Vec<u8>>, LogFault>;

    /// Forgets the partial forms `<path>.p/…` of the full tile at `path`. What a failure leaves behind is only in the way.
    fn forget_partial(&self, path: &str) -> Result<(), LogFault>;
}

/// True for a path of one or more parts between slashes, each of ASCII letters, digits, `.`, `-` and `_` and none with a
/// dot in front: it cannot leave its folder, and means the same on every system.
pub fn is_tile_path(path: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && part.bytes().all(plain);
    path.len() <= TILE_PATH_MAX && path.split('/').all(part)
}

/// Whether a file may be kept. The same rule for every store.
///
/// # Errors
/// `TooLarge`, `Failed`.
pub fn check_put(path: &str, bytes: &[u8]) -> Result<(), LogFault> {
    check_path(path)?;
    if bytes.len() > TILE_SIZE_MAX {
        return Err(LogFault::TooLarge { what: "a tile", limit: TILE_SIZE_MAX });
    }
    Ok(())
}

/// Whether a path may be read.
///
/// # Errors
/// `Failed`.
pub fn check_path(path: &str) -> Result<(), LogFault> {
    if is_tile_path(path) {
        return Ok(());
    }
    // Hostile paths are cut, so that a log line stays one.
    let shown: String = path.chars().take(TILE_PATH_MAX).collect();
    Err(LogFault::Failed { doing: "looked for a tile", reason: format!("{shown:?} is no path of a tile") })
}
