//! Reads safetensors files into f32, as far as LoRA adapters need it: F32, F16 and BF16, two dimensions.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A matrix, row by row.
pub struct Matrix {
    pub rows: usize,
    pub columns: usize,
    pub values: Vec<f32>,
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

/// Reads every tensor of a file. The file is untrusted: lengths, shapes and values are checked.
pub fn read(bytes: &[u8]) -> Result<BTreeMap<String, Matrix>> {
    let (length, rest) = bytes.split_first_chunk::<8>().context("no header length")?;
    let length = usize::try_from(u64::from_le_bytes(*length)).context("header length")?;
    let (header, data) = rest.split_at_checked(length).context("the header is longer than the file")?;
    let mut header: BTreeMap<String, serde_json::Value> = serde_json::from_slice(header).context("the header")?;
    header.remove("__metadata__");
    let read_entry = |(name, value)| {
        let entry: Entry = serde_json::from_value(value).with_context(|| format!("tensor {name}"))?;
        let matrix = read_matrix(&entry, data).with_context(|| format!("tensor {name}"))?;
        Ok((name, matrix))
    };
    header.into_iter().map(read_entry).collect()
}

fn read_matrix(entry: &Entry, data: &[u8]) -> Result<Matrix> {
    let [rows, columns] = entry.shape[..] else { bail!("{} dimensions, not two", entry.shape.len()) };
    let [start, end] = entry.data_offsets;
    let data = data.get(start..end).context("its data lies outside the file")?;
    let values: Vec<f32> = match entry.dtype.as_str() {
        "F32" => data.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
        "F16" => data.chunks_exact(2).map(|b| f16(u16::from_le_bytes([b[0], b[1]]))).collect(),
        "BF16" => {
            data.chunks_exact(2).map(|b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16)).collect()
        }
        other => bail!("type {other} is not F32, F16 or BF16"),
    };
    let width = if entry.dtype == "F32" { 4 } else { 2 };
    let bytes = rows.checked_mul(columns).and_then(|count| count.checked_mul(width)).context("its shape overflows")?;
    ensure!(bytes == data.len(), "{rows} x {columns} {} are not {} bytes", entry.dtype, data.len());
    ensure!(values.iter().all(|value| value.is_finite()), "a value is not finite");
    Ok(Matrix { rows, columns, values })
}

/// The value of an IEEE half-precision number; exact, as every one is an f32.
fn f16(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0f32 } else { 1.0 };
    let exponent = i32::from(bits >> 10 & 0x1f);
    let fraction = f32::from(bits & 0x3ff);
    match exponent {
        0 => sign * fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => sign * f32::INFINITY,
        31 => f32::NAN,
        _ => sign * (1024.0 + fraction) * 2f32.powi(exponent - 25),
    }
}

#[cfg(test)]
mod tests {
    use super::{f16, read};

    #[test]
    fn halves_are_exact() {
        let known =
            [(0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (0x0001, 5.960_464_5e-8), (0x3555, 0.333_251_95)];
        for (bits, value) in known {
            assert_eq!(f16(bits), value, "{bits:#x}");
        }
        assert!(f16(0x7c00).is_infinite() && f16(0x7e00).is_nan());
    }

    #[test]
    fn a_short_or_crooked_file_is_refused() {
        let file =
            |header: &str, data: &[u8]| [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), data].concat();
        let good = r#"{"a":{"dtype":"BF16","shape":[1,2],"data_offsets":[0,4]}}"#;
        let read_good = read(&file(good, &[0x80, 0x3f, 0x00, 0xc0]));
        assert_eq!(read_good.expect("a good file")["a"].values, [1.0, -2.0]);
        assert!(read(&file(good, &[0x80, 0x3f, 0x00])).is_err());
        assert!(read(&file(good, &[0x80, 0x7f, 0x00, 0xc0])).is_err(), "infinity");
        assert!(read(&file(&good.replace("[1,2]", "[2,2]"), &[0; 4])).is_err());
        assert!(read(&[1, 0, 0]).is_err());
    }
}
