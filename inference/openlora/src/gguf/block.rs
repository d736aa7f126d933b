//! The tensor formats, each decoded to blocks of 32 weights.

use agora_kernels::{BLOCK, Block, Form, from_half};

/// Weights of a super-block of the K formats.
const SUPER: usize = 256;

/// How a tensor's numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    F32,
    F16,
    Bf16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    Q4K,
    Q5K,
    Q6K,
}

impl Format {
    /// From its number in the file.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            6 => Self::Q5_0,
            7 => Self::Q5_1,
            8 => Self::Q8_0,
            12 => Self::Q4K,
            13 => Self::Q5K,
            14 => Self::Q6K,
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// Weights and bytes of its smallest unit.
    fn unit(self) -> (usize, usize) {
        match self {
            Self::F32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q4_0 => (BLOCK, 18),
            Self::Q4_1 => (BLOCK, 20),
            Self::Q5_0 => (BLOCK, 22),
            Self::Q5_1 => (BLOCK, 24),
            Self::Q8_0 => (BLOCK, 34),
            Self::Q4K => (SUPER, 144),
            Self::Q5K => (SUPER, 176),
            Self::Q6K => (SUPER, 210),
        }
    }

    /// How its weights are kept in memory: as they are, but for plain numbers, which are rounded to eight bits, and for
    /// scales of the K formats, which are rounded to half precision.
    pub(crate) fn form(self) -> Form {
        match self {
            Self::Q4_0 => Form::FourCentred,
            Self::Q4_1 | Self::Q4K => Form::FourLeast,
            Self::F32 | Self::F16 | Self::Bf16 | Self::Q5_0 | Self::Q8_0 => Form::Eight,
            Self::Q5_1 | Self::Q5K => Form::EightLeast,
            Self::Q6K => Form::EightHalves,
        }
    }

    /// Bytes of a row of `columns`; `None` if they do not fill whole units.
    pub(crate) fn row_size(self, columns: u64) -> Option<u64> {
        let (weights, bytes) = self.unit();
        columns.is_multiple_of(weights as u64).then(|| (columns / weights as u64).checked_mul(bytes as u64))?
    }

    /// Adds the blocks of a row, whose columns are a multiple of 32.
    pub(crate) fn blocks(self, row: &[u8], to: &mut Vec<Block>) {
        let (weights, bytes) = self.unit();
        if weights == 1 {
            to.extend(row.chunks_exact(BLOCK * bytes).map(|chunk| {
                Block::round(&std::array::from_fn(|at| self.number(chunk.get(at * bytes..).unwrap_or_default())))
            }));
            return;
        }
        for chunk in row.chunks_exact(bytes) {
            match self {
                Self::F32 | Self::F16 | Self::Bf16 => {}
                Self::Q4_0 => {
                    let scale = half(chunk, 0);
                    to.push(block(scale, -8.0 * scale, nibbles(&chunk[2..])));
                }
                Self::Q4_1 => to.push(block(half(chunk, 0), half(chunk, 2), nibbles(&chunk[4..]))),
                Self::Q5_0 => {
                    let q = with_fifth(nibbles(&chunk[6..]), &chunk[2..6]).map(|q| q - 16);
                    to.push(block(half(chunk, 0), 0.0, q));
                }
                Self::Q5_1 => {
                    let q = with_fifth(nibbles(&chunk[8..]), &chunk[4..8]);
                    to.push(block(half(chunk, 0), half(chunk, 2), q));
                }
                Self::Q8_0 => {
                    to.push(block(half(chunk, 0), 0.0, std::array::from_fn(|at| chunk[2 + at].cast_signed())))
                }
                Self::Q4K => to.extend((0..8).map(|part| {
                    let (scale, least) = scales(chunk, part);
                    block(scale, least, halves(&chunk[16 + part / 2 * 32..], part))
                })),
                Self::Q5K => to.extend((0..8).map(|part| {
                    let (scale, least) = scales(chunk, part);
                    let mut q = halves(&chunk[48 + part / 2 * 32..], part);
                    for (q, fifth) in q.iter_mut().zip(&chunk[16..48]) {
                        *q |= ((fifth >> part & 1) << 4).cast_signed();
                    }
                    block(scale, least, q)
                })),
                Self::Q6K => to.extend((0..8).map(|part| q6k(chunk, part))),
            }
        }
    }

    /// A number of a plain format, from its first bytes.
    pub(crate) fn number(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Self::F32, &[a, b, c, d, ..]) => f32::from_le_bytes([a, b, c, d]),
            (Self::F16, &[a, b, ..]) => from_half(u16::from_le_bytes([a, b])),
            (Self::Bf16, &[a, b, ..]) => f32::from_bits(u32::from(u16::from_le_bytes([a, b])) << 16),
            _ => f32::NAN,
        }
    }
}

fn block(scale: f32, least: f32, q: [i8; BLOCK]) -> Block {
    Block { scales: [scale; 2], least, q }
}

/// The half-precision number at a place.
fn half(chunk: &[u8], at: usize) -> f32 {
    from_half(u16::from_le_bytes([chunk[at], chunk[at + 1]]))
}

/// The low halves of 16 bytes are weights 0 to 15, the high halves 16 to 31.
fn nibbles(bytes: &[u8]) -> [i8; BLOCK] {
    std::array::from_fn(|at| (bytes[at % 16] >> (at / 16 * 4) & 15).cast_signed())
}

/// The low halves of 32 bytes for even parts, the high halves for odd ones.
fn halves(bytes: &[u8], part: usize) -> [i8; BLOCK] {
    std::array::from_fn(|at| (bytes[at] >> (part % 2 * 4) & 15).cast_signed())
}

/// A fifth bit for each weight.
fn with_fifth(mut q: [i8; BLOCK], bits: &[u8]) -> [i8; BLOCK] {
    for (at, q) in q.iter_mut().enumerate() {
        *q |= ((bits[at / 8] >> (at % 8) & 1) << 4).cast_signed();
    }
    q
}

/// Scale and least weight of a part of a super-block, whose factors have six bits each.
fn scales(chunk: &[u8], part: usize) -> (f32, f32) {
    let packed = &chunk[4..16];
    let (scale, least) = if part < 4 {
        (packed[part] & 63, packed[part + 4] & 63)
    } else {
        ((packed[part + 4] & 15) | ((packed[part - 4] >> 6) << 4), (packed[part + 4] >> 4) | ((packed[part] >> 6) << 4))
    };
    (half(chunk, 0) * f32::from(scale), -half(chunk, 2) * f32::from(least))
}

/// Two groups of sixteen, six bits each, with eight-bit scales.
fn q6k(chunk: &[u8], part: usize) -> Block {
    let (side, quarter) = (part / 4, part % 4);
    let low = &chunk[side * 64 + quarter % 2 * 32..][..32];
    let high = &chunk[128 + side * 32..][..32];
    let scale = |at: usize| half(chunk, 208) * f32::from(chunk[192 + part * 2 + at].cast_signed());
    let q = std::array::from_fn(|at| {
        let four = low[at] >> (quarter / 2 * 4) & 15;
        let two = high[at] >> (2 * quarter) & 3;
        (four | two << 4).cast_signed() - 32
    });
    Block { scales: [scale(0), scale(1)], least: 0.0, q }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Data {
        blocks: Vec<Golden>,
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        format: u32,
        bytes: String,
        numbers: Vec<f32>,
    }

    #[test]
    fn blocks_of_every_format_decode_as_an_independent_library_decodes_them() {
        let data: Data = serde_json::from_str(include_str!("../../tests/data/reference.json")).unwrap();
        assert_eq!(data.blocks.len(), 10);
        for golden in data.blocks {
            let format = Format::from_number(golden.format).unwrap();
            let digits = golden.bytes.as_bytes().as_chunks::<2>().0;
            let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
            let bytes: Vec<u8> = digits.iter().map(byte).collect();
            let mut blocks = Vec::new();
            format.blocks(&bytes, &mut blocks);
            let numbers: Vec<f32> = blocks.iter().flat_map(Block::numbers).collect();
            assert_eq!(numbers.len(), golden.numbers.len());
            let is_plain = format.unit().0 == 1;
            for (at, (ours, right)) in numbers.iter().zip(&golden.numbers).enumerate() {
                // Plain numbers are rounded to eight bits, others are what the file says.
                let around = &golden.numbers[at / BLOCK * BLOCK..][..BLOCK];
                let largest = around.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
                let bound = if is_plain { largest / 250.0 } else { largest * 1e-6 };
                assert!((ours - right).abs() <= bound, "format {}: {ours} is not {right}", golden.format);
            }
        }
    }
}
