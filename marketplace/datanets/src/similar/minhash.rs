//! Signatures: 128 numbers that agree between two texts about as often as their shingles do.
//!
//! Permutation `i` of the 32-bit numbers is `fmix(x * a + b)`, where `a` (made odd) and `b` are the first and second
//! four bytes, little-endian, of SHA-256("agora/minhash/v1" ‖ i as four bytes, little-endian), and `fmix` is the
//! finaliser of MurmurHash3. `x` is the upper half of a shingle's hash. A text's number is the lower half of the
//! smallest value; 16 bits are enough, since numbers that should differ then agree once in 65,536 times.

use agora_types::Hash;

use super::words::Shingles;

/// Numbers of a signature.
pub const PERMUTATIONS: usize = 128;

/// What a text's shingles come to: 256 bytes, whatever its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature([u16; PERMUTATIONS]);

/// The 128 permutations.
#[derive(Debug, Clone)]
pub struct MinHasher {
    a: [u32; PERMUTATIONS],
    b: [u32; PERMUTATIONS],
}

impl Default for MinHasher {
    fn default() -> Self {
        let (mut a, mut b) = ([0; PERMUTATIONS], [0; PERMUTATIONS]);
        for (i, (a, b)) in (0u32..).zip(a.iter_mut().zip(&mut b)) {
            let seed = Hash::sha256_of(&[b"agora/minhash/v1", &i.to_le_bytes()]);
            let word = |at: usize| {
                let bytes: [u8; 4] = seed.as_bytes()[at..at + 4].try_into().expect("four bytes");
                u32::from_le_bytes(bytes)
            };
            (*a, *b) = (word(0) | 1, word(4));
        }
        Self { a, b }
    }
}

fn fmix(mut z: u32) -> u32 {
    z = (z ^ (z >> 16)).wrapping_mul(0x85eb_ca6b);
    z = (z ^ (z >> 13)).wrapping_mul(0xc2b2_ae35);
    z ^ (z >> 16)
}

impl MinHasher {
    /// The signature of a set of shingles.
    pub fn signature(&self, shingles: &Shingles) -> Signature {
        let mut least = [u32::MAX; PERMUTATIONS];
        for shingle in shingles.hashes() {
            let x = u32::try_from(shingle >> 32).expect("the upper half");
            for ((least, a), b) in least.iter_mut().zip(&self.a).zip(&self.b) {
                *least = (*least).min(fmix(x.wrapping_mul(*a).wrapping_add(*b)));
            }
        }
        Signature(least.map(|value| u16::try_from(value & 0xffff).expect("the lower half")))
    }
}

impl Signature {
    /// In how many of the 128 numbers both agree: an estimate of similarity, right within 6 in two of three cases.
    pub fn agreement(&self, other: &Self) -> u32 {
        self.0.iter().zip(&other.0).map(|(a, b)| u32::from(a == b)).sum()
    }

    /// Numbers `at` to `at + 4`, as one.
    pub(super) fn band(&self, band: usize) -> u64 {
        let four: [u16; 4] = self.0[4 * band..4 * band + 4].try_into().expect("32 bands of 4");
        four.iter().fold(0, |joined, number| (joined << 16) | u64::from(*number))
    }

    /// The bytes, little-endian: what a store keeps.
    pub fn to_bytes(&self) -> [u8; 2 * PERMUTATIONS] {
        let mut bytes = [0; 2 * PERMUTATIONS];
        for (pair, number) in bytes.chunks_exact_mut(2).zip(&self.0) {
            pair.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// From its bytes.
    pub fn from_bytes(bytes: &[u8; 2 * PERMUTATIONS]) -> Self {
        let mut numbers = [0; PERMUTATIONS];
        for (number, pair) in numbers.iter_mut().zip(bytes.chunks_exact(2)) {
            *number = u16::from_le_bytes([pair[0], pair[1]]);
        }
        Self(numbers)
    }
}
