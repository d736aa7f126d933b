//! Writes GGUF files, as far as LoRA adapters need it: strings, f32 values and f32 matrices.

use crate::safetensors::Matrix;
use anyhow::{Context, Result};
use std::io::Write;

const VERSION: u32 = 3;
const ALIGNMENT: usize = 32;
/// Type codes of the format: metadata values, then tensors.
const VALUE_F32: u32 = 6;
const VALUE_STRING: u32 = 8;
const TENSOR_F32: u32 = 0;

/// A metadata value.
pub enum Value<'a> {
    F32(f32),
    String(&'a str),
}

/// Writes a whole file: header, metadata, tensor table, then the data, each tensor at a multiple of 32 bytes.
pub fn write(out: &mut impl Write, metadata: &[(&str, Value<'_>)], tensors: &[(String, Matrix)]) -> Result<()> {
    let mut head = Vec::new();
    head.extend(b"GGUF");
    head.extend(VERSION.to_le_bytes());
    head.extend((tensors.len() as u64).to_le_bytes());
    head.extend((metadata.len() as u64).to_le_bytes());
    for (key, value) in metadata {
        string(&mut head, key);
        match value {
            Value::F32(number) => {
                head.extend(VALUE_F32.to_le_bytes());
                head.extend(number.to_le_bytes());
            }
            Value::String(text) => {
                head.extend(VALUE_STRING.to_le_bytes());
                string(&mut head, text);
            }
        }
    }
    let mut offset = 0;
    for (name, matrix) in tensors {
        string(&mut head, name);
        head.extend(2u32.to_le_bytes());
        // The fastest-running dimension comes first here, unlike in safetensors.
        head.extend((matrix.columns as u64).to_le_bytes());
        head.extend((matrix.rows as u64).to_le_bytes());
        head.extend(TENSOR_F32.to_le_bytes());
        head.extend((offset as u64).to_le_bytes());
        offset += (matrix.values.len() * 4).next_multiple_of(ALIGNMENT);
    }
    head.resize(head.len().next_multiple_of(ALIGNMENT), 0);
    out.write_all(&head).context("the header")?;
    for (name, matrix) in tensors {
        let mut data: Vec<u8> = matrix.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
        out.write_all(&data).with_context(|| format!("tensor {name}"))?;
    }
    Ok(())
}

fn string(head: &mut Vec<u8>, text: &str) {
    head.extend((text.len() as u64).to_le_bytes());
    head.extend(text.as_bytes());
}
