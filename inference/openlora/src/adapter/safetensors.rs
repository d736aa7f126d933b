//! A bounded reader of safetensors files.

use std::collections::BTreeMap;

use agora_inference_api::EngineError;
use serde::Deserialize;

use crate::failure::{bad_adapter, quoted};
use crate::gguf::Format;

/// Most bytes of the header.
const HEADER_SIZE_MAX: u64 = 4 << 20;
/// Most tensors: two for each of seven matrices of 256 layers.
const TENSORS_MAX: usize = 2 * 7 * 256;

/// An entry of the header.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

/// A matrix of the file.
pub(super) struct Tensor<'a> {
    pub(super) rows: usize,
    pub(super) columns: usize,
    format: Format,
    bytes: &'a [u8],
}

impl Tensor<'_> {
    /// Its numbers, row by row; `None` if one is not finite.
    pub(super) fn numbers(&self) -> Option<Vec<f32>> {
        let width = if self.format == Format::F32 { 4 } else { 2 };
        let numbers = self.bytes.chunks_exact(width).map(|bytes| self.format.number(bytes));
        numbers.map(|number| number.is_finite().then_some(number)).collect()
    }
}

/// The matrices of a file, by name. Every byte of its data belongs to exactly one of them.
pub(super) fn read(file: &[u8]) -> Result<BTreeMap<String, Tensor<'_>>, EngineError> {
    let (size, rest) = file.split_first_chunk::<8>().ok_or_else(|| bad_adapter("the weights file is too short"))?;
    let size = u64::from_le_bytes(*size);
    if size > HEADER_SIZE_MAX || size > rest.len() as u64 {
        return Err(bad_adapter(format!("the weights file has a header of {size} bytes")));
    }
    let (header, data) = rest.split_at(usize::try_from(size).unwrap_or(rest.len()));
    let mut raw: BTreeMap<String, serde_json::Value> =
        serde_json::from_slice(header).map_err(|error| bad_adapter(format!("the weights' header: {error}")))?;
    raw.remove("__metadata__");
    if raw.len() > TENSORS_MAX {
        return Err(bad_adapter(format!("{} tensors; at most {TENSORS_MAX}", raw.len())));
    }
    let mut tensors = BTreeMap::new();
    let mut ranges = Vec::new();
    for (name, entry) in raw {
        let bad = |what: &str| bad_adapter(format!("tensor {}: {what}", quoted(&name)));
        let entry: Entry = serde_json::from_value(entry).map_err(|_| bad("a malformed entry"))?;
        let (format, width) = match entry.dtype.as_str() {
            "F32" => (Format::F32, 4),
            "F16" => (Format::F16, 2),
            "BF16" => (Format::Bf16, 2),
            _ => return Err(bad("the type is not F32, F16 or BF16")),
        };
        let [start, end] = entry.data_offsets;
        let &[rows, columns] = entry.shape.as_slice() else { return Err(bad("not a matrix")) };
        let size = rows.checked_mul(columns).and_then(|count| count.checked_mul(width));
        if size.is_none() || size != end.checked_sub(start) || end > data.len() as u64 {
            return Err(bad("its place does not fit its shape"));
        }
        let place = |offset: u64| usize::try_from(offset).map_err(|_| bad("its place is outside"));
        ranges.push((start, end));
        let bytes = &data[place(start)?..place(end)?];
        let tensor = Tensor { rows: place(rows)?, columns: place(columns)?, format, bytes };
        tensors.insert(name, tensor);
    }
    ranges.sort_unstable();
    let mut at = 0;
    for (start, end) in ranges {
        if start != at {
            return Err(bad_adapter("the weights overlap or leave gaps"));
        }
        at = end;
    }
    if at != data.len() as u64 {
        return Err(bad_adapter("the weights leave bytes over"));
    }
    Ok(tensors)
}
