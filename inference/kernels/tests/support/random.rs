//! Seeded numbers and matrices.
#![allow(clippy::cast_possible_truncation, reason = "the numbers of tests are small")]

use agora_kernels::{BLOCK, Block, Form, Matrix, Packer, from_half, to_half};

pub(crate) const FORMS: [Form; 5] =
    [Form::FourCentred, Form::FourLeast, Form::Eight, Form::EightLeast, Form::EightHalves];

/// SplitMix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        word ^ (word >> 31)
    }

    pub(crate) fn number(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn numbers(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.number()).collect()
    }

    pub(crate) fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    pub(crate) fn block(&mut self, form: Form) -> Block {
        let is_four = matches!(form, Form::FourCentred | Form::FourLeast);
        let scale = self.number();
        let (second, least) = (self.number(), self.number());
        let mut q = [0; BLOCK];
        q.fill_with(|| if is_four { (self.next() & 15) as i8 } else { self.next() as i8 });
        let half = |number| from_half(to_half(number));
        let (first, second) = (half(scale), half(second));
        let least = match form {
            Form::FourCentred => -8.0 * first,
            Form::FourLeast | Form::EightLeast => half(least),
            Form::Eight | Form::EightHalves => 0.0,
        };
        let second = if form == Form::EightHalves { second } else { first };
        Block { scales: [first, second], least, q }
    }

    pub(crate) fn matrix(&mut self, form: Form, rows: usize, columns: usize) -> (Matrix, Vec<f32>) {
        let mut packer = Packer::new(form, rows, columns).unwrap();
        let mut plain = Vec::new();
        for _ in 0..rows {
            let row: Vec<Block> = (0..columns / BLOCK).map(|_| self.block(form)).collect();
            plain.extend(row.iter().flat_map(Block::numbers));
            packer.push(&row).unwrap();
        }
        (packer.finish(), plain)
    }
}
