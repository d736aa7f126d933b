//! BM25 in whole numbers beside the formula in floating point.

use agora_attribution::WHOLE;
use agora_attribution::bm25::{Constants, DOCUMENT_TOKENS_MAX, Index};
use agora_types::Code;
use proptest::prelude::*;

#[allow(clippy::cast_precision_loss, reason = "compared within a tolerance")]
fn reference(documents: &[Vec<u32>], query: &[u32], k1: f64, b: f64) -> Vec<f64> {
    let n = documents.len() as f64;
    let mean = documents.iter().map(Vec::len).sum::<usize>() as f64 / n;
    let score = |document: &Vec<u32>| {
        let part = |token: &u32| {
            let tf = document.iter().filter(|other| *other == token).count() as f64;
            if tf == 0.0 {
                return 0.0;
            }
            let df = documents.iter().filter(|other| other.contains(token)).count() as f64;
            let idf = (1.0 + (n - df + 0.5) / (df + 0.5)).log2();
            idf * tf * (k1 + 1.0) / (tf + k1 * (1.0 - b + b * document.len() as f64 / mean))
        };
        query.iter().map(part).sum()
    };
    documents.iter().map(score).collect()
}

proptest! {
    #[test]
    fn scores_are_those_of_the_formula(
        documents in prop::collection::vec(prop::collection::vec(0u32..30, 0..50), 1..20),
        query in prop::collection::vec(0u32..35, 0..20),
        k1_milli in 0u32..=3_000, b_milli in 0u32..=1_000,
    ) {
        let index = Index::new(Constants { k1_milli, b_milli }, &documents).unwrap();
        let found = index.scores(&query).unwrap();
        let real = reference(&documents, &query, f64::from(k1_milli) / 1e3, f64::from(b_milli) / 1e3);
        for (found, real) in found.iter().zip(real) {
            #[allow(clippy::cast_precision_loss)]
            let found = *found as f64 / WHOLE as f64;
            prop_assert!((found - real).abs() < 1e-5, "{found} for {real}");
        }
        prop_assert!(index.explained(&query).unwrap() <= WHOLE);
    }
}

#[test]
fn the_document_that_holds_the_rare_word_is_first() {
    let documents = [vec![1, 2, 3, 9], vec![1, 2, 3, 4], vec![1, 2, 2, 4]];
    let index = Index::new(Constants::default(), &documents).unwrap();
    let scores = index.scores(&[1, 9]).unwrap();
    assert!(scores[0] > scores[1] && scores[1] == scores[2]);
    assert_eq!(index.scores(&[77]).unwrap(), [0, 0, 0]);
    assert_eq!(index.explained(&[]).unwrap(), 0);
}

#[test]
fn the_largest_documents_do_not_overflow_and_larger_are_refused() {
    let constants = Constants { k1_milli: 10_000, b_milli: 1_000 };
    let long = vec![1u32; DOCUMENT_TOKENS_MAX];
    let index = Index::new(constants, &[long.clone(), vec![2]]).unwrap();
    assert!(index.scores(&long).unwrap()[0] > 0);
    assert!(index.explained(&long).unwrap() <= WHOLE);
    let longer = vec![1u32; DOCUMENT_TOKENS_MAX + 1];
    assert_eq!(index.scores(&longer), Err(Code::AttributionInput));
    assert_eq!(Index::new(constants, &[longer]).err(), Some(Code::AttributionInput));
    let wrong = Constants { k1_milli: 10_001, b_milli: 0 };
    assert_eq!(Index::new(wrong, &[vec![1]]).err(), Some(Code::AttributionInput));
    assert!(Index::new(constants, &[] as &[Vec<u32>]).unwrap().scores(&[1]).unwrap().is_empty());
}
