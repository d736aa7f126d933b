//! The int8 matrix of a trained adapter: one row for each training example, published as one file.
//!
//! File: 64 bytes of header, then the rows one after another, K bytes each.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | [`MAGIC`] |
//! | 8..12 | version, 1, little-endian |
//! | 12..16 | K, entries of a row, 1 to 65,536, little-endian |
//! | 16..24 | N, rows, 1 to 2^21, little-endian |
//! | 24..64 | zeros |

use std::ops::Range;

use agora_types::merkle::{leaf_hash, root};
use agora_types::{Code, Hash};

use crate::rows::ROWS_MAX;
use crate::scan::{Best, Order};
use crate::vector::{DIMENSION_MAX, Row, has_lowest, norm_squared};

/// The first eight bytes of a matrix file.
pub const MAGIC: [u8; 8] = *b"AGORAMI8";
/// Length of the header in bytes; rows begin behind it.
pub const HEADER_SIZE: usize = 64;
const VERSION: u32 = 1;

/// A matrix over borrowed bytes, such as a memory map: N rows of K int8 entries, with their squared norms.
#[derive(Debug, Clone)]
pub struct Matrix<'a> {
    dimension: usize,
    bytes: &'a [u8],
    norms: Vec<u32>,
}

/// The header of a file of `rows` rows of `dimension` entries.
///
/// # Errors
/// `attribution.bad_matrix` out of bounds.
pub fn header(dimension: usize, rows: usize) -> Result<[u8; HEADER_SIZE], Code> {
    if !(1..=DIMENSION_MAX).contains(&dimension) || !(1..=ROWS_MAX).contains(&rows) {
        return Err(Code::AttributionMatrix);
    }
    let mut bytes = [0; HEADER_SIZE];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..16].copy_from_slice(&u32::try_from(dimension).expect("at most 65,536").to_le_bytes());
    bytes[16..24].copy_from_slice(&(rows as u64).to_le_bytes());
    Ok(bytes)
}

/// A whole file in memory; writers of large ones put the [`header`] first and then row by row.
///
/// # Errors
/// `attribution.bad_matrix` when rows differ in length, hold -128, or are out of bounds.
pub fn file(rows: &[Vec<i8>]) -> Result<Vec<u8>, Code> {
    let dimension = rows.first().map_or(0, Vec::len);
    let mut bytes = header(dimension, rows.len())?.to_vec();
    for row in rows {
        if row.len() != dimension || row.contains(&i8::MIN) {
            return Err(Code::AttributionMatrix);
        }
        bytes.extend(row.iter().map(|entry| entry.cast_unsigned()));
    }
    Ok(bytes)
}

impl<'a> Matrix<'a> {
    /// Reads a file. Goes over every byte once, to measure the rows; the bytes stay where they are.
    ///
    /// # Errors
    /// `attribution.bad_matrix` for another magic or version, sizes out of bounds, a wrong length, or an entry of -128.
    pub fn open(file: &'a [u8]) -> Result<Self, Code> {
        let (head, bytes) = file.split_at_checked(HEADER_SIZE).ok_or(Code::AttributionMatrix)?;
        let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let (dimension, rows) = (word(12) as usize, word(16) as usize);
        // The header of these sizes is the only one: high half of N, padding and magic are compared with it.
        if header(dimension, rows)? != *head || rows.checked_mul(dimension) != Some(bytes.len()) || has_lowest(bytes) {
            return Err(Code::AttributionMatrix);
        }
        let norms = bytes.chunks_exact(dimension).map(norm_squared).collect();
        Ok(Self { dimension, bytes, norms })
    }

    /// K, entries of a row.
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// N, number of rows; below 2^32.
    pub fn rows(&self) -> u32 {
        u32::try_from(self.norms.len()).expect("at most 2^21 rows")
    }

    /// A row, or `None` when there is none of that number.
    pub fn row(&self, index: u32) -> Option<Row<'a>> {
        let index = index as usize;
        let norm = *self.norms.get(index)?;
        Some(Row::checked(&self.bytes[index * self.dimension..][..self.dimension], norm))
    }

    /// The RFC 6962 leaf hash of each row: SHA-256(0x00 || row). Reads everything.
    pub fn leaves(&self) -> Vec<Hash> {
        self.bytes.chunks_exact(self.dimension).map(leaf_hash).collect()
    }

    /// The Merkle root over the rows, which the spec commits to. Reads everything.
    pub fn root(&self) -> Hash {
        root(&self.leaves())
    }

    /// The best `count` of the admitted rows in `range`, by `order`; rows of length zero are never among them.
    ///
    /// A range that goes past the matrix ends with it. Parts of a matrix may be scanned at the same time and
    /// [`crate::merge`]d: the result does not depend on the split.
    ///
    /// # Panics
    /// When the query has another dimension.
    pub fn scan(
        &self,
        query: &Row<'_>,
        range: Range<u32>,
        count: usize,
        order: Order,
        admit: impl Fn(u32) -> bool,
    ) -> Best {
        assert_eq!(query.dimension(), self.dimension, "query and matrix have one dimension");
        let mut best = Best::new(count, order);
        for index in range.start..range.end.min(self.rows()) {
            let row = self.row(index).expect("inside the matrix");
            if row.norm_squared() > 0 && admit(index) {
                best.offer(index, query.dot(&row), row.norm_squared());
            }
        }
        best
    }
}
