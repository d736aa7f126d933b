//! Okapi BM25 over token ids in whole numbers: the lexical yardstick that a measured method has to beat.
//!
//! `score(d) = sum over the query's tokens of idf(t) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * |d| / mean |d|))`, with
//! `idf(t) = log2(1 + (N - df + 0.5) / (df + 0.5)) = log2((2N + 2) / (2 df + 1))` (Lucene's form, never negative; the
//! base of the logarithm does not change proportions).

use std::collections::BTreeMap;

use agora_types::Code;

use crate::fixed::{WHOLE, log2};
use crate::rows::ROWS_MAX;

/// Most tokens of one document or query.
pub const DOCUMENT_TOKENS_MAX: usize = 1 << 20;
/// Most tokens of all documents.
const ALL_TOKENS_MAX: u64 = 1 << 36;
/// Highest k1 in thousandths.
const K1_MILLI_MAX: u32 = 10_000;

/// The two constants of BM25.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Constants {
    /// k1, how soon repetition stops to count, thousandths, at most 10,000.
    pub k1_milli: u32,
    /// b, how much length counts, thousandths, at most 1,000.
    pub b_milli: u32,
}

impl Default for Constants {
    /// k1 = 1.2, b = 0.75.
    fn default() -> Self {
        Self { k1_milli: 1_200, b_milli: 750 }
    }
}

/// An index over documents of token ids.
#[derive(Debug, Clone)]
pub struct Index {
    constants: Constants,
    /// Document and occurrences, for each token.
    postings: BTreeMap<u32, Vec<(u32, u32)>>,
    lengths: Vec<u32>,
    all_tokens: u64,
}

impl Index {
    /// Indexes the documents; their numbers are their places.
    ///
    /// # Errors
    /// `attribution.bad_input` for constants, documents or sums out of bounds.
    pub fn new(constants: Constants, documents: &[impl AsRef<[u32]>]) -> Result<Self, Code> {
        if constants.k1_milli > K1_MILLI_MAX || constants.b_milli > 1_000 || documents.len() > ROWS_MAX {
            return Err(Code::AttributionInput);
        }
        let mut index = Self { constants, postings: BTreeMap::new(), lengths: Vec::new(), all_tokens: 0 };
        for (number, document) in (0u32..).zip(documents) {
            let document = document.as_ref();
            if document.len() > DOCUMENT_TOKENS_MAX {
                return Err(Code::AttributionInput);
            }
            let mut counts: BTreeMap<u32, u32> = BTreeMap::new();
            for token in document {
                *counts.entry(*token).or_default() += 1;
            }
            for (token, count) in counts {
                index.postings.entry(token).or_default().push((number, count));
            }
            index.lengths.push(u32::try_from(document.len()).expect("at most 2^20"));
            index.all_tokens += document.len() as u64;
        }
        if index.all_tokens > ALL_TOKENS_MAX { Err(Code::AttributionInput) } else { Ok(index) }
    }

    /// Each document's score in parts of 2^32; a token that the query repeats counts each time.
    ///
    /// Bounds: a token's part is below 11 * 22 * 2^32 < 2^40, so the sum over 2^20 tokens is below 2^60.
    ///
    /// # Errors
    /// `attribution.bad_input` for a query of more than [`DOCUMENT_TOKENS_MAX`] tokens.
    pub fn scores(&self, query: &[u32]) -> Result<Vec<u64>, Code> {
        let mut scores = vec![0u64; self.lengths.len()];
        for (token, times) in counted(query)? {
            let Some(postings) = self.postings.get(&token) else { continue };
            let idf = self.idf(postings.len());
            for (document, count) in postings {
                let part = (u128::from(idf) * u128::from(self.saturation(*document, *count))) >> 32;
                scores[*document as usize] += u64::try_from(part).expect("below 2^40") * times;
            }
        }
        Ok(scores)
    }

    /// The best score's part of the highest that a document could reach, parts of 2^32: this method's explained part.
    ///
    /// # Errors
    /// As [`Index::scores`].
    pub fn explained(&self, query: &[u32]) -> Result<u64, Code> {
        let best = self.scores(query)?.into_iter().max().unwrap_or(0);
        let highest = |(token, times): (u32, u64)| {
            let idf = self.idf(self.postings.get(&token).map_or(0, Vec::len));
            u128::from(idf) * u128::from(1_000 + self.constants.k1_milli) / 1_000 * u128::from(times)
        };
        let all: u128 = counted(query)?.into_iter().map(highest).sum();
        let part = (u128::from(best) * u128::from(WHOLE)).checked_div(all).unwrap_or(0);
        Ok(u64::try_from(part).unwrap_or(WHOLE).min(WHOLE))
    }

    /// In parts of 2^32, at most 22 of them.
    fn idf(&self, documents: usize) -> u64 {
        let all = self.lengths.len() as u64;
        log2(2 * all + 2) - log2(2 * documents as u64 + 1)
    }

    /// tf * (k1 + 1) / (tf + k1 * (1 - b + b * length * N / all)), in parts of 2^32, at most 11 of them.
    ///
    /// Both sides times 1,000^2 * all: the dividend is below 2^20 * 2^14 * 2^10 * 2^36 * 2^32 = 2^112.
    fn saturation(&self, document: u32, count: u32) -> u64 {
        let (k1, b) = (u128::from(self.constants.k1_milli), u128::from(self.constants.b_milli));
        let (all, count) = (u128::from(self.all_tokens), u128::from(count));
        let length = u128::from(self.lengths[document as usize]) * self.lengths.len() as u128;
        let dividend = count * (1_000 + k1) * 1_000 * all * u128::from(WHOLE);
        let divisor = count * 1_000_000 * all + k1 * ((1_000 - b) * all + b * length);
        u64::try_from(dividend / divisor).expect("at most k1 + 1")
    }
}

/// The query's tokens in rising order, and how often each stands there.
fn counted(query: &[u32]) -> Result<BTreeMap<u32, u64>, Code> {
    if query.len() > DOCUMENT_TOKENS_MAX {
        return Err(Code::AttributionInput);
    }
    let mut counts = BTreeMap::new();
    for token in query {
        *counts.entry(*token).or_default() += 1;
    }
    Ok(counts)
}
