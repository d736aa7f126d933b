//! Sequences side by side in the rows of one batch.

use std::ops::Range;

use agora_inference_api::EngineError;
use agora_openlora::weights::Weights;

use crate::layout::bad;

/// A prompt and the response that it is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Sequence<'a> {
    /// Prompt and response.
    pub tokens: &'a [u32],
    /// The place of the response's first token, at least one: something must stand before it.
    pub first: usize,
    /// What the surprise at each of its tokens counts in the gradient.
    pub weight: f32,
    /// For each token of the response whether it is passed over: seen, not judged. Empty: all are judged.
    pub passed: &'a [bool],
}

/// The batch's tokens, each with its place in its own sequence. The last token of a sequence is no row: nothing follows it.
pub(crate) struct Rows<'a> {
    pub(crate) sequences: &'a [Sequence<'a>],
    /// Rows of each.
    pub(crate) ranges: Vec<Range<usize>>,
    pub(crate) tokens: Vec<u32>,
    /// Cosines and sines of each row, of layers that see all and of those that do not.
    pub(crate) turns: [Vec<f32>; 2],
}

impl<'a> Rows<'a> {
    pub(crate) fn new(weights: &Weights, sequences: &'a [Sequence<'a>]) -> Result<Self, EngineError> {
        let shape = weights.shape();
        let (mut ranges, mut tokens) = (Vec::new(), Vec::new());
        for sequence in sequences {
            let count = sequence.tokens.len();
            if !(1..count).contains(&sequence.first) || count > shape.context {
                let what =
                    format!("a response from {} on of {count} tokens; at most {}", sequence.first, shape.context);
                return Err(bad(what));
            }
            if sequence.tokens.iter().any(|token| *token as usize >= shape.vocabulary) || !sequence.weight.is_finite() {
                return Err(bad("a token outside the vocabulary, or a weight that is not finite"));
            }
            let passed = sequence.passed;
            if !passed.is_empty() && (passed.len() != count - sequence.first || passed.iter().all(|passed| *passed)) {
                return Err(bad("tokens that are passed over: one for each of the response, and some that are not"));
            }
            ranges.push(tokens.len()..tokens.len() + count - 1);
            tokens.extend(&sequence.tokens[..count - 1]);
        }
        if tokens.is_empty() {
            return Err(bad("no sequences"));
        }
        // Layers of the two kinds, if there are both.
        let near = shape.family.window.as_ref().and_then(|window| (0..shape.layers).find(|at| !window.sees_all(*at)));
        let far =
            shape.family.window.as_ref().map_or(Some(0), |window| (0..shape.layers).find(|at| window.sees_all(*at)));
        let turns = [far, near].map(|layer| {
            let positions = ranges.iter().flat_map(|range| 0..range.len());
            layer.map_or_else(Vec::new, |layer| {
                positions.flat_map(|position| weights.turns(layer, position)).copied().collect()
            })
        });
        Ok(Self { sequences, ranges, tokens, turns })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Rows that foretell a judged token of a response: the row, that token, and the number of its sequence.
    pub(crate) fn judged(&self) -> Vec<(usize, u32, usize)> {
        let each = self.ranges.iter().zip(self.sequences).enumerate();
        let rows = each.flat_map(|(at, (range, sequence))| {
            let passed = sequence.passed.iter().copied().chain(std::iter::repeat(false));
            let tokens = sequence.tokens[sequence.first..].iter().copied().zip(passed);
            let rows = (range.start + sequence.first - 1..range.end).zip(tokens);
            rows.filter(|(_, (_, passed))| !passed).map(move |(row, (token, _))| (row, token, at))
        });
        rows.collect()
    }
}
