//! Weights written in the formats of GGUF files, as simply as the formats allow, and what they then say.

use agora_kernels::{from_half, to_half};

/// Formats by name and number, with the columns of their smallest unit.
pub(crate) const FORMATS: [(&str, u32, usize); 11] = [
    ("F32", 0, 1),
    ("F16", 1, 1),
    ("BF16", 30, 1),
    ("Q4_0", 2, 32),
    ("Q4_1", 3, 32),
    ("Q5_0", 6, 32),
    ("Q5_1", 7, 32),
    ("Q8_0", 8, 32),
    ("Q4_K", 12, 256),
    ("Q5_K", 13, 256),
    ("Q6_K", 14, 256),
];

/// The bytes of some weights, and the numbers that they stand for.
#[derive(Default)]
pub(crate) struct Encoded {
    pub(crate) bytes: Vec<u8>,
    pub(crate) numbers: Vec<f32>,
}

/// Writes weights in a format.
pub(crate) fn encode(format: u32, weights: &[f32]) -> Encoded {
    let mut to = Encoded::default();
    match format {
        0 => weights.iter().for_each(|weight| to.plain(&weight.to_le_bytes(), *weight)),
        1 => weights.iter().for_each(|weight| to.plain(&to_half(*weight).to_le_bytes(), from_half(to_half(*weight)))),
        30 => weights.iter().for_each(|weight| {
            let bits = (weight.to_bits() + 0x7FFF + (weight.to_bits() >> 16 & 1)) >> 16;
            to.plain(&(bits as u16).to_le_bytes(), f32::from_bits(bits << 16));
        }),
        12 | 13 => weights.chunks_exact(256).for_each(|block| to.super_least(format, block)),
        14 => weights.chunks_exact(256).for_each(|block| to.super_six(block)),
        _ => weights.chunks_exact(32).for_each(|block| to.small(format, block)),
    }
    to
}

/// The number of the largest size, with its sign.
fn largest(block: &[f32]) -> f32 {
    block.iter().fold(0.0_f32, |most, weight| if weight.abs() > most.abs() { *weight } else { most })
}

fn bounds(block: &[f32]) -> (f32, f32) {
    block.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), weight| (low.min(*weight), high.max(*weight)))
}

fn round(number: f32, most: f32) -> u8 {
    if number.is_finite() { number.round().clamp(0.0, most) as u8 } else { 0 }
}

impl Encoded {
    fn plain(&mut self, bytes: &[u8], number: f32) {
        self.bytes.extend(bytes);
        self.numbers.push(number);
    }

    fn half(&mut self, number: f32) -> f32 {
        let half = to_half(number);
        self.bytes.extend(half.to_le_bytes());
        from_half(half)
    }

    /// 32 weights with one scale, and a least weight in some formats.
    fn small(&mut self, format: u32, block: &[f32]) {
        let (low, high) = bounds(block);
        let (scale, least, most) = match format {
            2 => (self.half(largest(block) / -8.0), None, 15.0),
            3 => (self.half((high - low) / 15.0), Some(self.half(low)), 15.0),
            6 => (self.half(largest(block) / -16.0), None, 31.0),
            7 => (self.half((high - low) / 31.0), Some(self.half(low)), 31.0),
            _ => (self.half(largest(block).abs() / 127.0), None, 127.0),
        };
        if format == 8 {
            for weight in block {
                let q = if scale > 0.0 { (weight / scale).round().clamp(-127.0, 127.0) as i8 } else { 0 };
                self.bytes.push(q.cast_unsigned());
                self.numbers.push(scale * f32::from(q));
            }
            return;
        }
        let middle = (most + 1.0) / 2.0;
        let least = least.unwrap_or(-middle * scale);
        let q: Vec<u8> = block.iter().map(|weight| round((weight - least) / scale, most)).collect();
        self.numbers.extend(q.iter().map(|q| scale * f32::from(*q) + least));
        if most > 15.0 {
            let bits = q.iter().enumerate().fold(0_u32, |bits, (at, q)| bits | u32::from(q >> 4) << at);
            self.bytes.extend(bits.to_le_bytes());
        }
        self.bytes.extend((0..16).map(|at| q[at] & 15 | (q[at + 16] & 15) << 4));
    }

    /// 256 weights in eight parts, whose scales and least weights have six bits.
    fn super_least(&mut self, format: u32, block: &[f32]) {
        let most = if format == 12 { 15.0 } else { 31.0 };
        let parts: Vec<(f32, f32)> = block
            .chunks_exact(32)
            .map(|part| {
                let (low, high) = bounds(part);
                let low = low.min(0.0);
                ((high - low).max(0.0) / most, -low)
            })
            .collect();
        let scale = self.half(parts.iter().fold(0.0_f32, |most, part| most.max(part.0)) / 63.0);
        let least = self.half(parts.iter().fold(0.0_f32, |most, part| most.max(part.1)) / 63.0);
        let six: Vec<(u8, u8)> =
            parts.iter().map(|part| (round(part.0 / scale, 63.0), round(part.1 / least, 63.0))).collect();
        let mut packed = [0_u8; 12];
        for (part, (s, l)) in six.iter().enumerate() {
            if part < 4 {
                packed[part] |= s;
                packed[part + 4] |= l;
            } else {
                packed[part + 4] |= s & 15 | (l & 15) << 4;
                packed[part - 4] |= s >> 4 << 6;
                packed[part] |= l >> 4 << 6;
            }
        }
        self.bytes.extend(packed);
        let mut q = Vec::new();
        for (part, (s, l)) in block.chunks_exact(32).zip(&six) {
            let (scale, least) = (scale * f32::from(*s), least * f32::from(*l));
            for weight in part {
                q.push(round((weight + least) / scale, most));
                self.numbers.push(scale * f32::from(q[q.len() - 1]) - least);
            }
        }
        if most > 15.0 {
            for at in 0..32 {
                self.bytes.push((0..8).fold(0, |bits, part| bits | (q[part * 32 + at] >> 4) << part));
            }
        }
        for pair in q.chunks_exact(64) {
            self.bytes.extend((0..32).map(|at| pair[at] & 15 | (pair[at + 32] & 15) << 4));
        }
    }

    /// 256 weights of six bits in sixteen parts, whose scales have eight.
    fn super_six(&mut self, block: &[f32]) {
        let parts: Vec<f32> = block.chunks_exact(16).map(|part| largest(part) / -32.0).collect();
        let whole = from_half(to_half(largest(&parts) / -128.0));
        let eight: Vec<i8> = parts
            .iter()
            .map(|part| if whole == 0.0 { 0 } else { (part / whole).round().clamp(-128.0, 127.0) as i8 })
            .collect();
        let mut q = Vec::new();
        for (part, eight) in block.chunks_exact(16).zip(&eight) {
            let scale = whole * f32::from(*eight);
            for weight in part {
                q.push(round(weight / scale + 32.0, 63.0));
                self.numbers.push(scale * (f32::from(q[q.len() - 1]) - 32.0));
            }
        }
        for side in q.chunks_exact(128) {
            for quarters in [(0, 2), (1, 3)] {
                self.bytes
                    .extend((0..32).map(|at| side[quarters.0 * 32 + at] & 15 | (side[quarters.1 * 32 + at] & 15) << 4));
            }
        }
        for side in q.chunks_exact(128) {
            self.bytes.extend(
                (0..32)
                    .map(|at| (0..4).fold(0, |bits, quarter| bits | (side[quarter * 32 + at] >> 4) << (2 * quarter))),
            );
        }
        self.bytes.extend(eight.iter().map(|eight| eight.cast_unsigned()));
        self.half(whole);
    }
}
