//! A network's data folder: who holds it, which format it has, and where things are.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use agora_economy::ports::log::LogFault;
use agora_types::Canonical as _;
use agora_types::genesis::Genesis;

use crate::files::{io, write_synced};
use crate::frame::damage;

/// The folder format that this release writes and reads.
pub const FORMAT: &str = "agora-data 1\n";

/// `<data>/<network>/` with FORMAT, LOCK, genesis.cbor, ledger.redb, state.redb, blobs/, tiles/ and keys/, held by one
/// process.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    genesis: Genesis,
    /// The operating system releases the lock when the process ends, however it ends.
    _lock: File,
}

impl DataFolder {
    /// Creates the folder of a new network.
    ///
    /// # Errors
    /// As [`DataFolder::create_with`].
    pub fn create(path: &Path, genesis: &Genesis) -> Result<Self, LogFault> {
        Self::create_with(path, |_| Ok::<_, LogFault>(genesis.clone()))
    }

    /// Creates the folder of a new network, whose genesis file `make` gives once it has put the network's keys into the
    /// folder that it is told. What an earlier try left unfinished is removed first: nobody can have used it.
    ///
    /// # Errors
    /// What `make` says; `Failed` when there is a network already, or the disk refuses; `Locked` when another process is
    /// at it.
    pub fn create_with<E: From<LogFault>>(
        path: &Path,
        make: impl FnOnce(&Path) -> Result<Genesis, E>,
    ) -> Result<Self, E> {
        let doing = "created the data folder";
        fs::create_dir_all(path).map_err(io(doing, path))?;
        let lock = hold(path)?;
        private(path)?;
        if path.join("FORMAT").exists() {
            let reason = format!("{}: there is a network already; open it or choose another folder", path.display());
            return Err(LogFault::Failed { doing, reason }.into());
        }
        for name in ["blobs", "tiles", "keys"] {
            let folder = path.join(name);
            if folder.exists() {
                fs::remove_dir_all(&folder).map_err(io(doing, &folder))?;
            }
            fs::create_dir_all(&folder).map_err(io(doing, &folder))?;
        }
        private(&path.join("keys"))?;
        let genesis = make(&path.join("keys"))?;
        write_whole(&path.join("genesis.cbor"), &genesis.to_bytes())?;
        // Last: a folder without FORMAT was never finished.
        write_whole(&path.join("FORMAT"), FORMAT.as_bytes())?;
        Ok(Self { path: path.to_path_buf(), genesis, _lock: lock })
    }

    /// Opens a network's folder and holds it.
    ///
    /// # Errors
    /// `Locked`, `Damaged` for a folder of another format or with a broken genesis file, `Failed`.
    pub fn open(path: &Path) -> Result<Self, LogFault> {
        let doing = "opened the data folder";
        if !path.is_dir() {
            let reason = format!("{}: no such folder; create a network first", path.display());
            return Err(LogFault::Failed { doing, reason });
        }
        let lock = hold(path)?;
        let format = path.join("FORMAT");
        let text = fs::read_to_string(&format).map_err(io(doing, &format))?;
        if text != FORMAT {
            let what = format!("the folder has format `{}`, this release reads `{}`", text.trim(), FORMAT.trim());
            return Err(LogFault::Damaged { what: format!("{what}; use the release that wrote it") });
        }
        let file = path.join("genesis.cbor");
        let bytes = fs::read(&file).map_err(io(doing, &file))?;
        let genesis = Genesis::from_bytes(&bytes).map_err(|error| damage(&error.to_string()))?;
        genesis.check().map_err(damage)?;
        Ok(Self { path: path.to_path_buf(), genesis, _lock: lock })
    }

    /// The network's genesis file.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// Where the log is.
    pub fn ledger_file(&self) -> PathBuf {
        self.path.join("ledger.redb")
    }

    /// Where small state is.
    pub fn state_file(&self) -> PathBuf {
        self.path.join("state.redb")
    }

    /// Where blobs are, for [`crate::FolderBlobs`].
    pub fn blobs_folder(&self) -> PathBuf {
        self.path.join("blobs")
    }

    /// Where the published receipt log is, for [`crate::FolderTiles`].
    pub fn tiles_folder(&self) -> PathBuf {
        self.path.join("tiles")
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where keystore files are.
    pub fn keys_folder(&self) -> PathBuf {
        self.path.join("keys")
    }
}

fn hold(path: &Path) -> Result<File, LogFault> {
    let doing = "locked the data folder";
    let file = path.join("LOCK");
    let lock = File::options().create(true).truncate(false).write(true).open(&file).map_err(io(doing, &file))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(LogFault::Locked),
        Err(TryLockError::Error(error)) => Err(io(doing, &file)(error)),
    }
}

/// Writes a file so that it is there whole or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), LogFault> {
    let doing = "wrote a file";
    let fresh = path.with_extension("new");
    write_synced(&fresh, bytes).map_err(io(doing, &fresh))?;
    fs::rename(&fresh, path).map_err(io(doing, path))?;
    if let Some(parent) = path.parent() {
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(io(doing, parent))?;
    }
    Ok(())
}

#[cfg(unix)]
fn private(path: &Path) -> Result<(), LogFault> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io("made the folder private", path))
}

#[cfg(not(unix))]
fn private(_: &Path) -> Result<(), LogFault> {
    Ok(())
}
