//! The RFC 6962 Merkle tree: append-only roots, inclusion and consistency proofs, and their verification.
//!
//! Leaf SHA-256(0x00 || entry), node SHA-256(0x01 || left || right), empty tree SHA-256("").
//!
//! Three forms for three needs: [`Frontier`] appends and keeps 64 hashes, [`Tree`] keeps everything and proves anything,
//! [`tile`] names the pieces in which the hashes are published.

pub mod tile;
mod tree;

pub use tree::Tree;

use minicbor::{Decode, Encode};

use crate::Hash;

/// The hash of one entry.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    Hash::sha256_of(&[&[0], entry])
}

/// The hash of two subtrees.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    Hash::sha256_of(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// The root of no entries.
pub fn empty_root() -> Hash {
    Hash::sha256(b"")
}

/// An append-only tree that keeps only its right edge: at most 64 hashes, whatever its size.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Frontier {
    #[n(0)]
    size: u64,
    /// Roots of the perfect subtrees, largest first; one for each bit of `size`.
    #[n(1)]
    peaks: Vec<Hash>,
}

impl Frontier {
    /// Number of entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash and gives its index.
    pub fn push(&mut self, leaf: Hash) -> u64 {
        let index = self.size;
        let mut node = leaf;
        for _ in 0..index.trailing_ones() {
            let left = self.peaks.pop().expect("a peak for each bit of the size");
            node = node_hash(&left, &node);
        }
        self.peaks.push(node);
        self.size += 1;
        index
    }

    /// The root over all entries.
    pub fn root(&self) -> Hash {
        let mut peaks = self.peaks.iter().rev();
        match peaks.next() {
            None => empty_root(),
            Some(last) => peaks.fold(*last, |right, left| node_hash(left, &right)),
        }
    }

    /// True when the parts fit together; for values that were read from outside.
    pub fn is_whole(&self) -> bool {
        self.peaks.len() as u64 == u64::from(self.size.count_ones())
    }
}

/// The root over leaf hashes (RFC 6962 section 2.1).
pub fn root(leaves: &[Hash]) -> Hash {
    let mut frontier = Frontier::default();
    for leaf in leaves {
        frontier.push(*leaf);
    }
    frontier.root()
}

/// The largest power of two below `size`; `size` is at least 2.
fn split_point(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// The hashes beside the path from leaf `index` to the root over `leaves`, leaf first (RFC 6962 section 2.1.1).
///
/// `None` when there is no such leaf. Takes time linear in the leaves: a log that grows keeps a [`Tree`].
pub fn inclusion_proof(leaves: &[Hash], index: u64) -> Option<Vec<Hash>> {
    let (mut rest, mut at) = (leaves, usize::try_from(index).ok()?);
    if at >= rest.len() {
        return None;
    }
    let mut path = Vec::new();
    while rest.len() > 1 {
        let middle = usize::try_from(split_point(rest.len() as u64)).ok()?;
        let (left, right) = rest.split_at(middle);
        if at < middle {
            path.push(root(right));
            rest = left;
        } else {
            path.push(root(left));
            rest = right;
            at -= middle;
        }
    }
    path.reverse();
    Some(path)
}

/// The root that an inclusion proof leads to, or `None` when its length does not fit (RFC 9162 section 2.1.3.2).
pub fn root_from_inclusion(leaf: &Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size || path.len() > 64 {
        return None;
    }
    let (mut at, mut last, mut node) = (index, size - 1, *leaf);
    for beside in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            node = node_hash(beside, &node);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            node = node_hash(&node, beside);
        }
        at >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(node)
}

/// The proof that the tree over the first `old` leaves is a prefix of the one over all (RFC 6962 section 2.1.2).
pub fn consistency_proof(leaves: &[Hash], old: u64) -> Option<Vec<Hash>> {
    fn walk(leaves: &[Hash], old: usize, whole: bool, path: &mut Vec<Hash>) {
        if old == leaves.len() {
            if !whole {
                path.push(root(leaves));
            }
            return;
        }
        let middle = usize::try_from(split_point(leaves.len() as u64)).expect("below a length in memory");
        let (left, right) = leaves.split_at(middle);
        if old <= middle {
            walk(left, old, whole, path);
            path.push(root(right));
        } else {
            walk(right, old - middle, false, path);
            path.push(root(left));
        }
    }
    let old = usize::try_from(old).ok()?;
    if old == 0 || old > leaves.len() {
        return None;
    }
    let mut path = Vec::new();
    walk(leaves, old, true, &mut path);
    Some(path)
}

/// True when `path` proves that the tree (`old`, `old_root`) is a prefix of (`new`, `new_root`)
/// (RFC 9162 section 2.1.4.2).
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, path: &[Hash]) -> bool {
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    if old == 0 || old > new || path.is_empty() || path.len() > 128 {
        return false;
    }
    let mut path = path.iter();
    let first = if old.is_power_of_two() { *old_root } else { *path.next().expect("not empty") };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut old_node, mut new_node) = (first, first);
    for beside in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_node = node_hash(beside, &old_node);
            new_node = node_hash(beside, &new_node);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new_node = node_hash(&new_node, beside);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old_node == *old_root && new_node == *new_root
}
