//! Weights in memory: tiles of eight rows, blocks of 32 columns, four or eight bits.

use agora_inference_api::EngineError;

use super::TILE;
use crate::failure::{bad_model, quoted, unsupported};
use crate::gguf::{Block, Reader, Tensor};

/// Columns of a block.
const WIDTH: usize = 32;
/// Most outputs and inputs of one matrix.
const SIDE_MAX: u64 = 1 << 20;

/// Eight rows of 32 four-bit weights, `scale * q + least`.
///
/// Number `2 * row + j` of part `p` holds, in its digit `n`, column `8 * p + 2 * n + j`: a shift and a mask away from
/// what a product of sixteen-bit pairs wants.
#[derive(Debug, Clone)]
#[repr(C, align(32))]
pub(crate) struct Four {
    pub(crate) q: [[u16; 16]; 4],
    pub(crate) scale: [f32; TILE],
    pub(crate) least: [f32; TILE],
}

/// Eight rows of 32 eight-bit weights, `scale * q`. Number `2 * row + j` of part `p` holds, in its byte `n`, column
/// `4 * p + 2 * n + j`.
#[derive(Debug, Clone)]
#[repr(C, align(32))]
pub(crate) struct Eight {
    pub(crate) q: [[u16; 16]; 8],
    pub(crate) scale: [f32; TILE],
}

/// Tiles one after another, each a row of blocks.
#[derive(Debug)]
pub(crate) struct Tiles<B> {
    rows: usize,
    blocks: Vec<B>,
    /// Blocks of one row.
    across: usize,
}

impl<B> Tiles<B> {
    /// The blocks of one tile, from left to right.
    pub(crate) fn tile(&self, tile: usize) -> &[B] {
        &self.blocks[tile * self.across..][..self.across]
    }
}

/// A matrix of the model: `rows` outputs, `columns` inputs.
#[derive(Debug)]
pub(crate) enum Matrix {
    Four(Tiles<Four>),
    Eight(Tiles<Eight>),
}

impl Matrix {
    /// Outputs.
    pub(crate) fn rows(&self) -> usize {
        match self {
            Self::Four(tiles) => tiles.rows,
            Self::Eight(tiles) => tiles.rows,
        }
    }

    /// Inputs.
    pub(crate) fn columns(&self) -> usize {
        match self {
            Self::Four(tiles) => tiles.across * WIDTH,
            Self::Eight(tiles) => tiles.across * WIDTH,
        }
    }

    /// Tiles; the last may have rows of zeros.
    pub(crate) fn tiles(&self) -> usize {
        self.rows().div_ceil(TILE)
    }

    /// Reads a tensor and packs it, eight rows at a time.
    ///
    /// # Errors
    /// `engine.bad_model` when a number is not finite or the shape is another; `engine.unsupported` when a row does not
    /// fill blocks of 32.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        tensor: &Tensor,
        rows: usize,
        columns: usize,
    ) -> Result<Self, EngineError> {
        let name = quoted(&tensor.name);
        if tensor.dimensions != [columns as u64, rows as u64] || tensor.dimensions.iter().any(|side| *side > SIDE_MAX) {
            return Err(bad_model(format!(
                "tensor {name} has the shape {:?}, not [{columns}, {rows}]",
                tensor.dimensions
            )));
        }
        if !columns.is_multiple_of(WIDTH) {
            return Err(unsupported(format!("tensor {name} has rows of {columns}, not a multiple of 32")));
        }
        let size = usize::try_from(tensor.size / rows as u64).map_err(|_| bad_model("a row is too long"))?;
        reader.skip_to(tensor.start)?;
        let across = columns / WIDTH;
        let mut packer = Packer { across, tile: Vec::new() };
        // Sizes lie inside the file, so what is allocated is of the file's own order.
        let mut four = Vec::new();
        let mut eight = Vec::new();
        let mut bytes = vec![0; size];
        for row in 0..rows {
            reader.fill(&mut bytes)?;
            let mut finite = true;
            tensor.format.blocks(&bytes, |_, block| finite &= packer.push(block));
            if !finite {
                return Err(bad_model(format!("tensor {name} has numbers that are not finite")));
            }
            if row % TILE == TILE - 1 || row == rows - 1 {
                if tensor.format.is_four() {
                    four.extend((0..across).map(|at| packer.four(at)));
                } else {
                    eight.extend((0..across).map(|at| packer.eight(at)));
                }
                packer.tile.clear();
            }
        }
        Ok(if tensor.format.is_four() {
            Self::Four(Tiles { rows, blocks: four, across })
        } else {
            Self::Eight(Tiles { rows, blocks: eight, across })
        })
    }

    /// One row as numbers: the embedding of a token.
    pub(crate) fn row(&self, row: usize, to: &mut [f32]) {
        assert!(row < self.rows(), "a token is in the vocabulary");
        let lane = row % TILE;
        match self {
            Self::Four(tiles) => {
                for (block, to) in tiles.tile(row / TILE).iter().zip(to.chunks_exact_mut(WIDTH)) {
                    for (column, to) in to.iter_mut().enumerate() {
                        let number = block.q[column / 8][2 * lane + column % 2];
                        let q = number >> (4 * (column / 2 % 4)) & 15;
                        *to = block.scale[lane] * f32::from(q) + block.least[lane];
                    }
                }
            }
            Self::Eight(tiles) => {
                for (block, to) in tiles.tile(row / TILE).iter().zip(to.chunks_exact_mut(WIDTH)) {
                    for (column, to) in to.iter_mut().enumerate() {
                        let number = block.q[column / 4][2 * lane + column % 2].to_le_bytes();
                        *to = block.scale[lane] * f32::from(number[column / 2 % 2].cast_signed());
                    }
                }
            }
        }
    }
}

/// Up to eight rows of blocks on their way into a tile.
struct Packer {
    across: usize,
    tile: Vec<Block>,
}

impl Packer {
    /// Takes the next block; false if it holds a number that is not finite.
    fn push(&mut self, block: Block) -> bool {
        let (block, finite) = match block {
            Block::Four { scale, least, .. } => {
                // The largest weight must be finite too.
                let finite = (scale * 15.0).is_finite() && least.is_finite() && (scale * 15.0 + least).is_finite();
                (block, finite)
            }
            Block::Eight { scale, .. } => {
                let finite = (scale * 128.0).is_finite();
                (block, finite)
            }
            Block::Plain(numbers) => {
                let finite = numbers.iter().all(|number| number.is_finite());
                (round(&numbers), finite)
            }
        };
        self.tile.push(block);
        finite
    }

    fn four(&self, at: usize) -> Four {
        let mut tile = Four { q: [[0; 16]; 4], scale: [0.0; TILE], least: [0.0; TILE] };
        for (lane, row) in self.tile.chunks(self.across).enumerate() {
            let Block::Four { scale, least, q } = &row[at] else { continue };
            (tile.scale[lane], tile.least[lane]) = (*scale, *least);
            for (column, q) in q.iter().enumerate() {
                tile.q[column / 8][2 * lane + column % 2] |= u16::from(*q) << (4 * (column / 2 % 4));
            }
        }
        tile
    }

    fn eight(&self, at: usize) -> Eight {
        let mut tile = Eight { q: [[0; 16]; 8], scale: [0.0; TILE] };
        for (lane, row) in self.tile.chunks(self.across).enumerate() {
            let Block::Eight { scale, q } = &row[at] else { continue };
            tile.scale[lane] = *scale;
            for (column, q) in q.iter().enumerate() {
                tile.q[column / 4][2 * lane + column % 2] |= u16::from(q.cast_unsigned()) << (8 * (column / 2 % 2));
            }
        }
        tile
    }
}

/// Rounds 32 numbers to eight bits.
fn round(numbers: &[f32; WIDTH]) -> Block {
    let most = numbers.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
    let scale = most / 127.0;
    let mut q = [0; WIDTH];
    if scale.is_normal() {
        for (to, from) in q.iter_mut().zip(numbers) {
            #[allow(clippy::cast_possible_truncation, reason = "at most 127 by the choice of the scale")]
            let rounded = (from / scale).round_ties_even() as i8;
            *to = rounded;
        }
    }
    Block::Eight { scale, q }
}
