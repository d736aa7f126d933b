//! A model's folder as Hugging Face has it, read as the GGUF that a converter would write of it: its configuration and
//! tokenizer become the entries of such a header, its tensors get the names and the order of rows that they have there.
//!
//! The operator chose the folder: a link in it is followed, as its cache keeps files behind links. What a file of it
//! names must lie in the folder.

mod config;
mod names;
mod tokenizer;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use agora_inference_api::EngineError;
use agora_types::{Code, Hash, HashStream};
use serde::Deserialize;

use crate::Loading;
use crate::failure::{bad_model, quoted, unsupported};
use crate::gguf::{Header, Reader, buffered};
use crate::model::{Parts, Shape};
use crate::safetensors::{Bounds, Place};
use config::Config;
pub(crate) use names::Description;

const CONFIG: &str = "config.json";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";
/// The files beside the weights, in the order of the hash; the largest each may be, and whether it must be there.
const PLAIN: [(&str, u64, bool); 4] = [
    (CONFIG, 1 << 20, true),
    (TOKENIZER, 128 << 20, true),
    (TOKENIZER_CONFIG, 16 << 20, false),
    (TEMPLATE, 1 << 20, false),
];
const INDEX_SIZE_MAX: u64 = 16 << 20;
const SHARDS_MAX: usize = 1_024;
const SHARD_NAME_SIZE_MAX: usize = 128;

const BOUNDS: Bounds = Bounds { header_size_max: 16 << 20, tensors_max: 16_384, bad: bad_model, unsupported };

/// Where the tensors of a whole file lie.
///
/// # Errors
/// `engine.bad_model`, `engine.unsupported`.
pub(crate) fn places(file: &[u8]) -> Result<Vec<Place>, EngineError> {
    BOUNDS.file(file).map(|(places, _)| places)
}

/// The folder of a path to it, or to its `config.json`.
pub(crate) fn of(path: &Path) -> Option<PathBuf> {
    if path.is_dir() {
        return Some(path.to_path_buf());
    }
    (path.file_name()? == CONFIG).then(|| path.parent().map_or_else(PathBuf::new, Path::to_path_buf))
}

/// Which file holds which tensor.
#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// A folder's files.
pub(crate) struct Folder {
    path: PathBuf,
    /// Those beside the weights that are there, in the order of the hash.
    plain: Vec<(&'static str, Vec<u8>)>,
    /// Where several files hold the weights.
    index: Option<Index>,
    /// Names and sizes of those files, by name.
    shards: Vec<(String, u64)>,
}

impl Folder {
    /// Bytes that [`Folder::open`] and [`Folder::read`] read of a folder, if it has what they need.
    pub(crate) fn size(path: &Path) -> Result<u64, EngineError> {
        let mut folder = Self { path: path.to_path_buf(), plain: Vec::new(), index: None, shards: Vec::new() };
        folder.weights()?;
        let plain = PLAIN.iter().filter_map(|(name, _, _)| fs::metadata(path.join(name)).ok());
        Ok(folder.total().saturating_add(plain.map(|file| file.len()).sum()))
    }

    /// Reads the files beside the weights, and finds those.
    pub(crate) fn open(path: &Path) -> Result<Self, EngineError> {
        let mut folder = Self { path: path.to_path_buf(), plain: Vec::new(), index: None, shards: Vec::new() };
        for (name, size_max, needed) in PLAIN {
            if needed || fs::symlink_metadata(folder.path.join(name)).is_ok() {
                folder.plain.push((name, folder.small(name, size_max)?));
            }
        }
        folder.weights()?;
        Ok(folder)
    }

    fn missing(name: &str, error: impl std::fmt::Display) -> EngineError {
        EngineError::new(Code::EngineFileMissing, format!("{name}: {error}"))
    }

    /// The size of a file, which is a plain one behind whatever links.
    fn size_of(&self, name: &str) -> Result<u64, EngineError> {
        let found = fs::metadata(self.path.join(name)).map_err(|error| Self::missing(name, error))?;
        if !found.is_file() {
            return Err(Self::missing(name, "not a file"));
        }
        Ok(found.len())
    }

    fn file(&self, name: &str) -> Result<File, EngineError> {
        File::open(self.path.join(name)).map_err(|error| Self::missing(name, error))
    }

    /// A whole file.
    fn small(&self, name: &str, size_max: u64) -> Result<Vec<u8>, EngineError> {
        self.size_of(name)?;
        let mut bytes = Vec::new();
        let read = self.file(name)?.take(size_max + 1).read_to_end(&mut bytes);
        read.map_err(|error| bad_model(format!("{name}: {error}")))?;
        if bytes.len() as u64 > size_max {
            return Err(EngineError::new(Code::EngineTooLarge, format!("{name} has more than {size_max} bytes")));
        }
        Ok(bytes)
    }

    /// Finds the files of the weights.
    fn weights(&mut self) -> Result<(), EngineError> {
        if fs::symlink_metadata(self.path.join(WEIGHTS)).is_ok() || !self.path.join(INDEX).exists() {
            self.shards = vec![(WEIGHTS.to_owned(), self.size_of(WEIGHTS)?)];
            return Ok(());
        }
        let bytes = self.small(INDEX, INDEX_SIZE_MAX)?;
        let index: Index = serde_json::from_slice(&bytes).map_err(|error| bad_model(format!("{INDEX}: {error}")))?;
        let names: BTreeSet<&String> = index.weight_map.values().collect();
        if names.is_empty() || names.len() > SHARDS_MAX {
            return Err(bad_model(format!("{INDEX} names {} files; 1 to {SHARDS_MAX} are possible", names.len())));
        }
        for name in names {
            let plain = name.bytes().all(|sign| sign.is_ascii_alphanumeric() || b"-_.".contains(&sign));
            if !plain || name.starts_with('.') || !name.ends_with(".safetensors") || name.len() > SHARD_NAME_SIZE_MAX {
                return Err(bad_model(format!("{INDEX} names the file {}", quoted(name))));
            }
            self.shards.push((name.clone(), self.size_of(name)?));
        }
        self.plain.push((INDEX, bytes));
        self.index = Some(index);
        Ok(())
    }

    /// Bytes of all files.
    pub(crate) fn total(&self) -> u64 {
        let plain = self.plain.iter().map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
        self.shards.iter().fold(plain, |sum, (_, size)| sum.saturating_add(*size))
    }

    /// The folder's name, for people; in Hugging Face's cache, `models--OWNER--NAME/snapshots/REVISION`, the model's.
    pub(crate) fn name(&self) -> String {
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let name = |above: usize| path.ancestors().nth(above)?.file_name()?.to_str();
        let cached = name(2).and_then(|name| name.strip_prefix("models--")).filter(|_| name(1) == Some("snapshots"));
        let name = cached.map(|name| name.replace("--", "/")).or_else(|| name(0).map(str::to_owned));
        name.map_or_else(|| "unnamed".to_owned(), |name| quoted(&name))
    }

    /// What the files beside the weights say.
    pub(crate) fn description(&self) -> Result<(Header, Description), EngineError> {
        let plain = |name: &str| self.plain.iter().find(|(known, _)| *known == name).map(|(_, bytes)| bytes.as_slice());
        let mut header = Header::default();
        let config = Config::read(plain(CONFIG).unwrap_or_default(), &mut header)?;
        let (extra, template) = (plain(TOKENIZER_CONFIG), plain(TEMPLATE));
        tokenizer::read(plain(TOKENIZER).unwrap_or_default(), extra, template, &config, &mut header)?;
        Ok((header, Description::new(config)))
    }

    /// Reads the weights, once, tensor by tensor in the order in which they lie, as `known` describes them; where that is an
    /// error and `hashed` asks for it, they are still hashed.
    ///
    /// The second result is the folder's hash: SHA-256 over `agora/folder/v1`, then each file's name and SHA-256, all behind
    /// their lengths; the files in the order config, tokenizer, its configuration, template, index, weights by name, those
    /// that are there.
    pub(crate) fn read(
        &mut self,
        known: Result<(&Shape, &Description), EngineError>,
        hashed: bool,
        progress: &mut dyn FnMut(Loading),
    ) -> (Result<Parts, EngineError>, Result<Hash, EngineError>) {
        let total_bytes = self.total();
        let mut before = 0_u64;
        let mut hash = Hash::stream();
        hash.piece("agora/folder/v1");
        for (name, bytes) in self.plain.drain(..) {
            piece(&mut hash, name, Hash::sha256(&bytes));
            before = before.saturating_add(bytes.len() as u64);
        }
        let mut parts = Parts::default();
        let mut result = known.map(|known| (known, 0));
        for (name, size) in &self.shards {
            if let Err(error) = &result
                && !hashed
            {
                return (Err(error.clone()), Err(error.clone()));
            }
            let mut file = match self.file(name) {
                Ok(file) => buffered(file),
                Err(error) => return (Err(error.clone()), Err(error)),
            };
            let mut tell = |loading: Loading| {
                progress(Loading { done_bytes: before.saturating_add(loading.done_bytes), total_bytes });
            };
            let mut reader = Reader::new(&mut file, *size, &mut tell);
            result = result.and_then(|((shape, description), count)| {
                let read = self.shard(name, &mut reader, shape, description, &mut parts);
                read.map(|more| ((shape, description), count + more))
                    .map_err(|error| EngineError::new(error.code, format!("{name}: {}", error.what)))
            });
            match reader.finish() {
                Ok(found) => piece(&mut hash, name, found),
                Err(error) => return (result.and(Err(error.clone())), Err(error)),
            }
            before = before.saturating_add(*size);
        }
        let result = result.and_then(|((_, description), count)| {
            if self.index.as_ref().is_some_and(|index| index.weight_map.len() != count) {
                return Err(bad_model(format!("{INDEX} names tensors that its files do not have")));
            }
            description.complete(parts)
        });
        (result, Ok(hash.finish()))
    }

    /// Reads a file of the weights; how many tensors it has.
    fn shard(
        &self,
        name: &str,
        reader: &mut Reader<'_>,
        shape: &Shape,
        description: &Description,
        parts: &mut Parts,
    ) -> Result<usize, EngineError> {
        let first = reader.array()?;
        let size = BOUNDS.header_size(first, reader.left())?;
        let header = reader.bytes(size)?;
        let data = reader.position();
        let places = BOUNDS.places(&header, reader.left())?;
        drop(header);
        let count = places.len();
        let mut tensors = Vec::new();
        for place in places {
            let elsewhere = |index: &Index| index.weight_map.get(&place.name).is_none_or(|file| file != name);
            if self.index.as_ref().is_some_and(elsewhere) {
                return Err(bad_model(format!("tensor {} is not where {INDEX} says", quoted(&place.name))));
            }
            tensors.extend(description.tensor(place, data, shape)?);
        }
        parts.read(reader, &tensors, shape)?;
        Ok(count)
    }
}

fn piece(hash: &mut HashStream, name: &str, found: Hash) {
    hash.piece(name);
    hash.piece(found.as_bytes());
}
