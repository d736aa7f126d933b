//! Where an answer's words stand in the data: a suffix array over the examples' texts.
//!
//! Prefix doubling: suffixes are sorted by their first token, then by 2, 4, 8, … of them, each round from the ranks of the
//! last; groups that are told apart rest. n log n steps of log n rounds at worst, and no recursion on hostile data. (The
//! linear-time libraries are C, or take bytes only.)
//!
//! File: 64 bytes of header (magic `AGORASUF`, version 1, documents, tokens), the documents' first tokens, all tokens with
//! `0xffffffff` behind each document, and the array, as little-endian u32.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use agora_attribution::Position;
use agora_attribution::spans::Window;
use agora_types::Hash;

use crate::InfluenceError;
use crate::failure::{altered, bad_input};
use crate::files::{HEADER_SIZE, file_root, header, number, words};

const MAGIC: &[u8; 8] = b"AGORASUF";
/// Most tokens of all texts, and of their ends.
const TOKENS_MAX: usize = 1 << 30;
/// Behind each document; no token.
const END: u32 = u32::MAX;
/// Most occurrences of one match that are looked at for their clusters, in the array's order.
const OCCURRENCES_MAX: usize = 1 << 16;

/// A suffix array with its texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suffixes {
    starts: Vec<u32>,
    tokens: Vec<u32>,
    array: Vec<u32>,
}

impl Suffixes {
    /// Of these texts; some of them may be empty.
    ///
    /// # Errors
    /// `attribution.bad_input` for no or too many tokens, or a token of `0xffffffff`.
    pub fn new(texts: &[impl AsRef<[u32]>]) -> Result<Self, InfluenceError> {
        let size: usize = texts.iter().map(|text| text.as_ref().len() + 1).sum();
        if size > TOKENS_MAX || size == texts.len() {
            return Err(bad_input(format!("a suffix array over {} texts of {size} tokens", texts.len())));
        }
        let (mut starts, mut tokens) = (Vec::with_capacity(texts.len()), Vec::with_capacity(size));
        for text in texts {
            starts.push(place(tokens.len()));
            tokens.extend_from_slice(text.as_ref());
            tokens.push(END);
        }
        if tokens.iter().filter(|token| **token == END).count() != texts.len() {
            return Err(bad_input("a token that ends texts within one"));
        }
        let array = sorted(&tokens);
        Ok(Self { starts, tokens, array })
    }

    /// Documents.
    pub fn documents(&self) -> usize {
        self.starts.len()
    }

    /// The tokens of a document.
    pub fn document(&self, at: usize) -> &[u32] {
        let end = self.starts.get(at + 1).map_or(self.tokens.len(), |next| *next as usize);
        &self.tokens[self.starts[at] as usize..end - 1]
    }

    /// The array: places of suffixes in the order of what stands there.
    pub fn array(&self) -> &[u32] {
        &self.array
    }

    /// For each token of an answer who holds the `least` tokens that begin there. `cluster` says whose a document is; once a
    /// window is in more than `clusters_max` clusters, no more of them are looked for.
    pub fn windows(
        &self,
        output: &[u32],
        least: usize,
        clusters_max: usize,
        cluster: impl Fn(usize) -> Position,
    ) -> Vec<Window> {
        let one = |window: &[u32]| {
            let first = self.array.partition_point(|suffix| self.compare(*suffix, window) == Ordering::Less);
            let held = &self.array[first..];
            let held = &held[..held.partition_point(|suffix| self.compare(*suffix, window) == Ordering::Equal)];
            let mut clusters = BTreeSet::new();
            for suffix in held.iter().take(OCCURRENCES_MAX) {
                clusters.insert(cluster(self.starts.partition_point(|start| start <= suffix) - 1));
                if clusters.len() > clusters_max {
                    break;
                }
            }
            Window { clusters: clusters.into_iter().collect(), count: held.len() as u64 }
        };
        let mut windows: Vec<Window> = output.windows(least.max(1)).map(one).collect();
        windows.resize(output.len(), Window::default());
        windows
    }

    /// A suffix against a pattern; equal where it begins with it.
    fn compare(&self, suffix: u32, pattern: &[u32]) -> Ordering {
        let held = &self.tokens[suffix as usize..];
        match held.len() < pattern.len() {
            true => held.cmp(&pattern[..held.len()]).then(Ordering::Less),
            false => held[..pattern.len()].cmp(pattern),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = header(MAGIC, &[self.starts.len() as u64, self.tokens.len() as u64]).to_vec();
        let all = self.starts.iter().chain(&self.tokens).chain(&self.array);
        bytes.extend(all.flat_map(|word| word.to_le_bytes()));
        bytes
    }

    /// The root that a spec commits to.
    pub fn root(&self) -> Hash {
        file_root(&self.to_bytes())
    }

    /// Most bytes of a file.
    pub(crate) fn size_max(documents: u64) -> u64 {
        HEADER_SIZE as u64 + 4 * (documents + 2 * TOKENS_MAX as u64)
    }

    /// Reads a file that is to have this root.
    pub(crate) fn from_bytes(documents: u64, committed: Hash, bytes: &[u8]) -> Result<Self, InfluenceError> {
        let bad = || altered("the suffix array is not the one that the spec commits to");
        let (head, rest) = bytes.split_at_checked(HEADER_SIZE).ok_or_else(bad)?;
        let size = number(head, 1);
        let fits = *head == header(MAGIC, &[documents, size])
            && (1..=TOKENS_MAX as u64).contains(&size)
            && rest.len() as u64 == 4 * (documents + 2 * size)
            && file_root(bytes) == committed;
        if !fits {
            return Err(bad());
        }
        let (documents, size) = (place_of(documents), place_of(size));
        let starts = words(&rest[..4 * documents]);
        let tokens = words(&rest[4 * documents..4 * (documents + size)]);
        let array = words(&rest[4 * (documents + size)..]);
        let ends = (0..documents).all(|at| {
            let end = starts.get(at + 1).map_or(size, |next| *next as usize);
            (starts[at] as usize) < end && end <= size && tokens[end - 1] == END
        });
        // Whether the array is in order decides only what is found: what is found is compared with the tokens.
        match ends && starts.first() == Some(&0) && array.iter().all(|suffix| (*suffix as usize) < size) {
            true => Ok(Self { starts, tokens, array }),
            false => Err(bad()),
        }
    }
}

fn place(at: usize) -> u32 {
    u32::try_from(at).expect("at most 2^30 tokens")
}

fn place_of(at: u64) -> usize {
    usize::try_from(at).expect("as many as the file has words")
}

/// The suffixes of `tokens` in order; a suffix that ends comes before those that go on.
fn sorted(tokens: &[u32]) -> Vec<u32> {
    let count = tokens.len();
    let mut array: Vec<u32> = (0..place(count)).collect();
    array.sort_unstable_by_key(|suffix| tokens[*suffix as usize]);
    // A suffix's rank is the place behind the last of its group, so that groups that fall apart never change their order.
    let mut ranks = vec![0u32; count];
    let mut groups = Vec::new();
    settle(&array, 0, &|suffix| tokens[suffix as usize], &mut ranks, &mut groups);
    let mut depth = 1;
    while !groups.is_empty() {
        let behind = |ranks: &[u32], suffix: u32| ranks.get(suffix as usize + depth).map_or(0, |rank| rank + 1);
        for (start, end) in &groups {
            array[*start..*end].sort_unstable_by_key(|suffix| behind(&ranks, *suffix));
        }
        // All groups are sorted by the old ranks before one gets new ones.
        let keys: Vec<Vec<u32>> = groups
            .iter()
            .map(|(start, end)| array[*start..*end].iter().map(|suffix| behind(&ranks, *suffix)).collect())
            .collect();
        let mut next = Vec::new();
        for ((start, end), keys) in groups.iter().zip(&keys) {
            settle_keys(&array[*start..*end], *start, keys, &mut ranks, &mut next);
        }
        groups = next;
        depth *= 2;
    }
    array
}

fn settle(array: &[u32], start: usize, key: &dyn Fn(u32) -> u32, ranks: &mut [u32], groups: &mut Vec<(usize, usize)>) {
    let keys: Vec<u32> = array.iter().map(|suffix| key(*suffix)).collect();
    settle_keys(array, start, &keys, ranks, groups);
}

/// Gives suffixes of one key one rank, and says which groups have more than one.
fn settle_keys(array: &[u32], start: usize, keys: &[u32], ranks: &mut [u32], groups: &mut Vec<(usize, usize)>) {
    let mut at = 0;
    for same in keys.chunk_by(|left, right| left == right) {
        let end = at + same.len();
        array[at..end].iter().for_each(|suffix| ranks[*suffix as usize] = place(start + end - 1));
        if same.len() > 1 {
            groups.push((start + at, start + end));
        }
        at = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(seed: u64) -> impl FnMut(u32) -> u32 {
        let mut state = seed;
        move |bound| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from(state >> 33).unwrap() % bound
        }
    }

    fn position(at: usize) -> Position {
        Position { seq: at as u64, index: 0, item: 0 }
    }

    #[test]
    fn the_array_is_that_of_a_plain_sort() {
        for (words, seed) in [(1, 1), (2, 2), (3, 3), (50, 4)] {
            let mut random = random(seed);
            let texts: Vec<Vec<u32>> =
                (0..6).map(|_| (0..random(60)).map(|_| random(words)).collect::<Vec<_>>()).collect();
            let Ok(suffixes) = Suffixes::new(&texts) else { continue };
            let mut plain: Vec<u32> = (0..place(suffixes.tokens.len())).collect();
            plain.sort_by_key(|at| &suffixes.tokens[*at as usize..]);
            assert_eq!(suffixes.array, plain, "{words} words, seed {seed}");
        }
        let same = Suffixes::new(&[vec![7; 5_000]]).unwrap();
        // 5,000 equal tokens and the end: the end's own suffix is last, and the longest run of sevens comes first.
        assert!(same.array.iter().copied().eq(0..=5_000), "equal tokens are ordered by what ends them");
    }

    #[test]
    fn windows_are_those_of_a_plain_search() {
        for seed in 0..20 {
            let mut random = random(seed);
            let texts: Vec<Vec<u32>> = (0..8).map(|_| (0..40).map(|_| random(3)).collect()).collect();
            let output: Vec<u32> = (0..30).map(|_| random(3)).collect();
            let suffixes = Suffixes::new(&texts).unwrap();
            let found = suffixes.windows(&output, 4, 100, |document| position(document / 2));
            assert_eq!(found.len(), output.len());
            assert!(found[27..].iter().all(|window| *window == Window::default()), "too near the end");
            for (window, found) in output.windows(4).zip(&found) {
                let holds = |text: &[u32]| text.windows(4).filter(|other| *other == window).count() as u64;
                let owners = (0..8).filter(|at| holds(&texts[*at]) > 0).map(|at| position(at / 2));
                let owners: BTreeSet<Position> = owners.collect();
                assert_eq!(found.count, texts.iter().map(|text| holds(text)).sum::<u64>(), "seed {seed}");
                assert_eq!(found.clusters, owners.into_iter().collect::<Vec<_>>(), "seed {seed}");
            }
        }
    }

    #[test]
    fn a_file_is_read_back_and_another_is_refused() {
        let suffixes = Suffixes::new(&[vec![1, 2, 3], vec![], vec![2, 3, 4, 5]]).unwrap();
        let bytes = suffixes.to_bytes();
        let root = suffixes.root();
        assert_eq!(Suffixes::from_bytes(3, root, &bytes).unwrap(), suffixes);
        assert_eq!([0, 1, 2].map(|at| suffixes.document(at).len()), [3, 0, 4]);
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert!(Suffixes::from_bytes(3, root, &other).is_err(), "byte {at}");
            // Even under its own root: what points outside is refused, the rest does no harm.
            if let Ok(read) = Suffixes::from_bytes(3, file_root(&other), &other) {
                read.windows(&[1, 2, 3, 4, 5], 1, 8, position);
            }
        }
        assert!(Suffixes::from_bytes(2, root, &bytes).is_err());
        assert!(Suffixes::new(&[Vec::<u32>::new()]).is_err() && Suffixes::new(&[vec![END]]).is_err());
    }
}
