//! The tensor formats, each decoded to blocks of 32 weights.

/// Weights of one block.
pub(crate) const BLOCK: usize = 32;
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
    Q8_0,
    Q4K,
    Q6K,
}

/// 32 weights of one row.
#[derive(Debug, Clone)]
pub(crate) enum Block {
    /// `scale * q + least`, q from 0 to 15: exactly what the file says.
    Four { scale: f32, least: f32, q: [u8; BLOCK] },
    /// `scale * q`: exactly what the file says.
    Eight { scale: f32, q: [i8; BLOCK] },
    /// Plain numbers, to be rounded to eight bits.
    Plain([f32; BLOCK]),
}

impl Format {
    /// From its number in the file.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            12 => Self::Q4K,
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
            Self::Q8_0 => (BLOCK, 34),
            Self::Q4K => (SUPER, 144),
            Self::Q6K => (SUPER, 210),
        }
    }

    /// Whether its blocks keep four bits.
    pub(crate) fn is_four(self) -> bool {
        matches!(self, Self::Q4_0 | Self::Q4_1 | Self::Q4K)
    }

    /// Bytes of a row of `columns`; `None` if they do not fill whole units.
    pub(crate) fn row_size(self, columns: u64) -> Option<u64> {
        let (weights, bytes) = self.unit();
        columns.is_multiple_of(weights as u64).then(|| (columns / weights as u64).checked_mul(bytes as u64))?
    }

    /// The blocks of a row; its columns are a multiple of 32.
    pub(crate) fn blocks(self, row: &[u8], mut each: impl FnMut(usize, Block)) {
        let (weights, bytes) = self.unit();
        if weights == 1 {
            for (at, chunk) in row.chunks_exact(BLOCK * bytes).enumerate() {
                let mut plain = [0.0; BLOCK];
                for (to, from) in plain.iter_mut().zip(chunk.chunks_exact(bytes)) {
                    *to = self.number(from);
                }
                each(at, Block::Plain(plain));
            }
            return;
        }
        for (at, chunk) in row.chunks_exact(bytes).enumerate() {
            match self {
                Self::F32 | Self::F16 | Self::Bf16 => {}
                Self::Q4_0 => {
                    let scale = half(&chunk[..2]);
                    each(at, Block::Four { scale, least: -8.0 * scale, q: nibbles(&chunk[2..]) });
                }
                Self::Q4_1 => {
                    let (scale, least) = (half(&chunk[..2]), half(&chunk[2..4]));
                    each(at, Block::Four { scale, least, q: nibbles(&chunk[4..]) });
                }
                Self::Q8_0 => {
                    let mut q = [0; BLOCK];
                    for (to, from) in q.iter_mut().zip(&chunk[2..]) {
                        *to = from.cast_signed();
                    }
                    each(at, Block::Eight { scale: half(&chunk[..2]), q });
                }
                Self::Q4K => q4k(chunk, |part, block| each(at * (SUPER / BLOCK) + part, block)),
                Self::Q6K => q6k(chunk, |part, block| each(at * (SUPER / BLOCK) + part, block)),
            }
        }
    }

    /// A number of a plain format.
    pub(crate) fn number(self, bytes: &[u8]) -> f32 {
        match (self, bytes) {
            (Self::F32, &[a, b, c, d]) => f32::from_le_bytes([a, b, c, d]),
            (Self::F16, _) => half(bytes),
            (Self::Bf16, &[a, b]) => f32::from_bits(u32::from(u16::from_le_bytes([a, b])) << 16),
            _ => f32::NAN,
        }
    }
}

/// The low halves of 16 bytes are weights 0 to 15, the high halves 16 to 31.
fn nibbles(bytes: &[u8]) -> [u8; BLOCK] {
    let mut q = [0; BLOCK];
    for (at, byte) in bytes.iter().take(16).enumerate() {
        q[at] = byte & 15;
        q[at + 16] = byte >> 4;
    }
    q
}

/// Eight blocks of four bits whose scales and minima have six bits each.
fn q4k(chunk: &[u8], mut each: impl FnMut(usize, Block)) {
    let (scale, least) = (half(&chunk[..2]), half(&chunk[2..4]));
    let packed = &chunk[4..16];
    for part in 0..8 {
        let (s, l) = if part < 4 {
            (packed[part] & 63, packed[part + 4] & 63)
        } else {
            (
                (packed[part + 4] & 15) | ((packed[part - 4] >> 6) << 4),
                (packed[part + 4] >> 4) | ((packed[part] >> 6) << 4),
            )
        };
        let bytes = &chunk[16 + part / 2 * 32..][..32];
        let mut q = [0; BLOCK];
        for (to, from) in q.iter_mut().zip(bytes) {
            *to = if part % 2 == 0 { from & 15 } else { from >> 4 };
        }
        each(part, Block::Four { scale: scale * f32::from(s), least: -least * f32::from(l), q });
    }
}

/// Sixteen groups of sixteen, six bits each, with eight-bit scales.
fn q6k(chunk: &[u8], mut each: impl FnMut(usize, Block)) {
    let scale = half(&chunk[208..210]);
    for part in 0..8 {
        let (side, quarter) = (part / 4, part % 4);
        let low = &chunk[side * 64 + quarter % 2 * 32..][..32];
        let high = &chunk[128 + side * 32..][..32];
        let scales = &chunk[192 + part * 2..][..2];
        let mut plain = [0.0; BLOCK];
        for (at, to) in plain.iter_mut().enumerate() {
            let four = if quarter < 2 { low[at] & 15 } else { low[at] >> 4 };
            let two = (high[at] >> (2 * quarter)) & 3;
            let q = f32::from(four | (two << 4)) - 32.0;
            *to = scale * f32::from(scales[at / 16].cast_signed()) * q;
        }
        each(part, Block::Plain(plain));
    }
}

/// A half-precision number, exactly.
pub(crate) fn half(bytes: &[u8]) -> f32 {
    let &[a, b] = bytes else { return f32::NAN };
    let bits = u32::from(u16::from_le_bytes([a, b]));
    let (sign, exponent, fraction) = ((bits & 0x8000) << 16, (bits >> 10) & 31, bits & 0x3FF);
    let magnitude = match exponent {
        // Subnormal: a multiple of 2^-24, exact in f32.
        0 => return f32::from_bits(sign | (fraction as f32 * f32::from_bits(0x3380_0000)).to_bits()),
        31 => 0x7F80_0000 | (fraction << 13),
        _ => ((exponent + 112) << 23) | (fraction << 13),
    };
    f32::from_bits(sign | magnitude)
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
        assert_eq!(data.blocks.len(), 7);
        for golden in data.blocks {
            let format = Format::from_number(golden.format).unwrap();
            let digits = golden.bytes.as_bytes().as_chunks::<2>().0;
            let byte = |pair: &[u8; 2]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
            let bytes: Vec<u8> = digits.iter().map(byte).collect();
            let mut numbers = vec![f32::NAN; golden.numbers.len()];
            format.blocks(&bytes, |at, block| {
                let to = numbers[at * BLOCK..].iter_mut().take(BLOCK);
                match block {
                    Block::Four { scale, least, q } => {
                        to.zip(q).for_each(|(to, q)| *to = scale * f32::from(q) + least);
                    }
                    Block::Eight { scale, q } => to.zip(q).for_each(|(to, q)| *to = scale * f32::from(q)),
                    Block::Plain(plain) => to.zip(plain).for_each(|(to, number)| *to = number),
                }
            });
            let largest = golden.numbers.iter().fold(0.0_f32, |most, number| most.max(number.abs()));
            for (ours, right) in numbers.iter().zip(&golden.numbers) {
                assert!((ours - right).abs() <= largest * 1e-6, "format {}: {ours} is not {right}", golden.format);
            }
        }
    }
}
