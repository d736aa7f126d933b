//! A bounded parser of GGUF headers: metadata and where the tensors lie. Every number of the file is checked before use.

mod block;
mod reader;

use std::collections::BTreeMap;

use agora_inference_api::EngineError;

use crate::failure::{bad_model, quoted, unsupported};

pub(crate) use block::Format;
pub(crate) use reader::{Reader, buffered};

const TENSORS_MAX: u64 = 16_384;
const ENTRIES_MAX: u64 = 4_096;
const NAME_SIZE_MAX: u64 = 256;
const STRING_SIZE_MAX: u64 = 1 << 20;
/// Most elements of one array: a vocabulary of a million.
const ELEMENTS_MAX: u64 = 1 << 20;
/// Most elements of all arrays together.
const ELEMENTS_SUM_MAX: u64 = 1 << 22;
const DIMENSION_MAX: u64 = 1 << 31;
const ALIGNMENT_MAX: u64 = 1 << 16;
const ALIGNMENT_DEFAULT: u64 = 32;

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Floats(Vec<f64>),
    /// An array that nothing here reads; its elements are not kept.
    Other,
}

/// What becomes of a tensor's numbers on their way from the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rewrite {
    /// A GGUF holds them as they are used.
    Nothing,
    /// Rows of heads of this size: what lies half a head apart becomes neighbours.
    Pair(usize),
    /// Each is one less than what is meant.
    AddOne,
}

/// Where a tensor lies and what it holds.
#[derive(Debug, Clone)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    /// Innermost first: columns, rows.
    pub(crate) dimensions: Vec<u64>,
    pub(crate) format: Format,
    /// From the start of the file.
    pub(crate) start: u64,
    pub(crate) size: u64,
    pub(crate) rewrite: Rewrite,
}

/// A parsed header.
#[derive(Debug, Default)]
pub(crate) struct Header {
    entries: BTreeMap<String, Value>,
    /// In the order in which they lie in the file, without overlap, inside it.
    pub(crate) tensors: Vec<Tensor>,
}

impl Header {
    /// Reads a header; the reader stands behind the tensor list then.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, EngineError> {
        if reader.array::<4>()? != *b"GGUF" {
            return Err(bad_model("the file does not begin with GGUF"));
        }
        let version = reader.u32()?;
        if !(2..=3).contains(&version) {
            return Err(unsupported(format!("GGUF version {version}")));
        }
        let tensor_count = reader.u64()?;
        let entry_count = reader.u64()?;
        if tensor_count > TENSORS_MAX || entry_count > ENTRIES_MAX {
            return Err(bad_model(format!("{tensor_count} tensors and {entry_count} entries are too many")));
        }
        let mut elements = 0;
        let mut entries = BTreeMap::new();
        for _ in 0..entry_count {
            let name = text(reader, NAME_SIZE_MAX)?;
            let kind = reader.u32()?;
            let value = value(reader, kind, &mut elements)?;
            if entries.insert(name.clone(), value).is_some() {
                return Err(bad_model(format!("the entry {} stands twice", quoted(&name))));
            }
        }
        let mut header = Self { entries, tensors: Vec::new() };
        for _ in 0..tensor_count {
            header.tensors.push(tensor(reader)?);
        }
        header.place(reader)?;
        Ok(header)
    }

    /// Turns offsets into positions in the file and checks that they are sound.
    fn place(&mut self, reader: &Reader<'_>) -> Result<(), EngineError> {
        let alignment = self.unsigned("general.alignment")?.unwrap_or(ALIGNMENT_DEFAULT);
        if !alignment.is_power_of_two() || alignment > ALIGNMENT_MAX {
            return Err(bad_model(format!("alignment {alignment}")));
        }
        let data = reader.position().next_multiple_of(alignment);
        for tensor in &mut self.tensors {
            let outside = || bad_model(format!("tensor {} lies outside the file", quoted(&tensor.name)));
            if !tensor.start.is_multiple_of(alignment) {
                return Err(bad_model(format!("tensor {} is not aligned", quoted(&tensor.name))));
            }
            tensor.start = tensor.start.checked_add(data).ok_or_else(outside)?;
            let end = tensor.start.checked_add(tensor.size).ok_or_else(outside)?;
            if end > reader.size() {
                return Err(outside());
            }
        }
        self.tensors.sort_by(|a, b| (a.start, &a.name).cmp(&(b.start, &b.name)));
        for pair in self.tensors.windows(2) {
            // The first sum was checked above.
            if pair[0].start.saturating_add(pair[0].size) > pair[1].start {
                return Err(bad_model(format!(
                    "tensors {} and {} overlap",
                    quoted(&pair[0].name),
                    quoted(&pair[1].name)
                )));
            }
        }
        Ok(())
    }

    fn wrong(name: &str) -> EngineError {
        bad_model(format!("the entry {name} has a wrong type or value"))
    }

    /// A whole number; `None` if absent.
    pub(crate) fn unsigned(&self, name: &str) -> Result<Option<u64>, EngineError> {
        match self.entries.get(name) {
            None => Ok(None),
            Some(Value::Unsigned(number)) => Ok(Some(*number)),
            Some(Value::Signed(number)) => u64::try_from(*number).map(Some).map_err(|_| Self::wrong(name)),
            Some(_) => Err(Self::wrong(name)),
        }
    }

    /// A finite number; `None` if absent.
    pub(crate) fn float(&self, name: &str) -> Result<Option<f64>, EngineError> {
        match self.entries.get(name) {
            None => Ok(None),
            Some(Value::Float(number)) if number.is_finite() => Ok(Some(*number)),
            Some(_) => Err(Self::wrong(name)),
        }
    }

    /// A truth value; `None` if absent.
    pub(crate) fn bool(&self, name: &str) -> Result<Option<bool>, EngineError> {
        match self.entries.get(name) {
            None => Ok(None),
            Some(Value::Bool(value)) => Ok(Some(*value)),
            Some(_) => Err(Self::wrong(name)),
        }
    }

    /// A text; `None` if absent.
    pub(crate) fn text(&self, name: &str) -> Result<Option<&str>, EngineError> {
        match self.entries.get(name) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(Self::wrong(name)),
        }
    }

    /// Takes a list of texts out.
    pub(crate) fn take_texts(&mut self, name: &str) -> Result<Vec<String>, EngineError> {
        match self.entries.remove(name) {
            Some(Value::Texts(texts)) => Ok(texts),
            _ => Err(Self::wrong(name)),
        }
    }

    /// Takes a list of whole numbers out.
    pub(crate) fn take_integers(&mut self, name: &str) -> Result<Vec<i64>, EngineError> {
        match self.entries.remove(name) {
            Some(Value::Integers(numbers)) => Ok(numbers),
            _ => Err(Self::wrong(name)),
        }
    }

    /// Takes a list of finite numbers out.
    pub(crate) fn take_floats(&mut self, name: &str) -> Result<Vec<f64>, EngineError> {
        match self.entries.remove(name) {
            Some(Value::Floats(numbers)) if numbers.iter().all(|number| number.is_finite()) => Ok(numbers),
            _ => Err(Self::wrong(name)),
        }
    }

    /// Sets an entry.
    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.entries.insert(name.to_owned(), value);
    }

    /// Whether there is such an entry.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }
}

fn text(reader: &mut Reader<'_>, size_max: u64) -> Result<String, EngineError> {
    let size = reader.u64()?;
    if size > size_max {
        return Err(bad_model(format!("a text of {size} bytes; at most {size_max}")));
    }
    let bytes = reader.bytes(usize::try_from(size).map_err(|_| bad_model("a text is too long"))?)?;
    String::from_utf8(bytes).map_err(|_| bad_model("a text is not UTF-8"))
}

fn value(reader: &mut Reader<'_>, kind: u32, elements: &mut u64) -> Result<Value, EngineError> {
    if kind != 9 {
        return scalar(reader, kind);
    }
    let inner = reader.u32()?;
    let count = reader.u64()?;
    *elements = elements.saturating_add(count);
    // An element has at least one byte: a count above what is left is a lie.
    if count > ELEMENTS_MAX || *elements > ELEMENTS_SUM_MAX || count > reader.left() {
        return Err(bad_model(format!("an array of {count} elements")));
    }
    if inner == 8 {
        return (0..count).map(|_| text(reader, STRING_SIZE_MAX)).collect::<Result<_, _>>().map(Value::Texts);
    }
    let (mut integers, mut floats) = (Vec::new(), Vec::new());
    for _ in 0..count {
        match scalar(reader, inner)? {
            Value::Unsigned(number) => integers.extend(i64::try_from(number).ok()),
            Value::Signed(number) => integers.push(number),
            Value::Float(number) => floats.push(number),
            Value::Bool(_)
            | Value::Text(_)
            | Value::Texts(_)
            | Value::Integers(_)
            | Value::Floats(_)
            | Value::Other => {}
        }
    }
    Ok(if integers.len() as u64 == count {
        Value::Integers(integers)
    } else if floats.len() as u64 == count {
        Value::Floats(floats)
    } else {
        Value::Other
    })
}

fn scalar(reader: &mut Reader<'_>, kind: u32) -> Result<Value, EngineError> {
    Ok(match kind {
        0 => Value::Unsigned(u64::from(reader.array::<1>()?[0])),
        1 => Value::Signed(i64::from(i8::from_le_bytes(reader.array()?))),
        2 => Value::Unsigned(u64::from(u16::from_le_bytes(reader.array()?))),
        3 => Value::Signed(i64::from(i16::from_le_bytes(reader.array()?))),
        4 => Value::Unsigned(u64::from(reader.u32()?)),
        5 => Value::Signed(i64::from(i32::from_le_bytes(reader.array()?))),
        6 => Value::Float(f64::from(f32::from_le_bytes(reader.array()?))),
        7 => Value::Bool(reader.array::<1>()?[0] != 0),
        8 => Value::Text(text(reader, STRING_SIZE_MAX)?),
        10 => Value::Unsigned(reader.u64()?),
        11 => Value::Signed(i64::from_le_bytes(reader.array()?)),
        12 => Value::Float(f64::from_le_bytes(reader.array()?)),
        _ => return Err(bad_model(format!("a value of unknown type {kind}"))),
    })
}

/// One entry of the tensor list; `start` is still its offset in the data.
fn tensor(reader: &mut Reader<'_>) -> Result<Tensor, EngineError> {
    let name = text(reader, NAME_SIZE_MAX)?;
    let count = reader.u32()?;
    if !(1..=4).contains(&count) {
        return Err(bad_model(format!("tensor {} has {count} dimensions", quoted(&name))));
    }
    let mut dimensions = Vec::new();
    for _ in 0..count {
        let dimension = reader.u64()?;
        if !(1..=DIMENSION_MAX).contains(&dimension) {
            return Err(bad_model(format!("tensor {} has a dimension of {dimension}", quoted(&name))));
        }
        dimensions.push(dimension);
    }
    let number = reader.u32()?;
    let format = Format::from_number(number)
        .ok_or_else(|| unsupported(format!("tensor {} has the format {number}", quoted(&name))))?;
    let start = reader.u64()?;
    let size = format
        .row_size(dimensions[0])
        .and_then(|row| dimensions[1..].iter().try_fold(row, |size, dimension| size.checked_mul(*dimension)))
        .ok_or_else(|| bad_model(format!("tensor {} has an impossible shape", quoted(&name))))?;
    Ok(Tensor { name, dimensions, format, start, size, rewrite: Rewrite::Nothing })
}
