//! Small files: read with a bound, written whole or not at all, and private where they hold secrets.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::Path;

use agora_types::Code;

use crate::failure::{Failure, Outcome};

/// What happens to a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// It stays.
    Refuse,
    /// It is exchanged, at once and whole.
    Replace,
}

/// Writes a file that only its owner may read. After a crash it is there whole, or not at all, or as it was before.
///
/// `Ok(false)`: there is one already, and `existing` refuses.
///
/// # Errors
/// `node.io`.
pub fn write_private(path: &Path, bytes: &[u8], existing: Existing) -> Outcome<bool> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // The temporary file has mode 0600 from its creation on.
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder).map_err(Failure::io(folder))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(Failure::io(file.path()))?;
    let placed = match existing {
        Existing::Refuse => file.persist_noclobber(path),
        Existing::Replace => file.persist(path),
    };
    match placed {
        Ok(_) => sync_folder(folder).map(|()| true),
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Failure::io(path)(error.error)),
    }
}

/// Makes a renamed file's name durable.
///
/// # Errors
/// `node.io`.
pub fn sync_folder(folder: &Path) -> Outcome<()> {
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Failure::io(folder))?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

/// Creates a folder that only its owner may enter; one that is there keeps its mode.
///
/// # Errors
/// `node.io`.
pub fn create_private_folder(path: &Path) -> Outcome<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(Failure::io(path))
}

/// Opens a file that a user named.
///
/// # Errors
/// `node.file_not_found`, `node.io`.
pub fn open(path: &Path) -> Outcome<File> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Failure::new(Code::FileMissing, path.display().to_string()))
        }
        file => file.map_err(Failure::io(path)),
    }
}

/// Reads a file of at most `limit` bytes; `None` for a longer one.
///
/// # Errors
/// `node.io`.
pub fn read_bounded(file: File, path: &Path, limit: usize) -> Outcome<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(Failure::io(path))?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

/// Refuses a file that group or others may read or write. The open file is asked, so it cannot be exchanged between.
///
/// # Errors
/// `keystore.permissions`, `node.io`.
pub fn require_private(file: &File, path: &Path) -> Outcome<()> {
    let metadata = file.metadata().map_err(Failure::io(path))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = metadata.permissions().mode() & 0o777;
        // Pipes are as private as the process that holds them.
        if metadata.is_file() && mode & 0o077 != 0 {
            let what = format!("{} has mode {mode:04o}", path.display());
            let advice = format!("others may read it; make it private: chmod 600 '{}'", path.display());
            return Err(Failure::new(Code::KeystorePermissions, what).advise(advice));
        }
    }
    #[cfg(not(unix))]
    let _ = metadata;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_whole_and_never_silently_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(write_private(&path, b"one", Existing::Refuse).unwrap());
        assert!(!write_private(&path, b"two", Existing::Refuse).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert!(write_private(&path, b"three", Existing::Replace).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"three");
        require_private(&File::open(&path).unwrap(), &path).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays behind");
    }

    #[test]
    fn a_long_file_is_not_read_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, [0; 100]).unwrap();
        let read = |limit| read_bounded(File::open(&path).unwrap(), &path, limit).unwrap();
        assert_eq!(read(100).map(|bytes| bytes.len()), Some(100));
        assert_eq!(read(99), None);
    }
}
