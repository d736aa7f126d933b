//! The matrices of an adapter's weights.

use std::collections::BTreeMap;

use agora_inference_api::EngineError;

use crate::failure::{bad_adapter, quoted};
use crate::gguf::Format;
use crate::safetensors::Bounds;

const BOUNDS: Bounds = Bounds {
    header_size_max: 4 << 20,
    // Two for each of seven matrices of 256 layers.
    tensors_max: 2 * 7 * 256,
    bad: bad_adapter,
    unsupported: bad_adapter,
};

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

/// The matrices of a file, by name.
pub(super) fn read(file: &[u8]) -> Result<BTreeMap<String, Tensor<'_>>, EngineError> {
    let (places, data) = BOUNDS.file(file)?;
    let mut tensors = BTreeMap::new();
    for place in places {
        let bad = |what: &str| bad_adapter(format!("tensor {}: {what}", quoted(&place.name)));
        let &[rows, columns] = place.shape.as_slice() else { return Err(bad("not a matrix")) };
        let number = |number: u64| usize::try_from(number).map_err(|_| bad("its place is outside"));
        let bytes = &data[number(place.start)?..][..number(place.size)?];
        let tensor = Tensor { rows: number(rows)?, columns: number(columns)?, format: place.format, bytes };
        tensors.insert(place.name, tensor);
    }
    Ok(tensors)
}
