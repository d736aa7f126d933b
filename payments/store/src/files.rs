//! Whole files below one folder: written beside, synced, renamed, and the way to them synced too.
//!
//! | the power fails | on disk | after the start |
//! |---|---|---|
//! | before the rename | the old file or none, and a fresh one in `.new/` | `.new/` is emptied |
//! | after the rename, before the folders are synced | the old file or the new one | the caller, without an answer, repeats |
//! | after that | the new file | |

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use agora_economy::ports::log::LogFault;

use crate::frame::damage;

/// Where files are while they are written; on the same file system, so that a rename is one step.
const FRESH: &str = ".new";

/// A folder that one process writes to, from any number of threads.
#[derive(Debug)]
pub(crate) struct Files {
    root: PathBuf,
    /// Tells the fresh files of threads apart.
    count: AtomicU64,
}

/// The system's failure with the file it was about.
pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> LogFault {
    let path = path.display().to_string();
    move |error| LogFault::Failed { doing, reason: format!("{path}: {error}") }
}

impl Files {
    /// Opens or creates the folder, and removes what a crash left half written.
    pub(crate) fn open(root: &Path) -> Result<Self, LogFault> {
        let doing = "opened a folder";
        let fresh = root.join(FRESH);
        match fs::remove_dir_all(&fresh) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(io(doing, &fresh)(error)),
            _ => {}
        }
        fs::create_dir_all(&fresh).map_err(io(doing, &fresh))?;
        sync_folder(root)?;
        let parent = root.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        sync_folder(parent)?;
        Ok(Self { root: root.to_path_buf(), count: AtomicU64::new(0) })
    }

    /// Keeps a file at a path inside the folder, which the caller has checked. Durable when it returns `Ok`.
    pub(crate) fn put(&self, path: &Path, bytes: &[u8]) -> Result<(), LogFault> {
        let doing = "wrote a file";
        let target = self.root.join(path);
        let folder = target.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).map_err(io(doing, folder))?;
        let fresh = self.root.join(FRESH).join(self.count.fetch_add(1, Ordering::Relaxed).to_string());
        let written = write_synced(&fresh, bytes).and_then(|()| fs::rename(&fresh, &target));
        if let Err(error) = written {
            // A full disk should get its room back at once; the next start would do it anyway.
            let _ = fs::remove_file(&fresh);
            return Err(io(doing, &target)(error));
        }
        self.sync(path)
    }

    /// Makes the way to a file durable: every folder up to the root, also the old ones, since an earlier life may have made
    /// one and died before its sync.
    pub(crate) fn sync(&self, path: &Path) -> Result<(), LogFault> {
        for folder in self.root.join(path).ancestors().skip(1) {
            sync_folder(folder)?;
            if folder == self.root {
                break;
            }
        }
        Ok(())
    }

    /// The file at a path; more than `size_max` bytes are damage.
    pub(crate) fn get(&self, path: &Path, size_max: usize) -> Result<Option<Vec<u8>>, LogFault> {
        let doing = "read a file";
        let path = self.root.join(path);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(error) => return Err(io(doing, &path)(error)),
        };
        if !file.metadata().map_err(io(doing, &path))?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(size_max as u64 + 1).read_to_end(&mut bytes).map_err(io(doing, &path))?;
        if bytes.len() > size_max {
            return Err(damage(&format!("{} has more than {size_max} bytes", path.display())));
        }
        Ok(Some(bytes))
    }

    /// Removes a folder with everything in it; none is none.
    pub(crate) fn remove_folder(&self, path: &Path) -> Result<(), LogFault> {
        let path = self.root.join(path);
        match fs::remove_dir_all(&path) {
            Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Err(io("removed a folder", &path)(error))
            }
            _ => Ok(()),
        }
    }
}

pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> Result<(), LogFault> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(io("synced a folder", path))
}
