//! The adapters of a node: the folders among its data, taken up at its start or while it runs, each with what measures it.
//!
//! What is known of them lives in memory: a start takes up every folder that is there. One adapter is taken up at a time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::SystemTime;

use agora_inference_api::{AdapterInfo, Engine as _, EngineError};
use agora_influence::{Adapter, Index, InfluenceError, Measurer};
use agora_openlora::OpenLora;
use agora_openlora::weights::Weights;
use agora_shell::{Failure, Outcome, Printer, text};
use agora_types::{Code, Hash};

/// Where an adapter's attribution index lies inside its folder.
pub(crate) const INDEX: &str = "attribution";
/// How the name of a folder ends that is not finished.
const UNFINISHED: &str = ".part";
/// Bytes of an adapter's name.
const NAME_SIZE_MAX: usize = 64;
/// Earlier indexes of an adapter that are opened, the newest of them; older ones serve `agora receipt recompute` only.
const EARLIER_MAX: usize = 4;
/// Answers that wait to be measured; further ones are tried again later.
const MEASURED_QUEUE_MAX: usize = 64;

/// The folder of an index that another one took the place of, inside its adapter's: calls that wait and receipts that were
/// given name its spec.
pub(crate) fn earlier(spec: &Hash) -> String {
    format!("{INDEX}-{}", hex::encode(&spec.as_bytes()[..8]))
}

/// The folder of an index that is being built, inside its adapter's.
pub(crate) fn unfinished() -> String {
    format!("{INDEX}{UNFINISHED}")
}

/// Whether a folder of this name can hold an adapter: one plain component that the engine takes as a name, of something
/// that is finished.
///
/// # Errors
/// `node.bad_config`.
pub(crate) fn check_name(name: &str) -> Outcome<()> {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || matches!(sign, '-' | '_' | '.');
    let good = (1..=NAME_SIZE_MAX).contains(&name.len()) && name.chars().all(plain) && !name.starts_with('.');
    if good && !name.ends_with(UNFINISHED) {
        return Ok(());
    }
    let what = format!("`{}` cannot name an adapter", text::plain(name));
    Err(Failure::usage(what).advise("use letters, digits, `-`, `_` and `.`, at most 64, and no `.part` at the end"))
}

/// The engine's adapters and what measures their answers. Callable from many threads that may block.
pub(crate) struct Adapters {
    folder: PathBuf,
    engine: Arc<OpenLora>,
    measurer: Arc<Measurer>,
    /// Absent where they lie on a device: nothing is measured there.
    weights: Option<Weights>,
    /// Held by whoever takes one up or out.
    turn: Mutex<()>,
}

impl Adapters {
    /// None yet.
    ///
    /// # Errors
    /// `node.io` if the system gives no thread.
    pub(super) fn new(engine: Arc<OpenLora>, folder: &Path, threads: usize) -> Outcome<Self> {
        let measurer = Measurer::start(threads, MEASURED_QUEUE_MAX).map_err(Failure::io(folder))?;
        let weights = engine.weights().ok();
        let folder = folder.to_path_buf();
        Ok(Self { folder, engine, measurer: Arc::new(measurer), weights, turn: Mutex::new(()) })
    }

    /// What measures their answers. It may know nothing yet.
    pub(super) fn measurer(&self) -> Arc<Measurer> {
        Arc::clone(&self.measurer)
    }

    /// The base model's numbers and tokenizer.
    pub(super) fn weights(&self) -> Option<Weights> {
        self.weights.clone()
    }

    /// Takes up every adapter of the folder. One that is not as it should be is left out, and said so: the others are
    /// served.
    ///
    /// # Errors
    /// `node.io` if the folder cannot be read.
    pub(super) fn load_all(&self, printer: &Printer) -> Outcome<()> {
        for path in self.folders()? {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let warn = |what: &str| printer.warn(&format!("adapter {} {what}", text::plain(&name)));
            if let Err(EngineError { code, what, .. }) = self.engine.load_adapter(&name, &path) {
                warn(&format!("is left out: {what} ({code})"));
                continue;
            }
            let measured = self.indexes(&path, &warn).and_then(|indexes| self.measure(indexes));
            if let Err(Failure { code, what, .. }) = measured {
                warn(&format!("cannot be measured: {what} ({code})"));
            }
        }
        Ok(())
    }

    /// Takes up the adapter of a folder, or takes it up anew: one that was known by its name before is not served any
    /// more. Where it fails, what was served before is served.
    ///
    /// # Errors
    /// `node.bad_config` for what is no name, `engine.unknown_adapter` without its folder, `engine.busy` while another
    /// one is taken up, `engine.bad_adapter`, `engine.too_large`, `attribution.*` for its index.
    pub(super) fn load(&self, name: &str) -> Outcome<AdapterInfo> {
        check_name(name)?;
        let _turn = self.turn()?;
        let path = self.folder.join(name);
        if !path.is_dir() {
            let what = format!("no adapter `{name}` at {}", path.display());
            return Err(Failure::new(Code::EngineUnknownAdapter, what)
                .advise("put its folder there, or train it with `agora factory train`"));
        }
        let warn = |what: &str| tracing::warn!("adapter {name} {what}");
        // What measures it comes first: nobody shall offer it meanwhile as one that nothing measures.
        let indexes = self.indexes(&path, &warn)?;
        let indexed = indexes.last().map(|index| index.spec().adapter_hash);
        self.measure(indexes)?;
        let info = self.engine.load_adapter(name, &path).map_err(engine_failure)?;
        if indexed.is_some_and(|hash| hash != info.hash) {
            return Err(Failure::new(Code::EngineBadAdapter, format!("the files of `{name}` changed meanwhile"))
                .advise("load it again once all of them are there"));
        }
        self.forget(name, Some(info.hash))?;
        tracing::info!(adapter = name, hash = %info.hash, "serves an adapter");
        Ok(info)
    }

    /// Serves an adapter no longer. Its files stay, and what measures it: calls that wait are measured.
    ///
    /// # Errors
    /// `node.bad_config` for what is no name, `engine.unknown_adapter` for one that is not served, `engine.busy` while
    /// another one is taken up.
    pub(super) fn unload(&self, name: &str) -> Outcome<AdapterInfo> {
        check_name(name)?;
        let _turn = self.turn()?;
        let gone = self.forget(name, None)?;
        let unknown = || Failure::new(Code::EngineUnknownAdapter, format!("no adapter `{name}` is served"));
        let info = gone.into_iter().next().ok_or_else(unknown)?;
        tracing::info!(adapter = name, hash = %info.hash, "serves an adapter no longer");
        Ok(info)
    }

    fn turn(&self) -> Outcome<MutexGuard<'_, ()>> {
        match self.turn.try_lock() {
            Ok(turn) => Ok(turn),
            // Whoever panicked with it left nothing half done that loading again would not mend.
            Err(TryLockError::Poisoned(turn)) => Ok(turn.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Failure::new(Code::EngineBusy, "another adapter is being taken up")
                .advise("one is taken up at a time: try again in a moment")),
        }
    }

    /// Folders of adapters, by name.
    fn folders(&self) -> Outcome<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::io(&self.folder)(error)),
        };
        let mut folders = Vec::new();
        for entry in entries {
            let path = entry.map_err(Failure::io(&self.folder))?.path();
            let is_finished = path.file_name().is_some_and(|name| !name.to_string_lossy().ends_with(UNFINISHED));
            if is_finished && path.is_dir() {
                folders.push(path);
            }
        }
        folders.sort();
        Ok(folders)
    }

    /// Opens an adapter's indexes: earlier ones as far as they are good, then the one that new calls are measured by.
    fn indexes(&self, folder: &Path, warn: &dyn Fn(&str)) -> Outcome<Vec<Index>> {
        let place = folder.join(INDEX);
        let earlier = earlier_of(folder);
        if earlier.is_empty() && !place.is_dir() {
            return Ok(Vec::new());
        }
        let Some(weights) = &self.weights else {
            warn("cannot be measured: the base model lies on a device");
            return Ok(Vec::new());
        };
        let adapter = Adapter::read(weights, folder).map_err(engine_failure)?;
        let mut indexes = Vec::with_capacity(earlier.len() + 1);
        for path in earlier {
            match Index::open(&path, adapter.clone()) {
                Ok(index) => indexes.push(index),
                Err(error) => warn(&format!("has an earlier index that is left out: {error} ({})", error.code())),
            }
        }
        if place.is_dir() {
            indexes.push(Index::open(&place, adapter).map_err(influence_failure)?);
        }
        Ok(indexes)
    }

    /// Hands indexes to the measurer; the last one measures new calls.
    fn measure(&self, indexes: Vec<Index>) -> Outcome<()> {
        let Some(weights) = &self.weights else { return Ok(()) };
        let add = |index| self.measurer.add(index, weights.clone()).map_err(influence_failure);
        indexes.into_iter().try_for_each(add)
    }

    /// Unloads what is known by a name, but for one.
    fn forget(&self, name: &str, but: Option<Hash>) -> Outcome<Vec<AdapterInfo>> {
        let mut known = self.engine.adapters();
        known.retain(|known| known.name == name && Some(known.hash) != but);
        known.iter().try_for_each(|known| self.engine.unload_adapter(&known.hash)).map_err(engine_failure)?;
        Ok(known)
    }
}

/// The folders of an adapter's earlier indexes, oldest first, at most [`EARLIER_MAX`].
fn earlier_of(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let begin = format!("{INDEX}-");
    let mut found: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&begin))
        .filter_map(|entry| {
            let about = entry.metadata().ok().filter(std::fs::Metadata::is_dir)?;
            Some((about.modified().ok()?, entry.path()))
        })
        .collect();
    found.sort_unstable();
    let older = found.len().saturating_sub(EARLIER_MAX);
    found.into_iter().skip(older).map(|(_, path)| path).collect()
}

fn engine_failure(error: EngineError) -> Failure {
    Failure::new(error.code, error.what)
}

fn influence_failure(error: InfluenceError) -> Failure {
    Failure::new(error.code(), error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_plain_component_of_something_finished() {
        for good in ["crafts-1", "a", "A_b.c", "part", "x.parts"] {
            check_name(good).unwrap();
        }
        let long = "x".repeat(65);
        for wrong in
            ["", ".", "..", "../x", "x/y", "/x", "x/", "x\\y", ".x", "x.part", "ä", "x\0", "x y", long.as_str()]
        {
            assert_eq!(check_name(wrong).unwrap_err().code, Code::NodeConfig, "{wrong:?}");
        }
    }

    #[test]
    fn of_earlier_indexes_the_newest_are_opened_oldest_first() {
        let home = tempfile::tempdir().unwrap();
        let names: Vec<String> = (0..=EARLIER_MAX).map(|at| earlier(&Hash::sha256(at.to_be_bytes()))).collect();
        for (name, age) in names.iter().zip(1u64..) {
            let folder = home.path().join(name);
            std::fs::create_dir(&folder).unwrap();
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(age);
            std::fs::File::open(&folder).unwrap().set_modified(time).unwrap();
        }
        for other in [INDEX, &unfinished(), "papers"] {
            std::fs::create_dir(home.path().join(other)).unwrap();
        }
        std::fs::write(home.path().join(format!("{INDEX}-file")), "").unwrap();
        let found: Vec<PathBuf> = names[1..].iter().map(|name| home.path().join(name)).collect();
        assert_eq!(earlier_of(home.path()), found);
        assert!(earlier_of(&home.path().join("nowhere")).is_empty());
        assert_eq!(names[0].len(), "attribution-".len() + 16);
    }

    #[test]
    fn one_adapter_is_taken_up_at_a_time() {
        let model =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../inference/openlora/tests/data/families/llama.gguf");
        let settings = agora_openlora::Settings { threads: 1, ..agora_openlora::Settings::default() };
        let engine = Arc::new(OpenLora::load(&model, None, settings, &mut |_| {}).unwrap());
        let home = tempfile::tempdir().unwrap();
        let adapters = Adapters::new(engine, &home.path().join("adapters"), 1).unwrap();
        let turn = adapters.turn().unwrap();
        assert_eq!(adapters.load("x").unwrap_err().code, Code::EngineBusy);
        assert_eq!(adapters.unload("x").unwrap_err().code, Code::EngineBusy);
        drop(turn);
        assert_eq!(adapters.load("x").unwrap_err().code, Code::EngineUnknownAdapter, "it was the other's turn only");
        assert_eq!(adapters.unload("x").unwrap_err().code, Code::EngineUnknownAdapter);
        assert_eq!(adapters.load("../x").unwrap_err().code, Code::NodeConfig);
    }
}
