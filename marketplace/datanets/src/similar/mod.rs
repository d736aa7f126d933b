//! Near-duplicates: which items say the same, found over a whole datanet in bounded memory, owned by who came first.
//!
//! A text becomes words (`words.rs`), words become shingles of five, shingles become a signature of 128 numbers
//! (`minhash.rs`); equal pieces of signatures make candidates, and the shingles of candidates are compared exactly
//! (`clusters.rs`). All of it is whole numbers: the same on every machine.
//!
//! That is for a version. Before a training, answers to one question are compared by their words too (`answers.rs`).

mod answers;
mod clusters;
mod minhash;
mod words;

pub use answers::{ANSWERS_MAX, Answer, WORDS_MIN, repeats};
pub use clusters::{BUCKET_MAX, Clusters, EXACT_MAX, Mark};
pub use minhash::{MinHasher, PERMUTATIONS, Signature};
pub use words::{SHINGLE_WORDS, Shingles};
