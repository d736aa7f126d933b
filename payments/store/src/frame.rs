//! Our own checksum around every value, and redb's failures in the words of the port.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use agora_economy::ports::log::LogFault;
use agora_types::Hash;

/// `SHA-256(place ‖ 0 ‖ key ‖ value) ‖ value`: a value that was moved to another key or table does not pass.
pub(crate) fn seal(place: &str, key: &[u8], value: &[u8]) -> Vec<u8> {
    let sum = Hash::sha256_of(&[place.as_bytes(), &[0], key, value]);
    [sum.as_bytes().as_slice(), value].concat()
}

/// The value inside a sealed one.
pub(crate) fn open(place: &str, key: &[u8], sealed: &[u8]) -> Result<Vec<u8>, LogFault> {
    let damaged = || damage(&format!("a value of `{place}` does not match its checksum"));
    let (sum, value) = sealed.split_at_checked(Hash::SIZE).ok_or_else(damaged)?;
    if Hash::sha256_of(&[place.as_bytes(), &[0], key, value]).as_bytes() != sum {
        return Err(damaged());
    }
    Ok(value.to_vec())
}

/// Damage, and what to do about it.
pub(crate) fn damage(what: &str) -> LogFault {
    LogFault::Damaged { what: format!("{what}; restore the data folder from a copy, nothing was changed") }
}

/// The system's failure while `doing` something.
pub(crate) fn failed<E: Into<redb::Error>>(doing: &'static str) -> impl FnOnce(E) -> LogFault {
    move |error| match error.into() {
        redb::Error::Corrupted(what) => damage(&what),
        redb::Error::DatabaseAlreadyOpen => LogFault::Locked,
        error => LogFault::Failed { doing, reason: error.to_string() },
    }
}

/// Runs `work`; a panic inside redb, which hostile bytes can cause, is damage.
pub(crate) fn guarded<T>(doing: &str, work: impl FnOnce() -> Result<T, LogFault>) -> Result<T, LogFault> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(damage(&format!("the file broke off while {doing}"))))
}

/// Makes a database file that is there whole or not at all: a power failure during its creation leaves no file.
pub(crate) fn create_whole(path: &Path, make: impl FnOnce(&Path) -> Result<(), LogFault>) -> Result<(), LogFault> {
    let doing = "created a database";
    let io = |error: std::io::Error| LogFault::Failed { doing, reason: format!("{}: {error}", path.display()) };
    if path.try_exists().map_err(io)? {
        return Ok(());
    }
    let fresh = path.with_extension("new");
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
        _ => {}
    }
    make(&fresh)?;
    std::fs::rename(&fresh, path).map_err(io)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}
