//! Compiled components on disk, so that a node's next start compiles nothing.
//!
//! An entry is machine code, and loading it is as good as running it. So the folder is private, an entry is read into
//! memory once, and it is used only if it carries the hash of itself and of the component it was made from. That guards
//! against damage and mix-ups; against somebody who may write as this user nothing does.
//!
//! The cache is never needed: whatever fails here means one more compilation.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use agora_sandbox_api::AgentError;
use agora_types::{Code, Hash};
use wasmtime::Engine;
use wasmtime::component::Component;

/// First bytes of an entry: what it is, and the version of this layout.
const MAGIC: &[u8; 8] = b"agoraAOT";
const HASH_SIZE: usize = 32;
/// Entries that are kept; the oldest go first.
const ENTRIES_MAX: usize = 64;

pub(crate) struct Cache {
    folder: PathBuf,
    /// Of the engine's version, settings and machine: code of another engine has another name.
    engine: u64,
}

impl Cache {
    pub(crate) fn open(folder: PathBuf, engine: &Engine) -> Result<Self, AgentError> {
        let failed = |error| AgentError::new(Code::NodeIo, format!("{}: {error}", folder.display()));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed)?;
        // Fails when the folder belongs to another user.
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self { folder, engine: hasher.finish() })
    }

    fn path(&self, component: &Hash) -> PathBuf {
        self.folder.join(format!("{component}-{:016x}.cwasm", self.engine))
    }

    /// The component's code, if a whole entry of this engine is there.
    pub(crate) fn read(&self, engine: &Engine, component: &Hash) -> Option<Component> {
        let path = self.path(component);
        let metadata = fs::symlink_metadata(&path).ok()?;
        if !metadata.is_file() || metadata.mode() & 0o077 != 0 {
            return None;
        }
        let bytes = fs::read(&path).ok()?;
        let code = checked(&bytes, component)?;
        deserialize(engine, code).ok()
    }

    /// Keeps the code; a failure only costs a compilation later.
    pub(crate) fn write(&self, code: &Component, component: &Hash) {
        let Ok(code) = code.serialize() else { return };
        let mut bytes = Vec::with_capacity(MAGIC.len() + HASH_SIZE + code.len());
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(seal(component, &code).as_bytes());
        bytes.extend_from_slice(&code);
        let path = self.path(component);
        if write_private(&path, &bytes).is_ok() {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&self) {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let age = |entry: fs::DirEntry| {
            let written = entry.metadata().and_then(|metadata| metadata.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
            (written, entry.path())
        };
        let mut entries: Vec<_> = entries.map(age).collect();
        entries.sort();
        for (_, path) in entries.iter().take(entries.len().saturating_sub(ENTRIES_MAX)) {
            let _ = fs::remove_file(path);
        }
    }
}

/// Ties code to the component it was made from.
fn seal(component: &Hash, code: &[u8]) -> Hash {
    let mut bytes = component.as_bytes().to_vec();
    bytes.extend_from_slice(Hash::sha256(code).as_bytes());
    Hash::sha256(&bytes)
}

/// The code of a whole entry.
fn checked<'a>(bytes: &'a [u8], component: &Hash) -> Option<&'a [u8]> {
    let (sealed, code) = bytes.strip_prefix(MAGIC)?.split_at_checked(HASH_SIZE)?;
    (sealed == seal(component, code).as_bytes().as_slice()).then_some(code)
}

#[allow(unsafe_code)]
fn deserialize(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `serialize` of this crate made these bytes: the file lies in a folder that only this user may write, under
    // a name that holds the engine's compatibility hash, and its seal has just been checked on this very copy in memory.
    unsafe { Component::deserialize(engine, code) }
}

/// Writes beside and renames: a crash leaves a stray file, never half an entry.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_extension(format!("{}-{count}.tmp", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written
}
