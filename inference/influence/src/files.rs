//! Files of numbers with their roots: read whole, within bounds, never trusted before the root is checked.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use agora_types::Hash;
use agora_types::merkle::{leaf_hash, root};

use crate::InfluenceError;
use crate::failure::altered;

/// The spec, in canonical CBOR; written last.
pub(crate) const SPEC: &str = "spec.cbor";
/// The table of rows, in canonical CBOR.
pub(crate) const TABLE: &str = "table.cbor";
/// The int8 matrix.
pub(crate) const ROWS: &str = "rows.i8";
/// The curvature.
pub(crate) const CURVATURE: &str = "curvature.f32";
/// The suffix array with its texts.
pub(crate) const SUFFIXES: &str = "suffixes.u32";
/// The examples' own gradients; for DataInf only.
pub(crate) const GRADIENTS: &str = "gradients.f32";
/// Gradients on their way through a build that has too little memory.
pub(crate) const SCRATCH: &str = "gradients.tmp";

/// Bytes of a leaf.
const LEAF_SIZE: usize = 64 << 10;
/// Bytes of a header; what it does not say is zero.
pub(crate) const HEADER_SIZE: usize = 64;
const VERSION: u32 = 1;

/// The RFC 6962 root over a file in leaves of 64 KiB, the last one shorter.
pub(crate) fn file_root(bytes: &[u8]) -> Hash {
    root(&bytes.chunks(LEAF_SIZE).map(leaf_hash).collect::<Vec<_>>())
}

/// Magic, version, and up to six numbers of 64 bits, little-endian.
pub(crate) fn header(magic: &[u8; 8], numbers: &[u64]) -> [u8; HEADER_SIZE] {
    let mut bytes = [0; HEADER_SIZE];
    bytes[..8].copy_from_slice(magic);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    for (to, number) in bytes[16..].chunks_exact_mut(8).zip(numbers) {
        to.copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

/// A number of a header.
pub(crate) fn number(head: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(head[16 + 8 * at..][..8].try_into().expect("eight bytes"))
}

pub(crate) fn words(bytes: &[u8]) -> Vec<u32> {
    bytes.as_chunks::<4>().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
}

pub(crate) fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks::<4>().0.iter().map(|word| f32::from_le_bytes(*word)).collect()
}

/// A whole file of at most `size_max` bytes.
pub(crate) fn read(folder: &Path, name: &str, size_max: u64) -> Result<Vec<u8>, InfluenceError> {
    let path = folder.join(name);
    let size = fs::metadata(&path).map_err(failed(&path))?.len();
    if size > size_max {
        return Err(altered(format!("{name} has {size} bytes; at most {size_max} belong there")));
    }
    fs::read(&path).map_err(failed(&path))
}

/// Writes a file and makes it durable under its name; a crash leaves the old one or none.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<(), InfluenceError> {
    let (path, part) = (folder.join(name), folder.join(format!("{name}.part")));
    let all = || {
        let mut file = fs::File::create(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, &path)
    };
    all().map_err(failed(&path))
}

pub(crate) fn failed(path: &Path) -> impl Fn(std::io::Error) -> InfluenceError {
    let path = PathBuf::from(path);
    move |source| InfluenceError::File { path: path.clone(), source }
}
