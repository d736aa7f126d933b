//! The curvature in the space of an adapter: how often the data pulls in which direction.
//!
//! **Form.** For each matrix (A, and B turned around, of each change) the damped Fisher matrix of the examples' own
//! gradients is taken as `Q diag(lambda + damping) Q^T`, where `Q` is the Kronecker product of two small bases and `lambda`
//! the mean squared gradient in that basis: eigenvalue-corrected Kronecker curvature, as in EK-FAC (George and others,
//! 2018). The two factors are Shampoo's, from whole per-example gradient matrices G: `L = E[G G^T]` of rank x rank and
//! `R = E[G^T G]` of width x width, not K-FAC's, from activations and back-propagated signals of single tokens. Why: an
//! example's gradient is a sum over tokens that belong together, and L and R see that sum where K-FAC takes tokens as
//! independent; the published figures of this form are the better ones (LDS 0.517 against 0.454); and it needs nothing but
//! the gradients, which are there already.
//!
//! A side of more than [`SIDE_MAX`] numbers keeps its own basis: there only the correction acts.
//!
//! File: 64 bytes of header (magic `AGORACRV`, version 1, number of blocks), then for each block in the order of
//! [`crate::Blocks`]: layer, role (0 to 6 in a layer's order), side (0: A, 1: B), rank, width, and whether R's basis
//! follows, as little-endian u32 and eight bytes of zeros; L's basis (rank x rank), R's (width x width), and lambda (rank x
//! width: a row per vector of L) as little-endian f32, vectors in rows.

use agora_kernels::{Left, Pool, Product, Right, Simd, products};
use agora_types::Hash;

use crate::InfluenceError;
use crate::blocks::{Block, Blocks, Side};
use crate::eigen::eigen;
use crate::failure::altered;
use crate::files::{HEADER_SIZE, file_root, floats, header};

const MAGIC: &[u8; 8] = b"AGORACRV";
/// The longest side whose basis is computed.
pub const SIDE_MAX: usize = 2_048;
/// Bytes before a block's numbers.
const BLOCK_HEAD: usize = 32;

/// One matrix's bases and curvature.
#[derive(Debug, Clone, PartialEq)]
struct Factors {
    /// Vectors of L in rows.
    left: Vec<f32>,
    /// Vectors of R in rows; `None` for a side that keeps its own basis.
    right: Option<Vec<f32>>,
    /// Mean squared gradient in the basis.
    values: Vec<f32>,
}

/// The curvature of all blocks.
#[derive(Debug, Clone, PartialEq)]
pub struct Curvature {
    blocks: Blocks,
    factors: Vec<Factors>,
    /// What each number of a turned gradient is multiplied by.
    divided: Vec<f32>,
}

/// Sums over examples, before the bases are known.
pub(crate) struct Sums {
    blocks: Blocks,
    /// For each block, L.
    left: Vec<Vec<f64>>,
    /// For each block, R.
    right: Vec<Option<Vec<f32>>>,
    room: Vec<f32>,
}

impl Sums {
    pub(crate) fn new(blocks: &Blocks) -> Self {
        let right = |block: &Block| (block.width <= SIDE_MAX).then(|| vec![0.0; block.width * block.width]);
        Self {
            left: blocks.all().iter().map(|block| vec![0.0; block.rank * block.rank]).collect(),
            right: blocks.all().iter().map(right).collect(),
            blocks: blocks.clone(),
            room: Vec::new(),
        }
    }

    /// Adds some gradients, one after another in `gradients`.
    pub(crate) fn add(&mut self, pool: &mut Pool, simd: Simd, gradients: &[f32]) {
        let size = self.blocks.size();
        for ((block, left), right) in self.blocks.all().iter().zip(&mut self.left).zip(&mut self.right) {
            let (rank, width) = (block.rank, block.width);
            self.room.clear();
            for gradient in gradients.chunks_exact(size) {
                let own = block.of(gradient);
                self.room.extend_from_slice(own);
                for i in 0..rank {
                    for j in 0..=i {
                        let product = dot(&own[i * width..][..width], &own[j * width..][..width]);
                        left[i * rank + j] += product;
                        left[j * rank + i] = left[i * rank + j];
                    }
                }
            }
            if let Some(right) = right {
                let terms = [(Left::turned(&self.room, width), Right::new(&self.room, width))];
                products(pool, simd, &mut [Product { terms: &terms, to: right, width, add: true }]);
            }
        }
    }

    /// The bases, with a curvature that is still zero.
    pub(crate) fn bases(self, pool: &mut Pool) -> Curvature {
        let Self { blocks, left, right, .. } = self;
        let work: Vec<std::sync::Mutex<Option<Factors>>> = left.iter().map(|_| std::sync::Mutex::new(None)).collect();
        pool.run(left.len(), &|at| {
            let block = &blocks.all()[at];
            let basis = right[at].as_ref().map(|sum| vectors(sum.iter().map(|n| f64::from(*n)).collect(), block.width));
            let found =
                Factors { left: vectors(left[at].clone(), block.rank), right: basis, values: vec![0.0; block.size()] };
            *work[at].lock().expect("no task panics") = Some(found);
        });
        let taken =
            |one: std::sync::Mutex<Option<Factors>>| one.into_inner().expect("no task panics").expect("was run");
        let factors = work.into_iter().map(taken).collect();
        let divided = vec![0.0; blocks.size()];
        Curvature { blocks, factors, divided }
    }
}

#[allow(clippy::cast_possible_truncation, reason = "vectors are kept as f32")]
fn vectors(matrix: Vec<f64>, side: usize) -> Vec<f32> {
    eigen(matrix, side).1.into_iter().map(|number| number as f32).collect()
}

impl Curvature {
    /// From gradients that are handed over twice, in chunks of any size, one after another in a chunk; they are left in the
    /// turned basis. `counts` says of each whether the curvature is of it too: copies of others do not bend it.
    ///
    /// # Errors
    /// Those of `each`.
    ///
    /// # Panics
    /// If there are more gradients than `counts` says something of.
    pub(crate) fn measure(
        (blocks, counts): (&Blocks, &[bool]),
        damping_micro: u64,
        pool: &mut Pool,
        simd: Simd,
        mut each: impl FnMut(&mut dyn FnMut(&mut [f32])) -> Result<(), InfluenceError>,
    ) -> Result<Self, InfluenceError> {
        let mut sums = Sums::new(blocks);
        let (mut place, mut counted) = (0, Vec::new());
        each(&mut |gradients| {
            counted.clear();
            for gradient in gradients.chunks_exact(blocks.size()) {
                if counts[place] {
                    counted.extend_from_slice(gradient);
                }
                place += 1;
            }
            // Sums go on term by term, so that it does not matter which of a chunk were left out.
            if !counted.is_empty() {
                sums.add(pool, simd, &counted);
            }
        })?;
        let mut curvature = sums.bases(pool);
        let mut squares = vec![0.0f64; blocks.size()];
        let (mut place, mut count) = (0, 0u64);
        each(&mut |gradients| {
            curvature.turn(pool, simd, gradients);
            for gradient in gradients.chunks_exact(blocks.size()) {
                if counts[place] {
                    squares.iter_mut().zip(gradient).for_each(|(sum, number)| *sum += f64::from(*number).powi(2));
                    count += 1;
                }
                place += 1;
            }
        })?;
        for (block, factors) in blocks.all().iter().zip(&mut curvature.factors) {
            let own = &squares[block.start..][..block.size()];
            #[allow(clippy::cast_possible_truncation, reason = "kept as f32")]
            factors.values.iter_mut().zip(own).for_each(|(value, sum)| *value = (sum / count.max(1) as f64) as f32);
        }
        curvature.damp(damping_micro);
        Ok(curvature)
    }

    /// Of gradients in memory, one after another.
    ///
    /// # Panics
    /// If a gradient is not whole.
    pub fn of(blocks: &Blocks, damping_micro: u64, pool: &mut Pool, simd: Simd, gradients: &[f32]) -> Self {
        assert!(gradients.len().is_multiple_of(blocks.size()), "gradients are whole");
        let each = |work: &mut dyn FnMut(&mut [f32])| {
            work(&mut gradients.to_vec());
            Ok(())
        };
        let counts = vec![true; gradients.len() / blocks.size()];
        Self::measure((blocks, &counts), damping_micro, pool, simd, each).expect("memory does not fail")
    }

    /// The factors that a turned gradient is multiplied by: 1 / sqrt(lambda + damping * the block's mean lambda), or 0
    /// where the data never pulled at all.
    #[allow(clippy::cast_possible_truncation, reason = "factors are f32")]
    fn damp(&mut self, damping_micro: u64) {
        for (block, factors) in self.blocks.all().iter().zip(&self.factors) {
            let mean = factors.values.iter().map(|value| f64::from(*value)).sum::<f64>() / block.size() as f64;
            let damping = mean * (damping_micro as f64 / 1e6);
            for (to, value) in self.divided[block.start..].iter_mut().zip(&factors.values) {
                let curvature = f64::from(*value) + damping;
                *to = if curvature > 0.0 { curvature.sqrt().recip() as f32 } else { 0.0 };
            }
        }
    }

    /// Turns gradients into the basis in which the curvature is diagonal.
    pub fn turn(&self, pool: &mut Pool, simd: Simd, gradients: &mut [f32]) {
        let size = self.blocks.size();
        let (mut room, mut turned) = (Vec::new(), Vec::new());
        for (block, factors) in self.blocks.all().iter().zip(&self.factors) {
            let (rank, width) = (block.rank, block.width);
            room.clear();
            gradients.chunks_exact(size).for_each(|gradient| room.extend_from_slice(block.of(gradient)));
            if let Some(right) = &factors.right {
                turned.clear();
                turned.resize(room.len(), 0.0);
                let terms = [(Left::new(&room, width), Right::turned(right, width))];
                products(pool, simd, &mut [Product { terms: &terms, to: &mut turned, width, add: false }]);
                std::mem::swap(&mut room, &mut turned);
            }
            for (gradient, from) in gradients.chunks_exact_mut(size).zip(room.chunks_exact(block.size())) {
                let to = &mut gradient[block.start..][..block.size()];
                to.fill(0.0);
                for (to, vector) in to.chunks_exact_mut(width).zip(factors.left.chunks_exact(rank)) {
                    for (by, from) in vector.iter().zip(from.chunks_exact(width)) {
                        to.iter_mut().zip(from).for_each(|(to, from)| *to += by * from);
                    }
                }
            }
        }
    }

    /// Divides a turned gradient by the root of the curvature. The product of two such is g^T H^-1 q: the way back out of
    /// the basis would change no product, so nobody goes it.
    pub fn divide(&self, turned: &mut [f32]) {
        turned.iter_mut().zip(&self.divided).for_each(|(number, by)| *number *= by);
    }

    /// Lambda of a block, a row per vector of L, and both bases with their vectors in rows.
    pub fn block(&self, at: usize) -> (&[f32], &[f32], Option<&[f32]>) {
        let factors = &self.factors[at];
        (&factors.values, &factors.left, factors.right.as_deref())
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = header(MAGIC, &[self.factors.len() as u64]).to_vec();
        for (block, factors) in self.blocks.all().iter().zip(&self.factors) {
            bytes.extend(block_head(block));
            let right = factors.right.iter().flatten();
            let numbers = factors.left.iter().chain(right).chain(&factors.values);
            bytes.extend(numbers.flat_map(|number| number.to_le_bytes()));
        }
        bytes
    }

    /// Bytes of the file of these blocks.
    pub(crate) fn file_size(blocks: &Blocks) -> u64 {
        let of = |block: &Block| {
            let right = if block.width <= SIDE_MAX { block.width * block.width } else { 0 };
            (BLOCK_HEAD + 4 * (block.rank * block.rank + right + block.size())) as u64
        };
        HEADER_SIZE as u64 + blocks.all().iter().map(of).sum::<u64>()
    }

    /// Reads a file that is to have this root.
    pub(crate) fn from_bytes(
        blocks: &Blocks,
        damping_micro: u64,
        committed: Hash,
        bytes: &[u8],
    ) -> Result<Self, InfluenceError> {
        let bad = || altered("the curvature is not the one that the spec commits to");
        if bytes.len() as u64 != Self::file_size(blocks)
            || file_root(bytes) != committed
            || bytes[..HEADER_SIZE] != header(MAGIC, &[blocks.all().len() as u64])
        {
            return Err(bad());
        }
        let mut rest = &bytes[HEADER_SIZE..];
        let mut take = |count: usize| {
            let (own, behind) = rest.split_at(count);
            rest = behind;
            own
        };
        let mut factors = Vec::with_capacity(blocks.all().len());
        for block in blocks.all() {
            if take(BLOCK_HEAD) != block_head(block) {
                return Err(bad());
            }
            let left = floats(take(4 * block.rank * block.rank));
            let right = (block.width <= SIDE_MAX).then(|| floats(take(4 * block.width * block.width)));
            let values = floats(take(4 * block.size()));
            let finite = left.iter().chain(right.iter().flatten()).all(|number| number.is_finite());
            if !finite || !values.iter().all(|value| value.is_finite() && *value >= 0.0) {
                return Err(bad());
            }
            factors.push(Factors { left, right, values });
        }
        let mut curvature = Self { blocks: blocks.clone(), factors, divided: vec![0.0; blocks.size()] };
        curvature.damp(damping_micro);
        Ok(curvature)
    }
}

fn block_head(block: &Block) -> [u8; BLOCK_HEAD] {
    let side = match block.side {
        Side::A => 0,
        Side::B => 1,
    };
    let own = usize::from(block.width <= SIDE_MAX);
    let mut bytes = [0; BLOCK_HEAD];
    for (to, number) in
        bytes.chunks_exact_mut(4).zip([block.layer, block.role as usize, side, block.rank, block.width, own])
    {
        to.copy_from_slice(&u32::try_from(number).expect("sides of a model").to_le_bytes());
    }
    bytes
}

/// Of f32 in f64, eight sums side by side.
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f64 {
    let (left_chunks, left_rest) = left.as_chunks::<8>();
    let (right_chunks, right_rest) = right.as_chunks::<8>();
    let mut sums = [0.0f64; 8];
    for (left, right) in left_chunks.iter().zip(right_chunks) {
        (0..8).for_each(|lane| sums[lane] += f64::from(left[lane]) * f64::from(right[lane]));
    }
    let rest: f64 = left_rest.iter().zip(right_rest).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
    sums.iter().sum::<f64>() + rest
}
