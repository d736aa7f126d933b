//! Headers of safetensors files: bounded, and every byte of the data belongs to exactly one tensor.

use std::collections::BTreeMap;

use agora_inference_api::EngineError;
use serde::Deserialize;

use crate::failure::quoted;
use crate::gguf::Format;

/// What a reader of such files takes, and how it calls what it refuses.
pub(crate) struct Bounds {
    pub(crate) header_size_max: u64,
    pub(crate) tensors_max: usize,
    /// A malformed file.
    pub(crate) bad: fn(String) -> EngineError,
    /// Numbers of an unknown type.
    pub(crate) unsupported: fn(String) -> EngineError,
}

/// An entry of the header.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// Where a tensor lies and what it holds.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    /// Outermost first: rows, columns.
    pub(crate) shape: Vec<u64>,
    pub(crate) format: Format,
    /// From the start of the data.
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl Bounds {
    /// The header's size by the file's first eight bytes, which `left` bytes follow.
    pub(crate) fn header_size(&self, first: [u8; 8], left: u64) -> Result<usize, EngineError> {
        let size = u64::from_le_bytes(first);
        let sound = size <= self.header_size_max && size <= left;
        let size = usize::try_from(size).ok().filter(|_| sound);
        size.ok_or_else(|| (self.bad)(format!("a header of {} bytes", u64::from_le_bytes(first))))
    }

    /// The tensors of a whole file, in the order in which they lie, and the data behind its header.
    pub(crate) fn file<'a>(&self, file: &'a [u8]) -> Result<(Vec<Place>, &'a [u8]), EngineError> {
        let short = || (self.bad)("the weights file is too short".to_owned());
        let (first, rest) = file.split_first_chunk::<8>().ok_or_else(short)?;
        let (header, data) = rest.split_at(self.header_size(*first, rest.len() as u64)?);
        Ok((self.places(header, data.len() as u64)?, data))
    }

    /// The tensors of `data_size` bytes, in the order in which they lie.
    pub(crate) fn places(&self, header: &[u8], data_size: u64) -> Result<Vec<Place>, EngineError> {
        let mut raw: BTreeMap<String, serde_json::Value> =
            serde_json::from_slice(header).map_err(|error| (self.bad)(format!("the header: {error}")))?;
        raw.remove("__metadata__");
        if raw.len() > self.tensors_max {
            return Err((self.bad)(format!("{} tensors; at most {}", raw.len(), self.tensors_max)));
        }
        let mut places = Vec::new();
        for (name, entry) in raw {
            let bad = |what: &str| (self.bad)(format!("tensor {}: {what}", quoted(&name)));
            let entry: Entry = serde_json::from_value(entry).map_err(|_| bad("a malformed entry"))?;
            let (format, width) = match entry.dtype.as_str() {
                "F32" => (Format::F32, 4_u64),
                "F16" => (Format::F16, 2),
                "BF16" => (Format::Bf16, 2),
                _ => {
                    let what = format!("tensor {}: the type is not F32, F16 or BF16", quoted(&name));
                    return Err((self.unsupported)(what));
                }
            };
            let [start, end] = entry.data_offsets;
            let size = entry.shape.iter().try_fold(width, |size, side| size.checked_mul(*side));
            let size = size.filter(|size| end.checked_sub(start) == Some(*size) && end <= data_size);
            let size = size.ok_or_else(|| bad("its place does not fit its shape"))?;
            places.push(Place { name, shape: entry.shape, format, start, size });
        }
        places.sort_by_key(|place| (place.start, place.size));
        let mut at = 0;
        for place in &places {
            if place.start != at {
                return Err((self.bad)("the tensors overlap or leave gaps".to_owned()));
            }
            // Inside the data, as checked above.
            at = at.saturating_add(place.size);
        }
        if at != data_size {
            return Err((self.bad)("the tensors leave bytes over".to_owned()));
        }
        Ok(places)
    }
}
