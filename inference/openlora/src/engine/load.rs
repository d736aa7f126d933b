//! Reads a base model: from a GGUF, or from a folder that says the same.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use agora_inference_api::EngineError;
use agora_kernels::Simd;
use agora_types::{Code, Hash};

use crate::failure::{bad_model, quoted};
use crate::folder::Folder;
use crate::gguf::{Header, Reader, buffered};
use crate::model::{Model, Parts, Shape};
use crate::text::Text;
use crate::{Loading, Settings};

/// Largest model.
const SIZE_MAX: u64 = 64 << 30;

/// A base model as its files give it.
pub(crate) struct Base {
    pub(crate) name: String,
    pub(crate) model: Model,
    pub(crate) text: Text,
    pub(crate) hash: Hash,
}

/// A model's file and its size.
pub(crate) fn open(path: &Path) -> Result<(BufReader<File>, u64), EngineError> {
    let missing =
        |error: std::io::Error| EngineError::new(Code::EngineFileMissing, format!("{}: {error}", path.display()));
    let file = File::open(path).map_err(missing)?;
    let found = file.metadata().map_err(missing)?;
    if !found.is_file() {
        return Err(EngineError::new(Code::EngineFileMissing, format!("{} is not a file", path.display())));
    }
    Ok((buffered(file), found.len()))
}

/// Reads a GGUF of `size` bytes.
pub(crate) fn file(
    source: &mut dyn Read,
    size: u64,
    expected: Option<Hash>,
    settings: &Settings,
    progress: &mut dyn FnMut(Loading),
) -> Result<Base, EngineError> {
    bounded(size)?;
    let mut reader = Reader::new(source, size, progress);
    let read = gguf(&mut reader, settings);
    let hash = reader.finish();
    judge(expected, &hash)?;
    let (name, model, text) = read?;
    Ok(Base { name, model, text, hash: hash? })
}

/// Name, weights and tokenizer.
fn gguf(reader: &mut Reader<'_>, settings: &Settings) -> Result<(String, Model, Text), EngineError> {
    let mut header = Header::read(reader)?;
    let name = header.text("general.name")?.map_or_else(|| "unnamed".to_owned(), quoted);
    let (text, shape) = describe(&mut header, settings)?;
    let mut parts = Parts::default();
    parts.read(reader, &header.tensors, &shape)?;
    Ok((name, Model::new(parts, shape, simd(settings))?, text))
}

/// Reads a folder of Hugging Face's form.
pub(crate) fn folder(
    path: &Path,
    expected: Option<Hash>,
    settings: &Settings,
    progress: &mut dyn FnMut(Loading),
) -> Result<Base, EngineError> {
    let mut folder = Folder::open(path)?;
    bounded(folder.total())?;
    let described = folder.description().and_then(|(mut header, description)| {
        let (text, shape) = describe(&mut header, settings)?;
        Ok((text, shape, description))
    });
    let known = described.as_ref().map(|(_, shape, description)| (shape, description)).map_err(Clone::clone);
    let (parts, hash) = folder.read(known, expected.is_some(), progress);
    judge(expected, &hash)?;
    let (parts, (text, shape, _)) = (parts?, described?);
    Ok(Base { name: folder.name(), model: Model::new(parts, shape, simd(settings))?, text, hash: hash? })
}

fn bounded(size: u64) -> Result<(), EngineError> {
    match size <= SIZE_MAX {
        true => Ok(()),
        false => Err(EngineError::new(Code::EngineTooLarge, format!("{size} bytes; at most {SIZE_MAX}"))),
    }
}

/// A promised hash is judged first: what was damaged on its way is the wrong model.
fn judge(expected: Option<Hash>, found: &Result<Hash, EngineError>) -> Result<(), EngineError> {
    match (expected, found) {
        (Some(expected), Ok(hash)) if expected != *hash => {
            Err(EngineError::new(Code::EngineWrongHash, format!("{hash}, not {expected}")))
        }
        (Some(_) | None, Ok(_) | Err(_)) => Ok(()),
    }
}

fn simd(settings: &Settings) -> Simd {
    if settings.portable { Simd::PORTABLE } else { Simd::best() }
}

/// Tokenizer and shape.
fn describe(header: &mut Header, settings: &Settings) -> Result<(Text, Shape), EngineError> {
    let text = Text::read(header)?;
    let shape = Shape::read(header, text.vocabulary(), settings.context_max)?;
    if shape.context < 2 {
        return Err(bad_model("a context of less than two tokens"));
    }
    Ok((text, shape))
}
