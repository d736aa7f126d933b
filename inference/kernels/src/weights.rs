//! Weights in memory: tiles of sixteen rows, blocks of 32 columns, four or eight bits, scales in half precision.

use crate::cuda::{Memory, bytes};
use crate::lanes::{Line, TILE};
use crate::{from_half, to_half};

/// Columns of a block.
pub const BLOCK: usize = 32;
/// Most rows, and most columns.
const SIDE_MAX: usize = 1 << 24;

/// How a matrix keeps its weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `scale * (q - 8)`, q of four bits: 4.5 bits a weight.
    FourCentred,
    /// `scale * q + least`, q of four bits: 5 bits a weight.
    FourLeast,
    /// `scale * q`, q of eight bits with sign: 8.5 bits a weight.
    Eight,
    /// `scale * q + least`, q of eight bits with sign: 9 bits a weight.
    EightLeast,
    /// `scale * q`, q of eight bits with sign, a scale for each sixteen columns: 9 bits a weight.
    EightHalves,
}

impl Form {
    /// Whether a weight has four bits.
    pub(crate) const fn is_four(self) -> bool {
        matches!(self, Self::FourCentred | Self::FourLeast)
    }

    /// Lines of a block.
    pub(crate) const fn lines(self) -> usize {
        if self.is_four() { 4 } else { 8 }
    }

    /// Half-precision numbers of a block and row.
    pub(crate) const fn scales(self) -> usize {
        match self {
            Self::FourCentred | Self::Eight => 1,
            Self::FourLeast | Self::EightLeast | Self::EightHalves => 2,
        }
    }
}

/// 1.5 * 2^23: an f32 of this size has no digits below one.
const WHOLE: f32 = 12_582_912.0;

/// 32 weights of one row, on their way into a matrix: `scale * q + least`, with a scale for each half.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Block {
    /// Of columns 0 to 15, and of columns 16 to 31.
    pub scales: [f32; 2],
    /// The weight for which q is zero.
    pub least: f32,
    /// From 0 to 15 for forms of four bits.
    pub q: [i8; BLOCK],
}

impl Block {
    /// Rounds plain numbers to eight bits ([`Form::Eight`]). Numbers that are not finite make a block that
    /// [`Packer::push`] refuses.
    #[allow(clippy::cast_possible_truncation, reason = "clamped to eight bits")]
    pub fn round(numbers: &[f32; BLOCK]) -> Self {
        let most = numbers.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
        let whole = numbers.iter().all(|number| number.is_finite());
        // Never below the exact scale, so that the largest number is not cut.
        let half = to_half(most / 127.0);
        let half = if from_half(half) * 127.0 < most { half + 1 } else { half };
        let scale = if whole { from_half(half) } else { f32::NAN };
        let q = numbers.map(|number| match scale > 0.0 {
            // Where digits end at one, a sum is rounded to the nearest whole number, ties to even; a call would be slow.
            true => ((number / scale).clamp(-127.0, 127.0) + WHOLE - WHOLE) as i8,
            false => 0,
        });
        Self { scales: [scale; 2], least: 0.0, q }
    }

    /// The weights.
    pub fn numbers(&self) -> [f32; BLOCK] {
        std::array::from_fn(|column| self.scales[column / 16] * f32::from(self.q[column]) + self.least)
    }
}

/// Why weights cannot be packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadWeights {
    /// No rows, columns that do not fill blocks of 32, or too many.
    #[error("{rows} rows of {columns} columns; a matrix has 1 to 16777216 of each, and columns in blocks of 32")]
    Shape {
        /// Outputs.
        rows: usize,
        /// Inputs.
        columns: usize,
    },
    /// A scale is not finite or does not fit half precision.
    #[error("a scale is not finite, or too large for half precision")]
    NotFinite,
    /// A row has another number of blocks, or there are too many or too few rows.
    #[error("the rows do not fit the matrix")]
    Rows,
    /// The system has no memory for it.
    #[error("no memory for the matrix")]
    Memory,
}

/// A matrix of `rows` outputs and `columns` inputs. Nothing in it changes.
#[derive(Debug)]
pub struct Matrix {
    form: Form,
    rows: usize,
    /// Blocks of one row.
    across: usize,
    /// Tile after tile, block after block. Word `2 * lane + j` of line `p` belongs to row `lane` of its tile; its digit
    /// `n` is column `8 * p + 2 * n + j` of four bits, its byte `n` column `4 * p + 2 * n + j` of eight.
    lines: Vec<Line>,
    /// Per block: each row's scale; then each row's least weight, or its second scale.
    scales: Vec<[u16; TILE]>,
    /// Lines and then scales, once they lie on a device: then there are none here.
    moved: Option<Memory>,
}

impl Matrix {
    /// Outputs.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Inputs.
    pub fn columns(&self) -> usize {
        self.across * BLOCK
    }

    /// How it keeps its weights.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Bytes in memory, here or on a device.
    pub fn size(&self) -> usize {
        size_of_val(&*self.lines) + size_of_val(&*self.scales) + self.moved.as_ref().map_or(0, Memory::size)
    }

    /// Gives up lines and scales for memory that `copy` has made of them; nothing happens a second time.
    pub(crate) fn move_to<E>(&mut self, copy: impl FnOnce(&[u8], &[u8]) -> Result<Memory, E>) -> Result<(), E> {
        if self.moved.is_none() {
            self.moved = Some(copy(bytes(&self.lines), bytes(&self.scales))?);
            (self.lines, self.scales) = (Vec::new(), Vec::new());
        }
        Ok(())
    }

    /// Where lines and scales lie on a device.
    pub(crate) fn addresses(&self) -> (u64, u64) {
        let memory = self.moved.as_ref().expect("the matrix lies on a device");
        let lines = self.tiles() * self.across * self.form.lines() * size_of::<Line>();
        (memory.address(0), memory.address(lines))
    }

    /// Tiles; the last may have rows of zeros.
    pub(crate) fn tiles(&self) -> usize {
        self.rows.div_ceil(TILE)
    }

    /// Blocks of one row.
    pub(crate) fn across(&self) -> usize {
        self.across
    }

    /// The blocks of one tile, from left to right: lines and scales.
    pub(crate) fn tile(&self, tile: usize) -> (&[Line], &[[u16; TILE]]) {
        assert!(self.moved.is_none(), "the matrix lies here");
        let (lines, scales) = (self.across * self.form.lines(), self.across * self.form.scales());
        (&self.lines[tile * lines..][..lines], &self.scales[tile * scales..][..scales])
    }

    /// One row as numbers, such as the embedding of a token.
    pub fn row(&self, row: usize, to: &mut [f32]) {
        assert!(row < self.rows && to.len() == self.columns(), "a row lies inside its matrix");
        let lane = row % TILE;
        let (lines, scales) = self.tile(row / TILE);
        let blocks = lines.chunks_exact(self.form.lines()).zip(scales.chunks_exact(self.form.scales()));
        for ((lines, scales), to) in blocks.zip(to.chunks_exact_mut(BLOCK)) {
            let scale = |at: usize| from_half(scales[at][lane]);
            for (column, to) in to.iter_mut().enumerate() {
                *to = if self.form.is_four() {
                    let word = lines[column / 8].0[2 * lane + column % 2];
                    let q = f32::from(word >> (4 * (column / 2 % 4)) & 15);
                    let least = if self.form == Form::FourLeast { scale(1) } else { -8.0 * scale(0) };
                    scale(0) * q + least
                } else {
                    let word = lines[column / 4].0[2 * lane + column % 2];
                    let q = f32::from(word.to_le_bytes()[column / 2 % 2].cast_signed());
                    match self.form {
                        Form::EightLeast => scale(0) * q + scale(1),
                        Form::EightHalves => scale(column / 16) * q,
                        Form::Eight | Form::FourCentred | Form::FourLeast => scale(0) * q,
                    }
                };
            }
        }
    }
}

/// Packs a matrix row by row, so that no second copy of it is ever in memory.
#[derive(Debug)]
pub struct Packer {
    matrix: Matrix,
    /// Rows so far.
    done: usize,
}

impl Packer {
    /// Begins a matrix.
    ///
    /// # Errors
    /// [`BadWeights::Shape`], [`BadWeights::Memory`].
    pub fn new(form: Form, rows: usize, columns: usize) -> Result<Self, BadWeights> {
        if !(1..=SIDE_MAX).contains(&rows) || !(1..=SIDE_MAX).contains(&columns) || !columns.is_multiple_of(BLOCK) {
            return Err(BadWeights::Shape { rows, columns });
        }
        let across = columns / BLOCK;
        let blocks = rows.div_ceil(TILE).checked_mul(across).ok_or(BadWeights::Memory)?;
        let (mut lines, mut scales) = (Vec::new(), Vec::new());
        lines.try_reserve_exact(blocks * form.lines()).map_err(|_| BadWeights::Memory)?;
        scales.try_reserve_exact(blocks * form.scales()).map_err(|_| BadWeights::Memory)?;
        Ok(Self { matrix: Matrix { form, rows, across, lines, scales, moved: None }, done: 0 })
    }

    /// Takes the next row. Scales are rounded to half precision.
    ///
    /// # Errors
    /// [`BadWeights::NotFinite`], [`BadWeights::Rows`].
    pub fn push(&mut self, row: &[Block]) -> Result<(), BadWeights> {
        let Matrix { form, rows, across, ref mut lines, ref mut scales, .. } = self.matrix;
        if row.len() != across || self.done == rows {
            return Err(BadWeights::Rows);
        }
        let lane = self.done % TILE;
        if lane == 0 {
            lines.resize(lines.len() + across * form.lines(), Line([0; 2 * TILE]));
            scales.resize(scales.len() + across * form.scales(), [0; TILE]);
        }
        let (first_line, first_scale) = (lines.len() - across * form.lines(), scales.len() - across * form.scales());
        let lines = lines[first_line..].chunks_exact_mut(form.lines());
        let scales = scales[first_scale..].chunks_exact_mut(form.scales());
        for (block, (lines, scales)) in row.iter().zip(lines.zip(scales)) {
            let second = match form {
                Form::FourCentred | Form::Eight => None,
                Form::FourLeast | Form::EightLeast => Some(block.least),
                Form::EightHalves => Some(block.scales[1]),
            };
            for (to, number) in scales.iter_mut().zip([Some(block.scales[0]), second].into_iter().flatten()) {
                let half = to_half(number);
                if !from_half(half).is_finite() {
                    return Err(BadWeights::NotFinite);
                }
                to[lane] = half;
            }
            for (column, q) in block.q.iter().enumerate() {
                if form.is_four() {
                    let digit = u16::from(q.cast_unsigned() & 15);
                    lines[column / 8].0[2 * lane + column % 2] |= digit << (4 * (column / 2 % 4));
                } else {
                    let byte = u16::from(q.cast_unsigned());
                    lines[column / 4].0[2 * lane + column % 2] |= byte << (8 * (column / 2 % 2));
                }
            }
        }
        self.done += 1;
        Ok(())
    }

    /// The matrix.
    ///
    /// # Panics
    /// If rows are missing.
    pub fn finish(self) -> Matrix {
        assert_eq!(self.done, self.matrix.rows, "every row of a matrix is packed");
        self.matrix
    }
}
