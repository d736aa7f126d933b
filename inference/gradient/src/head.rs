//! The head: only where a token is judged, and a bounded number of rows of logits at a time.

use agora_kernels::{Left, Pool, Product, Right, Split, products, surprise};

use crate::layer::Step;

/// Most bytes of logits at a time, and most and least rows.
const LOGITS_SIZE_MAX: usize = 64 << 20;
const LOGITS_ROWS: (usize, usize) = (16, 256);

/// Room of the head.
#[derive(Debug, Default)]
pub(crate) struct HeadRoom {
    state: Vec<f32>,
    normal: Vec<f32>,
    logits: Vec<f32>,
    by: Vec<f32>,
    back: Vec<f32>,
}

impl Step<'_> {
    /// Rows of logits at a time.
    pub(crate) fn logits_rows(&self) -> usize {
        (LOGITS_SIZE_MAX / 4 / self.shape().vocabulary).clamp(LOGITS_ROWS.0, LOGITS_ROWS.1)
    }

    /// The surprise at each judged token.
    pub(crate) fn surprises(&self, pool: &mut Pool, state: &[f32], room: &mut HeadRoom) -> Vec<f64> {
        self.head(pool, state, room, None)
    }

    /// For each sequence the mean of its judged rows behind the last norm.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a mean of f32 is one")]
    pub(crate) fn embeddings(&self, pool: &mut Pool, state: &[f32], room: &mut HeadRoom) -> Vec<Vec<f32>> {
        let width = self.shape().width;
        let judged = self.rows.judged();
        let mean = |sequence: usize| {
            let rows = judged.iter().filter(|(_, _, own)| *own == sequence);
            room.state.clear();
            rows.for_each(|(row, _, _)| room.state.extend_from_slice(&state[row * width..][..width]));
            self.norm(pool, &room.state, self.weights.norm(), &mut room.normal);
            let mut sums = vec![0.0_f64; width];
            for row in room.normal.chunks_exact(width) {
                sums.iter_mut().zip(row).for_each(|(sum, number)| *sum += f64::from(*number));
            }
            let count = (room.normal.len() / width) as f64;
            sums.into_iter().map(|sum| (sum / count) as f32).collect()
        };
        (0..self.rows.sequences.len()).map(mean).collect()
    }

    /// The surprise at each judged token. With `back`, which has a row of zeros per row of the batch, the gradient by the
    /// states too.
    pub(crate) fn head(
        &self,
        pool: &mut Pool,
        state: &[f32],
        room: &mut HeadRoom,
        mut back: Option<&mut [f32]>,
    ) -> Vec<f64> {
        let (shape, simd) = (self.shape(), self.simd);
        let width = shape.width;
        let judged = self.rows.judged();
        let mut surprises = vec![0.0; judged.len()];
        let matrix = self.weights.head();
        let step = self.logits_rows();
        for (judged, surprises) in judged.chunks(step).zip(surprises.chunks_mut(step)) {
            room.state.clear();
            judged.iter().for_each(|(row, _, _)| room.state.extend_from_slice(&state[row * width..][..width]));
            self.norm(pool, &room.state, self.weights.norm(), &mut room.normal);
            room.logits.resize(judged.len() * shape.vocabulary, 0.0);
            let terms = [(Left::new(&room.normal, width), Right::WeightsTurned(matrix))];
            let to = &mut room.logits;
            products(pool, self.dense, &mut [Product { terms: &terms, to, width: shape.vocabulary, add: false }]);
            {
                let (logits, surprises) = (Split::new(&mut room.logits, shape.vocabulary), Split::new(surprises, 1));
                pool.run(judged.len(), &|at| {
                    let (_, token, sequence) = judged[at];
                    let weight = self.rows.sequences[sequence].weight;
                    surprises.take(at)[0] = surprise(simd, logits.take(at), token as usize, weight);
                });
            }
            if let Some(back) = back.as_deref_mut() {
                room.by.resize(judged.len() * width, 0.0);
                let terms = [(Left::new(&room.logits, shape.vocabulary), Right::Weights(matrix))];
                products(pool, self.dense, &mut [Product { terms: &terms, to: &mut room.by, width, add: false }]);
                room.back.clear();
                room.back.resize(judged.len() * width, 0.0);
                self.norm_back(pool, &room.state, self.weights.norm(), &room.by, &mut room.back);
                for ((row, _, _), from) in judged.iter().zip(room.back.chunks_exact(width)) {
                    back[row * width..][..width].copy_from_slice(from);
                }
            }
        }
        surprises
    }
}
